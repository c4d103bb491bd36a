"""How far a picture is from the truth. Pictures are (*n, height, width, channels) in [0, data_range]."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

WINDOW, SIGMA = 11, 1.5  # pixels; SSIM's gaussian window
K1, K2 = 0.01, 0.03
STRIP = 512  # rows whose windows are looked at together: they take a dozen copies of the picture


def psnr_of(squared_error: float) -> float:
    """dB, of a mean squared error of values in [0, 1]; NaN for what is no number."""
    return -10 * math.log10(max(squared_error, 1e-12)) if squared_error >= 0 else math.nan


def psnr(
    picture: Float[Tensor, "*n h w c"],
    truth: Float[Tensor, "*n h w c"],
    data_range: float = 1.0,
    seen: Bool[Tensor, "*n h w"] | None = None,
) -> Float[Tensor, "*n"]:
    """Peak signal-to-noise ratio of each picture, dB; infinite where they are equal.

    seen: the pixels that count; None: all.
    """
    error = (picture - truth).square().mean(dim=-1)
    if seen is None:
        return 10 * torch.log10(data_range**2 / error.mean(dim=(-2, -1)))
    total = torch.where(seen, error, 0.0).sum(dim=(-2, -1))
    return 10 * torch.log10(data_range**2 * seen.sum(dim=(-2, -1)) / total)


def ssim(
    picture: Float[Tensor, "*n h w c"], truth: Float[Tensor, "*n h w c"], data_range: float = 1.0
) -> Float[Tensor, "*n"]:
    """Structural similarity of each picture (Wang et al. 2004), mean over channels and positions.

    Gaussian window of 11 pixels, sigma 1.5, wholly inside the picture ("valid"); population
    variance, as in the authors' code.

    Raises: ValueError if a side is shorter than the window.
    """
    height, width = picture.shape[-3:-1]
    if min(height, width) < WINDOW:
        raise ValueError(f"ssim needs pictures of at least {WINDOW}x{WINDOW} pixels, got {width}x{height}")
    windows, total = height - WINDOW + 1, torch.zeros_like(picture[..., 0, 0, 0])
    for top in range(0, windows, STRIP):
        rows = slice(top, min(top + STRIP, windows) + WINDOW - 1)
        strip = ssim_map(picture[..., rows, :, :], truth[..., rows, :, :], data_range)
        total = total + strip.sum(dim=(-3, -2, -1))
    return total / (windows * (width - WINDOW + 1) * picture.shape[-1])


def ssim_map(
    picture: Float[Tensor, "*n h w c"], truth: Float[Tensor, "*n h w c"], data_range: float = 1.0
) -> Float[Tensor, "*n _ _ c"]:
    """SSIM of each window that lies wholly inside; the first one's middle is the pixel (5, 5)."""
    mean_p, mean_t = _local_mean(picture), _local_mean(truth)
    variance_p = _local_mean(picture * picture) - mean_p**2
    variance_t = _local_mean(truth * truth) - mean_t**2
    covariance = _local_mean(picture * truth) - mean_p * mean_t
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2  # the paper's C_1, C_2 (Eq. 13)
    luminance = (2 * mean_p * mean_t + c1) / (mean_p**2 + mean_t**2 + c1)
    structure = (2 * covariance + c2) / (variance_p + variance_t + c2)
    return luminance * structure


def _local_mean(image: Tensor) -> Tensor:
    """Gaussian mean around every pixel whose window is wholly inside; the window is separable.

    Rows, then columns, are moved and added: that is quicker than a convolution of a single channel, and its
    gradient quicker still.
    """
    offset = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
    window = torch.exp(-(offset**2) / (2 * SIGMA**2))
    weights = (window / window.sum()).tolist()
    for axis in (-3, -2):
        length = image.shape[axis] - WINDOW + 1
        image = sum(weight * image.narrow(axis, k, length) for k, weight in enumerate(weights))
    return image
