"""Frames of a video: the sharp ones are kept, spread evenly, at their own size."""

import subprocess
import wave

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image, ImageFilter

from tools.poses import frames
from tools.poses.frames import choose, sharpness
from tools.poses.photos import PosesError


def texture(height=48, width=64, seed=0):
    """Grey blobs of a few pixels, which a video keeps."""
    noise = np.random.default_rng(seed).integers(0, 256, (height // 4, width // 4), dtype=np.uint8)
    return np.array(Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC))


def blurred(grey, radius):
    return np.array(Image.fromarray(grey).filter(ImageFilter.GaussianBlur(radius)))


def write_video(path, pictures, fps=10, parameters=()):
    height, width = pictures[0].shape[:2]
    writer = imageio_ffmpeg.write_frames(
        path, (width, height), fps=fps, macro_block_size=1, quality=9, output_params=list(parameters)
    )
    writer.send(None)
    for picture in pictures:
        colours = picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=-1)
        writer.send(np.ascontiguousarray(colours))
    writer.close()
    return path


def test_blur_lowers_the_sharpness_and_exposure_does_not_change_it():
    grey = texture()
    values = [sharpness(grey), *(sharpness(blurred(grey, radius)) for radius in (0.5, 1, 2, 4))]
    assert values == sorted(values, reverse=True) and values[0] > 5 * values[-1]
    assert sharpness(grey // 2 + 20) == pytest.approx(values[0], rel=0.05)


def test_motion_blur_lowers_the_sharpness():
    grey = texture().astype(float)
    moved = np.mean([np.roll(grey, shift, axis=1) for shift in range(6)], axis=0).astype(np.uint8)
    assert sharpness(moved) < 0.7 * sharpness(grey.astype(np.uint8))


def test_one_tone_and_tiny_pictures_are_not_sharp():
    assert sharpness(np.full((8, 8), 200, np.uint8)) == 0.0
    assert sharpness(np.zeros((2, 9), np.uint8)) == 0.0


def test_each_window_gives_its_sharpest_frame():
    values = [0.0, 3.0, 1.0, 5.0, 4.0, 2.0, 9.0, 8.0, 7.0]
    assert choose(values, 3) == [1, 3, 6]
    assert choose(values, 100) == list(range(9))
    assert choose([], 3) == []


@pytest.mark.parametrize(("count", "total"), [(7, 100), (60, 61), (1, 5)])
def test_windows_cover_all_frames_and_differ_by_at_most_one(count, total):
    chosen = choose([float(i) for i in range(total)], count)  # the last frame of each window
    lengths = np.diff([-1, *chosen])
    assert len(chosen) == count and chosen[-1] == total - 1
    assert lengths.max() - lengths.min() <= 1


def test_a_long_video_gives_two_a_second_within_limits():
    assert frames.default_count(50.0, 1500) == 100
    assert frames.default_count(5.0, 150) == frames.FEWEST
    assert frames.default_count(3600.0, 108_000) == frames.MOST
    assert frames.default_count(1.0, 12) == 12


def test_the_sharp_frames_of_a_video_are_written_with_their_own_content(tmp_path):
    """Every third frame is sharp; its brightness tells which it is."""
    pictures = []
    for number in range(12):
        grey = texture(seed=number) if number % 3 == 1 else blurred(texture(seed=number), 3)
        pictures.append((0.3 * (grey - grey.mean()) + 50 + 10 * number).astype(np.uint8))
    path = write_video(tmp_path / "a film ü:1.mp4", pictures)
    planned = frames.plan(path, 4)
    assert [frame.number for frame in planned.kept] == [1, 4, 7, 10]
    assert [frame.time for frame in planned.kept] == pytest.approx([0.1, 0.4, 0.7, 1.0])
    frames.write(path, planned, tmp_path / "out")
    for frame in planned.kept:
        with Image.open(tmp_path / "out" / frame.name) as image:
            assert image.size == (64, 48)
            assert np.array(image).mean() == pytest.approx(50 + 10 * frame.number, abs=3)


def test_a_video_that_lies_on_its_side_comes_out_upright(tmp_path):
    flat = write_video(tmp_path / "flat.mp4", [texture(seed=i) for i in range(4)])
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-display_rotation", "90", "-i", flat]
    subprocess.run([*command, "-c", "copy", tmp_path / "turned.mp4"], check=True)
    planned = frames.plan(tmp_path / "turned.mp4")
    assert frames.write(tmp_path / "turned.mp4", planned, tmp_path / "out") == (48, 64)
    with Image.open(tmp_path / "out" / planned.kept[0].name) as image:
        assert image.size == (48, 64)


def test_a_video_that_changes_its_rate_gives_each_frame_once(tmp_path):
    path = write_video(tmp_path / "a.mkv", [texture(seed=i) for i in range(9)], parameters=["-r", "10"])
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", path, "-vf"]
    uneven = tmp_path / "uneven.mkv"
    subprocess.run(
        [*command, "setpts='if(lt(N,5),N,3*N)/10/TB'", "-fps_mode", "passthrough", uneven], check=True
    )
    assert frames.plan(uneven).frames == 9


def not_a_video(path, kind):
    if kind == "text":
        path.write_text("ffconcat version 1.0\nfile other.mp4\n")
    elif kind == "sound":
        with wave.open(str(path), "wb") as sound:
            sound.setparams((1, 2, 8000, 0, "NONE", ""))
            sound.writeframes(b"\0\1" * 800)
    elif kind == "playlist":
        path.write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n")
    elif kind == "cut":
        whole = write_video(path, [texture(seed=i) for i in range(9)]).read_bytes()
        path.write_bytes(whole[: len(whole) // 3])
    else:
        path.write_bytes(b"")
    return path


@pytest.mark.parametrize("kind", ["text", "sound", "playlist", "cut", "empty"])
def test_what_is_no_video_is_refused_in_one_line(tmp_path, kind):
    path = not_a_video(tmp_path / "a.mp4", kind)
    with pytest.raises(PosesError, match=r"a\.mp4: no video that ffmpeg can read"):
        frames.plan(path)


def test_a_single_frame_is_refused(tmp_path):
    with pytest.raises(PosesError, match="at least two frames, got 1 of 1"):
        frames.plan(write_video(tmp_path / "a.mp4", [texture()]))
