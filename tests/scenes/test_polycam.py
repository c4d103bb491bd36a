"""Polycam's raw data is read as the app wrote it, and never trusted."""

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from PIL import Image

from scenes.cameras import Cameras
from scenes.depths import DepthSequence
from scenes.formats.capture import Frame
from scenes.formats.polycam import capture, recognise
from scenes.images import write_png
from scenes.scene import SceneError

STILL = np.eye(4)[:3]


def rotation(generator: np.random.Generator) -> np.ndarray:
    q, r = np.linalg.qr(generator.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q * np.linalg.det(q)


def a_frame(
    folder: Path, stem: str = "100", matrix: np.ndarray = STILL, kind: str = "", **changes: Any
) -> Path:
    """One camera file, picture and depth picture; a change of None removes a key."""
    contents = {"fx": 7.5, "fy": 7.25, "cx": 4.125, "cy": 2.875, "width": 8, "height": 6, "blur_score": 50.0}
    contents |= {f"t_{row}{column}": float(matrix[row, column]) for row in range(3) for column in range(4)}
    contents = {key: value for key, value in (contents | changes).items() if value is not None}
    keyframes = folder / "keyframes"
    for name in (f"{kind}cameras", f"{kind}images", "depth"):
        (keyframes / name).mkdir(parents=True, exist_ok=True)
    (keyframes / f"{kind}cameras" / f"{stem}.json").write_text(json.dumps(contents))
    write_png(keyframes / f"{kind}images" / f"{stem}.png", torch.zeros(6, 8, 3, dtype=torch.uint8))
    Image.fromarray(np.full((3, 4), 1250, np.uint16)).save(keyframes / "depth" / f"{stem}.png")
    return folder


def seen(frame: Frame, points: np.ndarray) -> np.ndarray:
    """Where a reader's pose and lens put points."""
    lens = frame.lens
    intrinsics = (torch.tensor(v, dtype=torch.float64) for v in (lens.fx, lens.fy, lens.cx, lens.cy))
    camera = Cameras(torch.from_numpy(frame.camera_to_world), *intrinsics, lens.width, lens.height)
    return camera.project(torch.from_numpy(points))[0].numpy()


def test_points_fall_where_the_documented_formula_puts_them(tmp_path):
    """ARKit's world has y up; ours is (z, x, y) of it. Its cameras look along -z with y up.

    Would catch world-to-camera, columns for rows, OpenCV axes and rows in another order.
    """
    generator = np.random.default_rng(7)
    expected = {}
    points = {}
    for index in range(5):
        matrix = np.column_stack((rotation(generator), generator.normal(size=3)))
        in_camera = generator.normal(size=(12, 3)) - [0, 0, 6]
        x = (7.5 + index) * in_camera[:, 0] / -in_camera[:, 2] + 4.125
        y = 7.25 * -in_camera[:, 1] / -in_camera[:, 2] + 2.875
        stem = str(98 + index)  # natural order: 100 after 99
        in_arkit = in_camera @ matrix[:, :3].T + matrix[:, 3]
        points[stem], expected[stem] = in_arkit[:, [2, 0, 1]], np.column_stack((x, y))
        a_frame(tmp_path, stem, matrix, fx=7.5 + index)
    read = capture(tmp_path)
    assert [Path(frame.name).name for frame in read.frames] == ["98", "99", "100", "101", "102"]
    for frame in read.frames:
        stem = Path(frame.name).name
        assert_allclose(seen(frame, points[stem]), expected[stem], atol=1e-6)
        assert frame.image == tmp_path / "keyframes" / "images" / f"{stem}.png"
        assert (frame.lens.width, frame.lens.height) == (8, 6)


def test_up_is_against_gravity(tmp_path):
    """A point above a level camera is along `up`, and in the upper half of its picture."""
    read = capture(a_frame(tmp_path))
    frame, up = read.frames[0], np.array(read.up)
    ahead = frame.camera_to_world[:3, 3] + 5 * frame.camera_to_world[:3, 2]
    assert_allclose(seen(frame, ahead[None]), [[4.125, 2.875]], atol=1e-9)
    assert_allclose(seen(frame, (ahead + up)[None]), [[4.125, 2.875 - 7.25 / 5]], atol=1e-9)


def test_depth_is_in_metres_at_its_own_size(tmp_path):
    read = capture(a_frame(tmp_path))
    depths = DepthSequence(tuple(f.depth for f in read.frames), read.depth_unit, read.depth_unknown)
    assert torch.equal(depths[0], torch.full((3, 4), 1.25))
    assert torch.equal(depths.resized([(8, 6)])[0], torch.full((6, 8), 1.25))


def test_refined_cameras_go_before_the_first_ones(tmp_path):
    """But only with their pictures, and not where the folder is there and empty."""
    a_frame(tmp_path, "100")
    a_frame(tmp_path, "101")
    (tmp_path / "keyframes" / "corrected_cameras").mkdir()
    (tmp_path / "keyframes" / "corrected_images").mkdir()
    assert recognise(tmp_path) == "has keyframes/cameras" and len(capture(tmp_path).frames) == 2
    a_frame(tmp_path, "101", kind="corrected_", fx=9.0)
    (frame,) = capture(tmp_path).frames
    assert recognise(tmp_path) == "has keyframes/corrected_cameras"
    assert frame.name == "keyframes/corrected_images/101" and frame.lens.fx == 9
    assert frame.image == tmp_path / "keyframes" / "corrected_images" / "101.png"
    assert frame.depth == tmp_path / "keyframes" / "depth" / "101.png"


def test_frames_without_picture_or_depth_say_so(tmp_path):
    for stem in ("100", "101"):
        a_frame(tmp_path, stem)
    (tmp_path / "keyframes" / "images" / "100.png").unlink()
    (tmp_path / "keyframes" / "depth" / "101.png").unlink()
    first, second = capture(tmp_path).frames
    assert first.image is None and first.depth is not None
    assert second.image is not None and second.depth is None


def test_other_folders_are_not_claimed(tmp_path):
    assert recognise(tmp_path) is None and recognise(tmp_path / "absent") is None
    (tmp_path / "keyframes" / "cameras").mkdir(parents=True)
    (tmp_path / "keyframes" / "images").mkdir()
    assert recognise(tmp_path) is None
    with pytest.raises(SceneError, match=r"keyframes: holds no cameras/\*\.json"):
        capture(tmp_path)
    a_frame(tmp_path, "ein Bild ü")
    assert recognise(tmp_path) and recognise(tmp_path / "keyframes" / "cameras") is None
    assert capture(tmp_path).frames[0].image is not None


def changed(row: int, column: int, value: float) -> np.ndarray:
    matrix = STILL.copy()
    matrix[row, column] = value
    return matrix


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fx": None}, "fx is None"),
        ({"fx": 0}, "fx is 0"),
        ({"fy": -1}, "fy is -1"),
        ({"cx": math.nan}, "cx is nan"),
        ({"cy": "3"}, "cy is '3'"),
        ({"width": 2**40}, "width is 1099511627776"),
        ({"height": 6.5}, "height is 6.5"),
        ({"t_12": None}, "t_12 is None"),
        ({"t_12": [0]}, "t_12 is a list of 1"),
        ({"t_03": 1e300}, "t_03 is 1e"),
        ({"matrix": changed(0, 3, math.inf)}, "t_03 is inf"),
        ({"matrix": changed(1, 1, 2.0)}, r"not a rotation \(determinant 2.00\)"),
        ({"matrix": changed(1, 1, -1.0)}, r"not a rotation \(determinant -1.00\)"),
        ({"matrix": changed(0, 1, 0.5)}, r"not a rotation \(determinant 1.00\)"),
    ],
)
def test_senseless_numbers_are_named(changes, message, tmp_path):
    a_frame(tmp_path, "100")
    a_frame(tmp_path, "101", **changes)
    with pytest.raises(SceneError, match=rf"keyframes/cameras/101\.json: .*{message}"):
        capture(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "[" * 100_000, '{"fx": 1', "\0"])
def test_broken_camera_files_are_named(text, tmp_path):
    a_frame(tmp_path)
    (tmp_path / "keyframes" / "cameras" / "100.json").write_text(text)
    with pytest.raises(SceneError, match=r"cameras/100\.json: "):
        capture(tmp_path)


@pytest.mark.parametrize("what", ["cameras/100.json", "images/100.png", "depth/100.png"])
def test_files_may_not_lie_outside(what, tmp_path):
    """A link out of the folder, whichever file it stands for."""
    folder = a_frame(tmp_path / "scene")
    file = folder / "keyframes" / what
    file.rename(tmp_path / "secret")
    file.symlink_to(tmp_path / "secret")
    with pytest.raises(SceneError, match=r"100\.json: .* outside of the scene folder"):
        capture(folder)
    frame = capture(folder, allow_outside=True).frames[0]
    assert frame.image is not None and frame.depth is not None


def test_pipes_folders_and_unprintable_names_are_refused(tmp_path):
    a_frame(tmp_path / "a")
    os.mkfifo(tmp_path / "a" / "keyframes" / "cameras" / "101.json")
    with pytest.raises(SceneError, match=r"101\.json: is not a file"):
        capture(tmp_path / "a")
    a_frame(tmp_path / "b")
    (tmp_path / "b" / "keyframes" / "cameras" / "101.json").mkdir()
    with pytest.raises(SceneError, match=r"101\.json: is not a file"):
        capture(tmp_path / "b")
    with pytest.raises(SceneError, match=r"keyframes: 'a\\nb' is no name of a frame"):
        capture(a_frame(tmp_path / "c", "a\nb"))
