"""`render train` on a capture: bounds chosen and said, kept through a resume, settings that suit them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

import render
from render.commands.train import main
from render.run import RunError
from scenes import formats
from scenes.generate.analytic import generate
from scenes.images import ImageSequence


@pytest.fixture(scope="module")
def capture(tmp_path_factory) -> Path:
    """The spheres as nerfstudio has them, in pictures without alpha."""
    scene = generate("spheres", width=32, views={"train": 12})["train"]
    pictures = tuple(scene.images[i][..., :3] for i in range(len(scene)))
    filled = replace(scene, images=ImageSequence(pictures), has_alpha=False, background=None)
    folder = tmp_path_factory.mktemp("capture") / "spheres"
    formats.format_module("nerfstudio").write(filled, folder)
    return folder


def train(*arguments: object) -> int:
    small = ["log2_table_size=12", "occupancy_resolution=32", "first_samples=4000", "last_samples=4000"]
    extra = [part for setting in small for part in ("--set", setting)]
    return main([*map(str, arguments), *extra])


def test_a_capture_that_fills_its_frames_is_trained_without_an_end_to_space(capture, tmp_path, capsys):
    assert train(capture, "--steps", 30, "--out", tmp_path / "run") == 0
    said = capsys.readouterr().out
    assert "bounds: unbounded (the pictures fill their frames); inward" in said
    assert "psnr" in said
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["scene"]["bounds"]["unbounded"] and config["bounds"] == "auto"
    assert config["settings"]["density_shift"] == 0.0
    model = render.load(tmp_path / "run")
    assert model.unbounded and model.occupancy.levels > 1


def test_bounds_that_are_asked_for_are_kept_and_a_resume_may_not_change_them(capture, tmp_path, capsys):
    out = tmp_path / "run"
    assert train(capture, "--steps", 20, "--bounds", "box", "--out", out) == 0
    assert "bounds: box (asked for)" in capsys.readouterr().out
    config = json.loads((out / "config.json").read_text())
    assert not config["scene"]["bounds"]["unbounded"] and config["settings"]["density_shift"] == 1.0
    with pytest.raises(RunError, match=r"bounds=box, a resume cannot make that unbounded"):
        train(capture, "--steps", 30, "--bounds", "unbounded", "--out", out, "--resume")
    assert train(capture, "--steps", 30, "--out", out, "--resume") == 0
    with pytest.raises(ValueError, match=r"bounds 'around' is unknown; choose one of auto, box, unbounded"):
        train(capture, "--steps", 30, "--bounds", "around", "--out", tmp_path / "other")
    assert not (tmp_path / "other").exists()
