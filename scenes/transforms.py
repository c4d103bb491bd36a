"""Axis conventions and changes of frame of camera poses and points.

A similarity is a (4, 4) matrix [s R, t; 0, 1]: a point p goes to s R p + t. A pose moves with it, but
its own rotation stays a rotation: scale moves camera centres, never camera axes.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize


def opengl_to_opencv(camera_to_world: Float[Tensor, "*n 4 4"]) -> Float[Tensor, "*n 4 4"]:
    """Poses with x right, y up, z back as poses with x right, y down, z forward; its own inverse."""
    return camera_to_world * camera_to_world.new_tensor([1.0, -1.0, -1.0, 1.0])


def similarity(
    scale: float | int, rotation: Float[Tensor, "3 3"], translation: Float[Tensor, "3"]
) -> Float[Tensor, "4 4"]:
    """The map p -> scale * rotation @ p + translation."""
    matrix = torch.eye(4, dtype=rotation.dtype, device=rotation.device)
    matrix[:3, :3] = scale * rotation
    matrix[:3, 3] = translation
    return matrix


def similarity_scale(matrix: Float[Tensor, "4 4"]) -> Float[Tensor, ""]:
    """How many units of the new frame one unit of the old frame measures."""
    return torch.linalg.det(matrix[:3, :3].double()).pow(1 / 3).to(matrix.dtype)


def transform_points(matrix: Float[Tensor, "4 4"], points: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3"]:
    """Points moved by a similarity, in the wider precision of the two; they keep their own."""
    wide = torch.promote_types(matrix.dtype, points.dtype)
    matrix = matrix.to(wide)
    return (points.to(wide) @ matrix[:3, :3].T + matrix[:3, 3]).to(points.dtype)


def transform_poses(
    matrix: Float[Tensor, "4 4"], camera_to_world: Float[Tensor, "*n 4 4"]
) -> Float[Tensor, "*n 4 4"]:
    """Poses moved by a similarity, in the wider precision of the two, whose own they keep; the camera axes
    stay of unit length."""
    wide = torch.promote_types(matrix.dtype, camera_to_world.dtype)
    moved = matrix.to(wide) @ camera_to_world.to(wide)
    moved[..., :3, :3] /= similarity_scale(matrix.to(wide))
    return moved.to(camera_to_world.dtype)


def level_axes(up: Float[Tensor, "3"]) -> tuple[Float[Tensor, "3"], Float[Tensor, "3"]]:
    """Two axes across `up`, from which azimuths are counted: +x and +y where up is +z."""
    helper = torch.eye(3, dtype=up.dtype)[0 if abs(float(up[0])) < 0.9 else 1]
    first = normalize(helper - (helper @ up) * up, dim=0)
    return first, torch.linalg.cross(up, first)


def looked_at_point(
    camera_to_world: Float[Tensor, "n 4 4"], default: Float[Tensor, "3"]
) -> Float[Tensor, "3"]:
    """The point nearest to all optical axes, in least squares of the distances.

    `default` where the axes do not fix a point (a single camera, or parallel ones).
    """
    centres, axes = camera_to_world[:, :3, 3].double(), camera_to_world[:, :3, 2].double()
    across = torch.eye(3, dtype=torch.float64) - axes[:, :, None] * axes[:, None, :]
    normal = across.mean(dim=0)
    if bool(torch.linalg.eigvalsh(normal)[0] < 1e-4):
        return default
    return torch.linalg.solve(normal, (across @ centres[..., None]).mean(dim=0)[:, 0]).to(default.dtype)


def recentring(
    camera_to_world: Float[Tensor, "n 4 4"], up: Float[Tensor, "3"], radius: float | int = 1.0
) -> Float[Tensor, "4 4"]:
    """The similarity that puts what the cameras look at in the origin, `up` along +z, and the farthest
    camera at `radius`.

    Raises: ValueError if all cameras stand on the point they look at.
    """
    centres = camera_to_world[:, :3, 3]
    middle = looked_at_point(camera_to_world, default=centres.mean(dim=0))
    extent = float((centres - middle).norm(dim=-1).max())
    if extent == 0:
        raise ValueError("the cameras stand on one point, so the scene has no size to scale by")
    rotation = rotation_between(up, up.new_tensor([0.0, 0.0, 1.0]))
    scale = radius / extent
    return similarity(scale, rotation, -scale * rotation @ middle)


def rotation_between(source: Float[Tensor, "3"], target: Float[Tensor, "3"]) -> Float[Tensor, "3 3"]:
    """The smallest rotation that turns the direction `source` into `target`."""
    a, b = normalize(source.double(), dim=0), normalize(target.double(), dim=0)
    middle = a + b
    if float(middle.norm()) < 1e-9:  # opposite: half a turn about any axis across a
        helper = torch.eye(3, dtype=torch.float64)[int(a.abs().argmin())]
        axis = normalize(torch.linalg.cross(a, helper), dim=0)
        return (2 * torch.outer(axis, axis) - torch.eye(3, dtype=torch.float64)).to(source.dtype)
    # Two mirrors: across the plane normal to a, then across the one normal to the half-way direction.
    half = normalize(middle, dim=0)
    flip = torch.eye(3, dtype=torch.float64) - 2 * torch.outer(a, a)
    mirror = torch.eye(3, dtype=torch.float64) - 2 * torch.outer(half, half)
    return (mirror @ flip).to(source.dtype)
