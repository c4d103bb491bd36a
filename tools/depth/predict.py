"""From a picture to its depth: what a network needs to see, and what its answer means.

Kinds of depth:
    inverse_relative   1 / z_depth up to an unknown scale and shift: near is large
    metric             z_depth in metres
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn.functional import interpolate

from render.run import usable_device
from scenes.images import on_background, read_image
from tools.depth.dpt import metric_depth
from tools.depth.models import BUILT_IN, Released, read_model, released
from tools.depth.pairs import GREY
from tools.depth.resize import bounded_size, network_size, resize

MOST_WANTED = 4096  # pixels a side that can be asked for


@dataclass(frozen=True, eq=False)
class Depth:
    """values: at the size of the picture; kind: what they are."""

    values: Float[Tensor, "h w"]
    kind: str

    def nearness(self) -> Float[Tensor, "h w"]:
        """Inverse depth: 1 / metre where the depth is metric, else without a unit; near is large."""
        return self.values if self.kind == "inverse_relative" else 1 / self.values


def depth_of(
    image: str | Path | Tensor | np.ndarray,
    model: str = BUILT_IN,
    *,
    weights: str | Path | None = None,
    size: int | None = None,
    device: str = "cpu",
) -> Depth:
    """The depth of one picture. For many, `read_model` once and give each to `predicted`.

    image: a file, turned as its EXIF says, or sRGB values of 3 channels, or 4 with straight alpha.
    model: a name in tools/depth/models.py; weights: the file of one that does not come with the program.
    size: pixels a side to look at, in place of those that the model was trained at.
    Raises: ImageError, ValueError, FileNotFoundError, WeightsError that say what to do.
    """
    seen = sized(released(model), size)
    pixels = image_of(image)
    return predicted(read_model(model, weights).to(usable_device(device)), seen, pixels)


def image_of(image: str | Path | Tensor | np.ndarray) -> UInt8[Tensor, "h w c"]:
    """A picture from a file, turned as its EXIF says, or as it is given.

    Raises: ImageError; ValueError for what is not uint8 of height x width x 3 or 4.
    """
    if isinstance(image, str | Path):
        return read_image(image)
    # An array may be read-only, or run backwards: torch has neither.
    pixels = torch.from_numpy(np.array(image)) if isinstance(image, np.ndarray) else torch.as_tensor(image)
    if pixels.dtype != torch.uint8 or pixels.ndim != 3 or pixels.shape[-1] not in (3, 4):
        raise ValueError(
            f"image must be uint8 of height x width x 3 or 4, got {tuple(pixels.shape)} of {pixels.dtype}"
        )
    return pixels


def sized(model: Released, size: int | None) -> Released:
    """The model, looking at `size` pixels a side; None leaves it at those of its training.

    Raises: ValueError for a size that it cannot look at.
    """
    if size is None:
        return model
    if not model.keep_aspect:
        width, height = model.wanted
        raise ValueError(f"size {size}: this model sees {width} x {height} pixels and no others")
    if not model.multiple <= size <= MOST_WANTED:
        raise ValueError(f"size {size}: must be within {model.multiple} to {MOST_WANTED} pixels")
    return replace(model, wanted=(size, size))


@torch.no_grad()
def predicted(network: nn.Module, model: Released, image: UInt8[Tensor, "h w c"]) -> Depth:
    """The depth of a picture of any size, on the CPU; the network may be elsewhere.

    image: sRGB, with straight alpha or without.
    """
    height, width = image.shape[:2]
    return enlarged(seen_by(network, model, image), model, width, height)


@torch.no_grad()
def seen_by(
    network: nn.Module, model: Released, image: UInt8[Tensor, "h w c"]
) -> Float[Tensor, "rows columns"]:
    """What the network answers, of the size at which it sees the picture, on the CPU."""
    height, width = image.shape[:2]
    shape = {"multiple": model.multiple, "rule": model.rule, "keep_aspect": model.keep_aspect}
    inner = network_size(width, height, model.wanted, **shape)
    inner = bounded_size(inner, model.wanted, model.multiple)
    colours = on_background(image, GREY if image.shape[-1] == 4 else None).permute(2, 0, 1)[None]
    seen = model.normalisation(resize(colours, *inner, low_pass=model.low_pass))
    where = next(network.parameters(), seen).device
    if model.mirrored:
        answer, mirrored = network(torch.cat((seen, seen.flip(-1))).to(where))[:, 0]
        return ((answer + mirrored.flip(-1)) / 2).cpu()
    return network(seen.to(where))[0, 0].cpu()


@torch.no_grad()
def enlarged(answer: Float[Tensor, "rows columns"], model: Released, width: int, height: int) -> Depth:
    """A network's answer at the size of the picture, and as what it means."""
    if model.smooth:
        found = resize(answer[None, None], width, height)
    else:
        size = (height, width)
        found = interpolate(answer[None, None], size=size, mode="bilinear", align_corners=True)
    values = found[0, 0]
    if model.metric is not None:
        values = metric_depth(values, *model.metric)
    return Depth(values, model.kind)
