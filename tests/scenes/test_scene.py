"""A scene keeps its frames together and travels as plain data."""

import json
import math

import pytest
import torch
from torch.testing import assert_close

from scenes.cameras import Cameras
from scenes.generate.analytic import generate_spheres
from scenes.images import ImageSequence
from scenes.scene import Bounds, Orbit, Scene, SceneError

BOX = Bounds((-1, -1, -1), (1, 1, 3), near=0.5, far=9)


def spheres(width: int = 16) -> Scene:
    return generate_spheres(width=width, views={"train": 6})["train"]


def test_a_header_builds_the_same_scene_without_its_files():
    """Through JSON and back, exactly: rendering must not drift from training."""
    scene = spheres()
    header = json.loads(json.dumps(scene.header()))
    again = Scene.from_header(header)
    assert again.header() == scene.header()
    assert again.bounds == scene.bounds and again.orbit == scene.orbit
    assert torch.equal(again.model_from_input, scene.model_from_input)
    assert len(again.images) == 0 and again.background == (1.0, 1.0, 1.0)


def test_a_header_of_another_version_or_without_a_part_is_refused():
    header = spheres().header()
    with pytest.raises(SceneError, match="version 99"):
        Scene.from_header(header | {"version": 99})
    for key in header:
        part = {k: v for k, v in header.items() if k != key}
        with pytest.raises(SceneError, match=key):
            Scene.from_header(part)
    with pytest.raises(SceneError, match="missing or wrong"):
        Scene.from_header(header | {"bounds": {"minimum": [0, 0, 0], "surprise": 1}})


def test_a_subset_keeps_cameras_pictures_and_names_together():
    scene = spheres()
    part = scene.subset([4, 1])
    assert part.frame_names == ("train/r_4", "train/r_1")
    for new, old in ((0, 4), (1, 1)):
        assert torch.equal(part.images[new], scene.images[old])
        assert torch.equal(part.cameras[new].camera_to_world, scene.cameras[old].camera_to_world)
    assert part.orbit == scene.orbit


def test_downscaling_moves_cameras_and_pictures_alike():
    scene = spheres(width=20)
    small = scene.downscaled(2)
    assert small.images[0].shape == (10, 10, 4)
    assert (small.cameras.width, small.cameras.height) == (10, 10)
    point = torch.tensor([0.3, 0.2, 0.1])
    assert_close(small.cameras.project(point)[0] * 2, scene.cameras.project(point)[0])
    with pytest.raises(ValueError, match="at least 1"):
        scene.downscaled(0.5)


def test_the_orbit_follows_the_cameras():
    """Centre, radius and elevation of cameras on a circle about a point are found again."""
    centre = torch.tensor([0.2, -0.4, 0.5])
    angle = torch.arange(8) * (math.pi / 4)
    ring = torch.stack((angle.cos(), angle.sin(), torch.ones(8) * math.tan(math.radians(25))), dim=-1)
    cameras = Cameras.look_at(centre + 2 * ring, centre, (0, 0, 1), 32, 24, 50)
    found = Orbit.around(cameras, (0, 0, 1), BOX)
    assert_close(torch.tensor(found.centre), centre, atol=1e-4, rtol=0)
    assert found.radius == pytest.approx(2 / math.cos(math.radians(25)), rel=1e-4)
    assert found.elevation == pytest.approx(25, abs=1e-2)
    assert found.fov == pytest.approx(50, abs=1e-3)


def test_one_camera_orbits_the_middle_of_the_box():
    camera = Cameras.look_at(torch.tensor([[0.0, -4.0, 1.0]]), (0, 0, 1), (0, 0, 1), 32, 24, 50)
    assert Orbit.around(camera, (0, 0, 1), BOX).centre == (0.0, 0.0, 1.0)


def test_as_many_pictures_as_cameras():
    cameras = spheres().cameras
    with pytest.raises(ValueError, match="must be as many"):
        Scene("broken", cameras, ImageSequence((torch.zeros(2, 2, 3, dtype=torch.uint8),)), BOX)


@pytest.mark.parametrize(
    "arguments", [((0, 0, 0), (1, 0, 1), 1, 2), ((0, 0, 0), (1, 1, 1), 2, 2), ((0, 0, 0), (1, 1, 1), -1, 2)]
)
def test_empty_bounds_are_refused(arguments):
    with pytest.raises(ValueError, match="bounds"):
        Bounds(*arguments)
