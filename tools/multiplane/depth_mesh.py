"""A picture with depth as a surface: neighbouring pixels joined, and torn apart where depth jumps.

Vertices are pixel centres, and four neighbours that are joined make two triangles. Around a tear, at the rim
of the picture and beside unknown depth every pixel keeps the quarters of its own square, which go on in its
own slope. So the surface shows each known pixel at its full size: seen from where it was taken, nothing is
missing, and a strip that opens between two surfaces is as wide as their disparities differ. (AdaMPI's
published mesh ends at pixel centres and hides the pixels on both sides of a jump, the near one too.)
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn.functional import pad

from scenes.cameras import Cameras

# Of the range of disparity. AdaMPI (arXiv:2205.11733) hides pixels with exp(-10 |Sobel|) <= 0.3: a jump of
# this height on both its sides, as Sobel's plain kernels make four times its height of it.
TEAR = math.log(1 / 0.3) / 10 / 4
STEEP = 3  # times TEAR: a steeper surface is torn even if it goes on like that

# Quarters of a cell between four pixels, in the order of its corners: left above, right above, left below,
# right below. Each goes from its corner half a pixel right or left and half a pixel down or up.
RIGHT, DOWN = (0.5, -0.5, 0.5, -0.5), (0.5, 0.5, -0.5, -0.5)
# Two triangles of a quarter, clockwise; its vertices are the corner, the middle of the side to the left or
# right, the middle of the cell, and the middle of the side above or below.
CLOCKWISE, MIRRORED = ((0, 1, 2), (0, 2, 3)), ((0, 2, 1), (0, 3, 2))
QUARTERS = (CLOCKWISE, MIRRORED, MIRRORED, CLOCKWISE)


class DepthMesh(NamedTuple):
    """Triangles in the world.

    vertices  homogeneous: the point is xyz / w, infinitely far for w = 0; from where they were seen,
              w = 1 / z_depth
    values    of the vertices
    faces     clockwise as they were seen
    """

    vertices: Float[Tensor, "v 4"]
    values: Float[Tensor, "v c"]
    faces: Int64[Tensor, "f 3"]


class Joined(NamedTuple):
    """Which neighbours lie on one surface: right and left of each other, above and below each other."""

    across: Bool[Tensor, "h columns"]
    down: Bool[Tensor, "rows w"]


def depth_mesh(
    z_depth: Float[Tensor, "h w"],
    values: Float[Tensor, "h w c"],
    camera: Cameras,
    tear: float | int = TEAR,
) -> DepthMesh:
    """The surface that a picture with depth shows; float64.

    z_depth: infinite where there is nothing but the sky; unknown where it is 0, negative or no number.
    values: of the pixels, such as colours.
    tear: jump of disparity between neighbours, of its range in the picture, above which they are torn apart.
    Raises: ValueError if the camera bends rays or is not of the picture's size.
    """
    check_picture(z_depth, camera)
    width = z_depth.shape[1]
    z_depth = pad(z_depth.double(), (1, 1, 1, 1))
    values = pad(values.double(), (0, 0, 1, 1, 1, 1))
    known = z_depth > 0
    disparity = torch.where(known, 1 / z_depth, 0.0)
    joined = joined_neighbours(disparity, known, tear)
    whole = joined.across[:-1] & joined.across[1:] & joined.down[:, :-1] & joined.down[:, 1:]
    data = torch.cat((disparity[..., None], values), dim=-1)
    places = torch.stack(torch.meshgrid(*(torch.arange(n) for n in known.shape), indexing="ij")[::-1], dim=-1)
    places = places.to(data) - 0.5
    corner = torch.tensor([0, 1, width + 2, width + 3], device=whole.device)
    cells = _cells(whole, width)[:, None] + corner
    faces = torch.cat((cells[:, [0, 1, 2]], cells[:, [1, 3, 2]]))
    beside = known[:-1, :-1] | known[:-1, 1:] | known[1:, :-1] | known[1:, 1:]
    torn = _cells(beside & ~whole, width)[:, None] + corner
    more = _quarters(data, places, known, joined, torn)
    faces = torch.cat((faces, more.faces + known.numel()))
    data = torch.cat((data.flatten(0, 1), more.data))
    places = torch.cat((places.flatten(0, 1), more.places))
    return DepthMesh(unproject(camera, places, data[:, 0].clamp(min=0)), data[:, 1:], faces)


def check_pinhole(name: str, camera: Cameras) -> None:
    """Raises: ValueError if a camera's straight lines are not straight in its picture, or it is many."""
    if camera.distortion is not None or camera.projection != "perspective":
        raise ValueError(f"{name} has a lens that bends straight lines; undistort its picture first")
    if camera.shape:
        raise ValueError(f"{name} is a batch of {len(camera)}; give one of them")


def check_picture(z_depth: Float[Tensor, "h w"], camera: Cameras) -> None:
    """Raises: ValueError if `camera` bends rays, or is not of the size of its picture."""
    check_pinhole("camera", camera)
    height, width = z_depth.shape
    if (camera.width, camera.height) != (width, height):
        raise ValueError(
            f"camera is {camera.width} x {camera.height} and z_depth {width} x {height}; scale the camera"
        )


def joined_neighbours(
    disparity: Float[Tensor, "h w"], known: Bool[Tensor, "h w"], tear: float | int
) -> Joined:
    """Neighbours that are both known, and apart by no more than `tear` of the range of disparity.

    Up to STEEP times as much, where that differs by no more than `tear` from the step beside it, on one side
    or the other: a floor that is seen at a low angle is steep, and no jump.
    """
    least, most = disparity[known].aminmax() if bool(known.any()) else (0.0, 0.0)
    limit = tear * (most - least)
    disparity = torch.where(known, disparity, torch.nan)
    joined = []
    for dim in (1, 0):
        step = disparity.diff(dim=dim)
        bend = step.diff(dim=dim).abs().nan_to_num(torch.inf)
        end = torch.full_like(step.narrow(dim, 0, 1), torch.inf)
        bend = torch.minimum(torch.cat((end, bend), dim), torch.cat((bend, end), dim))
        step = step.abs()  # of unknown pixels no number, which is no less than anything
        joined.append((step <= limit) | (step <= STEEP * limit) & (bend <= limit))
    return Joined(*joined)


def _cells(chosen: Bool[Tensor, "rows columns"], width: int) -> Int64[Tensor, " n"]:
    """Number, in the padded picture, of the pixel left above in every chosen cell."""
    row, column = chosen.nonzero().T
    return row * (width + 2) + column


class Quarters(NamedTuple):
    data: Float[Tensor, "v c"]
    places: Float[Tensor, "v 2"]
    faces: Int64[Tensor, "f 3"]


def _quarters(
    data: Float[Tensor, "h w c"],
    places: Float[Tensor, "h w 2"],
    known: Bool[Tensor, "h w"],
    joined: Joined,
    cells: Int64[Tensor, "n 4"],
) -> Quarters:
    """The quarters of torn cells, each joined in its middles with those that its pixel is joined with."""
    right, left = (step.flatten(0, 1) for step in _half_steps(data, joined.across, 1))
    below, above = (step.flatten(0, 1) for step in _half_steps(data, joined.down, 0))
    a, b, c, d = cells.T
    sideways = torch.stack((right[a], left[b], right[c], left[d]), dim=1)
    upright = torch.stack((below[a], below[b], above[c], above[d]), dim=1)
    own, present = data.flatten(0, 1)[cells], known.flatten()[cells]
    # Of the middle all who are joined, be it around the corner, hold one opinion: the mean of theirs.
    together = _together(joined, cells) * present[:, None]
    middle = together @ (own + sideways + upright) / together.sum(dim=-1, keepdim=True).clamp(min=1)
    corners = torch.stack((own, own + sideways, middle, own + upright), dim=2)
    x, y = (own.new_tensor(steps) for steps in (RIGHT, DOWN))
    none = torch.zeros_like(x)
    steps = torch.stack((none, none, x, none, x, y, none, y), dim=-1).view(4, 4, 2)
    at = places.flatten(0, 1)[cells][:, :, None] + steps
    quarter = present.nonzero()
    faces = torch.tensor(QUARTERS, device=cells.device)[quarter[:, 1]]
    first = 4 * torch.arange(len(quarter), device=cells.device)
    faces = (first[:, None, None] + faces).flatten(0, 1)
    return Quarters(corners[present].flatten(0, 1), at[present].flatten(0, 1), faces)


def _half_steps(
    data: Float[Tensor, "h w c"], joined: Bool[Tensor, "_ _"], dim: int
) -> tuple[Float[Tensor, "h w c"], Float[Tensor, "h w c"]]:
    """What data changes by from each pixel's centre to its next side and to the one before.

    Half of the difference from what it is joined with. On the other side of a jump disparity, which comes
    first, goes on in its slope, and the rest stays as it is.
    """
    nothing = torch.zeros_like(data.narrow(dim, 0, 1))
    none = torch.zeros_like(joined.narrow(dim, 0, 1))
    step = data.diff(dim=dim) / 2 * joined[..., None]
    ahead, behind = torch.cat((step, nothing), dim), -torch.cat((nothing, step), dim)
    is_ahead, is_behind = torch.cat((joined, none), dim), torch.cat((none, joined), dim)
    goes_on = torch.zeros_like(data[0, 0])
    goes_on[0] = -1
    return (
        torch.where(is_ahead[..., None], ahead, behind * goes_on),
        torch.where(is_behind[..., None], behind, ahead * goes_on),
    )


def _together(joined: Joined, cells: Int64[Tensor, "n 4"]) -> Float[Tensor, "n 4 4"]:
    """Which corners of cells are joined, directly or over others: 1 or 0."""
    wide = joined.down.shape[1]
    row, column = cells[:, 0] // wide, cells[:, 0] % wide
    direct = torch.eye(4, dtype=torch.float64, device=cells.device).repeat(len(cells), 1, 1)
    for one, other, is_joined in (
        (0, 1, joined.across[row, column]),
        (2, 3, joined.across[row + 1, column]),
        (0, 2, joined.down[row, column]),
        (1, 3, joined.down[row, column + 1]),
    ):
        direct[:, one, other] = direct[:, other, one] = is_joined.double()
    return (direct @ direct @ direct).clamp(max=1)


def unproject(
    camera: Cameras, pixels: Float[Tensor, "v 2"], disparity: Float[Tensor, " v"]
) -> Float[Tensor, "v 4"]:
    """Homogeneous world points (xyz / w, with w = disparity) that a pinhole sees at these pixels; float64."""
    pose, intrinsics = camera.camera_to_world.double(), camera.intrinsics.double()
    plane = (pixels.double() - intrinsics[2:]) / intrinsics[:2]
    ray = pad(plane, (0, 1), value=1.0)
    points = ray @ pose[:3, :3].T + disparity[:, None] * pose[:3, 3]
    return torch.cat((points, disparity[:, None]), dim=-1)
