"""`render depth` as people use it: whatever is given becomes depth, or one line that says why not."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from render.cli import main
from tests.tools.test_poses_frames import texture, write_video
from tools.depth import cloud, command, outputs
from tools.depth.colours import COLOURS
from tools.depth.models import RELEASED
from tools.depth.outputs import read_png16

ROOT = Path(__file__).parents[3]


@pytest.fixture
def call(bright_is_near, call_here):
    """Exit code, stdout and stderr of `render depth ARGUMENTS`, in tmp_path."""
    return partial(call_here, "depth")


def photograph(path, width=60, height=40, seed=0, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    colours = np.repeat(texture(height + 4, width + 4, seed)[:height, :width, None], 3, axis=-1)
    Image.fromarray(colours).save(path, **options)
    return path


def test_the_words_of_the_command_are_those_of_what_it_calls():
    """Written twice, so that help needs no torch."""
    assert tuple(command.FORMATS) == tuple(outputs.FORMATS)
    assert tuple(COLOURS) == command.COLORMAPS
    wanted = outputs.Wanted()
    assert wanted.formats == command.DEFAULT and wanted.colormap == command.COLORMAPS[0]
    text = " ".join(command.parser().format_help().split())
    assert f"else {cloud.ASSUMED_FOV:g})" in text and f"(default: {cloud.ASSUMED_RATIO:g})" in text


def test_the_page_names_every_model():
    page = (ROOT / "docs" / "depth.md").read_text()
    assert not [name for name in RELEASED if f"`{name}`" not in page]


def test_help_loads_no_torch():
    code = (
        "import sys; from render.cli import main; main(['depth', '--help']); sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0 and "render depth" in done.stdout, done.stderr


def test_a_real_process_with_the_real_network(random_weights, tmp_path):
    photograph(tmp_path / "a.jpg")
    arguments = ["a.jpg", "--weights", random_weights, "--size", "64", "--formats", "png16,npy", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "render.cli", "depth", *map(str, arguments)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and done.stderr == "", done.stderr
    (told,) = json.loads(done.stdout)["inputs"]
    values = np.load(tmp_path / told["files"][1])
    assert values.shape == (40, 60) and values.dtype == np.float32 and np.ptp(values) > 0


def test_what_json_tells(call, tmp_path):
    photograph(tmp_path / "a.jpg")
    write_video(tmp_path / "b.mp4", [texture(seed=i) for i in range(3)])
    code, out, err = call("a.jpg", "b.mp4", "--formats", "png16,npy,colour,cloud", "--json")
    told = json.loads(out)
    assert (code, err) == (0, "") and told.keys() == {"model", "inputs"} and told["model"] == "small"
    picture, film = told["inputs"]
    for one in (picture, film):
        assert {"input", "files", "kind", "model", "seconds", "width", "height", "unit"} <= one.keys()
        assert one["kind"] == "inverse_relative" and one["seconds"] > 0
        assert all((tmp_path / file).exists() for file in one["files"])
        table = json.loads((tmp_path / one["files"][-1]).read_text())
        assert table.items() >= {name: one[name] for name in ("kind", "model", "unit", "png16")}.items()
    assert picture["files"] == [
        "depth/a-depth.png",
        "depth/a-depth.npy",
        "depth/a-colour.png",
        "depth/a-cloud.ply",
        "depth/a-depth.json",
    ]
    assert film["files"] == [
        "depth/b-depth",
        "depth/b-colour.mp4",
        "depth/b-cloud",
        "depth/b-depth.json",
    ]
    assert film["frames"] == 3 and film["aligned"]
    _, out, _ = call("b.mp4", "--video-alignment", "off", "--formats", "npy", "--out", "other", "--json")
    assert not json.loads(out)["inputs"][0]["aligned"]


def test_a_model_of_metres_says_so(call, tmp_path):
    photograph(tmp_path / "a.jpg")
    code, out, _ = call("a.jpg", "--model", "dpt-hybrid-nyu", "--weights", "x", "--json")
    (told,) = json.loads(out)["inputs"]
    assert code == 0 and told["kind"] == "metric" and told["unit"] == "metre"
    assert told["model"] == "dpt-hybrid-nyu" and told["png16"]["step"] == 0.001
    stored = read_png16(tmp_path / told["files"][0])
    assert stored.kind == "metric" and float(stored.values.min()) > 0


def test_what_a_person_reads(call, tmp_path):
    photograph(tmp_path / "a.jpg")
    code, out, err = call("a.jpg")
    assert (code, err) == (0, "")
    assert out.startswith("a.jpg: inverse_relative depth in depth: a-depth.png, a-colour.png, a-depth.json (")
    code, out, _ = call("a.jpg", "--formats", "cloud", "--overwrite")
    assert code == 0 and "its cloud is a guess" in out and "--ratio" in out and "--fov" in out
    code, out, err = call("a.jpg", "--quiet", "--overwrite")
    assert (code, out, err) == (0, "", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: INPUT"),
        (
            ["a.jpg", "--formats", "png16,nyp"],
            "'nyp' is none of png16, npy, colour, cloud; did you",
        ),
        (["a.jpg", "--fov", "60"], "--fov is for --formats cloud"),
        (["a.jpg", "--formats", "cloud", "--fov", "180"], "--fov 180: must be below 180 degrees"),
        (["a.jpg", "--formats", "cloud", "--fov", "60", "--focal", "9"], "not allowed with"),
        (["a.jpg", "--formats", "cloud", "--ratio", "0.5"], "'0.5' is not a number of at least 1"),
        (["a.jpg", "--formats", "npy", "--colormap", "grey"], "--colormap is for --formats colour"),
        (["a.jpg", "--model", "smal"], "model 'smal' is unknown;"),
        (["a.jpg", "--size", "8"], "size 8: must be within 32 to 4096 pixels"),
        (
            ["a.jpg", "--model", "dpt-levit", "--size", "512"],
            "sees 224 x 224 pixels and no others",
        ),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(call, tmp_path, arguments, message):
    photograph(tmp_path / "a.jpg")
    code, out, err = call(*arguments)
    assert (code, out) == (2, "") and message in err and err.count("\n") == 1
    assert not (tmp_path / "depth").exists()


@pytest.mark.parametrize("name", ["dpt-large", "midas-small", "depth-anything-base"])
def test_a_model_without_its_file_says_where_to_get_it(tmp_path, monkeypatch, capfd, name):
    monkeypatch.chdir(tmp_path)
    photograph(tmp_path / "a.jpg")
    code = main(["depth", "a.jpg", "--model", name])
    err = capfd.readouterr().err
    assert code == 1 and err.count("\n") == 1
    model = RELEASED[name]
    for told in (name, *model.files, model.source, model.licence, "--weights", "built-in model small"):
        assert told in err
    assert not (tmp_path / "depth").exists()


def rgba(path):
    colours = np.zeros((30, 50, 4), np.uint8)
    colours[..., :3], colours[:, :25, 3] = 200, 255
    Image.fromarray(colours).save(path)


def animated(path, kind):
    first, *others = (Image.fromarray(texture(30, 50, seed)[:30, :50]) for seed in range(3))
    first.save(path, kind, save_all=True, append_images=others)


# What a file can be, how to make it, and the size of its depth (width, height).
PICTURES = {
    "dot.png": (lambda path: photograph(path, 1, 1), (1, 1)),
    "wide.png": (lambda path: Image.new("L", (20000, 20), 90).save(path), (20000, 20)),
    "tall.png": (lambda path: Image.new("L", (300, 20000), 90).save(path), (300, 20000)),
    "print.jpg": (lambda path: Image.new("CMYK", (50, 30), (9, 90, 9, 9)).save(path), (50, 30)),
    "alpha.png": (rgba, (50, 30)),
    "grey.jpg": (lambda path: Image.new("L", (50, 30), 90).save(path), (50, 30)),
    "palette.png": (lambda path: Image.new("P", (50, 30), 3).save(path), (50, 30)),
    "bits.png": (lambda path: Image.new("1", (50, 30), 1).save(path), (50, 30)),
    "no-suffix": (lambda path: photograph(path, 50, 30, format="PNG"), (50, 30)),
    "wrong.jpg": (lambda path: photograph(path, 50, 30, format="PNG"), (50, 30)),
    "spaces in ünïcode %d{}.png": (lambda path: photograph(path, 50, 30), (50, 30)),
}
BROKEN = {
    "grey16.png": (
        lambda path: Image.fromarray(np.zeros((9, 9), np.uint16)).save(path),
        "one channel of high range",
    ),
    "cut.jpg": (
        lambda path: path.write_bytes(photograph(path, 200, 200).read_bytes()[:-900]),
        "cannot be decoded",
    ),
    "cut.png": (
        lambda path: path.write_bytes(photograph(path, 200, 200).read_bytes()[:-900]),
        "cannot be decoded",
    ),
    "empty.jpg": (lambda path: path.write_bytes(b""), "not a picture of a known kind"),
    "text.jpg": (lambda path: path.write_text("a letter\n"), "not a picture of a known kind"),
    "text.mp4": (lambda path: path.write_text("a letter\n"), "no video that ffmpeg can read"),
    "empty.mov": (lambda path: path.write_bytes(b""), "no video that ffmpeg can read"),
    "folder": (lambda path: path.mkdir(), "holds no picture"),
    "pipe": (os.mkfifo, "is no file"),
    "nothing.png": (lambda path: None, "no such picture, video or folder"),
    "vast.png": (lambda path: Image.new("1", (9000, 9000)).save(path), "is more than 67108864 pixels"),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_of_any_kind_becomes_depth(call, tmp_path, bright_is_near, name):
    make, (width, height) = PICTURES[name]
    make(tmp_path / name)
    code, out, err = call(name, "--formats", "png16,npy,colour,cloud", "--json")
    assert (code, err) == (0, ""), err
    (told,) = json.loads(out)["inputs"]
    assert np.load(tmp_path / told["files"][1]).shape == (height, width)
    assert (told["width"], told["height"]) == (width, height)
    (shape,) = bright_is_near
    assert max(shape[2:]) <= 4 * 384, "what the network sees is bounded"


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_picture_gets_one_line_and_the_others_go_on(call, tmp_path, name):
    make, message = BROKEN[name]
    make(tmp_path / name)
    photograph(tmp_path / "good.png")
    code, out, err = call(name, "good.png", "--json")
    assert code == 1 and err.count("\n") == 1 and message in err and name in err
    bad, good = json.loads(out)["inputs"]
    assert bad.keys() == {"input", "error"} and bad["input"] == name and message in bad["error"]
    assert good["input"] == "good.png"
    assert {path.name for path in (tmp_path / "depth").iterdir()} == {
        "good-depth.png",
        "good-colour.png",
        "good-depth.json",
    }


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_of_an_animated_picture_the_first_is_taken_and_that_is_said(call, tmp_path, kind):
    animated(tmp_path / "a.gif", kind)
    code, out, err = call("a.gif", "--formats", "npy", "--json")
    assert code == 0 and err.count("\n") == 1 and "the first of its 3 frames is taken" in err
    (told,) = json.loads(out)["inputs"]
    assert np.load(tmp_path / told["files"][0]).shape == (30, 50)


def test_a_damaged_second_page_is_no_matter(call, tmp_path):
    pages = [Image.new("L", (50, 30), tone) for tone in (90, 120)]
    pages[0].save(tmp_path / "whole.tiff", save_all=True, append_images=pages[1:])
    data = bytearray((tmp_path / "whole.tiff").read_bytes())
    width = data.rindex(bytes([0, 1, 4, 0, 1, 0, 0, 0, 50]))  # of the second page: tag 256, one number
    data[width : width + 2] = bytes([9, 1])
    (tmp_path / "damaged.tiff").write_bytes(data)
    code, _, err = call("damaged.tiff", "--formats", "npy")
    assert (code, err) == (0, "") and np.load(tmp_path / "depth/damaged-depth.npy").shape == (30, 50)


def test_a_picture_that_lies_on_its_side_has_upright_depth(call, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    photograph(tmp_path / "a.jpg", 60, 40, exif=exif)
    code, out, _ = call("a.jpg", "--formats", "npy", "--json")
    (told,) = json.loads(out)["inputs"]
    assert code == 0 and np.load(tmp_path / told["files"][0]).shape == (60, 40)


def test_transparent_parts_have_no_points(call, tmp_path):
    rgba(tmp_path / "a.png")
    call("a.png", "--formats", "cloud")
    header = (tmp_path / "depth/a-cloud.ply").read_bytes()[:200].decode(errors="replace")
    assert f"element vertex {25 * 30}" in header or f"element vertex {24 * 30}" in header


def test_a_folder_is_its_pictures(call, tmp_path):
    for index in range(3):
        photograph(tmp_path / "in" / f"{index}.jpg", seed=index)
    (tmp_path / "in" / "notes.txt").write_text("not a picture")
    code, out, _ = call("in", "--json")
    told = json.loads(out)["inputs"]
    assert code == 0 and [one["input"] for one in told] == ["in/0.jpg", "in/1.jpg", "in/2.jpg"]
    (tmp_path / "films").mkdir()
    write_video(tmp_path / "films" / "a.mp4", [texture()] * 2)
    code, _, err = call("films")
    assert code == 1 and "films: holds no picture" in err and "name its videos (a.mp4)" in err


def test_inputs_of_one_name_keep_apart_and_one_given_twice_is_done_once(call, tmp_path):
    paths = ("a/x.jpg", "b/x.jpg", "b/X.png", "x-2.png")
    for seed, path in enumerate(paths):
        photograph(tmp_path / path, 20 + seed, 20, seed=seed)
    code, out, _ = call(*paths, "a/../a/x.jpg", "--formats", "npy", "--json")
    told = json.loads(out)["inputs"]
    assert code == 0 and [one["input"] for one in told] == list(paths)
    files = [one["files"][0] for one in told]
    assert len({file.lower() for file in files}) == 4
    for seed, file in enumerate(files):
        assert np.load(tmp_path / file).shape == (20, 20 + seed)


def test_nothing_is_overwritten_unless_it_is_asked_for(call, tmp_path):
    photograph(tmp_path / "a.png", 20, 20)
    assert call("a.png", "--formats", "npy", "--out", "o")[0] == 0
    before = (tmp_path / "o/a-depth.npy").read_bytes()
    photograph(tmp_path / "a.png", 30, 30)
    photograph(tmp_path / "b.png", 30, 30)
    code, _, err = call("a.png", "b.png", "--formats", "npy", "--out", "o")
    assert code == 1 and "o/a-depth.npy: is there already; replace it (--overwrite)" in err
    assert (tmp_path / "o/a-depth.npy").read_bytes() == before and (tmp_path / "o/b-depth.npy").exists()
    assert call("a.png", "--formats", "npy", "--out", "o", "--overwrite")[0] == 0
    assert np.load(tmp_path / "o/a-depth.npy").shape == (30, 30)


def test_not_even_then_an_input_or_what_is_of_others(call, tmp_path):
    photograph(tmp_path / "a.png")
    photograph(tmp_path / "a-depth.png")
    before = (tmp_path / "a-depth.png").read_bytes()
    code, _, err = call("a.png", "a-depth.png", "--out", ".", "--overwrite")
    assert code == 1 and "a-depth.png: is one of the inputs" in err
    assert (tmp_path / "a-depth.png").read_bytes() == before
    write_video(tmp_path / "f.mp4", [texture()] * 2)
    (tmp_path / "depth" / "f-depth").mkdir(parents=True)
    (tmp_path / "depth" / "f-depth" / "letter.txt").write_text("dear")
    code, _, err = call("f.mp4", "--overwrite")
    assert code == 1 and "holds more than frames" in err
    assert (tmp_path / "depth/f-depth/letter.txt").exists()


def test_a_place_that_is_none_is_said_before_anything_is_done(call, tmp_path, bright_is_near, monkeypatch):
    photograph(tmp_path / "a.png")
    for out in ("a.png", "a.png/below"):
        code, _, err = call("a.png", "--out", out)
        assert code == 1 and err.count("\n") == 1 and "is a file" in err
    monkeypatch.setattr("os.access", lambda *arguments: False)
    code, _, err = call("a.png", "--out", "closed")
    assert code == 1 and "nothing can be written in" in err
    assert not bright_is_near and [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_it_is_a_call_of_the_library_too(random_weights, tmp_path):
    import render

    found = render.depth(photograph(tmp_path / "a.jpg"), weights=random_weights, size=64)
    assert found.kind == "inverse_relative" and found.values.shape == (40, 60)
    assert found.values.dtype == torch.float32 and not found.values.requires_grad
