"""Volume rendering along rays (NeRF, arXiv:2003.08934, Eqs. 1-3), dense and packed.

Notation, dense; last axis = samples along a ray:
    edges    (*rays, S+1)    distances t_0 <= ... <= t_S along the ray, scene units
    density  (*rays, S)      sigma_i >= 0, 1 / scene unit, constant on [t_i, t_i+1)
    values   (*rays, S, C)   what the samples carry: colour (3), features (any width)
    weights  (*rays, S)      w_i = T_i * alpha_i, the share of the pixel seen at i

Packed: the samples of all rays in one array, a ray's own in order and next to each other
(`render.packed.Samples`); space between two intervals of a ray is empty.

NeRF's published code reads the field at points, not in intervals: sample i stands for
[t_i, t_i+1) and the last for the next 1e10 units. That is `edges_of_points(t)` as edges and `t`
as `distances`; nothing else changes.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from render.packed import Samples, segment_exclusive_sum, segment_sum


class VolumeRendering(NamedTuple):
    """What rays see: `values` not yet over any background, `distance` as in `expected_distance`."""

    values: Float[Tensor, "*rays c"]
    opacity: Float[Tensor, "*rays"]
    distance: Float[Tensor, "*rays"]
    weights: Float[Tensor, "..."]


def render_dense(
    density: Float[Tensor, "*rays s"],
    values: Float[Tensor, "*rays s c"],
    edges: Float[Tensor, "*rays s+1"],
    distances: Float[Tensor, "*rays s"] | None = None,
) -> VolumeRendering:
    """Render samples of which every ray has as many.

    `distances`: where in each interval the field was read; the midpoints if not given.
    """
    distances = midpoints(edges) if distances is None else distances
    weights = weights_from_density(density, edges)
    opacity = weights.sum(dim=-1)
    distance = expected_distance((weights * distances).sum(dim=-1), opacity)
    return VolumeRendering(composite(weights, values), opacity, distance, weights)


def weights_from_density(
    density: Float[Tensor, "*rays s"], edges: Float[Tensor, "*rays s+1"]
) -> Float[Tensor, "*rays s"]:
    """Share of each interval in its pixel, T_i (1 - exp(-sigma_i delta_i)) (Eq. 3).

    One `cumsum` instead of a `cumprod` with an epsilon, and `expm1`, so that thin and opaque
    samples are both exact.
    """
    thickness = density * edges.diff(dim=-1)
    before = F.pad(thickness, (1, 0))[..., :-1].cumsum(dim=-1)
    return _weights(before, thickness)


def composite(
    weights: Float[Tensor, "*rays s"], values: Float[Tensor, "*rays s c"]
) -> Float[Tensor, "*rays c"]:
    """Weighted sum along the ray; c is 3 for colour, any width for features."""
    return (weights[..., None] * values).sum(dim=-2)


def midpoints(edges: Float[Tensor, "*rays edges"]) -> Float[Tensor, "*rays edges-1"]:
    """Middle of each interval."""
    return (edges[..., 1:] + edges[..., :-1]) / 2


def edges_of_points(
    distances: Float[Tensor, "*rays s"], last_interval: float = 1e10
) -> Float[Tensor, "*rays s+1"]:
    """Edges of the published NeRF code's rule: each point reaches to the next, the last far beyond."""
    return torch.cat((distances, distances[..., -1:] + last_interval), dim=-1)


def render_packed(
    density: Float[Tensor, "n"], values: Float[Tensor, "n c"], samples: Samples
) -> VolumeRendering:
    """Render packed samples; a ray without samples is empty (opacity and distance 0)."""
    weights = weights_from_density_packed(density, samples)
    opacity = segment_sum(weights, samples.ray_index, samples.rays)
    middle = (samples.t_start + samples.t_end) / 2
    distance = expected_distance(segment_sum(weights * middle, samples.ray_index, samples.rays), opacity)
    pixels = segment_sum(weights[:, None] * values, samples.ray_index, samples.rays)
    return VolumeRendering(pixels, opacity, distance, weights)


def weights_from_density_packed(density: Float[Tensor, "n"], samples: Samples) -> Float[Tensor, "n"]:
    """`weights_from_density` of packed samples."""
    thickness = density * (samples.t_end - samples.t_start)
    return _weights(segment_exclusive_sum(thickness, samples.ray_index), thickness)


def expected_distance(
    weighted_distance: Float[Tensor, "*rays"], opacity: Float[Tensor, "*rays"]
) -> Float[Tensor, "*rays"]:
    """Mean distance of what a ray meets, given that it meets something; 0 where it meets nothing.

    `weighted_distance` is the sum of weight times distance. (NeRF's code leaves this division
    out of its depth and makes up for it in its disparity.)
    """
    met = opacity > 0
    return torch.where(met, weighted_distance / torch.where(met, opacity, 1), 0)


def over_background(
    values: Float[Tensor, "*rays c"], opacity: Float[Tensor, "*rays"], background: Float[Tensor, "*#rays c"]
) -> Float[Tensor, "*rays c"]:
    """The rendered values in front of a background colour (or one colour a ray)."""
    return values + (1 - opacity)[..., None] * background


def _weights(before: Tensor, thickness: Tensor) -> Tensor:
    """T alpha from the optical thickness before an interval and that of the interval itself."""
    return torch.exp(-before) * -torch.expm1(-thickness)
