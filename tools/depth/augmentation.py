"""Other pictures from one and its depth: cut out, resized, mirrored, and as another camera would have it.

The numbers come from a generator alone, so that a picture and a seed always give the same. What is asked
for, inverse depth up to scale and shift, is that of the pixels that are left: a part of a picture, or its
mirror image, is what another camera in the same place would have taken.

Colours are sRGB in [0, 1], channels first; values of depth are NaN where nothing is known.
"""

import math
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import interpolate

MULTIPLE = 32  # pixels; of the sides that a network takes
WIDE = 16 / 9
GAMMA = CONTRAST = 0.25  # standard deviations, of logarithms
SATURATION = 0.35
BRIGHTNESS, TINT = 0.08, 0.08  # and of what is added to all channels, and of each channel's factor
BLUR = (0.35, 0.9)  # share of its sides that a picture is shrunk to, and enlarged from again
NOISE = 0.04  # standard deviation at most
FRAME = 0.04  # of the longer side at most, each side's own


@dataclass(frozen=True)
class Shares:
    """What part of a picture is cut out, and how often each thing happens to it."""

    least_side: float | int = 0.55  # of the longest that fits
    stretch: float | int = 0.12  # of ln(width / height), at most
    mirrored: float | int = 0.5
    blurred: float | int = 0.3
    recoloured: float | int = 0.8
    grey: float | int = 0.1
    shuffled: float | int = 0.12  # channels in another order
    noisy: float | int = 0.5
    framed: float | int = 0.1  # a border of one colour, of which nothing is known


USUAL = Shares()
UNTOUCHED = Shares(1, *(0,) * (len(fields(Shares)) - 1))
MIRRORED = replace(UNTOUCHED, mirrored=0.5)


def uniform(low: float | int, high: float | int, generator: torch.Generator) -> float:
    """A number between low and high."""
    return low + (high - low) * float(torch.rand((), generator=generator))


def log_normal(deviation: float | int, generator: torch.Generator) -> float:
    """A factor whose logarithm has this standard deviation about 0."""
    return math.exp(deviation * float(torch.randn((), generator=generator)))


def shapes_like(width: int, height: int) -> tuple[tuple[int, int], ...]:
    """Widths and heights of about as many pixels: these twice, upright, square, and wide."""
    area = width * height
    sides = ((area**0.5, area**0.5), ((area * WIDE) ** 0.5, (area / WIDE) ** 0.5))
    others = [tuple(max(round(side / MULTIPLE), 1) * MULTIPLE for side in shape) for shape in sides]
    return ((width, height), (width, height), (height, width), *others)


def cut_out(
    height: int, width: int, aspect: float | int, shares: Shares, generator: torch.Generator
) -> tuple[slice, slice]:
    """Rows and columns of a part of about this aspect (width / height), anywhere in the picture."""
    share = uniform(shares.least_side, 1, generator)
    aspect = aspect * math.exp(uniform(-shares.stretch, shares.stretch, generator))
    rows = max(int(min(height, width / aspect) * share), 1)
    columns = max(int(min(width, height * aspect) * share), 1)
    top = int(uniform(0, height - rows + 1, generator))
    left = int(uniform(0, width - columns + 1, generator))
    return slice(top, top + rows), slice(left, left + columns)


def resized(
    rgb: Float[Tensor, "3 h w"], values: Float[Tensor, "h w"], width: int, height: int
) -> tuple[Float[Tensor, "3 height width"], Float[Tensor, "height width"]]:
    """Colours are averaged, depths are not: between two surfaces there is none."""
    shrinks = height < rgb.shape[1] or width < rgb.shape[2]
    size = (height, width)
    image = interpolate(rgb[None], size=size, mode="bilinear", align_corners=False, antialias=shrinks)
    return image[0], interpolate(values[None, None], size=size, mode="nearest-exact")[0, 0]


def blurred(rgb: Float[Tensor, "3 h w"], share: float | int) -> Float[Tensor, "3 h w"]:
    """As if taken with this share of its sides' pixels."""
    height, width = rgb.shape[1:]
    small = (max(round(share * height), 1), max(round(share * width), 1))
    shrunk = interpolate(rgb[None], size=small, mode="bilinear", align_corners=False, antialias=True)
    return interpolate(shrunk, size=(height, width), mode="bilinear", align_corners=False)[0]


def recoloured(
    rgb: Float[Tensor, "3 h w"], shares: Shares, generator: torch.Generator
) -> Float[Tensor, "3 h w"]:
    """Another exposure curve, contrast, white balance and saturation; sometimes grey, or channels shuffled.

    What follows the curve is one affine map of the three channels.
    """
    curved = rgb ** log_normal(GAMMA, generator)
    contrast = log_normal(CONTRAST, generator)
    added = BRIGHTNESS * float(torch.randn((), generator=generator)) + (1 - contrast) * curved.mean()
    tint = 1 + TINT * torch.randn(3, generator=generator)
    saturation = log_normal(SATURATION, generator)
    if uniform(0, 1, generator) < shares.grey:
        saturation = 0.0
    mixing = saturation * torch.eye(3) + (1 - saturation) / 3
    if uniform(0, 1, generator) < shares.shuffled:
        mixing = mixing[torch.randperm(3, generator=generator)]
    matrix, offset = mixing * (contrast * tint), mixing @ (added * tint)
    return torch.addmm(offset[:, None], matrix, curved.flatten(1)).view_as(rgb)


def framed(
    rgb: Float[Tensor, "3 h w"], values: Float[Tensor, "h w"], generator: torch.Generator
) -> tuple[Float[Tensor, "3 h w"], Float[Tensor, "h w"]]:
    """Within a border, as scans and some cameras have it: white, black or of any one colour."""
    height, width = values.shape
    drawn = torch.rand(8, generator=generator)
    left, right, top, bottom = (FRAME * max(height, width) * drawn[:4]).round().int().tolist()
    colour = drawn[5:] if drawn[4] > 0.7 else (drawn[4] > 0.3).float().expand(3)
    inside = torch.zeros(height, width, dtype=torch.bool)
    inside[top : height - bottom, left : width - right] = True
    return torch.where(inside, rgb, colour[:, None, None]), torch.where(inside, values, torch.nan)


def augmented(
    rgb: UInt8[Tensor, "rows columns 3"],
    values: Float[Tensor, "rows columns"],
    size: tuple[int, int],
    generator: torch.Generator,
    shares: Shares = USUAL,
) -> tuple[Float[Tensor, "3 h w"], Float[Tensor, "h w"]]:
    """A picture of `size` (width, height), and its depths."""
    height, width = values.shape
    rows, columns = cut_out(height, width, size[0] / size[1], shares, generator)
    colours = rgb[rows, columns].permute(2, 0, 1).float() / 255
    image, values = resized(colours, values[rows, columns], *size)
    if uniform(0, 1, generator) < shares.mirrored:
        image, values = image.flip(2), values.flip(1)
    if uniform(0, 1, generator) < shares.blurred:
        image = blurred(image, uniform(*BLUR, generator))
    if uniform(0, 1, generator) < shares.recoloured:
        image = recoloured(image, shares, generator)
    if uniform(0, 1, generator) < shares.noisy:
        image = image + uniform(0, NOISE, generator) * torch.randn(image.shape, generator=generator)
    if uniform(0, 1, generator) < shares.framed:
        image, values = framed(image, values, generator)
    return image.clamp(0, 1), values
