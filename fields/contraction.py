"""Maps that bring unbounded space into a box.

`contract` (mip-NeRF 360, arXiv:2111.12077, Eq. 10, with the largest coordinate in place of the Euclidean
norm: cubes become cubes) keeps [-1, 1]^3 as it is and folds all beyond into the shell up to [-2, 2]^3:

    x                          where |x| <= 1,      |x| = max(|x_0|, |x_1|, |x_2|)
    (2 - 1 / |x|) x / |x|      elsewhere

`to_ndc` (NeRF, arXiv:2003.08934, appendix C) maps the view frustum of a forward-facing capture to a cube.

About a point both stretch lengths, by another factor in each direction. Where one number must do for all of
them it is |det J|^(1/3), the geometric mean along J's principal axes: exact where the map only scales, and
the product of the maps' own where one follows another.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def contract(points: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3"]:
    """Points of all space in [-2, 2]^3."""
    size = points.abs().amax(dim=-1, keepdim=True).clamp(min=1)
    return (2 - 1 / size) * (points / size)


def uncontract(points: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3"]:
    """The points that `contract` sends to these, which lie inside of [-2, 2]^3."""
    size = points.abs().amax(dim=-1, keepdim=True).clamp(min=1)
    return points / (size * (2 - size))


def contraction_scale(points: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n"]:
    """Lengths after `contract` over lengths before it, about each point: the cube root of |det J|.

    J is triangular: 1 / |x|^2 along the largest coordinate, (2 - 1 / |x|) / |x| along the two others.
    """
    size = points.abs().amax(dim=-1).clamp(min=1)
    return (2 * size - 1) ** (2 / 3) / size**2


def to_ndc(
    points: Float[Tensor, "*n 3"], focal: Float[Tensor, "2"], half_size: Float[Tensor, "2"], near: float
) -> Float[Tensor, "*n 3"]:
    """Points in camera axes (OpenCV: z forward) as x, y in [-1, 1] across the picture and z in [-1, 1] from
    `near` to infinity: linear in disparity.

    focal, half_size: pixels; points at z <= 0 have no image.
    """
    x, y, z = points.unbind(-1)
    across = focal / half_size
    return torch.stack((across[0] * x / z, across[1] * y / z, 1 - 2 * near / z), dim=-1)


def from_ndc(
    points: Float[Tensor, "*n 3"], focal: Float[Tensor, "2"], half_size: Float[Tensor, "2"], near: float
) -> Float[Tensor, "*n 3"]:
    """The points that `to_ndc` sends to these."""
    u, v, w = points.unbind(-1)
    z = 2 * near / (1 - w)
    across = half_size / focal
    return torch.stack((across[0] * u * z, across[1] * v * z, z), dim=-1)


def ndc_scale(
    points: Float[Tensor, "*n 3"], focal: Float[Tensor, "2"], half_size: Float[Tensor, "2"], near: float
) -> Float[Tensor, "*n"]:
    """Lengths after `to_ndc` over lengths before it, about each point: the cube root of |det J|."""
    return (2 * near * (focal / half_size).prod() / points[..., 2] ** 4) ** (1 / 3)


def into_unit_cube(
    points: Float[Tensor, "*n 3"], minimum: Float[Tensor, "3"], side: float, contracted: bool
) -> tuple[Float[Tensor, "*n 3"], Float[Tensor, "*n"]]:
    """Points as a grid on [0, 1]^3 takes them, and the length that density is measured in there.

    Without contraction the box [minimum, minimum + side] fills the cube and the length is `side`. With it the
    box is the cube's inner half, all beyond is in the outer half, and lengths grow with the way out.
    """
    unit = (points - minimum) / side
    if not contracted:
        return unit, torch.full_like(unit[..., 0], side)
    inner = 2 * unit - 1  # the box is [-1, 1]^3
    return contract(inner) / 4 + 0.5, side * inner.abs().amax(dim=-1).clamp(min=1)
