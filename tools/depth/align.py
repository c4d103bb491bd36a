"""Scale and shift: how maps of inverse depth that know neither are brought to another, or to a norm.

Notation, one image or many:
    prediction, target  (*n, height, width)  inverse depth d and d*, each perhaps up to scale and shift
    mask                (*n, height, width)  where both are known; what lies outside counts nowhere, be it NaN
    scale, shift        (*n,)                s and t, per image: s d + t stands for d*

An image without a known pixel, or whose prediction is constant there but for rounding, has scale 0.
"""

import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Map = Float[Tensor, "*n h w"]
Mask = Bool[Tensor, "*n h w"]
PerImage = Float[Tensor, "*n"]

ROUNDING = 16  # units in the last place that a mean over an image may be off
STEADY_PIXELS = 16_384  # of each map that are looked at to place it among others, about
SWEEPS = 100  # of reweighting at most,
LEAST_GAIN = 1e-5  # and none after one that gains less than this share of the sum of residuals
LEAST_AGREEMENT = 0.5  # share of pairs within 22.5 degrees of their median; a quarter is by chance
LEAST_PIXELS = 16  # that two maps must both know


def apply_alignment(prediction: Map, scale: PerImage, shift: PerImage) -> Map:
    """s d + t."""
    return scale[..., None, None] * prediction + shift[..., None, None]


def align_least_squares(prediction: Map, target: Map, mask: Mask) -> tuple[PerImage, PerImage]:
    """Scale and shift that minimise sum (s d + t - d*)^2 (MiDaS, arXiv:1907.01341, section 5).

    Differentiable. Written about the means, where few digits are lost to a shift that is large against the
    spread. A constant prediction has scale 0 and the mean of d* as shift; the published code gives it 0, 0.
    """
    return _weighted_least_squares(prediction, target, mask.to(prediction.dtype), mask)


def _weighted_least_squares(
    prediction: Map, target: Map, weight: Map, mask: Mask
) -> tuple[PerImage, PerImage]:
    prediction, target = torch.where(mask, prediction, 0.0), torch.where(mask, target, 0.0)
    total = weight.sum(dim=(-2, -1))
    share = weight / torch.where(total > 0, total, 1.0)[..., None, None]
    mean_p, mean_t = ((share * values).sum(dim=(-2, -1)) for values in (prediction, target))
    off = prediction - mean_p[..., None, None]
    variance = (share * off.square()).sum(dim=(-2, -1))
    covariance = (share * off * (target - mean_t[..., None, None])).sum(dim=(-2, -1))
    size = (share * prediction.square()).sum(dim=(-2, -1)).detach()
    varies = variance > (ROUNDING * torch.finfo(variance.dtype).eps) ** 2 * size
    scale = torch.where(varies, covariance / torch.where(varies, variance, 1.0), 0.0)
    return scale, mean_t - scale * mean_p


@torch.no_grad()
def align_least_absolute(prediction: Map, target: Map, mask: Mask) -> tuple[PerImage, PerImage]:
    """Scale and shift that minimise sum |s d + t - d*|: a minority of wrong targets hardly moves them.

    Least squares reweighted by 1 / |residual| (Schlossmacher 1973), residuals below 1e-5 of the target's
    mean absolute deviation taken for that, until the sum falls no more: it is within 1 % of the least.
    Wrong predictions far from all others still pull at it. Without gradients.
    """
    _, deviation = robust_moments(target, mask)
    least = (1e-5 * deviation)[..., None, None].clamp(min=torch.finfo(target.dtype).tiny)
    weight, before = mask.to(prediction.dtype), torch.full_like(deviation, torch.inf)
    for _ in range(SWEEPS):
        scale, shift = _weighted_least_squares(prediction, target, weight, mask)
        off = torch.where(mask, apply_alignment(prediction, scale, shift) - target, 0.0).abs()
        total = off.sum(dim=(-2, -1))
        if (total >= (1 - LEAST_GAIN) * before).all():
            break
        before = total
        weight = torch.where(mask, least / torch.maximum(off, least), 0.0)
    return scale, shift


def masked_median(values: Map, mask: Mask) -> PerImage:
    """Median of what the mask keeps, the mean of the two middle values where their count is even; 0 of none.

    What is masked takes no part. (A median of mask * values counts it as so many zeros.)
    """
    kept = torch.where(mask, values, torch.nan).flatten(-2)
    lower, upper = (
        kept.nanmedian(dim=-1).values,
        -(-kept).nanmedian(dim=-1).values,
    )  # three times a sort's speed
    return torch.where(mask.any(dim=-1).any(dim=-1), (lower + upper) / 2, 0.0)


def robust_moments(values: Map, mask: Mask) -> tuple[PerImage, PerImage]:
    """Median and mean absolute deviation from it (MiDaS, section 5), over what the mask keeps."""
    median = masked_median(values, mask)
    off = torch.where(mask, values - median[..., None, None], 0.0).abs()
    return median, off.sum(dim=(-2, -1)) / mask.sum(dim=(-2, -1)).clamp(min=1)


def normalise_robustly(values: Map, mask: Mask) -> Map:
    """(x - median) / mean absolute deviation, the same for a x + b with a > 0; 0 outside of the mask.

    A map that is constant but for rounding becomes 0. (A fixed least deviation, 1e-6 in the published code,
    would undo the invariance for maps of small numbers.)
    """
    median, deviation = robust_moments(values, mask)
    rounding = ROUNDING * torch.finfo(values.dtype).eps * median.detach().abs()
    values = torch.where(mask, values, 0.0)  # or the gradient of the deviation would see what is masked
    varies = deviation > rounding
    spread = torch.where(varies, deviation, 1.0)[..., None, None]
    inside = mask & varies[..., None, None]
    return torch.where(inside, (values - median[..., None, None]) / spread, 0.0)


@dataclass(frozen=True)
class Steadied:
    """How one map of a sequence is brought to those before it: scale * map + shift.

    cut  it agrees with none of them: another shot, or a map gone wrong
    """

    scale: float
    shift: float
    cut: bool


@torch.no_grad()
def steady(maps: Iterable[tuple[Tensor, Tensor]], reach: int = 3) -> Iterator[Steadied]:
    """Scale and shift of each map of a video, so that what does not move keeps its inverse depth.

    maps: (map, mask) of each frame, both (height, width); one at a time is looked at.

    Each map is fitted to the last `reach` ones as these were aligned, and the median is taken of the fits
    that agree. The first keeps its values. What moves counts for nothing while its places in both maps
    together are less than about a quarter of the pixels. A map that agrees with none (a cut) takes over the
    median and the mean absolute deviation of the one before.

    Raises: ValueError if `reach` is not positive, or the maps differ in size.
    """
    if reach < 1:
        raise ValueError(f"reach must be at least 1 map, got {reach}")
    before: deque[tuple[Tensor, Tensor]] = deque(maxlen=reach)
    for index, (values, mask) in enumerate(maps):
        step = max(1, round((values.numel() / STEADY_PIXELS) ** 0.5))
        values, mask = values[::step, ::step], mask[::step, ::step]
        if before and before[-1][0].shape != values.shape:
            raise ValueError(f"map {index} of the sequence is not of the size of those before it")
        placed = _place(values, mask, before) if before else Steadied(1.0, 0.0, False)
        before.append((placed.scale * values + placed.shift, mask))
        yield placed


def _place(values: Tensor, mask: Tensor, before: Iterable[tuple[Tensor, Tensor]]) -> Steadied:
    fits = [_median_line(values, mask & known, reference) for reference, known in before]
    found = [fit for fit in fits if fit is not None]
    if not found:
        reference, known = list(before)[-1]
        return _take_over(values, mask, reference, known)
    # Scale and shift of a fit hang together; its scale and what it makes of the middle value hardly do.
    middle = masked_median(values, mask)
    scales, shifts = (torch.stack(parts) for parts in zip(*found, strict=True))
    scale = scales.log().quantile(0.5).exp()
    shift = (scales * middle + shifts).quantile(0.5) - scale * middle
    return Steadied(float(scale), float(shift), False)


def _median_line(values: Tensor, mask: Tensor, reference: Tensor) -> tuple[Tensor, Tensor] | None:
    """Scale and shift by the median slope between pairs of pixels; None where the maps do not agree.

    Theil's and Sen's line (1968), which bears 29 % of wrong pixels wherever they lie, but with slopes as
    angles from the diagonal (Passing and Bablok 1983): the same line whichever map is brought to which. A
    regression is flatter by the noise of what it starts from, and a film of them would fade.
    """
    (_, spread), (_, wanted) = robust_moments(values, mask), robust_moments(reference, mask)
    points = torch.stack((values[mask] / spread, reference[mask] / wanted))
    count = points.shape[1]
    if count < LEAST_PIXELS or not (spread > 0 and wanted > 0):
        return None
    # Each pixel with three others far off in the picture; two on one surface tell nothing but noise.
    steps = torch.cat([points - points.roll(count // part, dims=1) for part in (2, 3, 5)], dim=1)
    length = steps.abs().sum(dim=0)
    x, y = steps[:, length > length.median() / 4]
    angles = torch.atan((y - x) / (x + y))
    middle = angles.median()
    agreement = ((angles - middle).abs() < math.pi / 8).float().mean()
    if middle.abs() >= math.pi / 4 or agreement < LEAST_AGREEMENT:
        return None
    scale = torch.tan(math.pi / 4 + middle) * wanted / spread
    return scale, masked_median(reference - scale * values, mask)


def _take_over(values: Tensor, mask: Tensor, reference: Tensor, known: Tensor) -> Steadied:
    median, deviation = robust_moments(values, mask)
    wanted, spread = robust_moments(reference, known)
    scale = float(spread / deviation) if deviation > 0 and spread > 0 else 1.0
    return Steadied(scale, float(wanted - scale * median), True)
