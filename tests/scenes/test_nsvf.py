"""NSVF scenes: both kinds of intrinsics, poses by name, splits by prefix, and no text is trusted."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from scenes.cameras import Cameras
from scenes.formats.capture import Frame
from scenes.formats.nsvf import capture, recognise
from scenes.images import read_image, write_png
from scenes.scene import SceneError, SceneWarning

WIDTH, HEIGHT = 8, 6
FX, FY, CX, CY = 9.0, 8.5, 4.25, 2.75
MATRIX = f"{FX} 0 {CX} 0\n0 {FY} {CY} 0\n0 0 1 0\n0 0 0 1\n"
LIST = f"{FX} {CX} {CY} 0.\n0. 0. 0.\n0.\n1.\n{HEIGHT} {WIDTH}\n"
STEMS = ("0_0000", "0_0001", "1_0000", "2_0000")


@contextmanager
def refused(match: str) -> Iterator[None]:
    """A SceneError of one line."""
    with pytest.raises(SceneError, match=match) as caught:
        yield
    assert "\n" not in str(caught.value)


def some_poses(count: int) -> list[np.ndarray]:
    """Camera-to-world, OpenCV axes, of cameras that see the origin five units ahead."""
    rng = np.random.default_rng(4)
    poses = []
    for _ in range(count):
        q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        pose = np.eye(4)
        pose[:3, :3] = q * np.linalg.det(q)
        pose[:3, 3] = -5 * pose[:3, 2]
        poses.append(pose)
    return poses


def written(matrix: np.ndarray) -> str:
    return "\n".join(" ".join(repr(float(number)) for number in row) for row in matrix) + "\n"


def a_scene(
    folder: Path, stems: tuple[str, ...] = STEMS, intrinsics: str = MATRIX, bbox: str | None = None
) -> Path:
    """A folder with a pose and a picture for each name; picture i has colour 10 i."""
    for sub in ("rgb", "pose"):
        (folder / sub).mkdir(parents=True)
    for i, (stem, pose) in enumerate(zip(stems, some_poses(len(stems)), strict=True)):
        (folder / "pose" / f"{stem}.txt").write_text(written(pose))
        picture = torch.full((HEIGHT, WIDTH, 4), 10 * i, dtype=torch.uint8)
        write_png(folder / "rgb" / f"{stem}.png", picture)
    (folder / "intrinsics.txt").write_text(intrinsics)
    if bbox is not None:
        (folder / "bbox.txt").write_text(bbox)
    return folder


def pixels_of(frame: Frame, points: np.ndarray) -> np.ndarray:
    """Where our cameras see the points."""
    lens = frame.lens
    numbers = (torch.tensor(n, dtype=torch.float64) for n in (lens.fx, lens.fy, lens.cx, lens.cy))
    cameras = Cameras(torch.from_numpy(frame.camera_to_world), *numbers, lens.width, lens.height)
    return cameras.project(torch.from_numpy(points))[0].numpy()


@pytest.mark.parametrize(
    ("intrinsics", "fy"),
    [
        (MATRIX, FY),
        (f"{FX} 0 {CX}\n\n  0 {FY} {CY}  \n0 0 1", FY),
        (f"# a comment\n{FX:e}\t0 {CX} 0\n0 {FY} {CY} 0 # fy\n0 0 1 0\n", FY),
        (LIST, FX),
        (f"{FX} {CX} {CY} 0.\n0. 0. 0.\n1.\n{HEIGHT} {WIDTH}\n", FX),
        (f"{FX} {CX} {CY} 0.\n", FX),
    ],
    ids=["4x4", "3x3", "3x4", "list", "shorter list", "first line"],
)
def test_points_fall_on_the_pixels_that_the_format_documents(intrinsics, fy, tmp_path):
    """x right, y down, z forward in the pose's columns; f, cx, cy first or in a matrix."""
    folder = a_scene(tmp_path, intrinsics=intrinsics)
    points = np.random.default_rng(1).normal(size=(40, 3))
    frames = capture(folder).frames
    assert len(frames) == 4
    for frame, pose in zip(frames, some_poses(4), strict=True):
        right, down, forward, centre = pose[:3].T
        arm = points - centre
        depth = arm @ forward
        expected = np.stack((FX * (arm @ right) / depth + CX, fy * (arm @ down) / depth + CY), axis=-1)
        np.testing.assert_allclose(pixels_of(frame, points), expected, atol=1e-6, rtol=0)
        assert (frame.lens.width, frame.lens.height) == (WIDTH, HEIGHT)


def test_the_list_tells_the_size_and_the_matrix_does_not(tmp_path):
    """H comes before W; where the file says a size, pictures may be smaller and are not opened."""
    folder = a_scene(tmp_path / "a", intrinsics=LIST.replace(f"{HEIGHT} {WIDTH}", "600 800"))
    for picture in (folder / "rgb").iterdir():
        picture.write_bytes(b"")
    assert (capture(folder).frames[0].lens.width, capture(folder).frames[0].lens.height) == (800, 600)
    folder = a_scene(tmp_path / "b")
    (folder / "rgb" / "0_0000.png").write_bytes(b"")
    with refused(r"intrinsics\.txt: .*0_0000\.png"):
        capture(folder)


def test_poses_meet_pictures_by_name(tmp_path):
    """Not by order: a missing picture is not replaced by the next, and one without a pose is named."""
    folder = a_scene(tmp_path / "ein Ort mit Bäumen")
    (folder / "rgb" / "0_0001.png").unlink()
    (folder / "pose" / "1_0000.txt").unlink()
    (folder / "pose" / "._0_0000.txt").write_text("left by an archiver")
    (folder / "pose" / "notes.md").write_text("no pose")
    with pytest.warns(SceneWarning, match="1 of 3 pictures have no pose and are left out: 1_0000"):
        frames = capture(folder).frames
    assert [frame.name for frame in frames] == ["0_0000", "0_0001", "2_0000"]
    assert frames[1].image is None
    assert [int(read_image(frame.image)[0, 0, 0]) for frame in (frames[0], frames[2])] == [0, 30]
    np.testing.assert_array_equal(frames[2].camera_to_world, some_poses(4)[3])


def test_prefixes_are_splits(tmp_path):
    """2_ is test and 1_ validation; without any 2_, 1_ is test; without prefixes nothing is said."""
    assert capture(a_scene(tmp_path / "a")).splits == {
        "train": ("0_0000", "0_0001"),
        "val": ("1_0000",),
        "test": ("2_0000",),
    }
    real = capture(a_scene(tmp_path / "b", ("0_a", "0_b", "1_c")))
    assert real.splits == {"train": ("0_a", "0_b"), "test": ("1_c",)}
    assert capture(a_scene(tmp_path / "c", ("0", "1", "12", "2"))).splits is None
    assert capture(a_scene(tmp_path / "d", ("0_a",))).splits == {"train": ("0_a",)}
    with refused("pose: 12 has no prefix 0_, 1_ or 2_ as others have"):
        capture(a_scene(tmp_path / "e", ("0_a", "12")))


def test_the_box_is_that_of_the_file(tmp_path):
    corners = (-1.5, -2.0, 0.25), (1.0, 2.5, 3.0)
    assert capture(a_scene(tmp_path / "a", bbox="-1.5 -2 0.25 1 2.5 3 0.4\n")).box == corners
    assert capture(a_scene(tmp_path / "b", bbox="-1.5 -2 0.25\n1 2.5 3\n")).box == corners
    assert capture(a_scene(tmp_path / "c")).box is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has 0 numbers"),
        ("0 0 0 1 1", "has 5 numbers"),
        ("0 0 0 1 1 1 0.1 9", "has 8 numbers"),
        ("0 0 0 1 nan 1", "a corner is nan"),
        ("0 0 0 1 inf 1", "a corner is inf"),
        ("0 0 0 1 0 1 0.4", "must lie below"),
        ("0 0 zero 1 1 1", "'zero', which is no number"),
        ("\0" * 70000, "is larger than 65536 bytes"),
    ],
)
def test_senseless_boxes_are_refused(text, message, tmp_path):
    with refused(rf"bbox\.txt: .*{message}"):
        capture(a_scene(tmp_path, bbox=text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is neither"),
        ("9", "is neither"),
        ("9 0\n0 9", "is neither"),
        ("9 4 3 0 0 0", "is neither"),
        ("f 4 3 0.", "'f', which is no number"),
        ("x" * 200, "holds 'x{40}', which is no number"),
        ("9 " * 40000, "is larger than 65536 bytes"),
        (MATRIX.replace("9.0", "nan"), "the focal length is nan"),
        (MATRIX.replace("9.0", "-9.0"), "the focal length is -9.0"),
        (MATRIX.replace("4.25", "inf"), "cx is inf"),
        (MATRIX.replace("9.0 0", "9.0 0.01"), "row 1, column 2 is 0.01; it must be 0"),
        (MATRIX.replace("0 0 1 0", "0 0 nan 0"), "row 3, column 3 is nan; it must be 1"),
        (MATRIX.replace("0 0 0 1", "0 0 0 2"), "row 4, column 4 is 2; it must be 1"),
        (LIST.replace("6 8", "0 8"), "H is 0.0"),
        (LIST.replace("6 8", "6 1e12"), "W is 1000000000000.0"),
        (LIST.replace("6 8", "6.5 8"), "H is 6.5; it must be a whole number"),
        (LIST.replace("9.0", "0"), "the focal length is 0.0"),
    ],
)
def test_senseless_intrinsics_are_refused(text, message, tmp_path):
    with refused(rf"intrinsics\.txt: .*{message}"):
        capture(a_scene(tmp_path, intrinsics=text))


def moved(row: int, column: int, value: float) -> str:
    pose = np.eye(4)
    pose[row, column] = value
    return written(pose)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (moved(0, 0, np.nan), "is not finite"),
        (moved(1, 3, np.inf), "is not finite"),
        (moved(1, 3, 1e200), "is not finite"),
        (moved(0, 0, -1), r"is not a rotation \(determinant -1\.00\)"),
        (moved(0, 1, 0.5), "is not a rotation"),
        (moved(3, 3, 2), "is not a rotation"),
        (written(np.eye(3)), "the pose is not 4x4 numbers"),
        (written(np.eye(5)), "the pose is not 4x4 numbers"),
        ("", "the pose is not 4x4 numbers"),
        ("one two", "'one', which is no number"),
        ("1 " * 40000, "is larger than 65536 bytes"),
    ],
)
def test_poses_that_are_none_are_refused_with_their_file(text, message, tmp_path):
    folder = a_scene(tmp_path)
    (folder / "pose" / "0_0001.txt").write_text(text)
    with refused(rf"pose/0_0001\.txt: .*{message}"):
        capture(folder)


def test_poses_of_three_rows_or_in_one_line_are_read(tmp_path):
    folder = a_scene(tmp_path)
    pose = some_poses(4)[1]
    for text in (written(pose[:3]), written(pose).replace("\n", " ")):
        (folder / "pose" / "0_0001.txt").write_text(text)
        np.testing.assert_array_equal(capture(folder).frames[1].camera_to_world, pose)


def test_texts_that_are_none_are_refused(tmp_path):
    folder = a_scene(tmp_path)
    (folder / "pose" / "0_0001.txt").write_bytes(b"\xff\xfe\x00")
    with refused(r"0_0001\.txt: cannot be read as text"):
        capture(folder)


def test_an_empty_scene_is_refused(tmp_path):
    with refused("holds no frame"):
        capture(a_scene(tmp_path / "a", (), LIST))
    with refused("rgb: no picture is there"):
        capture(a_scene(tmp_path / "b", ()))
    with refused("rgb: cannot be listed"):
        capture(tmp_path)


def test_two_pictures_of_one_name_are_refused(tmp_path):
    folder = a_scene(tmp_path)
    (folder / "rgb" / "0_0001.jpg").write_bytes(b"")
    with refused(r"0_0001\.png: 0_0001\.jpg has the same name"):
        capture(folder)


@pytest.mark.parametrize("name", ["rgb/0_0001.png", "pose/0_0001.txt", "intrinsics.txt", "bbox.txt"])
def test_no_file_may_be_a_link_to_elsewhere(name, tmp_path):
    """Neither a picture nor a text, whose words would stand in a message."""
    folder = a_scene(tmp_path / "scene", bbox="0 0 0 1 1 1 0.4")
    (folder / name).rename(tmp_path / "secret")
    (folder / name).symlink_to(tmp_path / "secret")
    with refused(rf"{name}: .* lies outside of the scene folder"):
        capture(folder)
    assert len(capture(folder, allow_outside=True).frames) == 4


def test_only_nsvf_is_claimed(tmp_path):
    """Not a missing, empty or unreadable path, another file of the folder, or one whose parts are missing."""
    folder = a_scene(tmp_path / "scene", bbox="0 0 0 1 1 1 0.4")
    for path in (folder, folder / "intrinsics.txt", folder / "bbox.txt"):
        assert recognise(path) == "has intrinsics.txt, pose and rgb"
        assert len(capture(path).frames) == 4
    for path in (folder / "rgb" / "0_0000.png", folder / "pose", tmp_path, tmp_path / "no", Path("x" * 5000)):
        assert recognise(path) is None
    (folder / "intrinsics.txt").unlink()
    os.mkfifo(folder / "intrinsics.txt")
    assert recognise(folder) is None
    with refused(r"intrinsics\.txt: no such file"):
        capture(folder)
