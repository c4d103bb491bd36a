"""Marching through nested cubes with steps that grow: the definition, and the kernels against it."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from fields.kernels.march import Spacing, clip_to_cube, march
from fields.kernels.occupancy import (
    levels_at,
    lookup_bits,
    occupancy_bits,
    occupancy_bits_reference,
    pack_bits,
    unpack_bits,
)
from tests.fields.kernels.equality import assert_identical

SPACING = Spacing(step=0.01, growth=1 / 64, near=0.02)


def random_bits(resolution, levels, generator, share=0.2):
    """Of a random density grid, so that larger grids hold what the finer ones do."""
    density = torch.rand(levels * resolution, resolution, resolution, generator=generator)
    return occupancy_bits_reference(density, 1 - share)


def rays_inside(count, generator):
    origins = torch.rand(count, 3, generator=generator)
    directions = F.normalize(torch.randn(count, 3, generator=generator), dim=-1)
    return origins, directions, torch.rand(count, generator=generator)


# The definition


def test_places_and_distances_undo_each_other():
    t = torch.logspace(-4, 4, 500, dtype=torch.float64)
    for spacing in (SPACING, Spacing(0.3), Spacing(0.004, 1 / 256)):
        assert_close(spacing.distance(spacing.place(t)), t)


def test_neighbouring_places_are_one_length_apart():
    """From place(t) - 1/2 to place(t) + 1/2 it is max(step, growth t), to second order in growth."""
    t = torch.logspace(-1, 3, 300, dtype=torch.float64)
    place = SPACING.place(t)
    apart = SPACING.distance(place + 0.5) - SPACING.distance(place - 0.5)
    assert_close(apart, SPACING.length(t), rtol=SPACING.growth, atol=0)
    assert float(apart[0]) == pytest.approx(SPACING.step)


def test_a_full_grid_keeps_every_place_from_near_to_the_end_of_the_largest_cube():
    bits = torch.full((3, 1, 1), -1, dtype=torch.int64)  # cubes of side 1, 2 and 4
    origins, directions = torch.tensor([[0.5, 0.5, 0.5]]), torch.tensor([[0.0, 1.0, 0.0]])
    out = march(origins, directions, torch.tensor([0.25]), bits, 0.1, growth=0.5, near=0.05)
    expected, place = [], 0.05 / 0.1 + 0.25
    while True:  # t* = 0.2, place(t*) = 2
        t = 0.1 * place if place <= 2 else 0.2 * math.exp(0.5 * place - 1)
        if t >= 2:
            break
        expected.append(t)
        place += 1
    assert_close(out.distances, torch.tensor(expected))
    assert len(expected) > 5


def test_the_level_is_the_smallest_cube_around_a_point():
    points = torch.tensor([[0.5, 0.5, 0.5], [1.0, 0.0, 0.3], [1.01, 0.5, 0.5], [0.5, -0.5, 0.5], [0.5, 9, 0]])
    assert levels_at(points, 3).tolist() == [0, 0, 1, 1, 2]


def test_a_point_is_looked_up_in_the_cell_of_its_level():
    occupied = torch.zeros(2 * 8, 8, 8, dtype=torch.bool)
    occupied[8 + 4, 1, 7] = True  # level 1: cells of side 1/4 from -0.5 on
    bits = pack_bits(occupied)
    middle = torch.tensor([7.5, 1.5, 4.5]) / 4 - 0.5
    around = middle + torch.tensor([[0.0, 0, 0], [0.12, 0.12, -0.12], [-0.26, 0, 0], [0, 0.26, 0]])
    assert lookup_bits(bits, around).tolist() == [True, True, False, False]


@pytest.mark.parametrize("backend", ["reference", "kernels"])
def test_a_larger_cell_is_occupied_where_anything_in_it_is(backend, generator):
    """By a loop over cells; a skipped block of a large grid may hide nothing of a fine one."""
    density = torch.rand(3 * 8, 8, 8, generator=generator)
    cells = unpack_bits(occupancy_bits(density, 0.97, backend)).view(3, 8, 8, 8)
    own = (density > 0.97).view(3, 8, 8, 8)
    expected = own.clone()
    for level in (1, 2):
        for z in range(8):
            for y in range(8):
                for x in range(8):
                    if expected[level - 1, z, y, x]:
                        expected[level, 2 + z // 2, 2 + y // 2, 2 + x // 2] = True
    assert torch.equal(cells, expected)
    assert not torch.equal(expected, own), "or nothing was handed up"


# The kernels


def key(rays, marched, bits, spacing):
    """(ray, number of the place since it began), in double precision."""
    origins, directions, jitter = (x.double() for x in rays)
    largest = 2.0 ** (bits.shape[0] // bits.shape[1] - 1)
    near, _ = clip_to_cube((origins - 0.5) / largest + 0.5, directions / largest)
    first = spacing.place(near.clamp(min=spacing.near)) + jitter
    ray = torch.arange(len(origins)).repeat_interleave(marched.ray_start.diff())
    place = spacing.place(marched.distances.double()) - first[ray]
    assert (place - place.round()).abs().max() < 0.02
    return ray * 2**32 + place.round().long(), ray


def compare(rays, bits, spacing):
    arguments = *rays, bits, spacing.step
    actual = march(*arguments, "kernels", growth=spacing.growth, near=spacing.near)
    expected = march(*arguments, growth=spacing.growth, near=spacing.near)
    assert actual.ray_start[-1] == len(actual.distances)
    keys, ray = key(rays, actual, bits, spacing)
    expected_keys, expected_ray = key(rays, expected, bits, spacing)
    here, there = torch.isin(keys, expected_keys), torch.isin(expected_keys, keys)
    assert_close(actual.distances[here], expected.distances[there], rtol=1e-5, atol=1e-6)
    # The others graze the face of a cell, or the end of the cube: moved by a hair they change sides.
    for marched, odd, of in ((actual, ~here, ray), (expected, ~there, expected_ray)):
        assert grazes(rays, marched.distances[odd], of[odd], bits).all()
    assert int((~here).sum() + (~there).sum()) <= 0.01 * len(keys) + 5
    rising = actual.distances.diff()[ray[1:] == ray[:-1]]
    assert (rising > 0).all()
    return len(keys)


def grazes(rays, distances, ray, bits):
    t = distances.double()[:, None] * torch.linspace(1 - 3e-5, 1 + 3e-5, 9).double()
    points = rays[0][ray, None].double() + t[..., None] * rays[1][ray, None].double()
    found = lookup_bits(bits, points)
    half = 2.0 ** (bits.shape[0] // bits.shape[1] - 2)
    reach = (points - 0.5).abs().amax(-1) / half
    return (found.any(-1) & ~found.all(-1)) | (((reach - 1).abs() < 1e-4).any(-1))


@pytest.mark.parametrize("spacing", [SPACING, Spacing(0.02), Spacing(0.003, 1 / 256, 0.1)])
@pytest.mark.parametrize(("resolution", "levels"), [(4, 3), (32, 2), (64, 5), (128, 1)])
def test_kernels_keep_the_same_samples(instruction_set, resolution, levels, spacing, generator):
    if levels == 1 and not spacing.growth:
        spacing = Spacing(spacing.step, 0.0, 0.05)
    bits = random_bits(resolution, levels, generator, 0.02 if 8 < resolution < 128 else 0.3)
    assert compare(rays_inside(60, generator), bits, spacing) > 50


def test_kernels_skip_empty_blocks_without_losing_a_cell(instruction_set, generator):
    """A few occupied cells in each of six grids, and rays through them."""
    occupied = torch.zeros(6, 64, 64, 64)
    cells = torch.randint(0, 64, (60, 4), generator=generator)
    cells[:, 0] %= 6
    occupied[tuple(cells.T)] = 1
    bits = occupancy_bits_reference(occupied.flatten(0, 1), 0.5)
    middle = (cells[:, [3, 2, 1]] + 0.5) / 64
    targets = ((middle - 0.5) * 2.0 ** cells[:, :1] + 0.5).repeat(10, 1)
    origins = torch.rand(600, 3, generator=generator)
    rays = origins, F.normalize(targets - origins, dim=-1), torch.rand(600, generator=generator)
    assert compare(rays, bits, SPACING) > 600


def test_kernels_take_rays_along_axes_and_from_outside(instruction_set, generator):
    directions = torch.cartesian_prod(*[torch.tensor([-1.0, -0.0, 0.0, 1.0])] * 3)
    directions = F.normalize(directions[directions.abs().sum(-1) > 0], dim=-1)
    places = torch.cartesian_prod(*[torch.tensor([-7.3, -0.21, 0.37, 2.03])] * 3)
    origins = places.repeat_interleave(len(directions), 0)
    rays = origins, directions.repeat(len(places), 1), torch.rand(len(origins), generator=generator)
    compare(rays, random_bits(8, 3, generator, 0.3), SPACING)


def test_kernels_give_the_same_bits_on_any_number_of_threads(instruction_set, with_threads, generator):
    rays, bits = rays_inside(2000, generator), random_bits(32, 4, generator, 0.02)

    def run():
        return list(march(*rays, bits, SPACING.step, "kernels", growth=SPACING.growth, near=SPACING.near))

    first = run()
    for threads in (1, 2, 5):
        assert_identical(with_threads(threads, run), first)


@pytest.mark.parametrize("backend", ["reference", "kernels"])
def test_wrong_spacings_and_grids_are_named(backend, generator):
    rays, bits = rays_inside(3, generator), random_bits(8, 2, generator)
    with pytest.raises(ValueError, match=r"growth must lie in \[0, 1\)"):
        march(*rays, bits, 0.1, backend, growth=1.0)
    with pytest.raises(ValueError, match=r"bits is torch\.int64 \(3, 2, 2\)"):
        march(*rays, bits[:3], 0.1, backend)
