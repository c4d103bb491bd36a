"""Lenses: what bends a direction unbends it, as COLMAP does, and nothing is made up beyond the field."""

import math

import numpy as np
import pycolmap
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from scenes.cameras import Cameras
from scenes.lenses import PROJECTIONS, distort, undistort

# Of real lenses: a phone, a wide action camera with both denominators, a fisheye.
PHONE = (0.12, -0.21, 8e-4, -5e-4, 0.07, 0.0, 0.0, 0.0)
WIDE = (-0.31, 0.11, 3e-4, 2e-4, -0.02, 0.05, -0.01, 0.003)
FISHEYE = (0.03, -0.008, 0.002, -0.0004, 0.0, 0.0, 0.0, 0.0)
LENSES = [
    ("perspective", PHONE),
    ("perspective", WIDE),
    ("fisheye", FISHEYE),
    ("equirectangular", (0.0,) * 8),
]


def tensor(values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def directions_in_field(projection: str, generator: torch.Generator, n: int = 500) -> torch.Tensor:
    """Unit directions within 40 degrees of the axis; 110 for a fisheye; all of them round about."""
    reach = {"perspective": 40, "fisheye": 110, "equirectangular": 180}[projection]
    angle = torch.rand(n, generator=generator, dtype=torch.float64) * math.radians(reach)
    turn = torch.rand(n, generator=generator, dtype=torch.float64) * 2 * math.pi
    across = angle.sin()
    return torch.stack((across * turn.cos(), across * turn.sin(), angle.cos()), dim=-1)


@pytest.mark.parametrize(("projection", "k"), LENSES)
def test_undistort_undoes_distort(projection, k, generator):
    directions = directions_in_field(projection, generator)
    again = undistort(projection, distort(projection, directions, tensor(k)), tensor(k))
    assert_close(again, directions, atol=1e-9, rtol=0)


@settings(deadline=None)
@given(x=st.floats(-0.6, 0.6), y=st.floats(-0.6, 0.6), k1=st.floats(-0.3, 0.3), k2=st.floats(-0.1, 0.1))
def test_the_way_back_lands_on_the_point_or_says_that_it_cannot(x, y, k1, k2):
    """For any lens: where undistort gives a direction, distort sends it to the point, on the right side."""
    plane, k = tensor([x, y]), tensor([k1, k2, 0, 0, 0, 0, 0, 0])
    direction = undistort("perspective", plane, k)
    if bool(direction.isfinite().all()):
        assert_close(distort("perspective", direction, k), plane, atol=1e-9, rtol=0)
        r2 = float((direction[:2] / direction[2]).square().sum())
        assert 1 + 3 * k1 * r2 + 5 * k2 * r2**2 > 0
    else:  # only where r (1 + k1 r^2 + k2 r^4) turns back before it reaches the point
        r = np.linspace(0, 3, 3001)
        bent = r * (1 + k1 * r**2 + k2 * r**4)
        falling = np.nonzero(np.diff(bent) < 0)[0]
        assert len(falling) and bent[: falling[0] + 1].max() < math.hypot(x, y) + 1e-3


def test_a_lens_without_coefficients_is_the_plain_projection(generator):
    """And fisheye is the angle from the axis itself, equirectangular longitude and latitude."""
    none = tensor([0.0] * 8)
    d = directions_in_field("perspective", generator)
    assert_close(distort("perspective", d, none), d[:, :2] / d[:, 2:])
    d = directions_in_field("fisheye", generator)
    angle = torch.arccos(d[:, 2])
    assert_close(distort("fisheye", d, none).norm(dim=-1), angle, atol=1e-9, rtol=0)
    assert_close(distort("equirectangular", tensor([0.0, 0.0, -1.0]), none).abs()[0], tensor(math.pi))
    assert_close(distort("equirectangular", tensor([0.0, 2.0, 0.0]), none)[1], tensor(math.pi / 2))
    assert_close(distort("equirectangular", tensor([3.0, 0.0, 0.0]), none), tensor([math.pi / 2, 0.0]))


COLMAP = {  # model: where its parameters after f, cx, cy or fx, fy, cx, cy stand among the coefficients
    "SIMPLE_PINHOLE": ("perspective", ()),
    "PINHOLE": ("perspective", ()),
    "SIMPLE_RADIAL": ("perspective", (0,)),
    "RADIAL": ("perspective", (0, 1)),
    "OPENCV": ("perspective", (0, 1, 2, 3)),
    "FULL_OPENCV": ("perspective", (0, 1, 2, 3, 4, 5, 6, 7)),
    "SIMPLE_FISHEYE": ("fisheye", ()),
    "SIMPLE_RADIAL_FISHEYE": ("fisheye", (0,)),
    "RADIAL_FISHEYE": ("fisheye", (0, 1)),
    "OPENCV_FISHEYE": ("fisheye", (0, 1, 2, 3)),
    "EQUIRECTANGULAR": ("equirectangular", ()),
}


def colmap_pair(model: str, generator: torch.Generator) -> tuple[pycolmap.Camera, Cameras]:
    """The same random camera, in the origin, for COLMAP and for us."""
    projection, places = COLMAP[model]
    fx, fy, cx, cy = (float(v) for v in 400 + 40 * torch.randn(4, generator=generator, dtype=torch.float64))
    width, height = 800, 700
    k = (tensor(FISHEYE if projection == "fisheye" else PHONE) * torch.rand(8, generator=generator)).tolist()
    k = [value if i in places else 0.0 for i, value in enumerate(k)]
    id = getattr(pycolmap.CameraModelId, model)
    camera = pycolmap.Camera.create_from_model_id(1, id, fx, width, height)
    if model == "EQUIRECTANGULAR":
        fx, fy, cx, cy = width / (2 * math.pi), height / math.pi, width / 2, height / 2
    elif "fy" in camera.params_info:
        camera.params = [fx, fy, cx, cy, *(k[place] for place in places)]
    else:
        fy = fx
        camera.params = [fx, cx, cy, *(k[place] for place in places)]
    ours = Cameras(torch.eye(4, dtype=torch.float64), *map(tensor, (fx, fy, cx, cy)), width, height,
                   tensor(k), projection)  # fmt: skip
    return camera, ours


@pytest.mark.parametrize("model", COLMAP)
def test_projection_and_its_inverse_are_colmaps(model, generator):
    """Its own projection of random points to 1e-6 px; the way back to 1e-4 px."""
    theirs, ours = colmap_pair(model, generator)
    points = directions_in_field(ours.projection, generator) * 3
    if "FISHEYE" in model:  # COLMAP's sees nothing behind it
        points = points[points[:, 2] > 0.05]
    pixels, z_depth = ours.project(points)
    assert_close(pixels, tensor(theirs.img_from_cam(points.numpy())), atol=1e-6, rtol=0)
    assert_close(z_depth, points[:, 2])
    rays = ours.rays(pixels)
    assert_close(rays.directions * points.norm(dim=-1, keepdim=True), points, atol=1e-7, rtol=0)
    assert_close(ours.project(2 * rays.directions)[0], pixels, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("projection", "k"), LENSES)
def test_single_precision_cameras_hold_a_hundredth_of_a_pixel(projection, k, generator):
    """The precision that scenes are kept in: focal length 1500."""
    focal, middle = torch.tensor(1500.0), torch.tensor(1000.0)
    lens = torch.tensor(k), projection
    camera = Cameras(torch.eye(4), focal, focal, middle, middle, 2000, 2000, *lens)
    pixels = distort(projection, directions_in_field(projection, generator), tensor(k)).float() * 1500 + 1000
    again, _ = camera.project(camera.rays(pixels).directions)
    assert_close(again, pixels, atol=1e-2, rtol=0)


@pytest.mark.parametrize(("projection", "k"), LENSES)
def test_gradients_through_the_solver_are_true(projection, k, generator):
    """Of the direction to the point and to every coefficient: focal lengths and lenses can be refined."""
    plane = distort(projection, directions_in_field(projection, generator, 5), tensor(k)).requires_grad_()
    coefficients = tensor(k).requires_grad_()
    assert torch.autograd.gradcheck(lambda p, c: undistort(projection, p, c), (plane, coefficients))


def test_there_is_no_direction_beyond_the_fold():
    """r (1 - 0.3 r^2) never reaches 0.8: a made-up ray there would teach a wrong colour."""
    k = tensor([-0.3, 0, 0, 0, 0, 0, 0, 0])
    inside, outside = undistort("perspective", tensor([[0.69, 0.0], [0.8, 0.0]]), k)
    assert bool(inside.isfinite().all()) and bool(outside.isnan().all())
    assert bool(undistort("fisheye", tensor([3.3, 0.0]), tensor([0.0] * 8)).isnan().all())
    assert bool(undistort("equirectangular", tensor([0.0, 1.6]), tensor([0.0] * 8)).isnan().all())


def test_an_unknown_projection_is_named():
    for run in (distort, undistort):
        with pytest.raises(ValueError, match=r"'fish'.*perspective, fisheye"):
            run("fish", torch.ones(3 if run is distort else 2), torch.zeros(8))
    assert len(set(PROJECTIONS)) == 3
