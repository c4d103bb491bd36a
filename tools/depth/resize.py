"""What a picture goes through before a depth network sees it: its size, and the range of its values.

The rule for sizes is that of MiDaS (arXiv:1907.01341) and DPT (arXiv:2103.13413), whose weights expect it.
Sizes are (width, height) in pixels.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

Rule = Literal["lower_bound", "upper_bound", "minimal"]
LONGEST = 4  # times the longer side that is wanted: no picture is seen at more


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of red, green and blue in [0, 1] that a network was trained with."""

    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]

    def __call__(self, images: Float[Tensor, "*n 3 h w"]) -> Float[Tensor, "*n 3 h w"]:
        mean, deviation = (
            torch.tensor(values, dtype=images.dtype, device=images.device)[:, None, None]
            for values in (self.mean, self.deviation)
        )
        return (images - mean) / deviation


NORMALISATIONS = {
    "half": Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),  # DPT, MiDaS v3 and v3.1
    "imagenet": Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),  # MiDaS v2.1, DepthAnything
}


def network_size(
    width: int,
    height: int,
    wanted: tuple[int, int],
    *,
    multiple: int = 32,
    rule: Rule = "minimal",
    keep_aspect: bool = True,
) -> tuple[int, int]:
    """The size to bring a picture of width x height to, for a network that was trained at `wanted`.

    Sides are whole multiples of `multiple`, the nearest to what the rule asks for (halves to the even one).
    lower_bound: no side is below the wanted one; upper_bound: none is above it; minimal: the picture is
    scaled so that the side which needs less change has its wanted length, height where both need as much.
    keep_aspect: both sides are scaled alike, but for the rounding; else each goes to its wanted length.
    A side that would vanish, as of a panorama, is one multiple long; the published code gives 0 there.

    Raises: ValueError if a length is not positive, the rule is unknown, or upper_bound leaves no multiple.
    """
    lengths = {"width": width, "height": height, "wanted": min(wanted), "multiple": multiple}
    for name, length in lengths.items():
        if length < 1:
            raise ValueError(f"{name} must be at least 1 pixel, got {length}")
    if rule not in ("lower_bound", "upper_bound", "minimal"):
        raise ValueError(f"rule must be lower_bound, upper_bound or minimal, got {rule!r}")
    if rule == "upper_bound" and min(wanted) < multiple:
        raise ValueError(f"no multiple of {multiple} is within {wanted[0]} x {wanted[1]}; want more pixels")
    # The published code's products, in its order: another order rounds some halves the other way.
    scales = wanted[0] / width, wanted[1] / height
    if keep_aspect:
        scales = (_common_scale(*scales, rule),) * 2
    sides = (scales[0] * width, scales[1] * height)
    return tuple(_multiple(side, bound, multiple, rule) for side, bound in zip(sides, wanted, strict=True))


def bounded_size(size: tuple[int, int], wanted: tuple[int, int], multiple: int = 32) -> tuple[int, int]:
    """`size`, or for a picture that is too long and thin the same shape made smaller, in whole multiples.

    The longer side is at most LONGEST times the longer one that is wanted, and the shorter one at least a
    multiple. Without it a picture of 300 x 20,000 pixels would be seen at 384 x 25,600.
    """
    most = LONGEST * max(wanted)
    if max(size) <= most:
        return size
    return tuple(max(int(side * most / max(size)) // multiple, 1) * multiple for side in size)


def _common_scale(horizontal: float, vertical: float, rule: Rule) -> float:
    if rule == "minimal":
        return horizontal if abs(1 - horizontal) < abs(1 - vertical) else vertical
    return (max if rule == "lower_bound" else min)(horizontal, vertical)


def _multiple(length: float, bound: int, multiple: int, rule: Rule) -> int:
    steps = length / multiple
    count = round(steps)
    if rule == "upper_bound" and count * multiple > bound:
        count = math.floor(steps)
    if rule == "lower_bound" and count * multiple < bound:
        count = math.ceil(steps)
    return max(count, 1) * multiple


def resize(
    images: Float[Tensor, "n c h w"], width: int, height: int, *, low_pass: bool = False
) -> Float[Tensor, "n c height width"]:
    """Bicubic between pixel centres.

    low_pass: with a kernel (a = -0.5) as wide as the new pixels, where these are larger, and the result
    clamped to [0, 1]. Else (a = -0.75) four by four pixels are looked at, as the released networks' training
    had it, and values overshoot: those of a picture in [0, 1] can lie outside of it.
    """
    size = (height, width)
    found = F.interpolate(images, size=size, mode="bicubic", align_corners=False, antialias=low_pass)
    return found.clamp(0, 1) if low_pass else found
