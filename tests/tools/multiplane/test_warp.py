"""Other views of pictures with depth, against what geometry says that they show."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from tests.tools.multiplane.places import (
    camera_at,
    moved_about,
    square_before_wall,
    turn,
    z_depth_of_plane,
)
from tools.multiplane.warp import splat, warp


def smooth_picture(camera, frequency=0.2):
    """Colours and depth of a bumpy surface; as functions of the pixels they have no edges."""
    x, y = camera.pixel_centres().unbind(-1)
    rgb = 0.5 + 0.5 * torch.stack(
        ((frequency * x).sin(), (frequency * y).cos(), (0.1 * (x - y)).sin()), dim=-1
    )
    return rgb, 2 + 0.3 * (0.1 * x).sin() * (0.08 * y).cos()


def ramp(camera, dx=0.01, dy=0.02):
    """Colours that are linear in the picture, so that any interpolation is exact."""
    x, y = camera.pixel_centres().unbind(-1)
    return torch.stack((dx * x, dy * y, 0.3 + 0.005 * (x + y)), dim=-1)


def test_from_its_own_place_a_picture_is_itself(generator):
    """Noise with jumps, unknown pixels and sky: colours to the last bit, and every known pixel is there."""
    rgb = torch.rand(24, 32, 3, generator=generator)
    z_depth = 1 + torch.rand(24, 32, generator=generator).round(decimals=1)
    z_depth[torch.rand(24, 32, generator=generator) < 0.1] = 0
    z_depth[torch.rand(24, 32, generator=generator) < 0.1] = torch.inf
    camera = camera_at((3.0, -1.0, 0.5), turned=turn(0.1, -0.4, 0.2)).to("cpu", torch.float32)
    seen = warp(rgb, z_depth, camera, camera)
    assert torch.equal(seen.covered, z_depth > 0)
    assert torch.equal(seen.rgb, rgb * seen.covered[..., None])
    assert_close(seen.z_depth, z_depth, rtol=1e-6, atol=0)


@pytest.mark.parametrize("step", [(0.23, 0.0), (-0.31, 0.07), (0.0, -0.2)])
def test_a_wall_moves_by_focal_length_times_step_over_depth(step):
    """And it ends where the picture ended: half a pixel beyond the outermost centres."""
    camera, target = camera_at(), camera_at((*step, 0.0))
    shift = torch.tensor([float(camera.fx), float(camera.fy)]) * torch.tensor(step) / 2.5
    seen = warp(ramp(camera), torch.full((24, 32), 2.5), camera, target)
    from_pixel = camera.pixel_centres() + shift
    x, y = from_pixel.unbind(-1)
    assert torch.equal(seen.covered, (x >= 0) & (x < 32) & (y >= 0) & (y < 24))
    inner = (x > 0.5) & (x < 31.5) & (y > 0.5) & (y < 23.5)
    expected = torch.stack((0.01 * x, 0.02 * y, 0.3 + 0.005 * (x + y)), dim=-1)
    assert inner.sum() > 300
    assert_close(seen.rgb[inner].double(), expected[inner], rtol=0, atol=1e-5)
    assert_close(seen.z_depth[seen.covered], torch.tensor(2.5).expand(int(seen.covered.sum())))


@pytest.mark.parametrize("side", [1, -1])
def test_a_square_uncovers_what_the_disparities_differ_by_on_the_side_it_left(side):
    """Six pixels against two: four open up where the square moves away from, and none on the other side."""
    camera = camera_at()
    target = camera_at((side * 0.3, 0.0, 0.0))
    z_depth = square_before_wall(slice(8, 16), slice(12, 20), 2.0, 6.0)
    rgb = (z_depth == 2).double()[..., None].expand(-1, -1, 3)
    seen = warp(rgb, z_depth, camera, target)
    square, wall = 12 - 6 * side, 2 * side
    expected = torch.full((24, 32), 6.0)
    expected[8:16, square : square + 8] = 2.0
    hole = slice(square + 8, square + 12) if side > 0 else slice(square - 4, square)
    expected[8:16, hole] = 0
    expected[:, -wall if side > 0 else 0 : None if side > 0 else -wall] = 0
    assert_close(seen.z_depth, expected, rtol=1e-6, atol=0)
    assert torch.equal(seen.covered, expected > 0)
    assert torch.equal(seen.rgb[..., 0] == 1, expected == 2)


def test_a_slanted_plane_has_the_depth_of_its_equation():
    """From a camera that was moved and turned; over all of the picture, up to its rim."""
    camera = camera_at((0.2, 0.1, -0.3), turned=turn(0.05, 0.1, -0.2))
    target = camera_at((0.5, -0.1, 0.1), turned=turn(-0.1, 0.05, 0.1))
    normal = torch.tensor([0.3, -0.2, 1.0], dtype=torch.float64)
    z_depth = z_depth_of_plane(camera, normal, 4.0)
    seen = warp(torch.zeros(24, 32, 3), z_depth, camera, target)
    assert 400 < int(seen.covered.sum()) < 24 * 32
    expected = z_depth_of_plane(target, normal, 4.0)
    assert_close(seen.z_depth[seen.covered].double(), expected[seen.covered], rtol=3e-5, atol=0)
    pixels, _ = camera.project(target.unproject(target.pixel_centres(), expected))
    x, y = pixels.unbind(-1)
    inside = torch.stack((x, 32 - x, y, 24 - y)).amin(dim=0)
    assert torch.equal(seen.covered[inside.abs() > 1e-3], (inside > 0)[inside.abs() > 1e-3])


def test_there_and_back_a_smooth_picture_is_what_it_was():
    """What error is left is that of interpolating twice: a quarter of it at half the frequency."""
    errors = []
    for frequency in (0.4, 0.2):
        camera = camera_at()
        away = camera_at((0.21, 0.1, 0.13), turned=turn(0.02, -0.03, 0.05))
        rgb, z_depth = smooth_picture(camera, frequency)
        there = warp(rgb, z_depth, camera, away)
        back = warp(there.rgb, there.z_depth, away, camera)
        x, y = camera.pixel_centres().unbind(-1)
        inner = back.covered & (x > 6) & (x < 26) & (y > 6) & (y < 18)
        assert inner.sum() == 20 * 12
        assert_close(back.z_depth[inner].double(), z_depth[inner], rtol=5e-3, atol=0)
        errors.append(float((back.rgb - rgb)[..., :2][inner].square().mean().sqrt()))
    assert errors[0] < 0.04 and 3 < errors[0] / errors[1] < 5


def test_a_square_before_a_wall_is_where_rays_meet_it_wherever_the_camera_goes(generator):
    """Each pixel's ray is followed to the square, and if it misses that, to what is known of the wall."""
    camera, near, far = camera_at(), 2.0, 6.0
    rgb, z_depth = torch.zeros(24, 32, 3), square_before_wall(slice(8, 16), slice(12, 20), near, far)
    for _ in range(20):
        place = torch.tensor([0.8, 0.8, 0.6]) * (2 * torch.rand(3, generator=generator) - 1)
        target = camera_at(place.tolist())
        on_square, on_wall = (
            camera.project(
                target.unproject(target.pixel_centres(), torch.full((24, 32), z - float(place[2])))
            )[0]
            for z in (near, far)
        )

        def inside(pixels, left, top, right, bottom):
            x, y = pixels.unbind(-1)
            return torch.stack((x - left, right - x, y - top, bottom - y)).amin(dim=0)

        square, hidden = inside(on_square, 12, 8, 20, 16), inside(on_wall, 12, 8, 20, 16)
        wall = torch.minimum(inside(on_wall, 0, 0, 32, 24), -hidden)
        expected = torch.where(square > 0, near - place[2], torch.where(wall > 0, far - place[2], 0.0))
        seen = warp(rgb, z_depth, camera, target)
        clear = (square.abs() > 1e-3) & (wall.abs() > 1e-3)
        assert clear.sum() > 700
        assert_close(seen.z_depth[clear].double(), expected[clear].double(), rtol=1e-5, atol=0)


def test_a_smooth_surface_has_no_cracks(generator):
    """From wherever it is seen: no pixel that is not covered has covered ones on all four sides."""
    camera = camera_at()
    rgb, z_depth = smooth_picture(camera)
    for _ in range(20):
        place = (0.4 * torch.rand(3, generator=generator, dtype=torch.float64) - 0.2).tolist()
        angles = (0.4 * torch.rand(3, generator=generator, dtype=torch.float64) - 0.2).tolist()
        covered = warp(rgb, z_depth, camera, camera_at(place, turned=turn(*angles))).covered.int()
        sides = [covered.flip(flip).cummax(dim).values.flip(flip) for dim in (0, 1) for flip in ((), (dim,))]
        assert torch.equal(torch.stack(sides).amin(dim=0), covered) and covered.sum() > 300


def test_the_sky_only_turns():
    """Infinitely far, it does not move with the camera, and no surface is torn from it for being near."""
    camera = camera_at()
    turned = camera_at((5.0, -3.0, 2.0), turned=turn(0.0, 0.1, 0.0))
    sky = torch.full((24, 32), torch.inf)
    there = warp(ramp(camera), sky, camera, camera_at((5.0, -3.0, 2.0)))
    assert torch.equal(there.rgb, ramp(camera).float()) and there.z_depth.isinf().all()
    seen = warp(ramp(camera), sky, camera, turned)
    assert 0.7 < seen.covered.float().mean() < 0.95
    directions = turned.rays().directions
    pixels, _ = camera.project(directions)
    expected = ramp(camera).new_tensor([0.01, 0.02]) * pixels
    inner = (pixels > 1).all(dim=-1) & (pixels < torch.tensor([31, 23])).all(dim=-1)
    assert_close(seen.rgb[..., :2][inner].double(), expected[inner], rtol=0, atol=1e-5)


def test_a_turned_camera_sees_the_same_whatever_the_depth(generator):
    camera, turned = camera_at(), camera_at(turned=turn(0.05, -0.1, 0.1))
    rgb = torch.rand(24, 32, 3, generator=generator)
    _, z_depth = smooth_picture(camera)
    one, other = (warp(rgb, depth, camera, turned, tear=1.0) for depth in (z_depth, torch.ones(24, 32)))
    assert torch.equal(one.covered, other.covered)
    assert_close(one.rgb, other.rgb, rtol=0, atol=1e-5)


def test_the_world_s_origin_and_axes_do_not_matter():
    camera, target = camera_at(), camera_at((0.2, 0.1, 0.3), turned=turn(0.02, 0.03, 0.1))
    rigid = torch.eye(4, dtype=torch.float64)
    rigid[:3, :3], rigid[:3, 3] = turn(1.0, -2.0, 0.5), torch.tensor([3.0, -7.0, 2.0])
    rgb, z_depth = smooth_picture(camera)
    one = warp(rgb, z_depth, camera, target)
    other = warp(rgb, z_depth, moved_about(camera, rigid), moved_about(target, rigid))
    assert torch.equal(one.covered, other.covered)
    assert_close(one.rgb, other.rgb, rtol=0, atol=1e-5)


def test_a_surface_is_not_seen_from_behind_nor_behind_the_camera():
    camera = camera_at()
    rgb, z_depth = smooth_picture(camera)
    beyond = camera_at((0.0, 0.0, 5.0), turned=turn(0.0, torch.pi, 0.0))
    assert not warp(rgb, z_depth, camera, beyond).covered.any()
    assert not warp(rgb, z_depth, camera, camera_at((0.0, 0.0, 5.0))).covered.any()


def test_the_target_may_have_another_lens_and_size():
    """Twice the pixels: the plane's equation still holds, and colours are linear between pixels."""
    camera = camera_at()
    target = replace(camera.scaled(0.5), camera_to_world=camera_at((0.1, 0.0, 0.0)).camera_to_world)
    seen = warp(ramp(camera), torch.full((24, 32), 2.0), camera, target)
    assert seen.rgb.shape == (48, 64, 3)
    x = target.pixel_centres()[..., 0] / 2 + 2
    inner = seen.covered & (x > 0.5) & (x < 31.5)
    assert_close(seen.rgb[..., 0][inner].double(), 0.01 * x[inner], rtol=0, atol=1e-5)


def test_splatting_by_whole_pixels_is_warping_with_holes_filled(generator):
    """The nearest wins, and a hole takes the nearest pixel, be it before or behind."""
    camera, target = camera_at(), camera_at((0.3, 0.0, 0.0))
    z_depth = square_before_wall(slice(8, 16), slice(12, 20), 2.0, 6.0)
    rgb = torch.rand(24, 32, 3, generator=generator)
    exact, seen = warp(rgb, z_depth, camera, target), splat(rgb, z_depth, camera, target)
    assert torch.equal(seen.covered, exact.covered)
    assert_close(seen.rgb[seen.covered], exact.rgb[exact.covered], rtol=0, atol=1e-6)
    assert_close(seen.z_depth[seen.covered], exact.z_depth[exact.covered], rtol=1e-6, atol=0)
    assert seen.z_depth[11, 14:18].tolist() == pytest.approx([2.0, 2.0, 6.0, 6.0])
    assert torch.equal(seen.rgb[11, 14], seen.rgb[11, 13]) and torch.equal(seen.rgb[11, 17], seen.rgb[11, 18])


def test_splatting_rounds_to_the_pixel_that_a_point_lies_in():
    """0.9 of a pixel is less than a pixel: a loop over points says where each lands."""
    camera, target = camera_at(), camera_at((0.17, 0.05, 0.1))
    rgb, z_depth = smooth_picture(camera)
    seen = splat(rgb, z_depth, camera, target)
    pixels, depth = target.project(camera.unproject(camera.pixel_centres(), z_depth))
    expected = torch.full((24, 32), torch.inf, dtype=torch.float64)
    for (x, y), z in zip(pixels.view(-1, 2).tolist(), depth.flatten().tolist(), strict=True):
        if 0 <= x < 32 and 0 <= y < 24:
            expected[int(y), int(x)] = min(expected[int(y), int(x)], z)
    assert torch.equal(seen.covered, expected.isfinite())
    assert_close(seen.z_depth[seen.covered].double(), expected[seen.covered], rtol=1e-6, atol=0)


def test_what_cannot_be_shown_is_said():
    camera = camera_at()
    rgb, z_depth = smooth_picture(camera)
    bent = replace(camera, distortion=torch.zeros(8))
    for show in (warp, splat):
        with pytest.raises(ValueError, match="target has a lens that bends straight lines"):
            show(rgb, z_depth, camera, bent)
    with pytest.raises(ValueError, match="target sees nothing of what camera saw"):
        splat(rgb, z_depth, camera, camera_at((0.0, 0.0, 9.0)))
