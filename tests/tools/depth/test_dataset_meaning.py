"""What of a data set is known where nobody says it, and how its pictures are called."""

import json

import pytest

from tests.tools.depth.test_datasets import ours, put, put_rgb
from tools.depth.datasets import DepthSetError, read_set


def test_zero_of_inverse_depth_is_infinitely_far_unless_the_set_says_unknown(tmp_path):
    ours(tmp_path, unknown=[])
    assert read_set(tmp_path).read(0).known.all()
    ours(tmp_path, unknown=[0, 100])
    assert (~read_set(tmp_path).read(0).known).sum() == 2


@pytest.mark.parametrize(("kind", "unknown"), [("z_depth", 1), ("inverse_depth", 1), ("relative_inverse", 0)])
def test_where_nobody_says_it_zero_is_unknown_but_for_depth_without_a_zero(kind, unknown, tmp_path):
    """Whether dataset.json tells the kind, or the caller does."""
    ours(tmp_path, kind=kind)
    told = json.loads((tmp_path / "dataset.json").read_text())
    (tmp_path / "dataset.json").write_text(json.dumps({k: v for k, v in told.items() if k != "unknown"}))
    assert (~read_set(tmp_path).read(0).known).sum() == unknown
    (tmp_path / "dataset.json").unlink()
    assert (~read_set(tmp_path, kind=kind, unit=1).read(0).known).sum() == unknown


def test_pictures_of_one_name_in_several_folders_are_told_apart(tmp_path):
    """As those of two of KITTI's drives."""
    files = []
    for drive in ("one", "two"):
        put_rgb(tmp_path / drive / "0069.png")
        put(tmp_path / drive / "0069_depth.png")
        files.append({"rgb": f"{drive}/0069.png", "depth": f"{drive}/0069_depth.png", "depth_scale": 256})
    (tmp_path / "test_annotations.json").write_text(json.dumps({"files": files}))
    assert [pair.name for pair in read_set(tmp_path).pairs] == ["one/0069", "two/0069"]


def test_a_collection_that_was_broken_off_is_said_to_be_one(tmp_path):
    for part in ("rgb", "depth"):
        (tmp_path / part).mkdir()
    (tmp_path / "rooms.json").write_text("{}")
    with pytest.raises(DepthSetError, match="was not made to its end; give the same"):
        read_set(tmp_path)
