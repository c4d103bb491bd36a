"""Triangles to pixels: which triangle a picture shows where, and in which shares of its corners.

Corners are rounded to 1/4096 of a pixel, which makes edge functions whole numbers, exact in float64. A
pixel shows what its centre (at +0.5) lies in; a centre on an edge belongs to the triangle whose left or top
edge that is. So triangles that share an edge leave no gap along it and cover nothing twice. Corners run
clockwise in the picture (y down): triangles that show their back, or have no area, are left out.

The nearest wins; of surfaces at one float32 disparity, the triangle that stands first.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

STEPS = 4096  # of a pixel; edge functions stay exact as far as 2**13 pixels from the origin
CANDIDATES = 2**22  # pairs of a triangle and a pixel that are looked at in one go
LAST = 2**32 - 1  # number of a triangle that a z-buffer could still hold


class Fragments(NamedTuple):
    """What each pixel shows.

    face       the triangle's number, -1 for none
    shares     of its three corners, linear in the picture, adding up to 1; 0 where there is none
    disparity  1 / z_depth; 0 where there is none
    """

    face: Int64[Tensor, "h w"]
    shares: Float[Tensor, "h w 3"]
    disparity: Float[Tensor, "h w"]

    @property
    def covered(self) -> Bool[Tensor, "h w"]:
        return self.face >= 0


def rasterise(
    pixels: Float[Tensor, "v 2"],
    disparity: Float[Tensor, " v"],
    faces: Int64[Tensor, "f 3"],
    width: int,
    height: int,
) -> Fragments:
    """Triangles through a z-buffer; float64.

    pixels: x and y of the vertices, the first pixel's centre at (0.5, 0.5); they may lie outside.
    disparity: 1 / z_depth of the vertices, 0 or more. A face must lie before the camera as a whole.
    """
    x, y = (pixels.double() * STEPS).round().T.contiguous()
    depths = disparity.double()
    corners = faces.T.contiguous()
    buffer = ZBuffer(width * height, pixels.device)
    boxes = _boxes(x, y, corners, width, height)
    for part in _portions(boxes.columns * boxes.rows):
        face, column, row = _candidates(Boxes(*(each[part] for each in boxes)))
        around = corners[:, face]
        edges, inside = _edge_functions(x[around], y[around], column, row)
        inside = inside.nonzero()[:, 0]
        edges, around = edges[:, inside], around[:, inside]
        met = (edges * depths[around]).sum(dim=0) / edges.sum(dim=0)
        buffer.offer(row[inside] * width + column[inside], met, face[inside])
    face = buffer.winners()
    covered = (face >= 0).nonzero()[:, 0]
    around = corners[:, face[covered]]
    edges, _ = _edge_functions(x[around], y[around], covered % width, covered // width)
    share = edges / edges.sum(dim=0)
    shares, found = x.new_zeros(height * width, 3), x.new_zeros(height * width)
    shares[covered], found[covered] = share.T, (share * depths[around]).sum(dim=0)
    size = (height, width)
    return Fragments(face.view(size), shares.view(*size, 3), found.view(size))


def interpolate(
    fragments: Fragments,
    faces: Int64[Tensor, "f 3"],
    values: Float[Tensor, "v c"],
    z_depth: Float[Tensor, " v"],
) -> Float[Tensor, "h w c"]:
    """Values of vertices at every pixel, linear along the surface (perspective-correct); 0 for no surface.

    z_depth: of the vertices, more than 0, or times any one number.
    """
    found = values.new_zeros(*fragments.face.shape, values.shape[-1])
    covered = fragments.covered
    corners = faces[fragments.face[covered]]
    share = fragments.shares[covered] / z_depth.double()[corners]
    share = (share / share.sum(dim=-1, keepdim=True))[..., None]
    found[covered] = (share * values[corners]).sum(dim=1).to(values.dtype)
    return found


class ZBuffer:
    """The nearest of what is offered to each of `count` pixels, in any order and any number of goes."""

    def __init__(self, count: int, device: torch.device) -> None:
        self.keys = torch.full((count,), -1, dtype=torch.int64, device=device)

    def offer(
        self, pixel: Int64[Tensor, " n"], disparity: Float[Tensor, " n"], number: Int64[Tensor, " n"]
    ) -> None:
        """Things with a number from 0 to LAST; of two at one float32 disparity the lower number stays."""
        # Floats that are not negative are ordered as their bits are.
        bits = disparity.float().clamp(min=0).view(torch.int32).long()
        self.keys.scatter_reduce_(0, pixel, (bits << 32) | (LAST - number), "amax")

    def winners(self) -> Int64[Tensor, " count"]:
        """The number of what is nearest, -1 where nothing was offered."""
        return torch.where(self.keys >= 0, LAST - (self.keys & LAST), -1)


class Boxes(NamedTuple):
    """The pixels that triangles can cover: their number, the first column and row, and how many of both."""

    face: Int64[Tensor, " n"]
    column: Int64[Tensor, " n"]
    row: Int64[Tensor, " n"]
    columns: Int64[Tensor, " n"]
    rows: Int64[Tensor, " n"]


def _boxes(
    x: Float[Tensor, " v"], y: Float[Tensor, " v"], corners: Int64[Tensor, "3 f"], width: int, height: int
) -> Boxes:
    """Of triangles that show their front and have pixels in their box."""
    (ax, bx, cx), (ay, by, cy) = x[corners], y[corners]
    seen = (bx - ax) * (cy - ay) > (by - ay) * (cx - ax)
    sides = []
    for a, b, c, size in ((ax, bx, cx, width), (ay, by, cy, height)):
        low, high = torch.minimum(a, b).minimum(c), torch.maximum(a, b).maximum(c)
        first, end = (((side - STEPS // 2) / STEPS).ceil().clamp(0, size) for side in (low, high))
        seen &= end > first
        sides.append((first, end - first))
    face = seen.nonzero()[:, 0]
    (column, columns), (row, rows) = ((first[face].long(), count[face].long()) for first, count in sides)
    return Boxes(face, column, row, columns, rows)


def _portions(count: Int64[Tensor, " n"]) -> Iterator[slice]:
    """Runs of triangles that have about CANDIDATES pixels in their boxes together."""
    if not len(count):
        return
    go = count.cumsum(0) // CANDIDATES
    starts = [0, *(go.diff().nonzero()[:, 0] + 1).tolist(), len(count)]
    yield from (slice(*ends) for ends in pairwise(starts))


def _candidates(boxes: Boxes) -> tuple[Int64[Tensor, " k"], Int64[Tensor, " k"], Int64[Tensor, " k"]]:
    """Triangles, and the column and row of each pixel in their boxes."""
    count = boxes.columns * boxes.rows
    box = torch.arange(len(count), device=count.device).repeat_interleave(count)
    within = torch.arange(len(box), device=count.device) - (count.cumsum(0) - count)[box]
    columns = boxes.columns[box]
    row = (within.double() / columns).long()  # faster than dividing integers, and as exact
    return boxes.face[box], boxes.column[box] + within - row * columns, boxes.row[box] + row


def _edge_functions(
    x: Float[Tensor, "3 k"], y: Float[Tensor, "3 k"], column: Int64[Tensor, " k"], row: Int64[Tensor, " k"]
) -> tuple[Float[Tensor, "3 k"], Bool[Tensor, " k"]]:
    """Twice the areas between a pixel's centre and the sides opposite to the corners; whether it is inside.

    Pineda, SIGGRAPH 1988.
    """
    x, y = x - (column * STEPS + STEPS // 2), y - (row * STEPS + STEPS // 2)
    edges = torch.empty_like(x)
    inside = torch.ones_like(column, dtype=torch.bool)
    for opposite, start, end in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        edge = torch.sub(x[start] * y[end], x[end] * y[start], out=edges[opposite])
        down, along = y[end] - y[start], x[end] - x[start]
        inside &= (edge > 0) | ((edge == 0) & ((down < 0) | ((down == 0) & (along > 0))))
    return edges, inside
