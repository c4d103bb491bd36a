"""`render photo` as people use it: whatever is given becomes a film, or one line that says why not."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from render.cli import main
from scenes.camera_path import CameraPath, write_camera_path
from scenes.images import read_image
from tests.render.test_video import read_back
from tests.tools.depth.test_depth_command import BROKEN, PICTURES, animated, photograph
from tests.tools.test_poses_frames import texture, write_video
from tools.multiplane import command, photo, predict
from tools.multiplane.folder import read_planes
from tools.multiplane.paths import PATHS, swing

ROOT = Path(__file__).parents[3]
SHORT = ("--method", "layers", "--planes", "4", "--frames", "2")


@pytest.fixture
def call(bright_is_near, call_here):
    """Exit code, stdout and stderr of `render photo ARGUMENTS`, in tmp_path."""
    return partial(call_here, "photo")


def test_the_words_of_the_command_are_those_of_what_it_calls():
    """Written twice, so that help needs no torch."""
    assert tuple(PATHS) == command.PATHS
    assert (command.SIZE, command.FRAMES, command.FPS) == (photo.SIZE, photo.FRAMES, photo.FPS)
    assert command.SMALL_FILE == predict.SMALL_FILE
    text = command.parser().format_help()
    assert all(method in text for method in predict.METHODS)


def test_help_loads_no_torch_and_says_what_is_the_method_here(monkeypatch, tmp_path):
    code = (
        "import sys; from render.cli import main; main(['photo', '--help']); sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0 and "render photo" in done.stdout, done.stderr
    monkeypatch.setattr(command, "SMALL_FILE", tmp_path / "none")
    assert "since its weights are not installed" in " ".join(command.parser().format_help().split())


def test_one_photograph_becomes_a_film_views_and_exports(call, tmp_path):
    photograph(tmp_path / "a.jpg", 60, 41)
    code, out, err = call("a.jpg", *SHORT, "--export", "mpi,html", "--fps", 10, "--json")
    assert (code, err) == (0, "")
    (told,) = json.loads(out)["photos"]
    assert told["files"] == {
        "film": "photo/a-film.mp4",
        "views": "photo/a-views.png",
        "mpi": "photo/a-planes",
        "html": "photo/a.html",
    }
    assert (told["method"], told["planes"], told["frames"]) == ("layers", 4, 2)
    assert (told["width"], told["height"]) == (60, 41)
    assert all(told["seconds"][name] > 0 for name in ("first_view", "further_view", "all"))
    said, pictures = read_back(tmp_path / "photo/a-film.mp4", 60, 42)  # even sides
    assert len(pictures) == 2 and " 10 fps" in said
    views = read_image(tmp_path / "photo/a-views.png")
    assert views.shape == (41, 4 * 60, 3)
    assert torch.equal(views[:, :60], read_image(tmp_path / "a.jpg"))
    assert len(read_planes(tmp_path / "photo/a-planes").z_depth) == 4
    assert "<title>a</title>" in (tmp_path / "photo/a.html").read_text()
    assert not list((tmp_path / "photo").glob(".*")), "nothing is left of the work"


def test_what_a_person_reads(call, tmp_path):
    photograph(tmp_path / "a.jpg")
    code, out, err = call("a.jpg", *SHORT)
    assert (code, err) == (0, "")
    backend, line = out.splitlines()
    assert backend.startswith("backend: ") and backend.endswith(")"), "and why"
    assert line.startswith("a.jpg: 4 planes (layers) in photo: a-film.mp4, a-views.png; first view after ")
    assert "past the photograph's edge" not in out, "the way of two frames starts and ends in its place"
    code, out, _ = call("a.jpg", *SHORT[:4], "--frames", 5, "--overwrite")
    assert "past the photograph's edge" in out and "--amplitude" in out
    past = ("--path", "zoom", "--amplitude", 8)  # through the nearest planes, past no edge
    code, out, _ = call("a.jpg", *SHORT[:4], "--frames", 5, *past, "--overwrite")
    assert code == 0 and "past the photograph's edge" not in out
    assert call("a.jpg", *SHORT, "--overwrite", "--quiet") == (0, "", "")


def test_a_real_process_with_real_networks(random_planes, tmp_path):
    from safetensors.torch import save_file

    from tools.depth.small import Small

    photograph(tmp_path / "a.jpg")
    save_file(Small().state_dict(), tmp_path / "depth.safetensors")
    files = ["--weights", "depth.safetensors", "--adampi-weights", str(random_planes)]
    done = subprocess.run(
        [sys.executable, "-m", "render.cli", "photo", "a.jpg", *files, "--frames", "2", "--json"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and done.stderr == "", done.stderr
    (told,) = json.loads(done.stdout)["photos"]
    assert told["method"] == "adampi" and (tmp_path / told["files"]["film"]).is_file()


def test_given_depth_is_taken(call, tmp_path):
    photograph(tmp_path / "a.jpg")
    slope = np.linspace(1, 5, 40)[:, None].repeat(60, axis=1)
    np.save(tmp_path / "d.npy", slope)
    code, _, err = call("a.jpg", *SHORT, "--depth", "d.npy", "--export", "mpi", "--json")
    assert (code, err) == (0, ""), err
    planes = read_planes(tmp_path / "photo/a-planes").z_depth
    assert float(planes[0]) == pytest.approx(1, abs=0.01) and float(planes[-1]) == pytest.approx(5, abs=0.01)
    photograph(tmp_path / "b.jpg")
    code, _, err = call("a.jpg", "b.jpg", *SHORT, "--depth", "d.npy", "--out", "o")
    assert code == 1 and "is that of one photograph" in err and not (tmp_path / "o").exists()


def test_a_path_of_a_file_keeps_its_frames_and_its_size(call, tmp_path):
    photograph(tmp_path / "a.jpg")
    way = swing(predict.photo_camera(30, 20), 3)
    write_camera_path(tmp_path / "way.json", CameraPath(way, 7))
    code, out, err = call("a.jpg", *SHORT[:4], "--path", "way.json", "--json")
    assert (code, err) == (0, "") and json.loads(out)["photos"][0]["frames"] == 3
    said, pictures = read_back(tmp_path / "photo/a-film.mp4", 30, 20)
    assert len(pictures) == 3 and " 7 fps" in said


@pytest.mark.parametrize("path", command.PATHS)
def test_every_path_makes_a_film(call, tmp_path, path):
    photograph(tmp_path / "a.jpg", 24, 16)
    code, _, err = call("a.jpg", *SHORT[:4], "--frames", 3, "--path", path, "--amplitude", 0.5, "--json")
    assert (code, err) == (0, "")
    _, pictures = read_back(tmp_path / "photo/a-film.mp4", 24, 16)
    assert len(pictures) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: PHOTO"),
        (["a.jpg", "--export", "mpi,htm"], "'htm' is none of mpi, html; did you mean"),
        (["a.jpg", "--path", "swig"], "neither a file nor one of swing, circle"),
        (["a.jpg", "--path", "way.json", "--frames", "9"], "has frames of its own"),
        (["a.jpg", "--size", "384"], "'384' is no size of a picture"),
        (["a.jpg", "--size", "0x9"], "'0x9' is no size of a picture"),
        (["a.jpg", "--fov", "200"], "--fov 200: must be below 180 degrees"),
        (["a.jpg", "--method", "nerf"], "invalid choice: 'nerf'"),
        (["a.jpg", "--method", "layers", "--adampi-weights", "x"], "are for --method adampi"),
        (["a.jpg", "--depth", "d.npy", "--model", "small"], "leave out one of them"),
        (["a.jpg", "--amplitude", "0"], "'0' is not a number above 0"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(call, tmp_path, arguments, message):
    photograph(tmp_path / "a.jpg")
    write_camera_path(tmp_path / "way.json", CameraPath(swing(predict.photo_camera(30, 20), 3), 7))
    code, out, err = call(*arguments)
    assert (code, out) == (2, "") and message in err and err.count("\n") == 1
    assert not (tmp_path / "photo").exists()


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_of_any_kind_becomes_a_film(call, tmp_path, name):
    make, (width, height) = PICTURES[name]
    make(tmp_path / name)
    code, out, err = call(name, *SHORT, "--export", "mpi,html", "--json")
    assert (code, err) == (0, ""), err
    (told,) = json.loads(out)["photos"]
    assert all((tmp_path / file).exists() for file in told["files"].values())
    assert (told["width"], told["height"]) == predict.fitted(width, height, command.SIZE)


@pytest.mark.parametrize("name", [name for name in BROKEN if not name.endswith((".mp4", ".mov"))])
def test_what_is_no_picture_gets_one_line_and_the_others_go_on(call, tmp_path, name):
    make, message = BROKEN[name]
    make(tmp_path / name)
    photograph(tmp_path / "good.png")
    code, out, err = call(name, "good.png", *SHORT, "--json")
    assert code == 1 and err.count("\n") == 1 and message in err and name in err
    bad, good = json.loads(out)["photos"]
    assert bad.keys() == {"input", "error"} and bad["input"] == name
    assert good["input"] == "good.png"
    files = {path.name for path in (tmp_path / "photo").iterdir()}
    assert files == {"good-film.mp4", "good-views.png"}


def test_a_video_is_no_photograph(call, tmp_path):
    write_video(tmp_path / "b.mp4", [texture()] * 2)
    code, _, err = call("b.mp4", *SHORT)
    assert code == 1 and "b.mp4: is a video; give one of its frames" in err


def test_of_an_animated_picture_the_first_is_taken_and_that_is_said(call, tmp_path):
    animated(tmp_path / "a.gif", "GIF")
    code, _, err = call("a.gif", *SHORT)
    assert code == 0 and err.count("\n") == 1 and "the first of its 3 frames is taken" in err


def test_a_folder_is_its_photographs_and_names_keep_apart(call, tmp_path):
    for index, path in enumerate(("in/x.jpg", "in/X.png", "x.jpg")):
        photograph(tmp_path / path, 20 + 2 * index, 20, seed=index)
    code, out, _ = call("in", "x.jpg", *SHORT, "--json")
    told = json.loads(out)["photos"]
    assert code == 0 and len({one["files"]["film"].lower() for one in told}) == 3


def test_nothing_is_overwritten_unless_it_is_asked_for(call, tmp_path):
    photograph(tmp_path / "a.png", 20, 20)
    options = (*SHORT, "--export", "mpi,html")
    assert call("a.png", *options)[0] == 0
    before = {path: path.read_bytes() for path in (tmp_path / "photo").rglob("*") if path.is_file()}
    photograph(tmp_path / "a.png", 30, 30)
    photograph(tmp_path / "b.png", 30, 30)
    code, _, err = call("a.png", "b.png", *options)
    assert code == 1 and "photo/a-film.mp4: is there already; replace it (--overwrite)" in err
    assert all(path.read_bytes() == content for path, content in before.items())
    assert (tmp_path / "photo/b.html").is_file()
    assert call("a.png", *options, "--overwrite")[0] == 0
    assert read_planes(tmp_path / "photo/a-planes").camera.width == 30


def test_not_even_then_an_input_or_what_is_of_others(call, tmp_path):
    photograph(tmp_path / "a.png", 20, 20)
    photograph(tmp_path / "a-views.png", 20, 20)
    before = (tmp_path / "a-views.png").read_bytes()
    code, _, err = call("a.png", "a-views.png", *SHORT, "--out", ".", "--overwrite")
    assert code == 1 and "a-views.png: is one of the inputs" in err
    assert (tmp_path / "a-views.png").read_bytes() == before
    (tmp_path / "photo/a-planes").mkdir(parents=True)
    (tmp_path / "photo/a-planes/letter.txt").write_text("mine")
    code, _, err = call("a.png", *SHORT, "--export", "mpi", "--overwrite")
    assert code == 1 and "which is of no earlier export" in err
    assert (tmp_path / "photo/a-planes/letter.txt").is_file()


def test_missing_weights_are_said_before_any_work(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    photograph(tmp_path / "a.jpg")
    for options, message in (
        (["--adampi-weights", "none.pth"], "none.pth: not there; AdaMPI's authors offer"),
        (["--adampi-weights", "none.safetensors"], "none.safetensors: not there"),
        (["--method", "layers", "--model", "dpt-large"], "give the file with --weights"),
    ):
        assert main(["photo", "a.jpg", *options]) == 1
        err = capfd.readouterr().err
        assert err.count("\n") == 1 and message in err and not (tmp_path / "photo").exists()
