"""Stratified samples between two distances of each ray (NeRF, arXiv:2003.08934, Eq. 2)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


def stratified_edges(
    near: Float[Tensor, "*rays"],
    far: Float[Tensor, "*rays"],
    count: int,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "*rays edges"]:
    """Edges of `count` intervals that fill [near, far]: (*rays, count + 1), sorted.

    Each inner edge is drawn uniformly from its own bin, the bins being centred on the even
    spacing; without a generator it stands at the centre.
    """
    edges = _even(near, far, count + 1)
    if generator is None:
        return edges
    drawn = _between_midpoints(edges, generator)
    return torch.cat((edges[..., :1], drawn[..., 1:-1], edges[..., -1:]), dim=-1)


def stratified_points(
    near: Float[Tensor, "*rays"],
    far: Float[Tensor, "*rays"],
    count: int,
    generator: torch.Generator | None = None,
    in_disparity: bool = False,
) -> Float[Tensor, "*rays points"]:
    """Points as NeRF's published code draws them: (*rays, count), sorted.

    Even points, first at near and last at far, in distance or in its inverse, each then drawn
    uniformly between the midpoints to its neighbours; without a generator they stay even.
    """
    points = 1 / _even(1 / near, 1 / far, count) if in_disparity else _even(near, far, count)
    return points if generator is None else _between_midpoints(points, generator)


def random_shares(shape: Sequence[int], generator: torch.Generator, like: Tensor) -> Tensor:
    """Uniform numbers in [0, 1), drawn where the generator is, of the device and type of `like`."""
    drawn = torch.rand(tuple(shape), generator=generator, dtype=like.dtype, device=generator.device)
    return drawn.to(like.device)


def _even(start: Tensor, stop: Tensor, count: int) -> Tensor:
    share = torch.linspace(0, 1, count, dtype=start.dtype, device=start.device)
    return start[..., None] * (1 - share) + stop[..., None] * share


def _between_midpoints(points: Tensor, generator: torch.Generator) -> Tensor:
    middle = (points[..., 1:] + points[..., :-1]) / 2
    lower = torch.cat((points[..., :1], middle), dim=-1)
    upper = torch.cat((middle, points[..., -1:]), dim=-1)
    return lower + (upper - lower) * random_shares(points.shape, generator, like=points)
