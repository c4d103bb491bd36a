"""Multiplane images along rays (MINE, arXiv:2103.14910, Eqs. 2-10; AdaMPI, arXiv:2205.11733).

    planes   (n, h, w, 4)  colour, and density (1 / unit) or alpha, of n pictures that one camera sees
    z_depth  (n,)          where they stand before it, across its optical axis, near to far, unit
    lines    (rays, 6)     float64: a_u, b_u, a_v, b_v, offset, slope

On its way through the planes a ray moves along its epipolar line in the source's picture: it meets the plane
at z where pixel (a_u + b_u / z, a_v + b_v / z) stands, at distance offset + slope z. That is the homography
K_t (R + t n^T / z) K_s^-1 taken backwards, for one pixel, and holds for any lens of the target camera.

A plane is read bilinearly between the middles of its pixels, which stand at +0.5; outside of its picture the
border goes on. Planes at distance 0 or less are behind the target camera: they are not met. Nor are any by a
ray that runs along the planes or back to the source: they are seen from the source's side alone.

The reference is differentiable to planes, z_depth and lines; the kernel, for looking, is not.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int32
from torch import Tensor

from fields.kernels.checks import check_array, check_backend, check_range
from fields.kernels.library import library

LAST_INTERVAL = 1e3  # behind the last plane of densities, unit
GRAZING = 1e-6  # cosine to the planes' axis from which on a ray meets them
KINDS = ("density", "alpha")
OUTSIDE = ("border", "empty")


class Marched(NamedTuple):
    """Per ray the weighted sums of colour, of 1 and of distance.

    samples: planes that it meets within their pictures, before its transmittance falls too low.
    """

    rgb: Float[Tensor, "rays 3"]
    opacity: Float[Tensor, " rays"]
    distance: Float[Tensor, " rays"]
    samples: Int32[Tensor, " rays"]


def epipolar_lines(
    origins: Float[Tensor, "rays 3"], directions: Float[Tensor, "rays 3"], intrinsics: Float[Tensor, "4"]
) -> Float[Tensor, "rays 6"]:
    """Lines of rays with unit directions, both along the source camera's axes; its fx, fy, cx, cy in pixels.

    In double precision, since a single one is off by 1e-4 of a pixel.
    """
    origins, directions, intrinsics = (x.double() for x in (origins, directions, intrinsics))
    facing = directions[:, 2] > GRAZING
    slope = 1 / torch.where(facing, directions[:, 2], 1)
    tangent = directions[:, :2] * slope[:, None]
    focal, middle = intrinsics[:2], intrinsics[2:]
    a = focal * tangent + middle
    b = focal * (origins[:, :2] - origins[:, 2:] * tangent)
    offset = -origins[:, 2] * slope
    lines = torch.stack((a[:, 0], b[:, 0], a[:, 1], b[:, 1], offset, slope), dim=-1)
    nowhere = lines.new_tensor([0.0, 0.0, 0.0, 0.0, -1.0, 0.0])  # every plane is behind the camera
    return torch.where(facing[:, None], lines, nowhere)


def plane_weights(
    opacity: Float[Tensor, "n *s"],
    delta: Float[Tensor, "n *s"] | None,
    epsilon: float | int = 0.0,
) -> tuple[Float[Tensor, "n *s"], Float[Tensor, "n *s"]]:
    """Share of each plane in its pixel, and the transmittance before it; planes from the front.

    opacity: density, with the distance to the next plane as delta; or alpha, without.
    epsilon: added to what each plane lets through.
    """
    if delta is None:
        alpha = opacity
        after = (1 - alpha + epsilon).cumprod(dim=0)
    else:
        thickness = opacity * delta
        alpha = -torch.expm1(-thickness)
        # A sum in the exponent: the backward pass of a product with zeros in it is ten times as slow.
        thinned = -torch.log(torch.exp(-thickness) + epsilon) if epsilon else thickness
        after = torch.exp(-thinned.cumsum(dim=0))
    before = torch.cat((torch.ones_like(after[:1]), after[:-1]))
    return before * alpha, before


def intervals(
    z_depth: Float[Tensor, " n"], slope: Float[Tensor, "*s"], kind: str
) -> Float[Tensor, "n *s"] | None:
    """Distance from each plane to the next along rays that are `slope` long per unit of z_depth.

    None for planes of alphas, which need none.
    """
    if kind == "alpha":
        return None
    gaps = z_depth.diff().view(-1, *[1] * slope.ndim) * slope
    return torch.cat((gaps, torch.full_like(slope, LAST_INTERVAL)[None]))


def sample_planes(
    planes: Float[Tensor, "n h w c"], z_depth: Float[Tensor, " n"], lines: Float[Tensor, "rays 6"]
) -> tuple[Float[Tensor, "n c rays"], Bool[Tensor, "n rays"]]:
    """What each ray reads from each plane, and whether it does so inside of the picture."""
    height, width = planes.shape[1:3]
    size = lines.new_tensor([width, height])
    a, b = 2 * lines[:, 0:4:2] / size - 1, 2 * lines[:, 1:4:2] / size  # [-1, 1] is the picture
    grid = a.to(planes.dtype) + b.to(planes.dtype) / z_depth[:, None, None]
    pictures = planes.permute(0, 3, 1, 2)
    read = F.grid_sample(pictures, grid[:, None], "bilinear", "border", align_corners=False)[:, :, 0]
    return read, (grid.detach().abs() <= 1).all(dim=-1)


def multiplane_reference(
    planes: Float[Tensor, "n h w 4"],
    z_depth: Float[Tensor, " n"],
    lines: Float[Tensor, "rays 6"],
    kind: str = "density",
    outside: str = "border",
    lowest_transmittance: float | int = 0.0,
    epsilon: float | int = 0.0,
) -> Marched:
    """The definition.

    kind: what the fourth channel is, density or alpha.
    outside: of the pictures the border goes on, or there is nothing ("empty").
    lowest_transmittance: planes before which less is left have no weight.
    epsilon: see `plane_weights`.
    """
    z_depth = z_depth.to(planes.dtype)
    read, inside = sample_planes(planes, z_depth, lines)
    offset, slope = lines[:, 4].to(planes.dtype), lines[:, 5].to(planes.dtype)
    distance = offset + slope * z_depth[:, None]
    met = distance.detach() > 0
    inside = inside & met
    opacity = torch.where(inside if outside == "empty" else met, read[:, 3], 0)
    weights, before = plane_weights(opacity, intervals(z_depth, slope, kind), epsilon)
    if lowest_transmittance:  # of a ray that has ended, an epsilon makes no new one
        reached = before.detach().cummin(dim=0).values >= lowest_transmittance
        weights, inside = torch.where(reached, weights, 0), inside & reached
    return Marched(
        (weights[:, None] * read[:, :3]).sum(dim=0).T,
        weights.sum(dim=0),
        (weights * distance).sum(dim=0),
        inside.sum(dim=0, dtype=torch.int32),
    )


def multiplane(
    planes: Float[Tensor, "n h w 4"],
    z_depth: Float[Tensor, " n"],
    lines: Float[Tensor, "rays 6"],
    kind: str = "density",
    outside: str = "border",
    lowest_transmittance: float | int = 0.0,
    epsilon: float | int = 0.0,
    backend: str = "reference",
) -> Marched:
    """What rays see of a multiplane image; see `multiplane_reference`.

    Raises: ValueError for a setting that is not known or, for the kernels, arrays that are not float32
    (lines: float64) and contiguous on the CPU, or one that asks for a gradient, which they do not give.
    """
    check_backend(backend)
    check_settings(kind, outside, lowest_transmittance, epsilon)
    if backend == "reference":
        settings = kind, outside, lowest_transmittance, epsilon
        return multiplane_reference(planes, z_depth, lines, *settings)
    if torch.is_grad_enabled() and any(x.requires_grad for x in (planes, z_depth, lines)):
        raise ValueError(
            "planes, z_depth or lines ask for a gradient; the kernels give none, use backend='reference'"
        )
    flags = kind == "alpha", outside == "empty"
    return Marched(*multiplane_op(planes, z_depth, lines, *flags, lowest_transmittance, epsilon))


def check_settings(kind: str, outside: str, lowest_transmittance: float | int, epsilon: float | int) -> None:
    """Raises ValueError that names the setting, its value and what it may be."""
    if kind not in KINDS:
        raise ValueError(f"kind is one of {', '.join(KINDS)}, got {kind!r}")
    if outside not in OUTSIDE:
        raise ValueError(f"outside is one of {', '.join(OUTSIDE)}, got {outside!r}")
    check_range("lowest_transmittance", float(lowest_transmittance), 0.0, 1.0)
    check_range("epsilon", float(epsilon), 0.0, 1.0)


@torch.library.custom_op("render::multiplane", mutates_args=(), device_types="cpu")
def multiplane_op(
    planes: Tensor, z_depth: Tensor, lines: Tensor,
    alpha: bool, empty: bool, lowest_transmittance: float, epsilon: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    check_array("planes", planes, (None, None, None, 4))
    check_array("z_depth", z_depth, (len(planes),))
    check_array("lines", lines, (None, 6), torch.float64)
    rays = len(lines)
    rgb, samples = planes.new_empty(rays, 3), torch.empty(rays, dtype=torch.int32)
    opacity, distance = planes.new_empty(rays), planes.new_empty(rays)
    library().call(
        "nr_multiplane", planes, z_depth, *planes.shape[:3], lines, rays, alpha, empty, LAST_INTERVAL,
        lowest_transmittance, epsilon, rgb, opacity, distance, samples,
    )  # fmt: skip
    return rgb, opacity, distance, samples


@multiplane_op.register_fake
def _(planes, z_depth, lines, alpha, empty, lowest_transmittance, epsilon):
    rays = lines.shape[0]
    sums = planes.new_empty(rays, 3), planes.new_empty(rays), planes.new_empty(rays)
    return *sums, planes.new_empty(rays, dtype=torch.int32)
