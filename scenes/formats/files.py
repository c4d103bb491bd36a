"""Folders, pictures and arrays that readers of scene files find: listed, measured, and not believed."""

import io
import math
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from scenes.formats.capture import find_inside
from scenes.images import ImageError, read_header
from scenes.scene import SceneError

SUFFIXES = {".png", ".jpg", ".jpeg"}  # of pictures, in small letters


def entries_of(folder: Path) -> list[Path]:
    """What is in a folder, in the order of names, without hidden ones. Raises: SceneError."""
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise SceneError(f"{folder}: cannot be listed ({error.strerror}); it must be a folder") from error
    for entry in entries:
        if not entry.name.isprintable():
            raise SceneError(f"{folder}: {entry.name!r} cannot be printed; rename it")
    return entries


def pictures_in(folder: Path, scene: Path, allow_outside: bool) -> list[Path]:
    """The pictures in a folder of the scene, in the order of names.

    Raises: SceneError if one of them is a link to outside of the scene, and may not.
    """
    names = [entry.relative_to(scene) for entry in entries_of(folder) if entry.suffix.lower() in SUFFIXES]
    found = (find_inside(str(scene / name), scene, str(name), allow_outside, ()) for name in names)
    return [picture for picture in found if picture is not None]


def picture_size(label: str, picture: Path) -> tuple[int, int]:
    """Width and height of a picture, from its header. Raises: SceneError."""
    try:
        header = read_header(picture)
    except ImageError as error:
        raise SceneError(f"{label}: {error}") from error
    return header.width, header.height


def numbers_in_npy(label: str, contents: bytes) -> np.ndarray:
    """The (rows, columns) float64 numbers of a .npy file with this contents; nothing is ever unpickled.

    Raises: SceneError if they are no float32 or float64, or not as many as the header claims.
    """
    stream = io.BytesIO(contents)
    try:
        version = npy.read_magic(stream)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, by_columns, dtype = read(stream)
    except Exception as error:  # a header is a Python literal: a broken one can raise anything
        raise SceneError(f"{label}: does not begin as a .npy file does; write it again") from error
    if dtype.kind != "f" or dtype.itemsize not in (4, 8) or len(shape) != 2:
        raise SceneError(
            f"{label}: is an array of {len(shape)} dimensions and type {dtype.str}; "
            "it must have two, of float32 or float64"
        )
    start = stream.tell()
    if min(shape) < 1 or math.prod(shape) * dtype.itemsize != len(contents) - start:
        claimed = str(shape)[:60]
        raise SceneError(
            f"{label}: claims {claimed} numbers in {len(contents) - start} bytes; write it again"
        )
    numbers = np.frombuffer(contents, dtype, offset=start).reshape(shape, order="F" if by_columns else "C")
    with np.errstate(invalid="ignore"):  # some kinds of NaN complain; NaN is refused where it stands
        return numbers.astype(np.float64)
