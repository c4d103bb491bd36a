"""`render photo-train` as people use it: real processes, real files and exit codes."""

import json
import shutil
import time
from functools import partial
from pathlib import Path

import pytest
import torch

from render import checkpoint
from scenes.generate.collection import generate
from tests.commands import start
from tools.depth.models import read_tensors
from tools.multiplane import training_run
from tools.multiplane.predict import read_planes_network

ROOT = Path(__file__).parents[3]
SIDE = 128
QUICK = ("--planes", 2, "--batch", 1, "--set", "warm_up=1", "--threads", 1)


@pytest.fixture(scope="module")
def views(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sets") / "views"
    generate(folder, count=4, width=SIDE, height=SIDE, seed=2, subject="neighbours")
    return folder


@pytest.fixture
def call(call_here):
    """Exit code, stdout and stderr of `render photo-train ARGUMENTS`, in tmp_path."""
    return partial(call_here, "photo-train")


def newest(folder: Path) -> checkpoint.Checkpoint:
    return checkpoint.load_latest(folder / "checkpoints", pytest.fail)


def test_kill_9_and_resume_equal_the_uninterrupted_training(views, tmp_path, call):
    """Bit for bit through all stages, with nothing given but --resume; what is written is the mean."""
    common = (views, *QUICK, "--steps", 7, "--seed", 3, "--set", "checkpoint_every=2")
    killed = start("photo-train", *common, "--out", "killed", cwd=tmp_path)
    deadline = time.monotonic() + 120
    while not (tmp_path / "killed/checkpoints/step-2").is_dir():
        assert time.monotonic() < deadline and killed.poll() is None, "nothing happened"
        time.sleep(0.01)
    killed.kill()
    killed.communicate()
    assert newest(tmp_path / "killed").step < 7
    code, out, err = call("--out", "killed", "--resume", "--threads", 1)
    assert code == 0 and "goes on at step" in out and "bit for bit" in out and "step 7/7" in out, err
    code, out, err = call(*common, "--out", "whole", "--json")
    assert code == 0 and json.loads(out)["weights"] == "whole/small.safetensors", err
    ours, theirs = (newest(tmp_path / name).tensors for name in ("killed", "whole"))
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    file = tmp_path / "whole/small.safetensors"
    assert file.read_bytes() == (tmp_path / "killed/small.safetensors").read_bytes()
    assert file.stat().st_size <= 12e6
    for name, value in read_tensors(file).items():
        assert torch.equal(value, theirs[name].to(value.dtype)), name
    assert read_planes_network(file).config.planes == 2


def test_what_is_left_out_in_trials_is_noted_in_the_file(views, call, tmp_path):
    left_out = ("adjusts_planes", "finds_masks", "masks_context", "blends")
    settings = [word for name in left_out for word in ("--set", f"{name}=false")]
    code, out, err = call(views, *QUICK, *settings, "--steps", 1)
    assert code == 0 and "data: 12 pairs of 4 views in views, 128x128" in out, err
    assert "next: render photo PICTURE --adampi-weights runs/photo/small.safetensors" in out
    network = read_planes_network(tmp_path / "runs/photo/small.safetensors")
    assert not any(getattr(network.config, name) for name in left_out)
    assert network.adjustment is None and network.feature_masks is None
    run = training_run.find(tmp_path / "runs/photo")
    assert run.config.recipe.batch == 1 and not run.config.recipe.blends
    assert [(each.name, each.pictures) for each in run.config.datasets] == [("views", 4)]
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert {"misassigned", "absolute/0", "absolute/3"} <= lines[-1]["losses"].keys()
    wrong = [
        (["--planes", 3], "was trained with planes=2, a resume cannot make that 3"),
        (["--set", "blends=true"], "was trained with blends=False"),
        ([views, views], "began with 1 data sets, not 2"),
    ]
    for arguments, message in wrong:
        code, _, err = call("--resume", *arguments)
        assert code == 1 and message in err, err


def copy_of(views: Path, to: Path) -> Path:
    shutil.copytree(views, to)
    return to


def altered(file: Path, **told) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **told}))


def test_wrong_folders_are_refused_by_name_before_anything_is_written(
    views, call, tmp_path, tmp_path_factory
):
    sets = tmp_path_factory.mktemp("wrong")
    large, odd, mixed, lost = (copy_of(views, sets / name) for name in ("large", "odd", "mixed", "lost"))
    for folder, width in ((large, 136), (odd, 132)):
        for file in (folder / "cameras").iterdir():
            altered(file, width=width)
    altered(sorted((mixed / "cameras").iterdir())[1], height=64)
    broken = sorted((lost / "cameras").iterdir())[0]
    altered(broken, fx="far")
    unfinished = copy_of(views, sets / "unfinished")
    (unfinished / "dataset.json").unlink()
    wrong = [
        (["gone"], "gone: no such folder"),
        ([views, large], f"{large}: pictures of 136 x 128 pixels, others have 128 x 128; a"),
        ([odd], f"{odd}: pictures of 132 x 128 pixels; sides must be multiples of 8: give"),
        ([mixed], "128 x 64 pixels, 000000-0.jpg has 128 x 128; all pictures must be of one size"),
        ([lost], f"{broken}: "),
        ([views, views], "two data sets are called views"),
        ([views, "--planes", 1], "planes=1: must be at least 2"),
        ([views, "--set", "clustered=2"], "clustered=2.0: must be at least 0 and at most 1"),
        ([views, "--set", "network=official", "--batch", 1], "batch=1: one picture of 128 x 128 pixels has"),
        ([unfinished], "unfinished: was not made to its end; give the same `render scenes generate`"),
        ([views, "--set", "find_masks=1"], "did you mean finds_masks?"),
        (["--resume"], "runs/photo: no such run; begin one: render photo-train DATASET..."),
    ]
    for arguments, message in wrong:
        code, _, err = call(*arguments, *([] if "--resume" in arguments else ["--steps", 1]))
        assert (code, err.count("\n")) == (1, 1) and message in err, err
    assert list(tmp_path.iterdir()) == []
    code, _, err = call()
    assert code == 2 and "render scenes generate neighbours DIR makes one" in err


def test_single_pictures_are_warped_there_and_back(call, tmp_path):
    """Of any data set with depth, of any size, and beside views that are apart."""
    generate(tmp_path / "rooms", count=2, width=96, height=72, seed=1)
    code, out, err = call("rooms", *QUICK, "--size", "128x64", "--steps", 1)
    assert (code, err) == (0, "")
    assert "data: 128 pairs of 2 pictures, warped there and back, in rooms, 128x64" in out
    told = json.loads((tmp_path / "runs/photo/config.json").read_text())
    assert told["settings"]["width"] == 128 and told["settings"]["height"] == 64
    assert [each["pictures"] for each in told["datasets"]] == [2]
    code, _, err = call("rooms", *QUICK, "--size", "100x64", "--steps", 1, "--out", "other")
    assert code == 1 and "--size: 100 x 64 pixels; sides must be multiples of 8: give another --size" in err
