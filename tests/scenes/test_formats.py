"""What is at a path: a scene in some format, photographs whose poses nobody knows, or nothing to train on."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import render
from scenes import formats
from scenes.generate.analytic import generate
from scenes.images import write_png
from scenes.photographs import kind_of, name_of, pictures_of
from scenes.scene import SceneError


def pictures(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_png(folder / name, torch.zeros(4, 4, 3, dtype=torch.uint8))
    return folder


def a_capture(folder: Path, *names: str, **keys: object) -> Path:
    """A nerfstudio capture that lists these pictures, whether they are there or not."""
    folder.mkdir(exist_ok=True)
    pose = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    frames = [{"file_path": name, "transform_matrix": pose} for name in names]
    lens = {"camera_model": "PINHOLE", "fl_x": 4, "w": 4, "h": 4}
    (folder / "transforms.json").write_text(json.dumps({**lens, **keys, "frames": frames}))
    return folder


def test_photographs_are_told_from_scenes_and_from_everything_else(tmp_path):
    plain = pictures(tmp_path / "plain", "a.JPG", "b.heic")
    inside = pictures(tmp_path / "inside", "images/a.png")
    scene = a_capture(pictures(tmp_path / "scene", "images/a.png", "images/b.png"), "images/a.png")
    video = tmp_path / "walk.MOV"
    video.write_bytes(b"")
    hidden = pictures(tmp_path / "hidden", "._a.png")
    found = {path.name: formats.unposed(path) for path in (plain, inside, scene, video, hidden, tmp_path)}
    assert found == {
        "plain": "photographs",
        "inside": "photographs",
        "scene": None,
        "walk.MOV": "video",
        "hidden": None,
        tmp_path.name: None,
    }
    assert kind_of(plain / "a.JPG") is None and kind_of(tmp_path / "none") is None
    assert [file.name for file in pictures_of(inside)] == ["a.png"]


def test_names_of_runs_are_those_of_what_they_are_trained_on(tmp_path):
    """A video's without its suffix, a found scene's without .scene, a scene file's from its folder."""
    pictures(tmp_path / "v1.2", "a.png")
    (tmp_path / "walk.mp4").write_bytes(b"")
    (tmp_path / "v1.2" / "transforms.json").write_text("{}")
    for path, name in (
        ("v1.2", "v1.2"),
        ("walk.mp4", "walk"),
        ("garden.scene", "garden"),
        ("v1.2/transforms.json", "v1.2"),
    ):
        assert name_of(tmp_path / path) == name


@pytest.mark.parametrize("read", [formats.detect, formats.read, formats.splits, render.train])
def test_photographs_without_poses_name_the_commands_that_find_them(read, tmp_path):
    """Also in the library, which does not find them by itself."""
    folder = pictures(tmp_path / "garden", "a.png", "b.png")
    with pytest.raises(SceneError, match=r"garden: is a folder of photographs without poses; .*render poses"):
        read(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["garden"]


def test_a_split_that_is_not_there_is_told_from_a_broken_scene(tmp_path):
    single = a_capture(pictures(tmp_path / "single", "a.png"), "a.png")
    with pytest.raises(formats.NoSplit, match=r"no split 'test'; there are: train"):
        formats.read(single, "test")
    generate("spheres", tmp_path / "toy", width=4, views={"train": 2}, supersampling=1)
    with pytest.raises(formats.NoSplit, match=r"no split 'test'; the splits that are there: train"):
        formats.read(tmp_path / "toy", "test")
    with pytest.raises(SceneError) as caught:
        formats.read(tmp_path, "test")
    assert not isinstance(caught.value, formats.NoSplit)


def test_what_a_capture_warns_of_is_shown_once_however_often_it_is_read(tmp_path):
    """Python shows a warning once for the place that it comes from.

    In a process of its own: to check types at run time, as tests do, makes Python forget what it showed.
    """
    folder = pictures(tmp_path / "some", "a.png", "b.png")
    a_capture(folder, "a.png", "b.png", ply_file_path="lost.ply")
    code = (
        f"from scenes import formats; splits = formats.splits({str(folder)!r}); assert len(splits) == 2; "
        f"print([len(formats.read({str(folder)!r}, split)) for split in splits])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[1, 1]" and told.stderr.count("SceneWarning") == 1


def test_all_splits_of_files_are_joined_with_their_names(tmp_path):
    """So that a format which holds all pictures in one file can list them."""
    generate("spheres", tmp_path / "toy", width=4, views={"train": 3, "test": 2}, supersampling=1)
    scene = formats.read(tmp_path / "toy", "all")
    assert {split: len(names) for split, names in scene.splits.items()} == {"train": 3, "test": 2}
    assert scene.splits["train"] + scene.splits["test"] == scene.frame_names
    with pytest.raises(SceneError, match=r"toy: its splits are files of their own; leave --hold-out"):
        formats.read(tmp_path / "toy", "train", hold_out=("r_0",))
