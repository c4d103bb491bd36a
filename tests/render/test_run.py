"""Run folders: found from anywhere inside, never overwritten unasked, read without the dataset."""

import json
import shutil

import pytest
import torch

import render
from render import checkpoint, run
from render.run import RunError
from scenes.cameras import Cameras

CAMERA = Cameras.look_at((4.0, 0.0, 1.0), (0.0, 0.0, 0.0), (0.0, 0.0, 1.0), 12, 10, 40.0)


@pytest.fixture
def trained(toy_folder, mean_method, tmp_path):
    """A run of 12 steps with checkpoints at 8 and 12."""
    path = tmp_path / "runs" / "toy"
    render.train(toy_folder, mean_method, steps=8, out=path)
    first = run.find(path)[0]
    later = checkpoint.load_latest(first.checkpoints, pytest.fail)
    later.tensors["colour"] = later.tensors["colour"] * 0.5
    checkpoint.save(
        first.checkpoints, checkpoint.Checkpoint(12, later.elapsed, later.tensors, later.generator)
    )
    return path


def test_a_run_is_found_from_the_folder_and_any_file_in_it(trained):
    newest = render.load(trained).render(CAMERA).rgb
    for inside in ("config.json", "metrics.jsonl", "checkpoints", "checkpoints/step-12/state.json"):
        assert torch.equal(render.load(trained / inside).render(CAMERA).rgb, newest)
    assert torch.equal(render.load(str(trained)).render(CAMERA).rgb, newest)


def test_a_checkpoint_that_is_pointed_at_is_the_one_that_loads(trained):
    older = render.load(trained / "checkpoints" / "step-8").render(CAMERA).rgb
    same = render.load(trained / "checkpoints" / "step-8" / "model.safetensors").render(CAMERA).rgb
    assert torch.equal(older, same)
    assert not torch.equal(older, render.load(trained).render(CAMERA).rgb)


def test_a_run_renders_without_its_dataset_in_silence(trained, toy_folder, tmp_path, capfd):
    copy = shutil.copytree(trained, tmp_path / "elsewhere")
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "source": str(tmp_path / "gone")}))
    model = render.load(copy)
    seen = model.render(CAMERA, outputs=("rgb", "z_depth", "opacity"))
    assert seen.rgb.shape == (10, 12, 3) and seen.z_depth.shape == seen.opacity.shape == (10, 12)
    assert capfd.readouterr() == ("", "")


def test_a_damaged_newest_checkpoint_is_said_and_the_one_before_is_used(trained):
    older = render.load(trained / "checkpoints" / "step-8").render(CAMERA).rgb
    (trained / "checkpoints/step-12/model.safetensors").write_bytes(b"")
    with pytest.warns(UserWarning, match=r"step-12/model.safetensors: cut.*going on from step 8"):
        model = render.load(trained)
    assert torch.equal(model.render(CAMERA).rgb, older)


def test_a_run_that_exists_is_not_overwritten_unasked(trained, toy_scene, mean_method):
    before = sorted(path.name for path in trained.rglob("*"))
    with pytest.raises(RunError, match=r"holds a run already; .*--resume.*--out.*--overwrite"):
        render.train(toy_scene, mean_method, steps=2, out=trained)
    assert sorted(path.name for path in trained.rglob("*")) == before


def test_overwriting_removes_the_run_and_nothing_else(trained, toy_scene, mean_method):
    (trained / "notes.txt").write_text("mine")
    render.train(toy_scene, mean_method, steps=2, out=trained, overwrite=True)
    assert (trained / "notes.txt").read_text() == "mine"
    assert [path.name for path in (trained / "checkpoints").iterdir()] == ["step-2"]
    assert len(run.find(trained)[0].starts()) == 1


def test_a_folder_that_is_no_run_is_never_overwritten(tmp_path, toy_scene, mean_method):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(RunError, match="holds no run; choose another folder"):
        render.train(toy_scene, mean_method, steps=2, out=tmp_path, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_path_without_a_run_names_those_nearby(trained):
    with pytest.raises(RunError, match=rf"no such run; runs nearby: {trained}"):
        render.load(trained.parent / "tyo")
    with pytest.raises(RunError, match=r"no config\.json in it or above it"):
        render.load("/usr")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 7}, "version 7, this program reads render-run version 1"),
        ({"surprise": 1}, "surprise"),
        ({"method": "nerv"}, "method 'nerv' is unknown"),
        ({"settings": {"rayz": 3}}, "'rayz' is unknown"),
    ],
)
def test_a_configuration_that_cannot_be_read_is_named(trained, change, message):
    config = json.loads((trained / "config.json").read_text())
    (trained / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(ValueError, match=message):
        render.load(trained)


def test_a_cut_configuration_is_named(trained):
    (trained / "config.json").write_text('{"format": "render-r')
    with pytest.raises(RunError, match=r"config.json: not a run's configuration"):
        render.load(trained)


def test_provenance_says_on_what_it_ran(trained):
    (start,) = run.find(trained)[0].starts()
    assert start["versions"]["torch"] == torch.__version__
    assert start["machine"]["threads"] == torch.get_num_threads()
    assert start["backend"]["name"] in ("auto", "kernels", "reference") and start["model"]["parameters"] == 3


def test_json_has_no_number_that_is_none():
    assert run.plain({"a": float("nan"), "b": [float("inf"), 1.5], "c": (2, "x")}) == {
        "a": None,
        "b": [None, 1.5],
        "c": [2, "x"],
    }
