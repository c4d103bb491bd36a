"""From a picture's depth to points: through a lens that is told or assumed.

Points are in the camera's own frame, OpenCV axes: x right, y down, z forward, from the camera.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from scenes.cameras import Cameras
from scenes.formats.ply import Points
from tools.depth.predict import Depth

ASSUMED_FOV = 60.0  # degrees across the longer side: between a telephone's main lens and a normal one
ASSUMED_RATIO = 10.0  # of the farthest z_depth to the nearest
MOST_POINTS = 1_000_000
STEEPEST = 10.0  # tangent between a surface and the picture plane: what is steeper is an edge, not a surface
SOLID = 128  # alpha from which a pixel shows something
EXIF_PART, FOCAL_LENGTH_35MM = 0x8769, 0xA405
DIAGONAL_35MM = math.hypot(36.0, 24.0)  # mm


@dataclass(frozen=True)
class Lens:
    """focal: pixels; known: how (given, exif, assumed)."""

    focal: float
    known: str


def lens_of(
    width: int,
    height: int,
    *,
    fov: float | int | None = None,
    focal: float | int | None = None,
    file: Path | None = None,
) -> Lens:
    """The lens of a picture: as `focal` (pixels) or `fov` (degrees across the longer side) say; else as the
    EXIF of its file does (focal length as of 35 mm film, by the diagonal); else ASSUMED_FOV.
    """
    if focal is not None:
        return Lens(float(focal), "given")
    if fov is None and file is not None and (equivalent := _focal_35mm(file)):
        return Lens(equivalent / DIAGONAL_35MM * math.hypot(width, height), "exif")
    half = math.radians(ASSUMED_FOV if fov is None else fov) / 2
    return Lens(max(width, height) / 2 / math.tan(half), "assumed" if fov is None else "given")


def _focal_35mm(file: Path) -> float | None:
    """What the EXIF says, mm; None where it says nothing that can be."""
    from PIL import Image

    try:
        with Image.open(file) as image:
            value = float(image.getexif().get_ifd(EXIF_PART).get(FOCAL_LENGTH_35MM, 0))
    except (OSError, SyntaxError, ValueError, TypeError, ArithmeticError):  # a damaged block tells nothing
        return None
    return value if 1 <= value < 10_000 else None


@dataclass(frozen=True)
class Line:
    """z_depth = 1 / (scale * value + shift), of inverse relative depth."""

    scale: float
    shift: float


def assumed_line(lowest: float | int, highest: float | int, ratio: float | int = ASSUMED_RATIO) -> Line:
    """The line that puts the nearest thing at a z_depth of 1 and the farthest at `ratio`.

    Nothing in the depth tells either: the shape of what is far depends on the ratio. A map that is constant
    is put at 1.
    """
    if not highest > lowest:
        return Line(0.0, 1.0)
    scale = (1 - 1 / ratio) / (highest - lowest)
    return Line(scale, 1 / ratio - scale * lowest)


def z_depth_of(depth: Depth, line: Line) -> Float[Tensor, "h w"]:
    """Metres of a metric depth; else what the line makes of it."""
    return depth.values if depth.kind == "metric" else 1 / (line.scale * depth.values + line.shift)


def points_of(
    z_depth: Float[Tensor, "h w"],
    image: UInt8[Tensor, "h w c"],
    focal: float | int,
    most_points: int = MOST_POINTS,
) -> Points:
    """The points that the pixels' centres show, in their colours, through a centred lens without distortion.

    Left out are edges, where a smooth map runs from one thing to the next (STEEPEST), and what is
    transparent. Of more than `most_points` pixels every k-th is taken in each direction.
    """
    height, width = z_depth.shape
    every = math.ceil(math.sqrt(height * width / most_points))
    kept = _is_surface(z_depth, focal)
    if image.shape[-1] == 4:
        kept &= image[..., 3] >= SOLID
    y, x = (kept[::every, ::every].nonzero() * every).unbind(-1)
    one = torch.ones((), dtype=torch.float64)
    camera = Cameras(
        torch.eye(4, dtype=torch.float64),
        *(one * value for value in (focal, focal, width / 2, height / 2)),
        width,
        height,
    )
    pixels = torch.stack((x, y), dim=-1).double() + 0.5
    positions = camera.unproject(pixels, z_depth[y, x].double())
    return Points(positions.numpy(), np.ascontiguousarray(image[y, x, :3].numpy()))


def _is_surface(z_depth: Float[Tensor, "h w"], focal: float | int) -> Tensor:
    """Where the next pixels to the right and below are as near as a surface of slope STEEPEST has them."""
    kept = torch.ones(z_depth.shape, dtype=torch.bool)
    for axis in range(2):
        length = z_depth.shape[axis] - 1
        one, next_one = z_depth.narrow(axis, 0, length), z_depth.narrow(axis, 1, length)
        kept.narrow(axis, 0, length).logical_and_(
            (next_one - one).abs() * focal <= STEEPEST * torch.minimum(one, next_one)
        )
    return kept
