"""Record3D captures are read as the app wrote them, and never trusted."""

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from scenes.cameras import Cameras
from scenes.formats.capture import Frame
from scenes.formats.record3d import capture, recognise
from scenes.images import write_png
from scenes.scene import SceneError

STILL = [0, 0, 0, 1, 0, 0, 0]
K = [7.5, 0, 0, 0, 7.25, 0, 4.125, 2.875, 1]


def a_capture(
    folder: Path,
    pictures: list[str],
    name: str = "metadata",
    **changes: Any,  # of the metadata; None removes a key
) -> Path:
    contents = {"w": 8, "h": 6, "K": K, "poses": [STILL, STILL], "fps": 60, "dw": 4, "dh": 3} | changes
    folder.mkdir(parents=True, exist_ok=True)
    contents = {key: value for key, value in contents.items() if value is not None}
    (folder / name).write_text(json.dumps(contents), encoding="utf-8")
    for picture in pictures:
        (folder / picture).parent.mkdir(parents=True, exist_ok=True)
        write_png(folder / picture, torch.zeros(6, 8, 3, dtype=torch.uint8))
    return folder


def seen(frame: Frame, points: np.ndarray) -> np.ndarray:
    """Where a reader's pose and lens put points."""
    lens = frame.lens
    intrinsics = (torch.tensor(v, dtype=torch.float64) for v in (lens.fx, lens.fy, lens.cx, lens.cy))
    camera = Cameras(torch.from_numpy(frame.camera_to_world), *intrinsics, lens.width, lens.height)
    return camera.project(torch.from_numpy(points))[0].numpy()


def turned(axis: np.ndarray, angle: float, vectors: np.ndarray) -> np.ndarray:
    """Rodrigues' formula, so that the quaternion is not checked against itself."""
    axis = axis / np.linalg.norm(axis)
    along = (vectors @ axis)[:, None] * axis
    return (
        vectors * math.cos(angle)
        + np.cross(np.broadcast_to(axis, vectors.shape), vectors) * math.sin(angle)
        + along * (1 - math.cos(angle))
    )


@pytest.mark.parametrize("each", [False, True])
def test_points_fall_where_the_documented_formula_puts_them(each, tmp_path):
    """World = R(q) camera + t, scalar last; camera looks along -z with y up; K by columns or one a frame.

    Would catch scalar first, world-to-camera, OpenCV axes, a K by rows and a centred principal point.
    """
    generator = np.random.default_rng(5)
    poses, coefficients, points, expected = [], [], [], []
    for index in range(4):
        axis, angle, centre = generator.normal(size=3), 0.4 + index, generator.normal(size=3)
        unit = axis / np.linalg.norm(axis)
        poses.append([*(unit * math.sin(angle / 2)), math.cos(angle / 2), *centre])
        coefficients.append([7 + index, 6.5, 4.25, 3.5])
        fx, fy, cx, cy = coefficients[-1] if each else (K[0], K[4], K[6], K[7])
        in_camera = generator.normal(size=(10, 3)) - [0, 0, 6]
        x = fx * in_camera[:, 0] / -in_camera[:, 2] + cx
        y = fy * -in_camera[:, 1] / -in_camera[:, 2] + cy
        points.append(turned(axis, angle, in_camera) + centre)
        expected.append(np.column_stack((x, y)))
    more = {"perFrameIntrinsicCoeffs": coefficients} if each else {}
    folder = a_capture(tmp_path, [f"rgbd/{i}.png" for i in range(4)], poses=poses, **more)
    read = capture(folder)
    assert read.up is None and read.splits is None
    for frame, world, pixels in zip(read.frames, points, expected, strict=True):
        assert_allclose(seen(frame, world), pixels, atol=1e-6)
        assert (frame.lens.width, frame.lens.height) == (8, 6)


def moved(count: int) -> list[list[float]]:
    """Poses that tell their number."""
    return [[0, 0, 0, 1, float(i), 0, 0] for i in range(count)]


def places(folder: Path) -> dict[str, float]:
    return {frame.image.name: frame.camera_to_world[0, 3] for frame in capture(folder).frames if frame.image}


def test_pictures_go_with_poses_in_natural_order(tmp_path):
    """10 comes after 9, not after 1; and numbers may begin anywhere where all pictures are there."""
    folder = a_capture(tmp_path / "a", [f"rgb/{i}.png" for i in range(12)], "metadata.json", poses=moved(12))
    assert places(folder) == {f"{i}.png": i for i in range(12)}
    folder = a_capture(tmp_path / "b", [f"rgb/{i:05}.png" for i in range(1, 4)], poses=moved(3))
    assert places(folder) == {"00001.png": 0, "00002.png": 1, "00003.png": 2}


def test_a_missing_picture_does_not_shift_the_others(tmp_path):
    folder = a_capture(tmp_path, [f"rgbd/{i}.png" for i in (0, 2, 3)], poses=moved(4))
    assert places(folder) == {"0.png": 0, "2.png": 2, "3.png": 3}
    assert [frame.name for frame in capture(folder).frames if frame.image is None] == ["rgbd/1"]


def test_copies_and_depth_among_the_pictures_are_passed_over(tmp_path):
    folder = a_capture(tmp_path, ["rgbd/0.png", "rgbd/1.png", "rgbd/1(2).png", "rgbd/².png"])
    (folder / "rgbd" / "0.depth").write_bytes(b"bvx2")
    frames = capture(folder).frames
    assert [frame.name for frame in frames] == ["rgbd/0.png", "rgbd/1.png"]
    assert all(frame.depth is None for frame in frames)


def test_pictures_that_cannot_be_told_apart_are_refused(tmp_path):
    with pytest.raises(SceneError, match=r"rgb/01\.png and rgb/1\.png have one number"):
        capture(a_capture(tmp_path / "a", ["rgb/1.png", "rgb/01.png"]))
    with pytest.raises(SceneError, match=r"2 poses and 3 pictures up to rgb/2\.png"):
        capture(a_capture(tmp_path / "b", [f"rgb/{i}.png" for i in range(3)]))


def test_without_pictures_all_frames_lack_theirs(tmp_path):
    """The caller names them."""
    assert [frame.image for frame in capture(a_capture(tmp_path, [])).frames] == [None, None]


def test_captures_are_recognised_by_what_the_file_holds(tmp_path):
    folder = a_capture(tmp_path / "Küche 2", ["rgbd/0.png"])
    assert recognise(folder) == "has metadata with K and poses"
    assert recognise(folder / "metadata") and recognise(folder / "rgbd") is None
    assert recognise(a_capture(tmp_path / "b", [], "metadata.json") / "metadata.json")
    assert recognise(a_capture(tmp_path / "c", [], poses=None)) is None
    assert recognise(tmp_path / "absent") is None
    (folder / "transforms.json").write_text("{}")  # as instant-ngp's converter leaves it
    assert recognise(folder) is None and recognise(folder / "metadata")


@pytest.mark.parametrize("text", ["", "[" * 100_000, "[1]", '{"K": [], "poses": 3}', "\0", "{" * 9000])
def test_other_files_of_that_name_are_not_claimed(text, tmp_path):
    (tmp_path / "metadata").write_text(text)
    assert recognise(tmp_path) is None
    with pytest.raises(SceneError, match="metadata: "):
        capture(tmp_path)


def test_pipes_are_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "metadata")
    assert recognise(tmp_path) is None
    with pytest.raises(SceneError, match=r"holds no metadata or metadata\.json"):
        capture(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"w": 0}, "w is 0"),
        ({"w": 10**9}, "w is 1000000000"),
        ({"h": 6.5}, "h is 6.5"),
        ({"h": None}, "h is None"),
        ({"K": K[:8]}, "K is not a list of 9 numbers"),
        ({"K": [K[:3], K[3:6], K[6:]]}, "K is not a list of 9 numbers"),
        ({"K": [7.5, 0, 4, 0, 7.25, 3, 0, 0, 1]}, r"K is .* fx 0 0 0 fy 0 cx cy 1, column by column"),
        ({"K": [7.5, 0, 0, 0, "7", 0, 4, 3, 1]}, r"K\[4\] is '7'"),
        ({"K": [-7.5, 0, 0, 0, 7, 0, 4, 3, 1]}, "focal lengths are -7.5 and 7"),
        ({"K": None}, "K is not a list"),
        ({"poses": []}, "poses is missing or empty"),
        ({"poses": {"0": STILL}}, "poses is missing or empty"),
        ({"poses": [STILL, STILL[:6]]}, r"frame 1 \(rgbd/1\.png\): pose is not a list of 7"),
        ({"poses": [STILL, [0] * 7]}, r"frame 1 .* quaternion of its pose has length 0, not 1"),
        ({"poses": [STILL, [0, 0, 0, 2, 0, 0, 0]]}, "quaternion of its pose has length 2"),
        ({"poses": [STILL, [0, 0, 0, 1, 0, 0, math.nan]]}, r"pose\[6\] is nan"),
        ({"poses": [STILL, [0, 0, 0, 1, 0, 0, 10**400]]}, r"pose\[6\] is 1000"),
        ({"poses": [STILL, [0, 0, 0, True, 0, 0, 0]]}, r"pose\[3\] is True"),
        ({"perFrameIntrinsicCoeffs": [[7, 7, 4, 3]]}, "must hold 2 entries"),
        ({"perFrameIntrinsicCoeffs": "7 7 4 3"}, "must hold 2 entries"),
        ({"perFrameIntrinsicCoeffs": [[7, 7, 4, 3], [0, 7, 4, 3]]}, "frame 1 .* focal lengths are 0 and 7"),
        ({"perFrameIntrinsicCoeffs": [[7, 7, 4, 3], [7, math.inf, 4, 3]]}, r"intrinsics\[1\] is inf"),
        ({"perFrameIntrinsicCoeffs": [[7, 7, 4, 3], None]}, "intrinsics is not a list of 4"),
    ],
)
def test_senseless_numbers_are_named(changes, message, tmp_path):
    folder = a_capture(tmp_path, ["rgbd/0.png", "rgbd/1.png"], **changes)
    with pytest.raises(SceneError, match=rf"metadata: .*{message}"):
        capture(folder)


def test_pictures_may_not_lie_outside(tmp_path):
    folder = a_capture(tmp_path / "scene", ["rgb/0.png"])
    write_png(tmp_path / "secret.png", torch.zeros(6, 8, 3, dtype=torch.uint8))
    (folder / "rgb" / "1.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(SceneError, match=r"frame 1 \(rgb/1\.png\): .* outside of the scene folder"):
        capture(folder)
    assert capture(folder, allow_outside=True).frames[1].image is not None
