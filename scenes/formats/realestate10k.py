"""RealEstate10K: the path of a camera through a video, as text.

    https://www.youtube.com/watch?v=...
    timestamp fx fy cx cy 0 0 r00 r01 r02 t0 r10 r11 r12 t1 r20 r21 r22 t2        one line a frame

The timestamp is in microseconds, fx and cx are in widths of the picture, fy and cy in heights, and the 3x4
matrix takes world points to camera points in OpenCV axes. The two numbers between are a distortion that the
authors' own code refuses unless it is 0. The pictures were taken out of the video by the user; they lie
beside the file, in a folder of the same name or in images/, and are named by their timestamp.

Source: google.github.io/realestate10k, and parse_camera_lines of "Stereo Magnification" (arXiv:1805.09817).
"""

import re
from pathlib import Path

import numpy as np

from scenes.formats.capture import Capture, Frame, Lens, find_inside, finite, read_text, rigid_pose
from scenes.images import ImageError, read_header
from scenes.scene import SceneError

COLUMNS = 19
HEAD = 4096  # bytes that hold an address and a line of numbers
ADDRESS = re.compile(r"https?://\S")
TIMESTAMP = re.compile(r"[0-9]{1,18}")
LONGEST_FOCAL = 100.0  # in widths; a larger number is in pixels
FARTHEST_CENTRE = 10.0


def recognise(path: Path) -> str | None:
    """Why this is a camera path of RealEstate10K, or None; in a folder it must be the only one."""
    try:
        if path.is_dir():
            found = _files(path)
            return f"has {found[0].name} with an address and {COLUMNS} columns" if len(found) == 1 else None
        return f"has an address and {COLUMNS} columns" if _is_camera_path(path) else None
    except (OSError, SceneError):
        return None


def _files(folder: Path) -> list[Path]:
    """The first two camera paths in a folder: more are not needed to know that it is not one scene."""
    found: list[Path] = []
    try:
        for file in folder.iterdir():
            if _is_camera_path(file):
                found.append(file)
            if len(found) == 2:
                break
    except OSError as error:
        raise SceneError(f"{folder}: cannot be listed ({error})") from error
    return found


def _is_camera_path(file: Path) -> bool:
    if file.suffix.lower() != ".txt" or not file.is_file():
        return False
    with file.open("rb") as stream:
        lines = stream.read(HEAD).decode("utf-8", errors="replace").splitlines()
    if len(lines) < 2 or not ADDRESS.match(lines[0]):
        return False
    return len(lines[1].split()) == COLUMNS and _numbers(lines[1]) is not None


def _numbers(line: str) -> list[float] | None:
    try:
        return [float(word) for word in line.split()]
    except ValueError:
        return None


def capture(path: Path, allow_outside: bool = False) -> Capture:
    """Read a camera path, or the only one in a folder, and find its pictures.

    Raises: SceneError if a line is not as above, or no picture is there to tell the size.
    """
    file = _only(path) if path.is_dir() else path
    if not file.is_file():
        raise SceneError(f"{file}: no such file; give a camera path of RealEstate10K, or its folder")
    lines = read_text(file).splitlines()
    if not lines or not ADDRESS.match(lines[0]):
        raise SceneError(f"{file}: line 1 must be the address of the video; is it of RealEstate10K?")
    rows = [(number, line.split()) for number, line in enumerate(lines[1:], start=2) if line.strip()]
    if not rows:
        raise SceneError(f"{file}: holds no frame; list at least one below the address")
    named = [_named(file, number, words) for number, words in rows]
    pictures = file.stem if (file.parent / file.stem).is_dir() else "images"
    images = [find_inside(label, file.parent, f"{pictures}/{time}", allow_outside) for label, time in named]
    size = _size(file, images)
    frames = tuple(
        _frame(label, time, words, image, size)
        for (label, time), (_, words), image in zip(named, rows, images, strict=True)
    )
    return Capture(file, frames)


def _only(folder: Path) -> Path:
    found = _files(folder)
    if len(found) != 1:
        several = "several camera paths; give one of them" if found else "no camera path of RealEstate10K"
        raise SceneError(f"{folder}: holds {several}")
    return found[0]


def _named(file: Path, number: int, words: list[str]) -> tuple[str, str]:
    """How messages call a line, and its timestamp."""
    label = f"{file}: line {number}"
    if len(words) != COLUMNS:
        raise SceneError(f"{label}: has {len(words)} columns, not {COLUMNS}; remove the line or mend it")
    if not TIMESTAMP.fullmatch(words[0]):
        word = words[0][:40]
        raise SceneError(f"{label}: timestamp is {word!r}; it must be a whole number of microseconds")
    return f"{label} ({words[0]})", words[0]


def _size(file: Path, images: list[Path | None]) -> tuple[int, int]:
    """Width and height of the first picture: all come from one video."""
    for image in images:
        if image is not None:
            try:
                header = read_header(image)
            except ImageError as error:
                raise SceneError(str(error)) from error
            return header.width, header.height
    raise SceneError(
        f"{file}: none of its {len(images)} pictures is there; take them out of the video and put them "
        f"into {file.stem}/ or images/ beside it, named by timestamp"
    )


def _frame(label: str, timestamp: str, words: list[str], image: Path | None, size: tuple[int, int]) -> Frame:
    values = _numbers(" ".join(words))
    if values is None:
        raise SceneError(f"{label}: holds words that are no numbers; remove the line or mend it")
    if values[5] != 0 or values[6] != 0:
        raise SceneError(
            f"{label}: columns 6 and 7 are {words[5]} and {words[6]}; they must be 0, as in the data set"
        )
    (width, height), far = size, FARTHEST_CENTRE
    lens = Lens(
        fx=width * finite(label, "fx (in widths)", values[1], 0.0, LONGEST_FOCAL),
        fy=height * finite(label, "fy (in heights)", values[2], 0.0, LONGEST_FOCAL),
        cx=width * finite(label, "cx (in widths)", values[3], -far, far),
        cy=height * finite(label, "cy (in heights)", values[4], -far, far),
        width=width,
        height=height,
    )
    world_to_camera = rigid_pose(label, np.array(values[7:]).reshape(3, 4), "the 3x4 matrix")
    rotation, translation = world_to_camera[:3, :3], world_to_camera[:3, 3]
    camera_to_world = np.eye(4)
    camera_to_world[:3, :3] = rotation.T
    camera_to_world[:3, 3] = -rotation.T @ translation
    return Frame(label, timestamp, image, camera_to_world, lens)
