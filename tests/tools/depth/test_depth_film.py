"""A film of what does not move keeps its depth, whatever the network makes of scale and shift."""

from dataclasses import replace

import imageio_ffmpeg
import numpy as np
import pytest
import torch

from scenes.images import ImageError
from scenes.videos import video_frames, video_seconds
from tools.depth.film import write_film
from tools.depth.models import RELEASED
from tools.depth.outputs import Wanted, places, read_png16
from tools.export.folder import ExportError

MODEL = replace(RELEASED["small"], wanted=(64, 64))
WIDTH, HEIGHT, FRAMES = 96, 64, 6


def film_of(path, pictures, fps=10):
    height, width = pictures[0].shape[:2]
    writer = imageio_ffmpeg.write_frames(path, (width, height), fps=fps, macro_block_size=1, quality=9)
    writer.send(None)
    for picture in pictures:
        writer.send(np.ascontiguousarray(picture))
    writer.close()
    return path


@pytest.fixture(scope="module")
def still(tmp_path_factory):
    """A film of one picture, six times: rings around the middle."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    rings = 128 + 100 * np.sin(np.hypot(y - 30, x - 40) / 6)
    picture = np.repeat(rings[..., None], 3, axis=-1).astype(np.uint8)
    return film_of(tmp_path_factory.mktemp("film") / "still.mp4", [picture] * FRAMES)


class Drifting(torch.nn.Module):
    """Answers with brightness, every time in another scale and shift."""

    def __init__(self):
        super().__init__()
        self.random, self.calls = np.random.default_rng(0), 0

    def forward(self, image):
        self.calls += 1
        return self.random.uniform(0.3, 3) * image.mean(dim=1, keepdim=True) + self.random.uniform(-5, 5)


def written(network, video, folder, formats, *, model=MODEL, **options):
    wanted = Wanted(formats)
    files = places(folder, video.stem, formats, video=True)
    files.pop("table")
    return write_film(network, model, video, files, wanted, **options), files


def frames_of(files):
    return [np.load(path) for path in sorted(files["npy"].iterdir()) if path.suffix == ".npy"]


def test_what_does_not_move_keeps_its_depth(still, tmp_path):
    facts, files = written(Drifting(), still, tmp_path, ("npy",))
    first, *others = frames_of(files)
    assert len(others) == FRAMES - 1 == facts["frames"] - 1 and facts["aligned"] and not facts["cuts"]
    assert first.shape == (HEIGHT, WIDTH)
    for other in others:
        assert np.abs(other - first).max() < 0.02 * np.ptp(first)


def test_without_alignment_each_frame_is_as_the_network_has_it(still, tmp_path):
    facts, files = written(Drifting(), still, tmp_path, ("npy",), align=False)
    first, *others = frames_of(files)
    assert not facts["aligned"]
    assert all(np.abs(other - first).max() > 0.3 * np.ptp(first) for other in others)


def test_metres_are_left_alone(still, tmp_path):
    model = replace(MODEL, metric=(0.001, 0.2))
    facts, files = written(Drifting(), still, tmp_path, ("npy",), model=model)
    network = Drifting()
    frames = frames_of(files)
    assert facts["kind"] == "metric" and facts["unit"] == "metre" and not facts["aligned"]
    for frame, colours in zip(frames, video_frames(still), strict=True):
        from tools.depth.predict import predicted

        assert np.array_equal(frame, predicted(network, model, torch.from_numpy(colours.copy())).values)


def test_a_film_has_one_scale_its_own_length_and_a_frame_for_a_frame(still, tmp_path):
    facts, files = written(Drifting(), still, tmp_path, ("png16", "npy", "colour", "cloud"))
    names = [f"frame_{index:06d}" for index in range(FRAMES)]
    assert sorted(path.name for path in files["npy"].iterdir()) == sorted(
        name + suffix for name in names for suffix in (".npy", ".png")
    )
    assert sorted(path.name for path in files["cloud"].iterdir()) == [f"{name}.ply" for name in names]
    step = facts["png16"]["step"]
    for name, values in zip(names, frames_of(files), strict=True):
        stored = read_png16(files["png16"] / f"{name}.png")
        assert np.abs(stored.values.numpy() - values).max() < 0.51 * step + 1e-6
    assert facts["fps"] == pytest.approx(10, rel=0.02)
    assert (facts["width"], facts["height"]) == (WIDTH, HEIGHT)
    pictures = list(video_frames(files["colour"]))
    assert [picture.shape for picture in pictures] == FRAMES * [(HEIGHT, WIDTH, 3)]
    assert video_seconds(files["colour"]) == pytest.approx(FRAMES / 10, rel=0.05)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_another_shot_is_told(tmp_path):
    """Two shots of different pictures, of which the network makes different things."""
    random = np.random.default_rng(1)
    shots = [np.kron(random.integers(0, 256, (8, 12, 1)), np.ones((8, 8, 3))).astype(np.uint8) for _ in "ab"]
    video = film_of(tmp_path / "cut.mp4", [shots[0]] * 4 + [shots[1]] * 4)
    facts, _ = written(Drifting(), video, tmp_path, ("npy",))
    assert facts["cuts"] == [4]


class Failing(Drifting):
    def forward(self, image):
        if self.calls == 3:
            raise RuntimeError("out of luck")
        return super().forward(image)


def test_what_breaks_off_leaves_nothing(still, tmp_path, monkeypatch):
    with pytest.raises(RuntimeError, match="out of luck"):
        written(Failing(), still, tmp_path, ("png16", "colour"))
    assert not list(tmp_path.iterdir())

    def full(path, values):
        raise ExportError(f"{path}: cannot be written (No space left on device)")

    monkeypatch.setattr("tools.depth.outputs.write_npy", full)
    with pytest.raises(ExportError, match="No space left"):
        written(Drifting(), still, tmp_path, ("npy", "colour"))
    assert not list(tmp_path.iterdir())


def test_an_earlier_film_is_replaced_whole(still, tmp_path):
    folder = tmp_path / "still-depth"
    folder.mkdir()
    (folder / "frame_000099.npy").write_bytes(b"of a longer film")
    _, files = written(Drifting(), still, tmp_path, ("npy",))
    assert files["npy"] == folder and len(list(folder.iterdir())) == FRAMES


def test_what_is_no_video_is_said(tmp_path):
    (tmp_path / "a.mp4").write_text("no film")
    with pytest.raises(ImageError, match=r"a\.mp4: no video that ffmpeg can read"):
        written(Drifting(), tmp_path / "a.mp4", tmp_path, ("npy",))
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
