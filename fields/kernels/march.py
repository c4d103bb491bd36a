"""Ray marching through an occupancy bitfield (instant-ngp, arXiv:2201.05989, appendix E.1).

Rays are given in the frame of the unit cube, directions of unit length. Samples of a ray stand at

    t_i = t_near + (i + jitter) step,   i = 0, 1, ... while t_i < t_far

with the ray clipped to the cube at t_near = max(0, entry) and t_far = exit; those in an occupied cell are
kept. Each stands for an interval of length `step`. Not differentiable.

With nested grids (`occupancy.py`) the ray is clipped to the largest cube instead, and samples spread out:
their distance is max(step, growth t) at t. With

    place(t) = t / step             up to t* = step / growth,
               1 / growth + ln(t / t*) / growth    beyond,

they stand at place(t_i) = place(t_near) + i + jitter.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fields.kernels.checks import check_array, check_backend
from fields.kernels.library import library
from fields.kernels.occupancy import check_bits, lookup_bits

SHORTEST_STEP = 2e-5  # below it, float32 no longer tells samples apart


class Marched(NamedTuple):
    """Packed samples: ray r owns distances[ray_start[r] : ray_start[r + 1]], in rising order."""

    ray_start: Int[Tensor, " rays+1"]
    distances: Float[Tensor, " n"]


@dataclass(frozen=True)
class Spacing:
    """How far apart samples stand, in sides of the unit cube.

    step    near the beginning of a ray, and everywhere if growth is 0
    growth  of the distance with t, once growth t is more than step
    near    where a ray begins
    """

    step: float
    growth: float = 0.0
    near: float = 0.0

    def place(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """The number of the sample at t, counted from the origin."""
        if self.growth == 0:
            return t / self.step
        turn = self.step / self.growth
        far = (1 + (t.clamp(min=turn) / turn).log()) / self.growth
        return torch.where(t <= turn, t / self.step, far)

    def distance(self, place: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """The inverse of `place`."""
        if self.growth == 0:
            return place * self.step
        far = self.step / self.growth * (self.growth * place - 1).exp()
        return torch.where(self.growth * place <= 1, place * self.step, far)

    def length(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """What a sample at t stands for."""
        return (self.growth * t).clamp(min=self.step)


def clip_to_cube(
    origins: Float[Tensor, "rays 3"], directions: Float[Tensor, "rays 3"]
) -> tuple[Float[Tensor, " rays"], Float[Tensor, " rays"]]:
    """t_near and t_far of each ray in [0, 1]^3; both 0 where it misses the cube."""
    at_zero, at_one = -origins / directions, (1 - origins) / directions
    entry, leave = torch.minimum(at_zero, at_one), torch.maximum(at_zero, at_one)
    # A ray parallel to a pair of faces is between them for ever or never.
    parallel = directions == 0
    between = (origins >= 0) & (origins <= 1)
    entry = torch.where(parallel, torch.where(between, -torch.inf, torch.inf), entry)
    leave = torch.where(parallel, torch.where(between, torch.inf, -torch.inf), leave)
    near, far = entry.amax(-1).clamp(min=0), leave.amin(-1)
    hit = far > near
    return torch.where(hit, near, 0), torch.where(hit, far, 0)


def march_reference(
    origins: Float[Tensor, "rays 3"],
    directions: Float[Tensor, "rays 3"],
    jitter: Float[Tensor, " rays"],
    bits: Int[Tensor, "v w w"],
    step: float,
) -> Marched:
    """The definition: every candidate sample of every ray at once, then those in occupied cells."""
    near, far = clip_to_cube(origins, directions)
    step = torch.tensor(step, dtype=origins.dtype, device=origins.device)
    candidates = int(((far - near) / step).max().ceil()) + 1 if len(far) else 0
    index = torch.arange(candidates, dtype=origins.dtype, device=origins.device)
    distances = (index + jitter[:, None]) * step + near[:, None]  # (rays, candidates)
    points = origins[:, None] + distances[..., None] * directions[:, None]
    keep = (distances < far[:, None]) & lookup_bits(bits, points)
    ray_start = torch.zeros(len(origins) + 1, dtype=torch.int64, device=origins.device)
    ray_start[1:] = keep.sum(dim=1).cumsum(dim=0)
    return Marched(ray_start, distances[keep])


def march_nested_reference(
    origins: Float[Tensor, "rays 3"],
    directions: Float[Tensor, "rays 3"],
    jitter: Float[Tensor, " rays"],
    bits: Int[Tensor, "v w w"],
    spacing: Spacing,
) -> Marched:
    """The definition for nested grids: every candidate sample, then those in occupied cells."""
    largest = 2.0 ** (bits.shape[0] // bits.shape[1] - 1)  # sides of the largest cube
    near, far = clip_to_cube((origins - 0.5) / largest + 0.5, directions / largest)
    near = near.clamp(min=spacing.near)
    first = spacing.place(near)
    candidates = int((spacing.place(far) - first).max().ceil().clamp(min=0)) + 1 if len(far) else 0
    index = torch.arange(candidates, dtype=origins.dtype, device=origins.device)
    distances = spacing.distance(first[:, None] + (index + jitter[:, None]))
    points = origins[:, None] + distances[..., None] * directions[:, None]
    keep = (distances < far[:, None]) & lookup_bits(bits, points)
    ray_start = torch.zeros(len(origins) + 1, dtype=torch.int64, device=origins.device)
    ray_start[1:] = keep.sum(dim=1).cumsum(dim=0)
    return Marched(ray_start, distances[keep])


def march(
    origins: Float[Tensor, "rays 3"],
    directions: Float[Tensor, "rays 3"],
    jitter: Float[Tensor, " rays"],
    bits: Int[Tensor, "v w w"],
    step: float,
    backend: str = "reference",
    *,
    growth: float = 0.0,
    near: float = 0.0,
) -> Marched:
    """Samples in occupied cells; jitter in [0, 1) shifts those of a ray, in steps.

    bits: int64 words of 4x4x4 cells, indexed [z, y, x] (`occupancy.py`); their shape gives the resolution and
    how many nested grids there are. growth, near: see `Spacing`.
    Raises: ValueError if the arrays disagree, step is too short, growth is no share, a ray is not a number or
    its direction not of unit length, or, for the kernels, arrays are not float32 on the CPU.
    """
    check_backend(backend)
    check_bits(bits)
    check_rays(origins, directions, jitter, step)
    if not (0 <= growth < 1 and 0 <= near < math.inf):
        raise ValueError(f"growth must lie in [0, 1) and near be at least 0, got {growth} and {near}")
    if backend == "reference":
        if growth == near == 0 and bits.shape[0] == bits.shape[1]:
            return march_reference(origins, directions, jitter, bits, step)
        return march_nested_reference(origins, directions, jitter, bits, Spacing(step, growth, near))
    arrays = [array.contiguous() for array in (origins.detach(), directions.detach(), jitter.detach(), bits)]
    return Marched(*march_op(*arrays, step, growth, near))


def check_rays(origins: Tensor, directions: Tensor, jitter: Tensor, step: float) -> None:
    """As many of each, and lengths that let the march end."""
    rays = len(origins)
    if len(directions) != rays or len(jitter) != rays:
        raise ValueError(f"origins, directions and jitter hold {rays}, {len(directions)}, {len(jitter)} rays")
    if not SHORTEST_STEP <= step < float("inf"):
        raise ValueError(f"step is {step}; it must be a length from {SHORTEST_STEP}, in units of the cube")
    for name, array, wrong, remedy in (
        ("origins", origins, ~origins.isfinite().all(dim=-1), "finite"),
        ("directions", directions, ~((directions.norm(dim=-1) - 1).abs() < 1e-3), "of unit length"),
    ):
        if bool(wrong.any()):
            ray = int(wrong.nonzero()[0])
            raise ValueError(f"{name}[{ray}] is {array[ray].tolist()}; it must be {remedy}")


@torch.library.custom_op("render::march", mutates_args=(), device_types="cpu")
def march_op(
    origins: Tensor, directions: Tensor, jitter: Tensor, bits: Tensor, step: float, growth: float, near: float
) -> tuple[Tensor, Tensor]:
    rays = len(origins)
    check_array("origins", origins, (None, 3))
    check_array("directions", directions, (rays, 3))
    check_array("jitter", jitter, (rays,))
    check_array("bits", bits, (None, None, None), torch.int64)
    check_bits(bits)
    check_rays(origins, directions, jitter, step)
    ray_start = torch.empty(rays + 1, dtype=torch.int64)
    resolution, levels = 4 * bits.shape[1], bits.shape[0] // bits.shape[1]
    arguments = origins, directions, jitter, rays, bits, resolution, levels, step, growth, near, ray_start
    library().call("nr_march", *arguments, None)  # counts
    distances = origins.new_empty(int(ray_start[-1]))
    library().call("nr_march", *arguments, distances)
    return ray_start, distances


@march_op.register_fake
def _(origins, directions, jitter, bits, step, growth, near):
    samples = torch.library.get_ctx().new_dynamic_size()
    return origins.new_empty(origins.shape[0] + 1, dtype=torch.int64), origins.new_empty(samples)
