"""`render video`: every path, mode and kind of file; and a film that is killed goes on."""

import json
import signal
import time

import pytest
import torch

import render
import render.film
from render.commands.video import film_size, main
from scenes.camera_path import read_camera_path
from scenes.images import read_image
from tests.render.test_cli import start
from tests.render.test_video import read_back


@pytest.fixture
def run(toy_folder, tmp_path, mean_method):
    render.train(toy_folder, mean_method, steps=2, out=tmp_path / "run")
    return tmp_path / "run"


def made(capsys, *arguments):
    """What the command says of its film."""
    assert main([*map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("path, frames", [("orbit", 5), ("spiral", 5), ("interpolate", 5), ("dataset", 6)])
def test_every_path_makes_its_film(run, path, frames, capsys):
    length = () if path == "dataset" else ("--frames", 5)
    told = made(capsys, run, "--path", path, "--width", 20, "--fps", 10, *length)
    assert told["video"] == str(run / f"{path}.mp4") and told["frames"] == frames
    said, pictures = read_back(run / f"{path}.mp4", 20, 20)
    assert len(pictures) == frames and " 20x20" in said and " 10 fps" in said
    assert not list(run.glob(".*.frames")), "the pictures are gone when the film is there"


def test_seconds_are_pictures_by_the_second(run, capsys):
    assert made(capsys, run, "--seconds", "1.5s", "--fps", 8, "--width", 8)["frames"] == 12


def test_a_saved_path_is_the_same_film_again(run, tmp_path, capsys):
    saved = tmp_path / "way.json"
    options = ("--path", "interpolate", "--frames", 4, "--width", 16, "--fps", 7)
    made(capsys, run, *options, "--out", tmp_path / "a", "--save-path", saved)
    assert read_camera_path(saved).fps == 7
    told = made(capsys, run, "--path", saved, "--out", tmp_path / "b")
    assert told["frames"] == 4
    for index in range(4):
        first, second = (read_image(tmp_path / side / f"frame-{index:05d}.png") for side in "ab")
        assert torch.equal(first, second) and first.shape == (16, 16, 3)
    made(capsys, run, "--path", saved)
    assert (run / "way.mp4").is_file()


def test_modes_pictures_and_gifs(run, tmp_path, capsys):
    from PIL import Image

    options = (run, "--frames", 3, "--width", 10, "--height", 6, "--modes", "rgb,depth,opacity")
    made(capsys, *options, "--out", tmp_path / "pictures")
    names = sorted(entry.name for entry in (tmp_path / "pictures").iterdir())
    assert names == ["frame-00000.png", "frame-00001.png", "frame-00002.png"]
    assert read_image(tmp_path / "pictures" / names[0]).shape == (6, 30, 3)
    made(capsys, *options, "--out", tmp_path / "turn.gif")
    with Image.open(tmp_path / "turn.gif") as film:
        assert film.size == (30, 6)


def test_what_is_wrong_is_said_and_nothing_is_written(run, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    for options, said in [
        (("--path", "orbti"), "--path orbti: neither a file nor one of orbit, spiral, interpolate, dataset"),
        (("--path", "dataset", "--frames", "5"), "has frames of its own; leave --frames and --seconds out"),
        (("--frames", "5", "--seconds", "3s"), "give one of them"),
        (("--modes", "rgb,dpeth"), "--modes 'dpeth' is unknown; known: rgb, depth, opacity"),
        (("--out", str(tmp_path / "a.avi")), "films are .mp4, .gif, or a folder of pictures"),
        (("--out", str(tmp_path / "a.gif"), "--fps", "60"), "a GIF shows at most 50 pictures a second"),
        (("--path", "dataset", "--height", "5"), "the pictures' own shape is kept"),
    ]:
        with pytest.raises(ValueError, match=said):
            main([str(run), *options])
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_that_holds_other_things_is_left_alone(run, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "frame-00000.png").write_bytes(b"mine")
    with pytest.raises(RuntimeError, match="mine: holds frames already"):
        main([str(run), "--frames", "2", "--out", str(tmp_path / "mine")])
    assert (tmp_path / "mine" / "frame-00000.png").read_bytes() == b"mine"


def test_a_film_that_is_broken_off_goes_on(run, capsys, monkeypatch):
    """Each picture is drawn once, and the film is that of a start that was not disturbed."""
    options = (run, "--frames", 6, "--width", 12)
    made(capsys, *options, "--out", run / "whole.mp4")
    drawn, draw = [], render.film.draw_modes

    def counted(model, camera, *rest, **look):
        if len(drawn) == 4:
            drawn.append(None)
            raise KeyboardInterrupt
        drawn.append(camera)
        return draw(model, camera, *rest, **look)

    monkeypatch.setattr(render.film, "draw_modes", counted)
    with pytest.raises(KeyboardInterrupt):
        main([*map(str, options), "--out", str(run / "film.mp4")])
    assert main([*map(str, options), "--out", str(run / "film.mp4")]) == 0
    assert "4 of 6 frames are there from an earlier start" in capsys.readouterr().out
    assert len(drawn) == 1 + 6 and (run / "film.mp4").read_bytes() == (run / "whole.mp4").read_bytes()


def test_a_killed_film_goes_on(run, tmp_path, capsys):
    options = (run, "--frames", 400, "--width", 100, "--out", tmp_path / "film.mp4")
    process = start("video", *options, cwd=tmp_path)
    frames, end = tmp_path / ".film.mp4.frames", time.monotonic() + 60
    while len(list(frames.glob("frame-*.png"))) < 3 and time.monotonic() < end:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    kept = len(list(frames.glob("frame-*.png")))
    assert 3 <= kept < 400 and not (tmp_path / "film.mp4").exists()
    assert main([*map(str, options)]) == 0
    assert f"{kept} of 400 frames are there" in capsys.readouterr().out
    assert len(read_back(tmp_path / "film.mp4", 100, 100)[1]) == 400
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["film.mp4", "run"]


def test_a_size_follows_the_pictures_where_it_is_not_asked_for():
    assert film_size(800, 600, None, None) == (400, 300) and film_size(100, 50, None, None) == (100, 50)
    assert film_size(800, 600, 640, None) == (640, 480) and film_size(800, 600, None, 300) == (400, 300)
    assert film_size(800, 600, 640, 100) == (640, 100)
