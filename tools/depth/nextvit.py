"""Next-ViT-L, an encoder of MiDaS 3.1: blocks that convolve, and after some of them one that attends.

Source: Li et al., Next-ViT: Next Generation Vision Transformer for Efficient Deployment in Realistic
Industrial Scenarios, arXiv:2207.05501. Batch norms are not folded into the layers after them.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

HEAD = 32  # channels of each head, in convolutions as in attention
STEM = (64, 32, 64, 64)
# Of each stage: channels, convolution blocks before each transformer block, how often so, words to a key; the
# first has no transformer block.
STAGES = ((96, 3, 1, None), (192, 3, 1, 16), (384, 4, 6, 4), (768, 2, 1, 1))
CHANNELS = (96, 256, 512, 1024)  # of the maps that are read off
TAPS = (2, 6, 36, 39)  # after which blocks


class PatchEmbed(nn.Module):
    """Of other channels, and of half the size if `halved`."""

    def __init__(self, incoming: int, outgoing: int, halved: bool = False) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(2) if halved else nn.Identity()
        self.conv, self.norm = nn.Conv2d(incoming, outgoing, 1, bias=False), nn.BatchNorm2d(outgoing)

    def forward(self, maps: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d _ _"]:
        return self.norm(self.conv(self.pool(maps)))


def conv_attention(channels: int) -> nn.Sequential:
    """Multi-head convolutional attention (MHCA): a convolution within each head, then a mix of all."""
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1, groups=channels // HEAD, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.Conv2d(channels, channels, 1, bias=False),
    )


def network(channels: int, wider: int) -> nn.Sequential:
    """Of each word alone (MLP), so much wider inside."""
    inner = wider * channels
    return nn.Sequential(nn.Conv2d(channels, inner, 1), nn.ReLU(), nn.Conv2d(inner, channels, 1))


class Attention(nn.Module):
    """Efficient multi-head self-attention (E-MHSA): every word attends to the means of `run` words each.

    A run goes along rows, from one on to the next: the weights were learnt so, not with squares.
    """

    def __init__(self, channels: int, run: int) -> None:
        super().__init__()
        self.run = run
        self.norm = nn.BatchNorm1d(channels) if run > 1 else nn.Identity()
        self.query, self.key, self.value, self.project = (nn.Linear(channels, channels) for _ in range(4))

    def forward(self, words: Float[Tensor, "b n c"]) -> Float[Tensor, "b n c"]:
        means = words.unflatten(1, (-1, self.run)).mean(2)
        means = self.norm(means.transpose(1, 2)).transpose(1, 2)
        query = in_heads(self.query(words))
        key, value = in_heads(self.key(means)), in_heads(self.value(means))
        mixed = scaled_dot_product_attention(query, key, value)
        return self.project(mixed.transpose(1, 2).flatten(2))


def in_heads(words: Float[Tensor, "b n c"]) -> Float[Tensor, "b heads n d"]:
    return words.unflatten(2, (-1, HEAD)).transpose(1, 2)


class ConvolutionBlock(nn.Module):
    """Next convolution block (NCB): what is near."""

    def __init__(self, incoming: int, outgoing: int, halved: bool) -> None:
        super().__init__()
        changed = halved or incoming != outgoing
        self.embed = PatchEmbed(incoming, outgoing, halved) if changed else nn.Identity()
        self.conv_attention = conv_attention(outgoing)
        self.norm, self.mlp = nn.BatchNorm2d(outgoing), network(outgoing, 3)

    def forward(self, maps: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d _ _"]:
        maps = self.embed(maps)
        maps = maps + self.conv_attention(maps)
        return maps + self.mlp(self.norm(maps))


class TransformerBlock(nn.Module):
    """Next transformer block (NTB): what is far, and what is near of that in a third as many channels more.

    It has no patch embedding, which the paper draws: what comes in has the channels that attention takes.
    """

    def __init__(self, channels: int, run: int) -> None:
        super().__init__()
        third, all_channels = channels // 3, channels + channels // 3
        self.norm1, self.attention = nn.BatchNorm2d(channels), Attention(channels, run)
        self.narrow, self.conv_attention = PatchEmbed(channels, third), conv_attention(third)
        self.norm2, self.mlp = nn.BatchNorm2d(all_channels), network(all_channels, 2)

    def forward(self, maps: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        words = self.attention(self.norm1(maps).flatten(2).transpose(1, 2))
        far = maps + words.transpose(1, 2).unflatten(2, maps.shape[2:])
        near = self.narrow(far)
        near = near + self.conv_attention(near)
        both = torch.cat((far, near), dim=1)
        return both + self.mlp(self.norm2(both))


def stem() -> nn.Sequential:
    """Maps of a picture, at a quarter of its size."""
    layers, incoming = [], 3
    for outgoing, stride in zip(STEM, (2, 1, 1, 2), strict=True):
        conv = nn.Conv2d(incoming, outgoing, 3, stride, 1, bias=False)
        layers.append(nn.Sequential(conv, nn.BatchNorm2d(outgoing), nn.ReLU()))
        incoming = outgoing
    return nn.Sequential(*layers)


def blocks() -> Iterator[nn.Module]:
    incoming = STEM[-1]
    for stage, (channels, near, times, run) in enumerate(STAGES):
        for index in range(near * times):
            yield ConvolutionBlock(incoming, channels, halved=stage > 0 and index == 0)
            incoming = channels
            if run is not None and (index + 1) % near == 0:
                yield TransformerBlock(channels, run)
                incoming = channels + channels // 3


class NextViT(nn.Module):
    """Maps at 1/4, 1/8, 1/16 and 1/32 of a picture whose sides are multiples of 32."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = stem()
        self.blocks = nn.ModuleList(blocks())

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> tuple[Tensor, ...]:
        maps, pyramid = self.stem(image), []
        for index, block in enumerate(self.blocks):
            maps = block(maps)
            if index in TAPS:
                pyramid.append(maps)
        return tuple(pyramid)
