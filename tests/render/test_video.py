"""Films keep their size, their time and their colours, and are never half there."""

import re
import subprocess
import weakref

import imageio_ffmpeg
import pytest
import torch

from render.video import VideoError, write_gif, write_video


def read_back(path, height, width):
    """The frames, and what ffmpeg says about the file."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", path, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    done = subprocess.run(command, capture_output=True, check=True)
    frames = torch.frombuffer(bytearray(done.stdout), dtype=torch.uint8).reshape(-1, height, width, 3)
    return done.stderr.decode(), frames


def grey(value, height, width):
    return torch.full((height, width, 3), value, dtype=torch.uint8)


def test_frames_come_back_in_order_at_their_size(tmp_path):
    """Sizes that 16 does not divide are not rescaled."""
    path = tmp_path / "deep" / "orbit.mp4"
    write_video(path, (grey(value, 50, 70) for value in (20, 90, 160, 230)), fps=10)
    said, frames = read_back(path, 50, 70)
    assert re.search(r"Video: h264.* yuv420p.* 70x50.* 10 fps", said)
    assert [round(float(frame.float().mean()), -1) for frame in frames] == [20, 90, 160, 230]
    assert [entry.name for entry in path.parent.iterdir()] == ["orbit.mp4"]


def test_odd_sides_get_one_more_pixel(tmp_path):
    write_video(tmp_path / "odd.mp4", [grey(100, 31, 45)] * 2)
    said, frames = read_back(tmp_path / "odd.mp4", 32, 46)
    assert " 46x32" in said and len(frames) == 2
    assert int(frames[0][-1, -1, 0]) == pytest.approx(100, abs=3)  # a copy of its neighbour, not black


def test_frames_are_taken_one_at_a_time(tmp_path):
    alive = weakref.WeakSet()

    def pictures():
        for _ in range(6):
            assert len(alive) <= 2  # the one before may still be held while the next is made
            picture = grey(10, 16, 16)
            alive.add(picture)
            yield picture

    write_video(tmp_path / "a.mp4", pictures())


def test_a_failure_leaves_nothing(tmp_path):
    def pictures():
        yield grey(10, 16, 16)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_video(tmp_path / "a.mp4", pictures())
    with pytest.raises(VideoError, match="no pictures"):
        write_video(tmp_path / "b.mp4", [])
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(VideoError, match=r"file/a.mp4: not written"):
        write_video(tmp_path / "file" / "a.mp4", [grey(10, 16, 16)])


@pytest.mark.parametrize("fps", [10, 24, 30])
def test_a_gif_shows_every_picture_for_its_time(tmp_path, fps):
    from PIL import Image

    path = tmp_path / "deep" / "turn.gif"
    write_gif(path, (grey(value, 21, 33) for value in range(10, 250, 8)), fps)
    with Image.open(path) as film:
        assert film.n_frames == 30 and film.size == (33, 21) and film.info["loop"] == 0
        shown = []
        for index in range(30):
            film.seek(index)
            shown.append(film.info["duration"])
            assert film.convert("RGB").getpixel((5, 5))[0] == pytest.approx(10 + 8 * index, abs=2)
    assert sum(shown) / 1000 == pytest.approx(30 / fps, rel=0.01)
    assert [entry.name for entry in path.parent.iterdir()] == ["turn.gif"]


def test_a_gif_that_cannot_be_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(VideoError, match="at most 50 pictures a second, not 60; lower --fps"):
        write_gif(tmp_path / "a.gif", [grey(10, 8, 8)], 60)
    with pytest.raises(VideoError, match="no pictures"):
        write_gif(tmp_path / "a.gif", [])

    with pytest.raises(VideoError, match=r"a\.gif: not written: .*; as \.mp4 it can be"):
        write_gif(tmp_path / "a.gif", [grey(10, 8, 8)] * 700, 1)  # one picture, for 700 seconds

    def pictures():
        yield grey(10, 8, 8)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_gif(tmp_path / "a.gif", pictures())
    assert list(tmp_path.iterdir()) == []
