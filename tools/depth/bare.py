"""Depth that lies in files as bare numbers: MPI Sintel's .dpt, and ETH3D's without any header."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from scenes.images import MAX_PIXELS, ImageError

SINTEL = 202021.25  # the number that its files begin with, as those of Middlebury's optical flow do


def read_bare(path: Path, width: int, height: int) -> Float32[Tensor, "height width"]:
    """Little-endian float32, row by row, of a picture of this size.

    Raises: ImageError unless the file holds as many.
    """
    stored = _bytes_of(path, 4 * width * height)
    if len(stored) != 4 * width * height:
        raise ImageError(
            f"{path}: does not hold {width} x {height} numbers of 4 bytes, as its picture is large; are they "
            "of one resolution?"
        )
    return torch.from_numpy(np.frombuffer(stored, "<f4").reshape(height, width).astype(np.float32))


def read_dpt(path: Path) -> Float32[Tensor, "height width"]:
    """A .dpt file of MPI Sintel: a tag, width and height, and float32 row by row, all little-endian.

    Raises: ImageError if it is no such file, or holds fewer numbers than it claims.
    """
    stored = _bytes_of(path, 4 * MAX_PIXELS + 12)
    if len(stored) < 12 or np.frombuffer(stored, "<f4", 1)[0] != SINTEL:
        raise ImageError(f"{path}: does not begin as a .dpt file does; replace the file")
    width, height = (int(side) for side in np.frombuffer(stored, "<i4", 2, 4))
    if width < 1 or height < 1 or len(stored) != 12 + 4 * width * height:
        claimed = f"claims {width} x {height} numbers in {len(stored) - 12} bytes"
        raise ImageError(f"{path}: {claimed}; replace the file")
    return torch.from_numpy(np.frombuffer(stored, "<f4", offset=12).reshape(height, width).astype(np.float32))


def read_cam(path: Path) -> tuple[float, float, float, float]:
    """fx, fy, cx, cy of a .cam file of MPI Sintel: a tag, and a 3x3 matrix of float64.

    Raises: ImageError if it is no such file.
    """
    stored = _bytes_of(path, 1024)
    if len(stored) < 76 or np.frombuffer(stored, "<f4", 1)[0] != SINTEL:
        raise ImageError(f"{path}: does not begin as a .cam file does; replace the file")
    matrix = np.frombuffer(stored, "<f8", 9, 4).reshape(3, 3)
    return float(matrix[0, 0]), float(matrix[1, 1]), float(matrix[0, 2]), float(matrix[1, 2])


def _bytes_of(path: Path, most: int) -> bytes:
    """What a file holds, if it is no longer than that; else that and one more."""
    try:
        if not path.is_file():
            raise ImageError(f"{path}: no such depth file")
        with path.open("rb") as file:
            return file.read(most + 1)
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror or error}); replace the file") from error
