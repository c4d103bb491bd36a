"""COLMAP itself as the oracle: its camera models, models that it writes, and models that it is to read."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from scenes.cameras import Cameras
from scenes.formats.capture import Lens
from scenes.formats.colmap import _placed, capture, recognise, write
from scenes.formats.colmap_lenses import camera_of, lens_of
from scenes.formats.colmap_model import Camera, read_model, write_model
from scenes.formats.colmap_records import CAMERA_MODELS
from scenes.images import ImageSequence
from scenes.lenses import COEFFICIENTS
from scenes.scene import Bounds, Scene
from scenes.sightings import sightings_in
from scenes.transforms import rotation_between, similarity, transform_points, transform_poses
from tests.scenes.test_colmap import NUMBERS, PARAMETERS, a_picture, pixels, through


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
