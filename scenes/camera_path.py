"""nerfstudio's camera_path.json: the cameras of a film, one a frame, in the frame of the scene's input."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from scenes.cameras import Cameras
from scenes.scene import SceneError
from scenes.transforms import opengl_to_opencv

MOST_FRAMES = 1_000_000
LARGEST_SIDE = 32_768


@dataclass(frozen=True, eq=False)
class CameraPath:
    """A film's cameras, input frame.

    cameras  one a frame, in the order of the film
    fps      how many of them a second shows
    keys     those that the others were made from, of the same size; None: not known
    closed   whether the way leads back to the first of them
    """

    cameras: Cameras
    fps: float | int
    keys: Cameras | None = None
    closed: bool = False


def write_camera_path(path: str | Path, film: CameraPath) -> None:
    """Write perspective cameras of one size. Raises ValueError for others, which the format cannot hold."""
    cameras, keys = film.cameras, film.keys
    if not (isinstance(cameras.width, int) and isinstance(cameras.height, int)):
        raise ValueError(f"{path}: the cameras of a path are of one size, these are not")
    aspect = cameras.width / cameras.height
    frames = [
        {"camera_to_world": pose, "fov": fov, "aspect": aspect}
        for pose, fov in zip(*_poses_and_fovs(path, cameras), strict=True)
    ]
    content = {
        "camera_type": "perspective",
        "render_width": cameras.width,
        "render_height": cameras.height,
        "fps": film.fps,
        "seconds": len(frames) / film.fps,
        "is_cycle": film.closed,
        "camera_path": frames,
    }
    if keys is not None:
        poses, fovs = _poses_and_fovs(path, keys)
        content["keyframes"] = [
            {"matrix": pose, "fov": fov, "aspect": aspect} for pose, fov in zip(poses, fovs, strict=True)
        ]
        content["default_fov"] = fovs[0]
        content["default_transition_sec"] = content["seconds"] / max(len(fovs) - (not film.closed), 1)
    Path(path).write_text(json.dumps(content, indent=1) + "\n")


def _poses_and_fovs(path: str | Path, cameras: Cameras) -> tuple[list[list[float]], list[float]]:
    if cameras.distortion is not None or cameras.projection != "perspective":
        raise ValueError(f"{path}: a camera path holds perspective cameras without distortion")
    middle = torch.stack((cameras.cx - cameras.width / 2, cameras.cy - cameras.height / 2))
    if float(middle.abs().max()) > 0.5 or float((cameras.fx / cameras.fy - 1).abs().max()) > 0.01:
        raise ValueError(
            f"{path}: a camera path holds centred cameras with square pixels, which these are not"
        )
    poses = opengl_to_opencv(cameras.camera_to_world.double().cpu())
    return poses.flatten(1).tolist(), cameras.fov.double().tolist()


def read_camera_path(path: str | Path) -> CameraPath:
    """Read a path, its cameras, and its keys if it tells them, of the size that it names.

    Raises: SceneError naming the file, the frame and what is wrong with it.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise SceneError(f"{path}: no camera path can be read from it: {error}") from None
    if not isinstance(content, dict) or not isinstance(content.get("camera_path"), list):
        raise SceneError(f"{path}: not a camera path: it has no list 'camera_path'")
    if (kind := content.get("camera_type", "perspective")) != "perspective":
        raise SceneError(f"{path}: camera_type {kind!r} is not rendered yet; only 'perspective' is")
    frames = content["camera_path"]
    if not 1 <= len(frames) <= MOST_FRAMES:
        raise SceneError(f"{path}: a film has 1 to {MOST_FRAMES} frames, this one {len(frames)}")
    width, height = (_side(path, content, f"render_{name}") for name in ("width", "height"))
    fps = _number(path, "fps", content.get("fps", 24))
    if not 0 < fps <= 1000:
        raise SceneError(f"{path}: fps is {fps:g}; it must lie between 0 and 1000")
    cameras = _cameras(path, frames, "frame", "camera_to_world", width, height)
    keys = content.get("keyframes")
    old = isinstance(keys, list) and any(
        isinstance(k, dict) and isinstance(k.get("matrix"), str) for k in keys
    )
    if not keys or old:  # the viewer before nerfstudio 1.0 wrote keys as text: its frames are enough
        return CameraPath(cameras, fps)
    if not (isinstance(keys, list) and len(keys) <= MOST_FRAMES):
        raise SceneError(f"{path}: keyframes must be a list of at most {MOST_FRAMES}")
    closed = content.get("is_cycle") is True
    return CameraPath(cameras, fps, _cameras(path, keys, "keyframe", "matrix", width, height), closed)


def _cameras(path: Path, frames: list, what: str, pose_key: str, width: int, height: int) -> Cameras:
    places = [f"{what} {index}" for index in range(len(frames))]
    poses = torch.stack([_pose(path, *each, pose_key) for each in zip(places, frames, strict=True)])
    fov = torch.tensor([_fov(path, *each) for each in zip(places, frames, strict=True)], dtype=torch.float64)
    focal = (0.5 * height / (0.5 * fov.deg2rad()).tan()).float()
    cx, cy = torch.full_like(focal, width / 2), torch.full_like(focal, height / 2)
    return Cameras(opengl_to_opencv(poses).float(), focal, focal, cx, cy, width, height)


def _pose(path: Path, place: str, frame: Any, key: str) -> torch.Tensor:
    numbers = frame.get(key) if isinstance(frame, dict) else None
    if isinstance(numbers, list) and len(numbers) == 4:  # some write rows
        numbers = [number for row in numbers if isinstance(row, list) for number in row]
    if not isinstance(numbers, list) or len(numbers) != 16:
        raise SceneError(f"{path}: {place}: {key} must be 16 numbers, row by row")
    values = [_number(path, f"{place}: {key}", number) for number in numbers]
    pose = torch.tensor(values, dtype=torch.float64).view(4, 4)
    turn = pose[:3, :3]
    if (pose[3] - torch.tensor([0.0, 0.0, 0.0, 1.0])).abs().max() > 1e-6:
        raise SceneError(f"{path}: {place}: {key} must be 16 numbers, row by row: 0 0 0 1 at last")
    if (turn @ turn.T - torch.eye(3, dtype=torch.float64)).abs().max() > 1e-3 or torch.linalg.det(turn) < 0:
        raise SceneError(f"{path}: {place}: {key} does not turn the camera, it distorts it")
    return pose


def _fov(path: Path, place: str, frame: dict[str, Any]) -> float:
    fov = _number(path, f"{place}: fov", frame.get("fov"))
    if not 0 < fov < 180:
        raise SceneError(f"{path}: {place}: fov is {fov:g} degrees; it must lie between 0 and 180")
    return fov


def _side(path: Path, content: dict[str, Any], name: str) -> int:
    side = _number(path, name, content.get(name))
    if not (1 <= side <= LARGEST_SIDE and side == int(side)):
        raise SceneError(
            f"{path}: {name} is {side:g}; it must be a whole number of pixels up to {LARGEST_SIDE}"
        )
    return int(side)


def _number(path: Path, what: str, value: Any) -> float:
    known = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
    if not known:  # NaN is below nothing
        raise SceneError(f"{path}: {what} is {str(value)[:40]}; it must be a number")
    return float(value)
