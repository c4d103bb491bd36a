"""Where the planes of one picture should stand: evenly spaced in disparity, then moved by a network.

Source: Han, Wang, Yang, Single-View View Synthesis in the Wild with Learned Adaptive Multiplane Images
(AdaMPI), SIGGRAPH 2022, arXiv:2205.11733. Disparity is inverse depth in [0, 1], 1 nearest.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, scaled_dot_product_attention

from tools.multiplane.sides import rounded_up

NEAR, FAR = 1.0, 0.001  # disparity
MULTIPLE = 128  # a quarter of it is halved five times
QUARTER = 4


def even_planes(
    count: int, dtype: torch.dtype | None = None, device: torch.device | None = None
) -> Float[Tensor, " n"]:
    """Disparities from near to far, as far from both ends as from one another."""
    return torch.linspace(NEAR, FAR, count + 2, dtype=dtype, device=device)[1:-1]


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
