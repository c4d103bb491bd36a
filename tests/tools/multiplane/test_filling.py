"""Filled holes, against loops over pixels, Laplace's equation, and what lies behind."""

import itertools

import pytest
import torch
from torch.testing import assert_close

from tools.multiplane.filling import BEHIND, behind, fill, nearest_fill, nearest_known


def random_mask(generator, share, size=(13, 17)):
    mask = torch.rand(size, generator=generator) < share
    mask[tuple(torch.randint(n, (), generator=generator) for n in size)] = False
    return mask


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99, 1.0])
def test_nearest_is_nearest_of_all(generator, share):
    """Distances to the pixel that was found, against those to every pixel that could have been."""
    mask = random_mask(generator, share)
    found = nearest_known(mask)
    known = (~mask).nonzero()
    for row, column in itertools.product(range(13), range(17)):
        number = int(found[row, column])
        assert not mask.flatten()[number]
        distance = (number // 17 - row) ** 2 + (number % 17 - column) ** 2
        assert distance == int((known - torch.tensor([row, column])).square().sum(dim=-1).min())


def test_nearest_fill_takes_whole_values_and_leaves_the_others(generator):
    values, mask = torch.rand(13, 17, 3, generator=generator), random_mask(generator, 0.6)
    filled = nearest_fill(torch.where(mask[..., None], torch.nan, values), mask)
    assert torch.equal(filled[~mask], values[~mask])
    known = {tuple(colour) for colour in values[~mask].tolist()}
    assert all(tuple(colour) in known for colour in filled[mask].tolist())


def smooth(generator, size=(20, 30)):
    """Colours and a disparity that hardly changes: all of it lies behind."""
    rgb = torch.rand(*size, 3, generator=generator, dtype=torch.float64)
    disparity = torch.full(size, 0.5, dtype=torch.float64)
    disparity[0, 0] = 1.0
    return rgb, disparity


def test_only_masked_pixels_change_and_what_they_held_does_not_matter(generator):
    rgb, disparity = smooth(generator)
    mask = random_mask(generator, 0.3, (20, 30))
    one = fill(rgb, disparity, mask)
    hidden = torch.where(mask, torch.nan, 0.0)
    other = fill(rgb + hidden[..., None], disparity + hidden, mask)
    for a, b, given in zip(one, other, (rgb, disparity), strict=True):
        assert torch.equal(a, b) and torch.equal(a[~mask], given[~mask])
        assert a.dtype == given.dtype and a.isfinite().all()


def test_masked_pixels_are_the_mean_of_their_neighbours(generator):
    """Three at the side of the picture, two in its corners."""
    rgb, disparity = smooth(generator)
    mask = torch.zeros(20, 30, dtype=torch.bool)
    mask[5:12, 7:20] = mask[14:, 24:] = mask[17:, :9] = True
    filled, _ = fill(rgb, disparity, mask)
    for row, column in mask.nonzero().tolist():
        around = [(row + y, column + x) for y, x in ((0, 1), (1, 0), (0, -1), (-1, 0))]
        around = [filled[place] for place in around if 0 <= place[0] < 20 and 0 <= place[1] < 30]
        assert_close(filled[row, column], torch.stack(around).mean(dim=0), rtol=0, atol=2e-3)


def test_a_slope_is_carried_on(generator):
    """Linear colours and disparity solve Laplace's equation: a hole of little depth is filled exactly."""
    y, x = torch.meshgrid(torch.arange(20.0), torch.arange(30.0), indexing="ij")
    rgb = torch.stack((0.02 * x, 0.03 * y, 0.3 + 0.01 * x - 0.01 * y), dim=-1).double()
    disparity = (0.1 + 0.002 * x + 0.001 * y).double()
    disparity[0, 0] = 1.0
    mask = torch.zeros(20, 30, dtype=torch.bool)
    mask[8:11, 12:15] = True
    filled, depth = fill(rgb, disparity, mask)
    assert_close(filled, rgb, rtol=0, atol=1e-3)
    assert_close(depth, disparity, rtol=0, atol=1e-3)


def before_a_wall(hole):
    """A red thing, nearer, before a blue wall, and a hole between the two or around."""
    disparity = torch.full((24, 32), 0.2)
    disparity[8:16, 10:18] = 0.9
    rgb = torch.tensor([0.0, 0.0, 1.0]).expand(24, 32, 3).clone()
    rgb[8:16, 10:18] = torch.tensor([1.0, 0.0, 0.0])
    mask = torch.zeros(24, 32, dtype=torch.bool)
    mask[hole] = True
    return rgb, disparity, mask


@pytest.mark.parametrize(
    "hole",
    [
        (slice(8, 16), slice(18, 24)),  # beside the thing, as a camera that moves aside uncovers
        (slice(8, 16), slice(4, 10)),
        (slice(16, 20), slice(10, 18)),  # below it
        (slice(6, 16), slice(16, 22)),  # around its corner, and over a part of it
    ],
)
def test_what_comes_to_light_beside_a_thing_is_the_wall_behind(hole):
    rgb, disparity, mask = before_a_wall(hole)
    rgb[mask], disparity[mask] = 0.5, 0.0
    filled, depth = fill(rgb, disparity, mask)
    assert_close(filled[mask], torch.tensor([0.0, 0.0, 1.0]).expand(int(mask.sum()), 3), rtol=0, atol=1e-3)
    assert_close(depth[mask], torch.full((int(mask.sum()),), 0.2), rtol=0, atol=1e-3)
    assert nearest_fill(rgb, mask)[mask][:, 0].max() == 1


def test_a_hole_that_runs_down_to_the_side_of_the_picture_is_still_beside_a_thing():
    """A narrow one: its rows end on both sides, if its columns do not."""
    rgb, disparity, mask = before_a_wall((slice(8, 24), slice(18, 22)))
    rgb[8:24, 10:18], disparity[8:24, 10:18] = torch.tensor([1.0, 0.0, 0.0]), 0.9
    filled, _ = fill(rgb, disparity, mask)
    assert filled[mask][:, 0].max() < 1e-3


def test_beyond_the_picture_s_side_things_go_on(generator):
    """Left of everything nothing encloses the hole: what is near goes on there as the wall does."""
    rgb, disparity, mask = before_a_wall((slice(None), slice(0, 10)))
    filled, depth = fill(rgb, disparity, mask)
    assert filled[11, 9, 0] > 0.6 and depth[11, 9] > 0.6
    assert filled[2, 9, 2] > 0.6 and filled[22, 9, 2] > 0.6
    assert behind(disparity, mask)[mask].isinf().all()


def test_what_lies_behind_is_the_farthest_end_of_row_and_column():
    disparity = torch.tensor([[9.0, 5.0, 9.0], [7.0, 0.0, 6.0], [9.0, 8.0, 9.0]])
    mask = torch.zeros(3, 3, dtype=torch.bool)
    mask[1, 1] = True
    assert behind(disparity, mask)[1, 1] == 5
    mask[0, 1] = True  # the column is longer now, and open
    assert behind(disparity, mask)[1, 1] == 6
    assert behind(disparity, mask)[0, 1] == 9
    mask[1] = True  # the row is longer now, and open at both ends: the column is open, too
    assert behind(disparity, mask)[1, 1] == torch.inf


def test_scale_and_shift_of_disparity_do_not_matter(generator):
    rgb, disparity, mask = before_a_wall((slice(6, 16), slice(16, 22)))
    disparity = disparity + BEHIND / 2 * torch.rand(24, 32, generator=generator)
    filled, depth = fill(rgb, disparity, mask)
    again, scaled = fill(rgb, 40 * disparity + 3, mask)
    assert_close(filled, again, rtol=0, atol=1e-4)
    assert_close(scaled, 40 * depth + 3, rtol=1e-4, atol=0)


def test_values_stay_between_those_that_are_known(generator):
    rgb, disparity = smooth(generator)
    rgb = rgb.round()
    mask = random_mask(generator, 0.8, (20, 30))
    filled, depth = fill(rgb, disparity, mask)
    assert filled.min() >= 0 and filled.max() <= 1 and depth.min() >= 0.5 and depth.max() <= 1


def test_nothing_to_fill_and_nothing_to_fill_from(generator):
    rgb, disparity = smooth(generator)
    none = torch.zeros(20, 30, dtype=torch.bool)
    filled, depth = fill(rgb, disparity, none)
    assert torch.equal(filled, rgb) and torch.equal(depth, disparity)
    assert torch.equal(nearest_fill(rgb, none), rgb)
    for call in (lambda: fill(rgb, disparity, ~none), lambda: nearest_fill(rgb, ~none)):
        with pytest.raises(ValueError, match="mask holds all 30 x 20 pixels; none is left to fill them from"):
            call()
    disparity[3, 4] = torch.inf
    with pytest.raises(ValueError, match="disparity is not finite outside of the mask"):
        fill(rgb, disparity, none)
