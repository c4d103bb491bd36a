import pytest
import torch
from torch.testing import assert_close

from render.samplers.pdf import invert_cdf, merge, sample_pdf
from tests.oracles import invert_cdf_loop


def random_histogram(rays, samples, seed=0):
    generator = torch.Generator().manual_seed(seed)
    edges = 2 + 4 * torch.rand(rays, samples + 1, generator=generator, dtype=torch.float64).sort(-1).values
    weights = torch.rand(rays, samples, generator=generator, dtype=torch.float64) ** 3
    return edges, weights * (torch.rand(rays, samples, generator=generator) < 0.7)


def shares(rays, count, dtype=torch.float64):
    return torch.linspace(0, 1, count, dtype=dtype).expand(rays, count)


def test_matches_the_slow_walk_along_the_ray():
    edges, weights = random_histogram(12, 9)
    weights[0], weights[1, 1:] = 0, 0
    found = invert_cdf(edges, weights, shares(12, 51)[:, :-1])
    expected = [
        [invert_cdf_loop(e.tolist(), w.tolist(), u) for u in shares(1, 51)[0, :-1].tolist()]
        for e, w in zip(edges, weights, strict=True)
    ]
    assert_close(found, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("scale", [0.0, 1e-8, 1.0, 1e8])
def test_monotone_and_in_range_whatever_the_weights(dtype, scale):
    edges, weights = (x.to(dtype) for x in random_histogram(200, 17))
    found = invert_cdf(edges, scale * weights, shares(200, 301, dtype))
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    assert (found.diff(dim=-1) >= -tolerance).all()
    assert (found >= edges[:, :1]).all() and (found <= edges[:, -1:] + tolerance).all()


def test_uniform_weights_give_uniform_samples(generator):
    edges = torch.linspace(2, 6, 65).expand(4, -1)
    assert_close(sample_pdf(edges, torch.full((4, 64), 0.3), 33), torch.linspace(2, 6, 33).expand(4, -1))
    drawn = sample_pdf(edges, torch.full((4, 64), 0.3), 20_000, generator)
    assert_close(
        drawn.quantile(torch.tensor([0.25, 0.5, 0.75]), dim=-1),
        torch.tensor([3.0, 4.0, 5.0])[:, None].expand(3, 4),
        atol=0.05,
        rtol=0,
    )


def test_an_empty_ray_is_sampled_evenly_in_mass_of_intervals():
    """All weights 0: the floor alone decides, every interval alike."""
    edges = torch.tensor([[0.0, 1.0, 3.0, 4.0]])
    assert_close(sample_pdf(edges, torch.zeros(1, 3), 4), edges)


def test_histogram_of_the_draws_is_that_of_the_weights(generator):
    edges, weights = random_histogram(1, 8)
    drawn = sample_pdf(edges, weights, 200_000, generator)[0]
    counts = torch.bucketize(drawn, edges[0, 1:-1].contiguous()).bincount(minlength=8)
    expected = ((weights[0] + 1e-5) / (weights[0] + 1e-5).sum()) * 200_000
    # Chi-square with 7 degrees of freedom: above 24.3 once in a thousand.
    assert ((counts - expected) ** 2 / expected).sum() < 24.3


def test_one_heavy_interval_takes_the_samples(generator):
    edges = torch.linspace(0, 1, 101)[None]
    weights = torch.zeros(1, 100)
    weights[0, 42] = 1.0
    drawn = sample_pdf(edges, weights, 10_000, generator)
    assert ((drawn >= 0.42) & (drawn <= 0.43)).float().mean() > 0.998


def test_scaling_all_weights_changes_nothing():
    edges, weights = random_histogram(20, 9)
    one = invert_cdf(edges, weights, shares(20, 40), floor=0.01)
    assert_close(invert_cdf(edges, 1e3 * weights, shares(20, 40), floor=10.0), one)


def test_round_trip_through_the_cumulative_distribution():
    edges, weights = random_histogram(1, 30)
    weights = weights + 0.05
    share = shares(1, 20)
    found = invert_cdf(edges, weights, share, floor=0.0)[0]
    mass = weights[0] / weights.sum()
    inside = ((found[:, None] - edges[0, :-1]) / edges[0].diff()).clamp(0, 1)
    assert_close((inside * mass).sum(-1), share[0])


def test_no_gradient_flows_through_the_draw(generator):
    edges, weights = random_histogram(3, 5)
    drawn = sample_pdf(edges.requires_grad_(), weights.requires_grad_(), 7, generator)
    assert not drawn.requires_grad


def test_merging_keeps_every_edge_and_point_in_order(generator):
    edges, weights = random_histogram(6, 9)
    points = sample_pdf(edges, weights, 14, generator)
    merged = merge(edges, points)
    assert (merged.diff(dim=-1) >= 0).all()
    assert torch.equal(merged, torch.cat((points, edges), -1).sort(-1).values)
    assert torch.equal(merged[:, [0, -1]], edges[:, [0, -1]])
