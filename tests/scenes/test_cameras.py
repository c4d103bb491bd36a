"""Pixels, points and rays of a camera say the same thing."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from scenes.cameras import Cameras
from scenes.rays import Rays


def a_camera() -> Cameras:
    """Off-centre, with pixels that are not square, at no special place."""
    posed = Cameras.look_at((1.0, -2.0, 0.7), (0.2, 0.1, 0.3), (0.1, 0.2, 1.0), 40, 30, 50.0)
    new = torch.tensor
    return Cameras(posed.camera_to_world, new(35.0), new(31.0), new(22.5), new(13.0), 40, 30)


def some_cameras(generator: torch.Generator, n: int = 5) -> Cameras:
    eyes = torch.randn(n, 3, generator=generator) + torch.tensor([0.0, 5.0, 0.0])
    return Cameras.look_at(eyes, (0.0, 0.0, 0.0), (0.0, 0.0, 1.0), 64, 48, 60)


def test_project_undoes_unproject(device, generator):
    camera = a_camera().to(device)
    pixels = torch.rand(200, 2, generator=generator).to(device) * 50 - 5
    z_depth = torch.rand(200, generator=generator).to(device) * 8 + 0.2
    again, again_z = camera.project(camera.unproject(pixels, z_depth))
    assert_close(again, pixels, atol=2e-3, rtol=1e-4)
    assert_close(again_z, z_depth, atol=1e-5, rtol=1e-5)


@settings(deadline=None)
@given(
    x=st.floats(-2, 2), y=st.floats(-2, 2), z_depth=st.floats(0.5, 50), fov=st.floats(5, 120),
    eye=st.tuples(*[st.floats(-5, 5)] * 3),
)  # fmt: skip
def test_unproject_undoes_project(x, y, z_depth, fov, eye):
    """Any point in front of the camera comes back from its pixel and z_depth."""
    target = tuple(value + shift for value, shift in zip(eye, (1.0, 2.0, -0.5), strict=True))
    camera = Cameras.look_at(eye, target, (0, 0, 1), 64, 48, fov)
    point = camera.centres + camera.camera_to_world[:3, :3] @ (z_depth * torch.tensor([x, y, 1.0]))
    again = camera.unproject(*camera.project(point))
    assert_close(again, point, atol=5e-4, rtol=1e-4)


def test_the_ray_through_a_projected_pixel_hits_the_point(device, generator):
    """And meets it at its distance, which is z_depth over the cosine with the axis."""
    camera = a_camera().to(device)
    points = torch.rand(100, 3, generator=generator).to(device) * 0.6
    pixels, z_depth = camera.project(points)
    rays = camera.rays(pixels)
    assert_close(rays.directions.norm(dim=-1), torch.ones(100, device=device))
    cosine = rays.directions @ camera.camera_to_world[:3, 2]
    assert_close(rays.at(z_depth / cosine), points, atol=1e-5, rtol=1e-5)


def test_look_at_puts_the_target_in_the_middle_and_up_upwards():
    camera = Cameras.look_at((3, 1, 2), (0.5, -0.2, 0.1), (0, 0, 1), 90, 60, 40)
    target = torch.tensor([0.5, -0.2, 0.1])
    (x, y), z_depth = camera.project(target)
    assert_close(torch.stack((x, y)), torch.tensor([45.0, 30.0]))
    assert_close(z_depth, (camera.centres - target).norm())
    above, _ = camera.project(target + torch.tensor([0.0, 0.0, 0.1]))
    assert above[1] < y and above[0].item() == pytest.approx(x.item(), abs=1e-3)


def test_look_at_is_right_handed_opencv():
    """From -y looking at +y with z up, +x is to the right: a mirrored camera would show it left."""
    camera = Cameras.look_at((0, -4, 0), (0, 0, 0), (0, 0, 1), 90, 60, 40)
    pixel, _ = camera.project(torch.tensor([0.5, 0.0, 0.0]))
    assert pixel[0] > 45
    axes = camera.camera_to_world[:3, :3]
    assert_close(axes, torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]), atol=1e-6, rtol=0)
    assert float(torch.linalg.det(axes)) == pytest.approx(1, abs=1e-6)


def test_fov_is_vertical_and_in_degrees():
    """A point at half the angle above the axis falls on the upper edge of the picture."""
    camera = Cameras.from_fov(torch.eye(4), 200, 100, 50)
    top = torch.tensor([0.0, -math.tan(math.radians(25)), 1.0])
    assert_close(camera.project(top)[0], torch.tensor([100.0, 0.0]), atol=1e-4, rtol=0)
    assert float(camera.fov) == pytest.approx(50, abs=1e-4)


def test_all_rays_are_those_of_pixel_centres():
    camera = a_camera()
    rays = camera.rays()
    assert rays.shape == (30, 40)
    for row, column in ((0, 0), (29, 39), (7, 31)):
        one = camera.rays(torch.tensor([column + 0.5, row + 0.5]))
        assert torch.equal(rays.directions[row, column], one.directions)


def test_a_batch_is_its_cameras_one_by_one(generator):
    cameras = some_cameras(generator)
    pixels = torch.rand(5, 2, generator=generator) * 48
    points = torch.rand(5, 3, generator=generator)
    together, seen = cameras.rays(pixels), cameras.project(points)[0]
    for i, camera in enumerate(cameras):
        alone = camera.rays(pixels[i])
        assert torch.equal(together.origins[i], alone.origins)
        assert_close(together.directions[i], alone.directions)
        assert_close(seen[i], camera.project(points[i])[0])
    assert torch.equal(cameras[1:4][2].camera_to_world, cameras[3].camera_to_world)


@pytest.mark.parametrize("factor", [2, 3, 1.7])
def test_a_scaled_camera_sees_the_same_field(factor):
    """Corners of the picture stay on the same rays, whatever the rounding of the sides."""
    camera = a_camera()
    small = camera.scaled(factor)
    assert (small.width, small.height) == (round(40 / factor), round(30 / factor))
    corners = torch.tensor([[0.0, 0], [1, 0], [0, 1], [1, 1]])
    before = camera.rays(corners * torch.tensor([40.0, 30.0]))
    after = small.rays(corners * torch.tensor([float(small.width), float(small.height)]))
    assert_close(after.directions, before.directions)


def test_gradients_reach_the_pose(generator):
    """Poses can be optimised: projection is differentiable in camera_to_world."""
    pose = a_camera().camera_to_world.double().requires_grad_()
    rest = [torch.tensor(v, dtype=torch.float64) for v in (35.0, 31.0, 22.5, 13.0)]
    points = torch.rand(4, 3, generator=generator, dtype=torch.float64) * 0.5
    assert torch.autograd.gradcheck(lambda p: Cameras(p, *rest, 40, 30).project(points), (pose,))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((1, 2, 3), (1, 2, 3), (0, 0, 1), 8, 8, 40), "eye and target"),
        (((0, 0, 3), (0, 0, 0), (0, 0, 1), 8, 8, 40), "another up"),
        (((0, 0, 3), (0, 0, 0), (0, 1, 0), 8, 8, 180), "fov"),
        (((0, 0, 3), (0, 0, 0), (0, 1, 0), 0, 8, 40), "image size"),
    ],
)
def test_cameras_that_make_no_sense_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Cameras.look_at(*arguments)


def test_one_camera_is_not_a_batch():
    """Its matrix rows must not be taken for cameras."""
    with pytest.raises(TypeError, match="one camera"):
        len(a_camera())
    with pytest.raises(IndexError, match="one camera"):
        a_camera()[0]
    with pytest.raises(ValueError, match="index one first"):
        some_cameras(torch.Generator()).rays()


def test_shapes_are_really_checked():
    """The test run has jaxtyping and beartype on: a wrong shape cannot slip through a signature."""
    with pytest.raises(Exception, match=r"type|shape"):
        a_camera().project(torch.zeros(5, 2))
    with pytest.raises(Exception, match=r"type|shape"):
        Rays(torch.zeros(5, 3), torch.zeros(4, 3))


def test_rays_keep_order_when_reshaped_and_indexed(generator):
    rays = a_camera().rays()
    flat = rays.reshape(-1)
    assert len(flat) == 1200
    assert torch.equal(flat[41].directions, rays[1, 1].directions)
    assert torch.equal(flat.reshape(30, 40).directions, rays.directions)
    with pytest.raises(TypeError, match="one ray"):
        len(rays[1, 1])


def test_another_precision_is_that_of_all_numbers_and_of_what_follows():
    camera = a_camera()
    wide = replace(camera, distortion=torch.full((8,), 0.01)).to("cpu", torch.float64)
    assert (wide.width, wide.height, wide.rays().directions.dtype) == (40, 30, torch.float64)
    assert all(v.dtype == torch.float64 for v in vars(wide).values() if isinstance(v, torch.Tensor))
    assert torch.equal(wide.to("cpu", torch.float32).camera_to_world, camera.camera_to_world)
    assert not wide.requires_grad and replace(wide, fx=wide.fx.clone().requires_grad_()).requires_grad
