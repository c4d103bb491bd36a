"""The views that a film goes through, and the way between them."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from scenes.camera_path import CameraPath, read_camera_path, write_camera_path
from scenes.cameras import Cameras
from scenes.paths import interpolate
from scenes.transforms import transform_poses

MOST_KEYS = 200
READ_KEYS = 24  # taken of a path that tells its frames alone


@dataclass(frozen=True)
class Key:
    """A view: camera_to_world (4, 4), model frame, and the vertical field of view, degrees."""

    pose: Float[Tensor, "4 4"]
    fov: float | int


@dataclass(frozen=True)
class Keyframes:
    """Keys in the order of the film; every change gives new ones.

    seconds  length of the film
    closed   whether it leads back to the first key
    """

    keys: tuple[Key, ...] = ()
    seconds: float | int = 8.0
    fps: float | int = 30
    closed: bool = False

    def __post_init__(self) -> None:
        if len(self.keys) > MOST_KEYS:
            raise ValueError(f"a film goes through at most {MOST_KEYS} keys")
        if not (0 < self.seconds <= 3600 and 1 <= self.fps <= 240):
            raise ValueError(
                "a film lasts up to 3600 s, at 1 to 240 pictures a second; "
                f"not {self.seconds:g} s at {self.fps:g}"
            )

    @property
    def frames(self) -> int:
        """How many pictures the film has."""
        return max(round(self.seconds * self.fps), 1)

    def added(self, key: Key) -> "Keyframes":
        return replace(self, keys=(*self.keys, key))

    def without(self, index: int) -> "Keyframes":
        """Raises: IndexError if there is no such key."""
        if not 0 <= index < len(self.keys):
            raise IndexError(f"key {index}: there are {len(self.keys)}")
        return replace(self, keys=self.keys[:index] + self.keys[index + 1 :])

    def cameras(self, width: int, height: int, frames: int | None = None) -> Cameras:
        """The film's cameras, model frame: a smooth way through the keys (`scenes.paths.interpolate`).

        Raises: ValueError without a key, or with neighbours that are half a turn apart.
        """
        if not self.keys:
            raise ValueError("the film has no keys yet: add a view first")
        return interpolate(self._cameras(width, height), frames or self.frames, closed=self.closed)

    def save(self, path: Path, model_from_input: Float[Tensor, "4 4"], width: int, height: int) -> None:
        """Write nerfstudio's camera_path.json, input frame. Raises: ValueError without a key."""
        back = torch.linalg.inv(model_from_input.double().cpu())
        film, keys = (
            replace(each, camera_to_world=transform_poses(back, each.camera_to_world.double()))
            for each in (self.cameras(width, height), self._cameras(width, height))
        )
        write_camera_path(path, CameraPath(film, self.fps, keys, self.closed))

    @classmethod
    def load(cls, path: Path, model_from_input: Float[Tensor, "4 4"]) -> "Keyframes":
        """Read one. A path without keys gets some, evenly along its frames.

        Raises: SceneError naming the file and what is wrong with it.
        """
        film = read_camera_path(path)
        frames, keys = film.cameras, film.keys
        if keys is None:
            keys = interpolate(frames, min(READ_KEYS, len(frames)))
        poses = transform_poses(model_from_input.double().cpu(), keys.camera_to_world.double())
        chosen = tuple(map(Key, poses, keys.fov.tolist()))[:MOST_KEYS]
        return cls(chosen, min(len(frames) / film.fps, 3600), min(max(film.fps, 1), 240), film.closed)

    def _cameras(self, width: int, height: int) -> Cameras:
        poses = torch.stack([key.pose for key in self.keys]).float()
        fov = torch.tensor([key.fov for key in self.keys], dtype=torch.float64)
        focal = (0.5 * height / (0.5 * fov.deg2rad()).tan()).float()
        cx, cy = torch.full_like(focal, width / 2), torch.full_like(focal, height / 2)
        return Cameras(poses, focal, focal, cx, cy, width, height)
