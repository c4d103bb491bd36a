"""Poses and intrinsics as others hold them, arrays of 4x4 and 3x3 numbers, checked one by one."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from scenes.lenses import COEFFICIENTS
from scenes.transforms import opengl_to_opencv

Array = Tensor | np.ndarray | Sequence
CONVENTIONS = ("opencv", "opengl")
TOLERANCE = 1e-3  # of the entries of R^T R - 1, and of a last row


def as_floats(values: Array) -> Float[Tensor, "*s"]:
    """Numbers as a tensor of float32 or float64; a tensor of these is the same one, gradient and all."""
    if isinstance(values, Tensor):
        return values if values.dtype in (torch.float32, torch.float64) else values.double()
    array = np.array(values, order="C")  # a copy: others' memory may be read-only, or go away
    return torch.from_numpy(array if array.dtype == np.float32 else array.astype(np.float64))


def checked_pose(name: str, matrices: Array, convention: str) -> Float[Tensor, "*n 4 4"]:
    """Rigid motions, (*n, 4, 4) or (*n, 3, 4), as (*n, 4, 4).

    name: of the argument, "camera_to_world" or "world_to_camera"; both come back as camera_to_world in OpenCV
    axes, whichever way and in whichever `convention` (opencv; opengl: x right, y up, z back) they were given.
    Raises: ValueError that names the first matrix which is no rigid motion, and why.
    """
    if convention not in CONVENTIONS:
        raise ValueError(f"convention {convention!r} is unknown; it is one of {', '.join(CONVENTIONS)}")
    given = as_floats(matrices)
    if given.ndim < 2 or tuple(given.shape[-2:]) not in ((4, 4), (3, 4)):
        raise ValueError(f"{name} has shape {tuple(given.shape)}; it must be (..., 4, 4) or (..., 3, 4)")
    held, last = given.detach(), given.new_tensor([0.0, 0.0, 0.0, 1.0])
    rotation = held[..., :3, :3]
    skew = (rotation.mT @ rotation - torch.eye(3).to(rotation)).abs().amax(dim=(-2, -1))
    _refuse(name, held, _not_finite(held), lambda m: f"holds {_first_odd(m)}; leave this camera out")
    _refuse(
        name, held, (skew > TOLERANCE) | (torch.linalg.det(rotation) < 0),
        lambda m: f"is no rotation and shift (determinant {float(torch.linalg.det(m[:3, :3])):.3g}): its "
        "axes must be of length 1, square to each other and not mirrored",
    )  # fmt: skip
    if given.shape[-2] == 4:
        off = (held[..., 3, :] - last).abs().amax(dim=-1) > TOLERANCE
        _refuse(name, held, off, lambda m: f"ends in the row {_row(m[3])}; it must be 0 0 0 1")
    rows = given[..., :3, :]
    if name == "world_to_camera":
        back = rows[..., :3].mT
        rows = torch.cat((back, -back @ rows[..., 3:]), dim=-1)
    pose = torch.cat((rows, last.expand(*given.shape[:-2], 1, 4)), dim=-2)
    return pose if convention == "opencv" else opengl_to_opencv(pose)


def checked_intrinsics(matrices: Array) -> Float[Tensor, "*n 4"]:
    """fx, fy, cx, cy of matrices K, (*n, 3, 3), in pixels.

    Raises: ValueError that names the first one that is no K: of other numbers, or skewed.
    """
    given = as_floats(matrices)
    if given.ndim < 2 or tuple(given.shape[-2:]) != (3, 3):
        raise ValueError(f"K has shape {tuple(given.shape)}; it must be (..., 3, 3)")
    held = given.detach()
    focal, skew = held[..., [0, 1], [0, 1]], held[..., 0, 1].abs()
    rest = (held - torch.eye(3).to(held))[..., [1, 2, 2, 2], [0, 0, 1, 2]].abs().amax(dim=-1)
    for wrong, why in (
        (_not_finite(held), lambda m: f"holds {_first_odd(m)}; leave this camera out"),
        (rest > 1e-6, lambda m: "is not fx 0 cx, 0 fy cy, 0 0 1 but " + ", ".join(map(_row, m))),
        ((focal <= 0).any(dim=-1), lambda m: f"has fx {m[0, 0]:g}, fy {m[1, 1]:g}; both must be above 0"),
        (skew > 1e-6 * focal[..., 0], lambda m: f"has skew {m[0, 1]:g}; a camera here has none: set it to 0"),
    ):
        _refuse("K", held, wrong, why)
    fx, _, cx, _, fy, cy = given[..., :2, :].flatten(-2).unbind(-1)
    return torch.stack((fx, fy, cx, cy), dim=-1)


def checked_lens(coefficients: Array) -> Float[Tensor, "*n 8"]:
    """Coefficients in the order of scenes/lenses.py, zeros after the last. Raises: ValueError."""
    given = as_floats(coefficients)
    if given.ndim < 1 or given.shape[-1] > COEFFICIENTS:
        raise ValueError(f"distortion has shape {tuple(given.shape)}; it ends in at most {COEFFICIENTS}")
    if not bool(given.isfinite().all()):
        raise ValueError("distortion holds a number that is not finite; leave this camera out")
    return torch.nn.functional.pad(given, (0, COEFFICIENTS - given.shape[-1]))


def _refuse(name: str, given: Tensor, wrong: Bool[Tensor, "*n"], why: Callable[[Tensor], str]) -> None:
    """Raises: ValueError with the place and the fault of the first matrix that is wrong."""
    if bool(wrong.any()):
        place = tuple(wrong.nonzero()[0].tolist())
        label = f"{name}[{', '.join(map(str, place))}]" if place else name
        raise ValueError(f"{label} {why(given[place])}")


def _not_finite(matrices: Float[Tensor, "*n r c"]) -> Bool[Tensor, "*n"]:
    return ~matrices.isfinite().flatten(-2).all(dim=-1)


def _first_odd(matrix: Tensor) -> str:
    row, column = (~matrix.isfinite()).nonzero()[0].tolist()
    return f"{float(matrix[row, column])} in row {row}, column {column}"


def _row(values: Tensor) -> str:
    return " ".join(f"{value:g}" for value in values.tolist())
