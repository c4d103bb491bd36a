"""The surface of a picture with depth: what is joined, what is torn, and that nothing of it is missing."""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import conv2d
from torch.testing import assert_close

from scenes.cameras import Cameras
from tests.tools.multiplane.places import camera_at, square_before_wall
from tools.multiplane.depth_mesh import TEAR, depth_mesh, joined_neighbours


def areas(mesh, camera):
    """Of the triangles, in the picture that they were made of, square pixels; signed."""
    inside = mesh.vertices @ torch.linalg.inv(camera.camera_to_world).T
    pixels = inside[:, :2] / inside[:, 2:3] * camera.intrinsics[:2] + camera.intrinsics[2:]
    a, b, c = (pixels[corner] for corner in mesh.faces.T)
    return ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]) / 2


def random_picture(generator, unknown=0.2):
    """Depth with jumps everywhere, and pixels of which nothing is known, alone and side by side."""
    z_depth = 1 + torch.rand(24, 32, generator=generator, dtype=torch.float64).round(decimals=1)
    z_depth[torch.rand(24, 32, generator=generator) < unknown] = 0
    return z_depth


def test_every_known_pixel_has_its_square_and_nothing_else_has_any(generator):
    """The triangles' areas add up to the number of known pixels, and all show their front."""
    camera, z_depth = camera_at((0.3, -0.2, 0.1)), random_picture(generator)
    found = areas(depth_mesh(z_depth, torch.zeros(24, 32, 1), camera), camera)
    assert found.min() > 0
    assert_close(found.sum(), (z_depth > 0).sum().double(), rtol=1e-12, atol=0)


def test_what_is_joined_has_no_corners_but_pixels():
    """A smooth surface is two triangles to each four pixels, and a rim of half a pixel."""
    z_depth = torch.full((24, 32), 2.0)
    mesh = depth_mesh(z_depth, torch.zeros(24, 32, 1), camera_at())
    assert len(mesh.faces) == 2 * 23 * 31 + 2 * (2 * 2 * (23 + 31) + 4)


def test_a_jump_is_torn_just_above_the_threshold():
    """By the published rule, a pixel beside such a jump is hidden: exp(-10 |Sobel|) = 0.3 there."""
    disparity = torch.zeros(5, 6, dtype=torch.float64)
    disparity[:, 2:4], disparity[:, 4:] = 1.0, 1 - TEAR
    known = torch.ones(5, 6, dtype=torch.bool)
    kernel = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]], dtype=torch.float64)
    sobel = conv2d(disparity[None, None], kernel[None, None])[0, 0, 1, 2]
    assert math.exp(-10 * abs(float(sobel))) == pytest.approx(0.3, abs=1e-12)
    across = joined_neighbours(disparity, known, TEAR + 1e-9).across
    assert across[0].tolist() == [True, False, True, True, True]
    across = joined_neighbours(disparity, known, TEAR - 1e-9).across
    assert across[0].tolist() == [True, False, True, False, True]


def test_a_slope_is_torn_only_if_it_is_steep():
    """Ten steps of a tenth are one surface with the floor before it; a jump of a tenth alone is none."""
    slope = torch.cat((torch.zeros(3), torch.arange(11) / 10, torch.ones(3))).double().expand(4, -1)
    known = torch.ones(4, 17, dtype=torch.bool)
    assert joined_neighbours(slope, known, 0.035).across.all()
    assert joined_neighbours(slope.T, known.T, 0.035).down.all()
    steep = joined_neighbours(slope, known, 0.033).across
    assert torch.equal(steep, (slope.diff(dim=1) == 0))
    known[:, 4:14:2] = False
    assert not joined_neighbours(slope, known, 0.035).across[:, 3:13].any()


def test_tears_know_no_scale_and_shift_of_disparity(generator):
    """So depth may be metric, or predicted up to both."""
    disparity = torch.rand(9, 11, generator=generator, dtype=torch.float64).round(decimals=1)
    known = torch.rand(9, 11, generator=generator) < 0.8
    one = joined_neighbours(disparity, known, 0.25)
    other = joined_neighbours(disparity * 37 + 5, known, 0.25)
    assert torch.equal(one.across, other.across) and torch.equal(one.down, other.down)
    assert 0 < int(one.down.sum()) < one.down.numel()


def test_values_stay_on_their_side_of_a_tear():
    """A white square before a black wall: no corner is grey."""
    z_depth = square_before_wall(slice(8, 16), slice(10, 20), 1.0, 3.0)
    mesh = depth_mesh(z_depth, (z_depth == 1).double()[..., None], camera_at())
    assert mesh.values.unique().tolist() == [0.0, 1.0]
    assert mesh.vertices[mesh.values[:, 0] == 1, 3].unique().tolist() == [1.0]


def test_disparity_goes_on_in_its_slope_up_to_a_tear():
    """All corners of a slanted plane lie on it, also half a pixel beyond the picture's outer centres."""
    camera = camera_at()
    x, y = camera.pixel_centres().unbind(-1)
    disparity = 0.4 + 0.003 * x - 0.002 * y
    disparity[8:16, 10:20] += 0.3
    mesh = depth_mesh(1 / disparity, torch.zeros(24, 32, 1), camera)
    used = mesh.vertices[mesh.faces.unique()]
    column, row = (used[:, :2] / used[:, 2:3] * camera.intrinsics[:2] + camera.intrinsics[2:]).T
    above = used[:, 3] - (0.4 + 0.003 * column - 0.002 * row)
    on_wall, on_square = above.abs() < 1e-12, (above - 0.3).abs() < 1e-12
    assert (on_wall | on_square).all() and on_square.any() and column.min() < 1e-9 and row.max() > 24 - 1e-9


def test_extrapolation_does_not_lead_behind_infinity():
    disparity = torch.tensor([[0.0, 0.02, 0.04, 1.0]] * 4, dtype=torch.float64)
    mesh = depth_mesh(1 / disparity, torch.zeros(4, 4, 1), camera_at(width=4, height=4))
    assert mesh.vertices[:, 3].min() == 0


def test_unknown_depth_in_all_its_forms(generator):
    z_depth = torch.full((24, 32), 2.0)
    for row, nothing in enumerate((0.0, -1.0, torch.nan)):
        z_depth[row, 5] = nothing
    camera = camera_at()
    found = areas(depth_mesh(z_depth, torch.zeros(24, 32, 1), camera), camera)
    assert float(found.sum()) == pytest.approx(24 * 32 - 3)
    assert not len(depth_mesh(torch.zeros(24, 32), torch.zeros(24, 32, 1), camera).faces)


def test_cameras_that_do_not_fit_are_refused():
    z_depth, values, camera = torch.ones(24, 32), torch.zeros(24, 32, 1), camera_at()
    with pytest.raises(ValueError, match="camera is 16 x 24 and z_depth 32 x 24; scale the camera"):
        depth_mesh(z_depth, values, camera_at(width=16))
    with pytest.raises(ValueError, match="camera has a lens that bends straight lines; undistort"):
        depth_mesh(z_depth, values, replace(camera, distortion=torch.zeros(8)))
    batch = Cameras.from_fov(torch.eye(4)[None], 32, 24, 50)
    with pytest.raises(ValueError, match="camera is a batch of 1; give one of them"):
        depth_mesh(z_depth, values, batch)
