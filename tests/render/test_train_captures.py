"""`render train` on a capture: bounds chosen and said, kept through a resume, settings that suit them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import render
from render.commands.eval import main as measured
from render.commands.train import main
from render.run import RunError, find
from scenes import formats
from scenes.generate.analytic import generate
from scenes.images import ImageSequence, write_png


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


def test_pictures_that_are_held_out_by_name_are_measured_and_stay_so(capture, tmp_path, capsys, mean_method):
    """In the run's own measure, in a later one, and through a resume, which may not change them."""
    names = [Path(name).stem for name in formats.read(capture, "all").frame_names]
    wanted, out = sorted(names)[3:6], tmp_path / "run"
    quick = (capture, "--method", mean_method, "--out", out)
    assert main([*map(str, quick), "--steps", "5", "--hold-out", ",".join(wanted)]) == 0
    metrics = out / "eval" / "test" / "metrics.json"
    for measure in (lambda: None, lambda: measured(["--json", str(out)])):
        measure()
        views = [view["name"] for view in json.loads(metrics.read_text())["per_view"]]
        assert sorted(views) == wanted
        metrics.write_text("{}")
    config = json.loads((out / "config.json").read_text())
    assert config["hold_out"] == wanted and config["scene"]["name"] == "spheres"
    with pytest.raises(RunError, match=r"was trained with hold_out=.*, a resume cannot make that \('x',\)"):
        main([*map(str, quick), "--steps", "6", "--resume", "--hold-out", "x"])
    assert (
        main([*map(str, quick), "--steps", "6", "--resume", "--hold-out", ",".join(wanted), "--quiet"]) == 0
    )
    capsys.readouterr()
    model = render.train(capture, mean_method, steps=2, hold_out=wanted, out=tmp_path / "library")
    assert model and json.loads((tmp_path / "library" / "config.json").read_text())["hold_out"] == wanted


def test_a_run_of_before_there_was_hold_out_is_read(capture, tmp_path, mean_method):
    render.train(capture, mean_method, steps=2, out=tmp_path / "run")
    file = tmp_path / "run" / "config.json"
    config = json.loads(file.read_text())
    del config["hold_out"]
    file.write_text(json.dumps(config))
    assert find(file)[0].config.hold_out == ()


def test_masks_of_a_capture_are_said(tmp_path, capsys, mean_method):
    scene = generate("spheres", width=16, views={"train": 3}, supersampling=1)["train"]
    formats.format_module("colmap").write(scene, tmp_path / "toy")
    images = tmp_path / "toy" / "images"
    names = [str(path.relative_to(images)) for path in sorted(images.rglob("*.png"))]
    for name in names[:2]:
        mask = tmp_path / "toy" / "masks" / f"{name}.png"
        mask.parent.mkdir(parents=True, exist_ok=True)
        write_png(mask, torch.full((16, 16, 3), 255, dtype=torch.uint8))
    hold_out = ("--hold-out", names[2])
    common = ("--method", mean_method, "--steps", "2", "--out", str(tmp_path / "run"))
    assert main([str(tmp_path / "toy"), *common, *hold_out]) == 0
    assert "masks: 2 of 2 pictures; what is black in them is not learnt" in capsys.readouterr().out


def test_the_switches_are_settings_of_the_method():
    from render.commands.train import SWITCHES, parser
    from render.methods.ngp import NGP
    from render.settings import parse_pairs

    options = parser().parse_args(["scene", "--refine-poses", "--set", "levels=7", "--appearance"])
    assert parse_pairs(options.set, NGP)[0] == {"refine_poses": True, "levels": 7, "appearance": True}
    assert len(SWITCHES) == 2 and parser().parse_args(["scene"]).set == []


def test_refined_cameras_are_said_to_be_measured_from_where_they_were_given(capture, tmp_path, capsys):
    """And the command that is offered for it measures them otherwise."""
    out = tmp_path / "run"
    assert train(capture, "--steps", 40, "--refine-poses", "--out", out) == 0
    said = capsys.readouterr().out
    assert "cameras (medians): turned by" in said and f"`render eval {out} --protocol half-posed`" in said
    assert measured([str(out), "--protocol", "half-posed", "--json"]) == 0
    assert "left half" in json.loads(capsys.readouterr().out)["protocol"]["posed"]
    assert train(capture, "--steps", 20, "--out", tmp_path / "other") == 0
    assert "half-posed" not in capsys.readouterr().out
