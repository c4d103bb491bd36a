"""Whatever a transforms.json says: both readers answer with a sound capture or one line of error."""

import json
import math
import os
import random
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scenes.formats import instant_ngp, nerfstudio
from scenes.formats.capture import Capture
from scenes.images import write_png
from scenes.scene import SceneError, SceneWarning

READERS = {"nerfstudio": nerfstudio, "instant-ngp": instant_ngp}
POSE = [[1, 0, 0, 0.5], [0, 0, -1, -3], [0, 1, 0, 0.25], [0, 0, 0, 1]]
LENS = {"fl_x": 7.0, "fl_y": 6.5, "cx": 4.2, "cy": 2.9, "w": 8, "h": 6}


def frame(name: str = "images/a.png", **keys: object) -> dict:
    return {"file_path": name, "transform_matrix": POSE, **keys}


def changed(row: int, column: int, value: object) -> list:
    matrix = [list(numbers) for numbers in POSE]
    matrix[row][column] = value
    return matrix


def document(**keys: object) -> dict[str, Any]:
    return {**LENS, "frames": [frame()], **keys}


def nested(levels: int) -> str:
    return "[" * levels + "]" * levels


def pictures(folder: Path) -> Path:
    """images/a.png and images/b.png of 8x6, a mask, points, and one picture outside of the folder."""
    (folder / "scene" / "images").mkdir(parents=True)
    for name in ("scene/images/a.png", "scene/images/b.png", "scene/mask.png", "secret.png"):
        write_png(folder / name, torch.zeros(6, 8, 3, dtype=torch.uint8))
    header = "".join(f"property float {axis}\n" for axis in "xyz")
    points = f"ply\nformat ascii 1.0\nelement vertex 1\n{header}end_header\n1 2 3\n"
    (folder / "scene" / "points.ply").write_text(points)
    return folder / "scene"


@pytest.fixture(params=READERS)
def reader(request: pytest.FixtureRequest) -> Any:
    return READERS[request.param]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not JSON"),
        ("{", "is not JSON"),
        (json.dumps(document())[:-30], "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ('{"a":' * 100_000, "is not JSON"),
        ("[]", "holds a list"),
        ("3", "holds a int"),
        ("null", "holds a NoneType"),
        ("{}", "frames is missing"),
        (json.dumps({"frames": {}}), "frames is missing"),
        (json.dumps(document(frames=[])), "at least one frame"),
        (json.dumps(document(frames=[3])), "frame 0: file_path is None"),
        (json.dumps(document(frames=[{"file_path": ["a"]}])), "file_path is"),
        (json.dumps(document(frames=[frame("")])), "file_path is ''"),
        (json.dumps(document(frames=[frame("a\0b")])), "file_path is"),
        (json.dumps(document(frames=[frame("a\nb")])), r"file_path is 'a\\nb'"),
        (json.dumps(document(frames=[frame("\ud800")])), "file_path is"),
        (json.dumps(document(frames=[frame("x" * 5000)])), "cannot be looked up"),
        (json.dumps(document(frames=[frame(), frame()])), r"frame 1 \(images/a\.png\): the same name"),
        (json.dumps(document(frames=[{"file_path": "a"}])), r"frame 0 \(a\): transform_matrix is not 4x4"),
        (json.dumps(document()).replace("7.0", "9" * 5000), "is not JSON"),
        (json.dumps(document()).replace("7.0", nested(900)), "more than 32 levels"),
        (json.dumps(document()).replace("7.0", nested(40)), "more than 32 levels"),
        (json.dumps(document()).replace("7.0", nested(20)), "fl_x is"),
        ("/*" * 100_000, "is not JSON"),
        ('"' + '\\"' * 100_000, "is not JSON"),
        ("/" * 100_000 + "\n", "is not JSON"),
    ],
)
def test_broken_files_are_named_with_their_fault(text, message, reader, tmp_path):
    (tmp_path / "transforms.json").write_text(text)
    reader.recognise(tmp_path)
    began = time.monotonic()
    with pytest.raises(SceneError, match=rf"transforms\.json: .*{message}") as refused:
        reader.capture(tmp_path)
    assert "\n" not in str(refused.value) and time.monotonic() - began < 20, "no search may run in squares"


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (changed(1, 2, math.nan), "is not finite"),
        (changed(0, 3, -math.inf), "is not finite"),
        (changed(0, 3, 1e300), "is not finite"),
        (changed(0, 3, 2**80), "is not 4x4 numbers"),
        (changed(0, 0, 0.0), r"determinant 0\.00"),
        (changed(0, 0, -1), r"determinant -1\.00"),
        (changed(0, 1, 0.5), "is not a rotation"),
        (changed(3, 3, 2), "is not a rotation"),
        (changed(0, 0, "1"), "is not 4x4 numbers"),
        (changed(0, 0, True), "is not 4x4 numbers"),
        ([*POSE, POSE[0]], "is not 4x4 numbers"),
        ([[1, 2], [3]], "is not 4x4 numbers"),
        ("identity", "is not 4x4 numbers"),
    ],
)
def test_poses_that_are_none_are_refused_with_the_frames_name(matrix, message, reader, tmp_path):
    frames = [frame(), frame("images/b.png", transform_matrix=matrix)]
    (tmp_path / "transforms.json").write_text(json.dumps(document(frames=frames)))
    with pytest.raises(SceneError, match=rf"frame 1 \(images/b\.png\): .*{message}"):
        reader.capture(tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("fl_x", None),
        ("fl_x", "7"),
        ("fl_x", -7.0),
        ("fl_x", 1e-300),
        ("fl_x", math.inf),
        ("fl_y", math.nan),
        ("fl_y", True),
        ("cx", 1e300),
        ("cy", [3]),
        ("w", 0),
        ("w", 2**16),
        ("w", 10**30),
        ("h", 5.5),
        ("h", -6),
        ("k1", math.nan),
        ("k2", 1e20),
        ("p1", {}),
    ],
)
def test_lenses_that_are_none_are_refused_with_key_and_value(key, value, reader, tmp_path):
    (tmp_path / "transforms.json").write_text(json.dumps(document(**{key: value})))
    with pytest.raises(SceneError, match=rf"frame 0 \(images/a\.png\): {key} is "):
        reader.capture(tmp_path)


@pytest.mark.parametrize(
    "name", ["../secret.png", "../secret", "images/../../secret.png", "ABSOLUTE", "link.png"]
)
def test_pictures_may_not_lie_outside_unless_allowed(name, reader, tmp_path):
    """Upwards, absolute or through a link."""
    folder = pictures(tmp_path)
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    name = str(tmp_path / "secret.png") if name == "ABSOLUTE" else name
    (folder / "transforms.json").write_text(json.dumps(document(frames=[frame(name)])))
    with pytest.raises(SceneError, match=r"frame 0 .* outside of the scene folder.*allow-outside"):
        reader.capture(folder)
    assert reader.capture(folder, allow_outside=True).frames[0].image.resolve() == tmp_path / "secret.png"


@pytest.mark.parametrize("key", ["mask_path", "depth_file_path", "ply_file_path"])
def test_what_stands_beside_the_pictures_may_not_lie_outside_either(key, tmp_path):
    folder = pictures(tmp_path)
    keys = {key: "../secret.png"}
    whole = document(**keys) if key == "ply_file_path" else document(frames=[frame(**keys)])
    (folder / "transforms.json").write_text(json.dumps(whole))
    with pytest.raises(SceneError, match=rf"{key} \.\./secret\.png: .* outside of the scene folder"):
        nerfstudio.capture(folder)


def test_links_in_a_circle_and_folders_are_no_pictures(reader, tmp_path):
    folder = pictures(tmp_path)
    (folder / "one.png").symlink_to(folder / "two.png")
    (folder / "two.png").symlink_to(folder / "one.png")
    (folder / "transforms.json").write_text(json.dumps(document(frames=[frame("one.png")])))
    with pytest.raises(SceneError, match="cannot be looked up"):
        reader.capture(folder)
    (folder / "transforms.json").write_text(json.dumps(document(frames=[frame("images"), frame(".")])))
    assert [f.image for f in reader.capture(folder).frames] == [None, None]


def test_pipes_folders_and_absent_files_are_refused_at_once(reader, tmp_path):
    """A pipe that nobody writes to would be waited for for ever."""
    for path in (tmp_path, tmp_path / "absent", tmp_path / "absent.json"):
        with pytest.raises(SceneError, match="no such file"):
            reader.capture(path)
    os.mkfifo(tmp_path / "transforms.json")
    assert reader.recognise(tmp_path) is None
    with pytest.raises(SceneError, match="is no file"):
        reader.capture(tmp_path)


def test_text_of_another_encoding_is_refused(reader, tmp_path):
    (tmp_path / "transforms.json").write_bytes(json.dumps(document()).encode("utf-16"))
    with pytest.raises(SceneError, match="cannot be read as text"):
        reader.capture(tmp_path)


def test_sizes_that_nothing_tells_are_asked_for(reader, tmp_path):
    """No w and h: the picture would tell them, but is missing, or no picture."""
    folder = pictures(tmp_path)
    whole = {key: value for key, value in document().items() if key not in ("w", "h")}
    (folder / "transforms.json").write_text(json.dumps(whole))
    assert reader.capture(folder).frames[0].lens.width == 8
    (folder / "images" / "a.png").write_bytes(b"no picture")
    with pytest.raises(SceneError, match=r"frame 0 .*: w and h are missing, and the picture does not tell"):
        reader.capture(folder)
    (folder / "images" / "a.png").unlink()
    with pytest.raises(SceneError, match=r"frame 0 .*: w and h are missing, and no picture is there"):
        reader.capture(folder)


# Documents with any number of faults

RICH = {
    "nerfstudio": {
        **LENS,
        "camera_model": "OPENCV",
        **{"k1": 0.01, "k2": 0.02, "k3": 0.01, "k4": 0.0, "p1": 0.0, "p2": 0.01},
        "applied_transform": POSE[:3],
        "applied_scale": 2.0,
        "depth_unit_scale_factor": 1e-3,
        "orientation_override": "none",
        "ply_file_path": "points.ply",
        "train_filenames": ["images/a.png"],
        "test_filenames": ["./images/b.png"],
        "frames": [
            frame(mask_path="mask.png", depth_file_path="mask.png", colmap_im_id=1),
            frame("./images/b.png", mask_path="mask.png", depth_file_path="mask.png", colmap_im_id=2),
        ],
    },
    "instant-ngp": {
        **LENS,
        **{"camera_angle_x": 0.7, "camera_angle_y": 0.6, "x_fov": 50.0, "is_fisheye": False},
        **{"k1": 0.01, "k2": 0.02, "p1": 0.0, "p2": 0.0},
        **{"aabb_scale": 4, "scale": 0.5, "offset": [0.5, 0.25, 0.5], "aabb": [[0, 0, 0], [1, 1, 1]]},
        **{"up": [0, 0, 1], "n_frames": 2, "integer_depth_scale": 0.001, "white_transparent": True},
        "frames": [
            frame(sharpness=3.0, depth_path="mask", fl_x=8.0),
            frame("images/b", transform_matrix_start=POSE, transform_matrix_end=POSE, is_fisheye=True),
        ],
    },
}
JUNK = (
    *(None, True, False, 0, 1, -1, 3, 0.5, -2.5, 2**31, 2**63, 10**400, 1e-300, 1e30, 1e300),
    *(
        math.nan,
        math.inf,
        -math.inf,
        "",
        "a",
        "images/a.png",
        "../secret.png",
        "/",
        "~",
        "\ud800",
        "none",
        "x" * 300,
    ),
    *(
        [],
        {},
        [[]],
        [0.5] * 3,
        [0] * 6,
        [None] * 3,
        POSE,
        {"file_path": "images/b.png"},
        [{}],
        [[1e9] * 4] * 4,
    ),
)


def fresh(value: Any) -> Any:
    """A copy that may be changed."""
    return json.loads(json.dumps(value))


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) in a document."""
    found = []
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            found += [(value, key), *places(value[key])]
    return found


def mutated(name: str, chance: random.Random) -> Any:
    """A valid document with one to four faults: keys dropped or added, values replaced, wrapped, swapped."""
    whole = fresh(RICH[name])
    for _ in range(chance.randint(1, 4)):
        everywhere = places(whole)
        if not everywhere:
            break
        container, key = chance.choice(everywhere)
        match chance.choice(("drop", "junk", "junk", "junk", "wrap", "copy", "borrow")):
            case "drop":
                del container[key]
            case "junk":
                container[key] = fresh(chance.choice(JUNK))
            case "wrap":
                container[key] = [container[key]]
            case "copy":
                other, there = chance.choice(everywhere)
                container[key] = fresh(other[there])
            case "borrow":
                whole[chance.choice([*RICH["nerfstudio"], *RICH["instant-ngp"]])] = fresh(chance.choice(JUNK))
    return whole


def check_sound(read: Capture, folder: Path) -> None:
    """What others rely on: poses are rigid, lenses finite, files inside, splits of frames that are there."""
    names = [frame.name for frame in read.frames]
    assert names and len(set(names)) == len(names)
    for frame in read.frames:
        rotation = frame.camera_to_world[:3, :3]
        assert (
            np.isfinite(frame.camera_to_world).all()
            and np.abs(rotation.T @ rotation - np.eye(3)).max() < 2e-3
        )
        lens = frame.lens
        assert lens.fx > 0 and lens.fy > 0 and 0 < lens.width < 2**16 and 0 < lens.height < 2**16
        assert all(map(math.isfinite, (lens.fx, lens.fy, lens.cx, lens.cy, *lens.coefficients)))
        for file in (frame.image, frame.mask, frame.depth):
            assert file is None or (file.is_file() and file.resolve().is_relative_to(folder.resolve()))
    assert read.splits is None or all(set(listed) <= set(names) for listed in read.splits.values())
    assert read.box is None or all(a < b and math.isfinite(b - a) for a, b in zip(*read.box, strict=True))
    assert 0 < read.depth_unit < math.inf and np.isfinite(read.points).all()
    assert read.up is None or math.isclose(math.hypot(*read.up), 1)


def answer(reader: Any, folder: Path, data: bytes) -> bool:
    """Let a reader read these bytes; whether it was a capture."""
    (folder / "transforms.json").write_bytes(data)
    reason = reader.recognise(folder)
    assert reason is None or isinstance(reason, str)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SceneWarning)
        try:
            read = reader.capture(folder)
        except SceneError as error:
            assert str(folder) in str(error) and "\n" not in str(error)
            return False
    check_sound(read, folder)
    return True


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pictures(tmp_path_factory.mktemp("hostile"))


@pytest.mark.parametrize("name", READERS)
def test_the_document_that_is_mutated_is_a_capture_itself(name, folder):
    """Else the mutations would prove nothing."""
    assert answer(READERS[name], folder, json.dumps(RICH[name]).encode())


@pytest.mark.parametrize("name", READERS)
@settings(deadline=None, max_examples=250)
@given(seed=st.integers(0, 2**32))
def test_no_document_ends_in_anything_but_a_sound_capture_or_one_line(name, seed, folder):
    """Dropped keys, wrong types, NaN, huge numbers, nested lists, names that lead outside."""
    whole = mutated(name, random.Random(seed))
    answer(READERS[name], folder, json.dumps(whole).encode())


@pytest.mark.slow
def test_both_readers_stand_random_documents_for_as_long_as_asked(folder, record_property):
    """For RENDER_FUZZ_SECONDS (default 600); every third document is also broken in its bytes."""
    chance, count, read = random.Random(), 0, 0
    end = time.monotonic() + float(os.environ.get("RENDER_FUZZ_SECONDS", "600"))
    while time.monotonic() < end:
        data = bytearray(json.dumps(mutated(chance.choice(tuple(RICH)), chance)).encode())
        if chance.random() < 1 / 3:
            for _ in range(chance.randint(1, 8)):
                data[chance.randrange(len(data))] = chance.randrange(256)
            start = chance.randrange(len(data))
            del data[start : start + chance.randint(0, 40)]
        for reader in READERS.values():
            try:
                read += answer(reader, folder, bytes(data))
            except BaseException:
                (folder / "failed.json").write_bytes(data)
                print(f"fails on {folder / 'failed.json'}: {bytes(data)!r}")
                raise
        count += 1
    record_property("documents", count)
    print(f"{count} documents to each of {len(READERS)} readers; {read} answers were captures")
    assert count and read, "some mutations must leave a capture, else nothing behind the first check is tried"
