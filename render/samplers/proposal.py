"""Proposal sampling: small density fields say where to look, in rounds.

After mip-NeRF 360 (arXiv:2111.12077, section 3), with the spacing along rays of nerfacto (arXiv:2302.04264).

Notation, last axis:
    s        (*rays, S+1)   sorted edges of intervals that fill [0, 1]; 0 is near and 1 far (Eq. 11)
    edges    (*rays, S+1)   the same as distances, scene units
    weights  (*rays, S)     share of each interval in its pixel

No gradient flows through the places of samples: only a loss between histograms (`render.losses.interlevel`)
teaches the proposals.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from render.samplers.pdf import invert_cdf
from render.samplers.stratified import stratified_edges
from render.volume import midpoints, weights_from_density
from scenes.rays import Rays

PADDING = 0.01  # added to every weight before the next round is drawn (nerfacto's code)
DensityAt = Callable[[Float[Tensor, "*n 3"]], Float[Tensor, "*n"]]


class Spacing(NamedTuple):
    """A rising curve g of distances and its inverse: what is even in s is even in g(distance)."""

    curve: Callable[[Tensor], Tensor]
    inverse: Callable[[Tensor], Tensor]


class Histogram(NamedTuple):
    """What one proposal saw: its edges, without gradient, and its weights, with theirs."""

    s: Float[Tensor, "*rays s+1"]
    weights: Float[Tensor, "*rays s"]


class ProposalSamples(NamedTuple):
    """The last round's edges, in s and as distances; where to read the field; what the rounds before saw."""

    s: Float[Tensor, "*rays s+1"]
    edges: Float[Tensor, "*rays s+1"]
    distances: Float[Tensor, "*rays s"]
    proposals: tuple[Histogram, ...]


UNIFORM = Spacing(lambda t: t, lambda u: u)


def piecewise(turn: float) -> Spacing:
    """Even up to `turn` (scene units), then even in inverse distance; half of [0, 1) for each.

    g(t) = t / (2 turn) up to the turn, 1 - turn / (2 t) beyond: one value and one slope where they meet.
    """

    def curve(t: Tensor) -> Tensor:
        x = t / turn
        return torch.where(x < 1, x / 2, 1 - 0.5 / x.clamp(min=1))

    def inverse(u: Tensor) -> Tensor:
        return turn * torch.where(u < 0.5, 2 * u, 0.5 / (1 - u.clamp(min=0.5)))

    return Spacing(curve, inverse)


def s_of_distance(
    distance: Float[Tensor, "*rays n"],
    near: Float[Tensor, "*rays"],
    far: Float[Tensor, "*rays"],
    spacing: Spacing,
) -> Float[Tensor, "*rays n"]:
    """Where distances lie between near (0) and far (1), near < far (Eq. 11)."""
    first, last = spacing.curve(near)[..., None], spacing.curve(far)[..., None]
    return (spacing.curve(distance) - first) / (last - first)


def distance_of_s(
    s: Float[Tensor, "*rays n"], near: Float[Tensor, "*rays"], far: Float[Tensor, "*rays"], spacing: Spacing
) -> Float[Tensor, "*rays n"]:
    """The distances that `s_of_distance` sends to `s`; all of them near where near and far are the same."""
    first, last = spacing.curve(near)[..., None], spacing.curve(far)[..., None]
    return spacing.inverse(first + s * (last - first))


def annealing(progress: float, slope: float = 10.0) -> float:
    """The power of the weights that are drawn from (Eq. 18): 0, evenly, at first; 1, the weights, at the end.

    progress: share of the annealing that is done; held to [0, 1].
    """
    x = min(max(progress, 0.0), 1.0)
    return slope * x / ((slope - 1) * x + 1)


def resample(
    s: Float[Tensor, "*rays a"],
    weights: Float[Tensor, "*rays a-1"],
    count: int,
    anneal: float = 1.0,
    padding: float = PADDING,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "*rays b"]:
    """Edges (*rays, count + 1) of intervals that fill [0, 1] and hold about as much weight each.

    Their shares of the annealed and padded weight are stratified, even without a generator. No gradient.
    """
    zero = torch.zeros_like(s[..., 0])
    shares = stratified_edges(zero, torch.ones_like(zero), count, generator)
    drawn = invert_cdf(s.detach(), weights.detach() ** anneal, shares, padding)
    return torch.cat((zero[..., None], drawn[..., 1:-1], torch.ones_like(zero)[..., None]), dim=-1)


def proposal_samples(
    rays: Rays,
    near: Float[Tensor, "*rays"],
    far: Float[Tensor, "*rays"],
    densities: Sequence[DensityAt],
    counts: Sequence[int],
    spacing: Spacing,
    *,
    anneal: float = 1.0,
    padding: float = PADDING,
    generator: torch.Generator | None = None,
) -> ProposalSamples:
    """Samples from as many rounds as there are proposals.

    Args:
        near, far: scene units; a ray on which they are the same has samples without length.
        densities: one function a round, points of the model frame -> density (1 / scene unit).
        counts: intervals of each round, those of the result last.
        generator: None gives even and then quantile samples.
    Raises: ValueError unless there is one count more than densities.
    """
    if len(counts) != len(densities) + 1:
        raise ValueError(f"counts {tuple(counts)} for {len(densities)} proposals; give {len(densities) + 1}")
    zero = torch.zeros_like(near)
    s = stratified_edges(zero, torch.ones_like(zero), counts[0], generator)
    seen: list[Histogram] = []
    for density_at, count in zip(densities, counts[1:], strict=True):
        edges = distance_of_s(s, near, far, spacing)
        distances = distance_of_s(midpoints(s), near, far, spacing)
        weights = weights_from_density(density_at(points_at(rays, distances)), edges)
        seen.append(Histogram(s, weights))
        s = resample(s, weights, count, anneal, padding, generator)
    edges = distance_of_s(s, near, far, spacing)
    return ProposalSamples(s, edges, distance_of_s(midpoints(s), near, far, spacing), tuple(seen))


def points_at(rays: Rays, distances: Float[Tensor, "*rays s"]) -> Float[Tensor, "*rays s 3"]:
    """Points of each ray at several distances."""
    return rays.origins[..., None, :] + distances[..., None] * rays.directions[..., None, :]
