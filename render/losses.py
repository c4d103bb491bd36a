"""Losses: between pictures, means over every pixel and channel; along rays, means over rays.

Notation along rays, last axis:
    s        (*rays, S+1)   sorted edges of intervals
    weights  (*rays, S)     share of each interval in its pixel, spread evenly over it
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from render.packed import segment_exclusive_sum


def mse(prediction: Float[Tensor, "*n"], target: Float[Tensor, "*n"]) -> Float[Tensor, ""]:
    """Mean squared error (NeRF, arXiv:2003.08934, Eq. 6)."""
    return (prediction - target).square().mean()


def huber(
    prediction: Float[Tensor, "*n"],
    target: Float[Tensor, "*n"],
    delta: float = 0.1,
    weight: Float[Tensor, "*#n"] | float = 1.0,
) -> Float[Tensor, ""]:
    """Smooth L1: d^2 / (2 delta) for errors below delta, |d| - delta / 2 above.

    Slope 1 for outliers whatever delta is, as in instant-ngp (arXiv:2201.05989). The mean is over all
    values; `weight` scales each one's share of it.
    """
    error = (prediction - target).abs()
    return (weight * torch.where(error < delta, error.square() / (2 * delta), error - delta / 2)).mean()


def interlevel(
    s: Float[Tensor, "*rays a"],
    weights: Float[Tensor, "*rays a-1"],
    proposal_s: Float[Tensor, "*rays b"],
    proposal_weights: Float[Tensor, "*rays b-1"],
) -> Float[Tensor, ""]:
    """How far the weights stand out of what a proposal can hold (mip-NeRF 360, arXiv:2111.12077, Eq. 13).

    The sum over intervals of max(0, w - bound)^2 / w, in the mean over rays. Nothing where a proposal bounds
    the weights, be it ever so wide. Only `proposal_weights` have a gradient: the proposal follows the field.
    """
    weights = weights.detach()
    bound = outer_measure(s.detach(), proposal_s.detach(), proposal_weights)
    excess = (weights - bound).clamp(min=0)
    return (excess.square() / (weights + torch.finfo(weights.dtype).eps)).sum(dim=-1).mean()


def outer_measure(
    s: Float[Tensor, "*rays a"],
    proposal_s: Float[Tensor, "*rays b"],
    proposal_weights: Float[Tensor, "*rays b-1"],
) -> Float[Tensor, "*rays a-1"]:
    """Weight of all proposal intervals that each interval of `s` overlaps (Eq. 12)."""
    before = F.pad(proposal_weights.cumsum(dim=-1), (1, 0))
    edges = proposal_s.contiguous()
    first = torch.searchsorted(edges, s[..., :-1].contiguous(), right=True) - 1
    last = torch.searchsorted(edges, s[..., 1:].contiguous())
    most = edges.shape[-1] - 1  # what lies outside of all proposals overlaps none
    return before.gather(-1, last.clamp(max=most)) - before.gather(-1, first.clamp(min=0))


def distortion(s: Float[Tensor, "*rays a"], weights: Float[Tensor, "*rays a-1"]) -> Float[Tensor, ""]:
    """Mean distance between any two points of a ray, by weight (mip-NeRF 360, Eqs. 14 and 15).

    It pulls together what is scattered, and what weighs little to nothing. Eq. 15's double sum is taken over
    the gaps between middles: each counts for all pairs with one middle before it and one behind.
    """
    widths = s.diff(dim=-1)
    gaps = (widths[..., 1:] + widths[..., :-1]) / 2
    before = weights.cumsum(dim=-1)
    behind = before[..., -1:] - before
    between = 2 * (gaps * before[..., :-1] * behind[..., :-1]).sum(dim=-1)
    return (between + (weights.square() * widths).sum(dim=-1) / 3).mean()


def packed_distortion(
    u: Float[Tensor, "n"],
    weights: Float[Tensor, "n"],
    interval: float,
    ray_index: Int64[Tensor, "n"],
    rays: int,
) -> Float[Tensor, ""]:
    """`distortion` of packed samples that stand for intervals of one length, about their places u.

    The mean is over all rays; one without samples counts as 0.
    """
    weight_before, moment_before = (
        segment_exclusive_sum(values, ray_index) for values in (weights, weights * u)
    )
    between = 2 * weights * (u * weight_before - moment_before)
    return (between + interval / 3 * weights.square()).sum() / rays


def packed_opacity(weights: Float[Tensor, "n"], rays: int) -> Float[Tensor, ""]:
    """How much light passes all there is, mean over all rays: 1 where a ray meets nothing."""
    return 1 - weights.sum() / rays


def packed_depth(
    distances: Float[Tensor, "n"],
    weights: Float[Tensor, "n"],
    known: Float[Tensor, "rays"],
    ray_index: Int64[Tensor, "n"],
) -> Float[Tensor, ""]:
    """How far from the known distances the weight lies: a share of the distance, at most 1, and 1 for none.

    Per ray sum_i w_i min(|t_i - d| / d, 1) + 1 - sum_i w_i. A distance of 0 is unknown, and costs nothing;
    the mean is over all rays.
    """
    target = known[ray_index]
    off = ((distances - target).abs() / target.clamp(min=1e-12)).clamp(max=1)
    nearer = torch.where(target > 0, weights * (off - 1), 0.0)
    return (nearer.sum() + (known > 0).sum()) / len(known)
