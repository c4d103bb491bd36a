"""Proposal sampling: the maps between distances and s, the rounds, and what they must not do."""

import math
from itertools import pairwise

import pytest
import torch
from torch.testing import assert_close

from render.samplers.proposal import (
    PADDING,
    UNIFORM,
    annealing,
    distance_of_s,
    piecewise,
    points_at,
    proposal_samples,
    resample,
    s_of_distance,
)
from render.volume import midpoints
from scenes.rays import Rays
from tests.oracles import invert_cdf_loop, weights_loop

SPACINGS = {"uniform": UNIFORM, "piecewise": piecewise(1.0), "piecewise at 3": piecewise(3.0)}


def some_rays(count, dtype=torch.float64):
    generator = torch.Generator().manual_seed(7)
    directions = torch.randn(count, 3, generator=generator, dtype=dtype)
    origins = torch.randn(count, 3, generator=generator, dtype=dtype)
    return Rays(origins, directions / directions.norm(dim=-1, keepdim=True))


def histogram(rays, samples, seed=0):
    generator = torch.Generator().manual_seed(seed)
    inner = torch.rand(rays, samples - 1, generator=generator, dtype=torch.float64).sort(-1).values
    s = torch.nn.functional.pad(torch.nn.functional.pad(inner, (1, 0)), (0, 1), value=1.0)
    weights = torch.rand(rays, samples, generator=generator, dtype=torch.float64) ** 3
    return s, weights * (torch.rand(rays, samples, generator=generator) < 0.7)


@pytest.mark.parametrize("spacing", SPACINGS.values(), ids=SPACINGS)
def test_distances_come_back_from_s_and_rise_with_it(spacing):
    near, far = torch.tensor([0.0, 0.05, 2.0]).double(), torch.tensor([0.5, 1000.0, 6.0]).double()
    s = torch.linspace(0, 1, 301, dtype=torch.float64).expand(3, -1)
    distances = distance_of_s(s, near, far, spacing)
    assert_close(distances[:, 0], near)
    assert_close(distances[:, -1], far)
    assert (distances.diff(dim=-1) > 0).all()
    assert_close(s_of_distance(distances, near, far, spacing), s)


def test_float32_keeps_the_far_end_in_order():
    """At a thousand units the inverse distance has few bits left: coarse, but never out of order."""
    near, far = torch.tensor([0.05]), torch.tensor([1000.0])
    distances = distance_of_s(torch.linspace(0, 1, 2000)[None], near, far, piecewise(1.0))
    assert (distances.diff(dim=-1) > 0).all()
    assert_close(distances[:, -1], far, rtol=1e-3, atol=0)


def test_piecewise_is_even_in_distance_and_then_in_its_inverse():
    near, far = torch.zeros(1).double(), torch.full((1,), 1e9).double()
    s = torch.linspace(0, 1, 21, dtype=torch.float64)[None, :-1]
    distances = distance_of_s(s, near, far, piecewise(2.0))[0]
    turn = s_of_distance(torch.tensor([[2.0]]).double(), near, far, piecewise(2.0))
    assert_close(turn, torch.full_like(turn, 0.5), atol=1e-8, rtol=0)
    even, inverse = distances[:11].diff(), (1 / distances[10:]).diff()
    assert_close(even, torch.full_like(even, 0.2), rtol=1e-6, atol=0)
    assert_close(inverse, torch.full_like(inverse, -0.05), rtol=1e-6, atol=0)


def test_piecewise_has_one_value_and_slope_at_its_turn():
    curve = piecewise(3.0).curve
    at = torch.tensor([3 - 1e-7, 3 + 1e-7], dtype=torch.float64, requires_grad=True)
    value = curve(at)
    (slope,) = torch.autograd.grad(value.sum(), at)
    assert_close(value, torch.full_like(value, 0.5), atol=1e-7, rtol=0)
    assert_close(slope, torch.full_like(slope, 1 / 6), atol=1e-7, rtol=0)


def test_annealing_is_schlicks_bias():
    """From 0 to 1, with slope 10 at first and 1 / 10 at last; held beyond both ends."""
    assert [annealing(x) for x in (-1.0, 0.0, 1.0, 7.0)] == [0, 0, 1, 1]
    assert annealing(1e-6) == pytest.approx(1e-5, rel=1e-4)
    assert 1 - annealing(1 - 1e-6) == pytest.approx(1e-7, rel=1e-4)
    assert annealing(0.5) == pytest.approx(10 / 11)
    assert all(annealing(x, slope=1.0) == pytest.approx(x) for x in (0.2, 0.9))


@pytest.mark.parametrize("scale", [0.0, 1e-8, 1.0, 1e8])
def test_intervals_fill_the_way_in_order_whatever_the_weights(dtype, scale, generator):
    s, weights = (x.to(dtype) for x in histogram(400, 33))
    weights[0], weights[1, 5:] = 0, 0
    for draw in (None, generator):
        drawn = resample(s, scale * weights, 48, generator=draw)
        assert (drawn.diff(dim=-1) >= 0).all()
        assert (drawn[:, 0] == 0).all() and (drawn[:, -1] == 1).all()


def test_intervals_hold_as_much_padded_weight_each():
    """Read back through the cumulative weight of the histogram that they were drawn from."""
    s, weights = histogram(30, 12)
    drawn = resample(s, weights, 9)
    mass = weights + PADDING
    cumulative = torch.nn.functional.pad((mass / mass.sum(-1, keepdim=True)).cumsum(-1), (1, 0))
    for ray in range(30):
        for i, value in enumerate(drawn[ray].tolist()):
            k = min(sum(edge <= value for edge in s[ray].tolist()) - 1, 11)
            inside = (value - s[ray, k]) / (s[ray, k + 1] - s[ray, k])
            share = cumulative[ray, k] + inside * (cumulative[ray, k + 1] - cumulative[ray, k])
            assert float(share) == pytest.approx(i / 9, abs=1e-9)


def test_annealed_weights_are_powers_of_the_weights():
    s, weights = histogram(20, 12)
    assert_close(resample(s, weights, 9, anneal=0.3), resample(s, weights**0.3, 9))
    even = torch.linspace(0, 1, 13, dtype=torch.float64).expand(20, -1)
    assert_close(resample(even, weights, 12, anneal=0.0), even)


def test_drawn_intervals_differ_and_keep_their_mean(generator):
    """Each inner edge is uniform in its own bin of the weight; the bins are centred on the even ones."""
    s, weights = (x[:1] for x in histogram(1, 4))
    weights[:] = s.diff(dim=-1)  # so that shares are s, but for the padding
    drawn = resample(s.expand(20_000, -1), weights.expand(20_000, -1), 5, padding=0.0, generator=generator)
    assert_close(drawn.mean(0), torch.linspace(0, 1, 6).double(), atol=5e-3, rtol=0)
    assert_close(drawn[:, 1:-1].std(0), torch.full((4,), 0.2 / math.sqrt(12)).double(), atol=2e-3, rtol=0)


def shell(points):
    """Density of a thin opaque shell of radius 5 about the origin."""
    return 40.0 * (points.norm(dim=-1) - 5).abs().lt(0.1).to(points.dtype)


def test_two_rounds_are_the_slow_loops():
    """One ray at a time and one number at a time, from the papers' formulas."""
    rays, near, far = some_rays(6), torch.full((6,), 0.5).double(), torch.full((6,), 9.0).double()

    def density(points):
        return (points.sin().sum(-1) + 1.2).clamp(min=0)

    found = proposal_samples(
        rays, near, far, [density, density], (7, 6, 5), UNIFORM, anneal=0.6, padding=1e-5
    )
    for ray in range(6):
        s = [i / 7 for i in range(8)]
        for histogram_seen, count in zip(found.proposals, (6, 5), strict=True):
            t = [0.5 + 8.5 * x for x in s]
            middles = torch.tensor([(a + b) / 2 for a, b in pairwise(t)], dtype=torch.float64)
            densities = density(rays.origins[ray] + middles[:, None] * rays.directions[ray]).tolist()
            weights = weights_loop(densities, [b - a for a, b in pairwise(t)])
            assert_close(histogram_seen.s[ray].tolist(), s)
            assert_close(histogram_seen.weights[ray].tolist(), weights)
            annealed = [w**0.6 for w in weights]
            s = [0.0, *(invert_cdf_loop(s, annealed, i / count) for i in range(1, count)), 1.0]
        assert_close(found.s[ray].tolist(), s)
        assert_close(found.edges[ray].tolist(), [0.5 + 8.5 * x for x in s])


@pytest.mark.parametrize("spacing", [UNIFORM, piecewise(1.0)], ids=["uniform", "piecewise"])
def test_samples_gather_where_the_proposals_see_something(spacing, generator):
    """Of 48 last intervals nearly all touch the shell, which takes up less than a tenth of the way."""
    rays = some_rays(50)
    near, far = torch.full((50,), 0.1).double(), torch.full((50,), 20.0).double()
    for draw in (None, generator):
        found = proposal_samples(
            rays, near, far, [shell, shell], (256, 96, 48), spacing, padding=1e-4, generator=draw
        )
        radius = points_at(rays, found.edges).norm(dim=-1)
        at_shell = ((radius[:, :-1] < 5.1) & (radius[:, 1:] > 4.9)).double().mean(dim=-1)
        assert at_shell.mean() > 0.9
        assert_close(s_of_distance(found.distances, near, far, spacing), midpoints(found.s))
        assert_close(s_of_distance(found.edges, near, far, spacing), found.s)


def test_only_the_weights_have_a_gradient():
    rays, near, far = some_rays(4), torch.zeros(4).double(), torch.ones(4).double()
    strength = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    found = proposal_samples(
        rays, near, far, [lambda p: strength * p.square().sum(-1)] * 2, (8, 8, 8), UNIFORM
    )
    assert not any(x.requires_grad for x in (found.s, found.edges, found.distances))
    for seen in found.proposals:
        assert not seen.s.requires_grad
        (gradient,) = torch.autograd.grad(seen.weights.sum(), strength, retain_graph=True)
        assert gradient > 0


def test_the_same_generator_draws_the_same_and_none_always_does():
    rays, near, far = some_rays(5), torch.full((5,), 0.1).double(), torch.full((5,), 9.0).double()

    def drawn(generator):
        return proposal_samples(rays, near, far, [shell], (16, 8), UNIFORM, generator=generator)

    assert torch.equal(drawn(None).edges, drawn(None).edges)
    first, again, other = (drawn(torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first.edges, again.edges) and not torch.equal(first.edges, other.edges)
    for found, quantiles in ((drawn(None), True), (first, False)):
        assert torch.equal(found.s, resample(*found.proposals[0], 8)) == quantiles, "drawn in every round"


def test_a_ray_that_ends_where_it_begins_sees_nothing_and_stays_finite():
    """What a ray that misses the box is: samples without length."""
    rays, nowhere = some_rays(3, torch.float32), torch.zeros(3)
    found = proposal_samples(
        rays, nowhere, nowhere, [lambda p: torch.full_like(p[..., 0], 1e6)], (8, 4), UNIFORM
    )
    assert (found.proposals[0].weights == 0).all()
    assert (found.edges == 0).all() and (found.distances == 0).all()


def test_counts_that_do_not_fit_the_proposals_are_refused():
    rays, near = some_rays(2), torch.zeros(2).double()
    with pytest.raises(ValueError, match=r"counts \(8, 4\) for 2 proposals; give 3"):
        proposal_samples(rays, near, near + 1, [shell, shell], (8, 4), UNIFORM)
