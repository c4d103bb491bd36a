"""Pictures: read, write, shrink and put on a background.

A picture is uint8 (height, width, 3 or 4), sRGB, straight alpha, as it lies on disk.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PIXELS = 2**26  # 8192 x 8192: larger claims in a header are refused before anything is decoded
ORIENTATION = 0x0112  # the EXIF tag; 5 to 8 swap width and height
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")  # bytes 8 to 11
Progress = Callable[[int, int], None]  # called with (done, total)


class ImageError(ValueError):
    """A picture that cannot be used; the message names the file and the remedy."""


class ImageHeader(NamedTuple):
    """What a picture's header says, once turned upright."""

    width: int
    height: int
    has_alpha: bool


def _identified(path: str | Path) -> "Image":
    """The picture with its header read; HEIF, whatever its name, through pillow-heif.

    That turns it as the file's own properties say, which go before its EXIF (ISO/IEC 23008-12), and makes the
    EXIF orientation 1.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        return Image.open(path)
    except UnidentifiedImageError:
        with open(path, "rb") as file:
            head = file.read(12)
        if head[4:8] != b"ftyp" or head[8:] not in HEIF_BRANDS:
            raise
    try:
        import pillow_heif
    except ImportError as error:
        remedy = 'pip install "render-fields[poses]", or save it as JPEG'
        raise ImageError(f"{path}: is HEIF, which needs pillow-heif: {remedy}") from error
    pillow_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False)
    return Image.open(path)


def _open(path: str | Path) -> "Image":
    """The picture with its header read and its size checked, not decoded."""
    from PIL import Image, UnidentifiedImageError

    try:
        image = _identified(path)
    except ImageError:
        raise
    except FileNotFoundError as error:
        raise ImageError(f"{path}: no such picture") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"{path}: claims more than {MAX_PIXELS} pixels; shrink it first") from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{path}: not a picture of a known kind; save it as PNG or JPEG") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise ImageError(f"{path}: cannot be read ({error}); replace the file") from error
    if image.width * image.height > MAX_PIXELS:
        size = f"{image.width} x {image.height}"
        image.close()
        raise ImageError(f"{path}: {size} is more than {MAX_PIXELS} pixels; shrink it first")
    if image.mode.startswith("I") or image.mode == "F":
        mode = image.mode
        image.close()
        raise ImageError(f"{path}: one channel of high range (mode {mode}) is no colour picture; save 8 bits")
    return image


def _has_alpha(image: "Image") -> bool:
    return image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info


def read_header(path: str | Path, upright: bool = True) -> ImageHeader:
    """Size and alpha of a picture without decoding it; turned as its EXIF orientation says, if `upright`.

    Raises: ImageError.
    """
    from PIL.Image import Image

    with _open(path) as image:
        # The base class's getexif: the one for PNG decodes the whole picture to look behind it.
        turned = upright and Image.getexif(image).get(ORIENTATION, 1) >= 5
        width, height = (image.height, image.width) if turned else (image.width, image.height)
        return ImageHeader(width, height, _has_alpha(image))


def read_image(path: str | Path, upright: bool = True) -> UInt8[Tensor, "height width channels"]:
    """A picture, turned as its EXIF orientation says if `upright`; 4 channels where it has alpha, else 3.

    Raises: ImageError if it is missing, broken, larger than MAX_PIXELS or not 8-bit colour.
    """
    from PIL import ImageOps

    with _open(path) as image:
        wanted = "RGBA" if _has_alpha(image) else "RGB"
        try:
            if upright:
                ImageOps.exif_transpose(image, in_place=True)
            return torch.from_numpy(np.array(image if image.mode == wanted else image.convert(wanted)))
        except (OSError, SyntaxError, ValueError) as error:
            raise ImageError(f"{path}: cannot be decoded ({error}); replace the file") from error


def read_mask(path: str | Path) -> Bool[Tensor, "height width"]:
    """Where a mask picture is not black: what is to be learnt from. Alpha, where it has any, does not count.

    Raises: ImageError if it is missing, broken or larger than MAX_PIXELS.
    """
    return (read_image(path)[..., :3] > 0).any(dim=-1)


def shrunk_mask(mask: Bool[Tensor, "h w"], width: int, height: int) -> Bool[Tensor, "height width"]:
    """The mask at another size: a pixel counts only if all that it covers does (or, enlarged, its middle)."""
    if mask.shape == (height, width):
        return mask
    if height <= mask.shape[0] and width <= mask.shape[1]:
        hidden = (~mask).to(torch.float32)
        covered = _area_weights(mask.shape[0], height) @ hidden @ _area_weights(mask.shape[1], width).T
        return covered < 1e-6
    rows = ((torch.arange(height) + 0.5) * mask.shape[0] / height).long()
    columns = ((torch.arange(width) + 0.5) * mask.shape[1] / width).long()
    return mask[rows[:, None], columns]


def write_png(path: str | Path | BytesIO, image: UInt8[Tensor, "height width channels"]) -> None:
    """Write a picture of 3 or 4 channels as PNG."""
    from PIL import Image

    if image.shape[-1] not in (3, 4):
        raise ValueError(f"a picture has 3 or 4 channels, got {image.shape[-1]}")
    Image.fromarray(image.cpu().contiguous().numpy()).save(path, format="PNG")


def quantised(colours: Float[Tensor, "*n c"]) -> UInt8[Tensor, "*n c"]:
    """Colours in [0, 1] as bytes, rounded to nearest; values outside are clipped."""
    return (colours.clamp(0, 1) * 255 + 0.5).to(torch.uint8)


def on_background(
    image: UInt8[Tensor, "*n channels"], background: Sequence[float | int] | None
) -> Float[Tensor, "*n 3"]:
    """Colours in [0, 1] of a picture laid over `background` (in sRGB, as the NeRF literature does).

    Raises: ValueError if the picture has alpha and there is no background.
    """
    colours = image.to(torch.float32) / 255
    if image.shape[-1] == 3:
        return colours
    if background is None:
        raise ValueError("a picture with alpha needs a background colour, got None")
    alpha = colours[..., 3:]
    return colours[..., :3] * alpha + (1 - alpha) * torch.tensor(background, dtype=torch.float32).to(alpha)


def _area_weights(old: int, new: int) -> Float[Tensor, "new old"]:
    """Row i holds the share of each old pixel in new pixel i: overlap of the two, over the new length."""
    edges = torch.linspace(0, old, new + 1, dtype=torch.float64)
    pixels = torch.arange(old, dtype=torch.float64)
    overlap = torch.minimum(edges[1:, None], pixels + 1) - torch.maximum(edges[:-1, None], pixels)
    return (overlap.clamp(min=0) * new / old).to(torch.float32)


def downscaled(
    image: UInt8[Tensor, "height width channels"], width: int, height: int
) -> UInt8[Tensor, "new_height new_width channels"]:
    """The picture averaged over areas down to `width` x `height`.

    Colours are weighted by their alpha, so that what a transparent pixel would have shown stays unseen.
    Raises: ValueError if the new size is larger than the old.
    """
    if (height, width) == tuple(image.shape[:2]):
        return image
    if not (1 <= height <= image.shape[0] and 1 <= width <= image.shape[1]):
        raise ValueError(
            f"{width} x {height} is not within {image.shape[1]} x {image.shape[0]}; only shrinks"
        )
    rows, columns = _area_weights(image.shape[0], height), _area_weights(image.shape[1], width)
    values = image.to(torch.float32)
    if image.shape[-1] == 4:
        values = torch.cat((values[..., :3] * values[..., 3:] / 255, values[..., 3:]), dim=-1)
    mean = torch.einsum("yh,hwc,xw->yxc", rows, values, columns)
    if image.shape[-1] == 4:
        alpha = mean[..., 3:]
        colour = torch.where(alpha > 0, mean[..., :3] * 255 / alpha.clamp(min=1e-6), 0.0)
        mean = torch.cat((colour, alpha), dim=-1)
    return quantised(mean / 255)


@dataclass(frozen=True, eq=False)
class ImageSequence:
    """Pictures that are decoded when asked for, and not kept.

    items    a path or a uint8 (height, width, 3 or 4) tensor each
    sizes    (width, height) to shrink each picture to, or None
    upright  turn files as their EXIF orientation says; else take them as they are stored
    """

    items: tuple[Path | Tensor, ...]
    sizes: tuple[tuple[int, int], ...] | None = None
    upright: bool = True

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> UInt8[Tensor, "height width channels"]:
        item = self.items[index]
        image = item if isinstance(item, Tensor) else read_image(item, self.upright)
        return image if self.sizes is None else downscaled(image, *self.sizes[index])

    def name(self, index: int) -> str:
        """The file of a picture, or its number where it has none: for messages."""
        item = self.items[index]
        return f"picture {index}" if isinstance(item, Tensor) else str(item)

    def subset(self, indices: Sequence[int]) -> "ImageSequence":
        """Some of the pictures, in the order given."""
        sizes = None if self.sizes is None else tuple(self.sizes[i] for i in indices)
        return replace(self, items=tuple(self.items[i] for i in indices), sizes=sizes)

    def resized(self, sizes: Sequence[Sequence[int]]) -> "ImageSequence":
        """The same pictures, each shrunk to its (width, height) when it is decoded."""
        return replace(self, sizes=tuple((width, height) for width, height in sizes))


def for_each_image(
    images: ImageSequence,
    take: Callable[[int, UInt8[Tensor, "height width channels"]], None],
    workers: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Decode in `workers` threads (default: one a core) and hand (index, picture) to `take` in them.

    No more pictures than workers are held at a time. `progress` is called in this thread.
    Raises: the first error of a picture, once those under way are done.
    """
    import os
    from concurrent.futures import ThreadPoolExecutor, as_completed

    def work(index: int) -> None:
        take(index, images[index])

    with ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
        jobs = [pool.submit(work, index) for index in range(len(images))]
        try:
            for done, job in enumerate(as_completed(jobs), start=1):
                job.result()
                if progress is not None:
                    progress(done, len(images))
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def decode_all(
    images: ImageSequence, workers: int | None = None, progress: Progress | None = None
) -> list[UInt8[Tensor, "height width channels"]]:
    """All pictures, in order, decoded in parallel; see `for_each_image`."""
    decoded: dict[int, Tensor] = {}
    for_each_image(images, decoded.__setitem__, workers, progress)
    return [decoded[index] for index in range(len(images))]
