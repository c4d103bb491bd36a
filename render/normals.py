"""Normals of what a picture shows, from how its surface goes on in the neighbouring pixels."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize


def surface_normals(
    points: Float[Tensor, "h w 3"], distance: Float[Tensor, "h w"], directions: Float[Tensor, "h w 3"]
) -> Float[Tensor, "h w 3"]:
    """Unit normals, towards the camera, of the surface through `points`; 0 where nothing is met.

    points: what each pixel shows, any frame; distance: to it along the ray, 0 where the ray meets nothing;
    directions: of the rays. In each direction of the picture the neighbour at the more similar distance is
    taken, so that no normal leans over an edge of what is in front.
    """
    across, down = (_step(points, distance, axis) for axis in (1, 0))
    normal = normalize(torch.linalg.cross(down, across), dim=-1)
    away = (normal * directions).sum(dim=-1, keepdim=True) > 0
    normal = torch.where(away, -normal, normal)
    return torch.where((distance > 0)[..., None], normal, 0.0)


def _step(
    points: Float[Tensor, "h w 3"], distance: Float[Tensor, "h w"], axis: int
) -> Float[Tensor, "h w 3"]:
    """From each pixel's point on to that of a neighbour along `axis`, or from the neighbour before it."""
    before, after = points.diff(dim=axis), points.diff(dim=axis)
    jump = _jumps(distance, axis)
    nothing = points.narrow(axis, 0, 1) * 0
    endless = torch.full_like(distance.narrow(axis, 0, 1), torch.inf)
    before, far_before = torch.cat((nothing, before), dim=axis), torch.cat((endless, jump), dim=axis)
    after, far_after = torch.cat((after, nothing), dim=axis), torch.cat((jump, endless), dim=axis)
    return torch.where((far_after <= far_before)[..., None], after, before)


def _jumps(distance: Float[Tensor, "h w"], axis: int) -> Float[Tensor, "*s"]:
    """How much neighbours' distances differ; without end where one of them meets nothing."""
    count = distance.shape[axis] - 1
    met = (distance.narrow(axis, 0, count) > 0) & (distance.narrow(axis, 1, count) > 0)
    return torch.where(met, distance.diff(dim=axis).abs(), torch.inf)
