"""What readers of scene files share: a capture as its files tell it, and the scene that is made of it.

A reader turns its files into a `Capture`: frames in OpenCV axes and in the input's own frame and units,
checked one by one. Nothing that a file says is believed before it is checked here.
"""

import json
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from scenes.lenses import COEFFICIENTS
from scenes.scene import SceneError, SceneWarning

EXTENSIONS = (".png", ".jpg", ".jpeg", ".JPG", ".JPEG", ".PNG")  # tried in turn where a name has none
ROTATION_TOLERANCE = 1e-3  # of the entries of R^T R - 1
LARGEST = 1e30  # of a pose's entries; larger ones overflow float32 when multiplied
MAX_FILE = 2**28  # bytes of a text or JSON file
MAX_SIDE = 2**16  # pixels


@dataclass(frozen=True)
class Lens:
    """Intrinsics of one picture at the size they were measured for; coefficients as in scenes/lenses.py."""

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int
    coefficients: tuple[float, ...] = ()
    projection: str = "perspective"

    def __post_init__(self) -> None:
        if len(self.coefficients) > COEFFICIENTS:
            raise ValueError(f"a lens has at most {COEFFICIENTS} coefficients, got {len(self.coefficients)}")


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture and where it was taken.

    label            for messages: file, number and name
    name             as in the file, unique in the capture; splits go by it
    image            the picture; None: it is missing
    camera_to_world  (4, 4) float64, OpenCV axes, input frame
    mask             a picture, 0 where a pixel is to be ignored
    depth            a 16-bit picture or .npy of z_depth, in the capture's depth_unit
    time             in [0, 1], of a scene that moves
    shows            (k,) int64, which of the capture's points it shows, as far as that can be trusted
    """

    label: str
    name: str
    image: Path | None
    camera_to_world: np.ndarray
    lens: Lens
    mask: Path | None = None
    depth: Path | None = None
    time: float | None = None
    shows: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))


@dataclass(frozen=True, eq=False)
class Capture:
    """All that the files of one scene say.

    file           what to name in messages
    frames         at least one
    splits         names of frames by split; None: every eighth by sorted name is test, the others train
    points         (m, 3) float64, input frame, of structure from motion; empty: none
    point_colours  (m, 3) uint8
    box            corners of the scene where the file tells them, input frame
    box_is_all     whether nothing is to be seen outside of it
    depth_unit     of one step of a depth picture, in input units
    depth_unknown  values of a depth picture that mean nothing is known, besides 0
    up             in the input frame, where the format fixes it
    white          whether alpha is to be put on white
    near           the nearest depth of anything, where the capture tells it, input units
    """

    file: Path
    frames: tuple[Frame, ...]
    splits: dict[str, tuple[str, ...]] | None = None
    points: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))
    point_colours: np.ndarray = field(default_factory=lambda: np.zeros((0, 3), np.uint8))
    box: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    box_is_all: bool = True
    depth_unit: float = 1e-3
    depth_unknown: tuple[int, ...] = (65535,)
    up: tuple[float, float, float] | None = None
    white: bool = True
    near: float | None = None

    def __post_init__(self) -> None:
        if not self.frames:
            raise SceneError(f"{self.file}: holds no frame; list at least one")
        names: dict[str, Frame] = {}
        for frame in self.frames:
            if names.setdefault(frame.name, frame) is not frame:
                raise SceneError(f"{frame.label}: the same name as an earlier frame. Remove one of the two.")


def read_text(file: Path) -> str:
    """A text file. Raises: SceneError if it is missing, no UTF-8, or larger than MAX_FILE."""
    try:
        if file.stat().st_size > MAX_FILE:
            raise SceneError(
                f"{file}: has {file.stat().st_size} bytes, more than {MAX_FILE}; is it this file?"
            )
        return file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise SceneError(f"{file}: no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SceneError(f"{file}: cannot be read as text ({error}); write it again") from error


def read_json(file: Path) -> dict[str, Any]:
    """A JSON file that holds an object. Raises: SceneError."""
    try:
        contents = json.loads(read_text(file))
    except (ValueError, RecursionError) as error:
        if isinstance(error, SceneError):
            raise
        raise SceneError(f"{file}: is not JSON ({error}); write it again") from error
    if not isinstance(contents, dict):
        raise SceneError(f"{file}: holds a {type(contents).__name__}; it must be an object")
    return contents


def is_number(value: object) -> bool:
    """Whether this is a JSON number that a float can hold (NaN and infinity pass; true does not)."""
    return isinstance(value, float) or (type(value) is int and abs(value) < 2**63)


def finite(
    label: str, name: str, value: object, low: float | int = -LARGEST, high: float | int = LARGEST
) -> float:
    """A number strictly between low and high. Raises: SceneError that names it."""
    if not is_number(value) or not low < value < high:
        wanted = (
            "a finite number" if (low, high) == (-LARGEST, LARGEST) else f"a number in ({low:g}, {high:g})"
        )
        raise SceneError(f"{label}: {name} is {_shown(value)}; it must be {wanted}")
    return float(value)


def _shown(value: object) -> str:
    """A value in a message of one line: a list may be long, and nested deeper than repr can go."""
    if isinstance(value, list | dict):
        return f"a {type(value).__name__} of {len(value)}"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def pixels(label: str, name: str, value: object) -> int:
    """A side of a picture; whole numbers written as floats pass. Raises: SceneError."""
    side = finite(label, name, value, 0, MAX_SIDE)
    if side != int(side):
        raise SceneError(f"{label}: {name} is {value!r}; it must be a whole number of pixels")
    return int(side)


def rigid_pose(label: str, matrix: object, name: str = "transform_matrix") -> np.ndarray:
    """A (4, 4) float64 pose of 4x4 or 3x4 numbers.

    Raises: SceneError if they are no rigid motion: finite, rotation of determinant 1, last row 0 0 0 1.
    """
    rows = matrix.tolist() if isinstance(matrix, np.ndarray) else matrix
    if not isinstance(rows, list) or len(rows) not in (3, 4):
        raise SceneError(f"{label}: {name} is not 4x4 numbers. Remove the frame or fix its matrix.")
    if not all(isinstance(row, list) and len(row) == 4 and all(map(is_number, row)) for row in rows):
        raise SceneError(f"{label}: {name} is not 4x4 numbers. Remove the frame or fix its matrix.")
    pose = np.array([*rows, [0, 0, 0, 1]][:4], dtype=np.float64)
    if not (np.abs(pose) < LARGEST).all():  # false for NaN too
        raise SceneError(f"{label}: camera_to_world is not finite. Remove the frame or fix its matrix.")
    rotation = pose[:3, :3]
    determinant = float(np.linalg.det(rotation))
    skew = float(np.abs(rotation.T @ rotation - np.eye(3)).max())
    if skew > ROTATION_TOLERANCE or determinant < 0 or not np.allclose(pose[3], [0, 0, 0, 1]):
        raise SceneError(
            f"{label}: camera_to_world is not a rotation (determinant {determinant:.2f}). "
            "Remove the frame or fix its matrix."
        )
    return pose


def file_name(label: str, value: object, what: str = "file_path") -> str:
    """A printable, non-empty name of a file, without leading "./". Raises: SceneError."""
    if not isinstance(value, str) or not value or not value.isprintable():
        raise SceneError(f"{label}: {what} is {value!r}; name the frame's picture")
    return value.removeprefix("./")


def find_inside(
    label: str, folder: Path, name: str, allow_outside: bool, extensions: tuple[str, ...] = EXTENSIONS
) -> Path | None:
    """The file that `name` means, with or without its extension; None if there is none.

    Links are followed before asking whether it lies inside: an archive can carry them too.
    Raises: SceneError if it lies outside of `folder` and may not.
    """
    try:
        for candidate in (folder / name, *(folder / (name + extension) for extension in extensions)):
            if not allow_outside and not candidate.resolve().is_relative_to(folder.resolve()):
                raise SceneError(
                    f"{label}: the picture lies outside of the scene folder. Move it inside, or give "
                    "--allow-outside (allow_outside=True) if you trust this file."
                )
            if candidate.is_file():
                return candidate
    except (OSError, RuntimeError) as error:  # a name that is too long, links in a circle
        raise SceneError(f"{label}: the picture cannot be looked up ({error}). Fix its file_path.") from error
    return None


def present(file: Path, frames: list[Frame] | tuple[Frame, ...]) -> list[Frame]:
    """The frames whose picture is there; one warning names the others.

    Raises: SceneError if two frames have one picture, or no picture is there.
    """
    seen: dict[Path, Frame] = {}
    for frame in frames:
        if frame.image is not None and seen.setdefault(frame.image, frame) is not frame:
            raise SceneError(f"{frame.label}: the same picture as an earlier frame. Remove one of the two.")
    missing = [frame.name for frame in frames if frame.image is None]
    if not seen:
        raise SceneError(f"{file}: none of its {len(frames)} pictures is there; put them beside the file")
    if missing:
        warnings.warn(
            f"{file}: {len(missing)} of {len(frames)} pictures are missing and left out: "
            f"{', '.join(missing)}",
            SceneWarning,
            stacklevel=2,
        )
    return list(seen.values())
