"""IDR scenes: projections come apart into the cameras that made them, and no archive is trusted."""

import io
import os
import tracemalloc
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from scenes.cameras import Cameras
from scenes.formats.capture import Frame
from scenes.formats.idr import capture, decomposed, recognise
from scenes.images import read_image, write_png
from scenes.scene import SceneError

WIDTH, HEIGHT = 8, 6
Matrices = dict[str, np.ndarray]


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


def a_camera(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """K, R, t of a camera that sees the origin; K without skew, centres of pixels at whole numbers."""
    q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    fx, fy, cx, cy = rng.uniform([8, 8, 2, 1], [12, 12, 5, 4])
    k = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    return k, q * np.linalg.det(q), np.array([*rng.uniform(-0.3, 0.3, size=2), rng.uniform(4, 7)])


def projection(k: np.ndarray, rotation: np.ndarray, translation: np.ndarray) -> np.ndarray:
    """world_mat as IDR documents it: K [R | t], and 0 0 0 1 below."""
    return np.vstack((k @ np.column_stack((rotation, translation)), [0, 0, 0, 1]))


def some_matrices(count: int = 3) -> Matrices:
    rng = np.random.default_rng(5)
    scale = np.array([[2.0, 0, 0, 0.5], [0, 2, 0, -1], [0, 0, 2, 3], [0, 0, 0, 1]])
    worlds = {f"world_mat_{i}": projection(*a_camera(rng)) for i in range(count)}
    return worlds | {f"scale_mat_{i}": scale.copy() for i in range(count)}


def a_scene(folder: Path, matrices: Matrices, name: str = "cameras_sphere.npz", masks: bool = True) -> Path:
    """A folder with these matrices, and a picture and a mask of colour 10 i for each world_mat."""
    for sub in ("image", "mask") if masks else ("image",):
        (folder / sub).mkdir(parents=True)
    for i in range(sum(key.startswith("world") for key in matrices)):
        picture = torch.full((HEIGHT, WIDTH, 3), 10 * i, dtype=torch.uint8)
        write_png(folder / "image" / f"{i:06d}.png", picture)
        if masks:
            write_png(folder / "mask" / f"{i:03d}.png", picture)
    np.savez(folder / name, **matrices)
    return folder


def pixels_of(frame: Frame, points: np.ndarray) -> np.ndarray:
    """Where our cameras see the points."""
    lens = frame.lens
    numbers = (torch.tensor(n, dtype=torch.float64) for n in (lens.fx, lens.fy, lens.cx, lens.cy))
    cameras = Cameras(torch.from_numpy(frame.camera_to_world), *numbers, lens.width, lens.height)
    return cameras.project(torch.from_numpy(points))[0].numpy()


@pytest.mark.parametrize("factor", [1.0, 250.0, -0.01])
def test_points_fall_on_the_pixels_that_the_format_documents(factor, tmp_path):
    """d (x, y, 1) = P (X, 1), plus half a pixel; a projection of any scale and sign is the same."""
    matrices = some_matrices(4)
    points = np.random.default_rng(6).normal(size=(40, 3))
    truth = []
    for i in range(4):
        seen = np.column_stack((points, np.ones(40))) @ matrices[f"world_mat_{i}"][:3].T
        truth.append(seen[:, :2] / seen[:, 2:] + 0.5)
        matrices[f"world_mat_{i}"][:3] *= factor
    frames = capture(a_scene(tmp_path, matrices)).frames
    assert len(frames) == 4
    for frame, expected in zip(frames, truth, strict=True):
        np.testing.assert_allclose(pixels_of(frame, points), expected, atol=1e-6, rtol=0)


def test_a_projection_comes_apart_into_what_made_it():
    """K, R and the centre -R^T t, to rounding, for a hundred cameras; points stay in front."""
    rng = np.random.default_rng(7)
    for _ in range(100):
        k, rotation, translation = a_camera(rng)
        k[0, 1] = rng.normal()  # a skew is found, too
        k[:2] *= 300
        found, pose = decomposed(projection(k, rotation, translation)[:3] * rng.choice([-3, 1, 40]))
        np.testing.assert_allclose(found, k, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(pose[:3, :3], rotation.T, atol=1e-12)
        np.testing.assert_allclose(pose[:3, 3], -rotation.T @ translation, atol=1e-9)


def test_matrices_in_single_precision_are_precise_enough(tmp_path):
    """As many published files have them: a skew from rounding is none."""
    matrices = some_matrices()
    single = {name: matrix.astype(np.float32) for name, matrix in matrices.items()}
    exact, rounded = capture(a_scene(tmp_path / "a", matrices)), capture(a_scene(tmp_path / "b", single))
    points = np.random.default_rng(6).normal(size=(40, 3))
    for one, other in zip(exact.frames, rounded.frames, strict=True):
        np.testing.assert_allclose(pixels_of(one, points), pixels_of(other, points), atol=1e-3)


def test_pictures_and_masks_meet_matrices_in_the_order_of_names(tmp_path):
    """The tenth is not the second, and masks have names of their own."""
    matrices = some_matrices(12)
    for frame, i in zip(capture(a_scene(tmp_path, matrices)).frames, range(12), strict=True):
        assert frame.name == f"{i:06d}.png" and frame.mask.name == f"{i:03d}.png"
        assert int(read_image(frame.image)[0, 0, 0]) == int(read_image(frame.mask)[0, 0, 0]) == 10 * i
        _, pose = decomposed(matrices[f"world_mat_{i}"][:3])
        np.testing.assert_array_equal(frame.camera_to_world, pose)
        assert (frame.lens.width, frame.lens.height) == (WIDTH, HEIGHT)


def test_the_box_holds_the_unit_sphere_of_scale_mat_exactly(tmp_path):
    """Its faces touch where the unit vectors go; without scale_mat there is none."""
    matrices = some_matrices()
    low, high = capture(a_scene(tmp_path / "a", matrices)).box
    for axis in range(3):
        for sign, corner in ((-1, low), (1, high)):
            unit = sign * np.eye(3)[axis]
            assert (matrices["scale_mat_0"] @ [*unit, 1])[axis] == corner[axis]
    worlds = {name: matrix for name, matrix in matrices.items() if name.startswith("world")}
    assert capture(a_scene(tmp_path / "b", worlds)).box is None


def test_the_normalised_file_is_preferred_and_the_named_one_taken(tmp_path):
    matrices = some_matrices()
    folder = a_scene(tmp_path, matrices, "cameras.npz")
    assert recognise(folder) == "has cameras.npz"
    other = matrices | {f"scale_mat_{i}": np.eye(4) for i in range(3)}
    np.savez_compressed(folder / "cameras_sphere.npz", **other)
    assert recognise(folder) == "has cameras_sphere.npz"
    assert capture(folder).box == ((-1, -1, -1), (1, 1, 1))
    assert capture(folder / "cameras.npz").box == ((-1.5, -3, 1), (2.5, 1, 5))


def test_pictures_may_be_in_rgb_and_without_masks(tmp_path):
    """Then what is around the object is seen, too, and the box does not hold all."""
    folder = a_scene(tmp_path / "b", some_matrices(), masks=False)
    (folder / "image").rename(folder / "rgb")
    read = capture(folder)
    assert recognise(folder) and [frame.mask for frame in read.frames] == [None] * 3
    assert all(frame.image.parent.name == "rgb" for frame in read.frames)
    assert read.box is not None and not read.box_is_all
    assert capture(a_scene(tmp_path / "a", some_matrices())).box_is_all


def test_other_arrays_in_the_archive_are_left_alone(tmp_path):
    """Published files hold inverses too, and whatever else; they are not even opened."""
    matrices = some_matrices() | {"world_mat_inv_0": np.zeros((9, 9)), "camera_mat_0": np.eye(4)}
    folder = a_scene(tmp_path, some_matrices())
    notes = np.array([Bomb(tmp_path / "unpickled")], dtype=object)
    np.savez(folder / "cameras_sphere.npz", notes=notes, **matrices)
    assert len(capture(folder).frames) == 3 and not (tmp_path / "unpickled").exists()


def test_objects_are_never_unpickled(tmp_path):
    bombs = np.array([[Bomb(tmp_path / "unpickled")] * 4] * 4, dtype=object)
    folder = a_scene(tmp_path, some_matrices() | {"world_mat_1": bombs})
    with refused(r"world_mat_1: .* float32"):
        capture(folder)
    assert not (tmp_path / "unpickled").exists()
    np.load(folder / "cameras_sphere.npz", allow_pickle=True)["world_mat_1"]
    assert (tmp_path / "unpickled").exists()


def changed(name: str, row: int, column: int, value: float) -> Matrices:
    matrices = some_matrices()
    matrices[name][row, column] = value
    return matrices


def skewed(pixels: float) -> Matrices:
    """The second camera with a skew that moves the last row by this against the first."""
    k, rotation, translation = a_camera(np.random.default_rng(5))
    k[0, 1] = pixels * k[1, 1] / HEIGHT
    return some_matrices() | {"world_mat_1": projection(k, rotation, translation)}


HOSTILE = {
    "NaN": (changed("world_mat_1", 0, 0, np.nan), r"world_mat_1: is not finite"),
    "infinity": (changed("world_mat_1", 2, 3, np.inf), r"world_mat_1: is not finite"),
    "huge": (changed("world_mat_1", 0, 0, 1e300), r"world_mat_1: is not finite"),
    "last row": (changed("world_mat_1", 3, 0, 1.0), r"world_mat_1: its last row is not 0 0 0 1"),
    "all zero": (
        some_matrices() | {"world_mat_1": np.diag([0, 0, 0, 1.0])},
        r"world_mat_1 \(000001\.png\): is no projection",
    ),
    "singular": (
        some_matrices()
        | {"world_mat_1": np.array([[1.0, 2, 3, 4], [2, 4, 6, 8], [0, 0, 1, 0], [0, 0, 0, 1]])},
        r"world_mat_1 \(000001\.png\): is no projection",
    ),
    "tiny": (
        some_matrices() | {"world_mat_1": np.diag([1e-300, 1e-300, 1e-300, 1])},
        r"world_mat_1 \(000001\.png\): is no projection",
    ),
    "far away": (
        some_matrices()
        | {"world_mat_1": np.array([*np.eye(4)[:2] * 9e-8, [0, 0, 1e-8, 9e29], [0, 0, 0, 1]])},
        r"world_mat_1 \(000001\.png\): camera_to_world is not finite",
    ),
    "skew": (skewed(0.5), r"world_mat_1 \(000001\.png\): has a skew of .* shifts pixels by 0\.50"),
    "3 x 4": (some_matrices() | {"world_mat_1": np.eye(4)[:3]}, r"world_mat_1: is 3 x 4"),
    "a vector": (some_matrices() | {"world_mat_1": np.zeros(16)}, r"world_mat_1: is an array of 1 dim"),
    "whole numbers": (some_matrices() | {"world_mat_1": np.eye(4, dtype=int)}, r"world_mat_1: .* float32"),
    "too large": (
        some_matrices() | {"world_mat_1": np.zeros((999, 999))},
        r"world_mat_1: claims 79\d* bytes",
    ),
    "spheres differ": (changed("scale_mat_2", 0, 3, 0.6), r"scale_mat_2 differs from scale_mat_0"),
    "not uniform": (changed("scale_mat_0", 1, 1, 2.1), r"scale_mat_0 is no uniform scale"),
    "inside out": (
        some_matrices() | {"scale_mat_0": np.diag([-2.0, -2, -2, 1])},
        r"scale_mat_0 is no uniform scale",
    ),
    "of no size": (
        some_matrices() | {"scale_mat_0": np.diag([0.0, 0, 0, 1])},
        r"scale_mat_0 is no uniform scale",
    ),
    "turned": (changed("scale_mat_1", 0, 1, 0.3), r"scale_mat_1 is no uniform scale"),
    "NaN scale": (changed("scale_mat_1", 0, 0, np.nan), r"scale_mat_1: is not finite"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_senseless_matrices_are_refused_by_name(case, tmp_path):
    matrices, message = HOSTILE[case]
    with refused(rf"cameras_sphere\.npz: {message}"):
        capture(a_scene(tmp_path, matrices))


def test_a_skew_that_moves_nothing_is_none(tmp_path):
    assert len(capture(a_scene(tmp_path, skewed(0.05))).frames) == 3


@pytest.mark.parametrize("absent", ["world_mat_1", "scale_mat_1"])
def test_gaps_in_the_numbers_are_refused(absent, tmp_path):
    """With a picture less than there were, too: all later pairs would be off by one."""
    matrices = some_matrices(4)
    del matrices[absent]
    with refused(f"{absent} is missing"):
        capture(a_scene(tmp_path, matrices))


@pytest.mark.parametrize("kind", ["image", "mask"])
def test_pictures_and_masks_must_be_as_many_as_matrices(kind, tmp_path):
    folder = a_scene(tmp_path, some_matrices())
    next((folder / kind).iterdir()).unlink()
    with refused(rf"has 3 matrices world_mat, and .*/{kind} has 2 pictures"):
        capture(folder)


def test_an_archive_without_matrices_or_beside_no_pictures_is_refused(tmp_path):
    folder = a_scene(tmp_path / "a", {})
    with refused("holds no world_mat_0"):
        capture(folder)
    np.savez(tmp_path / "cameras.npz", **some_matrices())
    assert recognise(tmp_path) is None
    with refused("image: cannot be listed"):
        capture(tmp_path)


def packed(members: list[tuple[str, bytes]], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that are there twice
        for name, contents in members:
            archive.writestr(name, contents)
    return stream.getvalue()


def beyond_any_file() -> bytes:
    """An archive whose one member is said to begin at byte 2^64 - 2."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("world_mat_0.npy", as_npy(np.eye(4)))
        archive.infolist()[0].header_offset = 2**64 - 2
    return stream.getvalue()


def as_npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


CLAIM = (
    b"\x93NUMPY\x01\x00v\x00"
    + b"{'descr': '<f8', 'fortran_order': False, 'shape': (4000000000, 4), }".ljust(118)
)
ARCHIVES = {
    "a bomb": packed([("world_mat_0.npy", bytes(2**24))]),
    "a header that claims too much": packed([("world_mat_0.npy", CLAIM)]),
    "a name twice": packed([("world_mat_0.npy", as_npy(np.eye(4)))] * 2),
    "another compression": packed([("world_mat_0.npy", as_npy(np.eye(4)))], zipfile.ZIP_BZIP2),
    "no array": packed([("world_mat_0.npy", b"0 0 0 1\n")]),
    "a number too many digits": packed([(f"world_mat_{'9' * 5000}.npy", as_npy(np.eye(4)))]),
    "a path": packed([("../world_mat_0.npy", as_npy(np.eye(4)))]),
    "an encrypted member": packed([("world_mat_0.npy", as_npy(np.eye(4)))]).replace(
        b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01"
    ),
    "a member beyond any file": beyond_any_file(),
    "no archive": b"\x80\x04]\x94.",
    "an empty archive": b"PK\x05\x06" + bytes(18),
    "nothing": b"",
}


@pytest.mark.parametrize("case", ARCHIVES)
def test_archives_are_not_believed(case, tmp_path):
    """Refused in little memory, whatever they claim to hold."""
    folder = a_scene(tmp_path, some_matrices(1))
    (folder / "cameras_sphere.npz").write_bytes(ARCHIVES[case])
    tracemalloc.start()
    with refused(r"cameras_sphere\.npz: "):
        capture(folder)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**21


@pytest.mark.parametrize("compressed", [False, True])
def test_damaged_archives_end_in_an_error_of_the_scene(compressed, tmp_path, seed):
    """Cut anywhere, or with bytes changed: what is read is the truth, or a refusal."""
    folder = a_scene(tmp_path, some_matrices())
    file = folder / "cameras_sphere.npz"
    if compressed:
        np.savez_compressed(file, **some_matrices())
    whole, rng = file.read_bytes(), np.random.default_rng(seed)
    for cut in range(0, len(whole), 37):
        file.write_bytes(whole[:cut])
        with refused(r"cameras_sphere\.npz: "):
            capture(folder)
    refusals = 0
    for _ in range(300):
        damaged = bytearray(whole)
        for at in rng.integers(len(whole), size=rng.integers(1, 4)):
            damaged[at] = rng.integers(256)
        file.write_bytes(damaged)
        try:
            assert len(capture(folder).frames) == 3
        except SceneError:
            refusals += 1
    assert refusals > 100


def test_pictures_and_masks_may_not_be_links_to_elsewhere(tmp_path):
    for kind in ("image/000001.png", "mask/001.png"):
        folder = a_scene(tmp_path / kind[:4] / "scene", some_matrices())
        (folder / kind).rename(folder.parent / "secret.png")
        (folder / kind).symlink_to(folder.parent / "secret.png")
        with refused(rf"{kind}: the picture lies outside"):
            capture(folder)
        assert len(capture(folder, allow_outside=True).frames) == 3


def test_a_broken_picture_is_named(tmp_path):
    folder = a_scene(tmp_path, some_matrices())
    (folder / "image" / "000002.png").write_bytes(b"\x89PNG")
    with refused(r"world_mat_2 \(000002\.png\): .*000002\.png"):
        capture(folder)


def test_only_idr_is_claimed(tmp_path):
    """Not a missing, empty or unreadable path, another file of the folder, or a pipe."""
    folder = a_scene(tmp_path / "scene", some_matrices())
    assert recognise(folder) == recognise(folder / "cameras_sphere.npz") == "has cameras_sphere.npz"
    (folder / "other.npz").write_bytes((folder / "cameras_sphere.npz").read_bytes())
    for path in (folder / "image", folder / "other.npz", tmp_path, tmp_path / "absent", Path("x" * 5000)):
        assert recognise(path) is None
    (tmp_path / "image").mkdir()
    os.mkfifo(tmp_path / "cameras.npz")
    assert recognise(tmp_path) is None
    with refused("no such file"):
        capture(tmp_path)
