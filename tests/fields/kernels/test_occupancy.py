import pytest
import torch

from fields.kernels.occupancy import (
    check_cube,
    lookup_bits,
    occupancy_bits,
    occupancy_bits_op,
    pack_bits,
    unpack_bits,
)
from tests.fields.kernels.equality import assert_identical


@pytest.mark.parametrize("resolution", [4, 8, 20, 64])
def test_bits_hold_every_cell(resolution, device, generator):
    """Round trip, the sign bit included."""
    occupied = (torch.rand(*[resolution] * 3, generator=generator) < 0.5).to(device)
    bits = pack_bits(occupied)
    assert bits.shape == (resolution // 4,) * 3
    assert torch.equal(unpack_bits(bits), occupied)
    assert torch.equal(pack_bits(unpack_bits(bits)), bits)


def test_a_cell_has_the_bit_that_the_layout_says():
    """Each cell of an 8^3 grid alone: one word, one bit, x fastest in both."""
    for x, y, z in torch.cartesian_prod(*[torch.arange(8)] * 3).tolist():
        occupied = torch.zeros(8, 8, 8, dtype=torch.bool)
        occupied[z, y, x] = True
        bits = pack_bits(occupied)
        word = int(bits[z // 4, y // 4, x // 4]) % 2**64
        assert word == 1 << ((x % 4) + 4 * (y % 4) + 16 * (z % 4))
        assert bits.count_nonzero() == 1


def test_a_point_finds_its_cell_and_outside_the_nearest_one(generator):
    occupied = torch.rand(16, 16, 16, generator=generator) < 0.5
    points = torch.rand(500, 3, generator=generator) * 2 - 0.5
    x, y, z = (points * 16).floor().long().clamp(0, 15).unbind(-1)
    assert torch.equal(lookup_bits(pack_bits(occupied), points), occupied[z, y, x])


@pytest.mark.parametrize("resolution", [4, 12, 128, 256])
def test_kernels_equal_the_reference(instruction_set, resolution, generator):
    density = torch.randn(*[resolution] * 3, generator=generator)
    assert_identical([occupancy_bits(density, 0.3, "kernels")], [occupancy_bits(density, 0.3)])


def test_kernels_take_the_threshold_itself_infinities_and_no_numbers(instruction_set):
    """Above the threshold means above: not equal, not NaN."""
    density = torch.tensor([0.5, 0.50001, torch.inf, -torch.inf, torch.nan, 0.0, 1e-45, 3e38]).repeat(64)
    for threshold in (0.5, 0.0, -1.0, 1e38):
        expected = occupancy_bits(density.view(8, 8, 8), threshold)
        assert_identical([occupancy_bits(density.view(8, 8, 8), threshold, "kernels")], [expected])


def test_kernels_read_arrays_that_are_not_contiguous_on_any_number_of_threads(
    instruction_set, with_threads, generator
):
    density = torch.randn(32, 32, 32, generator=generator).permute(2, 0, 1)
    expected = [occupancy_bits(density, 0.0)]
    for threads in (1, 2, 3, 7):
        assert_identical(with_threads(threads, lambda: [occupancy_bits(density, 0.0, "kernels")]), expected)


def test_torch_accepts_the_operator(generator):
    torch.library.opcheck(occupancy_bits_op, (torch.randn(8, 8, 8, generator=generator), 0.1))


@pytest.mark.parametrize("shape", [(8, 8, 4), (6, 6, 6), (0, 0, 0), (260, 260, 260)], ids=str)
def test_a_grid_that_is_no_cube_of_words_is_refused(shape):
    """By the operator and by the check that stands before the reference."""
    for refuse in (check_cube, lambda density: occupancy_bits_op(density, 0.0)):
        with pytest.raises(ValueError, match="density has shape"):
            refuse(torch.zeros(shape))
