"""`render inpaint-train` as people use it, and what `render photo-train` makes of it."""

import json
from functools import partial

import pytest
import torch
from safetensors.torch import load_file, save_file

from scenes.generate.collection import generate
from tests.commands import start, wait_for
from tests.tools.multiplane.test_photo_train_command import QUICK as PLANES
from tools.multiplane.inpainting import SIZES, Inpainter, read_inpainter
from tools.multiplane.training_run import KIND

QUICK = ("--batch", 2, "--size", "48x32", "--set", "network=tiny", "--set", "variants=2", "--threads", 1)


@pytest.fixture(scope="module")
def rooms(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets") / "rooms"
    generate(folder, count=2, width=96, height=72, seed=1)
    return folder


@pytest.fixture
def call(call_here):
    """Exit code, stdout and stderr of `render inpaint-train ARGUMENTS`, in tmp_path."""
    return partial(call_here, "inpaint-train")


def test_kill_9_and_resume_equal_the_uninterrupted_training(rooms, call, tmp_path):
    common = (rooms, *QUICK, "--steps", 8, "--set", "checkpoint_every=2")
    killed = start("inpaint-train", *common, "--out", "killed", cwd=tmp_path)
    wait_for(lambda: killed.poll() is not None or (tmp_path / "killed/checkpoints/step-2").is_dir())
    killed.kill()
    killed.communicate()
    assert call("--out", "killed", "--resume", "--threads", 1)[0] == 0
    code, out, err = call(*common, "--out", "whole")
    assert (code, err) == (0, "")
    assert "data: 2 pictures of rooms (inverse_depth), 2 parts of each" in out
    weights = [load_file(tmp_path / name / "inpainter-tiny.safetensors") for name in ("killed", "whole")]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert isinstance(read_inpainter(tmp_path / "whole", "tiny"), Inpainter)


def test_planes_learn_from_pictures_that_it_filled(rooms, call_here, tmp_path):
    """Other holes are filled otherwise: the pairs are others, and nothing but their holes."""
    network = Inpainter(SIZES["small"])
    torch.nn.init.constant_(network.last.bias, 0.3)
    save_file(network.state_dict(), tmp_path / "inpainter.safetensors")
    arguments = (rooms, *PLANES, "--size", "128x64", "--steps", 1)
    code, _, err = call_here("photo-train", *arguments, "--inpainter", tmp_path)
    assert (code, err) == (0, "")
    told = json.loads((tmp_path / "runs/photo/config.json").read_text())["settings"]
    assert told["inpainter"] == str(tmp_path)
    plain, filled = (
        KIND.recipe(inpainter=name).batches([KIND.read_set(rooms)]).at(0, 0) for name in ("", str(tmp_path))
    )
    assert torch.equal(plain.truth, filled.truth)
    unlike = (plain.source != filled.source).any(dim=1)
    assert 0 < unlike.float().mean() < 0.4
    code, _, err = call_here("photo-train", *arguments, "--inpainter", "gone", "--out", "other")
    assert code == 1 and "gone: not there; name a file of weights" in err
    assert not (tmp_path / "other").exists()


def test_what_cannot_be_trained_on_is_said(rooms, call, tmp_path):
    for arguments, message in (
        ([rooms, rooms], "two data sets are called rooms"),
        (["gone"], "gone: no such folder"),
        ([rooms, "--set", "clip=0"], "clip=0.0: must be above 0"),
    ):
        code, _, err = call(*arguments, *QUICK, "--steps", 1)
        assert (code, err.count("\n")) == (1, 1) and message in err
    assert call()[0] == 2
