"""The depth network that comes with the program: residual convolutions, a little attention, DPT's decoder.

Made for two cores: 5.8 million parameters, and what needs width or a view of everything is done on the
coarsest maps. Its weights are the project's own, learnt from made-up places alone (docs/depth.md).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tools.depth.decoder import Decoder, DepthHead
from tools.depth.vit import Block

WAVES = 4  # of each direction that tell a place in the picture


@dataclass(frozen=True)
class Sizes:
    """What a network is made of.

    widths     of maps at 1/4, 1/8, 1/16 and 1/32 of the picture
    units      residual units that make them
    attention  blocks over the coarsest map, of so many heads
    decoded    widths within the decoder
    last       of the map before inverse depth
    """

    widths: tuple[int, ...] = (32, 64, 128, 256)
    units: tuple[int, ...] = (2, 2, 4, 2)
    attention: int = 2
    heads: int = 8
    decoded: tuple[int, ...] = (32, 48, 64, 96)
    last: int = 16


SIZES: Mapping[str, Sizes] = {
    "small": Sizes(),
    # For experiments of minutes: what a loss or a mixture does shows in it too.
    "tiny": Sizes((16, 32, 48, 64), (1, 1, 1, 1), attention=1, heads=4, decoded=(16, 24, 32, 48), last=8),
}


class Unit(nn.Module):
    """Two convolutions with batch norm, added to what came in (He et al. 2016); the first one strides."""

    def __init__(self, channels: int, outgoing: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, outgoing, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outgoing)
        self.conv2 = nn.Conv2d(outgoing, outgoing, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outgoing)
        same = channels == outgoing and stride == 1
        self.skip = nn.Identity() if same else _projection(channels, outgoing, stride)

    def forward(self, maps: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d _ _"]:
        inner = self.norm1(self.conv1(maps)).relu()
        return (self.skip(maps) + self.norm2(self.conv2(inner))).relu()


def _projection(channels: int, outgoing: int, stride: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(channels, outgoing, 1, stride, bias=False), nn.BatchNorm2d(outgoing))


def places(rows: int, columns: int, like: Tensor) -> Float[Tensor, "{rows}*{columns} waves"]:
    """Sines and cosines of each cell's place in the picture, whatever its size: row and column in (0, 1)."""
    frequencies = math.pi * 2 ** torch.arange(WAVES, dtype=like.dtype, device=like.device)
    directions = []
    for count in (rows, columns):
        middle = (torch.arange(count, dtype=like.dtype, device=like.device) + 0.5) / count
        angles = middle[:, None] * frequencies
        directions.append(torch.cat([angles.sin(), angles.cos()], dim=1))
    down = directions[0][:, None].expand(-1, columns, -1)
    across = directions[1][None].expand(rows, -1, -1)
    return torch.cat([down, across], dim=2).flatten(0, 1)


class Small(nn.Module):
    """A picture, normalised, to inverse depth up to scale and shift; its sides are multiples of 32."""

    def __init__(self, sizes: Sizes = SIZES["small"]) -> None:
        super().__init__()
        widths, stem = sizes.widths, sizes.widths[0]
        self.stem = nn.Sequential(
            nn.Conv2d(3, stem, 3, 2, 1, bias=False), nn.BatchNorm2d(stem), nn.ReLU(inplace=True)
        )
        incoming = (stem, *widths[:-1])
        self.stages = nn.ModuleList(
            nn.Sequential(Unit(before, width, 2), *(Unit(width, width) for _ in range(count - 1)))
            for before, width, count in zip(incoming, widths, sizes.units, strict=True)
        )
        self.place = nn.Linear(4 * WAVES, widths[-1])
        self.blocks = nn.ModuleList(Block(widths[-1], sizes.heads) for _ in range(sizes.attention))
        self.decoder = Decoder(widths, sizes.decoded)
        self.head = DepthHead(sizes.decoded[0], sizes.last, positive=False)

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 1 h w"]:
        return self.decode(self.encode(image))

    def encode(self, image: Float[Tensor, "b 3 h w"]) -> list[Float[Tensor, "b _ _ _"]]:
        """Maps at 1/4, 1/8, 1/16 and 1/32 of the picture."""
        maps, pyramid = self.stem(image), []
        for stage in self.stages:
            maps = stage(maps)
            pyramid.append(maps)
        rows, columns = maps.shape[2:]
        words = maps.flatten(2).transpose(1, 2) + self.place(places(rows, columns, maps))
        for block in self.blocks:
            words = block(words)
        pyramid[-1] = words.transpose(1, 2).unflatten(2, (rows, columns))
        return pyramid

    def decode(self, pyramid: Sequence[Tensor]) -> Float[Tensor, "b 1 _ _"]:
        """Inverse depth up to scale and shift, four times as large as the finest of the maps."""
        return self.head(self.decoder(pyramid)[0])
