"""Losses along rays, against slow loops over pairs of intervals, and the laws that their papers want."""

from itertools import pairwise

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from render.losses import distortion, interlevel, outer_measure


def random_histogram(generator, rays, samples):
    inner = torch.rand(rays, samples - 1, generator=generator, dtype=torch.float64).sort(-1).values
    s = F.pad(F.pad(inner, (1, 0)), (0, 1), value=1.0)
    return s, torch.rand(rays, samples, generator=generator, dtype=torch.float64).softmax(-1)


def outer_measure_loop(s, proposal_s, proposal_weights):
    """Eq. 12 for one ray: every pair of intervals, asked whether they share more than a point."""
    bounds = []
    for a, b in pairwise(s):
        overlapped = [
            w
            for (c, d), w in zip(pairwise(proposal_s), proposal_weights, strict=True)
            if max(a, c) < min(b, d)
        ]
        bounds.append(sum(overlapped))
    return bounds


def interlevel_loop(s, weights, proposal_s, proposal_weights):
    """Eq. 13 for one ray."""
    bounds = outer_measure_loop(s, proposal_s, proposal_weights)
    return sum(max(0, w - bound) ** 2 / w for w, bound in zip(weights, bounds, strict=True))


def mean_distance_loop(s, weights):
    """Eq. 14 for one ray: the double integral of |u - v|, whose antiderivative is -|u - v|^3 / 6."""

    def antiderivative(u, v):
        return -(abs(u - v) ** 3) / 6

    total = 0.0
    for (a, b), w in zip(pairwise(s), weights, strict=True):
        for (c, d), x in zip(pairwise(s), weights, strict=True):
            corners = (
                antiderivative(b, d) - antiderivative(a, d) - antiderivative(b, c) + antiderivative(a, c)
            )
            total += w / (b - a) * x / (d - c) * corners
    return total


def test_the_outer_measure_is_that_of_every_pair_of_intervals(generator):
    """Also where edges coincide, or lie beyond all of the proposal's."""
    s, _ = random_histogram(generator, 40, 9)
    proposal_s, proposal_weights = random_histogram(generator, 40, 13)
    s[0] = torch.cat((s[0, :7], proposal_s[0, [2, 5, 6]])).sort().values  # shared edges
    proposal_s[1] = 0.2 + 0.5 * proposal_s[1]  # the first and last intervals stick out
    s[2], proposal_s[2] = torch.linspace(0, 1, 10), torch.linspace(0, 1, 14)
    s[3, 3:6] = s[3, 3].item()  # intervals without length overlap nothing
    proposal_s[4, 4:8], proposal_weights[4, 4:7] = proposal_s[4, 4].item(), 0  # nor can they have weight
    found = outer_measure(s, proposal_s, proposal_weights)
    for ray in range(40):
        pair = [x[ray].tolist() for x in (s, proposal_s, proposal_weights)]
        lengths = s[ray].diff() > 0
        assert_close(
            found[ray][lengths], torch.tensor(outer_measure_loop(*pair), dtype=torch.float64)[lengths]
        )


def test_the_interlevel_loss_is_that_of_the_slow_loop(generator):
    fine, proposal = random_histogram(generator, 25, 8), random_histogram(generator, 25, 11)
    proposal[1][0] = 1.0
    each = [interlevel_loop(*(x[ray].tolist() for x in (*fine, *proposal))) for ray in range(25)]
    assert min(each) == 0 and max(each) > 0.01, "some of these proposals bound the weights, others do not"
    assert_close(interlevel(*fine, *proposal), torch.tensor(each, dtype=torch.float64).mean())


def test_no_loss_where_the_proposal_bounds_the_weights(generator):
    """The same histogram; one with intervals joined; all the weight in one interval; more than the weight."""
    s, weights = random_histogram(generator, 30, 12)
    joined = s[:, ::3], weights.unflatten(-1, (4, 3)).sum(-1)
    whole = s[:, [0, -1]], weights.sum(-1, keepdim=True)
    for proposal in ((s, weights), joined, whole, (s, weights + 0.1)):
        assert interlevel(s, weights, *proposal) < 1e-12
    assert interlevel(s, weights, s, 0.5 * weights) > 0.2


def test_what_a_proposal_misses_altogether_costs_its_weight():
    """(w - 0)^2 / w = w; and a quarter of it where the bound is half of the weight."""
    s = torch.tensor([[0.0, 0.5, 1.0]])
    weights = torch.tensor([[0.2, 0.6]])
    assert_close(interlevel(s, weights, s, torch.tensor([[0.2, 0.0]])), torch.tensor(0.6))
    assert_close(interlevel(s, weights, s, torch.tensor([[0.9, 0.3]])), torch.tensor(0.15))


def test_the_interlevel_loss_scales_with_the_weights_and_not_with_s(generator):
    """Any rising map of s leaves it: distances or s, it is the same loss."""
    (s, w), (t, v) = random_histogram(generator, 25, 8), random_histogram(generator, 25, 11)
    loss = interlevel(s, w, t, v)
    assert_close(interlevel(s, 0.3 * w, t, 0.3 * v), 0.3 * loss)
    assert_close(interlevel(2 + 5 * s**3, w, 2 + 5 * t**3, v), loss)


def test_the_interlevel_loss_teaches_the_proposal_alone(generator):
    (s, w), (t, v) = random_histogram(generator, 6, 8), random_histogram(generator, 6, 5)
    arguments = [x.clone().requires_grad_() for x in (s, w, t, v)]
    gradients = torch.autograd.grad(interlevel(*arguments), arguments, allow_unused=True)
    assert [g is None for g in gradients] == [True, True, True, False]
    assert (gradients[3] <= 0).all() and (gradients[3] < 0).any(), "only ever asks for more"
    assert torch.autograd.gradcheck(lambda v: interlevel(s, w, t, v), (v.requires_grad_(),))


def test_a_zero_weight_costs_nothing_and_stays_finite():
    s = torch.linspace(0, 1, 4)[None]
    v = torch.zeros(1, 3, requires_grad=True)
    loss = interlevel(s, torch.zeros(1, 3), s, v)
    loss.backward()
    assert loss == 0 and (v.grad == 0).all()


def test_distortion_is_the_double_integral(generator):
    s, weights = random_histogram(generator, 15, 9)
    each = [mean_distance_loop(s[ray].tolist(), weights[ray].tolist()) for ray in range(15)]
    assert_close(distortion(s, weights), torch.tensor(each, dtype=torch.float64).mean())


def test_splitting_an_interval_leaves_the_distortion(generator):
    """Weight is spread evenly over an interval, so that two parts of it are the same histogram."""
    s, weights = random_histogram(generator, 15, 9)
    share = 0.3
    cut = s[:, 4:5] + share * (s[:, 5:6] - s[:, 4:5])
    parts = torch.cat((share * weights[:, 4:5], (1 - share) * weights[:, 4:5]), dim=-1)
    split = torch.cat((s[:, :5], cut, s[:, 5:]), -1), torch.cat((weights[:, :4], parts, weights[:, 5:]), -1)
    assert_close(distortion(*split), distortion(s, weights))


def test_distortion_is_a_length_times_weight_squared(generator):
    """Scales so, and knows neither where the ray begins nor which way it runs."""
    s, weights = random_histogram(generator, 15, 9)
    loss = distortion(s, weights)
    assert_close(distortion(3 * s, weights), 3 * loss)
    assert_close(distortion(s, 3 * weights), 9 * loss)
    assert_close(distortion(s + 7, weights), loss)
    assert_close(distortion(-s.flip(-1), weights.flip(-1)), loss)


def test_distortion_is_least_where_one_interval_has_all_the_weight(generator):
    """w^2 / 3 of its width, and any other share of the same weight over even intervals costs more."""
    s = torch.linspace(0, 1, 11, dtype=torch.float64)[None]
    weights = torch.rand(500, 10, generator=generator, dtype=torch.float64) ** 4
    weights = weights / weights.sum(-1, keepdim=True)
    spread = torch.stack([distortion(s, w[None]) for w in weights])
    for i in range(10):
        one = F.one_hot(torch.tensor([i]), 10).double()
        assert_close(distortion(s, one), torch.tensor(1 / 30, dtype=torch.float64))
        assert_close(distortion(s, 0.5 * one), torch.tensor(0.25 / 30, dtype=torch.float64))
    assert (spread > 1 / 30).all()


def test_distortion_has_true_gradients(generator):
    s, weights = random_histogram(generator, 3, 6)
    assert torch.autograd.gradcheck(distortion, (s.requires_grad_(), weights.requires_grad_()))


@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_distortion_is_as_good_in_float32(generator, offset):
    """Sums of gaps, not differences of large sums: a ray far off loses only what its edges lose."""
    s, weights = random_histogram(generator, 50, 256)
    edges = (s + offset).float()
    exact = distortion(edges.double(), weights)
    assert_close(distortion(edges, weights.float()).double(), exact, rtol=1e-5, atol=0)
