"""Pairs for training: what is lost, what is occluded, and that both views of a pair are of one scene."""

import math

import pytest
import torch
from skimage.filters import sobel
from torch.nn.functional import max_pool2d
from torch.testing import assert_close

from scenes.cameras import Cameras
from tests.tools.multiplane.places import camera_at, square_before_wall, turn
from tools.multiplane.warp import warp
from tools.multiplane.warp_back import (
    EDGE,
    Motions,
    disparity_of_depth,
    draw_motion,
    inpainting_pair,
    lost_pixels,
    moved,
    normalised_disparity,
    sharpened,
    warped_pair,
)

RELEASED = Motions(x=0.2, y=0, z=0, least=0.1, rotation=0)


def draws(motions, generator, count=300):
    return torch.stack([draw_motion(motions, generator) for _ in range(count)])


def test_motions_fill_their_box_but_for_a_ball_around_nothing(generator):
    steps = draws(Motions(), generator)[:, :3, 3]
    most = torch.tensor([0.2, 0.2, 0.3], dtype=torch.float64)
    assert (steps.abs() <= most).all() and steps.norm(dim=-1).min() >= 0.1
    assert (steps.amax(dim=0) > 0.95 * most).all() and (steps.amin(dim=0) < -0.95 * most).all()
    assert steps.mean(dim=0).abs().max() < 0.05


def test_published_motions_are_even_between_a_tenth_and_a_fifth_either_way(generator):
    motions = draws(RELEASED, generator)
    assert motions[:, 1:3, 3].eq(0).all() and torch.equal(motions[0, :3, :3], torch.eye(3).double())
    aside = motions[:, 0, 3]
    assert 0.1 <= aside.abs().min() < 0.11 and 0.19 < aside.abs().max() <= 0.2
    assert 0.4 < (aside > 0).double().mean() < 0.6 and aside.abs().mean() == pytest.approx(0.15, abs=0.01)


def test_rotations_are_rotations_up_to_their_angle(generator):
    rotations = draws(Motions(rotation=10), generator, 100)[:, :3, :3]
    assert_close(rotations @ rotations.mT, torch.eye(3).double().expand_as(rotations))
    angles = torch.rad2deg(((rotations.diagonal(dim1=1, dim2=2).sum(-1) - 1) / 2).acos())
    assert 10 < angles.max() <= 10 * math.sqrt(3) and angles.min() > 0


def test_default_motions_hold_the_paths_of_films():
    """Swing and circle of a photograph's film, and a zoom of 0.3, as the camera moves."""
    t = torch.linspace(0, 2 * math.pi, 100)
    swing = torch.stack((0.14 * t.sin(), 0 * t, 0.1 * (1 - t.cos())), dim=-1)
    circle = torch.stack((0.07 * t.sin(), -0.07 * (1 - t.cos()), 0 * t), dim=-1)
    zoom = torch.stack((0 * t, 0 * t, 0.15 * (1 - t.cos())), dim=-1)
    most = torch.tensor([Motions().x, Motions().y, Motions().z])
    for path in (swing, circle, zoom):
        assert (path.abs() <= most + 1e-6).all()


@pytest.mark.parametrize(
    ("ranges", "message"),
    [
        ({"x": -0.1}, "motions are at least 0"),
        ({"x": 0, "y": 0, "z": 0, "least": 0}, "one of x, y and z must be more than 0"),
        ({"x": 0.1, "y": 0, "z": 0, "least": 0.1}, "least is 0.1; at most 0.9 of the largest"),
    ],
)
def test_motions_that_cannot_be_drawn_are_refused(ranges, message):
    with pytest.raises(ValueError, match=message):
        Motions(**ranges)


def test_disparity_of_depth_and_of_a_prediction_are_one(generator):
    """Sky becomes 0, the nearest 1, and what is unknown what is nearest in the picture."""
    z_depth = 1 + 4 * torch.rand(12, 15, generator=generator)
    z_depth[:3] = torch.inf
    disparity = disparity_of_depth(z_depth)
    assert disparity[:3].eq(0).all()
    assert_close(disparity, z_depth.min() / z_depth, rtol=1e-5, atol=0)
    assert_close(normalised_disparity(7 / z_depth - 3), disparity, rtol=0, atol=1e-6)
    nothing = z_depth.clone()
    nothing[5, 5], nothing[6, 6], nothing[7, 7] = 0, torch.nan, -1
    z_depth[5, 5], z_depth[6, 6], z_depth[7, 7] = z_depth[4, 5], z_depth[5, 6], z_depth[6, 7]
    assert disparity_of_depth(nothing)[8:].equal(disparity_of_depth(z_depth)[8:])
    assert disparity_of_depth(nothing)[5, 5] in disparity_of_depth(z_depth)[4:7, 4:7]


@pytest.mark.parametrize(("z_depth", "count"), [(0.0, 0), (2.0, 20), (torch.inf, 20)])
def test_pictures_without_any_parallax_are_refused(z_depth, count):
    with pytest.raises(ValueError, match=rf"the same in all {count} known pixels.*leave the picture out"):
        disparity_of_depth(torch.full((4, 5), z_depth))


def test_blurred_edges_become_jumps_where_scikit_image_sees_edges(generator):
    """A step over five pixels becomes one between two; a slope that is no edge stays to the last bit."""
    x = torch.arange(40.0)
    step = (0.2 + 0.003 * x + 0.6 * ((x - 18) / 5).clamp(0, 1)).expand(30, -1).clone()
    sharp = sharpened(step)
    edges = torch.from_numpy(sobel(step.numpy())) > EDGE
    assert 4 <= int(edges[3].sum()) <= 8
    assert torch.equal(sharp[~edges], step[~edges])
    assert sharp.diff(dim=1)[3].max() > 0.5 and (sharp.diff(dim=1)[3].abs() > 0.01).sum() == 1
    noise = torch.rand(30, 40, generator=generator) * 0.1
    kept = torch.from_numpy(sobel(noise.numpy())) <= EDGE
    assert kept.any() and not kept.all() and torch.equal(sharpened(noise)[kept], noise[kept])
    nothing_but_edges = (x / 10).expand(30, -1)
    assert torch.equal(sharpened(nothing_but_edges), nothing_but_edges)


def seen_by_rays(z_depth, camera, away, square, near):
    """Whether a straight way leads from the other camera to each pixel's point: past the near square, and
    through the other picture. Pixel by pixel."""
    points = camera.unproject(camera.pixel_centres(), z_depth)
    centre, (rows, columns) = away.centres, square
    seen = torch.zeros(z_depth.shape, dtype=torch.bool)
    for row, column in torch.cartesian_prod(*(torch.arange(n) for n in z_depth.shape)).tolist():
        point = points[row, column]
        pixel, _ = away.project(point)
        in_picture = 0 <= pixel[0] < away.width and 0 <= pixel[1] < away.height
        share = (near - centre[2]) / (point[2] - centre[2])
        crossing, _ = camera.project(centre + share * (point - centre))
        blocked = columns.start <= crossing[0] < columns.stop and rows.start <= crossing[1] < rows.stop
        seen[row, column] = in_picture and not (blocked and z_depth[row, column] > near)
    return seen


@pytest.mark.parametrize("step", [(0.3, 0.0), (-0.3, 0.0), (0.0, 1 / 3), (0.3, -1 / 3), (-0.6, 2 / 3)])
def test_lost_is_what_no_ray_from_the_other_camera_reaches(step):
    """By whole pixels, so that resampling loses nothing: 6 or 12 of the square's, 2 or 4 of the wall's."""
    square, near, far = (slice(8, 16), slice(12, 20)), 2.0, 6.0
    z_depth, camera, away = square_before_wall(*square, near, far), camera_at(), camera_at((*step, 0.0))
    lost = lost_pixels(z_depth, camera, away)
    assert torch.equal(lost, ~seen_by_rays(z_depth, camera, away, square, near))
    assert 40 < int(lost.sum()) < 400


def test_an_inpainting_pair_is_the_picture_itself_and_what_was_lost(generator):
    rgb = torch.rand(24, 32, 3, generator=generator)
    disparity = 1 / square_before_wall(slice(8, 16), slice(12, 20), 1.0, 4.0)
    pair = inpainting_pair(rgb, disparity, camera_at(), Motions(), generator.manual_seed(5))
    away = moved(camera_at(), Motions(), generator.manual_seed(5))
    assert pair.rgb is rgb and pair.disparity is disparity
    assert torch.equal(pair.lost, lost_pixels(1 / disparity, camera_at(), away)) and pair.lost.any()
    assert not pair.lost[9:15, 13:19].any()


def scene(generator):
    """A smooth picture: a thing before a wall that is slanted."""
    camera = camera_at((0.4, 0.2, -1.0), turned=turn(0.1, 0.2, 0.0))
    x, y = camera.pixel_centres().unbind(-1)
    rgb = 0.5 + 0.4 * torch.stack(((0.2 * x).sin(), (0.2 * y).cos(), (0.1 * (x + y)).sin()), dim=-1)
    disparity = 0.1 + 0.004 * x + 0.004 * y
    disparity[8:16, 12:20] = 1.0
    return rgb.float(), disparity.float(), camera


@pytest.mark.parametrize("motions", [Motions(), RELEASED, Motions(0, 0, 0.3, 0.2, 0)])
def test_both_views_of_a_pair_are_of_one_scene(motions, generator):
    """Target pixels looked up in the source, by the pair's own cameras and disparities alone."""
    rgb, disparity, camera = scene(generator)
    for _ in range(5):
        pair = warped_pair(rgb, disparity, camera, motions, generator)
        assert pair.target_rgb is rgb
        assert pair.source_disparity.min() >= 0 and pair.source_disparity.max() <= 1
        back = warp(pair.source_rgb, 1 / pair.source_disparity, pair.source, pair.target)
        assert torch.equal(back.covered, ~pair.occluded)
        unit = float((pair.target_disparity / disparity).mean())
        assert_close(pair.target_disparity, disparity * unit, rtol=1e-6, atol=0)
        assert unit == 1 or float(pair.source_disparity.max()) == 1
        # Away from jumps, the picture comes back, and so does its depth.
        flat = -max_pool2d(-(disparity < 0.9).float()[None], 7, 1, 3)[0] == 1
        inner = back.covered & flat
        assert inner.sum() > 300
        assert (back.rgb - rgb)[inner].abs().quantile(0.95) < 0.03
        found = 1 / back.z_depth[inner] / pair.target_disparity[inner]
        assert (found - 1).abs().quantile(0.95) < 0.02


def test_the_source_has_no_holes_and_no_thing_in_them(generator):
    """A red thing before a blue wall: what came to light beside it is blue, and as far as the wall."""
    disparity = torch.full((48, 64), 0.1)
    disparity[16:32, 24:40] = 1.0
    rgb = torch.where((disparity == 1)[..., None], torch.tensor([1.0, 0, 0]), torch.tensor([0, 0, 1.0]))
    camera = camera_at(width=64, height=48)
    for _ in range(5):
        pair = warped_pair(rgb, disparity, camera, RELEASED, generator)
        assert pair.source_rgb[..., 1].eq(0).all() and pair.source_rgb.sum(dim=-1).sub(1).abs().max() < 1e-3
        near = (pair.source_disparity > 0.5).sum()
        assert abs(int(near) - 16 * 16) <= 16
        assert torch.equal(pair.source_rgb[..., 0] > 0.5, pair.source_disparity > 0.5)


def test_occluded_is_what_the_source_does_not_show():
    """Where the motion is known: by rays from the source to the target's points."""
    square, near, far = (slice(8, 16), slice(12, 20)), 1.0, 3.0
    disparity = 1 / square_before_wall(*square, near, far)
    camera, generator = camera_at(), torch.Generator()
    for seed in range(2):
        pair = warped_pair(torch.zeros(24, 32, 3), disparity, camera, RELEASED, generator.manual_seed(seed))
        away = moved(camera, RELEASED, generator.manual_seed(seed))
        assert_close(pair.source.camera_to_world, away.camera_to_world)
        seen = seen_by_rays(1 / disparity, camera, away, square, near)
        # Steps of the square and of the wall are no whole pixels: their borders may be one off.
        around = (max_pool2d(mask.float()[None], 3, 1, 1)[0] > 0 for mask in (seen, ~seen))
        assert not ((pair.occluded == seen) & ~torch.logical_and(*around)).any()
        assert int((pair.occluded & ~seen).sum()) > 16


def test_the_same_seed_gives_the_same_pair(generator):
    rgb, disparity, camera = scene(generator)
    one, other = (warped_pair(rgb, disparity, camera, Motions(), generator.manual_seed(3)) for _ in range(2))
    assert torch.equal(one.source_rgb, other.source_rgb) and torch.equal(one.occluded, other.occluded)


def test_cameras_keep_their_precision(generator):
    rgb, disparity, _ = scene(generator)
    camera = Cameras.from_fov(torch.eye(4), 32, 24, 50)
    pair = warped_pair(rgb, disparity, camera, Motions(), generator)
    assert pair.source.fx.dtype == pair.target.camera_to_world.dtype == torch.float32


@pytest.mark.parametrize("value", [-0.1, 1.2, torch.nan])
def test_disparity_that_was_not_normalised_is_refused(value, generator):
    rgb, disparity, camera = scene(generator)
    disparity[3, 4] = value
    for make in (inpainting_pair, warped_pair):
        with pytest.raises(ValueError, match=r"disparity is .* in row 3, column 4; bring it to \[0, 1\]"):
            make(rgb, disparity, camera, Motions(), generator)
