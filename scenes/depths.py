"""Depth pictures: what lies how far from a camera, as its sensor or a program wrote it.

A depth picture holds z_depth (along the optical axis, not along rays) in steps of some unit, row by row
from the top, with pixel centres at +0.5. It may be smaller than the colours it belongs to. Depth is never
averaged: between a near and a far surface there is nothing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from scenes.cameras import Cameras
from scenes.images import MAX_PIXELS, ImageError

if TYPE_CHECKING:
    from PIL.Image import Image

PICTURES = {
    ".png": "PNG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".pgm": "PPM",
}  # suffixes, and what PIL calls them
LEAST_ALONG = 0.05  # share of a ray on the optical axis, for its depth to mean anything
GREYSCALE = ("L", "I", "F")  # PIL's modes, besides those of 16 bits: I;16 and its byte orders


def read_depth(path: str | Path) -> Float[Tensor, "height width"]:
    """The values of a depth picture as they are stored: a greyscale PNG or TIFF, or a .npy of numbers.

    Raises: ImageError if it is missing, broken, coloured, larger than MAX_PIXELS or of another kind.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in (*PICTURES, ".npy"):
        kinds = ", ".join((*PICTURES, ".npy"))
        raise ImageError(f"{path}: depth pictures of kind {suffix!r} are not read; save it as one of {kinds}")
    try:
        if not path.is_file():  # a pipe or a device would be waited for
            raise ImageError(f"{path}: no such depth picture")
        values = _read_npy(path) if suffix == ".npy" else _read_picture(path, PICTURES[suffix])
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error}); replace the file") from error
    with np.errstate(all="ignore"):  # a double too large for a float becomes infinite: unknown
        return torch.from_numpy(values.astype(np.float32))


def has_8_bits(path: str | Path) -> bool:
    """Whether a depth picture has but 256 steps; no .npy has. Raises: ImageError if it cannot be read."""
    path = Path(path)
    if path.suffix.lower() not in PICTURES:
        return False
    with _open(path, PICTURES[path.suffix.lower()]) as image:
        return image.mode not in ("I", "F") and not image.mode.startswith("I;")


def text_of(path: str | Path) -> dict[str, str]:
    """What a depth picture says beside its pixels, as PNG can. Raises: ImageError if it cannot be read."""
    path = Path(path)
    if path.suffix.lower() not in PICTURES:
        return {}
    with _open(path, PICTURES[path.suffix.lower()]) as image:
        return {name: told for name, told in image.info.items() if isinstance(told, str)}


def _brief(error: Exception) -> str:
    """What a library says, on one line: some quote the whole file."""
    return " ".join(str(error).split())[:100]


def _check_size(path: Path, width: int, height: int) -> None:
    if width < 1 or height < 1 or width * height > MAX_PIXELS:
        size = f"{width} x {height}"
        raise ImageError(f"{path}: {size} is not within 1 to {MAX_PIXELS} pixels; shrink it first")


def _read_picture(path: Path, kind: str) -> np.ndarray:
    with _open(path, kind) as image:
        _check_size(path, image.width, image.height)
        if image.mode not in GREYSCALE and not image.mode.startswith("I;16"):
            raise ImageError(
                f"{path}: is no depth picture but one of mode {image.mode}; "
                "save depth as greyscale of 16 bits"
            )
        try:
            return np.array(image)
        except Exception as error:  # broken files end in errors of many kinds inside PIL's decoders
            raise ImageError(f"{path}: cannot be decoded ({_brief(error)}); replace the file") from error


def _open(path: Path, kind: str) -> "Image":
    """The picture with its header read, not decoded."""
    from PIL import Image, UnidentifiedImageError

    try:
        return Image.open(path, formats=(kind,))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"{path}: claims more than {MAX_PIXELS} pixels; shrink it first") from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{path}: is no {kind} picture; write it again") from error
    except Exception as error:  # as above
        raise ImageError(f"{path}: cannot be read ({_brief(error)}); replace the file") from error


def _read_npy(path: Path) -> np.ndarray:
    """An array whose header was checked before anything is allocated for it."""
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    with path.open("rb") as stream:
        try:
            version = np.lib.format.read_magic(stream)
            if version not in readers:
                raise ValueError(f"version {version} is for arrays of records")
            shape, _, dtype = readers[version](stream)
        except Exception as error:  # numpy evaluates the header as Python literals: any error can come of it
            raise ImageError(f"{path}: is no .npy file ({_brief(error)}); write it again") from error
        if len(shape) != 2 or dtype.kind not in "fiu":
            raise ImageError(
                f"{path}: holds {shape} of {dtype}; save depth as an array of height x width numbers"
            )
        _check_size(path, shape[1], shape[0])
        claimed, there = math.prod(shape) * dtype.itemsize, path.stat().st_size - stream.tell()
        if claimed > there:
            raise ImageError(f"{path}: claims {claimed} bytes of numbers and holds {there}; write it again")
        stream.seek(0)
        try:
            return np.load(stream, allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise ImageError(f"{path}: cannot be read ({_brief(error)}); write it again") from error


def at_nearest(
    values: Float[Tensor, "height width"], width: int, height: int
) -> Float[Tensor, "rows columns"]:
    """For the centre of every new pixel, the old pixel that it lies in."""
    old_height, old_width = values.shape
    rows = (2 * torch.arange(height) + 1) * old_height // (2 * height)
    columns = (2 * torch.arange(width) + 1) * old_width // (2 * width)
    return values[rows[:, None], columns]


@dataclass(frozen=True, eq=False)
class DepthSequence:
    """z_depth of many pictures, decoded when asked for, and not kept.

    items    a file, a (height, width) tensor, or None: nothing is known; values in steps of `unit`
    unit     scene units in a step
    unknown  stored values that mean nothing is known, besides 0, negative and non-finite ones
    sizes    (width, height) to bring each to, by the nearest pixel; None: as stored
    """

    items: tuple[Path | Tensor | None, ...]
    unit: float | int
    unknown: tuple[int, ...] = ()
    sizes: tuple[tuple[int, int], ...] | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.unit) and self.unit > 0):
            raise ValueError(f"unit of depth must be a positive number, got {self.unit}")
        if self.sizes is None:
            return
        if len(self.sizes) != len(self.items):
            raise ValueError(f"{len(self.items)} depth pictures and {len(self.sizes)} sizes must be as many")
        for width, height in self.sizes:
            if width < 1 or height < 1 or width * height > MAX_PIXELS:
                raise ValueError(f"{width} x {height} is no size of a picture of 1 to {MAX_PIXELS} pixels")

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Float[Tensor, "height width"]:
        """z_depth in scene units, 0 where it is unknown.

        Raises: ImageError if the picture cannot be read, or there is neither a picture nor a size.
        """
        item = self.items[index]
        if item is None:
            return self._nothing(index)
        stored = item.to(torch.float32) if isinstance(item, Tensor) else read_depth(item)
        if stored.ndim != 2:
            raise ImageError(f"{self.name(index)}: is {tuple(stored.shape)}; it must be height x width")
        if self.sizes is not None:
            stored = at_nearest(stored, *self.sizes[index])
        z_depth = stored * self.unit
        unknown = torch.tensor(self.unknown, dtype=torch.float32, device=stored.device)
        known = (z_depth > 0) & z_depth.isfinite() & ~torch.isin(stored, unknown)
        return torch.where(known, z_depth, 0.0)

    def _nothing(self, index: int) -> Float[Tensor, "height width"]:
        if self.sizes is None:
            raise ImageError(f"{self.name(index)}: is not there, so it has no size; give one with resized()")
        width, height = self.sizes[index]
        return torch.zeros(height, width)

    def name(self, index: int) -> str:
        """The file of a depth picture, or its number where it has none: for messages."""
        item = self.items[index]
        return str(item) if isinstance(item, Path) else f"depth picture {index}"

    def subset(self, indices: Sequence[int]) -> "DepthSequence":
        """Some of the depth pictures, in the order given."""
        sizes = None if self.sizes is None else tuple(self.sizes[i] for i in indices)
        return replace(self, items=tuple(self.items[i] for i in indices), sizes=sizes)

    def resized(self, sizes: Sequence[Sequence[int]]) -> "DepthSequence":
        """The same depth, each brought from its stored size to (width, height) when it is decoded."""
        return replace(self, sizes=tuple((width, height) for width, height in sizes))

    def scaled(self, factor: float | int) -> "DepthSequence":
        """The same depth in units `factor` times smaller, as a similarity of that scale makes them."""
        return replace(self, unit=self.unit * factor)


def distances_along_rays(depths: DepthSequence, cameras: Cameras) -> Float[Tensor, " pixels"]:
    """How far along its ray lies what each pixel shows, picture after picture; 0 where it is unknown.

    Depth stands on the optical axis, so a pixel that looks sideways or back has none.
    Raises: ImageError if a depth picture cannot be read.
    """
    found = []
    for index in range(len(depths)):
        camera = cameras[index].to("cpu")
        along = camera.rays().directions @ camera.camera_to_world[:3, 2]  # of each distance, on the axis
        distance = depths[index] / along
        found.append(torch.where(along > LEAST_ALONG, distance, 0.0).flatten())
    return torch.cat(found)
