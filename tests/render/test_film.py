"""A film shows what was asked for, and one that is broken off goes on where it stopped."""

import pytest
import torch

from render.film import KeptFrames, film_key
from render.methods.base import Rendered
from render.modes import Scale
from render.video import VideoError
from scenes.crop import Crop
from scenes.generate.analytic import rig


class Slab:
    """Grey everywhere, at a depth that grows from 2 on the left to 4 on the right; nothing in the top row."""

    def render(self, camera, outputs=("rgb",), background=None, crop=None):
        height, width = camera.height, camera.width
        opacity = torch.ones(height, width)
        opacity[0] = 0
        depth = torch.linspace(2, 4, width).expand(height, -1) * opacity
        return Rendered(rgb=torch.full((height, width, 3), 0.5), opacity=opacity, z_depth=depth)

    def state(self):
        return {"w": torch.ones(3), "optimizer.m": torch.zeros(3)}


def nothing(done, total):
    pass


def test_kept_frames_are_not_drawn_again(tmp_path):
    drawn = []

    def draw(index):
        if len(drawn) == 3:
            raise KeyboardInterrupt
        drawn.append(index)
        return torch.full((4, 6, 3), 10 * index, dtype=torch.uint8)

    folder = tmp_path / ".film.frames"
    with pytest.raises(KeyboardInterrupt):
        list(KeptFrames(folder, "a").pictures(5, draw, nothing))
    assert drawn == [0, 1, 2]
    kept = KeptFrames(folder, "a")
    assert kept.there(5) == 3
    drawn.clear()
    pictures = list(kept.pictures(5, draw, nothing))
    assert drawn == [3, 4] and [int(p[0, 0, 0]) for p in pictures] == [0, 10, 20, 30, 40]
    kept.remove()
    assert not folder.exists()


def test_another_film_starts_afresh_and_leaves_what_is_not_its_own(tmp_path):
    folder = tmp_path / "frames"
    KeptFrames(folder, "a").path(0).write_bytes(b"a picture of a")
    (folder / "notes.txt").write_text("mine")
    assert KeptFrames(folder, "b").there(3) == 0
    KeptFrames(folder, "b").remove()
    assert [entry.name for entry in folder.iterdir()] == ["notes.txt"]
    (folder / "frame-00000.png").write_bytes(b"mine")
    (folder / "film.json").write_text("mine too")
    with pytest.raises(VideoError, match=r"frames: holds frames already; choose another place with --out"):
        KeptFrames(folder, "b")
    assert (folder / "frame-00000.png").read_bytes() == b"mine"
    with pytest.raises(VideoError, match=r"notes\.txt: is a file"):
        KeptFrames(folder / "notes.txt", "b")


def test_the_key_changes_with_what_is_shown():
    """Model, cameras, modes; but not with the optimiser."""
    cameras, model = rig(3, 8, 0.0), Slab()
    key = film_key(model, cameras, ("rgb",))
    assert key == film_key(Slab(), cameras, ("rgb",))
    other, learning = Slab(), Slab()
    other.state = lambda: {"w": torch.zeros(3), "optimizer.m": torch.zeros(3)}
    learning.state = lambda: {"w": torch.ones(3), "optimizer.m": torch.ones(3)}
    assert film_key(learning, cameras, ("rgb",)) == key
    different = [
        (other, cameras, ("rgb",)),
        (model, rig(3, 8, 0.1), ("rgb",)),
        (model, cameras, ("rgb", "depth")),
        (model, rig(3, 9, 0.0), ("rgb",)),
        (model, cameras, ("rgb",), (1.0, 0.0, 0.0)),
        (model, cameras, ("rgb",), None, Crop((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))),
        (model, cameras, ("rgb",), None, None, Scale(1.0, 3.0)),
    ]
    assert len({key, *(film_key(*each) for each in different)}) == 1 + len(different)


def test_a_damaged_record_of_the_film_starts_afresh(tmp_path):
    KeptFrames(tmp_path / "f", "a").path(0).write_bytes(b"x")
    record = tmp_path / "f" / ".render-film.json"
    record.write_text(record.read_text()[:-3])
    assert KeptFrames(tmp_path / "f", "a").there(1) == 0


def test_a_damaged_frame_is_drawn_again(tmp_path):
    kept = KeptFrames(tmp_path / "f", "a")
    kept.path(1).write_bytes(b"")
    pictures = list(
        kept.pictures(2, lambda index: torch.full((4, 6, 3), 9 + index, dtype=torch.uint8), nothing)
    )
    assert [int(p[0, 0, 0]) for p in pictures] == [9, 10] and kept.path(1).stat().st_size > 0
