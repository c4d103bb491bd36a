"""Hierarchical sampling: more samples where the weights are (NeRF, arXiv:2003.08934, section 5.2).

Notation, last axis:
    edges    (*rays, S+1)    sorted distances
    weights  (*rays, S)      never negative, not normalised, spread evenly over each interval
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from render.samplers.stratified import random_shares

FLOOR = 1e-5  # added to every weight, so that an empty ray is sampled evenly (NeRF's code)


def sample_pdf(
    edges: Float[Tensor, "*rays edges"],
    weights: Float[Tensor, "*rays edges-1"],
    count: int,
    generator: torch.Generator | None = None,
    floor: float = FLOOR,
) -> Float[Tensor, "*rays points"]:
    """Draw `count` distances a ray from the piecewise constant density of its weights.

    Independent draws, in no order; without a generator `count` even quantiles, first and last
    included. No gradient flows through the draw, to weights or edges.
    """
    shape = (*weights.shape[:-1], count)
    if generator is None:
        share = torch.linspace(0, 1, count, dtype=edges.dtype, device=edges.device).expand(shape)
    else:
        share = random_shares(shape, generator, like=edges)
    return invert_cdf(edges.detach(), weights.detach(), share, floor)


def invert_cdf(
    edges: Float[Tensor, "*rays edges"],
    weights: Float[Tensor, "*rays edges-1"],
    share: Float[Tensor, "*rays points"],
    floor: float = FLOOR,
) -> Float[Tensor, "*rays points"]:
    """The distance before which `share` in [0, 1] of the weight lies.

    An interval that holds less than 1e-5 of all weight is taken to hold all of it, as in NeRF's
    code: a share that falls there lands on the interval's beginning instead of dividing by
    rounding errors.
    """
    weights = weights + floor
    cumulative = F.pad((weights / weights.sum(dim=-1, keepdim=True)).cumsum(dim=-1), (1, 0))
    above = torch.searchsorted(cumulative, share.contiguous(), right=True)
    below = (above - 1).clamp(min=0)
    above = above.clamp(max=cumulative.shape[-1] - 1)
    start, mass_before = edges.gather(-1, below), cumulative.gather(-1, below)
    mass = cumulative.gather(-1, above) - mass_before
    inside = (share - mass_before) / torch.where(mass < 1e-5, 1, mass)
    return start + inside * (edges.gather(-1, above) - start)


def merge(edges: Float[Tensor, "*rays a"], points: Float[Tensor, "*rays b"]) -> Float[Tensor, "*rays a+b"]:
    """Cut intervals at further points: the sorted union."""
    return torch.cat((edges, points), dim=-1).sort(dim=-1).values
