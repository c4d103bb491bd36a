"""Camera paths about the camera that took a photograph, for films of its multiplane image.

The frame is the source camera's own, and the unit is the one in which disparity lies in [0, 1]: the nearest
thing is at least one away. Every path starts and ends where the photograph was taken.
"""

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from scenes.camera_path import CameraPath
from scenes.cameras import Cameras

SWING_ASIDE, SWING_AHEAD = 0.14, 0.10
CIRCLE_RADIUS = 0.07
ZOOM_AHEAD = 0.3  # of the way to the nearest thing
DOLLY_BACK = 1.0
EDGE_WIDTH = 96  # pixels across, to count those beyond the edge


def swing(camera: Cameras, frames: int, amplitude: float | int = 1.0) -> Cameras:
    """To one side and the other, and ahead in between: AdaMPI's path (arXiv:2205.11733).

    x = 0.14 sin 2 pi t, and 0.10 (1 - cos 2 pi t) forwards.
    """
    turn = _turn(frames)
    aside = SWING_ASIDE * turn.sin()
    ahead = SWING_AHEAD * (1 - turn.cos())
    return _moved(camera, amplitude * torch.stack((aside, torch.zeros_like(turn), ahead), dim=-1))


def circle(camera: Cameras, frames: int, amplitude: float | int = 1.0) -> Cameras:
    """Once around a circle in the plane of the picture, through the source camera and above it."""
    turn = _turn(frames)
    aside, up = CIRCLE_RADIUS * turn.sin(), CIRCLE_RADIUS * (1 - turn.cos())
    return _moved(camera, amplitude * torch.stack((aside, -up, torch.zeros_like(turn)), dim=-1))


def zoom(camera: Cameras, frames: int, amplitude: float | int = 1.0) -> Cameras:
    """Straight ahead and back. It never looks past the edge of the photograph."""
    turn = _turn(frames)
    ahead = ZOOM_AHEAD * (1 - turn.cos()) / 2
    none = torch.zeros_like(turn)
    return _moved(camera, amplitude * torch.stack((none, none, ahead), dim=-1))


def dolly_zoom(camera: Cameras, frames: int, amplitude: float | int = 1.0) -> Cameras:
    """Backwards while the lens narrows: what is one away keeps its size, and what is behind it swells.

    It never looks past the edge of the photograph.
    """
    back = amplitude * DOLLY_BACK * (1 - _turn(frames).cos()) / 2
    none = torch.zeros_like(back)
    moved = _moved(camera, torch.stack((none, none, -back), dim=-1))
    grown = (1 + back).to(moved.fx)
    return replace(moved, fx=moved.fx * grown, fy=moved.fy * grown)


PATHS: dict[str, Callable[..., Cameras]] = {
    "swing": swing,
    "circle": circle,
    "zoom": zoom,
    "dolly-zoom": dolly_zoom,
}


def along(camera: Cameras, film: CameraPath, amplitude: float | int = 1.0) -> Cameras:
    """The cameras of a file, told in the frame of the source camera; they keep their size and lens.

    amplitude: their places, but not their turns, are scaled by it.
    """
    poses = film.cameras.camera_to_world.double().clone()
    poses[:, :3, 3] *= amplitude
    return replace(film.cameras, camera_to_world=(camera.camera_to_world.double() @ poses).float())


def beyond_edge(camera: Cameras, views: Cameras, z_depth: float | int) -> Float[Tensor, " n"]:
    """Share of each view that looks past the edge of the photograph, if all there is were at `z_depth`.

    camera: the source. z_depth: in its frame; a view past the edge of a near plane may be within a far one,
    so that the nearest plane's share is what a view has at most, unless it moves back.
    """
    shares = []
    to_source = torch.linalg.inv(camera.camera_to_world.double())
    for index in range(len(views)):
        view = views[index]
        small = view.scaled(max(view.width / EDGE_WIDTH, 1.0)).to("cpu", torch.float64)
        rays = replace(small, camera_to_world=to_source @ small.camera_to_world).rays()
        ahead = rays.directions[..., 2]
        points = rays.at((z_depth - rays.origins[..., 2]) / ahead)
        x = camera.fx * points[..., 0] / z_depth + camera.cx
        y = camera.fy * points[..., 1] / z_depth + camera.cy
        within = (0 <= x) & (x <= camera.width) & (0 <= y) & (y <= camera.height) & (ahead > 0)
        shares.append((~within).double().mean())
    return torch.stack(shares)


def _turn(frames: int) -> Float[Tensor, " n"]:
    """Angles from 0 to a whole turn, both ends included."""
    if frames < 1:
        raise ValueError(f"frames must be at least 1, got {frames}")
    return torch.linspace(0, 2 * math.pi, frames, dtype=torch.float64)


def _moved(camera: Cameras, places: Float[Tensor, "n 3"]) -> Cameras:
    """The camera at each of these places of its own frame, looking the same way."""
    if camera.shape:
        raise ValueError(f"a path goes about one camera, got {len(camera)}; index one first")
    pose = camera.camera_to_world.double()
    poses = pose.expand(len(places), 4, 4).clone()
    poses[:, :3, 3] += places.to(pose) @ pose[:3, :3].T
    numbers = {name: getattr(camera, name).expand(len(places)) for name in ("fx", "fy", "cx", "cy")}
    return replace(camera, camera_to_world=poses.to(camera.camera_to_world), **numbers)
