"""Folders of made-up pictures: what is written is read back, and is the same however it was made."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from render.cli import main
from scenes.generate import collection
from scenes.generate.collection import UNIT, VERSION_MADE, WELL_TOLD, Recipe, counts_of, generate
from scenes.generate.rooms import PLACES, views
from scenes.scene import SceneError
from tools.depth.datasets import read_set

ROOT = Path(__file__).parents[3]
RECIPE = Recipe("rooms", seed=3, width=32, height=24)
SHAPE = {"width": RECIPE.width, "height": RECIPE.height, "seed": RECIPE.seed}
COUNT = 6  # of two places


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """Made at once, by two processes."""
    folder = tmp_path_factory.mktemp("sets") / "whole"
    told: list[tuple[int, int]] = []
    assert generate(folder, count=COUNT, workers=2, progress=lambda *n: told.append(n), **SHAPE) == COUNT
    assert told[0] == (0, COUNT) and told[-1] == (COUNT, COUNT)
    return folder


def test_what_is_written_is_read_back(whole):
    found = read_set(whole)
    assert (found.layout, found.kind, found.cap, len(found)) == ("render", "inverse_depth", WELL_TOLD, COUNT)
    skies = 0
    for place, count in ((0, 4), (1, 2)):
        for view, made in enumerate(views(RECIPE.place_seed(place), RECIPE.width, RECIPE.height, count)):
            read = found.read(4 * place + view)
            z_depth, inverse = torch.from_numpy(made.z_depth), read.values
            near, sky = (z_depth > 0) & (z_depth <= WELL_TOLD), z_depth == 0
            assert read.known.all() and torch.equal(inverse == 0, sky)
            assert_close(inverse[near].reciprocal(), z_depth[near].float(), rtol=0.005, atol=0)
            assert np.abs(read.rgb.numpy().astype(int) - made.rgb).mean() < 4  # JPEG
            lens = [float(getattr(made.camera, name)) for name in ("fx", "fy", "cx", "cy")]
            assert read.camera == pytest.approx(lens)
            told = json.loads((whole / "cameras" / f"{found.pairs[4 * place + view].name}.json").read_text())
            assert_close(torch.tensor(told["camera_to_world"]), made.camera.camera_to_world)
            skies += int(sky.sum())


def test_counts_keep_a_half_percent_up_to_50_metres_and_the_sky_apart():
    z_depth = np.linspace(0.1, WELL_TOLD, 20_000)[None]
    read = 1 / (counts_of(z_depth) * UNIT)
    assert np.abs(read / z_depth - 1).max() < 0.005
    assert counts_of(np.array([[0.0, 1e9, 0.01]])).tolist() == [[0, 1, 65535]]


def test_one_process_makes_what_two_make_and_more_are_added_to_it(whole, tmp_path):
    assert generate(tmp_path / "set", count=1, workers=1, **SHAPE) == 1
    first = contents(tmp_path / "set")
    before = (tmp_path / "set" / "rgb" / "000000-0.jpg").stat().st_mtime_ns
    assert generate(tmp_path / "set", count=COUNT, workers=1, **SHAPE) == COUNT - 1
    again = contents(tmp_path / "set")
    assert again == contents(whole) and first.items() <= again.items()
    assert (tmp_path / "set" / "rgb" / "000000-0.jpg").stat().st_mtime_ns == before


def test_after_a_kill_it_goes_on_and_the_set_is_the_same(whole, tmp_path):
    """Killed when the first picture lies there: nothing is half, and what is there is kept."""
    folder = tmp_path / "set"
    call = f"generate(Path({str(folder)!r}), count={COUNT}, workers=2, **{SHAPE})"
    code = f"from pathlib import Path; from scenes.generate.collection import generate; {call}"
    process = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)})
    until = time.monotonic() + 120
    while not list(folder.glob("rgb/0*.jpg")) and time.monotonic() < until and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = {name: data for name, data in contents(folder).items() if "/." not in name}
    assert kept and not (folder / "dataset.json").exists()
    assert kept.items() <= contents(whole).items()
    (folder / "rgb" / f".000001-0.jpg.{process.pid}.unfinished").write_bytes(b"half a pict")
    generate(folder, count=COUNT, workers=1, **SHAPE)
    assert contents(folder) == contents(whole)


def test_two_that_make_one_folder_do_not_take_each_other_s_files(whole, tmp_path):
    """What a living process is writing stays; what a dead one left is removed."""
    folder = tmp_path / "set"
    generate(folder, count=1, **SHAPE)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    ours, left = (folder / "rgb" / f".000000-1.jpg.{pid}.unfinished" for pid in (os.getpid(), dead.pid))
    for file in (ours, left):
        file.write_bytes(b"half a pict")
    generate(folder, count=1, **SHAPE)
    assert ours.exists() and not left.exists()


def test_a_folder_of_another_generator_is_not_gone_on_with(tmp_path):
    """Places that this version makes are others: views of one place would show two."""
    folder = tmp_path / "set"
    generate(folder, count=1, **SHAPE)
    told = json.loads((folder / "rooms.json").read_text())
    (folder / "rooms.json").write_text(json.dumps({**told, "version": told["version"] - 1}))
    with pytest.raises(SceneError, match=r"generator 1, not of .*, generator 2; give"):
        generate(folder, count=2, **SHAPE)


def test_what_a_seed_means_has_a_version():
    """Shapes and patterns of some places. If they change, the generator is another: raise VERSION_MADE."""
    told = hashlib.sha256()
    for kind, (make, _) in PLACES.items():
        for seed in range(12):
            place, _ = make(np.random.default_rng(seed))
            told.update(f"{kind} {seed}".encode())
            for each in place.parts:
                shape = each.shape if isinstance(each.shape, str) else "mesh"
                told.update(f"{shape} {each.material.pattern} ".encode())
    assert (VERSION_MADE, told.hexdigest()[:12]) == (2, "f76c07732ca4")


def test_a_folder_of_something_else_is_left_alone(whole, tmp_path):
    with pytest.raises(SceneError, match=r"is of rooms, seed 3, 32 x 24, .*, not of rooms, seed 4, .*; give"):
        generate(whole, count=COUNT, **{**SHAPE, "seed": 4})
    with pytest.raises(SceneError, match="not of neighbours, seed 3"):
        generate(whole, count=COUNT, subject="neighbours", **SHAPE)
    with pytest.raises(ValueError, match="subject is 'oceans'; choose one of rooms, neighbours"):
        generate(whole, count=COUNT, subject="oceans", **SHAPE)
    (tmp_path / "photo.jpg").write_bytes(b"")
    with pytest.raises(SceneError, match="holds something else; name another folder"):
        generate(tmp_path, count=COUNT, **SHAPE)
    with pytest.raises(ValueError, match=r"count 0, .* at least 1"):
        generate(tmp_path / "new", count=0, **SHAPE)
    assert not (tmp_path / "new").exists()


def test_without_open3d_nothing_is_begun(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "open3d", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "\.\[viewer\]"'):
        generate(tmp_path / "new", count=1, **SHAPE)
    assert not (tmp_path / "new").exists()


def test_what_a_process_cannot_write_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(collection, "APART", "import sys; sys.exit(3)")
    with pytest.raises(RuntimeError, match="ended with code 3"):
        generate(tmp_path / "set", count=1, **SHAPE)
    error = 'import json; print(json.dumps({"error": "place 0 cannot be written (No space left)"}))'
    monkeypatch.setattr(collection, "APART", error)
    with pytest.raises(SceneError, match="No space left"):
        generate(tmp_path / "set", count=1, **SHAPE)


def test_the_command_says_how_fast_it_was(whole, capfd):
    size = f"{RECIPE.width}x{RECIPE.height}"
    arguments = ["scenes", "generate", "rooms", str(whole), "--count", str(COUNT), "--size", size]
    assert main([*arguments, "--seed", "3", "--workers", "2"]) == 0
    assert f"{whole}: {COUNT} pictures with depth, 0 of them made now" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rooms", "a", "--size", "256"], "'256' is no size of a picture; write it as 256x192"),
        (["rooms", "a", "--out", "b"], "two folders to write, a and b; give one"),
        (["rooms", "a", "--width", "64"], "--width is not for rooms"),
        (["spheres", "a", "--count", "3"], "--count is not for spheres"),
    ],
)
def test_a_wrong_option_is_named(arguments, message, capfd):
    assert main(["scenes", "generate", *arguments]) == 2
    assert message in capfd.readouterr().err
