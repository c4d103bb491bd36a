"""`render depth-train` as people use it: real processes, real files and exit codes."""

import json
import signal
from functools import partial
from pathlib import Path

import pytest
import torch

from render import checkpoint
from render.run import RunError
from tests.commands import start, wait_for
from tests.tools.depth.depth_sets import write_set
from tools.depth import training_run
from tools.depth.models import read_tensors

ROOT = Path(__file__).parents[3]
QUICK = ("--model", "tiny", "--size", "32x32", "--batch", 4, "--set", "warm_up=3")


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """Two folders of data sets, which tell depth in two ways."""
    folder = tmp_path_factory.mktemp("sets")
    return write_set(folder / "metres"), write_set(folder / "films", "relative_inverse", 4)


@pytest.fixture
def call(call_here):
    """Exit code, stdout and stderr of `render depth-train ARGUMENTS`, in tmp_path."""
    return partial(call_here, "depth-train")


def newest(folder: Path) -> checkpoint.Checkpoint:
    return checkpoint.load_latest(folder / "checkpoints", pytest.fail)


@pytest.mark.parametrize("settings", [("--mixing", "equal"), ("--mixing", "pareto", "--loss", "ssitrim")])
def test_kill_9_and_resume_equal_the_uninterrupted_training(sets, tmp_path, call, settings):
    """Bit for bit, with nothing given but --resume: what was asked for stands in the run."""
    common = (*sets, *QUICK, *settings, "--steps", 14, "--seed", 3, "--threads", 1)
    common = (*common, "--set", "checkpoint_every=3")
    killed = start("depth-train", *common, "--out", "killed", cwd=tmp_path)
    wait_for(lambda: (tmp_path / "killed/checkpoints/step-3").is_dir())
    killed.kill()
    killed.communicate()
    assert newest(tmp_path / "killed").step < 14
    code, out, err = call("--out", "killed", "--resume", "--threads", 1)
    assert code == 0 and "goes on at step" in out and "bit for bit" in out and "step 14/14" in out, err
    assert call(*common, "--out", "whole", "--quiet")[0] == 0
    ours, theirs = (newest(tmp_path / name).tensors for name in ("killed", "whole"))
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    files = [(tmp_path / name / "tiny.safetensors").read_bytes() for name in ("killed", "whole")]
    assert files[0] == files[1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_saves_and_says_how_to_go_on(sets, tmp_path, number):
    process = start("depth-train", *sets, *QUICK, "--steps", 100_000, cwd=tmp_path)
    wait_for((tmp_path / "runs/depth/metrics.jsonl").exists)
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 1 and err == ""
    step = newest(tmp_path / "runs/depth").step
    assert step > 0 and f"saved at step {step}" in out
    assert "render depth-train --out runs/depth --resume" in out
    assert not (tmp_path / "runs/depth/tiny.safetensors").exists()


def test_a_training_leaves_what_it_promises(sets, call, tmp_path):
    code, out, err = call(*sets, *QUICK, "--steps", 5, "--set", "precision=float32", "--json")
    assert code == 0, err
    told = json.loads(out)
    assert told["finished"] and told["step"] == 5 and told["weights"] == "runs/depth/tiny.safetensors"
    run = training_run.find(tmp_path / "runs/depth")
    assert [each.name for each in run.config.datasets] == ["metres", "films"]
    assert run.config.recipe.precision == "float32" and run.config.steps == 5
    kept = newest(run.path).tensors
    for name, value in read_tensors(run.weights).items():
        assert torch.equal(value, kept[name].to(value.dtype))
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 5 and lines[-1]["loss"] == told["loss"]
    each = lines[-1]["losses"]
    assert each.keys() == {"metres", "films"} and sum(each.values()) / 2 == pytest.approx(told["loss"])
    (start,) = run.starts()
    assert start["model"]["precision"] == "float32" and start["arguments"][0] == "depth-train"


def test_what_is_asked_for_is_said_once(sets, call):
    code, out, err = call(*sets, *QUICK, "--steps", 2, "--memory", "100MB")
    assert code == 0, err
    assert out.count("precision: ") == 1 and "(of auto)" in out
    assert "data: 6 pictures of metres (z_depth), 2 in a step" in out
    assert "data: 4 pictures of films (relative_inverse), 2 in a step" in out
    assert "0.10 GB at most (set by --memory)" in out
    assert "weights: runs/depth/tiny.safetensors" in out


def test_what_is_wrong_is_said_before_anything_is_written(sets, call, tmp_path):
    wrong = [
        (["gone"], "gone: no such folder"),
        ([sets[0], "--model", "smal"], "model='smal': expected small or tiny"),
        ([sets[0], "--loss", "l2"], "loss='l2': expected ssimse or ssimae or ssitrim or l1"),
        ([sets[1], "--loss", "l1"], "films: tells inverse depth up to scale and shift"),
        ([sets[0], sets[0]], "two data sets are called metres"),
        ([*sets, "--batch", 1], "batch=1: 2 data sets need at least one picture each"),
        ([sets[0], "--size", "100x64"], "width=100: must be a multiple of 32"),
        ([sets[0], "--set", "learning_rat=1"], "did you mean learning_rate?"),
        ([sets[0], "--device", "abacus"], "'abacus' is unknown"),
        ([sets[0], "--start-from", "x.safetensors", *QUICK], "x.safetensors: "),
        (["--resume"], "runs/depth: no such run; begin one: render depth-train DATASET"),
    ]
    for arguments, message in wrong:
        code, _, err = call(*arguments)
        assert (code, err.count("\n")) == (1, 1) and message in err, err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name at least one data set"),
        (["x", "--size", "256"], "'256' is no size of a picture; write it as 256x192"),
        (["x", "--steps", 5, "--budget", "5s"], "not allowed with"),
        (["x", "--resume", "--overwrite"], "not allowed with"),
    ],
)
def test_a_wrong_command_line_leaves_with_2(call, arguments, message):
    code, _, err = call(*arguments)
    assert code == 2 and message in err


def test_a_run_is_never_overwritten_unasked(sets, call, tmp_path):
    assert call(*sets, *QUICK, "--steps", 2, "--quiet")[0] == 0
    (tmp_path / "runs/depth/notes.txt").write_text("mine")
    before = (tmp_path / "runs/depth/tiny.safetensors").read_bytes()
    code, _, err = call(*sets, *QUICK, "--steps", 2)
    assert code == 1 and "holds a run already; go on with it (--resume)" in err
    assert (tmp_path / "runs/depth/tiny.safetensors").read_bytes() == before
    assert call(sets[0], *QUICK, "--steps", 1, "--overwrite", "--quiet")[0] == 0
    assert newest(tmp_path / "runs/depth").step == 1
    assert (tmp_path / "runs/depth/notes.txt").read_text() == "mine"
    scene = tmp_path / "runs/scene"
    scene.mkdir()
    (scene / "config.json").write_text('{"format": "render-run", "version": 1}')
    code, _, err = call(sets[0], "--out", "runs/scene", "--overwrite")
    assert code == 1 and "render-run version 1, this command knows render-depth-run version 1" in err


def test_a_resume_changes_length_only_and_wants_its_data(sets, call, tmp_path):
    assert call(*sets, *QUICK, "--steps", 2, "--quiet")[0] == 0
    wrong = [
        (["--seed", 4], "was trained with seed=0, a resume cannot make that 4"),
        (["--mixing", "pareto"], "was trained with mixing=equal, a resume cannot make that pareto"),
        (["--size", "64x32"], "was trained with width=32"),
        (["--start-from", "other.safetensors"], "was trained with start_from=None"),
        ([sets[0]], "began with 2 data sets, not 1"),
        ([sets[1], sets[0]], "holds 4 pictures of films (relative_inverse), the run"),
    ]
    for arguments, message in wrong:
        code, _, err = call("--resume", *arguments)
        assert code == 1 and message in err, err
    code, out, err = call(*sets, "--resume", "--steps", 4)
    assert code == 0 and newest(tmp_path / "runs/depth").step == 4, err
    code, out, err = call("--resume", "--json")
    assert code == 0 and json.loads(out)["step"] == 4, err


def test_weights_of_one_run_begin_another(sets, call, tmp_path):
    assert call(*sets, *QUICK, "--steps", 3, "--quiet")[0] == 0
    again = (*sets, *QUICK, "--start-from", "runs/depth/tiny.safetensors", "--quiet")
    still = ("--set", "learning_rate=1e-30", "--set", "averaged=0", "--steps", 1)
    assert call(*again, *still, "--out", "next")[0] == 0
    first, second = (read_tensors(tmp_path / name / "tiny.safetensors") for name in ("runs/depth", "next"))
    for name, value in first.items():
        if "running" not in name and "tracked" not in name:
            assert torch.equal(value, second[name].to(value.dtype)), name


@pytest.mark.parametrize("text", ["", "[]", '{"format": "render-depth-run", "version": 1, "steps": 3}'])
def test_a_damaged_configuration_is_told(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(RunError, match=r"config\.json: .*restore it from a copy or train again"):
        training_run.find(tmp_path)
