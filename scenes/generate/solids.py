"""Closed triangle solids in plain numpy: what brick parts are cut from.

Every function returns a Solid whose surface is closed (each edge belongs to two triangles, or to
two per shell where shells touch) and whose normals point outwards. A part may be several
overlapping closed shells; a path tracer does not mind, and no boolean operations are needed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int

Array = np.ndarray
Number = float | int
Point = Sequence[Number] | Array
Points = Sequence[Point] | Array


@dataclass(frozen=True, eq=False)
class Solid:
    """A closed surface: vertices in the unit of the part, faces counter-clockwise seen from outside."""

    vertices: Float[Array, "v 3"]
    faces: Int[Array, "f 3"]

    def moved(self, matrix: Float[Array, "4 4"]) -> "Solid":
        """The solid under a rigid motion or positive scale (a mirror would turn it inside out)."""
        return Solid(self.vertices @ matrix[:3, :3].T + matrix[:3, 3], self.faces)

    def shifted(self, x: Number = 0.0, y: Number = 0.0, z: Number = 0.0) -> "Solid":
        return Solid(self.vertices + np.array([x, y, z]), self.faces)

    def volume(self) -> float:
        """Signed volume by the divergence theorem (overlapping shells count twice)."""
        a, b, c = (self.vertices[self.faces[:, i]] for i in range(3))
        return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6.0)


def join(*solids: Solid) -> Solid:
    """One solid with the shells of all."""
    starts = np.cumsum([0] + [len(s.vertices) for s in solids[:-1]])
    faces = [s.faces + start for s, start in zip(solids, starts, strict=True)]
    return Solid(np.concatenate([s.vertices for s in solids]), np.concatenate(faces))


def rotation(axis: str, degrees: Number) -> Float[Array, "4 4"]:
    """Rotation about x, y or z, counter-clockwise seen from the tip of the axis."""
    i, j = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    matrix = np.eye(4)
    angle = np.radians(degrees)
    matrix[i, i] = matrix[j, j] = np.cos(angle)
    matrix[j, i], matrix[i, j] = np.sin(angle), -np.sin(angle)
    return matrix


def translation(x: Number, y: Number, z: Number) -> Float[Array, "4 4"]:
    matrix = np.eye(4)
    matrix[:3, 3] = (x, y, z)
    return matrix


def frame_along(start: Point, end: Point) -> Float[Array, "4 4"]:
    """Pose at `start` whose z axis points to `end` and whose x axis is as level as it can be."""
    forward = np.subtract(end, start) / np.linalg.norm(np.subtract(end, start))
    side = np.cross((0.0, 0.0, 1.0), forward)
    if np.linalg.norm(side) < 1e-9:
        side = np.array([1.0, 0.0, 0.0])
    side = side / np.linalg.norm(side)
    matrix = np.eye(4)
    matrix[:3, 0], matrix[:3, 1], matrix[:3, 2] = side, np.cross(forward, side), forward
    matrix[:3, 3] = start
    return matrix


def circle(radius: Number, count: int, phase: Number = 0.0) -> Float[Array, "k 2"]:
    angles = 2 * np.pi * (np.arange(count) + phase) / count
    return radius * np.stack([np.cos(angles), np.sin(angles)], axis=-1)


def bezier(*points: Point, count: int = 24) -> Float[Array, "k 3"]:
    """Points of the Bezier curve with these control points (de Casteljau)."""
    t = np.linspace(0.0, 1.0, count)[:, None]
    layer = [np.broadcast_to(np.asarray(p, dtype=float), (count, 3)) for p in points]
    while len(layer) > 1:
        layer = [(1 - t) * a + t * b for a, b in pairwise(layer)]
    return layer[0]


def _stack(loops: Sequence[Float[Array, "k 3"]]) -> Solid:
    """Skin over loops of equal length (counter-clockwise seen from the last), with a fan at each end."""
    count = len(loops[0])
    ends = np.stack([loops[0].mean(axis=0), loops[-1].mean(axis=0)])
    i = np.arange(count)
    j = (i + 1) % count
    faces = []
    for row in range(len(loops) - 1):
        a, b = row * count, (row + 1) * count
        faces += [np.stack([a + i, a + j, b + j], -1), np.stack([a + i, b + j, b + i], -1)]
    first, last = count * len(loops), count * (len(loops) - 1)
    faces.append(np.stack([np.full(count, first), j, i], -1))
    faces.append(np.stack([np.full(count, first + 1), last + i, last + j], -1))
    return Solid(np.concatenate([*loops, ends]), np.concatenate(faces))


def _inset(outline: Float[Array, "k 2"], by: Number) -> Float[Array, "k 2"]:
    """A convex counter-clockwise outline with every side moved inwards by `by`."""
    side = np.roll(outline, -1, axis=0) - outline
    normal = np.stack([-side[:, 1], side[:, 0]], -1) / np.linalg.norm(side, axis=1, keepdims=True)
    before = np.roll(normal, 1, axis=0)
    return outline + by * (before + normal) / (1 + np.sum(before * normal, axis=1, keepdims=True))


def prism(outline: Points, bottom: Number, top: Number, bevel: Number = 0.0) -> Solid:
    """Upright prism over a counter-clockwise outline (x, y), star-shaped about its mean point.

    `bevel` cuts the rims of both ends at 45 degrees; the outline must then be convex.
    """
    flat = np.asarray(outline, dtype=float)

    def loop(points: Float[Array, "k 2"], z: Number) -> Float[Array, "k 3"]:
        return np.concatenate([points, np.full((len(points), 1), z)], axis=1)

    if bevel == 0.0:
        return _stack([loop(flat, bottom), loop(flat, top)])
    small = _inset(flat, bevel)
    return _stack(
        [loop(small, bottom), loop(flat, bottom + bevel), loop(flat, top - bevel), loop(small, top)]
    )


def box(size: Point, at: Point = (0.0, 0.0, 0.0), chamfer: Number = 0.0) -> Solid:
    """Axis-aligned box with its lowest corner at `at`; `chamfer` cuts all twelve edges at 45 degrees."""
    low, high = np.asarray(at, dtype=float), np.add(at, size, dtype=float)
    if chamfer == 0.0:
        return prism([low[:2], (high[0], low[1]), high[:2], (low[0], high[1])], low[2], high[2])
    # Three points per corner: point `axis` lies on the face across that axis.
    signs = np.array([[(c >> a) & 1 for a in range(3)] for c in range(8)])
    corner = np.where(signs == 1, high, low)
    inward = (1 - 2 * signs) * chamfer
    points = corner[:, None, :] + inward[:, None, :] * (1 - np.eye(3))
    loops = [[3 * c + a for a in range(3)] for c in range(8)]
    for axis in range(3):
        u, v = 1 << (axis + 1) % 3, 1 << (axis + 2) % 3
        for side in (0, 1 << axis):
            loops.append([3 * (side + k) + axis for k in (0, u, u + v, v)])
        for k in (0, u, v, u + v):  # the edge along `axis`, between the faces across u and across v
            a, b = (axis + 1) % 3, (axis + 2) % 3
            loops.append([3 * k + a, 3 * k + b, 3 * (k + (1 << axis)) + b, 3 * (k + (1 << axis)) + a])
    return convex(points.reshape(-1, 3), loops)


def convex(vertices: Float[Array, "v 3"], loops: Sequence[Sequence[int]]) -> Solid:
    """Convex solid from its flat faces as vertex loops in any direction of turning."""
    middle = vertices.mean(axis=0)
    faces = []
    for loop in loops:
        a, b, c = vertices[loop[0]], vertices[loop[1]], vertices[loop[2]]
        turned = loop if np.dot(np.cross(b - a, c - a), a - middle) > 0 else loop[::-1]
        faces += [(turned[0], turned[k], turned[k + 1]) for k in range(1, len(turned) - 1)]
    return Solid(vertices, np.array(faces))


def lathe(profile: Points, segments: int = 24) -> Solid:
    """Solid of revolution about z of a profile (radius, z), counter-clockwise (outwards, up, inwards).

    A profile that starts and ends on the axis closes there; any other is a closed loop (a ring).
    """
    radius, height = np.asarray(profile, dtype=float).T
    turn = circle(1.0, segments)
    ring = radius[0] > 0
    if not ring:
        radius, height = radius[1:-1], height[1:-1]
    loops = [
        np.concatenate([r * turn, np.full((segments, 1), z)], 1) for r, z in zip(radius, height, strict=True)
    ]
    if not ring:
        skin = _stack(loops)
        skin.vertices[-2:, 2] = profile[0][1], profile[-1][1]
        return skin
    rows, i = len(loops), np.arange(segments)
    j = (i + 1) % segments
    faces = []
    for row in range(rows):
        a, b = row * segments, (row + 1) % rows * segments
        faces += [np.stack([a + i, a + j, b + j], -1), np.stack([a + i, b + j, b + i], -1)]
    return Solid(np.concatenate(loops), np.concatenate(faces))


def pierced(outer: Float[Array, "k 2"], inner: Float[Array, "k 2"], bottom: Number, top: Number) -> Solid:
    """Upright plate between two outlines with as many points each, counter-clockwise."""
    count = len(outer)
    rows = [(outer, bottom), (outer, top), (inner, top), (inner, bottom)]
    vertices = np.concatenate([np.concatenate([p, np.full((count, 1), z)], 1) for p, z in rows])
    i = np.arange(count)
    j = (i + 1) % count
    faces = []
    for row in range(4):
        a, b = row * count, (row + 1) % 4 * count
        faces += [np.stack([a + i, a + j, b + j], -1), np.stack([a + i, b + j, b + i], -1)]
    return Solid(vertices, np.concatenate(faces))


def tube(path: Points, radius: Number, segments: int = 10) -> Solid:
    """A round cable along a polyline, its frame carried without twist, flat at both ends."""
    points = np.asarray(path, dtype=float)
    step = np.diff(points, axis=0)
    step /= np.linalg.norm(step, axis=1, keepdims=True)
    along = np.concatenate([step[:1], step[:-1] + step[1:], step[-1:]])
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    side = frame_along(points[0], points[1])[:3, 0]
    loops = []
    for point, forward in zip(points, along, strict=True):
        side = side - forward * np.dot(side, forward)
        side /= np.linalg.norm(side)
        turn = circle(radius, segments)
        loops.append(point + turn[:, :1] * side + turn[:, 1:] * np.cross(forward, side))
    return _stack(loops)


def strut(start: Point, end: Point, width: Number, height: Number) -> Solid:
    """A square bar between two points, `width` level and `height` across that."""
    length = float(np.linalg.norm(np.subtract(end, start)))
    return box((width, height, length), (-width / 2, -height / 2, 0.0)).moved(frame_along(start, end))
