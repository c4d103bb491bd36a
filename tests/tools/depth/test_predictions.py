"""Predictions as files: whose they are, and what they hold."""

import json

import numpy as np
import pytest
import torch

from render.cli import main
from tests.tools.depth.test_evaluation import evaluated, put_predictions, put_set, random_depth, row_of
from tools.depth.datasets import read_set
from tools.depth.evaluation import z_depth_of
from tools.depth.outputs import Wanted, places, write_picture, write_table
from tools.depth.predict import Depth

KINDS = ("inverse_relative", "metric")


@pytest.fixture
def rooms(tmp_path):
    return put_set(tmp_path / "rooms", [random_depth(0), random_depth(1)])


def truths(rooms):
    found = read_set(rooms)
    for index, pair in enumerate(found.pairs):
        truth = z_depth_of(found.read(index), found)
        yield pair.rgb.stem, torch.where(truth > 0, truth, 3.0).float()


def put_depth(folder, name, depth, formats):
    """As `render depth` writes it."""
    folder.mkdir(exist_ok=True)
    files = places(folder, name, formats, video=False)
    table = files.pop("table")
    image = torch.zeros(*depth.values.shape, 3, dtype=torch.uint8)
    write_table(table, write_picture(files, depth, image, Wanted(formats)))


@pytest.mark.parametrize("formats", [("png16",), ("npy",)])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("align", ["inverse", "median"])
def test_files_of_render_depth_say_what_they_hold(kind, formats, align, rooms, tmp_path, capfd):
    for stem, z_depth in truths(rooms):
        values = z_depth if kind == "metric" else 3 / z_depth + 0.2
        put_depth(tmp_path / "guesses", stem, Depth(values, kind), formats)
    arguments = ("--predictions", tmp_path / "guesses", "--align", align)
    if kind == "metric" or align == "inverse":
        assert row_of(evaluated(capfd, rooms, *arguments))["abs_rel"] < 5e-4
        other = {"metric": "relative_inverse", "inverse_relative": "z_depth"}[kind]
        arguments = (*arguments, "--predicted-kind", other)
        message = "not " + other
    else:
        message = "which only --align inverse can bring near"
    assert main(["depth-eval", str(rooms), *map(str, arguments)]) == 1
    assert message in capfd.readouterr().err


def test_a_kind_that_nobody_knows_is_named(rooms, tmp_path, capfd):
    for stem, z_depth in truths(rooms):
        put_depth(tmp_path / "guesses", stem, Depth(z_depth, "metric"), ("npy",))
    table = tmp_path / "guesses" / "1-depth.json"
    table.write_text(json.dumps({**json.loads(table.read_text()), "kind": "deep"}))
    assert main(["depth-eval", str(rooms), "--predictions", str(tmp_path / "guesses")]) == 1
    assert "1-depth.npy: is said to be 'deep'; known: inverse_relative, metric" in capfd.readouterr().err


def test_a_file_is_of_one_picture(tmp_path, capfd):
    """Two scenes of a set with pictures of one name: predictions lie in folders, as the pictures do."""
    for seed, scene in enumerate(("alley", "cave")):
        for kind in ("final", "depth"):
            (tmp_path / "set" / kind / scene).mkdir(parents=True)
        depth = random_depth(seed).astype(np.float32)
        depth[depth == 0] = 3
        write_sintel(tmp_path / "set", scene, depth)
    found = read_set(tmp_path / "set")
    guesses = tmp_path / "guesses"
    put_predictions(guesses, found)  # by stems: the second replaces the first
    assert main(["depth-eval", str(tmp_path / "set"), "--predictions", str(guesses)]) == 1
    said = capfd.readouterr().err
    assert "may be of two pictures, alley/frame_0001 and cave/frame_0001" in said
    for index, pair in enumerate(found.pairs):
        (guesses / pair.name).parent.mkdir(parents=True, exist_ok=True)
        np.save(guesses / f"{pair.name}.npy", z_depth_of(found.read(index), found).numpy())
    result = evaluated(
        capfd, tmp_path / "set", "--predictions", guesses, "--predicted-kind", "z_depth", "--align", "none"
    )
    assert row_of(result)["abs_rel"] == 0


def write_sintel(folder, scene, z_depth):
    from PIL import Image

    height, width = z_depth.shape
    Image.new("RGB", (width, height)).save(folder / "final" / scene / "frame_0001.png")
    head = np.array([202021.25], "<f4").tobytes() + np.array([width, height], "<i4").tobytes()
    (folder / "depth" / scene / "frame_0001.dpt").write_bytes(head + z_depth.astype("<f4").tobytes())


@pytest.mark.parametrize("align", ["inverse", "median", "none"])
def test_z_depth_of_zero_is_no_depth(align, rooms, tmp_path, capfd):
    """One pixel of 0 was the nearest thing, and scaled all others."""

    def holed(z_depth):
        z_depth[5, 5:8] = 0
        return z_depth

    guesses = put_predictions(tmp_path / "guesses", read_set(rooms), holed)
    arguments = ("--predictions", guesses, "--predicted-kind", "z_depth", "--align", align)
    assert main(["depth-eval", str(rooms), *map(str, arguments)]) == 1
    assert "pixels that count; fill them" in capfd.readouterr().err


def test_a_folder_that_is_not_there_is_named(rooms, tmp_path, capfd):
    assert main(["depth-eval", str(rooms), "--predictions", str(tmp_path / "nosuch")]) == 1
    assert "nosuch: no such folder" in capfd.readouterr().err
