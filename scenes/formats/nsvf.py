"""NSVF scenes: pictures in rgb, camera-to-world 4x4 in OpenCV axes in pose, intrinsics.txt, perhaps bbox.txt.

    rgb/0_0003.png   a picture; prefix 0_ is train, 1_ validation, 2_ test; where there is no 2_, 1_ is test
    pose/0_0003.txt  its pose
    bbox.txt         xmin ymin zmin xmax ymax zmax voxel: corners of the scene, and the side of a voxel
    intrinsics.txt   a 3x3 or 4x4 matrix of fx, fy, cx, cy; or, as in the synthetic scenes,
                         f cx cy 0.
                         0. 0. 0.    middle of a voxel grid, not used
                         0.          nearest depth, not used
                         1.          scale, not used
                         H W

A matrix tells no size: it is then that of the first picture. The principal point is in pixels with centres
at +0.5: it is 400 400 in the synthetic pictures of 800 x 800.

Source: Neural Sparse Voxel Fields (arXiv:2007.11571).
"""

import re
import warnings
from pathlib import Path

import numpy as np

from scenes.formats.capture import Capture, Frame, Lens, find_inside, finite, pixels, read_text, rigid_pose
from scenes.formats.files import entries_of, picture_size, pictures_in
from scenes.scene import SceneError, SceneWarning

FILES = ("intrinsics.txt", "bbox.txt")
PREFIX = re.compile(r"[012]_")
MAX_TEXT = 2**16  # bytes of a text of a few numbers
Box = tuple[tuple[float, ...], tuple[float, ...]]


def _folder(path: Path) -> Path:
    return path.parent if path.is_file() and path.name in FILES else path


def recognise(path: Path) -> str | None:
    """Why this is an NSVF scene, or None."""
    try:
        folder = _folder(path)
        parts = (folder / "intrinsics.txt").is_file(), (folder / "pose").is_dir(), (folder / "rgb").is_dir()
    except OSError:  # a name that is too long, a folder that may not be read
        return None
    return "has intrinsics.txt, pose and rgb" if all(parts) else None


def capture(path: Path, allow_outside: bool = False) -> Capture:
    """Read all frames that have a pose.

    Raises: SceneError. Warns: SceneWarning if pictures have no pose.
    """
    folder = _folder(path)
    pictures = _pictures(folder, allow_outside)
    poses = {e.stem: e.name for e in entries_of(folder / "pose") if e.suffix == ".txt"}
    if unposed := [stem for stem in pictures if stem not in poses]:
        warnings.warn(
            f"{folder / 'pose'}: {len(unposed)} of {len(pictures)} pictures have no pose and are left out: "
            f"{', '.join(unposed)}",
            SceneWarning,
            stacklevel=2,
        )
    lens = _lens(folder, pictures, allow_outside)
    frames = []
    for stem, name in poses.items():
        label = f"{folder / 'pose' / name}"
        matrix = _matrix([n for row in _rows(folder, f"pose/{name}", allow_outside) for n in row])
        frames.append(Frame(label, stem, pictures.get(stem), rigid_pose(label, matrix, "the pose"), lens))
    return Capture(
        file=folder / "pose",
        frames=tuple(frames),
        splits=_splits(folder, list(poses)),
        box=_box(folder, allow_outside),
    )


def _pictures(folder: Path, allow_outside: bool) -> dict[str, Path]:
    """Pictures by name without extension."""
    pictures: dict[str, Path] = {}
    for picture in pictures_in(folder / "rgb", folder, allow_outside):
        if pictures.setdefault(picture.stem, picture) is not picture:
            raise SceneError(f"{picture}: {pictures[picture.stem].name} has the same name. Remove one.")
    return pictures


def _rows(folder: Path, name: str, allow_outside: bool) -> list[list[float]]:
    """The lines of numbers in a small text; # begins a comment."""
    file = folder / name
    found = find_inside(str(file), folder, name, allow_outside, ())
    if found is None:
        raise SceneError(f"{file}: no such file")
    if found.stat().st_size > MAX_TEXT:
        raise SceneError(f"{file}: is larger than {MAX_TEXT} bytes; is it this file?")
    lines = [line.partition("#")[0].split() for line in read_text(found).splitlines()]
    for word in (word for line in lines for word in line):
        try:
            float(word)
        except ValueError as error:
            raise SceneError(f"{file}: holds {word[:40]!r}, which is no number; write it again") from error
    return [[float(word) for word in line] for line in lines if line]


def _matrix(numbers: list[float]) -> list[list[float]] | None:
    """16 or 12 numbers as rows of four; None: there are not as many."""
    return [numbers[i : i + 4] for i in range(0, len(numbers), 4)] if len(numbers) in (12, 16) else None


def _lens(folder: Path, pictures: dict[str, Path], allow_outside: bool) -> Lens:
    """The one lens of all pictures."""
    label = str(folder / "intrinsics.txt")
    rows = _rows(folder, "intrinsics.txt", allow_outside)
    widths = {len(row) for row in rows}
    if len(rows) in (3, 4) and widths in ({3}, {4}):
        fx, fy, cx, cy = _intrinsics(label, rows)
        sizes = None
    elif rows and len(rows[0]) in (3, 4):
        fx = fy = rows[0][0]
        cx, cy = rows[0][1:3]
        sizes = next((row for row in rows[1:] if len(row) == 2), None)
    else:
        raise SceneError(f"{label}: is neither a 3x3 or 4x4 matrix, nor f cx cy and more in the first line")
    if sizes is not None:
        height, width = pixels(label, "H", sizes[0]), pixels(label, "W", sizes[1])
    elif pictures:
        width, height = picture_size(label, next(iter(pictures.values())))
    else:
        raise SceneError(f"{folder / 'rgb'}: no picture is there; put them beside pose")
    return Lens(
        fx=finite(label, "the focal length", fx, 0.0),
        fy=finite(label, "the focal length", fy, 0.0),
        cx=finite(label, "cx", cx),
        cy=finite(label, "cy", cy),
        width=width,
        height=height,
    )


def _intrinsics(label: str, rows: list[list[float]]) -> tuple[float, float, float, float]:
    """fx, fy, cx, cy of an intrinsic matrix that holds nothing else."""
    matrix = np.eye(4)
    matrix[: len(rows), : len(rows[0])] = rows
    (fx, fy), (cx, cy) = matrix.diagonal()[:2], matrix[:2, 2]
    for (row, column), value in np.ndenumerate(matrix):
        free = row < 2 and column in (row, 2)
        if not free and not abs(value - (row == column)) < 1e-6:
            raise SceneError(
                f"{label}: row {row + 1}, column {column + 1} is {value:g}; it must be "
                f"{int(row == column)}, as only fx, fy, cx and cy are known"
            )
    return float(fx), float(fy), float(cx), float(cy)


def _splits(folder: Path, names: list[str]) -> dict[str, tuple[str, ...]] | None:
    """Names by split, of the prefixes; None where no name has one."""
    plain = [name for name in names if not PREFIX.match(name)]
    if len(plain) == len(names):
        return None
    if plain:
        raise SceneError(
            f"{folder / 'pose'}: {plain[0]} has no prefix 0_, 1_ or 2_ as others have; rename it"
        )
    test = "2" if any(name[0] == "2" for name in names) else "1"
    meaning = {"0": "train", "1": "val"} | {test: "test"}
    splits = {split: tuple(n for n in names if n[0] == digit) for digit, split in meaning.items()}
    return {split: members for split, members in splits.items() if members}


def _box(folder: Path, allow_outside: bool) -> Box | None:
    """Corners of the scene; None where no bbox.txt tells them."""
    file = folder / "bbox.txt"
    if not file.is_file():
        return None
    numbers = [number for row in _rows(folder, file.name, allow_outside) for number in row]
    if len(numbers) not in (6, 7):
        raise SceneError(f"{file}: has {len(numbers)} numbers, not xmin ymin zmin xmax ymax zmax voxel")
    low, high = ([finite(str(file), "a corner", n) for n in part] for part in (numbers[:3], numbers[3:6]))
    if not all(a < b for a, b in zip(low, high, strict=True)):
        raise SceneError(f"{file}: corner {low} must lie below corner {high} in x, y and z")
    return tuple(low), tuple(high)
