"""RGB-D captures with one file each for the colours, the depth and the pose of a frame, in two layouts:

    ScanNet    color/N.jpg      depth/N.png        pose/N.txt        intrinsic/intrinsic_color.txt
    7-Scenes   frame-N.color.*  frame-N.depth.png  frame-N.pose.txt  camera-intrinsics.txt or intrinsics.txt

A pose is a 4x4 camera-to-world matrix in OpenCV axes and metres; where tracking was lost it holds infinities,
and the frame is left out. Intrinsics are a 3x3 or 4x4 matrix for the colour pictures. Depth is 16 bits of
millimetres, 0 or 65535 where unknown; it may be smaller than the colours but has to show the same view. In
7-Scenes as published it does so only roughly: poses and intrinsics are those of the depth camera, and the
colour camera stands 2.5 cm beside it.

Source: github.com/ScanNet/ScanNet; "RGB-D Dataset 7-Scenes" (Microsoft Research), README.
"""

import re
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np

from scenes.formats.capture import LARGEST, Capture, Frame, Lens, find_inside, finite, read_text, rigid_pose
from scenes.images import ImageError, read_header
from scenes.scene import SceneError, SceneWarning


class _Layout(NamedTuple):
    """Where things lie; {} is a frame's number, as text with its zeros."""

    colour: str  # without extension
    depth: str
    pose: str
    intrinsics: tuple[str, ...]
    numbered: tuple[tuple[str, str], ...]  # folders, and which of their files tell a number


LAYOUTS = {
    "ScanNet": _Layout(
        colour="color/{}",
        depth="depth/{}",
        pose="pose/{}.txt",
        intrinsics=("intrinsic/intrinsic_color.txt",),
        numbered=(("color", r"([0-9]+)\.(?i:png|jpe?g)"), ("pose", r"([0-9]+)\.txt")),
    ),
    "7-Scenes": _Layout(
        colour="frame-{}.color",
        depth="frame-{}.depth",
        pose="frame-{}.pose.txt",
        intrinsics=("camera-intrinsics.txt", "intrinsics.txt"),
        numbered=((".", r"frame-([0-9]+)\.(?:color\.(?i:png|jpe?g)|pose\.txt)"),),
    ),
}
WITH_DEFAULT = "7-Scenes"
KINECT = Lens(585.0, 585.0, 320.0, 240.0, width=640, height=480)  # the README of 7-Scenes
UNKNOWN = (0, 65535)


def recognise(path: Path) -> str | None:
    """Why this is a folder of RGB-D frames, or None."""
    name = _layout(path)
    if name is None:
        return None
    layout = LAYOUTS[name]
    return f"has {layout.pose.format('N')} beside {layout.colour.format('N')}, as {name}"


def _layout(folder: Path) -> str | None:
    """The layout of a folder: it has poses, colours and, where there is no default, intrinsics."""
    try:
        for name, layout in LAYOUTS.items():
            wanted = [layout.colour.format("*") + ".*", layout.pose.format("*")]
            wanted += () if name == WITH_DEFAULT else layout.intrinsics
            if all(next(folder.glob(pattern), None) is not None for pattern in wanted):
                return name
    except OSError:
        pass
    return None


def capture(path: Path, allow_outside: bool = False) -> Capture:
    """Find the frames of a folder and read their poses.

    Raises: SceneError if a matrix is senseless, no frame has a pose, or no picture is there to tell the size.
    Warns: SceneWarning for frames without a pose, and where intrinsics are the camera's default.
    """
    name = _layout(path)
    if name is None:
        raise SceneError(f"{path}: holds no poses and pictures laid out as {' or '.join(LAYOUTS)}")
    layout = LAYOUTS[name]
    numbers = _numbers(path, layout)
    poses = {number: _pose(path, layout.pose.format(number), allow_outside) for number in numbers}
    images = {
        number: find_inside(f"{path}: frame {number}", path, layout.colour.format(number), allow_outside)
        for number in numbers
    }
    _warn_of_lost(path, [number for number in numbers if poses[number] is None], len(numbers))
    lens = _lens(path, layout, list(images.values()), allow_outside)
    frames = []
    for number, pose in poses.items():
        if pose is not None:
            label = f"{path}: frame {number}"
            depth = find_inside(label, path, layout.depth.format(number), allow_outside, (".png",))
            colour = layout.colour.format(number)
            frames.append(Frame(label, colour, images[number], pose, lens, depth=depth))
    return Capture(path, tuple(frames), depth_unit=1e-3, depth_unknown=UNKNOWN)


def _numbers(folder: Path, layout: _Layout) -> list[str]:
    """The numbers of all frames that have a pose or a colour picture, in natural order."""
    numbers: set[str] = set()
    for inside, pattern in layout.numbered:
        matches = (re.fullmatch(pattern, file.name) for file in (folder / inside).iterdir())
        numbers.update(match[1] for match in matches if match)
    return sorted(numbers, key=lambda number: (int(number), number))


def _warn_of_lost(folder: Path, lost: list[str], count: int) -> None:
    if len(lost) == count:
        raise SceneError(f"{folder}: none of its {count} frames has a finite pose; track the camera again")
    if lost:
        which = f"{len(lost)} of {count} frames have no finite pose and are left out: {', '.join(lost)}"
        warnings.warn(f"{folder}: {which}", SceneWarning, stacklevel=3)


def _pose(folder: Path, name: str, allow_outside: bool) -> np.ndarray | None:
    """A frame's pose; None if there is no file, or tracking was lost."""
    file = find_inside(f"{folder / name}", folder, name, allow_outside, ())
    if file is None:
        return None
    matrix = _matrix(file, (4,))
    return rigid_pose(str(file), matrix, "the pose") if np.isfinite(matrix).all() else None


def _matrix(file: Path, sides: tuple[int, ...]) -> np.ndarray:
    """The square matrix that a text file holds, of one of these sides."""
    try:
        rows = [
            [float(word) for word in line.split()] for line in read_text(file).splitlines() if line.strip()
        ]
    except SceneError:
        raise
    except ValueError as error:
        reason = str(error)[:100]  # it quotes the word, however long
        raise SceneError(f"{file}: holds more than numbers ({reason}). Remove or mend the file.") from error
    if len(rows) not in sides or any(len(row) != len(rows) for row in rows):
        wanted = " or ".join(f"{side}x{side}" for side in sides)
        raise SceneError(f"{file}: does not hold {wanted} numbers. Remove or mend the file.")
    return np.array(rows)


def _lens(folder: Path, layout: _Layout, images: list[Path | None], allow_outside: bool) -> Lens:
    """The intrinsics in the folder, for pictures of the size of the first."""
    paths = (find_inside(f"{folder / n}", folder, n, allow_outside, ()) for n in layout.intrinsics)
    file = next((path for path in paths if path is not None), None)
    if file is None:
        warnings.warn(
            f"{folder}: holds no {' or '.join(layout.intrinsics)}; taken to be the Kinect's of 7-Scenes, "
            f"{KINECT.fx:g} {KINECT.fy:g} {KINECT.cx:g} {KINECT.cy:g} for {KINECT.width} x {KINECT.height}",
            SceneWarning,
            stacklevel=3,
        )
        return KINECT
    image = next((image for image in images if image is not None), None)
    if image is None:
        raise SceneError(f"{folder}: none of its {len(images)} pictures is there; put them back")
    try:
        width, height, _ = read_header(image)
    except ImageError as error:
        raise SceneError(str(error)) from error
    matrix = _matrix(file, (3, 4))
    fx, fy, cx, cy = (float(v) for v in (matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2]))
    plain = np.eye(len(matrix))
    plain[:2, :3] = [[fx, 0, cx], [0, fy, cy]]
    if not np.allclose(matrix, plain):
        raise SceneError(f"{file}: is not fx 0 cx, 0 fy cy, 0 0 1; write the intrinsics as such a matrix")
    if not (0 < cx < width and 0 < cy < height):
        raise SceneError(
            f"{file}: cx {cx:g} and cy {cy:g} lie outside of the pictures ({width} x {height}); "
            "are these the intrinsics of larger ones?"
        )
    fx, fy = (finite(str(file), key, value, 0.0, LARGEST) for key, value in (("fx", fx), ("fy", fy)))
    return Lens(fx, fy, cx, cy, width, height)
