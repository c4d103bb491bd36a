"""The command line as people use it: real processes, files and exit codes."""

import json
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

from fields.kernels.library import kernels_available
from render import checkpoint
from render.checkpoint import CheckpointError
from render.commands.scenes import holdings
from tests import commands
from tests.commands import ROOT, wait_for

# The command, with a method that learns in milliseconds.
PROGRAM = """
import sys
from render.methods import METHODS
METHODS["mean"] = "tests.render.mean_colour:MeanColour"
from render.cli import main
sys.exit(main())
"""


start = partial(commands.start, program=PROGRAM)
run = partial(commands.run, program=PROGRAM)


@pytest.fixture
def call(mean_method, call_here):
    """The same in this process, for what needs no process of its own."""
    return call_here


def state_of(folder: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load_latest(folder / "checkpoints", pytest.fail).tensors


def assert_same_bits(first: Path, second: Path) -> None:
    ours, theirs = state_of(first), state_of(second)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["train", "--help"], ["doctor", "--help"], ["x"]]
)
def test_help_imports_nothing_heavy(arguments):
    code = f"""
import sys
from render.cli import main
main({arguments})
assert not {{"torch", "numpy", "rich", "imageio", "PIL", "kornia"}} & set(sys.modules), sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["trian", "toy"], 2, "render: unknown verb trian; did you mean train?"),
        (["xyzzy"], 2, "render: unknown verb xyzzy; one of train, eval,"),
        (["train", "toy", "--stpes", "5"], 2, "render train: unknown option --stpes; did you mean --steps?"),
        (["train", "toy", "--steps", "5", "--budget", "60s"], 2, "not allowed with"),
        (["train", "toy", "--budget", "soon"], 2, "'soon' is not a length of time; write 60s, 5m or 1h"),
        (["train", "toy", "--steps", "0"], 2, "'0' is not a whole number above 0"),
        (["train"], 2, "required: SCENE"),
        (["scenes", "infp"], 2, "unknown action infp; did you mean info?"),
    ],
)
def test_a_wrong_word_gets_the_nearest_right_one(arguments, code, message, tmp_path):
    """Usage errors: exit code 2, one line."""
    done = subprocess.run(
        [sys.executable, "-m", "render.cli", *arguments], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == code and message in done.stderr and done.stderr.count("\n") == 1


def test_what_is_wrong_is_said_before_anything_is_written(toy_folder, tmp_path, call):
    (tmp_path / "toy").symlink_to(toy_folder)
    wrong = [
        (["train", "tyo"], "tyo: no such scene; did you mean toy?"),
        (["train", "toy", "--method", "man"], "method 'man' is unknown; known: "),
        (["train", "toy", "--method", "mean", "--set", "rayz=3"], "did you mean rays?"),
        (["train", "toy", "--method", "mean", "--preset", "fsat"], "did you mean fast?"),
        (["train", "toy", "--method", "mean", "--device", "abacus"], "'abacus' is unknown; use cpu or cuda"),
        (["train", "toy", "--resume"], "runs/toy: no such run"),
        (["eval", "runs/toy"], "runs/toy: no such run"),
    ]
    for arguments, message in wrong:
        code, out, err = call(*arguments, cwd=tmp_path)
        assert (code, out) == (1, "") and message in err and err.count("\n") == 1, err
    assert [path.name for path in tmp_path.iterdir()] == ["toy"]


@pytest.fixture(scope="module")
def trained(toy_folder, tmp_path_factory):
    """A folder with a finished run of 30 steps in runs/toy, and what training it printed."""
    folder = tmp_path_factory.mktemp("work")
    done = run(
        "train", toy_folder, "--method", "mean", "--steps", 30, "--set", "checkpoint_every=10", cwd=folder
    )
    assert done[0] == 0, done[2]
    return folder, done[1]


def test_training_leaves_everything_that_a_person_wants_to_see(trained):
    folder, out = trained
    home = folder / "runs" / "toy"
    assert (home / "eval/test/contact_sheet.png").is_file() and (home / "orbit.mp4").is_file()
    metrics = json.loads((home / "eval/test/metrics.json").read_text())
    assert metrics["protocol"]["split"] == "test" and metrics["views"] == 3
    assert [path.name for path in checkpoint.stored(home / "checkpoints")] == ["step-30", "step-20"]
    for said in (
        "backend: ",
        "step 30/30",
        "test: psnr",
        "contact_sheet.png",
        "orbit.mp4",
        "next:",
        "render eval",
    ):
        assert said in out
    (record,) = json.loads((home / "provenance.json").read_text())["starts"]
    assert record["arguments"][0] == "train" and record["model"]["parameters"] == 3


def test_eval_prints_numbers_with_their_protocol(trained, call):
    folder, _ = trained
    code, _, err = call("eval", "runs/toy/config.json", "--json", "--split", "val", cwd=folder)
    assert code == 1 and "the splits that are there: train, test" in err
    code, out, _ = run("eval", "runs/toy/config.json", "--json", cwd=folder)
    result = json.loads(out)
    assert code == 0 and {"psnr", "ssim", "views", "seconds_per_frame", "protocol"} <= result.keys()
    code, out, _ = call("eval", "--protocol", "ngp-black", "runs/toy", "--quiet", cwd=folder)
    assert code == 0 and "black" in out and out.count("\n") == 1
    assert (folder / "runs/toy/eval/test-ngp-black/metrics.json").is_file()


def test_video_writes_what_was_asked_for(trained, call):
    folder, _ = trained
    code, out, _ = call(
        "video", "runs/toy", "--frames", 3, "--width", 20, "--out", "a.mp4", "--json", cwd=folder
    )
    assert code == 0 and json.loads(out)["video"] == "a.mp4" and (folder / "a.mp4").is_file()


def test_a_video_that_would_take_very_long_waits_until_it_is_asked_for():
    """At 3 s a view of 800 x 800, 120 frames of 400 x 400 take 90 s; at 60 s a view they take 30 min."""
    from render.commands.train import LONGEST_VIDEO, video_seconds

    scene = {"width": 800}
    assert video_seconds(scene, {"test": {"seconds_per_frame": 3.0}}) == pytest.approx(90.0)
    assert video_seconds(scene, {"test": {"seconds_per_frame": 60.0}}) > LONGEST_VIDEO
    assert video_seconds({"width": 64}, {"test": {"seconds_per_frame": 0.1}}) == pytest.approx(12.0)
    assert video_seconds(scene, {}) == 0.0, "nothing was measured: nothing is known against it"


def test_a_run_is_not_overwritten_but_the_ways_out_are_named(trained, toy_folder, call):
    folder, _ = trained
    code, _, err = call("train", toy_folder, "--method", "mean", cwd=folder)
    assert code == 1 and "--resume" in err and "--out" in err and "--overwrite" in err
    code, out, _ = call(
        "train", "--json", "--steps", 2, "--out", "other", toy_folder, "--method", "mean", cwd=folder
    )
    assert code == 0 and json.loads(out)["step"] == 2


def test_a_resume_cannot_change_what_was_trained(trained, toy_folder, call):
    folder, _ = trained
    code, _, err = call("train", toy_folder, "--resume", "--seed", 7, cwd=folder)
    assert code == 1 and "was trained with seed=0, a resume cannot make that 7" in err
    code, _, err = call("train", toy_folder, "--resume", "--set", "rays=7", cwd=folder)
    assert code == 1 and "was trained with rays=64" in err


def has_checkpoint(folder: Path) -> bool:
    try:
        checkpoint.load_latest(folder / "checkpoints", lambda message: None)
    except CheckpointError:
        return False
    return True


SLOWLY = ("--set", "seconds_per_step=0.02")
SMALL = {
    "mean": SLOWLY,
    "ngp": ("--set", "first_samples=4000", "--set", "last_samples=8000", "--set", "log2_table_size=12"),
    "nerf": ("--set", "rays=64", "--set", "width=16", "--set", "coarse_samples=4", "--set", "fine_samples=4"),
}


@pytest.mark.parametrize("method", SMALL)
def test_kill_9_and_resume_equal_the_uninterrupted_training(toy_folder, tmp_path, method):
    """Bit for bit; with the kernels also on another number of threads."""
    common = ("train", toy_folder, "--method", method, "--steps", 60, "--seed", 3, *SMALL[method])
    common = (*common, "--set", "checkpoint_every=7", "--quiet")
    assert run(*common, "--out", "whole", cwd=tmp_path)[0] == 0
    process = start(*common, "--out", "killed", "--threads", 1, cwd=tmp_path)
    wait_for(lambda: has_checkpoint(tmp_path / "killed"))
    process.kill()
    process.communicate()
    assert checkpoint.load_latest(tmp_path / "killed/checkpoints", pytest.fail).step < 60
    threads = 2 if method != "nerf" and kernels_available() else 1
    code, out, err = run(
        "train", toy_folder, "--resume", "--out", "killed", "--threads", threads, cwd=tmp_path
    )
    assert code == 0, err
    assert "goes on at step" in out and "step 60/60" in out
    assert_same_bits(tmp_path / "whole", tmp_path / "killed")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_saves_and_says_how_to_go_on(toy_folder, tmp_path, number):
    process = start("train", toy_folder, "--method", "mean", "--steps", 100000, *SLOWLY, cwd=tmp_path)
    wait_for((tmp_path / "runs/toy/metrics.jsonl").exists)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1 and err == ""
    assert f"render train {toy_folder} --resume" in out
    stopped_at = checkpoint.load_latest(tmp_path / "runs/toy/checkpoints", pytest.fail).step
    assert stopped_at > 0 and f"saved at step {stopped_at}" in out


def test_a_damaged_checkpoint_is_said_and_the_one_before_resumes(toy_folder, tmp_path, call):
    common = (
        "train",
        toy_folder,
        "--method",
        "mean",
        "--steps",
        20,
        "--set",
        "checkpoint_every=5",
        "--quiet",
    )
    assert call(*common, cwd=tmp_path)[0] == 0
    (tmp_path / "runs/toy/checkpoints/step-20/model.safetensors").write_bytes(b"x")
    code, out, err = call("train", "runs/toy", "--resume", cwd=tmp_path)
    assert code == 0
    assert "step-20/model.safetensors: cut or altered" in err and "going on from step 15" in err
    assert "goes on at step 15" in out


def test_another_package_in_the_place_of_ours_is_named(tmp_path):
    """A folder called `tools` on the path would be imported instead of ours, or mixed with it."""
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools/__init__.py").write_text("")
    code, _, err = run("doctor", cwd=tmp_path, PYTHONPATH=f"{tmp_path}:{ROOT}")
    assert code == 1 and f"'tools' is taken by {tmp_path / 'tools'}" in err


def test_doctor_and_scenes_answer_in_json(tmp_path, toy_folder, call):
    code, out, _ = call("doctor", "--json", cwd=tmp_path)
    assert code == 0 and {"python", "torch", "kernels", "compiler"} <= {
        item["subject"] for item in json.loads(out)
    }
    code, out, _ = call("scenes", "info", toy_folder, "--json", cwd=tmp_path)
    facts = json.loads(out)
    assert code == 0 and facts["format"] == "nerf-synthetic" and facts["views"] == {"train": 6, "test": 3}
    assert set(facts["holds"].values()) == {0}
    code, out, _ = call("scenes", "list", toy_folder.parent, "--json", cwd=tmp_path)
    assert code == 0 and json.loads(out)["found"] == {str(toy_folder): "nerf-synthetic"}


def test_what_a_scene_holds_besides_pictures_is_counted(test_data):
    from scenes import formats

    splits = [formats.read(test_data / "beer", split) for split in ("train", "test")]
    held = holdings(splits)
    assert held["points"] == len(splits[0].points) > held["masks"] == held["depth pictures"] == 0
    assert (
        held["sightings of points"] == sum(len(shown) for scene in splits for shown in scene.shown) > 20_000
    )
    depths = holdings([formats.read(test_data / "rgbd", "train")])["depth pictures"]
    assert depths == 87


def test_a_scene_can_be_made_and_is_never_overwritten(tmp_path, call):
    code, out, err = run("scenes", "generate", "boxes", "--out", "boxes", "--width", 16, cwd=tmp_path)
    assert code == 0 and "render train boxes" in out, err
    code, out, err = call("scenes", "generate", "boxes", "--out", "boxes", cwd=tmp_path)
    assert code == 1 and "boxes: is there already" in err
