"""Points, lines and solids laid over a rendered picture: what is nearer hides what is farther."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from scenes.cameras import Cameras

BEHIND = 1e-3  # of its depth: how far a point may lie behind what is rendered, and still be seen on it
NEAR = 1e-6  # scene units: nothing nearer to the camera's plane is drawn


@dataclass(frozen=True, eq=False)
class Dots:
    """Points of the model frame, their colours, and how many pixels wide each is."""

    points: Float[Tensor, "n 3"]
    colours: UInt8[Tensor, "n 3"]
    width: int = 2


@dataclass(frozen=True, eq=False)
class Lines:
    """Segments of the model frame, from one end to the other, and their colours."""

    ends: Float[Tensor, "n 2 3"]
    colours: UInt8[Tensor, "n 3"]


@runtime_checkable
class Solid(Protocol):
    """What rays can meet: `tools/viewer/solids.py`."""

    def seen(self, camera: Cameras) -> tuple[UInt8[Tensor, "h w 3"], Float[Tensor, "h w"]]:
        """Colour and z_depth of each pixel; z_depth is infinite where nothing is met."""
        ...


def laid_over(
    rgb: UInt8[Tensor, "h w 3"],
    z_depth: Float[Tensor, "h w"],
    camera: Cameras,
    overlays: Sequence[Dots | Lines | Solid],
) -> UInt8[Tensor, "h w 3"]:
    """The picture with the overlays in it. z_depth: of what is rendered, 0 where nothing is."""
    rgb, nearest = rgb.clone(), torch.where(z_depth > 0, z_depth, torch.inf)
    for overlay in overlays:
        if isinstance(overlay, Dots | Lines):
            continue
        colour, depth = overlay.seen(camera)
        nearer = depth < nearest
        rgb[nearer], nearest = colour[nearer], torch.where(nearer, depth, nearest)
    for overlay in overlays:
        if isinstance(overlay, Dots):
            _dot(rgb, nearest, camera, overlay.points, overlay.colours, overlay.width)
        elif isinstance(overlay, Lines):
            _dot(rgb, nearest, camera, *_along(overlay, camera), 1)
    return rgb


def frusta(cameras: Cameras, length: float | int, colour: Sequence[int]) -> Lines:
    """The pyramids that cameras look into, `length` deep, scene units."""
    n = len(cameras)
    corners = corners_of(cameras)
    around = torch.stack(
        [cameras.rays(corners[:, i]).at(torch.full((n,), float(length))) for i in range(4)], dim=1
    )
    tips = cameras.centres[:, None].expand(-1, 4, -1)
    sides = torch.stack((tips, around), dim=2)
    rims = torch.stack((around, around.roll(-1, 1)), dim=2)
    ends = torch.cat((sides, rims), dim=1).reshape(-1, 2, 3)
    ends = ends[ends.isfinite().all(dim=-1).all(dim=-1)]  # a lens may not see its corners
    return Lines(ends, torch.tensor([list(colour)], dtype=torch.uint8).expand(len(ends), -1))


def corners_of(cameras: Cameras) -> Float[Tensor, "n 4 2"]:
    """The pixels in the corners of pictures, clockwise from the first."""
    shares = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    return shares * cameras.sizes[:, None].float()


def box_lines(corners: Float[Tensor, "8 3"], colour: Sequence[int]) -> Lines:
    """The edges of a box; corner i has bit k of i set where it lies on the far side along axis k."""
    edges = [(i, i | 1 << k) for i in range(8) for k in range(3) if not i & 1 << k]
    return Lines(corners[torch.tensor(edges)], torch.tensor([list(colour)] * 12, dtype=torch.uint8))


def _along(lines: Lines, camera: Cameras) -> tuple[Float[Tensor, "m 3"], UInt8[Tensor, "m 3"]]:
    """Points of the parts of lines that are in the picture, a pixel apart."""
    start, end, colours = _clipped(lines, camera)
    (first, near), (last, far) = camera.project(start), camera.project(end)
    # A camera that stands on a line may see it end nowhere.
    seen = (first.isfinite() & last.isfinite()).all(dim=-1) & (near > 0) & (far > 0)
    seen &= (last - first).abs().amax(dim=-1) <= 2 * (camera.width + camera.height)
    start, end, colours, first, last, near, far = (
        values[seen] for values in (start, end, colours, first, last, near, far)
    )
    steps = (last - first).abs().amax(dim=-1).ceil().long() + 1
    index = torch.arange(len(steps)).repeat_interleave(steps)
    place = torch.arange(len(index)) - (steps.cumsum(0) - steps)[index]
    # Even steps in the picture are not even in space: there 1 / depth is linear.
    share, near, far = place / (steps[index] - 1).clamp(min=1), near[index], far[index]
    share = share * near / (far + share * (near - far))
    return torch.lerp(start[index], end[index], share[:, None]), colours[index]


def _clipped(
    lines: Lines, camera: Cameras
) -> tuple[Float[Tensor, "m 3"], Float[Tensor, "m 3"], UInt8[Tensor, "m 3"]]:
    """Both ends of the part of each line that a perspective picture shows (Liang and Barsky, 1984)."""
    ends = lines.ends.to(camera.camera_to_world)
    x, y, z = ((ends - camera.centres) @ camera.camera_to_world[:3, :3]).unbind(-1)
    across, down = camera.fx * x + camera.cx * z, camera.fy * y + camera.cy * z
    sides = (z - NEAR, across, camera.width * z - across, down, camera.height * z - down)
    inside = torch.stack(sides, dim=-1)  # (n, 2, 5), not negative where an end is within a side
    rise = inside[:, 1] - inside[:, 0]
    crossing = -inside[:, 0] / rise
    into = torch.where(rise > 0, crossing, 0.0).clamp(min=0).amax(dim=-1)
    out = torch.where(rise < 0, crossing, 1.0).clamp(max=1).amin(dim=-1)
    seen = (into < out) & ~((rise == 0) & (inside[:, 0] < 0)).any(dim=-1)
    start, way = ends[seen, 0], ends[seen, 1] - ends[seen, 0]
    return start + into[seen, None] * way, start + out[seen, None] * way, lines.colours[seen]


def _dot(
    rgb: UInt8[Tensor, "h w 3"],
    nearest: Float[Tensor, "h w"],
    camera: Cameras,
    points: Float[Tensor, "n 3"],
    colours: UInt8[Tensor, "n 3"],
    width: int,
) -> None:
    """Draw points into a picture and its depths, each `width` pixels wide."""
    pixels, z_depth = camera.project(points.to(camera.camera_to_world))
    inside = (z_depth > NEAR) & pixels.isfinite().all(dim=-1)
    inside &= ((pixels > -width) & (pixels < pixels.new_tensor(rgb.shape[1::-1]) + width)).all(dim=-1)
    corner = (pixels[inside] - (width - 1) / 2).floor().long()
    offsets = torch.cartesian_prod(torch.arange(width), torch.arange(width))
    at = (corner[:, None] + offsets).reshape(-1, 2)
    depth = z_depth[inside].repeat_interleave(len(offsets))
    colour = colours[inside].repeat_interleave(len(offsets), 0)
    kept = (at >= 0).all(-1) & (at[:, 0] < rgb.shape[1]) & (at[:, 1] < rgb.shape[0])
    flat = at[kept, 1] * rgb.shape[1] + at[kept, 0]
    _nearest_wins(rgb, nearest, flat, depth[kept], colour[kept])


def _nearest_wins(
    rgb: UInt8[Tensor, "h w 3"],
    nearest: Float[Tensor, "h w"],
    flat: Int64[Tensor, " n"],
    depth: Float[Tensor, " n"],
    colour: UInt8[Tensor, "n 3"],
) -> None:
    depths = nearest.view(-1)
    seen = depth < depths[flat] * (1 + BEHIND)
    flat, depth, colour = flat[seen], depth[seen], colour[seen]
    front = torch.full_like(depths, torch.inf).scatter_reduce(0, flat, depth, "amin")
    first = depth == front[flat]
    rgb.view(-1, 3)[flat[first]] = colour[first]
    depths[flat[first]] = depth[first]
