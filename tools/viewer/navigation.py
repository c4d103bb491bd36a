"""How a hand moves a camera. Poses are (4, 4) float64, OpenCV axes, model frame; nothing here draws.

Movements of the pointer are in heights of the picture, so that they mean the same in every window.
"""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

TURN = math.pi  # radians that a drag across the height of the picture turns
POLE = math.radians(2)  # how near to straight up or down an orbit comes
NEAREST = 1e-3  # of the scene's size: no zoom comes nearer to the pivot


@dataclass(frozen=True, eq=False)
class Stand:
    """Where somebody stands, and about what they turn.

    pose   camera_to_world
    pivot  (3,) the point that an orbit goes around, and a zoom goes to
    up     (3,) of the scene, unit length
    size   of the scene, for speeds; scene units
    """

    pose: Float[Tensor, "4 4"]
    pivot: Float[Tensor, "3"]
    up: Float[Tensor, "3"]
    size: float | int

    @property
    def distance(self) -> float:
        """To the pivot."""
        return float((self.pivot - self.pose[:3, 3]).norm())


def orbit(stand: Stand, right: float | int, down: float | int) -> Stand:
    """A drag of the scene: the camera turns about the pivot, upright, and stops at the poles."""
    yaw = axis_turn(stand.up, -TURN * right)
    forward = stand.pose[:3, 2]
    height = math.asin(max(-1.0, min(1.0, float(forward @ stand.up))))  # of the view above the horizon
    limit = math.pi / 2 - POLE
    pitch = max(-limit, min(limit, height - TURN * down)) - height
    turn = yaw @ axis_turn(stand.pose[:3, 0], pitch)
    return replace(stand, pose=_turned(stand.pose, turn, stand.pivot))


def look(stand: Stand, right: float | int, down: float | int) -> Stand:
    """The camera turns to the right and down, where it stands; the pivot turns with it."""
    here = stand.pose[:3, 3]
    turned = orbit(replace(stand, pivot=here), right, down)
    turn = turned.pose[:3, :3] @ stand.pose[:3, :3].T
    return replace(turned, pivot=here + turn @ (stand.pivot - here))


def pan(stand: Stand, right: float | int, down: float | int, fov: float | int) -> Stand:
    """The scene follows the pointer, at the distance of the pivot. fov: vertical, degrees."""
    reach = 2 * math.tan(math.radians(fov) / 2) * max(stand.distance, NEAREST * stand.size)
    return _moved(stand, -reach * (right * stand.pose[:3, 0] + down * stand.pose[:3, 1]))


def zoom(stand: Stand, steps: float | int) -> Stand:
    """Towards the pivot (above 0) or away from it: a step changes the distance by a tenth."""
    nearest = NEAREST * stand.size
    away = stand.pose[:3, 3] - stand.pivot
    length = max(float(away.norm()), nearest)
    direction = normalize(away, dim=0) if float(away.norm()) > 0 else -stand.pose[:3, 2]
    pose = stand.pose.clone()
    pose[:3, 3] = stand.pivot + direction * max(length * 0.9**steps, nearest)
    return replace(stand, pose=pose)


def fly(stand: Stand, forward: float | int, right: float | int, up: float | int) -> Stand:
    """Camera and pivot move; amounts are in sizes of the scene, `up` along the scene's own."""
    along = forward * stand.pose[:3, 2] + right * stand.pose[:3, 0] + up * stand.up
    return _moved(stand, stand.size * along)


def level(stand: Stand) -> Stand:
    """The same view with the horizon level."""
    forward = stand.pose[:3, 2]
    right = torch.linalg.cross(forward, stand.up)
    if float(right.norm()) < math.sin(POLE) / 2:
        return stand  # straight up or down: there is no horizon
    right = normalize(right, dim=0)
    pose = stand.pose.clone()
    pose[:3, :3] = torch.stack((right, torch.linalg.cross(forward, right), forward), dim=-1)
    return replace(stand, pose=pose)


def stand_at(
    pose: Float[Tensor, "4 4"], centre: Float[Tensor, "3"], up: Float[Tensor, "3"], size: float | int
) -> Stand:
    """A camera's place; the pivot is the point of its view that is nearest to the scene's centre."""
    pose = pose.double().cpu()
    ahead = float((centre.double() - pose[:3, 3]) @ pose[:3, 2])
    pivot = pose[:3, 3] + max(ahead, 0.1 * size) * pose[:3, 2]
    return Stand(pose, pivot, normalize(up.double(), dim=0), size)


def axis_turn(axis: Float[Tensor, "3"], angle: float | int) -> Float[Tensor, "3 3"]:
    """The rotation about a unit axis by `angle`, radians, counter-clockwise seen from its tip (Rodrigues)."""
    x, y, z = axis.double().tolist()
    cross = torch.tensor([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]], dtype=torch.float64)
    return torch.eye(3, dtype=torch.float64) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross


def _turned(
    pose: Float[Tensor, "4 4"], turn: Float[Tensor, "3 3"], about: Float[Tensor, "3"]
) -> Float[Tensor, "4 4"]:
    turned = pose.clone()
    turned[:3, :3] = turn @ pose[:3, :3]
    turned[:3, 3] = about + turn @ (pose[:3, 3] - about)
    left, _, right = torch.linalg.svd(turned[:3, :3])  # a thousand small turns still make a rotation
    turned[:3, :3] = left @ right
    return turned


def _moved(stand: Stand, way: Float[Tensor, "3"]) -> Stand:
    pose = stand.pose.clone()
    pose[:3, 3] += way
    return replace(stand, pose=pose, pivot=stand.pivot + way)
