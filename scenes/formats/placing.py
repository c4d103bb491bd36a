"""Where a capture is put: the model frame, in which z is up, and bounds that its cameras suggest there."""

from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from scenes.cameras import Cameras
from scenes.layout import (
    box_in_model_frame,
    frustum_of,
    layout_of,
    mean_up,
    model_frame,
    near_of,
    unbounded,
)
from scenes.scene import Bounds
from scenes.transforms import similarity_scale, transform_points, transform_poses

Corners = tuple[tuple[float, ...], tuple[float, ...]]


class Placed(NamedTuple):
    """What a scene is made of: the move, and cameras (float32), points and bounds in the model frame.

    why: which bounds were chosen and for what reason, for people.
    """

    model_from_input: Float[Tensor, "4 4"]
    cameras: Cameras
    points: Float[Tensor, "m 3"]
    bounds: Bounds
    why: str


def place(
    cameras: Cameras,
    points: Float[Tensor, "m 3"],
    *,
    has_alpha: bool,
    bounds: str = "auto",
    up: tuple[float | int, ...] | None = None,
    box: Corners | None = None,
    box_is_all: bool = True,
    near: float | int | None = None,
) -> Placed:
    """Everything that follows of the input frame, float64.

    points: of structure from motion, may be empty. bounds: auto, box or unbounded. up: None: as the cameras
    were held. box: corners of the scene, if they are known; box_is_all: nothing is seen outside of it. near:
    the nearest depth of anything, input units, if it is known.
    """
    poses = cameras.camera_to_world
    upwards = normalize(torch.tensor(up).double() if up else mean_up(poses), dim=0)
    layout = layout_of(poses, points, upwards)
    move = model_frame(layout, upwards)
    moved = replace(cameras, camera_to_world=transform_poses(move, poses)).to(poses.device, torch.float32)
    points = transform_points(move, points).float()
    kind, cause = _kind(bounds, has_alpha, box is not None and box_is_all)
    why = f"{kind} ({cause}); {layout.kind}: {layout.reason}"
    if kind == "box":
        return Placed(move, moved, points, _box(moved, move, box), why)
    told = None if near is None else near * float(similarity_scale(move))
    limits = unbounded(near_of(moved, points, told))
    if layout.kind == "forward" and moved.projection == "perspective":
        limits = replace(limits, frustum=frustum_of(moved, limits.near))
    return Placed(move, moved, points, limits, why)


def _kind(bounds: str, has_alpha: bool, has_box: bool) -> tuple[str, str]:
    """box or unbounded, and why."""
    if bounds != "auto":
        return bounds, "asked for"
    if has_alpha:
        return "box", "the pictures are cut out"
    return ("box", "the capture gives one") if has_box else ("unbounded", "the pictures fill their frames")


def _box(cameras: Cameras, move: Float[Tensor, "4 4"], box: Corners | None) -> Bounds:
    low, high = (-0.375,) * 3, (0.375,) * 3  # NeRF's own scenes: cameras at 4, the object within 1.5
    if box is not None:
        low, high = box_in_model_frame(move, *box)
    return Bounds(low, high, near=0.01, far=2 * float(cameras.centres.norm(dim=-1).max()) + 1)
