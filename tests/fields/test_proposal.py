"""The small density field: its place in space is the large field's, and both backends are one field."""

import math

import pytest
import torch
from torch.testing import assert_close

from fields.contraction import contract, into_unit_cube
from fields.encodings.hash_grid import HashGridSpec
from fields.ngp import NGPField, NGPSpec
from fields.proposal import ProposalField

GRID = HashGridSpec(levels=3, features=2, log2_table_size=12, base_resolution=4, finest_resolution=32)
BOX = (-1.0, 0.0, 2.0), 4.0


def built(contracted=False, backend="reference", **settings):
    generator = torch.Generator().manual_seed(3)
    field = ProposalField(
        GRID, *BOX, width=16, contracted=contracted, backend=backend, generator=generator, **settings
    )
    field.grid.table.data.mul_(1e4)  # as far from even as a trained one
    return field


def points_everywhere(count=400, spread=4.0):
    generator = torch.Generator().manual_seed(5)
    return torch.tensor([1.0, 2.0, 4.0]) + spread * torch.randn(count, 3, generator=generator)


def test_the_box_fills_the_cube_or_its_inner_half():
    low, high = torch.tensor(BOX[0]), torch.tensor(BOX[0]) + BOX[1]
    corners = torch.stack((low, high, (low + high) / 2))
    unit, side = into_unit_cube(corners, low, BOX[1], contracted=False)
    assert_close(unit, torch.tensor([[0.0], [1.0], [0.5]]).expand(3, 3))
    assert_close(side, torch.full((3,), 4.0))
    unit, side = into_unit_cube(corners, low, BOX[1], contracted=True)
    assert_close(unit, torch.tensor([[0.25], [0.75], [0.5]]).expand(3, 3))
    assert_close(side, torch.full((3,), 4.0))


def test_all_space_is_contracted_into_the_cube_and_lengths_grow_with_it():
    points, low = points_everywhere(spread=300.0), torch.tensor(BOX[0])
    unit, side = into_unit_cube(points, low, BOX[1], contracted=True)
    assert (unit >= 0).all() and (unit <= 1).all()
    inner = (points - low) / 2 - 1
    assert_close(4 * unit - 2, contract(inner))
    assert_close(side, 4 * inner.abs().amax(-1).clamp(min=1))


@pytest.mark.parametrize("contracted", [False, True])
def test_a_field_that_knows_nothing_has_the_density_of_the_large_one(contracted):
    """exp(-shift) / side in the box, beyond it nothing or less and less: one law for both."""
    small = ProposalField(GRID, *BOX, density_shift=0.7, contracted=contracted)
    large = NGPField(NGPSpec(GRID, density_shift=0.7), *BOX, contracted=contracted)
    for field in (small, large):
        field.grid.table.data.zero_()
    points = points_everywhere()
    assert_close(small(points), large.density(points))
    assert_close(small(torch.tensor([1.0, 2.0, 4.0])), torch.tensor(math.exp(-0.7) / 4))


def test_nothing_is_outside_of_the_box_unless_space_is_contracted():
    points, low = points_everywhere(), torch.tensor(BOX[0])
    outside = ((points < low) | (points > low + BOX[1])).any(dim=-1)
    assert 100 < int(outside.sum()) < 390
    assert (built()(points)[outside] == 0).all() and (built()(points)[~outside] > 0).all()
    assert (built(contracted=True)(points) > 0).all()


@pytest.mark.parametrize("contracted", [False, True])
def test_the_kernels_give_the_values_and_gradients_of_the_reference(contracted):
    fields = built(contracted), built(contracted, "kernels")
    points = points_everywhere().unflatten(0, (40, 10))
    values = [field(points) for field in fields]
    assert_close(values[1], values[0], rtol=1e-4, atol=1e-6)
    assert values[0].std() > 0.01
    wanted, found = (
        torch.autograd.grad(value.square().sum(), [field.grid.table, field.network.weights])
        for value, field in zip(values, fields, strict=True)
    )
    for one, other in zip(wanted, found, strict=True):
        assert (other - one).norm() < 1e-4 * one.norm() and one.norm() > 0
