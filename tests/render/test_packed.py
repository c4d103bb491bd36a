import pytest
import torch
from torch.testing import assert_close

from render.packed import (
    Samples,
    pack,
    segment_exclusive_sum,
    segment_position,
    segment_sum,
    unpack,
)


def ragged(lengths, seed=0, dtype=torch.float64):
    """Random values of rays with these many samples, and their ray index."""
    ray_index = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths, dtype=torch.int64))
    values = torch.rand(len(ray_index), generator=torch.Generator().manual_seed(seed), dtype=dtype)
    return values, ray_index


RAGGED = [[], [0], [1], [5], [0, 3, 0, 0, 7, 1, 0], [64, 1, 63, 65], [0, 1000, 2]]


@pytest.mark.parametrize("lengths", RAGGED)
def test_scan_and_sum_match_a_loop_over_rays(lengths):
    values, ray_index = ragged(lengths)
    parts = values.split(lengths)
    before = torch.cat([values[:0], *(part.cumsum(0) - part for part in parts)])
    assert_close(segment_exclusive_sum(values, ray_index), before)
    sums = torch.stack([values.new_zeros(()), *(part.sum() for part in parts)])[1:]
    assert_close(segment_sum(values, ray_index, len(lengths)), sums)


def test_scan_does_not_cancel():
    """1e-6 after a ray of 1e9 is still 1e-6: the sum of one ray never meets another's."""
    values = torch.tensor([1e9, 1e9, 1e-6, 1e-6, 1e-6])
    scanned = segment_exclusive_sum(values, torch.tensor([0, 0, 1, 1, 1]))
    assert_close(scanned[2:], torch.tensor([0.0, 1e-6, 2e-6]), rtol=1e-6, atol=0)


def test_infinity_stays_in_its_ray():
    scanned = segment_exclusive_sum(torch.tensor([torch.inf, 1.0, 2.0, 3.0]), torch.tensor([0, 0, 1, 1]))
    assert scanned.tolist() == [0, torch.inf, 0, 2]


@pytest.mark.parametrize("lengths", RAGGED)
def test_pack_undoes_unpack(lengths):
    values, ray_index = ragged(lengths)
    dense, keep = unpack(values, ray_index, len(lengths), fill=-1.0)
    assert torch.equal(pack(dense, keep), values)
    assert (dense[~keep] == -1).all()
    assert keep.sum(-1).tolist() == lengths


@pytest.mark.parametrize("lengths", RAGGED)
def test_ray_starts_and_ray_index_say_the_same(lengths):
    values, ray_index = ragged(lengths)
    samples = Samples(ray_index, values, values + 1, len(lengths))
    assert samples.ray_start.diff().tolist() == lengths
    again = Samples.from_ray_start(samples.ray_start, samples.t_start, samples.t_end)
    assert torch.equal(again.ray_index, ray_index) and again.rays == samples.rays
    assert segment_position(ray_index).tolist() == [i for length in lengths for i in range(length)]


def test_scan_has_the_gradient_of_its_reverse():
    values, ray_index = ragged([0, 3, 1, 5, 0])
    assert torch.autograd.gradcheck(lambda v: segment_exclusive_sum(v, ray_index), values.requires_grad_())
