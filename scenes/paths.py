"""Camera paths for videos: a turn around a point, a spiral before it, a way through key cameras."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from scenes.cameras import Cameras
from scenes.scene import Scene, Vector
from scenes.transforms import level_axes

MOST_KEYS = 24  # of a way past a capture's cameras
SHARPEST = math.radians(60)  # turn from one of them to the next


def _check_frames(frames: int) -> None:
    if frames < 1:
        raise ValueError(f"frames must be at least 1, got {frames}")


def orbit(
    centre: Vector,
    radius: float | int,
    elevation: float | int,
    frames: int,
    width: int,
    height: int,
    fov: float | int,
    up: Vector = (0.0, 0.0, 1.0),
    azimuth: float | int = 0.0,
    extent: float | int = 360.0,
) -> Cameras:
    """One full turn around `centre`, counter-clockwise seen from `up`; the last frame is one short of it.

    radius: distance of the cameras, scene units; elevation: above the plane across `up`, degrees;
    fov: vertical, degrees. With up = z the turn starts over +x. extent: of a part of the turn, degrees, which
    is swept forth and back about `azimuth` (degrees from there) instead.
    """
    _check_frames(frames)
    if not -90 < elevation < 90:
        raise ValueError(f"elevation must lie between -90 and 90 degrees, got {elevation}")
    axis = normalize(torch.tensor(up, dtype=torch.float64), dim=0)
    first, second = level_axes(axis)
    angle = 2 * math.pi * torch.arange(frames, dtype=torch.float64)[:, None] / frames
    if extent < 360:
        angle = math.radians(azimuth) + math.radians(extent) / 2 * angle.sin()
    around = angle.cos() * first + angle.sin() * second
    tilt = math.radians(elevation)
    middle = torch.tensor(centre, dtype=torch.float64)
    eyes = middle + radius * (math.cos(tilt) * around + math.sin(tilt) * axis)
    return Cameras.look_at(eyes, middle, axis, width, height, fov)


def scene_orbit(scene: Scene, frames: int, width: int | None = None, height: int | None = None) -> Cameras:
    """The turn that shows a scene, or the part of it that was seen; as large as its pictures unless told.

    In the model frame.
    """
    shown = scene.orbit
    size = width or scene.cameras.largest[0], height or scene.cameras.largest[1]
    arc = {"azimuth": shown.azimuth, "extent": shown.extent}
    return orbit(shown.centre, shown.radius, shown.elevation, frames, *size, shown.fov, shown.up, **arc)


def spiral(
    camera: Cameras, focus: float | int, radii: Sequence[float | int], frames: int, turns: int = 2
) -> Cameras:
    """A spiral about one camera that keeps looking at the point `focus` ahead (LLFF, arXiv:1905.00889).

    focus: distance along the optical axis; radii: reach along the camera's x, y and z; scene units.
    """
    _check_frames(frames)
    if camera.shape:
        raise ValueError(f"a spiral goes around one camera, got {len(camera)}; index one first")
    angle = 2 * math.pi * turns * torch.arange(frames, dtype=torch.float64) / frames
    local = torch.stack((angle.cos(), -angle.sin(), -(angle / 2).sin()), dim=-1) * torch.tensor(
        radii, dtype=torch.float64
    )
    pose = camera.camera_to_world.double().cpu()
    eyes = pose[:3, 3] + local @ pose[:3, :3].T
    target = pose[:3, 3] + focus * pose[:3, 2]
    return Cameras.look_at(eyes, target, -pose[:3, 1], camera.width, camera.height, float(camera.fov))


def mean_camera(cameras: Cameras, width: int, height: int, fov: float | int) -> Cameras:
    """The camera in the middle of all, that looks where they look on average.

    Raises: ValueError where they look all ways, so that there is no such direction.
    """
    pose = cameras.camera_to_world.double().cpu()
    forward, down = (pose[:, :3, axis].mean(dim=0) for axis in (2, 1))
    if min(float(forward.norm()), float(down.norm())) < 0.2:
        raise ValueError(
            "the cameras look all ways: no spiral suits them; take the path orbit or interpolate"
        )
    eye = pose[:, :3, 3].mean(dim=0)
    return Cameras.look_at(eye, eye + forward, -down, width, height, fov)


def scene_spiral(scene: Scene, cameras: Cameras, frames: int, width: int, height: int) -> Cameras:
    """A spiral in the middle of the scene's cameras, as wide as nine in ten of them reach (LLFF).

    In the model frame; it keeps looking at the point that the scene's orbit turns about.
    """
    shown = scene.orbit
    middle = mean_camera(cameras, width, height, shown.fov)
    pose = middle.camera_to_world.double()
    offsets = (cameras.centres.double().cpu() - pose[:3, 3]) @ pose[:3, :3]
    radii = offsets.abs().quantile(0.9, dim=0)
    ahead = float((torch.tensor(shown.centre, dtype=torch.float64) - pose[:3, 3]) @ pose[:3, 2])
    focus = ahead if ahead > 0.1 * shown.radius else shown.radius
    return spiral(middle, focus, radii.clamp(min=0.01 * focus).tolist(), frames)


def through(cameras: Cameras, frames: int, width: int, height: int) -> Cameras:
    """A smooth way past cameras, each next the nearest of those left; at most MOST_KEYS, evenly taken.

    The pictures have the cameras' vertical fields of view and no distortion.
    """
    chosen = torch.linspace(0, len(cameras) - 1, min(len(cameras), MOST_KEYS)).round().long()
    keys = cameras[chosen.tolist()]
    pose = keys.camera_to_world.double().cpu()
    spread = (pose[:, :3, 3] - pose[:, :3, 3].mean(dim=0)).norm(dim=-1).mean().clamp(min=1e-9)
    # Where it stands and where it looks count alike: a turn by a radian is as far as the cameras' spread.
    places = torch.cat((pose[:, :3, 3] / spread, pose[:, :3, 1], pose[:, :3, 2]), dim=-1)
    far, order = torch.cdist(places, places), [0]
    while len(order) < len(keys):
        left = [i for i in range(len(keys)) if i not in order]
        order.append(min(left, key=lambda i: float(far[order[-1], i])))
    focal = keys.fy.cpu() * height / keys.sizes[:, 1].cpu()
    pose, focal = _with_stops_in_turns(pose[order], focal[order])
    cx, cy = focal.new_full(focal.shape, width / 2), focal.new_full(focal.shape, height / 2)
    return interpolate(Cameras(pose.float(), focal, focal, cx, cy, width, height), frames)


def _with_stops_in_turns(
    pose: Float[Tensor, "k 4 4"], focal: Float[Tensor, " k"]
) -> tuple[Float[Tensor, "n 4 4"], Float[Tensor, " n"]]:
    """Keys, and others between neighbours that are turned by more than SHARPEST against each other."""
    poses, focals = [pose[0]], [focal[0]]
    for index in range(1, len(pose)):
        start, end = pose[index - 1], pose[index]
        turn = _turn_between(start[:3, :3], end[:3, :3])
        parts = 1 + int(float(turn.norm()) / SHARPEST)
        for part in range(1, parts):
            stop = torch.lerp(start, end, part / parts)
            stop[:3, :3] = start[:3, :3] @ torch.linalg.matrix_exp(_skew(turn * part / parts))
            poses.append(stop)
            focals.append(torch.lerp(focal[index - 1], focal[index], part / parts))
        poses.append(end)
        focals.append(focal[index])
    return torch.stack(poses), torch.stack(focals)


def _turn_between(start: Float[Tensor, "3 3"], end: Float[Tensor, "3 3"]) -> Float[Tensor, "3"]:
    """The rotation vector from one to the other, in the axes of the first; any of the two for half a turn."""
    turn = start.T @ end
    angle = math.acos(min(max((float(turn.diagonal().sum()) - 1) / 2, -1.0), 1.0))
    axis = torch.linalg.eigh(turn + turn.T)[1][:, -1]  # it stays where it is
    sense = torch.stack((turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]))
    return axis * (-angle if float(axis @ sense) < 0 else angle)


def _skew(vector: Float[Tensor, "3"]) -> Float[Tensor, "3 3"]:
    x, y, z = vector.tolist()
    return vector.new_tensor([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])


def _catmull_rom(
    keys: Float[Tensor, "k *values"], places: Float[Tensor, "frames"], closed: bool
) -> Float[Tensor, "frames *values"]:
    """The smooth curve through `keys` at `places` in [0, k - 1], or [0, k) when closed."""
    k = len(keys)
    index = places.floor().long().clamp(max=k - 1 if closed else max(k - 2, 0))
    u = (places - index).reshape(-1, *[1] * (keys.dim() - 1))

    def key(offset: int) -> Tensor:
        at = index + offset
        return keys[at % k] if closed else keys[at.clamp(0, k - 1)]

    before, start, end, after = (key(offset) for offset in (-1, 0, 1, 2))
    return start + 0.5 * u * (
        end
        - before
        + u * (2 * before - 5 * start + 4 * end - after + u * (3 * (start - end) + after - before))
    )


def interpolate(cameras: Cameras, frames: int, closed: bool = False) -> Cameras:
    """A smooth way through key cameras; closed: back to the first, whose repetition is left out.

    Catmull-Rom on centres, axes and intrinsics (of focal lengths the logarithm); the axes are then brought to
    the nearest rotation, which is smooth as long as neighbouring keys are not turned by half a turn against
    each other.
    Raises: ValueError where they are.
    """
    _check_frames(frames)
    n = len(cameras)
    if n == 0:
        raise ValueError("a path needs at least one key camera, got none")
    last = float(n if closed else n - 1)
    places = torch.linspace(0, last, frames + 1 if closed else frames, dtype=torch.float64)[:frames]
    pose = _catmull_rom(cameras.camera_to_world.double().cpu(), places, closed)
    left, sizes, right = torch.linalg.svd(pose[:, :3, :3])
    if bool((sizes[:, -1] < 1e-2).any()):
        raise ValueError("neighbouring key cameras are half a turn apart; put another between them")
    pose[:, :3, :3] = left @ right
    intrinsics = cameras.intrinsics.double().cpu()
    # Of focal lengths the logarithm: between unlike ones the curve would swing below zero.
    fx, fy = _catmull_rom(intrinsics[:, :2].log(), places, closed).exp().float().unbind(-1)
    cx, cy = _catmull_rom(intrinsics[:, 2:], places, closed).float().unbind(-1)
    return Cameras(pose.float(), fx, fy, cx, cy, cameras.width, cameras.height)
