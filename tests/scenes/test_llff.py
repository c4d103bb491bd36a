"""LLFF captures: rows meet their pictures, axes are turned as the format means, and no file is trusted."""

import os
import struct
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from scenes.cameras import Cameras
from scenes.formats.capture import Frame
from scenes.formats.llff import capture, recognise
from scenes.images import read_image, write_png
from scenes.scene import SceneError

WIDTH, HEIGHT, FOCAL = 32, 24, 20.0


class Bomb:
    """An object that makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


@contextmanager
def refused(match: str) -> Iterator[None]:
    """A SceneError of one line."""
    with pytest.raises(SceneError, match=match) as caught:
        yield
    assert "\n" not in str(caught.value)


def a_rotation(rng: np.random.Generator) -> np.ndarray:
    q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    return q * np.linalg.det(q)


def some_rows(count: int = 4, seed: int = 0) -> np.ndarray:
    """Rows of the format's true layout: columns down, right, backwards, centre, sizes; then bounds."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        matrix = np.column_stack((a_rotation(rng), rng.normal(size=3), [HEIGHT, WIDTH, FOCAL]))
        rows.append([*matrix.ravel(), 0.5, 9.0])
    return np.array(rows)


def a_scene(folder: Path, rows: np.ndarray, folders: dict[str, tuple[int, int]] | None = None) -> Path:
    """Rows as given and, for each folder, as many pictures of its size; picture i has colour 10 i."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "poses_bounds.npy", rows)
    for name, (width, height) in (folders or {"images": (WIDTH, HEIGHT)}).items():
        (folder / name).mkdir()
        for i in range(len(rows)):
            picture = torch.full((height, width, 3), 10 * i, dtype=torch.uint8)
            write_png(folder / name / f"IMG_{i:03d}.png", picture)
    return folder


def pixels_of(frame: Frame, points: np.ndarray) -> np.ndarray:
    """Where our cameras see the points."""
    lens = frame.lens
    numbers = (torch.tensor(n, dtype=torch.float64) for n in (lens.fx, lens.fy, lens.cx, lens.cy))
    cameras = Cameras(torch.from_numpy(frame.camera_to_world), *numbers, lens.width, lens.height)
    return cameras.project(torch.from_numpy(points))[0].numpy()


def pixels_by_the_book(row: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The format's own projection: along right and down, over what is not backwards."""
    matrix = row[:15].astype(np.float64).reshape(3, 5)
    down, right, backwards, centre, (height, width, focal) = matrix.T
    arm = points - centre
    depth = -arm @ backwards
    x, y = width / 2 + focal * (arm @ right) / depth, height / 2 + focal * (arm @ down) / depth
    return np.stack((x, y), axis=-1)


@pytest.mark.parametrize("layout", ["<f8", ">f8", "<f4", "by columns", "version 2"])
def test_points_fall_on_the_pixels_that_the_format_documents(layout, tmp_path):
    """A swapped axis, sign, H for W or byte order would move them."""
    rows = some_rows()
    folder = a_scene(tmp_path, rows)
    if layout == "by columns":
        np.save(folder / "poses_bounds.npy", np.asfortranarray(rows))
    elif layout == "version 2":
        with (folder / "poses_bounds.npy").open("wb") as stream:
            np.lib.format.write_array(stream, rows, version=(2, 0))
    else:
        rows = rows.astype(layout)
        np.save(folder / "poses_bounds.npy", rows)
    read = capture(folder)
    assert len(read.frames) == 4 and read.box is None and read.splits is None
    points = np.random.default_rng(1).normal(size=(50, 3))
    for frame, row in zip(read.frames, rows, strict=True):
        exact = 1e-6 if layout != "<f4" else 1e-3  # its axes are at right angles to 1e-7 only
        arm = points - row[:15].reshape(3, 5)[:, 3]
        ahead = points[-arm @ row[:15].reshape(3, 5)[:, 2] > 0.3]
        assert len(ahead) > 5
        np.testing.assert_allclose(
            pixels_of(frame, ahead), pixels_by_the_book(row, ahead), atol=exact, rtol=0
        )


def test_rows_meet_pictures_in_the_order_of_names(tmp_path):
    """Hidden files and texts beside the pictures do not shift the order; spaces and accents do no harm."""
    rows = some_rows(3)
    folder = a_scene(tmp_path / "ein schöner Ort", rows, {"images": (8, 6)})
    rows[:, 3] = [7.0, 8.0, 9.0]  # x of the centres
    np.save(folder / "poses_bounds.npy", rows)
    (folder / "images" / "IMG_001.png").rename(folder / "images" / "été 1.JPG")  # now the last
    for name in ("._IMG_000.png", ".DS_Store", "IMG_000.txt", "notes"):
        (folder / "images" / name).write_text("no picture")
    (folder / "images" / "IMG_000b.png").mkdir()
    read = capture(folder)
    assert [frame.name for frame in read.frames] == ["IMG_000.png", "IMG_002.png", "été 1.JPG"]
    colours = [int(read_image(frame.image)[0, 0, 0]) for frame in read.frames]
    assert colours == [0, 20, 10]
    assert [frame.camera_to_world[0, 3] for frame in read.frames] == [7.0, 8.0, 9.0]


def test_rotations_that_are_not_quite_orthonormal_become_so(tmp_path):
    """To rounding, and no farther from the file than the file was from a rotation."""
    rows = some_rows(4)
    exact = rows.copy()
    noise = np.random.default_rng(2).uniform(-1e-4, 1e-4, size=(4, 3, 3))
    rows[:, :15].reshape(4, 3, 5)[:, :, :3] += noise
    assert np.abs(rows - exact).max() > 5e-5
    true = capture(a_scene(tmp_path / "exact", exact)).frames
    for frame, other in zip(capture(a_scene(tmp_path / "noisy", rows)).frames, true, strict=True):
        rotation = frame.camera_to_world[:3, :3]
        np.testing.assert_allclose(rotation.T @ rotation, np.eye(3), atol=1e-14)
        np.testing.assert_allclose(rotation, other.camera_to_world[:3, :3], atol=3e-4)
    rows[2, 0] += 0.01
    with refused(r"row 2 \(IMG_002\.png\): camera_to_world is not a rotation"):
        capture(a_scene(tmp_path / "wrong", rows))


@pytest.mark.parametrize("given", ["asked for by name", "the only one"])
def test_smaller_pictures_have_smaller_intrinsics(given, tmp_path):
    """By the measured ratio of each side, so that the field of view stays: 32 x 24 shrunk to 11 x 8."""
    folders = {"images_3": (11, 8)} | ({"images": (WIDTH, HEIGHT)} if given == "asked for by name" else {})
    folder = a_scene(tmp_path / "scene", some_rows(2), folders)
    path = folder / "images_3" if given == "asked for by name" else folder
    assert recognise(path) == "has poses_bounds.npy"
    for frame in capture(path).frames:
        lens = frame.lens
        assert (lens.width, lens.height, lens.cx, lens.cy) == (11, 8, 5.5, 4.0)
        np.testing.assert_allclose((lens.fx, lens.fy), (FOCAL * 11 / WIDTH, FOCAL * 8 / HEIGHT))
        assert frame.image.parent.name == "images_3"
    if given == "asked for by name":
        lens = capture(folder).frames[0].lens
        assert (lens.fx, lens.width, lens.height) == (FOCAL, WIDTH, HEIGHT)


def test_pictures_that_are_no_shrunken_copies_are_refused(tmp_path):
    """Turned on their side, for one: their intrinsics would be wrong without a word."""
    folder = a_scene(tmp_path, some_rows(2), {"images_4": (HEIGHT, WIDTH)})
    with refused("row 0 .* is 24 x 32, no shrunken copy of 32 x 24"):
        capture(folder)


def test_several_smaller_folders_need_a_choice(tmp_path):
    folder = a_scene(tmp_path, some_rows(2), {"images_2": (16, 12), "images_4": (8, 6)})
    with refused("there: images_2, images_4"):
        capture(folder)
    assert capture(folder / "images_4").frames[0].lens.width == 8
    empty = a_scene(tmp_path / "other", some_rows(2), {"pictures": (8, 6)})
    with refused("there: none"):
        capture(empty)


@pytest.mark.parametrize("change", ["one missing", "one more", "none"])
def test_rows_and_pictures_must_be_as_many(change, tmp_path):
    """Only their order pairs them: one missing picture would give a wrong pose to all that follow."""
    folder = a_scene(tmp_path, some_rows(4), {"images": (8, 6)})
    left = {"one missing": 3, "one more": 5, "none": 0}[change]
    for name in (f"IMG_{i:03d}.png" for i in range(left, 4)):
        (folder / "images" / name).unlink()
    if change == "one more":
        write_png(folder / "images" / "IMG_004.png", torch.zeros(6, 8, 3, dtype=torch.uint8))
    with refused(f"poses_bounds.npy: has 4 rows, and .*/images has {left} pictures"):
        capture(folder)


def column(name: str) -> int:
    return {"R": 0, "t": 3, "H": 4, "W": 9, "f": 14, "near": 15, "far": 16}[name]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("R", np.nan, "camera_to_world is not finite"),
        ("t", np.inf, "camera_to_world is not finite"),
        ("t", 1e300, "camera_to_world is not finite"),
        ("R", 7.0, "camera_to_world is not a rotation"),
        ("H", 0.0, "H is 0.0"),
        ("H", 24.5, "H is 24.5; it must be a whole number"),
        ("W", 1e9, "W is 1000000000.0"),
        ("W", np.nan, "W is nan"),
        ("f", -20.0, "f is -20.0"),
        ("f", np.inf, "f is inf"),
        ("near", 0.0, "the nearest depth is 0.0"),
        ("near", np.nan, "the nearest depth is nan"),
        ("far", 0.5, "the farthest depth is 0.5"),
        ("far", np.inf, "the farthest depth is inf"),
    ],
)
def test_senseless_numbers_are_refused_with_their_row(name, value, message, tmp_path):
    rows = some_rows(3)
    rows[1, column(name)] = value
    with refused(rf"poses_bounds\.npy: row 1 \(IMG_001\.png\): {message}"):
        capture(a_scene(tmp_path, rows))


def test_mirrored_poses_are_refused(tmp_path):
    """Such as those with columns down, right, forwards."""
    rows = some_rows(2)
    rows[:, [2, 7, 12]] *= -1
    with refused(r"is not a rotation \(determinant -1\.00\)"):
        capture(a_scene(tmp_path, rows))


def header(text: str, claimed: int | None = None) -> bytes:
    """The beginning of a .npy file with this header."""
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text) if claimed is None else claimed) + text.encode()


HEADERS = {
    "more rows than bytes": "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 17), }",
    "more rows than a number holds": "{'descr': '<f8', 'fortran_order': False, 'shape': (10%s, 17), }"
    % (50 * "0"),
    "negative sides": "{'descr': '<f8', 'fortran_order': False, 'shape': (-1, -17), }",
    "no rows": "{'descr': '<f8', 'fortran_order': False, 'shape': (0, 17), }",
    "three dimensions": "{'descr': '<f8', 'fortran_order': False, 'shape': (1, 17, 1), }",
    "no dimensions": "{'descr': '<f8', 'fortran_order': False, 'shape': (), }",
    "many dimensions": "{'descr': '<f8', 'fortran_order': False, 'shape': (%s), }" % (90 * "1, "),
    "objects": "{'descr': '|O', 'fortran_order': False, 'shape': (1, 17), }",
    "half floats": "{'descr': '<f2', 'fortran_order': False, 'shape': (1, 17), }",
    "whole numbers": "{'descr': '<i8', 'fortran_order': False, 'shape': (1, 17), }",
    "a structure": "{'descr': [('a', '<f8', (10000000,))], 'fortran_order': False, 'shape': (1, 17), }",
    "half a type": "{'descr': ('<f8',), 'fortran_order': False, 'shape': (1, 17), }",
    "deep nesting": "(" * 5000,
    "deep lists": "[" * 90 + "]" * 90,
    "a call": "__import__('os').getcwd()",
    "another key": "{'descr': '<f8', 'shape': (1, 17)}",
    "nothing": "",
}


@pytest.mark.parametrize("name", HEADERS)
def test_headers_are_not_believed(name, tmp_path):
    """Each is refused, in little memory, before an array is made for what it claims."""
    folder = a_scene(tmp_path, some_rows(1))
    file = folder / "poses_bounds.npy"
    file.write_bytes(header(HEADERS[name]) + bytes(136))
    tracemalloc.start()
    with refused(r"poses_bounds\.npy: "):
        capture(folder)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**22
    assert recognise(folder)  # by its name; what is wrong with it is said when it is read


def test_files_that_are_cut_or_no_array_are_refused(tmp_path):
    folder = a_scene(tmp_path, some_rows(2))
    file = folder / "poses_bounds.npy"
    whole = file.read_bytes()
    for cut in (0, 3, 6, 9, 40, 127, 128, 200, len(whole) - 1):
        file.write_bytes(whole[:cut])
        with refused(r"poses_bounds\.npy: "):
            capture(folder)
    for contents in (whole + b"more", b"text\n" * 9, header("x", claimed=65535), b"PK\x03\x04" + bytes(90)):
        file.write_bytes(contents)
        with refused(r"poses_bounds\.npy: "):
            capture(folder)
    np.save(file, some_rows(2)[:, :15])
    with refused("has 15 numbers in a row; LLFF has 17"):
        capture(folder)


def test_objects_are_never_unpickled(tmp_path):
    folder = a_scene(tmp_path, some_rows(1))
    file = folder / "poses_bounds.npy"
    np.save(file, np.array([[Bomb(tmp_path / "unpickled")] * 17], dtype=object), allow_pickle=True)
    with refused("must have two, of float32 or float64"):
        capture(folder)
    assert not (tmp_path / "unpickled").exists()
    np.load(file, allow_pickle=True)
    assert (tmp_path / "unpickled").exists()


def test_pictures_may_not_be_links_to_elsewhere(tmp_path):
    """One picture, or the whole folder; with allow_outside they may."""
    folder = a_scene(tmp_path / "scene", some_rows(2), {"images": (8, 6)})
    (folder / "images" / "IMG_001.png").rename(tmp_path / "secret.png")
    (folder / "images" / "IMG_001.png").symlink_to(tmp_path / "secret.png")
    with refused(r"IMG_001\.png: the picture lies outside .* --allow-outside"):
        capture(folder)
    assert len(capture(folder, allow_outside=True).frames) == 2
    (folder / "images").rename(tmp_path / "elsewhere")
    (folder / "images").symlink_to(tmp_path / "elsewhere")
    with refused(r"IMG_000\.png: the picture lies outside"):
        capture(folder)


def test_a_broken_picture_is_named_where_its_size_is_needed(tmp_path):
    folder = a_scene(tmp_path, some_rows(2), {"images_2": (16, 12)})
    (folder / "images_2" / "IMG_001.png").write_bytes(b"\x89PNG\r\n")
    with refused(r"row 1 \(IMG_001\.png\): .*IMG_001\.png"):
        capture(folder)


def test_names_that_cannot_be_printed_are_refused(tmp_path):
    """A line break would forge a second line of the message."""
    folder = a_scene(tmp_path, some_rows(1), {"images": (8, 6)})
    (folder / "images" / "IMG_000.png").rename(folder / "images" / "a\nb.png")
    with refused(r"'a\\nb\.png' cannot be printed"):
        capture(folder)


def test_only_llff_is_claimed(tmp_path):
    """Not a missing, empty or unreadable path, another scene's file, or a pipe, which would hang a reader."""
    folder = a_scene(tmp_path / "scene", some_rows(1), {"images": (8, 6), "other": (8, 6)})
    for path in (folder, folder / "poses_bounds.npy", folder / "images"):
        assert recognise(path) == "has poses_bounds.npy"
    (folder / "transforms.json").write_text("{}")
    for path in (
        folder / "other",
        folder / "transforms.json",
        tmp_path,
        tmp_path / "absent",
        Path("x" * 5000),
    ):
        assert recognise(path) is None
    os.mkfifo(tmp_path / "poses_bounds.npy")
    assert recognise(tmp_path) is None
    with refused("no such file"):
        capture(tmp_path)


def colmap_poses(file: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """World-to-camera rotation and centre of each picture in COLMAP's images.bin."""
    contents, at = file.read_bytes(), 8
    poses = {}
    for _ in range(*struct.unpack_from("<Q", contents)):
        _, w, x, y, z, *translation, _ = struct.unpack_from("<i7di", contents, at)
        end = contents.index(b"\0", at + 64)
        rotation = np.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
                [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
                [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
            ]
        )
        poses[contents[at + 64 : end].decode()] = rotation, -rotation.T @ np.array(translation)
        at = end + 9 + 24 * struct.unpack_from("<Q", contents, end + 1)[0]
    return poses


def test_a_real_capture_agrees_with_its_colmap_model(test_data):
    """Up to one similarity: rotations within 0.05 degrees, centres within 0.1 % of the size of the scene."""
    read = capture(test_data / "beer")
    poses = colmap_poses(test_data / "beer" / "sparse" / "0" / "images.bin")
    assert [frame.name for frame in read.frames] == sorted(poses) and len(poses) == 71
    ours = np.stack([frame.camera_to_world for frame in read.frames])
    rotations = np.stack([poses[frame.name][0].T for frame in read.frames])  # camera-to-world
    centres = np.stack([poses[frame.name][1] for frame in read.frames])

    u, _, v = np.linalg.svd(np.einsum("nij,nkj->ik", ours[:, :3, :3], rotations))
    turn = u @ np.diag([1, 1, np.linalg.det(u @ v)]) @ v
    between = np.einsum("nji,njk->nik", turn @ rotations, ours[:, :3, :3])
    cosine = (np.trace(between, axis1=1, axis2=2) - 1) / 2
    assert np.degrees(np.arccos(np.clip(cosine, -1, 1))).max() < 0.05

    arms, wanted = (centres - centres.mean(0)) @ turn.T, ours[:, :3, 3] - ours[:, :3, 3].mean(0)
    scale = (arms * wanted).sum() / (arms**2).sum()
    size = np.linalg.norm(wanted, axis=1).max()
    assert scale > 0 and np.linalg.norm(scale * arms - wanted, axis=1).max() < 1e-3 * size


def test_a_real_capture_has_its_published_intrinsics(test_data):
    lenses = [frame.lens for frame in capture(test_data / "beer" / "poses_bounds.npy").frames]
    assert {(lens.width, lens.height, lens.cx, lens.cy) for lens in lenses} == {(720, 1280, 360, 640)}
    np.testing.assert_allclose([(lens.fx, lens.fy) for lens in lenses], 1105.13272351, rtol=1e-9)


def test_a_real_folder_that_lacks_pictures_is_refused(test_data):
    """29 of 71: both numbers and the folder are named."""
    assert recognise(test_data / "beer" / "images_8")
    with refused("has 71 rows, and .*beer/images_8 has 29 pictures"):
        capture(test_data / "beer" / "images_8")
