"""Pictures with depth whose other views can be written down."""

from dataclasses import replace

import torch
from torch import Tensor

from scenes.cameras import Cameras

FOCAL = 40.0


def camera_at(
    position=(0.0, 0.0, 0.0), width: int = 32, height: int = 24, turned: Tensor | None = None
) -> Cameras:
    """A camera that looks along +z, unless it is turned; its principal point is off the middle."""
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = torch.eye(3) if turned is None else turned
    pose[:3, 3] = torch.tensor(position, dtype=torch.float64)
    numbers = (pose.new_tensor(n) for n in (FOCAL, 0.9 * FOCAL, width / 2 + 1.3, height / 2 - 0.7))
    return Cameras(pose, *numbers, width, height)


def turn(x: float, y: float, z: float) -> Tensor:
    """A rotation by these angles, radians."""
    return torch.linalg.matrix_exp(torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64))


def moved_about(camera: Cameras, rigid: Tensor) -> Cameras:
    return replace(camera, camera_to_world=rigid @ camera.camera_to_world)


def square_before_wall(
    rows: slice, columns: slice, near: float, far: float, width: int = 32, height: int = 24
) -> Tensor:
    """z_depth of a wall and of a square before it, both parallel to the picture."""
    z_depth = torch.full((height, width), far, dtype=torch.float64)
    z_depth[rows, columns] = near
    return z_depth


def z_depth_of_plane(camera: Cameras, normal: Tensor, offset: float) -> Tensor:
    """Of the plane normal . p = offset, through every pixel's centre."""
    rays = camera.rays()
    length = (offset - rays.origins @ normal) / (rays.directions @ normal)
    return length * (rays.directions @ camera.camera_to_world[:3, 2])
