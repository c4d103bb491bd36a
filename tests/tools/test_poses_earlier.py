"""Poses that were found before are used again, for the same files and for no others."""

import json
import os
from pathlib import Path

import pytest
from PIL import Image

from render.console import Console
from tools.poses import command, earlier
from tools.poses.command import parsed, settle
from tools.poses.photos import PosesError


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in "abc":
        Image.new("RGB", (8, 6)).save(folder / f"{name}.png")
    return folder


def scene_of(photos: Path, out: Path) -> Path:
    """What `render poses` leaves of these photographs, as far as it is looked at here."""
    (out / "images").mkdir(parents=True)
    for file in photos.iterdir():
        os.link(file, out / "images" / file.name)
    asked = settle(parsed([str(photos), "--out", str(out)])).asked
    (out / "poses.json").write_text(json.dumps({"asked": asked}))
    return out


def again(photos: Path, out: Path, *options: str) -> int:
    return command.main([str(photos), "--out", str(out), "--reuse", *options])


def files(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(file.relative_to(folder)): (file.read_bytes(), file.stat().st_mtime_ns)
        for file in folder.rglob("*.*")
    }


@pytest.mark.parametrize("options", [[], ["--overwrite"], ["--camera-model", "OPENCV"]])
def test_a_scene_of_the_same_files_is_kept_however_it_was_made(photos, tmp_path, capsys, options):
    """And said; without any work, so that it does for somebody without pycolmap too."""
    out = scene_of(photos, tmp_path / "out")
    before = files(tmp_path)
    assert again(photos, out, *options) == 0
    assert capsys.readouterr().out == f"{out}: has the poses of the same 3 pictures, found before\n"
    assert files(tmp_path) == before


def test_a_scene_of_other_files_is_not_taken_for_theirs(photos, tmp_path):
    """One new, one gone, one changed: each is named. With --overwrite its poses are looked for."""
    out = scene_of(photos, tmp_path / "out")
    (photos / "a.png").rename(photos / "d.png")
    (photos / "c.png").write_bytes((photos / "c.png").read_bytes() + b"\0")
    with pytest.raises(PosesError, match=r"1 new: d\.png; 1 gone: a\.png; 1 changed: c\.png\).*--overwrite"):
        again(photos, out)
    with pytest.raises(PosesError, match="no poses found"):
        again(photos, out, "--overwrite", "--quiet")
    assert (out / "poses.json").is_file(), "it stays until there is a better one"


def test_a_scene_beside_lends_its_poses(photos, tmp_path, capsys):
    """By links, whole, and only to the same files; a copy that broke off is not taken for one."""
    scene_of(photos, tmp_path / "runs" / "first.scene")
    scene_of(photos, tmp_path / "runs" / ".cut.scene.new")
    out = tmp_path / "runs" / "second.scene"
    assert again(photos, out) == 0
    assert f"found before for {tmp_path / 'runs' / 'first.scene'}" in capsys.readouterr().out
    assert os.path.samefile(out / "images" / "a.png", photos / "a.png")
    assert earlier.files_of(out) == earlier.files_of(tmp_path / "runs" / "first.scene") is not None
    Image.new("RGB", (8, 6)).save(photos / "d.png")
    other = settle(parsed([str(photos), "--out", str(tmp_path / "runs" / "third.scene")]))
    assert not earlier.reuse(other, False, Console(quiet=True)) and not other.out.exists()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"asked": 3}'])
def test_a_report_that_is_none_is_nobodys(photos, tmp_path, text):
    out = scene_of(photos, tmp_path / "out")
    (out / "poses.json").write_text(text)
    assert earlier.files_of(out) is None
    with pytest.raises(PosesError, match="is there already"):
        again(photos, out)


def test_many_names_are_cut_short():
    known, files = {}, {f"{i}.jpg": [i, 0] for i in range(9)}
    assert earlier.difference(known, files) == "9 new: 0.jpg, 1.jpg, 2.jpg, 3.jpg, ..."
