"""RGB-D folders are read in both layouts, depth lies where the cameras say, and nothing is trusted."""

import math
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from PIL import Image

from scenes.cameras import Cameras
from scenes.depths import DepthSequence
from scenes.formats.capture import Capture, Frame
from scenes.formats.rgbd import capture, recognise
from scenes.images import write_png
from scenes.scene import SceneError, SceneWarning

K = np.array([[7.5, 0, 4.125], [0, 7.25, 2.875], [0, 0, 1]])
STILL = np.eye(4)
FILES = {
    "ScanNet": ("color/{}.png", "depth/{}.png", "pose/{}.txt", "intrinsic/intrinsic_color.txt"),
    "7-Scenes": (
        "frame-{}.color.png",
        "frame-{}.depth.png",
        "frame-{}.pose.txt",
        "camera-intrinsics.txt",
    ),
}
LAYOUTS = pytest.mark.parametrize("layout", list(FILES))


def rotation(generator: np.random.Generator) -> np.ndarray:
    q, r = np.linalg.qr(generator.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q * np.linalg.det(q)


def write(file: Path, matrix: np.ndarray) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savetxt(file, matrix)


def a_folder(
    folder: Path, poses: dict[str, np.ndarray], layout: str = "ScanNet", intrinsics: np.ndarray | None = K
) -> Path:
    """A folder with these frames; pictures are 8x6, depth is 4x3 and 2000 steps everywhere."""
    colour, depth, pose, matrix = FILES[layout]
    for number, camera_to_world in poses.items():
        write(folder / pose.format(number), camera_to_world)
        (folder / colour.format(number)).parent.mkdir(parents=True, exist_ok=True)
        (folder / depth.format(number)).parent.mkdir(parents=True, exist_ok=True)
        write_png(folder / colour.format(number), torch.zeros(6, 8, 3, dtype=torch.uint8))
        Image.fromarray(np.full((3, 4), 2000, np.uint16)).save(folder / depth.format(number))
    if intrinsics is not None:
        write(folder / matrix, intrinsics)
    return folder


def camera_of(frame: Frame) -> Cameras:
    lens = frame.lens
    intrinsics = (torch.tensor(v, dtype=torch.float64) for v in (lens.fx, lens.fy, lens.cx, lens.cy))
    return Cameras(torch.from_numpy(frame.camera_to_world), *intrinsics, lens.width, lens.height)


def depths_of(read: Capture) -> DepthSequence:
    return DepthSequence(tuple(f.depth for f in read.frames), read.depth_unit, read.depth_unknown)


@LAYOUTS
@pytest.mark.parametrize("side", [3, 4])
def test_points_fall_where_the_documented_formula_puts_them(layout, side, tmp_path):
    """World = R camera + t, and (fx X/Z + cx, fy Y/Z + cy): camera-to-world, OpenCV axes, K by rows."""
    generator = np.random.default_rng(11)
    poses, points, pixels = {}, {}, {}
    intrinsics = np.eye(side)
    intrinsics[:3, :3] = K
    for index in range(5):
        number = str(98 + index)  # natural order: 100 after 99
        poses[number] = np.eye(4)
        poses[number][:3] = np.column_stack((rotation(generator), generator.normal(size=3)))
        in_camera = generator.normal(size=(12, 3)) + np.array([0.0, 0.0, 6.0])
        points[number] = in_camera @ poses[number][:3, :3].T + poses[number][:3, 3]
        homogeneous = in_camera @ K.T
        pixels[number] = homogeneous[:, :2] / homogeneous[:, 2:]
    folder = a_folder(tmp_path, poses, layout, intrinsics)
    read = capture(folder)
    for number, frame in zip(poses, read.frames, strict=True):
        seen, _ = camera_of(frame).project(torch.from_numpy(points[number]))
        assert_allclose(seen.numpy(), pixels[number], atol=1e-6)
        assert frame.image == folder / FILES[layout][0].format(number)
        assert frame.depth == folder / FILES[layout][1].format(number)
        assert (frame.lens.width, frame.lens.height) == (8, 6)


@LAYOUTS
def test_depth_of_a_tilted_plane_is_on_the_plane(layout, tmp_path):
    """Rays of pixel centres at +0.5 meet a steep plane; its depth, read and unprojected, lies on it to a
    millimetre.

    Half a pixel is 0.1 m and more here: would catch integer pixel centres, distances for z_depth, and a
    wrong unit.
    """
    generator = np.random.default_rng(13)
    pose = np.eye(4)
    pose[:3] = np.column_stack((rotation(generator), generator.normal(size=3)))
    normal, offset = np.array([0.8, 0.0, -0.6]), -1.5  # in camera axes: normal . p = offset
    x, y = np.meshgrid(np.arange(8) + 0.5, np.arange(6) + 0.5)
    directions = np.stack(((x - 4.125) / 7.5, (y - 2.875) / 7.25, np.ones_like(x)), axis=-1)
    z_depth = offset / (directions @ normal)
    known = z_depth < 5
    steps = np.where(known, np.round(z_depth * 1000), np.where(y < 3, 0, 65535)).astype(np.uint16)
    assert (steps == 0).any() and (steps == 65535).any() and known.sum() > 30
    folder = a_folder(tmp_path, {"7": pose}, layout)
    Image.fromarray(steps).save(folder / FILES[layout][1].format("7"))

    read = capture(folder)
    stored = depths_of(read)[0]
    assert torch.equal(stored > 0, torch.from_numpy(known))
    camera = camera_of(read.frames[0])
    pixels = torch.from_numpy(np.stack((x, y), axis=-1))
    points = camera.unproject(pixels, stored.double()).numpy()[known]
    in_camera = (points - pose[:3, 3]) @ pose[:3, :3]
    assert np.abs(in_camera @ normal - offset).max() < 1e-3
    half = camera.unproject(pixels - 0.5, stored.double()).numpy()[known]
    assert np.abs(((half - pose[:3, 3]) @ pose[:3, :3]) @ normal - offset).max() > 0.1


def test_depth_may_be_smaller_than_the_colours(tmp_path):
    """Registered depth of half the size fills the colour camera's pixels without being averaged."""
    folder = a_folder(tmp_path, {"0": STILL})
    steps = np.arange(1, 13, dtype=np.uint16).reshape(3, 4) * 100
    Image.fromarray(steps).save(folder / "depth" / "0.png")
    read = capture(folder)
    lens = read.frames[0].lens
    resized = depths_of(read).resized([(lens.width, lens.height)])[0]
    assert_allclose(resized.numpy(), steps.repeat(2, 0).repeat(2, 1) / 1000, rtol=1e-6)


@LAYOUTS
def test_frames_whose_tracking_was_lost_are_left_out_with_one_warning(layout, tmp_path):
    """Infinities, NaN, and no file at all; the rest is kept in order."""
    lost = {"3": np.full((4, 4), -np.inf), "10": np.full((4, 4), np.nan)}
    folder = a_folder(tmp_path, {"1": STILL, **lost, "11": STILL, "20": STILL}, layout)
    (folder / FILES[layout][2].format("20")).unlink()
    with pytest.warns(
        SceneWarning, match=r"3 of 5 frames have no finite pose .* left out: 3, 10, 20"
    ) as told:
        read = capture(folder)
    assert len(told) == 1
    kept = [FILES[layout][0].format(number).removesuffix(".png") for number in ("1", "11")]
    assert [frame.name for frame in read.frames] == kept


def test_where_all_tracking_was_lost_nothing_is_read(tmp_path):
    with pytest.raises(SceneError, match="none of its 1 frames has a finite pose"):
        capture(a_folder(tmp_path, {"1": np.full((4, 4), np.inf)}))


@LAYOUTS
def test_missing_pictures_and_depth_are_told(layout, tmp_path):
    folder = a_folder(tmp_path, {"0": STILL, "1": STILL, "2": STILL}, layout)
    (folder / FILES[layout][0].format("0")).unlink()
    (folder / FILES[layout][1].format("2")).unlink()
    frames = capture(folder).frames
    assert [frame.image is None for frame in frames] == [True, False, False]
    assert [frame.depth is None for frame in frames] == [False, False, True]


def test_intrinsics_that_are_not_there_are_the_kinects_and_said_so(tmp_path):
    folder = a_folder(tmp_path, {"000000": STILL}, "7-Scenes", None)
    with pytest.warns(SceneWarning, match="585 585 320 240 for 640 x 480"):
        lens = capture(folder).frames[0].lens
    assert (lens.fx, lens.fy, lens.cx, lens.cy, lens.width, lens.height) == (585, 585, 320, 240, 640, 480)
    write(folder / "intrinsics.txt", K)
    assert capture(folder).frames[0].lens.fx == 7.5


def test_folders_are_recognised_by_their_layout(tmp_path):
    scannet = a_folder(tmp_path / "scene 0000_00 ü", {"0": STILL})
    scenes7 = a_folder(tmp_path / "seq-01", {"000000": STILL}, "7-Scenes", None)
    assert recognise(scannet) == "has pose/N.txt beside color/N, as ScanNet"
    assert recognise(scenes7) == "has frame-N.pose.txt beside frame-N.color, as 7-Scenes"
    assert recognise(scannet / "color") is None and recognise(tmp_path / "absent") is None
    assert recognise(scannet / "pose" / "0.txt") is None
    assert len(capture(scannet).frames) == 1
    (scannet / "intrinsic" / "intrinsic_color.txt").unlink()  # without them it may be anything
    assert recognise(scannet) is None
    with pytest.raises(SceneError, match="laid out as ScanNet or 7-Scenes"):
        capture(scannet)


def changed(row: int, column: int, value: float, matrix: np.ndarray = STILL) -> np.ndarray:
    matrix = matrix.copy()
    matrix[row, column] = value
    return matrix


@LAYOUTS
@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (changed(0, 0, 2.0), r"not a rotation \(determinant 2.00\)"),
        (changed(0, 0, -1.0), r"not a rotation \(determinant -1.00\)"),
        (changed(0, 1, 0.5), r"not a rotation \(determinant 1.00\)"),
        (changed(3, 0, 1.0), "not a rotation"),
        (changed(0, 3, 1e200), "is not finite"),
        (STILL[:3], "does not hold 4x4 numbers"),
        (np.eye(5), "does not hold 4x4 numbers"),
        (STILL[0], "does not hold 4x4 numbers"),
    ],
)
def test_poses_that_are_none_are_named(layout, matrix, message, tmp_path):
    folder = a_folder(tmp_path, {"4": STILL, "5": matrix}, layout)
    file = FILES[layout][2].format("5")
    with pytest.raises(SceneError, match=rf"{file}: .*{message}"):
        capture(folder)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"one two", b"1 0 0\n0 1\n", b"0\0", b"x" * 9999])
def test_broken_pose_files_are_named(content, tmp_path):
    folder = a_folder(tmp_path, {"4": STILL})
    (folder / "pose" / "4.txt").write_bytes(content)
    with pytest.raises(SceneError, match=r"pose/4\.txt: ") as raised:
        capture(folder)
    assert len(str(raised.value)) < 400 and "\n" not in str(raised.value)


@LAYOUTS
@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (changed(0, 0, 0.0, K), "fx is 0"),
        (changed(1, 1, -7.0, K), "fy is -7"),
        (changed(0, 0, math.inf, K), "fx is inf"),
        (changed(0, 1, 0.1, K), "is not fx 0 cx"),
        (changed(2, 2, 0.0, K), "is not fx 0 cx"),
        (changed(2, 0, math.nan, K), "is not fx 0 cx"),
        (changed(0, 2, 320.0, K), r"cx 320 and cy 2.875 lie outside of the pictures \(8 x 6\)"),
        (changed(1, 2, -1.0, K), "lie outside of the pictures"),
        (K[:2], "does not hold 3x3 or 4x4 numbers"),
    ],
)
def test_senseless_intrinsics_are_named(layout, matrix, message, tmp_path):
    folder = a_folder(tmp_path, {"0": STILL}, layout, matrix)
    with pytest.raises(SceneError, match=rf"{FILES[layout][3]}: .*{message}"):
        capture(folder)


@LAYOUTS
def test_no_or_broken_pictures_are_errors_of_the_scene(layout, tmp_path):
    """The size is not in the files."""
    folder = a_folder(tmp_path, {"0": STILL}, layout)
    file = folder / FILES[layout][0].format("0")
    file.write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(SceneError, match=file.name):
        capture(folder)
    file.rename(file.with_suffix(".gif"))
    with pytest.raises(SceneError, match="none of its 1 pictures is there"):
        capture(folder)


@LAYOUTS
@pytest.mark.parametrize("what", [0, 1, 2, 3])
def test_files_may_not_lie_outside(layout, what, tmp_path):
    """A link out of the folder, whichever file it stands for."""
    folder = a_folder(tmp_path / "scene", {"0": STILL}, layout)
    file = folder / FILES[layout][what].format("0")
    file.rename(tmp_path / "secret")
    file.symlink_to(tmp_path / "secret")
    with pytest.raises(SceneError, match="outside of the scene folder"):
        capture(folder)
    frame = capture(folder, allow_outside=True).frames[0]
    assert frame.image is not None and frame.depth is not None


def test_pipes_are_not_waited_for(tmp_path):
    """A pose that is a pipe is no pose."""
    folder = a_folder(tmp_path, {"0": STILL, "1": STILL})
    (folder / "pose" / "1.txt").unlink()
    os.mkfifo(folder / "pose" / "1.txt")
    with pytest.warns(SceneWarning, match="left out: 1"):
        assert len(capture(folder).frames) == 1


def test_other_files_between_are_passed_over(tmp_path):
    """Copies, hidden files and numbers of another script name no frame."""
    folder = a_folder(tmp_path, {"0": STILL})
    for name in ("color/._0.png", "color/0 (2).png", "color/٣.png", "pose/notes.txt", "color/Thumbs.db"):
        (folder / name).write_bytes(b"?")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [frame.name for frame in capture(folder).frames] == ["color/0"]


def reprojected(first: Frame, second: Frame, seen: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
    """How much nearer or farther the second frame sees what the first one sees, metres.

    Where the second knows, and where nothing more than 0.1 m nearer hides what the first saw.
    """
    camera, other = camera_of(first), camera_of(second)
    pixels = camera.pixel_centres()[2::5, 2::5][seen[2::5, 2::5] > 0]
    points = camera.unproject(pixels, seen[2::5, 2::5][seen[2::5, 2::5] > 0].double())
    at, z_depth = other.project(points)
    column, row = at.floor().long().unbind(-1)
    inside = (z_depth > 0) & (column >= 0) & (column < other.width) & (row >= 0) & (row < other.height)
    column, row, z_depth = column[inside], row[inside], z_depth[inside]
    known = there[row, column].double()
    return (z_depth - known)[(known > 0) & (z_depth < known + 0.1)]


def test_the_kinects_frames_agree_about_the_room(test_data):
    """Depth of one frame, moved into another, is that frame's own to 20 mm in the median.

    Would catch a wrong axis, an inverted pose, a wrong focal length or unit. As a check of the check, the
    same depth without the motion of the camera is off by more.
    """
    read = capture(test_data / "rgbd")
    assert len(read.frames) == 100 and read.frames[0].lens.fx == 585
    depths = depths_of(read)
    medians, unmoved = [], []
    for index in range(0, 96, 8):
        first, second = read.frames[index], read.frames[index + 2]
        seen, there = depths[index], depths[index + 2]
        error = reprojected(first, second, seen, there)
        assert len(error) > 1000
        medians.append(float(error.abs().median()))
        both = (seen > 0) & (there > 0)
        unmoved.append(float((seen - there)[both].abs().median()))
    assert len(medians) >= 10
    assert max(medians) <= 0.02, [f"{1000 * m:.1f} mm" for m in medians]
    assert np.median(unmoved) > 2 * np.median(medians)
