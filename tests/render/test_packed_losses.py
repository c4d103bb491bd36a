"""Losses of packed weights against sums written out, and what they are for."""

import pytest
import torch
from torch.testing import assert_close

from render.losses import packed_depth, packed_distortion, packed_opacity


@pytest.fixture
def samples(generator):
    """Seven samples of ray 0, none of ray 1, three of ray 2."""
    t = torch.cat(
        (torch.rand(7, generator=generator).sort().values, torch.rand(3, generator=generator).sort().values)
    )
    weights = torch.rand(10, generator=generator) / 10
    return t.double(), weights.double(), torch.tensor([0] * 7 + [2] * 3)


def test_distortion_is_the_double_sum_over_each_ray(samples):
    u, weights, ray = samples
    wanted = 0.0
    for i in range(10):
        wanted += 0.05 / 3 * weights[i] ** 2
        for j in range(10):
            if ray[i] == ray[j]:
                wanted += weights[i] * weights[j] * (u[i] - u[j]).abs()
    assert_close(packed_distortion(u, weights, 0.05, ray, 3), wanted / 3)


def test_opacity_is_what_passes_every_ray(samples):
    _, weights, _ = samples
    passing = (1 - weights[:7].sum(), torch.tensor(1.0), 1 - weights[7:].sum())
    assert_close(packed_opacity(weights, 3), sum(passing) / 3)


def test_depth_is_the_mean_miss_and_what_is_missing_counts_whole(samples):
    t, weights, ray = samples
    known = torch.tensor([0.5, 0.7, 0.0]).double()
    miss = [min(abs(float(t[i]) - 0.5) / 0.5, 1) for i in range(7)]
    of_first = sum(w * m for w, m in zip(weights.tolist(), miss, strict=False)) + 1 - float(weights[:7].sum())
    assert_close(packed_depth(t, weights, known, ray), torch.tensor((of_first + 1) / 3).double())


def test_gradients_of_both(samples):
    u, weights, ray = samples
    known = torch.tensor([0.5, 0.0, 0.4]).double()
    weights = weights.requires_grad_()
    assert torch.autograd.gradcheck(lambda w: packed_distortion(u, w, 0.05, ray, 3), weights)
    assert torch.autograd.gradcheck(lambda w: packed_depth(u, w, known, ray), weights)


def test_all_weight_at_the_known_distance_costs_nothing():
    one, ray = torch.ones(1), torch.zeros(1, dtype=torch.int64)
    assert packed_depth(torch.tensor([0.3]), one, torch.tensor([0.3]), ray) == 0
    assert packed_depth(torch.tensor([0.33]), one, torch.tensor([0.3]), ray) == pytest.approx(0.1)
    assert packed_depth(torch.tensor([9.0]), one, torch.tensor([0.3]), ray) == 1
