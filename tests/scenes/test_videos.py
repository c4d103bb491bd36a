"""A video's frames come one by one, each once, and as they were."""

import subprocess

import imageio_ffmpeg
import numpy as np
import pytest

from scenes import videos
from scenes.images import ImageError
from scenes.videos import video_frames, video_rate, video_seconds


@pytest.fixture
def steps(tmp_path):
    """Ten even frames of 48 x 32 at 5 a second, each lighter than the one before."""
    writer = imageio_ffmpeg.write_frames(tmp_path / "a.mp4", (48, 32), fps=5, macro_block_size=1, quality=9)
    writer.send(None)
    for index in range(10):
        writer.send(np.full((32, 48, 3), 20 * index + 20, np.uint8))
    writer.close()
    return tmp_path / "a.mp4"


def test_each_frame_comes_once_and_in_order(steps):
    colour, grey = list(video_frames(steps)), list(video_frames(steps, "gray"))
    assert [frame.shape for frame in colour] == 10 * [(32, 48, 3)]
    assert [frame.shape for frame in grey] == 10 * [(32, 48)]
    for index, frame in enumerate(colour):
        assert frame.mean() == pytest.approx(20 * index + 20, abs=3)
    assert video_seconds(steps) == pytest.approx(2.0, abs=0.05)


def test_the_rate_is_that_of_the_pictures_whatever_the_sound(steps, tmp_path):
    """Two seconds of pictures under five of sound."""
    both = tmp_path / "both.mp4"
    sound = ["-f", "lavfi", "-i", "sine=duration=5"]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(steps), *sound, "-c:v", "copy", str(both)]
    subprocess.run(command, check=True, capture_output=True)
    assert video_seconds(both) == pytest.approx(5.0, abs=0.1)
    assert video_rate(both) == video_rate(steps) == 5.0


def test_vast_frames_are_refused_before_they_are_read(steps, monkeypatch):
    monkeypatch.setattr(videos, "MAX_PIXELS", 1000)
    with pytest.raises(ImageError, match="48 x 32 is more than 1000 pixels"):
        next(video_frames(steps))


def test_what_is_no_video_has_no_frames_and_no_length(tmp_path):
    (tmp_path / "a.mp4").write_text("not a film")
    assert not list(video_frames(tmp_path / "a.mp4"))
    assert video_seconds(tmp_path / "a.mp4") == video_rate(tmp_path / "a.mp4") == 0.0
