"""Changes of frame keep what is seen."""

import pytest
import torch
from torch.nn.functional import normalize
from torch.testing import assert_close

from scenes.cameras import Cameras
from scenes.transforms import (
    looked_at_point,
    opengl_to_opencv,
    recentring,
    rotation_between,
    similarity,
    similarity_scale,
    transform_points,
    transform_poses,
)


def cameras_around(centre: tuple[float, float, float], generator: torch.Generator) -> Cameras:
    eyes = torch.tensor(centre) + 3 * normalize(torch.randn(12, 3, generator=generator), dim=-1)
    return Cameras.look_at(eyes, centre, (0.3, 0.1, 1), 60, 40, 45)


def test_opengl_to_opencv_is_its_own_inverse_and_keeps_the_place():
    pose = Cameras.look_at((1, 2, 3), (0, 0, 0), (0, 0, 1), 8, 8, 40).camera_to_world
    turned = opengl_to_opencv(pose)
    assert torch.equal(opengl_to_opencv(turned), pose)
    assert torch.equal(turned[:3, 3], pose[:3, 3])
    # A camera without rotation looks along -z in OpenGL, and its up is +y.
    assert torch.equal(opengl_to_opencv(torch.eye(4)), torch.diag(torch.tensor([1.0, -1, -1, 1])))


def test_a_similarity_moves_points_and_cameras_together(generator):
    """Pixels stay, z_depth grows by the scale, and axes stay of unit length."""
    cameras = cameras_around((0.5, 0.2, -0.1), generator)
    rotation = rotation_between(torch.tensor([1.0, 2, 3]), torch.tensor([-1.0, 0.5, 0.2]))
    move = similarity(2.5, rotation, torch.tensor([4.0, -1.0, 0.3]))
    points = torch.rand(12, 3, generator=generator)
    moved = Cameras(
        transform_poses(move, cameras.camera_to_world),
        *cameras.intrinsics.unbind(-1), 60, 40,
    )  # fmt: skip
    pixels, z_depth = cameras.project(points)
    pixels_after, z_depth_after = moved.project(transform_points(move, points))
    assert_close(pixels_after, pixels, atol=1e-3, rtol=1e-4)
    assert_close(z_depth_after, 2.5 * z_depth, atol=1e-4, rtol=1e-4)
    assert float(similarity_scale(move)) == pytest.approx(2.5, rel=1e-6)
    axes = moved.camera_to_world[:, :3, :3]
    assert_close(axes.mT @ axes, torch.eye(3).expand(12, 3, 3), atol=1e-5, rtol=0)


def test_the_looked_at_point_is_found(generator):
    cameras = cameras_around((0.5, 0.2, -0.1), generator)
    found = looked_at_point(cameras.camera_to_world, default=torch.zeros(3))
    assert_close(found, torch.tensor([0.5, 0.2, -0.1]), atol=1e-4, rtol=0)


def test_parallel_axes_fix_no_point(generator):
    """The default is taken, not the noise of a singular system."""
    one = cameras_around((0.0, 0.0, 0.0), generator)[0].camera_to_world
    side = torch.stack((one, one))
    side[1, :3, 3] += side[1, :3, 0]
    default = torch.tensor([7.0, 8.0, 9.0])
    for poses in (one[None], side):
        assert torch.equal(looked_at_point(poses, default), default)


def test_recentring_brings_the_scene_into_the_unit_ball(generator):
    cameras = cameras_around((5.0, -3.0, 2.0), generator)
    up = torch.tensor([0.3, 0.1, 1.0])
    move = recentring(cameras.camera_to_world, up)
    poses = transform_poses(move, cameras.camera_to_world)
    assert_close(looked_at_point(poses, torch.ones(3)), torch.zeros(3), atol=1e-4, rtol=0)
    assert float(poses[:, :3, 3].norm(dim=-1).max()) == pytest.approx(1, abs=1e-5)
    z = normalize(move[:3, :3] @ up, dim=0)
    assert_close(z, torch.tensor([0.0, 0.0, 1.0]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("target", [(1.0, 2, 3), (-1.0, -2, -3), (3.0, 0, -1), (1.0, 2, 3.001)])
def test_rotation_between_turns_one_direction_into_the_other(target):
    """Also where they are equal or opposite, and never by a mirror."""
    source = torch.tensor([1.0, 2, 3])
    rotation = rotation_between(source, torch.tensor(target))
    expected = normalize(torch.tensor(target), dim=0)
    assert_close(rotation @ normalize(source, dim=0), expected, atol=1e-6, rtol=0)
    assert float(torch.linalg.det(rotation)) == pytest.approx(1, abs=1e-5)
