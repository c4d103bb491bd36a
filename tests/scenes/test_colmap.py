"""COLMAP models are read as COLMAP means them, and what is written COLMAP reads."""

import math
import struct
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from scenes.cameras import Cameras
from scenes.formats.capture import Frame, Lens
from scenes.formats.colmap import _placed, capture, recognise, write
from scenes.formats.colmap_lenses import camera_of, lens_of
from scenes.formats.colmap_model import Camera, read_model, write_model
from scenes.formats.colmap_records import CAMERA_MODELS
from scenes.images import ImageSequence, write_png
from scenes.lenses import COEFFICIENTS, distort
from scenes.scene import Bounds, Scene, SceneWarning
from scenes.sightings import sightings_in
from scenes.transforms import rotation_between, similarity, transform_points, transform_poses

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


def test_every_camera_model_of_colmap_is_known_by_its_number_and_parameters():
    import pycolmap

    theirs = {k: v for k, v in pycolmap.CameraModelId.__members__.items() if k != "INVALID"}
    assert {name: int(number.value) for name, number in theirs.items()} == NUMBERS
    for name, number in theirs.items():
        camera = pycolmap.Camera.create_from_model_id(1, number, 50.0, 64, 48)
        assert tuple(word.strip() for word in camera.params_info.split(",")) == CAMERA_MODELS[name]


@pytest.mark.parametrize("model", PARAMETERS)
def test_lenses_send_points_where_colmap_sends_them(model):
    """To 1e-8 of a pixel; pictures of the whole sphere also show what is behind."""
    import pycolmap

    camera = pycolmap.Camera(model=model, width=64, height=48, params=PARAMETERS[model])
    lens = lens_of(Path("images.bin"), Camera(1, model, 64, 48, PARAMETERS[model]))
    points = np.random.default_rng(0).normal(size=(2000, 3))
    if model != "EQUIRECTANGULAR":
        points[:, 2] = np.abs(points[:, 2]) + 0.2
    np.testing.assert_allclose(through(lens, points), camera.img_from_cam(points), atol=1e-8, rtol=1e-12)
    simplest = camera_of(lens)
    assert (simplest.model, simplest.parameters) == (model, PARAMETERS[model])


def assert_same_as_colmap(folder: Path, model) -> None:
    """Every pose, lens and point of a pycolmap.Reconstruction is what we read from `folder`."""
    read, images = capture(folder), {image.name: image for image in model.images.values()}
    assert sorted(images) == [frame.name for frame in read.frames]
    for frame in read.frames:
        theirs = images[frame.name]
        pose = theirs.cam_from_world().inverse().matrix()
        np.testing.assert_allclose(frame.camera_to_world[:3], pose, atol=1e-10, rtol=1e-10)
        points = np.random.default_rng(0).uniform((-1, -1, 1), (1, 1, 2), (50, 3))
        wanted = theirs.camera.img_from_cam(points)
        np.testing.assert_allclose(through(frame.lens, points), wanted, atol=1e-8)
        shown = {p.point3D_id for p in theirs.points2D if p.has_point3D()}
        shown = [model.points3D[number] for number in shown]
        known = [p for p in shown if len({e.image_id for e in p.track.elements}) > 2 and p.error <= 2]
        assert sorted(read.points[frame.shows].tolist()) == sorted(p.xyz.tolist() for p in known)
    ours = sorted(zip(read.points.tolist(), read.point_colours.tolist(), strict=True))
    assert ours == sorted((p.xyz.tolist(), p.color.tolist()) for p in model.points3D.values())


@pytest.mark.parametrize("per_rig", [1, 2])
@pytest.mark.parametrize("model", ["PINHOLE", "RADIAL", "OPENCV", "OPENCV_FISHEYE", "SIMPLE_RADIAL_FISHEYE"])
def test_what_colmap_writes_is_read_and_what_we_write_colmap_reads(model, per_rig, tmp_path):
    """With rigs of one and of two cameras, in both kinds of files, whoever wrote them."""
    import pycolmap

    pycolmap.set_random_seed(0)
    number = pycolmap.CameraModelId.__members__[model]
    options = pycolmap.SyntheticDatasetOptions(
        num_rigs=2, num_cameras_per_rig=per_rig, num_frames_per_rig=3, num_points3D=40, camera_width=64,
        camera_height=48, camera_model_id=number, camera_params=list(PARAMETERS[model]),
        sensor_from_rig_rotation_stddev=20.0, sensor_from_rig_translation_stddev=0.3,
    )  # fmt: skip
    made = pycolmap.synthesize_dataset(options)
    for suffix, save in ((".bin", made.write_binary), (".txt", made.write_text)):
        theirs, ours = tmp_path / f"theirs{suffix}", tmp_path / f"ours{suffix}"
        theirs.mkdir()
        save(theirs)
        assert_same_as_colmap(theirs, made)
        held = read_model(theirs)
        assert (len(held.rigs), len(held.frames), len(held.images)) == (2, 6, 6 * per_rig)
        write_model(ours, held, suffix)
        assert_same_as_colmap(ours, pycolmap.Reconstruction(ours))
        again = read_model(ours)
        assert again[:2] + again[3:] == held[:2] + held[3:]
        assert all(np.array_equal(*pair) for pair in zip(again.points[:3], held.points[:3], strict=True))


def a_scene(lens: Lens, folder: Path, n: int = 4) -> Scene:
    """A scene of pictures on disk that was moved into a model frame of another scale."""
    eyes = torch.tensor([[3.0, 0, 1], [0, 3, 1.5], [-3, 0, 2], [0.5, -3, 1]])[:n]
    poses = Cameras.look_at(eyes, (0, 0, 0), (0, 0, 1), 8, 6, 50).camera_to_world
    move = similarity(
        0.25, rotation_between(torch.tensor([0.0, 0, 1]), torch.tensor([0.3, -0.2, 0.4])), torch.ones(3)
    )
    values = [torch.full((n,), value) for value in (lens.fx, lens.fy, lens.cx, lens.cy)]
    k = torch.tensor([*lens.coefficients, *[0.0] * (COEFFICIENTS - len(lens.coefficients))]).expand(n, -1)
    cameras = Cameras(
        transform_poses(move, poses), *values, lens.width, lens.height, k.contiguous(), lens.projection
    )
    files = tuple(a_picture(folder / "dir" / f"{i}.png") for i in range(n))
    names = tuple(f"dir/{i}" for i in range(n))
    bounds = Bounds((-1, -1, -1), (1, 1, 1), 0, 9)
    points = transform_points(move, torch.tensor([[0.1, 0.2, 0.3], [-0.4, 0.5, 0.0]]))
    placed = {"model_from_input": move, "points": points}
    return Scene("cup", cameras, ImageSequence(files), bounds, frame_names=names, **placed)


@pytest.mark.parametrize("model", PARAMETERS)
def test_written_scenes_come_back_in_the_input_frame(model, tmp_path):
    """Read by us to 1e-6, and by COLMAP, through the simplest camera model that holds the lens."""
    import pycolmap

    parameters = tuple(value / 8 if value > 1 else value for value in PARAMETERS[model])
    lens = lens_of(Path("images.bin"), Camera(1, model, 8, 6, parameters))
    scene = a_scene(lens, tmp_path / "from")
    write(scene, tmp_path / "to")
    assert recognise(tmp_path / "to") == "has sparse/0/images.bin"
    inverse = torch.linalg.inv(scene.model_from_input.double())
    wanted = transform_poses(inverse, scene.cameras.camera_to_world.double())
    read = capture(tmp_path / "to")
    for index, frame in enumerate(read.frames):
        assert frame.image == tmp_path / "to/images/dir" / f"{index}.png" and frame.name == f"dir/{index}.png"
        assert frame.image.read_bytes() == scene.images.items[index].read_bytes()
        assert_close(torch.from_numpy(frame.camera_to_world), wanted[index], atol=1e-6, rtol=0)
        points = np.random.default_rng(0).uniform((-1, -1, 1), (1, 1, 2), (50, 3))
        np.testing.assert_allclose(through(frame.lens, points), through(lens, points), atol=1e-5)
    np.testing.assert_allclose(read.points, [[0.1, 0.2, 0.3], [-0.4, 0.5, 0.0]], atol=1e-6)
    theirs = pycolmap.Reconstruction(tmp_path / "to/sparse/0")
    assert [camera.model.name for camera in theirs.cameras.values()] == [model]
    assert_same_as_colmap(tmp_path / "to", theirs)


def test_what_pictures_show_is_written_for_colmap_and_comes_back(tmp_path):
    """As keypoints and tracks that COLMAP takes: each where its camera sees the point, both ways linked."""
    import pycolmap

    lens = lens_of(Path("images.bin"), Camera(1, "OPENCV", 8, 6, (9.0, 8.0, 4.5, 2.5, 0.1, -0.02, 0.01, 0.0)))
    scene = a_scene(lens, tmp_path / "from")
    generator = torch.Generator().manual_seed(2)
    points = transform_points(scene.model_from_input, torch.rand(90, 3, generator=generator) - 0.5)
    shown = tuple((torch.rand(90, generator=generator) < 0.8).nonzero().flatten() for _ in range(4))
    scene = replace(scene, points=points, shown=shown)
    write(scene, tmp_path / "to")
    told = [set(sightings_in(scene, index, None).point.tolist()) for index in range(4)]
    often = {p for p in range(90) if sum(p in each for each in told) >= 3}
    read = capture(tmp_path / "to")
    assert [set(frame.shows.tolist()) for frame in read.frames] == [each & often for each in told]
    assert len(often) > 30
    theirs = pycolmap.Reconstruction(tmp_path / "to/sparse/0")
    links = 0
    for image in theirs.images.values():
        for place, keypoint in enumerate(image.points2D):
            point = theirs.points3D[keypoint.point3D_id]
            assert (image.image_id, place) in {(e.image_id, e.point2D_idx) for e in point.track.elements}
            seen = image.camera.img_from_cam(image.cam_from_world() * point.xyz)
            np.testing.assert_allclose(keypoint.xy, seen, atol=1e-4)
            links += 1
    assert links == sum(map(len, told)) == sum(p.track.length() for p in theirs.points3D.values())
    placed = _placed(scene, [f"{i}.png" for i in range(4)])
    write_model(tmp_path / "words", placed, ".txt")
    words = pycolmap.Reconstruction(tmp_path / "words")
    assert sum(p.track.length() for p in words.points3D.values()) == links
    assert len(read_model(tmp_path / "words").points.tracks) == links


def test_a_published_capture_is_read_as_colmap_reads_it(test_data):
    """71 pictures of a SIMPLE_RADIAL camera each; points fall within two pixels of where they were found."""
    import pycolmap

    theirs = pycolmap.Reconstruction(test_data / "beer/sparse/0")
    assert_same_as_colmap(test_data / "beer", theirs)
    read = capture(test_data / "beer")
    assert len(read.frames) == 71 and all(frame.image for frame in read.frames)
    assert {(f.lens.width, f.lens.height, len(f.lens.coefficients)) for f in read.frames} == {(720, 1280, 1)}
    for frame in read.frames[::10]:
        found = theirs.find_image_with_name(frame.name).get_observation_points2D()
        points = np.array([theirs.points3D[p.point3D_id].xyz for p in found])
        apart = np.linalg.norm(pixels(frame, points) - [p.xy for p in found], axis=1)
        assert len(found) > 100 and np.median(apart) < 2
