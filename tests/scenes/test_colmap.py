"""COLMAP models are read as COLMAP means them, and what is written COLMAP reads."""

import math
import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from scenes.formats.capture import Frame, Lens
from scenes.formats.colmap import capture, recognise
from scenes.formats.colmap_records import CAMERA_MODELS
from scenes.images import write_png
from scenes.lenses import COEFFICIENTS, distort
from scenes.scene import SceneWarning

NUMBERS = {model: number for number, model in enumerate(CAMERA_MODELS)}  # held to pycolmap's below
PARAMETERS = {  # of one lens each, for pictures of 64 x 48
    "SIMPLE_PINHOLE": (50.0, 31.0, 25.0),
    "PINHOLE": (50.0, 47.0, 31.0, 25.0),
    "SIMPLE_RADIAL": (50.0, 31.0, 25.0, 0.06),
    "RADIAL": (50.0, 31.0, 25.0, -0.08, 0.03),
    "OPENCV": (50.0, 47.0, 31.0, 25.0, -0.08, 0.03, 0.01, -0.02),
    "OPENCV_FISHEYE": (30.0, 29.0, 31.0, 25.0, 0.03, -0.02, 0.005, -0.001),
    "FULL_OPENCV": (50.0, 47.0, 31.0, 25.0, 0.2, 0.03, 0.01, -0.02, 0.004, 0.3, 0.02, 0.001),
    "SIMPLE_RADIAL_FISHEYE": (30.0, 31.0, 25.0, 0.03),
    "RADIAL_FISHEYE": (30.0, 31.0, 25.0, 0.03, -0.02),
    "SIMPLE_FISHEYE": (30.0, 31.0, 25.0),
    "FISHEYE": (30.0, 29.0, 31.0, 25.0),
    "EQUIRECTANGULAR": (64.0, 48.0),
}


class Shot(NamedTuple):
    """A picture turned by `angle` about `axis`: p in the world is rotation p + translation for the camera."""

    name: str
    axis: tuple[float, float, float] = (0.0, 0.6, 0.8)
    angle: float = 0.4
    translation: tuple[float, float, float] = (0.1, -0.2, 0.3)
    camera: int = 1

    @property
    def quaternion(self) -> tuple[float, ...]:
        return (math.cos(self.angle / 2), *(math.sin(self.angle / 2) * a for a in self.axis))

    def seen(self, point: np.ndarray) -> np.ndarray:
        """The point in camera axes (Rodrigues' formula)."""
        axis, cos, sin = np.array(self.axis), math.cos(self.angle), math.sin(self.angle)
        turned = point * cos + np.cross(axis, point) * sin + axis * (axis @ point) * (1 - cos)
        return turned + self.translation


SHOTS = (
    Shot("b.png"),
    Shot("a.png", (0.6, -0.8, 0.0), 2.9, (1.0, 2.0, -3.0)),
    Shot("c.png", (0.0, 0.0, 1.0), math.pi, (0.0, 0.5, 4.0)),
)
LENS = (1, "PINHOLE", 8, 6, (9.0, 8.0, 4.5, 2.5))
POINTS = ((7, (1.0, 2.0, 3.0), (10, 20, 30), 3), (9, (-1.0, 0.5, 2.5), (255, 0, 128), 0))


def track(length: int) -> list[tuple[int, int]]:
    """Image and keypoint: the three images in turn."""
    return [(11 + step % 3, 0) for step in range(length)]


def binary(cameras=(LENS,), shots=SHOTS, points=POINTS, keypoints: int = 2) -> dict[str, bytes]:
    """The three files of a binary model, as COLMAP's documentation has them."""
    c = struct.pack("<Q", len(cameras))
    for number, model, width, height, values in cameras:
        c += struct.pack(f"<IiQQ{len(values)}d", number, NUMBERS[model], width, height, *values)
    i = struct.pack("<Q", len(shots))
    for number, s in enumerate(shots, start=11):
        i += struct.pack("<I7dI", number, *s.quaternion, *s.translation, s.camera)
        i += s.name.encode() + b"\0" + struct.pack("<Q", keypoints)
        i += struct.pack("<ddq", 1.5, 2.5, -1) * keypoints
    p = struct.pack("<Q", len(points))
    for number, xyz, rgb, length in points:
        p += struct.pack("<Q3d3BdQ", number, *xyz, *rgb, 0.7, length)
        p += b"".join(struct.pack("<II", *step) for step in track(length))
    return {"cameras.bin": c, "images.bin": i, "points3D.bin": p}


def text(cameras=(LENS,), shots=SHOTS, points=POINTS, keypoints: int = 2) -> dict[str, bytes]:
    """The same three files in words, with comments, an indented line and two ends of lines."""

    def words(*values: object) -> str:
        return " ".join(map(str, values))

    c = ["# Camera list"] + [words(n, m, w, h, *values) for n, m, w, h, values in cameras]
    i = ["# Image list", ""]
    for number, s in enumerate(shots, start=11):
        i.append("  " + words(number, *s.quaternion, *s.translation, s.camera, s.name) + "\r")
        i.append(" ".join(["1.5 2.5 -1"] * keypoints))
    p = ["# 3D points"] + [words(n, *xyz, *rgb, 0.7, *sum(track(k), ())) for n, xyz, rgb, k in points]
    return {f"{k}.txt": "\n".join([*v, ""]).encode() for k, v in
            {"cameras": c, "images": i, "points3D": p}.items()}  # fmt: skip


def laid_out(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, contents in files.items():
        (folder / name).write_bytes(contents)
    return folder


def a_picture(file: Path, width: int = 8, height: int = 6) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    write_png(file, torch.full((height, width, 3), 90, dtype=torch.uint8))
    return file


def scene_folder(root: Path, model: str = "sparse/0", pictures: str = "images", files=binary) -> Path:
    for shot in SHOTS:
        a_picture(root / pictures / shot.name)
    laid_out(root / model, files())
    return root


def pixels(frame: Frame, points: np.ndarray) -> np.ndarray:
    """Where the frame's camera sees world points."""
    seen = np.linalg.inv(frame.camera_to_world) @ np.c_[points, np.ones(len(points))].T
    return through(frame.lens, seen[:3].T)


def through(lens: Lens, seen: np.ndarray) -> np.ndarray:
    k = torch.zeros(COEFFICIENTS, dtype=torch.float64)
    k[: len(lens.coefficients)] = torch.tensor(lens.coefficients, dtype=torch.float64)
    plane = distort(lens.projection, torch.from_numpy(np.ascontiguousarray(seen)), k).numpy()
    return plane * (lens.fx, lens.fy) + (lens.cx, lens.cy)


def documented(model: str, p: tuple[float, ...], x: float, y: float, z: float) -> tuple[float, float]:
    """A pixel by the formulas of COLMAP's sensor/models.h, written out."""
    if model == "EQUIRECTANGULAR":
        theta, phi = math.atan2(x, z), math.atan2(-y, math.hypot(x, z))
        return (theta / (2 * math.pi) + 0.5) * p[0], (0.5 - phi / math.pi) * p[1]
    fx, fy, cx, cy, *k = p if "fx" in CAMERA_MODELS[model] else (p[0], *p)
    u, v = x / z, y / z
    if "FISHEYE" in model:
        theta = math.atan(math.hypot(u, v))
        bent = theta + sum(value * theta ** (2 * n + 3) for n, value in enumerate(k))
        u, v = u * bent / math.hypot(u, v), v * bent / math.hypot(u, v)
        return fx * u + cx, fy * v + cy
    k1, k2, p1, p2, k3, k4, k5, k6 = (*k, *[0.0] * 8)[:8]
    r = u * u + v * v
    radial = (1 + k1 * r + k2 * r**2 + k3 * r**3) / (1 + k4 * r + k5 * r**2 + k6 * r**3)
    u, v = (
        u * radial + 2 * p1 * u * v + p2 * (r + 2 * u * u),
        v * radial + 2 * p2 * u * v + p1 * (r + 2 * v * v),
    )
    return fx * u + cx, fy * v + cy


@pytest.mark.parametrize("files", [binary, text])
@pytest.mark.parametrize("model", PARAMETERS)
def test_points_fall_on_the_pixels_that_the_documented_formulas_give(model, files, tmp_path):
    """World to camera, quaternion order and sign, intrinsics, coefficients: any mistake moves the pixels."""
    lens = (1, model, 64, 48, PARAMETERS[model])
    read = capture(laid_out(tmp_path, files((lens,))))
    points = np.random.default_rng(3).uniform(-4, 4, (1000, 3))
    assert [frame.name for frame in read.frames] == ["a.png", "b.png", "c.png"]
    for frame in read.frames:
        shot = next(shot for shot in SHOTS if shot.name == frame.name)
        seen = np.array([shot.seen(point) for point in points])
        front = (seen[:, 2] > 0.1) & (np.abs(seen[:, :2]) < 3 * seen[:, 2:]).all(1)
        wanted = [documented(model, PARAMETERS[model], *point) for point in seen[front]]
        assert front.sum() > 20
        np.testing.assert_allclose(pixels(frame, points[front]), wanted, atol=1e-9, rtol=0)
        assert (frame.lens.width, frame.lens.height) == (64, 48) and frame.image is None
    np.testing.assert_array_equal(read.points, [xyz for _, xyz, _, _ in POINTS])
    np.testing.assert_array_equal(read.point_colours, [rgb for _, _, rgb, _ in POINTS])
    assert read.points.dtype == np.float64 and read.point_colours.dtype == np.uint8


def test_a_quaternion_of_any_length_and_sign_is_the_same_pose(tmp_path):
    class Longer(Shot):
        quaternion = property(lambda self: tuple(-3.7 * q for q in Shot.quaternion.fget(self)))

    first = capture(laid_out(tmp_path / "1", binary())).frames
    again = capture(laid_out(tmp_path / "2", binary(shots=[Longer(*shot) for shot in SHOTS]))).frames
    for one, other in zip(first, again, strict=True):
        np.testing.assert_allclose(other.camera_to_world, one.camera_to_world, atol=1e-14)


def test_tracks_and_keypoints_of_any_length_are_followed(tmp_path):
    """Three thousand points whose records all have another length, against the values they were made of.

    Those that three pictures show are told of in each.
    """
    draw = np.random.default_rng(0)
    xyz, rgb = draw.normal(size=(3_000, 3)), draw.integers(0, 256, (3_000, 3))
    lengths = draw.integers(0, 9, 3_000).tolist()
    points = [*zip(range(3_000), xyz.tolist(), rgb.tolist(), lengths, strict=True)]
    for number, files in enumerate((binary, text)):
        read = capture(laid_out(tmp_path / str(number), files(points=points, keypoints=700)))
        np.testing.assert_array_equal(read.points, xyz)
        np.testing.assert_array_equal(read.point_colours, rgb)
        assert len(read.frames) == 3
        for frame in read.frames:
            np.testing.assert_array_equal(frame.shows, np.flatnonzero(np.array(lengths) >= 3))


@pytest.mark.parametrize("given", ["", "sparse", "sparse/0", "sparse/0/images.bin", "sparse/0/points3D.bin"])
def test_the_scene_the_model_or_a_file_of_it_may_be_given(given, tmp_path):
    root = scene_folder(tmp_path / "a scene")
    assert recognise(root / given).endswith("images.bin")
    read = capture(root / given)
    assert [frame.image for frame in read.frames] == [root / "images" / f"{n}.png" for n in "abc"]
    assert read.file == root / "sparse/0/images.bin"


@pytest.mark.parametrize("model", ["sparse/0", "sparse", "colmap/sparse/0", "", "7"])
@pytest.mark.parametrize("pictures", ["images", ""])
@pytest.mark.parametrize("files", [binary, text])
def test_every_layout_is_found_with_its_pictures(model, pictures, files, tmp_path):
    if (model, pictures) == ("7", ""):
        pictures = "7"  # no scene folder is told by `sparse`: they lie beside the files
    root = scene_folder(tmp_path / "360", model, pictures, files)
    assert recognise(root)
    assert [frame.image for frame in capture(root).frames] == [root / pictures / f"{n}.png" for n in "abc"]


def test_a_model_beside_the_pictures_is_found_from_within(tmp_path, monkeypatch):
    """Given as `.`, as a folder of another name, and in a scene whose own name is a number."""
    root = scene_folder(tmp_path / "0042", "exported")
    assert capture(root / "exported").frames[0].image == root / "images/a.png"
    monkeypatch.chdir(root / "exported")
    assert recognise(Path("."))
    assert capture(Path(".")).frames[0].image == root / "images/a.png"
    assert capture(Path("images.bin")).frames[0].image == root / "images/a.png"


def test_of_several_sub_models_the_largest_is_read_and_said(tmp_path):
    root = scene_folder(tmp_path)
    laid_out(root / "sparse/1", binary(shots=[*SHOTS, Shot("d.png")]))
    laid_out(root / "sparse/10", text(shots=SHOTS[:1]))
    with pytest.warns(SceneWarning, match=r"sparse/1: is read, with 4 .*3 sub-models; 0 has 3, 10 has 1"):
        assert len(capture(root).frames) == 4
    assert len(capture(root / "sparse/0").frames) == 3  # whichever is given by name


def test_binary_is_preferred_to_text(tmp_path):
    """As COLMAP does; a half-written pair of the other kind is not a model."""
    laid_out(tmp_path, binary())
    laid_out(tmp_path, text(shots=SHOTS[:1]))
    assert len(capture(tmp_path).frames) == 3
    (tmp_path / "cameras.bin").unlink()
    assert len(capture(tmp_path / "images.bin").frames) == 1


def test_names_may_have_folders_spaces_and_any_letters(tmp_path):
    names = ("left/01.png", "right/01.png", "my pictures/é 漢字.png", "./plain.png")
    a_picture(tmp_path / "images/right/01.png")
    a_picture(tmp_path / "images/my pictures/é 漢字.png")
    for number, files in enumerate((binary, text)):
        model = laid_out(tmp_path / "sparse" / str(number), files(shots=[Shot(name) for name in names]))
        found = {frame.name: frame.image for frame in capture(model).frames}
        assert found == {
            "left/01.png": None,
            "right/01.png": tmp_path / "images/right/01.png",
            "my pictures/é 漢字.png": tmp_path / "images/my pictures/é 漢字.png",
            "plain.png": None,
        }
