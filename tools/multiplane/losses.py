"""What a stack of planes is asked for when it learns: the picture of another camera, and planes that fit.

Source: AdaMPI, arXiv:2205.11733, section 4, with the weights of its published code. Its VGG loss is left out:
the published code computes it without a gradient, so that it never taught anything.

Notation, b pictures:
    rgb, truth            (b, 3, height, width)  of the target camera, in [0, 1]
    disparity             (b, height, width)     inverse depth, 1 nearest
    hidden                (b, height, width)     pixels of the target that the source camera did not see
    planes                (b, n)                 disparities, near to far
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import avg_pool2d

from render.metrics import WINDOW, ssim, ssim_map
from tools.multiplane.planes import FAR, NEAR, even_planes

Pictures = Float[Tensor, "b 3 h w"]
Disparities = Float[Tensor, "b h w"]
Shares = Float[Tensor, "b h w"] | Bool[Tensor, "b h w"]  # of each pixel that counts
Planes = Float[Tensor, "b n"]
Loss = Float[Tensor, ""]

FOCUS = 3  # exponent of the focal frequency loss
CLUSTERED = 0.3  # share of k-means in what planes imitate, as published; the rest stands evenly
ROUNDS = 10  # of k-means


def absolute(found: Float[Tensor, "b *s"], truth: Float[Tensor, "b *s"]) -> Loss:
    """Mean |difference|."""
    return (found - truth).abs().mean()


def dissimilarity(rgb: Pictures, truth: Pictures) -> Loss:
    """1 - SSIM; 0 for pictures that are smaller than its window."""
    if min(rgb.shape[2:]) < WINDOW:
        return rgb.new_zeros(())
    return 1 - ssim(rgb.permute(0, 2, 3, 1), truth.permute(0, 2, 3, 1)).mean()


def absolute_in(weight: Shares, found: Float[Tensor, "b c h w"], truth: Float[Tensor, "b c h w"]) -> Loss:
    """Mean |difference| of what has weight in a picture, mean over pictures; those without any have 0."""
    return _mean_in(weight, (found - truth).abs().mean(dim=1))


def dissimilarity_in(weight: Shares, rgb: Pictures, truth: Pictures) -> Loss:
    """Mean 1 - SSIM of the windows about pixels with weight; what has none is taken for the truth.

    0 for pictures that are smaller than the window, and for those without any weight.
    """
    if min(rgb.shape[2:]) < WINDOW:
        return rgb.new_zeros(())
    rgb = torch.where(weight[:, None] > 0, rgb, truth)
    alike = ssim_map(rgb.permute(0, 2, 3, 1), truth.permute(0, 2, 3, 1)).mean(dim=-1)
    edge = WINDOW // 2
    return _mean_in(weight[:, edge:-edge, edge:-edge], 1 - alike)


def _mean_in(weight: Shares, error: Float[Tensor, "b h w"]) -> Loss:
    total = (weight * error).sum(dim=(1, 2)) / weight.sum(dim=(1, 2)).clamp(min=1e-6)
    return total.mean()


def focal_frequency(rgb: Pictures, truth: Pictures) -> Loss:
    """Squared differences of spectra, the larger the more they count (arXiv:2012.12821, Eqs. 8-9).

    Weights are |difference|^3 over the largest in a channel of a picture; they have no gradient.
    """
    difference = torch.fft.fft2(rgb - truth, norm="ortho").abs()
    weight = difference.detach() ** FOCUS
    largest = weight.amax(dim=(-2, -1), keepdim=True)
    weight = weight / torch.where(largest > 0, largest, 1.0)
    return (weight * difference.square()).mean()


def smoothness(disparity: Disparities, picture: Pictures) -> Loss:
    """Steps of disparity, over its mean, where the picture has none (Godard et al. 2017)."""
    scaled = disparity / disparity.mean(dim=(1, 2), keepdim=True).clamp(min=1e-6)
    across = scaled.diff(dim=2).abs() * torch.exp(-picture.diff(dim=3).abs().mean(dim=1))
    down = scaled.diff(dim=1).abs() * torch.exp(-picture.diff(dim=2).abs().mean(dim=1))
    return across.mean() + down.mean()


def disorder(planes: Planes) -> Loss:
    """How far planes stand before nearer ones, and beyond both ends of what can be drawn."""
    swapped = planes.diff(dim=1).relu().mean()
    return swapped + (FAR - planes).relu().mean() + (planes - NEAR).relu().mean()


def misassigned(masks: Float[Tensor, "b n h w"], disparity: Disparities, planes: Planes) -> Loss:
    """How far pixels lie from the planes that they are given to: mean |FM_n (D - d_n)|, planes and all."""
    return (masks * (disparity[:, None] - planes[:, :, None, None]).abs()).mean()


def partly_clustered(disparity: Disparities, count: int, share: float | int = CLUSTERED) -> Planes:
    """By this share where clustering would have planes, and evenly by the rest: imitated as published."""
    return share * clustered(disparity, count) + (1 - share) * even_planes(count).to(disparity)


@torch.no_grad()
def clustered(disparity: Disparities, count: int) -> Planes:
    """Middles of `count` clusters of a picture's disparities, near to far: k-means (Lloyd) from even planes.

    A cluster without pixels stays where it is. A sixteenth of the pixels is looked at.
    """
    values = disparity[:, ::4, ::4].flatten(1)
    middles = even_planes(count).to(values).expand(len(values), -1).contiguous()
    for _ in range(ROUNDS):
        nearest = (values[:, None] - middles[:, :, None]).abs().argmin(dim=1)
        total = torch.zeros_like(middles).scatter_add_(1, nearest, values)
        members = torch.zeros_like(middles).scatter_add_(1, nearest, torch.ones_like(values))
        middles = torch.where(members > 0, total / members.clamp(min=1), middles)
    return middles.sort(dim=1, descending=True).values


def halved(maps: Float[Tensor, "b c h w"], times: int) -> Float[Tensor, "b c _ _"]:
    """2^times as small: means of blocks."""
    return avg_pool2d(maps, 2**times) if times else maps
