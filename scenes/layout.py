"""How the cameras of a capture stand about what they see, and the model frame and bounds that follow.

In the model frame z is up, and the box [-1, 1]^3 holds what is seen best: for cameras that look inwards, what
they look at and themselves; else themselves and, where points are known, what is near them.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from scenes.cameras import Cameras
from scenes.scene import Bounds, Frustum, Vector
from scenes.transforms import looked_at_point, rotation_between, similarity, transform_points

Kind = Literal["inward", "forward", "outward"]
BOUNDS = ("auto", "box", "unbounded")  # what a user may ask for

COHERENT = 0.92  # length of the mean viewing direction: all within some 23 degrees of it
AHEAD = 0.8  # share of the cameras that have what they look at before them
NEAR = 0.05  # model units: where rays begin
FAR = 1e3
FEWEST_POINTS = 10  # fewer say nothing
NEAREST_POINT = 0.02  # quantile of the points' depths that counts as the nearest thing
BEFORE_NEAREST = 0.7  # of its depth: there rays begin


@dataclass(frozen=True)
class Layout:
    """kind, and why; where the middle of the box is and how large half of it is, input frame and units."""

    kind: Kind
    reason: str
    centre: Float[Tensor, "3"]
    half_side: float


def layout_of(
    camera_to_world: Float[Tensor, "n 4 4"], points: Float[Tensor, "m 3"], up: Float[Tensor, "3"]
) -> Layout:
    """Which way the cameras look: inwards, all one way, or outwards. float64.

    points: of structure from motion, may be empty. up: unit length; the box stands upright.
    """
    centres, axes = camera_to_world[:, :3, 3], camera_to_world[:, :3, 2]
    middle, mean_axis = centres.mean(dim=0), axes.mean(dim=0)
    coherence = float(mean_axis.norm())
    target = looked_at_point(camera_to_world, default=middle)
    ahead = float((((target - centres) * axes).sum(dim=-1) > 0).double().mean())
    extent = _extent(centres - middle, up) or 1.0
    if coherence > COHERENT:
        # What they see lies ahead of them: a box that begins behind the last one and holds what is near.
        reach = _reach(centres, axes, points) or 4 * extent
        half = max(extent, reach) * 1.1
        reason = f"all {len(centres)} cameras look the same way (mean direction {coherence:.2f} long)"
        return Layout("forward", reason, middle + normalize(mean_axis, dim=0) * (half - extent), half)
    if ahead >= AHEAD and not torch.equal(target, middle):
        half = _extent(centres - target, up) * 1.05
        reason = f"{ahead:.0%} of the cameras have the point that they look at before them"
        return Layout("inward", reason, target, half)
    reach = _reach(centres, axes, points) or 0.0
    reason = f"only {ahead:.0%} of the cameras look at a common point before them"
    return Layout("outward", reason, middle, max(extent * 1.05, reach))


def _extent(offsets: Float[Tensor, "n 3"], up: Float[Tensor, "3"]) -> float:
    """Half the side of an upright cube that holds the offsets, however it is turned about `up`."""
    heights = offsets @ up
    across = (offsets - heights[:, None] * up).norm(dim=-1)
    return float(torch.maximum(across, heights.abs()).max())


def _reach(
    centres: Float[Tensor, "n 3"], axes: Float[Tensor, "n 3"], points: Float[Tensor, "m 3"]
) -> float | None:
    """How far before the cameras the middle one of the points lies; None without points."""
    if len(points) < FEWEST_POINTS:
        return None
    offsets = points[None, :: max(1, len(points) // 2000)] - centres[:, None]
    depth = (offsets * axes[:, None]).sum(dim=-1)
    depth = depth[depth > 0]
    return float(depth.median()) if len(depth) else None


def model_frame(layout: Layout, up: Float[Tensor, "3"]) -> Float[Tensor, "4 4"]:
    """The similarity from the input frame that makes z up and the box [-1, 1]^3."""
    rotation = rotation_between(up, up.new_tensor([0.0, 0.0, 1.0]))
    scale = 1 / layout.half_side
    return similarity(scale, rotation, -scale * rotation @ layout.centre)


def unbounded(near: float = NEAR) -> Bounds:
    """Bounds in the model frame of a capture whose surroundings are seen too."""
    return Bounds((-1.0, -1.0, -1.0), (1.0, 1.0, 1.0), near=near, far=FAR, unbounded=True)


def near_of(cameras: Cameras, points: Float[Tensor, "m 3"], told: float | None = None) -> float:
    """Where rays may begin: a little before the nearest points that the cameras see.

    Without points a little before `told`, the nearest depth that the capture tells, or else at NEAR.
    cameras, points: in the model frame. What is nearer than anything known can only be fog.
    """
    if len(points) < FEWEST_POINTS:
        return NEAR if told is None else max(NEAR, BEFORE_NEAREST * told)
    depths = []
    for index in range(len(cameras)):
        camera = cameras[index]
        pixels, z_depth = camera.project(points)
        inside = (pixels >= 0).all(dim=-1) & (pixels[:, 0] < camera.width) & (pixels[:, 1] < camera.height)
        depths.append(z_depth[inside & (z_depth > 0)])
    seen = torch.cat(depths)
    if len(seen) < FEWEST_POINTS:
        return NEAR
    nearest = seen[:: len(seen) // 1_000_000 + 1].double().quantile(NEAREST_POINT)
    return max(NEAR, BEFORE_NEAREST * float(nearest))


def frustum_of(cameras: Cameras, near: float) -> Frustum:
    """The view of cameras that all look the same way, as the foremost of them would have it.

    cameras: in the model frame. near: of their own z_depths.
    """
    poses, middle = cameras.camera_to_world.double(), cameras.centres.double().mean(dim=0)
    forward = normalize(poses[:, :3, 2].mean(dim=0), dim=0)
    right = poses[:, :3, 0].mean(dim=0)
    right = normalize(right - (right @ forward) * forward, dim=0)
    ahead = ((cameras.centres - middle) @ forward).max().clamp(min=0)
    sides = torch.maximum(cameras.sizes - cameras.intrinsics[:, 2:], cameras.intrinsics[:, 2:])
    slope = (sides / cameras.intrinsics[:, :2]).amax(dim=0)
    return Frustum(
        centre=tuple((middle + ahead * forward).tolist()),
        right=tuple(right.tolist()),
        down=tuple(torch.linalg.cross(forward, right).tolist()),
        forward=tuple(forward.tolist()),
        slope=tuple(slope.tolist()),
        near=max(near - float(ahead), near / 2),
    )


def mean_up(camera_to_world: Float[Tensor, "n 4 4"]) -> Float[Tensor, "3"]:
    """Upwards, as the cameras were held: the mean of their upward axes, or z if they cancel."""
    mean = -camera_to_world[:, :3, 1].mean(dim=0)
    return normalize(mean, dim=0) if float(mean.norm()) > 1e-3 else mean.new_tensor([0.0, 0.0, 1.0])


def box_in_model_frame(
    model_from_input: Float[Tensor, "4 4"], low: tuple[float, ...], high: tuple[float, ...]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The smallest box of the model frame about a box of the input frame."""
    sides = torch.tensor([low, high], dtype=model_from_input.dtype)
    corners = torch.cartesian_prod(*sides.unbind(-1))
    moved = transform_points(model_from_input, corners)
    return tuple(moved.amin(dim=0).tolist()), tuple(moved.amax(dim=0).tolist())


def cube_around(minimum: Vector, maximum: Vector) -> tuple[tuple[float, float, float], float]:
    """Lowest corner and side of the smallest cube with the box in its middle."""
    side = max(high - low for low, high in zip(minimum, maximum, strict=True))
    x, y, z = ((low + high - side) / 2 for low, high in zip(minimum, maximum, strict=True))
    return (x, y, z), float(side)
