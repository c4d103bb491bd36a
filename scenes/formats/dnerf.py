"""D-NeRF scenes: NeRF-synthetic, with a time for each frame.

    {"camera_angle_x": horizontal field of view, radians,
     "frames": [{"file_path": "./train/r_000", "time": in [0, 1],
                 "transform_matrix": 4x4 camera-to-world, OpenGL axes}]}

As in the original code of D-NeRF (arXiv:2011.13961): the files are transforms_{train,val,test}.json; pixels
are square, cameras centred, z is up, the object within 1.5 of the origin, and alpha is put on white. Where a
file tells no time at all, its frames are spread evenly from 0 to 1. The canonical shape is that of time 0,
so the first training frame should have it.
"""

import math
import warnings
from pathlib import Path
from typing import Any

import torch

from scenes.formats.capture import Capture, Frame, Lens, file_name, find_inside, finite, read_json, rigid_pose
from scenes.formats.files import picture_size
from scenes.scene import SceneError, SceneWarning
from scenes.transforms import opengl_to_opencv

FILES = {split: f"transforms_{split}.json" for split in ("train", "val", "test")}
BOX = ((-1.5, -1.5, -1.5), (1.5, 1.5, 1.5))


def _folder(path: Path) -> Path:
    return path.parent if path.is_file() else path


def recognise(path: Path) -> str | None:
    """Why this is a D-NeRF scene, or None: the first training frame has a time."""
    try:
        file = _folder(path) / FILES["train"]
        if not file.is_file() or (path.is_file() and path.name not in FILES.values()):
            return None
        frames = read_json(file).get("frames")
    except (OSError, SceneError):
        return None
    first = frames[0] if isinstance(frames, list) and frames else None
    return f"has {file.name} with times" if isinstance(first, dict) and "time" in first else None


def capture(path: Path, allow_outside: bool = False) -> Capture:
    """Read all splits as one capture.

    Raises: SceneError. Warns: SceneWarning if the first training frame is not at time 0.
    """
    folder = _folder(path)
    files = {split: folder / name for split, name in FILES.items() if (folder / name).is_file()}
    if not files:
        raise SceneError(f"{folder}: none of {', '.join(FILES.values())} is there")
    frames = {split: _frames(file, allow_outside) for split, file in files.items()}
    if "train" in frames and frames["train"][0].time != 0:
        first = frames["train"][0]
        warnings.warn(
            f"{first.label}: the first training frame is at time {first.time:g}, and should be at 0",
            SceneWarning,
            stacklevel=2,
        )
    return Capture(
        file=folder,
        frames=tuple(frame for split in frames.values() for frame in split),
        splits={name: tuple(frame.name for frame in split) for name, split in frames.items()},
        box=BOX,
        up=(0.0, 0.0, 1.0),
    )


def _frames(file: Path, allow_outside: bool) -> list[Frame]:
    """The frames of one split, at least one."""
    contents = read_json(file)
    angle = finite(str(file), "camera_angle_x", contents.get("camera_angle_x"), 1e-4, math.pi)
    entries = contents.get("frames")
    if not isinstance(entries, list) or not entries:
        raise SceneError(f"{file}: frames is missing or empty; list at least one frame")
    timed = any(isinstance(entry, dict) and "time" in entry for entry in entries)
    frames = []
    for index, entry in enumerate(entries):
        time = None if timed else index / max(len(entries) - 1, 1)
        frames.append(_frame(file, index, entry, angle, time, allow_outside))
    return frames


def _frame(
    file: Path, index: int, entry: Any, angle: float, time: float | None, allow_outside: bool
) -> Frame:
    """One entry of `frames`, checked; time: None where the entry has to tell it."""
    entry = entry if isinstance(entry, dict) else {}
    name = file_name(f"{file}: frame {index}", entry.get("file_path"))
    label = f"{file}: frame {index} ({name})"
    if time is None:
        time = finite(label, "time", entry.get("time"))
        if not 0 <= time <= 1:
            raise SceneError(f"{label}: time is {time:g}; it must be in [0, 1]")
    image = find_inside(label, file.parent, name, allow_outside)
    pose = torch.from_numpy(rigid_pose(label, entry.get("transform_matrix")))
    return Frame(
        label=label,
        name=name,
        image=image,
        camera_to_world=opengl_to_opencv(pose).numpy(),
        lens=_lens(label, image, angle),
        time=time,
    )


def _lens(label: str, image: Path | None, angle: float) -> Lens:
    """A centred lens at the size of the picture; at that of one pixel where there is no picture."""
    width, height = picture_size(label, image) if image else (1, 1)
    focal = 0.5 * width / math.tan(0.5 * angle)
    return Lens(focal, focal, width / 2, height / 2, width, height)
