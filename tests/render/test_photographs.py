"""`render train PHOTOS`: poses are found first, once, and whatever stops it can be gone on with."""

import json
import shlex
import signal
from functools import partial

import pytest
from PIL import Image

from render import checkpoint
from scenes import formats
from scenes.generate.analytic import generate
from scenes.images import write_png
from tests import commands
from tests.commands import wait_for
from tests.render.test_cli import PROGRAM, SLOWLY
from tests.tools.test_poses import cameras, features, picture
from tests.tools.test_poses_frames import write_video
from tools.poses.command import parsed, settle

QUICK = ("--method", "mean", "--steps", 5)


@pytest.fixture
def call(mean_method, call_here):
    """Exit code, stdout and stderr of `render train ARGUMENTS`, in tmp_path."""
    return partial(call_here, "train")


@pytest.fixture
def garden(tmp_path):
    """Photographs, and their poses as an earlier training left them in runs/garden.scene."""
    scene = generate("spheres", width=12, views={"train": 9}, supersampling=1)["train"]
    photos, found = tmp_path / "garden", tmp_path / "runs" / "garden.scene"
    photos.mkdir()
    for i in range(len(scene)):
        write_png(photos / f"r_{i}.png", scene.images[i][..., :3])
    formats.format_module("colmap").write(scene, found)
    asked = settle(parsed([str(photos), "--out", str(found)])).asked
    (found / "poses.json").write_text(json.dumps({"asked": asked}))
    return photos


def test_photographs_become_a_run_whatever_stops_it_on_the_way(tmp_path):
    """Ctrl-C while poses are found, then while training: the line that is printed goes on, and ends."""
    photos = tmp_path / "my room"
    photos.mkdir()
    for i, camera in enumerate(cameras(5)):
        Image.fromarray(picture(camera)).save(photos / f"{i}.png")
    run, found = tmp_path / "runs" / "my room", tmp_path / "runs" / "my room.scene"
    database = tmp_path / "runs" / "my room.scene.partial" / "database.db"

    def start(*arguments):
        return commands.start("train", *arguments, cwd=tmp_path, program=PROGRAM)

    process = start("my room", "--method", "mean", "--steps", 100000, *SLOWLY, "--hold-out", "0")
    wait_for(lambda: process.poll() is not None or features(database))
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1 and not found.exists() and not run.exists()
    assert "my room: photographs without poses; finds these first" in out
    command = err.strip().rpartition(" go on with: ")[2]
    assert err.count("\n") == 1 and shlex.split(command)[:3] == ["render", "train", "my room"]

    process = start(*shlex.split(command)[2:], "--resume")
    wait_for(lambda: process.poll() is not None or (run / "metrics.jsonl").exists())
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (1, "")
    assert "goes on finding these" in out and "registered          5 of 5" in out
    assert "render train 'my room' --resume" in out
    step = checkpoint.load_latest(run / "checkpoints", pytest.fail).step

    out, err = start("my room", "--resume", "--steps", step + 5).communicate(timeout=60)
    assert "has the poses of the same 5 pictures, found before" in out and f"goes on at step {step}" in out
    assert (err, checkpoint.load_latest(run / "checkpoints", pytest.fail).step) == ("", step + 5)
    metrics = json.loads((run / "eval" / "test" / "metrics.json").read_text())
    assert [view["name"] for view in metrics["per_view"]] == ["0"]


def test_poses_of_the_same_photographs_are_used_again(garden, tmp_path, call):
    """When the run is replaced, and for a run elsewhere; a first one finds them as they were left."""
    report = tmp_path / "runs" / "garden.scene" / "poses.json"
    before = report.stat().st_mtime_ns
    code, out, err = call("garden", *QUICK, "--json")
    assert (code, err) == (0, "") and json.loads(out)["step"] == 5, "nothing but JSON"
    for arguments in (("--overwrite",), ("--out", "runs/second")):
        code, out, err = call("garden", *QUICK, *arguments)
        assert (code, err) == (0, "") and "has the poses of the same 9 pictures, found before" in out
    assert report.stat().st_mtime_ns == before
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == [
        "garden", "garden.scene", "second", "second.scene",
    ]  # fmt: skip
    config = json.loads((tmp_path / "runs" / "garden" / "config.json").read_text())
    assert config["source"] == str(tmp_path / "runs" / "garden.scene") and config["scene"]["name"] == "garden"
    code, _, err = call("runs/garden.scene", *QUICK)
    assert code == 1 and "runs/garden: holds a run already" in err, (
        "the found scene's default run is the same"
    )


def test_poses_of_other_photographs_are_not(garden, tmp_path, call):
    """Until --overwrite says so; the run that is there is not touched before that."""
    assert call("garden", *QUICK)[0] == 0
    Image.new("RGB", (12, 12)).save(garden / "new.png")
    config = tmp_path / "runs" / "garden" / "config.json"
    before = config.stat().st_mtime_ns
    for arguments in (("--resume",), ("--out", "runs/garden.scene/../garden", "--resume")):
        code, _, err = call("garden", *arguments)
        assert code == 1 and "has the poses of other pictures (1 new: new.png)" in err
    code, _, err = call("garden", *QUICK, "--overwrite")
    assert code == 1 and "no poses found: no two pictures show the same thing" in err
    assert config.stat().st_mtime_ns == before and (tmp_path / "runs/garden.scene/poses.json").exists()


def test_a_run_of_another_scene_is_not_gone_on_with(garden, tmp_path, call):
    (tmp_path / "runs" / "garden.scene").rename(tmp_path / "elsewhere")
    assert call("elsewhere", *QUICK, "--out", "runs/garden")[0] == 0
    code, _, err = call("garden", "--resume")
    assert code == 1 and f"was trained on {tmp_path / 'elsewhere'}, not on garden; go on with: render" in err
    assert not (tmp_path / "runs" / "garden.scene").exists()


def test_what_is_wrong_is_said_before_poses_are_looked_for(garden, tmp_path, call):
    """Which can take an hour."""
    (tmp_path / "runs" / "garden.scene").rename(tmp_path / "elsewhere")
    wrong = {
        ("--hold-out", "r_1,r_99"): "garden: hold-out 'r_99' is no picture's name; near: r_",
        ("--bounds", "around"): "bounds 'around' is unknown",
        ("--preset", "fsat"): "did you mean fast?",
        ("--set", "rayz=3"): "did you mean rays?",
        ("--resume",): "runs/garden: no such run",
        ("--out", "garden"): "garden: is there and holds no run",
    }
    for arguments, message in wrong.items():
        code, out, err = call("garden", "--method", "mean", *arguments)
        assert (code, out) == (1, "") and message in err and err.count("\n") == 1, err
    assert list((tmp_path / "runs").iterdir()) == []
    with pytest.raises(SystemExit) as left:
        from render.commands.train import main as train

        train(["garden", "--hold-out", "a,,b"])
    assert left.value.code == 2


def test_what_pose_finding_advises_goes_to_the_command_that_takes_it(tmp_path, call):
    """--matching is no option of `render train`."""
    blank = [picture(cameras(1)[0])[:48, :64] * 0 + 90 + i for i in range(4)]
    write_video(tmp_path / "a walk.mp4", blank)
    code, out, err = call("a walk.mp4", *QUICK)
    assert code == 1 and "a walk.mp4: a video without poses; finds these first" in out
    assert "no poses found" in err and "--matching exhaustive" in err and err.count("\n") == 1
    advised = (
        "render poses 'a walk.mp4' --out 'runs/a walk.scene' --overwrite; then again: render train 'a walk"
    )
    assert advised in err
    assert not (tmp_path / "runs" / "a walk").exists()


def test_a_mistyped_video_gets_the_right_one(tmp_path, call):
    (tmp_path / "walk.mp4").write_bytes(b"")
    code, _, err = call("wlak.mp4")
    assert code == 1 and "wlak.mp4: no such scene; did you mean walk.mp4?" in err
