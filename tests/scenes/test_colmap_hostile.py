"""Broken and malicious COLMAP models end in one line that names the file, and take little memory."""

import logging
import math
import os
import random
import struct
import tempfile
import time
import tracemalloc
import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scenes.formats.capture import Lens
from scenes.formats.colmap import capture, recognise, write
from scenes.formats.colmap_records import CAMERA_MODELS
from scenes.images import ImageSequence, read_header
from scenes.scene import SceneError, SceneWarning
from tests.scenes.test_colmap import (
    LENS,
    PARAMETERS,
    POINTS,
    SHOTS,
    Shot,
    a_picture,
    binary,
    laid_out,
    scene_folder,
    text,
)
from tests.scenes.test_colmap_itself import a_scene

MEMORY = 2**22  # bytes that reading a model of a few kilobytes may take
POSE = (*SHOTS[0].quaternion, *SHOTS[0].translation)
RIGS = {
    "rigs.bin": struct.pack("<QIIiIiIB7d", 1, 1, 2, 0, 1, 0, 2, 1, 1, 0, 0, 0, 0.5, 0, 0),
    "frames.bin": struct.pack("<QII7dIiIQ", 1, 1, 1, *POSE, 1, 0, 1, 11),
}
BINARY, TEXT = (
    {**binary(), **RIGS},
    {
        **text(),
        "rigs.txt": b"# Rigs\n1 2 CAMERA 1 CAMERA 2 1 1 0 0 0 0.5 0 0\n",
        "frames.txt": f"1 1 {' '.join(map(repr, POSE))} 1 CAMERA 1 11\n".encode(),
    },
)
HUGE = struct.pack("<Q", 2**64 - 1)
NAN, INF = math.nan, math.inf
NANS, INFS = struct.pack("<d", NAN), struct.pack("<d", INF)


def patched(files: dict[str, bytes], file: str, at: int, new: bytes) -> dict[str, bytes]:
    """The files with some bytes of one replaced; `at` counts from the end where it is negative."""
    old = files[file]
    at %= len(old)
    return {**files, file: old[:at] + new + old[at + len(new) :]}


def replaced(files: dict[str, bytes], file: str, old: bytes, new: bytes) -> dict[str, bytes]:
    assert old in files[file]
    return {**files, file: files[file].replace(old, new, 1)}


def shot(**changes) -> dict[str, bytes]:
    return binary(shots=[SHOTS[0]._replace(**changes)])


def lens(*values: float, model: str = "PINHOLE", width: int = 8, height: int = 6) -> dict[str, bytes]:
    return binary(((1, model, width, height, values),))


SECOND = len(struct.pack("<I7dI", 0, *[0.0] * 7, 0)) + len(b"b.png\0") + 8 + 2 * 24  # bytes of an image
MUST = ("cameras", "images")
CASES = {
    "no camera count": ({**BINARY, "cameras.bin": b""}, r"the file ends inside its number of"),
    "no image count": ({**BINARY, "images.bin": b"\x01"}, r"the file ends inside its number of"),
    "no point count": ({**BINARY, "points3D.bin": b"\0" * 7}, r"has no room for the 1 points"),
    "huge camera count": (patched(BINARY, "cameras.bin", 0, HUGE), r"has no room for the 1844"),
    "huge image count": (patched(BINARY, "images.bin", 0, HUGE), r"has no room for the 1844"),
    "huge point count": (patched(BINARY, "points3D.bin", 0, HUGE), r"has no room for the 1844"),
    "a point too many": (patched(BINARY, "points3D.bin", 0, b"\x03"), r"points3D\.bin: "),
    "a point too few": (patched(BINARY, "points3D.bin", 0, b"\x01"), r"points3D\.bin: does not end where"),
    "an image too few": (patched(BINARY, "images.bin", 0, b"\x02"), r"images\.bin: does not end with"),
    "negative count": (patched(binary(keypoints=0), "images.bin", -8, HUGE), r"image 3 of 3: .*keyp"),
    "huge track": (patched(BINARY, "points3D.bin", 8 + 43, HUGE), r"the file ends inside point 2"),
    "huge last track": (patched(BINARY, "points3D.bin", -8, HUGE), r"points3D\.bin: does not end where"),
    "huge rig count": (patched(BINARY, "rigs.bin", 0, HUGE), r"has no room"),
    "huge sensor count": (patched(BINARY, "rigs.bin", 12, b"\xff" * 4), r"rig 1 of 1: .*sensors"),
    "huge frame count": (patched(BINARY, "frames.bin", 0, HUGE), r"has no room"),
    "huge data count": (patched(BINARY, "frames.bin", 72, b"\xff" * 4), r"frame 1 of 1: .*data"),
    "unknown sensor": (patched(BINARY, "rigs.bin", 16, b"\x09"), r"number 9 in its sensors is unk"),
    "missing rig": (patched(BINARY, "frames.bin", 12, b"\x05"), r"frame 1: its rig 5 is missing"),
    "rig without pose": (patched(BINARY, "frames.bin", 16, bytes(32)), r"frame 1: its quaternion"),
    "unknown model": (patched(BINARY, "cameras.bin", 12, b"\x63"), r"camera 1 of 1: the number 99 in its id"),
    "negative model": (patched(BINARY, "cameras.bin", 12, b"\xff" * 4), r"camera 1 of 1: the number -1"),
    "missing camera": (shot(camera=4), r"image 11 \(b\.png\): its camera 4 is missing"),
    "one camera twice": (binary((LENS, LENS)), r"camera 2 of 2: id 1 is that of an earlier camera"),
    "one image id twice": (patched(BINARY, "images.bin", 8 + SECOND, b"\x0b"), r"id 11 is that of"),
    "one name twice": (binary(shots=[Shot("a.png"), Shot("a.png")]), r"\(a\.png\): the same name"),
    "one name in two ways": (binary(shots=[Shot("a.png"), Shot("./a.png")]), r"\(a\.png\): the same name as"),
    "endless name": (shot(name="x" * 5000), r"image 1 of 1: its name does not end within 4096 bytes"),
    "name without an end": ({**BINARY, "images.bin": BINARY["images.bin"][:78]}, r"images\.bin: "),
    "no name": (shot(name=""), r"image 11: its name is ''"),
    "name of two lines": (shot(name="a\nb.png"), r"image 11: its name is 'a\\nb\.png'"),
    "name of no text": (replaced(BINARY, "images.bin", b"b.png", b"\xff.png"), r"name is '\\udcff\.png'"),
    "name too long to look up": (shot(name="x" * 4000), r"cannot be looked up"),
    "rotation that is none": (patched(BINARY, "images.bin", 12, bytes(32)), r"png\): its quaternion is \(0"),
    "quaternion of NaN": (patched(BINARY, "images.bin", 12, NANS), r"quaternion is \(nan"),
    "quaternion too long": (patched(BINARY, "images.bin", 12, INFS), r"quaternion is \(inf"),
    "place of NaN": (shot(translation=(0.0, NAN, 0.0)), r"\(b\.png\): its translation \(0\.0, nan"),
    "place too far": (shot(translation=(0.0, 1e300, 0.0)), r"\(b\.png\): its translation"),
    "focal length 0": (lens(0.0, 8.0, 4.0, 3.0), r"camera 1 \(PINHOLE\): fx is 0\.0; it must be"),
    "negative focal length": (lens(9.0, -8.0, 4.0, 3.0), r"camera 1 \(PINHOLE\): fy is -8\.0"),
    "tiny focal length": (lens(9.0, 1e-300, 4.0, 3.0), r"camera 1 \(PINHOLE\): fy is 1e-300"),
    "centre of NaN": (lens(9.0, 8.0, NAN, 3.0), r"camera 1 \(PINHOLE\): cx is nan"),
    "infinite coefficient": (lens(9.0, 4.0, 3.0, INF, model="SIMPLE_RADIAL"), r"camera 1 .*: k is inf"),
    "no width": (lens(9.0, 8.0, 4.0, 3.0, width=0), r"camera 1 \(PINHOLE\): width is 0"),
    "width beyond all": (lens(9.0, 8.0, 4.0, 3.0, width=2**64 - 1), r"camera 1 \(PINHOLE\): width is 1844"),
    "height beyond sense": (lens(9.0, 8.0, 4.0, 3.0, height=10**6), r"camera 1 \(PINHOLE\): height is 1000"),
    "no image": (binary(shots=()), r"images\.bin: has no registered image"),
    "garbage": ({f"{n}.bin": b"\x89PNG\r\n" * 40 for n in MUST}, r"has no room"),
    "text in binary": ({f"{n}.bin": TEXT[f"{n}.txt"] for n in MUST}, r"has no room"),
    "binary in text": ({f"{n}.txt": BINARY[f"{n}.bin"] for n in MUST}, r"cameras\.txt: line 1"),
    "empty text": ({"cameras.txt": b"", "images.txt": b""}, r"images\.txt: has no registered image"),
    "text: too few parameters": (text(((*LENS[:4], (9.0, 8.0)),)), r"line 2: ends inside its param"),
    "text: one parameter more": (text(((*LENS[:4], (1.0,) * 5),)), r"line 2: has 9 words, .* takes 8"),
    "text: unknown model": (replaced(TEXT, "cameras.txt", b"PINHOLE", b"PIN"), r"line 2: 'PIN' .*OPENCV"),
    "text: no number": (replaced(TEXT, "cameras.txt", b"9.0", b"9,0"), r"line 2: its param.* no number"),
    "text: negative id": (replaced(TEXT, "cameras.txt", b"1 P", b"-1 P"), r"line 2: '-1' in .* not in range"),
    "text: many digits": (replaced(TEXT, "cameras.txt", b"1 P", b"9" * 9999 + b" P"), r"2: .* no number"),
    "text: no name": (replaced(TEXT, "images.txt", b" b.png", b""), r"line 3: ends before its name"),
    "text: short image": ({**TEXT, "images.txt": b"1 1 0 0\n\n"}, r"line 1: ends inside its id"),
    "text: NaN pose": ({**TEXT, "images.txt": b"1 nan 0 0 0 0 0 0 1 a.png\n\n"}, r"image 1 .*: its quat"),
    "text: no line of keypoints": (
        {**TEXT, "images.txt": b"1 1 0 0 0 0 0 0 1 a\n2 1 0 0 0 0 0 0 1 b\n"}, r"line 1: the next line"),
    "text: short point": ({**TEXT, "points3D.txt": b"1 0 0 0 9 9 9\n"}, r"line 1: ends inside its id"),
    "text: half a track": ({**TEXT, "points3D.txt": b"1 0 0 0 9 9 9 0 7\n"}, r"line 1: its track"),
    "text: colour": ({**TEXT, "points3D.txt": b"1 0 0 0 9 256 9 0\n"}, r"line 1: '256' .* not in range"),
    "text: short rig": ({**TEXT, "rigs.txt": b"1 9 CAMERA 1\n"}, r"rigs\.txt: line 1: ends inside"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_broken_models_are_refused_by_name(case, tmp_path):
    files, message = CASES[case]
    laid_out(tmp_path, files)
    assert recognise(tmp_path)
    with pytest.raises(SceneError, match=rf"{tmp_path}/.*{message}") as raised:
        capture(tmp_path)
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 10_000


@pytest.mark.parametrize("file", ["cameras.bin", "images.bin", "points3D.bin", "rigs.bin", "frames.bin"])
def test_a_file_cut_at_any_byte_is_refused_and_so_is_one_with_a_byte_more(file, tmp_path):
    files = {**BINARY, **binary(points=POINTS[:1])}
    whole = files[file]
    assert len(capture(laid_out(tmp_path, files)).frames) == 3
    for cut in (*range(len(whole)), None):
        laid_out(tmp_path, {file: whole + b"\0" if cut is None else whole[:cut]})
        with pytest.raises(SceneError, match=file.replace(".", r"\.")):
            capture(tmp_path)


@pytest.mark.parametrize("file", ["points3D.bin", "rigs.bin", "frames.bin"])
def test_a_folder_or_a_pipe_in_place_of_a_file_is_refused(file, tmp_path):
    """A pipe that nobody writes to would be read for ever."""
    for number, make in enumerate((os.mkdir, os.mkfifo)):
        folder = laid_out(tmp_path / str(number), BINARY)
        (folder / file).unlink()
        make(folder / file)
        with pytest.raises(SceneError, match="is no file"):
            capture(folder)


@pytest.mark.parametrize("file", ["cameras.bin", "images.bin"])
def test_a_folder_in_place_of_what_a_model_must_have_makes_it_none(file, tmp_path):
    laid_out(tmp_path, binary())
    (tmp_path / file).unlink()
    (tmp_path / file).mkdir()
    assert recognise(tmp_path) is None
    with pytest.raises(SceneError, match="no COLMAP model"):
        capture(tmp_path)


def test_a_model_without_points_is_a_capture_without_points(tmp_path):
    laid_out(tmp_path, binary())
    (tmp_path / "points3D.bin").unlink()
    assert capture(tmp_path).points.shape == (0, 3) == capture(tmp_path).point_colours.shape


def test_points_that_are_nowhere_are_left_out_and_counted(tmp_path):
    far = (8, (math.nan, 0.0, 0.0), (1, 2, 3), 1), (10, (0.0, math.inf, 0.0), (1, 2, 3), 0)
    with pytest.warns(SceneWarning, match="2 of 4 points"):
        assert len(capture(laid_out(tmp_path, binary(points=(*POINTS, *far)))).points) == 2


def test_other_folders_are_not_claimed(tmp_path):
    assert recognise(tmp_path) is None and recognise(tmp_path / "absent") is None
    assert recognise(Path("a\0b")) is None and recognise(Path("x" * 5000)) is None
    (tmp_path / "images.txt").write_text("not a model")
    assert recognise(tmp_path) is None and recognise(tmp_path / "images.txt") is None
    root = scene_folder(tmp_path / "scene")
    (root / "sparse/0/project.ini").write_text("")
    assert recognise(root / "sparse/0/project.ini") is None and recognise(root / "images/a.png") is None
    with pytest.raises(SceneError, match="no COLMAP model"):
        capture(root / "images")


@pytest.mark.parametrize("model", sorted(set(CAMERA_MODELS) - set(PARAMETERS)))
def test_lenses_that_cannot_be_expressed_are_refused_with_the_remedy(model, tmp_path):
    values = (50.0,) * len(CAMERA_MODELS[model])
    used, unused = (1, model, 64, 48, values), (2, "PINHOLE", 8, 6, (9.0, 8.0, 4.5, 2.5))
    with pytest.raises(SceneError, match=rf"camera 1 \({model}\).*image_undistorter"):
        capture(laid_out(tmp_path, binary((used, unused))))
    shots = [shot._replace(camera=2) for shot in SHOTS]
    assert len(capture(laid_out(tmp_path, binary((used, unused), shots))).frames) == 3  # no picture has it


def test_rigs_that_say_otherwise_than_the_images_are_noticed(tmp_path):
    """COLMAP itself would believe frames.bin; images.bin is what other tools write anew."""
    frames = struct.pack("<QII7dIiIQ", 1, 1, 1, *SHOTS[0].quaternion, 0.1, -0.2, 0.5, 1, 0, 1, 11)
    laid_out(tmp_path, {**binary(), "rigs.bin": struct.pack("<QIIiI", 1, 1, 1, 0, 1), "frames.bin": frames})
    with pytest.warns(SceneWarning, match=r"1 images stand elsewhere .*'b\.png'.*remove rigs and frames"):
        assert len(capture(tmp_path).frames) == 3


@pytest.mark.parametrize("name", ["../secret.png", "../../secret.png", "ABSOLUTE", "link.png", "dir/a.png"])
def test_pictures_may_not_lie_outside_of_the_scene(name, tmp_path):
    """Upwards, absolute or through a link; with allow_outside they may."""
    scene = tmp_path / "a" / "scene"
    for folder in (tmp_path, tmp_path / "a"):
        a_picture(folder / "secret.png")
    a_picture(tmp_path / "out" / "a.png")
    (scene / "images").mkdir(parents=True)
    (scene / "images/link.png").symlink_to(tmp_path / "secret.png")
    (scene / "images/dir").symlink_to(tmp_path / "out")
    name = str(tmp_path / "secret.png") if name == "ABSOLUTE" else name
    laid_out(scene / "sparse/0", binary(shots=[Shot(name)]))
    with pytest.raises(SceneError, match=r"image 11 .* outside of the scene folder.*allow-outside"):
        capture(scene)
    assert capture(scene, allow_outside=True).frames[0].image.is_file()


def mutated(files: dict[str, bytes], draw: random.Random) -> dict[str, bytes]:
    """The files with a few random changes in one or two of them."""
    files = dict(files)
    values = [0, 1, -1, 2**31, 2**63 - 1, 255]
    for _ in range(draw.randint(1, 3)):
        file = draw.choice(sorted(files))
        data = bytearray(files[file])
        at = draw.randrange(len(data) + 1)
        kind = draw.randrange(5)
        if kind == 0:
            data = data[:at]
        elif kind == 1:
            data[at : at + 1] = bytes([draw.randrange(256)])
        elif kind == 2:
            data[at : at + 8] = struct.pack("<q", draw.choice(values))
        elif kind == 3:
            data[at : at + 8] = struct.pack("<d", draw.choice([NAN, INF, -INF, 1e300, 1e-300, 0.0, 1e30]))
        else:
            data[at:at] = data[at : at + draw.randrange(40)]
        files[file] = bytes(data)
    return files


def outcome(files: dict[str, bytes]) -> str:
    """What reading the files ends in: `read` or `refused`; anything else is a failure."""
    with tempfile.TemporaryDirectory() as name:
        laid_out(Path(name), files)
        tracemalloc.start()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SceneWarning)
                read = capture(Path(name))
        except SceneError as error:
            assert "\n" not in str(error) and name in str(error)
            return "refused"
        finally:
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert peak < MEMORY
    for frame in read.frames:
        rotation = frame.camera_to_world[:3, :3]
        assert np.isfinite(frame.camera_to_world).all() and frame.image is None
        assert np.abs(rotation @ rotation.T - np.eye(3)).max() < 1e-3
        values = (frame.lens.fx, frame.lens.fy, frame.lens.cx, frame.lens.cy, *frame.lens.coefficients)
        assert all(math.isfinite(value) for value in values)
        assert 0 < frame.lens.width < 2**16 and 0 < frame.lens.height < 2**16
    assert np.isfinite(read.points).all() and read.points.shape == read.point_colours.shape
    for frame in read.frames:
        assert ((frame.shows >= 0) & (frame.shows < len(read.points))).all()
    return "read"


WHOLE = (BINARY, TEXT)


@settings(max_examples=300, deadline=10_000)  # against a hang, which would be a denial of service
@given(draw=st.randoms(use_true_random=False), kind=st.sampled_from([0, 1]))
def test_random_changes_end_in_a_refusal_or_in_finite_cameras(draw, kind):
    outcome(mutated(WHOLE[kind], draw))


@pytest.mark.slow
def test_fuzz_for_a_given_time(seed):
    """RENDER_FUZZ_SECONDS of random changes (600 unless set); logs how many there were and how they ended."""
    seconds = float(os.environ.get("RENDER_FUZZ_SECONDS", "600"))
    draw, counts, longest, started = random.Random(seed), Counter(), 0.0, time.monotonic()
    assert all(outcome(files) == "read" for files in WHOLE)
    while time.monotonic() - started < seconds:
        kind = draw.randrange(2)
        before = time.monotonic()
        counts["binary text".split()[kind], outcome(mutated(WHOLE[kind], draw))] += 1
        longest = max(longest, time.monotonic() - before)
    logging.getLogger(__name__).info(
        "fuzzed COLMAP models for %.0f s: %d in all, %s; the longest took %.3f s",
        seconds, counts.total(), dict(counts), longest,
    )  # fmt: skip
    assert counts.total() > 0


def test_nothing_is_overwritten_unless_asked(tmp_path):
    scene = a_scene(Lens(9.0, 9.0, 4.0, 3.0, 8, 6), tmp_path / "from")
    write(scene, tmp_path / "to")
    for kept in ("sparse/0", "images"):
        with pytest.raises(SceneError, match=r"exists; choose another folder or pass overwrite=True"):
            write(scene, tmp_path / "to")
        if kept == "sparse/0":
            for file in (tmp_path / "to/sparse/0").iterdir():
                file.unlink()  # its pictures are still there
    laid_out(tmp_path / "to/sparse/0", {**RIGS, **text()})
    write(scene, tmp_path / "to", overwrite=True)
    assert {p.suffix for p in (tmp_path / "to/sparse/0").iterdir()} == {".bin"}
    assert not (tmp_path / "to/sparse/0/rigs.bin").exists()  # they would place the new pictures by old rigs
    laid_out(tmp_path / "to/sparse/1", binary())
    with pytest.raises(SceneError, match=r"sparse/1: a model that would be read"):
        write(scene, tmp_path / "to", overwrite=True)


def test_written_pictures_are_as_large_and_as_upright_as_the_cameras(tmp_path):
    """Shrunk ones, and those that only EXIF turns, are saved anew: COLMAP does not look at EXIF."""
    from PIL import Image

    lens = Lens(9.0, 9.0, 4.0, 3.0, 8, 6)
    scene = a_scene(lens, tmp_path / "from", n=2)
    turned = Image.new("RGB", (6, 8), (200, 10, 30))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(tmp_path / "from/dir/1.jpg", exif=exif)
    images = ImageSequence((scene.images.items[0], tmp_path / "from/dir/1.jpg"))
    write(replace(scene, images=images, frame_names=("0", "1.jpg")), tmp_path / "upright")
    assert sorted(p.name for p in (tmp_path / "upright/images").iterdir()) == ["0.png", "1.png"]
    assert read_header(tmp_path / "upright/images/1.png")[:2] == (8, 6)
    write(scene.downscaled(2), tmp_path / "half")
    assert [f.lens.width for f in capture(tmp_path / "half").frames] == [4, 4]
    assert all(read_header(f.image)[:2] == (4, 3) for f in capture(tmp_path / "half").frames)


def test_a_scenes_own_pictures_are_never_shrunk_in_place(tmp_path):
    lens = Lens(9.0, 9.0, 4.0, 3.0, 8, 6)
    scene = a_scene(lens, tmp_path / "images")
    before = (tmp_path / "images/dir/0.png").read_bytes()
    with pytest.raises(SceneError, match="smaller copy of itself"):
        write(scene.downscaled(2), tmp_path, overwrite=True)
    write(scene, tmp_path, overwrite=True)
    assert (tmp_path / "images/dir/0.png").read_bytes() == before and len(capture(tmp_path).frames) == 4


def test_written_names_stay_in_the_folder_and_apart(tmp_path):
    scene = a_scene(Lens(9.0, 9.0, 4.0, 3.0, 8, 6), tmp_path / "from", n=3)
    names = ("../../up.png", "/abs.png", "..")
    write(replace(scene, frame_names=names), tmp_path / "a" / "to")
    written = {str(p.relative_to(tmp_path / "a" / "to")) for p in (tmp_path / "a").rglob("*.png")}
    assert written == {"images/up.png", "images/abs.png", "images/00002.png"}
    with pytest.raises(SceneError, match=r"two frames would be written as a\.png"):
        write(replace(scene, frame_names=("a.png", "../a", "b")), tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_pictures_that_colmap_has_no_model_for_are_refused_before_a_file_is_written(tmp_path):
    part = Lens(8 / math.pi, 6 / math.pi, 4.0, 3.0, 8, 6, projection="equirectangular")  # half the circle
    with pytest.raises(SceneError, match=r"equirectangular pictures .* whole sphere"):
        write(a_scene(part, tmp_path / "from"), tmp_path / "to")
    broken = a_scene(Lens(9.0, 9.0, 4.0, 3.0, 8, 6), tmp_path / "from")
    (tmp_path / "from/dir/1.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"1\.png: not a picture"):
        write(broken, tmp_path / "to")
    assert not (tmp_path / "to").exists()
