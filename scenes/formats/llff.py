"""LLFF captures: poses_bounds.npy, with one row for each picture of the folder images, in the order of names.

    a row: 17 numbers, 3x5 [R | t | (H, W, f)] camera-to-world, then the nearest and the farthest depth

The columns of R are the camera's down, right and backwards. H, W and f are those of the full pictures; the
principal point is in the middle and there is no distortion. Smaller copies of the pictures may stand in
folders images_N. Such a folder may be given as the scene: its cameras then have the size of its pictures.

Source: Local Light Field Fusion (arXiv:1905.00889) and the loader of NeRF (arXiv:2003.08934).
"""

import re
from pathlib import Path

import numpy as np

from scenes.formats.capture import MAX_FILE, Capture, Frame, Lens, finite, pixels, rigid_pose
from scenes.formats.files import entries_of, numbers_in_npy, picture_size, pictures_in
from scenes.scene import SceneError

NAME = "poses_bounds.npy"
FOLDER = re.compile(r"images(_\d+)?")


def recognise(path: Path) -> str | None:
    """Why this is an LLFF capture, or None; its file or a folder of its pictures may be given too."""
    try:
        return f"has {NAME}" if _file(path).is_file() else None
    except OSError:  # a name that is too long, a folder that may not be read
        return None


def _file(path: Path) -> Path:
    """Where poses_bounds.npy has to be for this path."""
    if path.name == NAME:
        return path
    if FOLDER.fullmatch(path.name) and path.is_dir() and not (path / NAME).exists():
        return path.parent / NAME
    return path / NAME


def capture(path: Path, allow_outside: bool = False) -> Capture:
    """Read a capture; of the bounds of depth the nearest is kept.

    Raises: SceneError, also where there are not as many pictures as rows: only their order pairs them.
    """
    file = _file(path)
    rows = _rows(file)
    folder = path if path.is_dir() and path != file.parent else _picture_folder(file)
    pictures = pictures_in(folder, file.parent, allow_outside)
    if len(pictures) != len(rows):
        raise SceneError(
            f"{file}: has {len(rows)} rows, and {folder} has {len(pictures)} pictures; "
            "give a folder with one picture for each row"
        )
    full = folder.name == "images"
    frames = tuple(_frame(file, i, *pair, full) for i, pair in enumerate(zip(rows, pictures, strict=True)))
    return Capture(file, frames, near=float(rows[:, 15].min()))


def _rows(file: Path) -> np.ndarray:
    """(n, 17) float64."""
    try:
        if not file.is_file():
            raise SceneError(f"{file}: no such file")
        if file.stat().st_size > MAX_FILE:
            raise SceneError(f"{file}: is larger than {MAX_FILE} bytes; is it this file?")
        rows = numbers_in_npy(str(file), file.read_bytes())
    except OSError as error:
        raise SceneError(f"{file}: cannot be read ({error}); write it again") from error
    if rows.shape[1] != 17:
        raise SceneError(f"{file}: has {rows.shape[1]} numbers in a row; LLFF has 17 (3x5 pose, near, far)")
    return rows


def _picture_folder(file: Path) -> Path:
    """The folder images beside the file, or else the only images_N there."""
    scene = file.parent
    if (scene / "images").is_dir():
        return scene / "images"
    found = [entry for entry in entries_of(scene) if FOLDER.fullmatch(entry.name) and entry.is_dir()]
    if len(found) == 1:
        return found[0]
    there = ", ".join(entry.name for entry in found) or "none"
    raise SceneError(
        f"{file}: beside it must be a folder images, or one folder images_N (there: {there}); "
        "add it, or give one of several as the scene"
    )


def _frame(file: Path, index: int, row: np.ndarray, picture: Path, full: bool) -> Frame:
    """One row, checked. full: the lens is for pictures of H x W, else for this picture's own size."""
    label = f"{file}: row {index} ({picture.name})"
    down, right, backwards, centre, sizes = row[:15].reshape(3, 5).T
    pose = rigid_pose(label, np.stack((right, down, -backwards, centre), axis=1), "the pose")
    pose[:3, :3] = nearest_rotation(pose[:3, :3])
    near = finite(label, "the nearest depth", float(row[15]), 0.0)
    finite(label, "the farthest depth", float(row[16]), near)
    height, width = pixels(label, "H", float(sizes[0])), pixels(label, "W", float(sizes[1]))
    focal = finite(label, "f", float(sizes[2]), 0.0)
    w, h = (width, height) if full else picture_size(label, picture)
    if abs(w * height - h * width) > width + height:  # each side may have been rounded to the next pixel
        raise SceneError(
            f"{label}: is {w} x {h}, no shrunken copy of {width} x {height}. Shrink the full pictures again."
        )
    return Frame(
        label=label,
        name=picture.name,
        image=picture,
        camera_to_world=pose,
        lens=Lens(focal * w / width, focal * h / height, w / 2, h / 2, w, h),
    )


def nearest_rotation(matrix: np.ndarray) -> np.ndarray:
    """The rotation nearest to a (3, 3) matrix that is almost one, in least squares of the entries."""
    u, _, v = np.linalg.svd(matrix)
    return u @ v
