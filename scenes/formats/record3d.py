"""Record3D captures of an iPhone or iPad: `metadata` or `metadata.json`, and pictures in rgbd/ or rgb/.

    {"w": 720, "h": 960, "K": [fx, 0, 0, 0, fy, 0, cx, cy, 1],          column by column, for w x h pixels
     "poses": [[qx, qy, qz, qw, tx, ty, tz], ...],                      camera-to-world, OpenGL axes, metres
     "perFrameIntrinsicCoeffs": [[fx, fy, cx, cy], ...]}                optional, in place of K

The pictures are numbered, and their natural order is that of the poses. The frame is that of the first
camera, so nothing tells where up is. Depth (rgbd/N.depth) is compressed with LZFSE, which nothing that we
depend on reads: it is left out.

Source: github.com/marek-simonik/record3d, issues 27 and 36; instant-ngp's scripts/record3d2nerf.py.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scenes.formats.capture import (
    EXTENSIONS,
    ROTATION_TOLERANCE,
    Capture,
    Frame,
    Lens,
    find_inside,
    finite,
    pixels,
    read_json,
    rigid_pose,
)
from scenes.scene import SceneError
from scenes.transforms import opengl_to_opencv

FILES = ("metadata", "metadata.json")
FOLDERS = ("rgbd", "rgb")
NUMBER = re.compile(r"[0-9]+")
COLUMN_MAJOR = "fx 0 0 0 fy 0 cx cy 1"


def recognise(path: Path) -> str | None:
    """Why this is a Record3D capture, or None. A folder that holds a transforms.json too is that file's."""
    file = _file(path)
    if file is None or (path.is_dir() and (path / "transforms.json").exists()):
        return None
    try:
        contents = read_json(file)
    except SceneError:
        return None
    has_all = all(isinstance(contents.get(key), list) for key in ("K", "poses")) and "w" in contents
    return f"has {file.name} with K and poses" if has_all else None


def _file(path: Path) -> Path | None:
    """The metadata that `path` is or holds."""
    try:
        candidates = [path / name for name in FILES] if path.is_dir() else [path]
        return next((file for file in candidates if file.name in FILES and file.is_file()), None)
    except OSError:
        return None


def capture(path: Path, allow_outside: bool = False) -> Capture:
    """Read a capture's metadata and find its pictures.

    Raises: SceneError if a number is not as above, or pictures and poses do not match.
    """
    file = _file(path)
    if file is None:
        raise SceneError(f"{path}: holds no {' or '.join(FILES)}; is it a Record3D capture?")
    contents = read_json(file)
    poses = contents.get("poses")
    if not isinstance(poses, list) or not poses:
        raise SceneError(f"{file}: poses is missing or empty; list at least one")
    names = _names(file, len(poses))
    lenses = _lenses(file, contents, names)
    frames = []
    for index, (name, pose, lens) in enumerate(zip(names, poses, lenses, strict=True)):
        label = f"{file}: frame {index} ({name})"
        image = find_inside(label, file.parent, name, allow_outside)
        frames.append(Frame(label, name, image, _camera_to_world(label, pose), lens))
    return Capture(file, tuple(frames))


def _names(file: Path, count: int) -> list[str]:
    """The picture of each pose: by order where there are as many, else by number, counted from 0."""
    folder, found = _pictures(file)
    numbers = sorted(found)
    if len(numbers) == count:
        return [f"{folder}/{found[number]}" for number in numbers]
    if numbers and numbers[-1] >= count:
        last = f"{folder}/{found[numbers[-1]]}"
        raise SceneError(
            f"{file}: {count} poses and {len(numbers)} pictures up to {last} do not tell which belong "
            "together; add the missing pictures or poses"
        )
    return [f"{folder}/{found.get(number, number)}" for number in range(count)]


def _pictures(file: Path) -> tuple[str, dict[int, str]]:
    """The folder of the pictures, and their names by number; others, such as "12(3).jpg", are copies."""
    for folder in FOLDERS:
        found: dict[int, str] = {}
        try:
            names = [p.name for p in (file.parent / folder).iterdir() if p.suffix in EXTENSIONS]
        except OSError:  # not there
            continue
        for name in sorted(names):
            stem = name.rpartition(".")[0]
            if NUMBER.fullmatch(stem) and found.setdefault(int(stem), name) != name:
                pair = f"{folder}/{found[int(stem)]} and {folder}/{name}"
                raise SceneError(f"{file}: {pair} have one number. Remove one of the two.")
        if found:
            return folder, found
    return FOLDERS[0], {}


def _numbers(label: str, name: str, values: object, count: int) -> list[float]:
    if not isinstance(values, list) or len(values) != count:
        raise SceneError(f"{label}: {name} is not a list of {count} numbers")
    return [finite(label, f"{name}[{i}]", value) for i, value in enumerate(values)]


def _lenses(file: Path, contents: dict[str, Any], names: list[str]) -> list[Lens]:
    size = pixels(str(file), "w", contents.get("w")), pixels(str(file), "h", contents.get("h"))
    matrix = _numbers(str(file), "K", contents.get("K"), 9)
    fx, skew_x, last_x, skew_y, fy, last_y, cx, cy, one = matrix
    if (skew_x, last_x, skew_y, last_y, one) != (0, 0, 0, 0, 1):
        raise SceneError(f"{file}: K is {matrix}; it must be {COLUMN_MAJOR}, column by column")
    each = contents.get("perFrameIntrinsicCoeffs")
    if each is None or each == []:
        each = [[fx, fy, cx, cy]] * len(names)
    if not isinstance(each, list) or len(each) != len(names):
        raise SceneError(f"{file}: perFrameIntrinsicCoeffs must hold {len(names)} entries, one a pose")
    return [_lens(f"{file}: frame {i} ({names[i]})", values, size) for i, values in enumerate(each)]


def _lens(label: str, values: object, size: tuple[int, int]) -> Lens:
    fx, fy, cx, cy = _numbers(label, "intrinsics", values, 4)
    if not (fx > 0 and fy > 0):
        raise SceneError(f"{label}: focal lengths are {fx:g} and {fy:g}; they must be positive")
    return Lens(fx, fy, cx, cy, *size)


def _camera_to_world(label: str, pose: object) -> np.ndarray:
    """The matrix of [qx qy qz qw tx ty tz], in OpenCV axes."""
    x, y, z, w, *translation = _numbers(label, "pose", pose, 7)
    length = float(np.linalg.norm([x, y, z, w]))
    if abs(length - 1) > ROTATION_TOLERANCE:
        raise SceneError(
            f"{label}: the quaternion of its pose has length {length:g}, not 1. "
            "Remove the frame or fix its pose."
        )
    x, y, z, w = x / length, y / length, z / length, w / length
    rotation = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    rows = [[*row, moved] for row, moved in zip(rotation, translation, strict=True)]
    return opengl_to_opencv(torch.from_numpy(rigid_pose(label, rows, "pose"))).numpy()
