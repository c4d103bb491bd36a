"""Where the planes of one picture should stand: evenly spaced or fitted, then moved by a network.

Source: Han, Wang, Yang, Single-View View Synthesis in the Wild with Learned Adaptive Multiplane Images
(AdaMPI), SIGGRAPH 2022, arXiv:2205.11733. Disparity is inverse depth in [0, 1], 1 nearest.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, pad, scaled_dot_product_attention

from tools.multiplane.sides import rounded_up

NEAR, FAR = 1.0, 0.001  # disparity
LEVELS = 256  # of disparity that are told apart where planes are fitted
SPREAD = 0.3  # how much all levels count together, beside all pixels
MULTIPLE = 128  # a quarter of it is halved five times
QUARTER = 4


def even_planes(
    count: int, dtype: torch.dtype | None = None, device: torch.device | None = None
) -> Float[Tensor, " n"]:
    """Disparities from near to far, as far from both ends as from one another."""
    return torch.linspace(NEAR, FAR, count + 2, dtype=dtype, device=device)[1:-1]


@torch.no_grad()
def fitted_planes(
    image: Float[Tensor, "b 3 h w"], disparity: Float[Tensor, "b 1 h w"], count: int
) -> Float[Tensor, "b n"]:
    """Disparities, near to far, at which so many planes tell pictures best.

    The sum of w (D - d)^2 is least, d of the plane that is nearest to D: a pixel whose plane is off by D - d
    moves wrongly by as much, and w, the squared steps of colour around it, is what that changes, to first
    order. All levels of disparity together weigh SPREAD times as much as all pixels, so that no plane is
    left over. Disparity is rounded to one of LEVELS; of these the optimum is exact.
    """
    levels = max(LEVELS, 2 * count)
    level = (disparity[:, 0] * levels).long().clamp(0, levels - 1).flatten(1)
    weight = colour_steps(image).flatten(1).double() + torch.finfo(torch.float32).tiny
    weight = weight / weight.sum(dim=1, keepdim=True)
    share = weight.new_full((len(image), levels), SPREAD / levels).scatter_add_(1, level, weight)
    middles = (torch.arange(levels, dtype=share.dtype, device=share.device) + 0.5) / levels
    return best_clusters(share, middles, count).flip(1).to(disparity.dtype)


def best_clusters(
    weight: Float[Tensor, "b m"], values: Float[Tensor, " m"], count: int
) -> Float[Tensor, "b n"]:
    """Means of clusters of rising values, weights above 0, that lie nearest to them in squares: the optimum.

    weight: float64, of whose sums differences are taken.
    By dynamic programming over where clusters begin (Wang and Song, Ckmeans.1d.dp, R Journal 2011).
    """
    sums = torch.stack([weight * values**power for power in range(3)]).cumsum(dim=-1)
    sums = pad(sums, (1, 0))  # of all values below each; cost[a, b] is of one cluster from a to below b
    zeroth, first, second = sums[:, :, None] - sums[:, :, :, None]
    some = torch.ones_like(zeroth, dtype=torch.bool).triu(diagonal=1)
    cost = torch.where(some, second - first**2 / zeroth.where(some, 1), torch.inf)
    best, begun = cost[:, 0], []
    for _ in range(count - 1):
        best, begins = (best[:, :, None] + cost).min(dim=1)
        begun.append(begins)
    limits = [torch.full((len(weight), 1), len(values), device=weight.device)]
    for begins in reversed(begun):
        limits.append(begins.gather(1, limits[-1]))
    edges = torch.cat((torch.zeros_like(limits[0]), *reversed(limits)), dim=1)
    mass, moment = (part.gather(1, edges).diff(dim=1) for part in sums[:2])
    return moment / mass


def colour_steps(image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b h w"]:
    """Squared differences of colour between each pixel and its four neighbours, their sum."""
    across, down = (image.diff(dim=dim).square().sum(dim=1) for dim in (3, 2))
    steps = torch.zeros_like(image[:, 0])
    steps[:, :, 1:] += across
    steps[:, :, :-1] += across
    steps[:, 1:] += down
    steps[:, :-1] += down
    return steps


def in_order(planes: Float[Tensor, "b n"]) -> Float[Tensor, "b n"]:
    """Moved into the range that can be drawn, and from near to far."""
    return planes.clamp(FAR, NEAR).sort(dim=1, descending=True).values


class Block(nn.Module):
    """Two convolutions around a short way, then half as large."""

    def __init__(self, incoming: int, outgoing: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(incoming, outgoing, 3, padding=1)
        self.norm = nn.BatchNorm2d(outgoing)
        self.conv2 = nn.Conv2d(outgoing, outgoing, 3, padding=1)
        self.short = nn.Conv2d(incoming, outgoing, 1)

    def forward(self, maps: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d _ _"]:
        inner = self.conv2(self.norm(self.conv1(maps).relu()))
        return avg_pool2d((self.short(maps) + inner).relu(), 2)


class Head(nn.Module):
    """Of attention: what each plane takes from all."""

    def __init__(self, width: int, key: int, value: int) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(width, key), nn.Linear(width, key)
        self.value = nn.Linear(width, value)

    def forward(self, words: Float[Tensor, "b n c"]) -> Float[Tensor, "b n d"]:
        return scaled_dot_product_attention(self.query(words), self.key(words), self.value(words))


class PlaneAdjustment(nn.Module):
    """How far each plane is moved, told by the picture and by the other planes.

    widths: of five blocks, the finest first; the planes talk in words of the last width.
    """

    def __init__(self, widths: Sequence[int], heads: int, key: int, embedded: int) -> None:
        super().__init__()
        pairs = zip((5, *widths[:-1]), widths, strict=True)
        self.blocks = nn.Sequential(*(Block(incoming, outgoing) for incoming, outgoing in pairs))
        width = widths[-1]
        self.heads = nn.ModuleList(Head(width, key, width // heads) for _ in range(heads))
        self.project = nn.Linear(width, width)
        self.embed = nn.Linear(width, embedded)
        self.offset = nn.Linear(embedded, 1)
        for parameter in self.offset.parameters():  # planes begin where they stood
            nn.init.zeros_(parameter)

    def forward(
        self,
        image: Float[Tensor, "b 3 h w"],
        disparity: Float[Tensor, "b 1 h w"],
        planes: Float[Tensor, "b n"],
    ) -> Float[Tensor, "b n"]:
        """The planes' disparities, moved: not sorted, and outside [0, 1] if the network says so (`in_order`).

        image, disparity: in [0, 1], of any size: a quarter of their sides, rounded up to multiples of 128, is
        looked at.
        """
        size = [rounded_up(side, MULTIPLE) // QUARTER for side in image.shape[2:]]
        seen = torch.cat((image, disparity), dim=1)
        seen = interpolate(seen, size=size, mode="bilinear", align_corners=True)
        words = self.blocks(with_planes(seen, planes)).mean(dim=(2, 3)).unflatten(0, planes.shape)
        words = self.project(torch.cat([head(words) for head in self.heads], dim=2))
        return planes + self.offset(self.embed(words).relu()).squeeze(2) / planes.shape[1]


def with_planes(seen: Float[Tensor, "b c h w"], planes: Float[Tensor, "b n"]) -> Float[Tensor, "bn d h w"]:
    """The same maps for every plane, and its disparity as one more."""
    count, (height, width) = planes.shape[1], seen.shape[2:]
    repeated = seen[:, None].expand(-1, count, -1, -1, -1)
    constant = planes[:, :, None, None, None].expand(-1, -1, 1, height, width)
    return torch.cat((repeated, constant), dim=2).flatten(0, 1)
