"""Layers show the picture from where it was taken, and from beside it what a loop over surfaces shows."""

import math
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from render.metrics import psnr
from render.multiplane import composite, render
from scenes.cameras import Cameras
from tools.multiplane.layers import (
    beside_nearer,
    distance_to,
    flowed_in,
    layered,
    outlined,
    plane_disparities,
    plane_shares,
    sharpened,
)

WIDTH, HEIGHT = 48, 32
CAMERA = Cameras.from_fov(torch.eye(4), WIDTH, HEIGHT, 60)
GREY = torch.full((HEIGHT, WIDTH, 3), 0.5)  # of which no pixel looks more like one thing than another


def smooth_picture(generator) -> torch.Tensor:
    small = torch.rand(1, 3, 5, 7, generator=generator)
    return torch.nn.functional.interpolate(small, size=(HEIGHT, WIDTH), mode="bicubic")[0].permute(1, 2, 0)


def box_before_wall(near: float = 0.8, far: float = 0.2) -> torch.Tensor:
    disparity = torch.full((HEIGHT, WIDTH), far)
    disparity[10:24, 16:32] = near
    return disparity


@pytest.mark.parametrize("spacing", ["even", "fitted"])
@pytest.mark.parametrize("planes", [2, 7, 32])
def test_its_own_camera_sees_the_picture_and_its_depth(generator, spacing, planes):
    picture, disparity = smooth_picture(generator), torch.rand(HEIGHT, WIDTH, generator=generator)
    made = layered(picture, disparity, CAMERA, planes, spacing=spacing)
    seen = composite(made)
    assert_close(seen.rgb, picture, atol=1e-5, rtol=0)
    assert_close(seen.opacity, torch.ones(HEIGHT, WIDTH), atol=1e-5, rtol=0)
    told = (seen.weights / made.z_depth[:, None, None]).sum(dim=0)
    if spacing == "even":
        crisp = outlined(sharpened(disparity.clamp(min=1e-3)), picture)
        assert_close(told, crisp, atol=1e-4, rtol=0)


def test_a_wall_moves_as_a_whole(generator):
    """A plane of one disparity, seen from s aside, is the picture shifted by fx s disparity pixels."""
    picture = smooth_picture(generator)
    made = layered(picture, torch.full((HEIGHT, WIDTH), 0.5), CAMERA, 8)
    aside = 3 / float(CAMERA.fx) / 0.5
    pose = torch.eye(4)
    pose[0, 3] = aside
    seen = render(made, replace(CAMERA, camera_to_world=pose), ("rgb", "z_depth"))
    assert_close(seen.rgb[:, :-3], picture[:, 3:], atol=1e-2, rtol=0)
    assert_close(seen.z_depth, torch.full((HEIGHT, WIDTH), 2.0), atol=0.01, rtol=0)


@pytest.mark.parametrize("side", [-1, 1])
def test_behind_what_moves_aside_the_wall_goes_on(side):
    """A red box before a wall of one blue: whatever camera looks, there is red and blue and nothing else."""
    disparity = box_before_wall()
    picture = torch.zeros(HEIGHT, WIDTH, 3)
    picture[..., 2] = 1
    picture[disparity > 0.5] = torch.tensor([1.0, 0.0, 0.0])
    made = layered(picture, disparity, CAMERA, 12)
    pose = torch.eye(4)
    pose[0, 3] = side * 0.2
    seen = render(made, replace(CAMERA, camera_to_world=pose), ("rgb", "opacity"))
    assert_close(seen.opacity, torch.ones(HEIGHT, WIDTH), atol=1e-5, rtol=0)
    shift = -side * 0.2 * float(CAMERA.fx) * 0.8
    middle = round(24 + shift)
    assert_close(seen.rgb[17, middle], torch.tensor([1.0, 0.0, 0.0]), atol=1e-4, rtol=0)
    uncovered = 24 + side * 7  # the box was there
    assert_close(seen.rgb[17, uncovered], torch.tensor([0.0, 0.0, 1.0]), atol=1e-4, rtol=0)


def test_what_is_made_up_ends_where_no_camera_within_reach_sees():
    """What stands right of a pillar goes on under it for fx reach (difference of disparities) pixels."""
    disparity = torch.full((HEIGHT, WIDTH), 0.1)
    disparity[:, 16:32], disparity[:, 32:] = 1.0, 0.4
    made = layered(GREY, disparity, CAMERA, 10, reach=0.5)
    stops = 1 / made.z_depth
    plane = int((stops - 0.4).abs().argmin())
    assert float(stops[plane]) == pytest.approx(0.4, abs=1e-5)
    away = 32 - torch.arange(16, 32)  # of its first pixel
    reached = away <= 0.5 * float(CAMERA.fx) * 0.6
    assert 0 < int(reached.sum()) < 16, "the test must show both"
    assert_close(made.opacity[plane, 17, 16:32], reached.float())
    assert not bool(made.opacity[plane, 17, :16].any()), "the wall behind is seen there"
    assert bool((made.opacity[-1] == 1).all()), "the last plane is never left"


def test_of_two_things_behind_a_box_the_one_beside_it_goes_on():
    """A thread that hangs far from the box, before the same wall, does not reach under it."""
    disparity = box_before_wall(near=1.0, far=0.1)
    disparity[:, 44] = 0.4
    made = layered(GREY, disparity, CAMERA, 10, reach=1.5)
    plane = int((1 / made.z_depth - 0.4).abs().argmin())
    assert bool((made.opacity[plane, :, 44] > 0.99).all()) and not bool(made.opacity[plane, :, :40].any())


def test_without_reach_only_the_last_plane_goes_on_under_things():
    made = layered(GREY, box_before_wall(), CAMERA, 10, reach=0)
    assert int((made.opacity[1:-1] > 0).sum()) == 0


def test_a_slope_between_two_things_becomes_a_step():
    """And no value appears that was not there, and what is flat or slopes gently stays as it is."""
    disparity = torch.full((9, 30), 0.2)
    disparity[:, 12:] = 0.8
    disparity[:, 12:16] = torch.tensor([0.3, 0.45, 0.6, 0.7])
    crisp = sharpened(disparity)
    assert bool(((crisp == disparity[0, 0]) | (crisp == disparity[0, -1])).all())
    assert int((crisp[4] == disparity[0, -1]).sum()) == 16, "the middle of the slope is where the step stands"
    for rise in (0.005, 0.02):  # each pixel, up to the edge of the picture
        slope = (0.1 + rise * torch.arange(40)).expand(8, 40)
        assert_close(sharpened(slope), slope)
        assert_close(sharpened(slope.T), slope.T)
    for size in ((1, 1), (1, 30), (3, 2)):
        assert_close(sharpened(torch.full(size, 0.3)), torch.full(size, 0.3))


def test_a_pixel_beside_an_edge_goes_with_the_thing_that_it_looks_like():
    """Left of a red box the pixel is half red, right of it blue as the wall is."""
    disparity = box_before_wall()
    picture = torch.tensor([0.0, 0.0, 1.0]).repeat(HEIGHT, WIDTH, 1)
    picture[disparity > 0.5] = torch.tensor([1.0, 0.0, 0.0])
    picture[10:24, 15] = torch.tensor([0.5, 0.0, 0.5])
    found = outlined(disparity, picture)
    expected = disparity.clone()
    expected[10:24, 15] = 0.8
    assert_close(found, expected)
    flat = torch.full((HEIGHT, WIDTH), 0.4)
    assert torch.equal(outlined(flat, picture), flat)


@pytest.mark.parametrize("spacing", ["even", "fitted"])
def test_planes_stand_between_the_nearest_and_the_farthest(generator, spacing):
    disparity = 3 * (0.1 + 0.8 * torch.rand(40, 30, generator=generator).square())
    image = torch.rand(40, 30, 3, generator=generator)
    stops = plane_disparities(disparity, image, 9, spacing)
    assert bool((stops.diff() < 0).all())
    if spacing == "even":
        assert float(stops[0]) == float(disparity.max()) and float(stops[-1]) == float(disparity.min())
        assert_close(stops.diff(), stops.diff()[:1].expand(8), atol=1e-5, rtol=0)
    else:  # which is nearer to what is there
        assert disparity.min() < stops[-1] and stops[0] < disparity.max()
        even = plane_disparities(disparity, image, 9, "even")
        off, before = (
            (disparity[..., None] - each).abs().amin(dim=-1).square().mean() for each in (stops, even)
        )
        assert float(off) < 0.8 * float(before)
        bare = image.clone()
        bare[(disparity > 1).any(dim=1)] = 0.5  # and fitted to what has texture
        assert not torch.equal(plane_disparities(disparity, bare, 9, spacing), stops)


@pytest.mark.parametrize("spacing", ["even", "fitted"])
def test_a_picture_of_one_disparity_has_planes_too(spacing):
    stops = plane_disparities(torch.full((4, 4), 0.3), torch.zeros(4, 4, 3), 5, spacing)
    assert bool((stops.diff() < 0).all()) and stops.tolist() == pytest.approx([0.3] * 5, abs=1.1e-3)


def test_shares_are_linear_between_planes_and_add_up_to_one(generator):
    disparity = torch.rand(6, 7, generator=generator)
    stops = torch.tensor([0.9, 0.5, 0.4, 0.05])
    shares = plane_shares(disparity, stops)
    assert_close(shares.sum(dim=0), torch.ones(6, 7))
    assert int((shares > 0).sum(dim=0).max()) <= 2 and bool((shares >= 0).all())
    assert_close((shares * stops[:, None, None]).sum(dim=0), disparity.clamp(0.05, 0.9))


def test_distances_are_those_of_a_slow_loop(generator):
    seeds = torch.rand(13, 17, generator=generator) > 0.95
    found = distance_to(seeds, 13)
    for y in range(13):
        for x in range(17):
            truth = min(math.hypot(y - a, x - b) for a, b in seeds.nonzero().tolist())
            assert float(found[y, x]) == pytest.approx(truth, abs=1e-4)
    near = distance_to(seeds, 2)
    assert_close(near[found <= 2], found[found <= 2])
    assert not bool(distance_to(torch.zeros(4, 4, dtype=torch.bool), 9).isfinite().any())


def test_colours_flow_in_and_never_out_of_their_range(generator):
    colours = torch.rand(2, 3, 19, 30, generator=generator)
    weights = (torch.rand(2, 1, 19, 30, generator=generator) > 0.9).float()
    filled = flowed_in(colours, weights)
    known = weights.expand_as(colours) > 0
    assert_close(filled[known], colours[known])
    for plane in range(2):
        for channel in range(3):
            values = colours[plane, channel][weights[plane, 0] > 0]
            assert float(filled[plane, channel].min()) >= float(values.min()) - 1e-5
            assert float(filled[plane, channel].max()) <= float(values.max()) + 1e-5
    one = flowed_in(torch.full((1, 3, 19, 30), 0.3), weights[:1])
    assert_close(one, torch.full((1, 3, 19, 30), 0.3))
    assert_close(flowed_in(colours, torch.zeros_like(weights)), torch.full_like(colours, 0.5))


def test_mixed_colours_beside_an_edge_do_not_flow():
    """A wall of blue whose pixels beside the red box are purple: under the box it is blue."""
    disparity = box_before_wall()
    picture = torch.tensor([0.0, 0.0, 1.0]).repeat(HEIGHT, WIDTH, 1)
    near = beside_nearer(disparity, torch.tensor([0.8, 0.2]))
    assert not bool(near[0].any()) and bool(near[1, 17, 14]) and not bool(near[1, 17, 13])
    picture[near[1]] = torch.tensor([0.5, 0.0, 0.5])
    picture[disparity > 0.5] = torch.tensor([1.0, 0.0, 0.0])
    made = layered(picture, disparity, CAMERA, 8)
    red, _, blue = made.rgb[-1, :, 12:22, 18:30].flatten(1)
    assert float(blue.min()) > 0.98 and float(red.max()) < 0.02


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"disparity": torch.ones(3, 4)}, r"disparity is \(3, 4\), the picture \(32, 48\)"),
        ({"disparity": torch.full((HEIGHT, WIDTH), math.nan)}, "not finite"),
        ({"planes": 1}, "planes must be at least 2, got 1"),
    ],
)
def test_what_makes_no_layers_is_refused(wrong, message):
    given = {"disparity": box_before_wall(), "planes": 4} | wrong
    with pytest.raises(ValueError, match=message):
        layered(torch.rand(HEIGHT, WIDTH, 3), given["disparity"], CAMERA, given["planes"])


@pytest.mark.parametrize("name", ["cones", "teddy"])
def test_the_other_eye_of_a_stereo_pair_is_met_better_than_by_the_picture_itself(name, test_data):
    """Middlebury 2003, disparities of one eye given: the other's picture, at its whole baseline."""
    from scenes.images import read_image

    folder = test_data / "stereo" / name
    left, right = (read_image(folder / f"im{n}.png")[..., :3].float() / 255 for n in (2, 6))
    pixels = known_everywhere(disparities(folder / "disp2.pgm"))
    height, width = pixels.shape
    camera = Cameras.from_fov(torch.eye(4), width, height, 65)
    pose = torch.eye(4)
    pose[0, 3] = float(pixels.max() / camera.fx)
    made = layered(left, pixels / pixels.max(), camera)
    seen = render(made, replace(camera, camera_to_world=pose)).rgb
    inner = (slice(height // 20, -height // 20), slice(width // 20, -width // 20))
    still, moved = (float(psnr(picture[inner], right[inner])) for picture in (left, seen))
    assert still < 13 and moved > 23, f"{name}: {moved:.2f} dB"


def disparities(path) -> torch.Tensor:
    """Pixels, 0 where unknown; 8 bits in quarters of them."""
    import numpy as np
    from PIL import Image

    return torch.from_numpy(np.array(Image.open(path))).float() / 4


def known_everywhere(disparity: torch.Tensor) -> torch.Tensor:
    """Where nothing is known, the farther of what stands left and right of it in its row."""
    column = torch.arange(disparity.shape[1]).expand_as(disparity)
    left = torch.where(disparity > 0, column, -1).cummax(dim=1).values
    right = -torch.where(disparity > 0, -column, -column.shape[1]).flip(1).cummax(dim=1).values.flip(1)
    ends = torch.nn.functional.pad(disparity, (0, 1), value=math.inf)  # -1, too, is what lies beyond
    return torch.minimum(ends.gather(1, left % ends.shape[1]), ends.gather(1, right))
