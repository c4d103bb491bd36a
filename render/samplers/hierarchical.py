"""Coarse samples, then fine ones where the coarse saw something (NeRF, arXiv:2003.08934, section 5.2).

Two rules for what a sample is:
    "intervals"   edges that fill [near, far]; the field is read in the middle of each interval, and
                  new edges are drawn from the weights of the old intervals
    "published"   points, as in NeRF's code, which its published weights were trained by: each stands
                  for the space up to the next, the last for the next 1e10 units, and new points are
                  drawn between the midpoints of the old, from the weights of the inner ones
"""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from render.samplers.pdf import merge, sample_pdf
from render.samplers.stratified import stratified_edges, stratified_points
from render.volume import edges_of_points, midpoints

Rule = Literal["intervals", "published"]


class RaySamples(NamedTuple):
    """Intervals between `edges`, and the `distances` at which the field is read."""

    edges: Float[Tensor, "*rays s+1"]
    distances: Float[Tensor, "*rays s"]


def coarse_samples(
    near: Float[Tensor, "*rays"],
    far: Float[Tensor, "*rays"],
    count: int,
    rule: Rule,
    generator: torch.Generator | None = None,
) -> RaySamples:
    """`count` stratified samples a ray; even ones without a generator."""
    if rule == "published":
        return _of_points(stratified_points(near, far, count, generator))
    return _of_edges(stratified_edges(near, far, count, generator))


def fine_samples(
    coarse: RaySamples,
    weights: Float[Tensor, "*rays s"],
    count: int,
    rule: Rule,
    generator: torch.Generator | None = None,
) -> RaySamples:
    """The coarse samples and `count` more, drawn from the weights; even quantiles without a generator."""
    if rule == "published":
        between, inner = midpoints(coarse.distances), weights[..., 1:-1]
        return _of_points(merge(coarse.distances, sample_pdf(between, inner, count, generator)))
    return _of_edges(merge(coarse.edges, sample_pdf(coarse.edges, weights, count, generator)))


def _of_points(distances: Tensor) -> RaySamples:
    return RaySamples(edges_of_points(distances), distances)


def _of_edges(edges: Tensor) -> RaySamples:
    return RaySamples(edges, midpoints(edges))
