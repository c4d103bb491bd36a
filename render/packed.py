"""Ragged samples: those of all rays in one array, and sums within each ray.

Notation: n samples of `rays` rays, `ray_index` (n,) int64 sorted, so that each ray owns one
contiguous segment, possibly empty.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor


@dataclass(frozen=True)
class Samples:
    """Intervals along rays, packed.

    ray_index: the ray of each sample, sorted.
    t_start, t_end: where each interval begins and ends, distances along the ray in scene units;
        in order and without overlap within a ray.
    rays: how many rays there are, those without samples included.
    """

    ray_index: Int64[Tensor, "n"]
    t_start: Float[Tensor, "n"]
    t_end: Float[Tensor, "n"]
    rays: int

    @property
    def ray_start(self) -> Int64[Tensor, "offsets"]:
        """Where each ray's samples begin; the last entry is n."""
        rays = torch.arange(self.rays + 1, device=self.ray_index.device)
        return torch.searchsorted(self.ray_index, rays)

    @property
    def middle(self) -> Float[Tensor, "n"]:
        """Middle of each interval."""
        return (self.t_start + self.t_end) / 2

    @staticmethod
    def from_ray_start(
        ray_start: Int64[Tensor, "offsets"], t_start: Float[Tensor, "n"], t_end: Float[Tensor, "n"]
    ) -> "Samples":
        """Samples whose rays are told by where each begins, as the ray marcher gives them."""
        rays = ray_start.numel() - 1
        index = torch.arange(rays, device=ray_start.device)
        return Samples(index.repeat_interleave(ray_start.diff()), t_start, t_end, rays)


def pack(dense: Float[Tensor, "rays s *c"], keep: Bool[Tensor, "rays s"]) -> Float[Tensor, "n *c"]:
    """The kept entries of a dense array, ray after ray."""
    return dense[keep]


def pack_edges(edges: Float[Tensor, "rays edges"], keep: Bool[Tensor, "rays edges-1"]) -> Samples:
    """Those intervals of dense edges that are kept."""
    ray_index = keep.nonzero()[:, 0]
    return Samples(ray_index, edges[:, :-1][keep], edges[:, 1:][keep], len(edges))


def unpack(
    values: Float[Tensor, "n *c"], ray_index: Int64[Tensor, "n"], rays: int, fill: float = 0.0
) -> tuple[Float[Tensor, "rays s *c"], Bool[Tensor, "rays s"]]:
    """Packed values as a dense array, as wide as the longest ray, and which entries are real."""
    place = segment_position(ray_index)
    longest = int(place.max()) + 1 if place.numel() else 0
    dense = values.new_full((rays, longest, *values.shape[1:]), fill)
    keep = torch.zeros(rays, longest, dtype=torch.bool, device=values.device)
    keep[ray_index, place] = True
    return dense.index_put((ray_index, place), values), keep


def segment_position(ray_index: Int64[Tensor, "n"]) -> Int64[Tensor, "n"]:
    """Each sample's number within its own ray, from 0."""
    return torch.arange(len(ray_index), device=ray_index.device) - torch.searchsorted(ray_index, ray_index)


def segment_sum(
    values: Float[Tensor, "n *c"], ray_index: Int64[Tensor, "n"], rays: int
) -> Float[Tensor, "rays *c"]:
    """Sum over each ray's samples; 0 for a ray without any."""
    return values.new_zeros(rays, *values.shape[1:]).index_add(0, ray_index, values)


def segment_exclusive_sum(values: Float[Tensor, "n"], ray_index: Int64[Tensor, "n"]) -> Float[Tensor, "n"]:
    """Sum of the earlier samples of the same ray.

    A scan in log2(longest ray) doubling steps (Hillis and Steele, 1986): every partial sum holds
    samples of one ray only. The shorter way, one global `cumsum` less its value where the ray
    begins, subtracts two sums over everything before and loses the small ones to rounding.
    """
    place = segment_position(ray_index)
    total = _earlier(values, 1, place)
    reach = 1
    longest = int(place.max()) if place.numel() else 0
    while reach < longest:
        total = total + _earlier(total, reach, place)
        reach *= 2
    return total


def _earlier(values: Tensor, reach: int, place: Tensor) -> Tensor:
    """The value `reach` samples before in the same ray, 0 where there is none."""
    return torch.where(place >= reach, values.roll(reach), 0)
