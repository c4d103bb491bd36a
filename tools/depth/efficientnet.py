"""EfficientNet-Lite: convolutions of single channels between narrow ones. Lite3 encodes for MiDaS 2.1 small.

Source: Tan, Le, EfficientNet, ICML 2019, and its Lite variants (no squeeze-and-excitation, ReLU6). Padding is
TensorFlow's: what is odd goes to the right and below.
"""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import conv2d

from tools.depth.resnetv2 import padded

EPSILON = 1e-3  # of batch norms
STEM = 32
READ = (1, 2, 4, 6)  # after which stages
# Of each stage: channels, blocks, side of the kernel, stride, how much wider it is inside.
Stages = tuple[tuple[int, int, int, int, int], ...]
LITE3: Stages = (
    (24, 1, 3, 1, 1),
    (32, 3, 3, 2, 6),
    (48, 3, 5, 2, 6),
    (96, 5, 3, 2, 6),
    (136, 5, 5, 1, 6),
    (232, 6, 5, 2, 6),
    (384, 1, 3, 1, 6),
)


class SameConv(nn.Conv2d):
    """A convolution that gives ceil(size / stride)."""

    def __init__(self, incoming: int, outgoing: int, side: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(incoming, outgoing, side, stride, groups=groups, bias=False)

    def forward(self, maps: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d _ _"]:
        maps = padded(maps, self.kernel_size[0], self.stride[0])
        return conv2d(maps, self.weight, stride=self.stride, groups=self.groups)


def normed(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, EPSILON)


class Block(nn.Module):
    """Wider, each channel for itself, narrow again; added to what came in where it has that shape."""

    def __init__(self, incoming: int, outgoing: int, side: int, stride: int, wider: int) -> None:
        super().__init__()
        inner = incoming * wider
        self.widen = nn.Sequential(SameConv(incoming, inner, 1), normed(inner)) if wider > 1 else None
        self.spread = nn.Sequential(SameConv(inner, inner, side, stride, inner), normed(inner))
        self.narrow = nn.Sequential(SameConv(inner, outgoing, 1), normed(outgoing))
        self.added = stride == 1 and incoming == outgoing

    def forward(self, maps: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d _ _"]:
        inner = maps if self.widen is None else self.widen(maps).clamp(0, 6)
        inner = self.narrow(self.spread(inner).clamp(0, 6))
        return maps + inner if self.added else inner


class EfficientNetLite(nn.Module):
    """Maps at 1/4, 1/8, 1/16 and 1/32 of a picture, of so many `channels`."""

    def __init__(self, table: Stages) -> None:
        super().__init__()
        self.channels = tuple(table[stage][0] for stage in READ)
        self.stem = nn.Sequential(SameConv(3, STEM, 3, 2), normed(STEM))
        stages, incoming = [], STEM
        for outgoing, blocks, side, stride, wider in table:
            made = []
            for index in range(blocks):
                made.append(Block(incoming, outgoing, side, stride if index == 0 else 1, wider))
                incoming = outgoing
            stages.append(nn.Sequential(*made))
        self.stages = nn.ModuleList(stages)

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> tuple[Tensor, ...]:
        maps, pyramid = self.stem(image).clamp(0, 6), []
        for index, stage in enumerate(self.stages):
            maps = stage(maps)
            if index in READ:
                pyramid.append(maps)
        return tuple(pyramid)
