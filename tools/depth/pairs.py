"""Pictures with what is known of their depth: how one of them is read, whatever data set it is of.

Kinds of depth, as in tools/depth/losses.py:
    z_depth           along the optical axis, metres unless its set says otherwise
    inverse_depth     1 / z_depth in 1 / metres, or up to scale (a stereo pair's disparity); 0: infinitely far
    relative_inverse  up to scale and shift, such as a network predicts
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import torch
from jaxtyping import Bool, Float32, UInt8
from torch import Tensor

from render.settings import nearest
from scenes.depths import at_nearest, read_depth
from scenes.formats.capture import finite, read_json
from scenes.images import on_background, quantised, read_image
from tools.depth.bare import read_bare, read_dpt
from tools.depth.losses import Kind

Stored = Literal["picture", "dpt", "bare"]

GREY = (0.5, 0.5, 0.5)  # behind what is transparent
ASPECT = 0.01  # share by which a depth picture's ratio of sides may be off its colours'


class DepthSetError(ValueError):
    """A data set that cannot be used; the message names file, value and remedy."""


class DepthSetWarning(UserWarning):
    """A data set that can be used, but not for everything."""


class Intrinsics(NamedTuple):
    """Of a picture at its full size: focal lengths and principal point, pixels with centres at +0.5."""

    fx: float
    fy: float
    cx: float
    cy: float


@dataclass(frozen=True)
class Pair:
    """A picture, its depth picture, and its lens where it is known: here, or in a .json file."""

    name: str
    rgb: Path
    depth: Path
    camera: Intrinsics | Path | None = None


@dataclass(frozen=True, eq=False)
class Labelled:
    """A picture with its depth, at one size.

    rgb     sRGB
    values  in the set's kind and unit; 0 where nothing is known
    known   what the data set says anything about; inverse_depth of 0, infinitely far, is known
    camera  None: the set does not tell
    """

    rgb: UInt8[Tensor, "h w 3"]
    values: Float32[Tensor, "h w"]
    known: Bool[Tensor, "h w"]
    camera: Intrinsics | None


@dataclass(frozen=True)
class DepthSet:
    """A data set on disk: pairs of files, read when they are asked for.

    unit      value of one count of a depth picture: metres for z_depth, 1 / metres for inverse_depth
    offset    counts that stand for 0
    unknown   counts that mean nothing is known, besides infinite and negative ones, and 0 of z_depth
    layout    of tools/depth/datasets.py, how it was found
    protocol  of tools/depth/metrics.py, by which the set is measured in published tables; None: there is none
    cap       the largest z_depth, metres, that its maps tell well; None: all of them
    along_rays  its maps hold distances along rays, of which `read` makes z_depth
    stored      how: pictures and .npy, or as tools/depth/bare.py reads
    """

    name: str
    kind: Kind
    pairs: tuple[Pair, ...]
    unit: float | int = 1.0
    offset: float | int = 0.0
    unknown: tuple[float | int, ...] = (0,)
    layout: str = "given"
    protocol: str | None = None
    cap: float | int | None = None
    along_rays: bool = False
    stored: Stored = "picture"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.unit) and self.unit > 0):
            raise DepthSetError(f"{self.name}: unit of depth is {self.unit}; it must be a positive number")
        if not self.pairs:
            raise DepthSetError(f"{self.name}: holds no pair of a picture and its depth; add one")

    def __len__(self) -> int:
        return len(self.pairs)

    def subset(self, indices: Sequence[int]) -> "DepthSet":
        """Some of the pairs, in the order given."""
        return replace(self, pairs=tuple(self.pairs[index] for index in indices))

    def read(self, index: int) -> Labelled:
        """One picture and its depth, decoded now.

        Depth of another size, but of the same aspect within 1 %, is brought to the picture's by the nearest
        pixel: never averaged, for between a near and a far surface there is nothing.
        Raises: ImageError if a file cannot be read; DepthSetError if the sizes do not fit.
        """
        pair = self.pairs[index]
        rgb = read_image(pair.rgb, upright=self.stored != "bare")  # which have no size to tell a turn by
        stored = self.counts(pair.depth, rgb.shape[1], rgb.shape[0])
        if rgb.shape[2] == 4:
            rgb = quantised(on_background(rgb, GREY))
        stored = fitted(stored, rgb.shape[1], rgb.shape[0], pair)
        values, known = self.meaning(stored)
        camera = camera_of(pair, rgb.shape[1], rgb.shape[0])
        if self.along_rays:
            values = values * cosines(camera, pair, rgb.shape[1], rgb.shape[0])
        return Labelled(rgb, values, known, camera)

    def counts(self, path: Path, width: int, height: int) -> Float32[Tensor, "rows columns"]:
        """What is stored of the depth of a picture of this size. Raises: ImageError."""
        if self.stored == "bare":
            return read_bare(path, width, height)
        return read_dpt(path) if self.stored == "dpt" else read_depth(path)

    def meaning(self, stored: Float32[Tensor, "h w"]) -> tuple[Float32[Tensor, "h w"], Bool[Tensor, "h w"]]:
        """Values of counts, and where they are known."""
        values = (stored - self.offset) * self.unit
        known = values.isfinite() & ~torch.isin(stored, torch.tensor(self.unknown, dtype=stored.dtype))
        if self.kind == "z_depth":
            known &= values > 0
        elif self.kind == "inverse_depth":
            known &= values >= 0
        return torch.where(known, values, 0.0), known


def kind_named(label: str, name: object) -> Kind:
    """Raises: DepthSetError for a kind of depth that there is not."""
    for kind in get_args(Kind):
        if kind == name:
            return kind
    near = nearest(str(name), get_args(Kind))
    raise DepthSetError(
        f"{label}: kind of depth is {name!r}{near or '; one of ' + ', '.join(get_args(Kind))}"
    )


def fitted(stored: Float32[Tensor, "h w"], width: int, height: int, pair: Pair) -> Float32[Tensor, "h2 w2"]:
    """A depth picture at the size of its colours, by the nearest pixel.

    Raises: DepthSetError unless they show the same.
    """
    rows, columns = stored.shape
    if (columns, rows) == (width, height):
        return stored
    if abs(columns * height / (rows * width) - 1) > ASPECT:
        raise DepthSetError(
            f"{pair.depth}: is {columns} x {rows}, {pair.rgb.name} is {width} x {height}, which is another "
            "aspect; crop one of them to what both show"
        )
    return at_nearest(stored, width, height)


def cosines(camera: Intrinsics | None, pair: Pair, width: int, height: int) -> Float32[Tensor, "h w"]:
    """z_depth over distance, of every pixel. Raises: DepthSetError where the lens is not known."""
    if camera is None:
        raise DepthSetError(f"{pair.depth}: holds distances along rays, and its lens is not known; add it")
    x = (torch.arange(width) + 0.5 - camera.cx) / camera.fx
    y = (torch.arange(height) + 0.5 - camera.cy) / camera.fy
    return (1 + x.square() + y.square()[:, None]).rsqrt()


def camera_of(pair: Pair, width: int, height: int) -> Intrinsics | None:
    """The lens of a picture of this size. Raises: DepthSetError, SceneError for a file that is damaged."""
    if not isinstance(pair.camera, Path):
        return pair.camera
    told = read_json(pair.camera)
    return intrinsics_in(str(pair.camera), told.get("camera", told), width, height)


def intrinsics_in(label: str, told: object, width: int, height: int) -> Intrinsics:
    """Of {"fx", "fy", "cx", "cy"}, of pictures of {"width", "height"} if that is there; or of {"fov"}.

    fov: vertical, degrees, of a centred camera with square pixels.
    Raises: DepthSetError, SceneError that name the value.
    """
    if not isinstance(told, dict):
        raise DepthSetError(
            f"{label}: the camera is {told!r:.80}; write an object with fx, fy, cx, cy, or fov"
        )
    if "fov" in told:
        focal = 0.5 * height / math.tan(math.radians(finite(label, "fov", told["fov"], 0, 180)) / 2)
        return Intrinsics(focal, focal, width / 2, height / 2)
    if missing := [key for key in Intrinsics._fields if key not in told]:
        raise DepthSetError(f"{label}: the camera lacks {', '.join(missing)}; write fx, fy, cx, cy, or fov")
    fx, fy = (finite(label, key, told[key], 0) for key in ("fx", "fy"))
    cx, cy = (finite(label, key, told[key]) for key in ("cx", "cy"))
    across = width / finite(label, "width", told.get("width", width), 0)
    down = height / finite(label, "height", told.get("height", height), 0)
    return Intrinsics(fx * across, fy * down, cx * across, cy * down)
