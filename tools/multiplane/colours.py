"""What is on each plane: colours, and how dense they are.

Source: AdaMPI, arXiv:2205.11733. One encoder looks at the picture; a decoder goes once over each plane with
what that plane may know of it. The encoder is ResNet-18 (He et al., CVPR 2016), the decoder is Monodepth2's
(Godard et al., ICCV 2019) with gated convolutions (Yu et al., ICCV 2019).
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, conv2d, interpolate, pad

from tools.depth.resize import NORMALISATIONS
from tools.multiplane.masks import rendering_masks
from tools.multiplane.sides import cut, grown

MULTIPLE = 128  # the encoder halves five times, its extension twice more
SCALES = 4
MASKS = 2  # channels that tell the decoder of masks
THINNEST = 1e-4  # density
Drawn = tuple[Tensor, Tensor]  # colours and densities of planes at one scale


class Block(nn.Module):
    """Two convolutions, added to what came in."""

    def __init__(self, incoming: int, outgoing: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(incoming, outgoing, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outgoing)
        self.conv2 = nn.Conv2d(outgoing, outgoing, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outgoing)
        self.downsample = None
        if stride > 1 or incoming != outgoing:
            narrow = nn.Conv2d(incoming, outgoing, 1, stride, bias=False)
            self.downsample = nn.Sequential(narrow, nn.BatchNorm2d(outgoing))

    def forward(self, maps: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d _ _"]:
        short = maps if self.downsample is None else self.downsample(maps)
        return (self.bn2(self.conv2(self.bn1(self.conv1(maps)).relu())) + short).relu()


class Encoder(nn.Module):
    """Maps of a picture and its disparity, at 1/2, 1/4, 1/8, 1/16 and 1/32, of these widths."""

    def __init__(self, widths: Sequence[int], blocks: int) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(4, widths[0], 7, 2, 3, bias=False), nn.BatchNorm2d(widths[0])
        self.pool = nn.MaxPool2d(3, 2, 1)
        stages = []
        for index, (incoming, outgoing) in enumerate(pairwise(widths)):
            first = Block(incoming, outgoing, 1 if index == 0 else 2)
            stages.append(nn.Sequential(first, *(Block(outgoing, outgoing, 1) for _ in range(blocks - 1))))
        self.stages = nn.ModuleList(stages)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, seen: Float[Tensor, "b 4 h w"]) -> list[Tensor]:
        pyramid = [self.norm(self.conv(seen)).relu()]
        maps = self.pool(pyramid[0])
        for stage in self.stages:
            maps = stage(maps)
            pyramid.append(maps)
        return pyramid


class Reach(nn.Module):
    """The coarsest maps, twice halved and made large again: each place hears of places farther away.

    groups: of channels, normalised for each picture alone; None: batch norms, as released. Of a picture of
    128 x 128 the coarsest maps are a single place: a batch norm of few of them learns from noise.
    """

    def __init__(self, width: int, inner: int, groups: int | None) -> None:
        super().__init__()

        def conv(incoming: int, outgoing: int, side: int) -> nn.Sequential:
            layer = nn.Conv2d(incoming, outgoing, side, padding=side // 2, bias=False)
            norm = nn.BatchNorm2d(outgoing) if groups is None else nn.GroupNorm(groups, outgoing)
            return nn.Sequential(layer, norm, nn.LeakyReLU(0.1, inplace=True))

        self.pool = nn.MaxPool2d(3, 2, 1)
        self.down = nn.ModuleList((conv(width, width, 1), conv(width, inner, 3)))
        self.up = nn.ModuleList((conv(inner, inner, 3), conv(inner, width, 1)))

    def forward(self, maps: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        for step in self.down:
            maps = step(self.pool(maps))
        for step in self.up:
            maps = step(twice(maps))
        return maps


class GatedConv(nn.Module):
    """A convolution, and a second one that says how much of it passes; both are computed at once."""

    def __init__(self, incoming: int, outgoing: int) -> None:
        super().__init__()
        self.values, self.gate = (
            nn.Conv2d(incoming, outgoing, 3, padding=1, padding_mode="reflect") for _ in range(2)
        )

    def forward(self, maps: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        weight = torch.cat((self.values.weight, self.gate.weight))
        bias = torch.cat((self.values.bias, self.gate.bias))
        values, gate = conv2d(pad(maps, (1, 1, 1, 1), mode="reflect"), weight, bias).chunk(2, dim=1)
        return values * gate.sigmoid()


def gated(incoming: int, outgoing: int) -> nn.Sequential:
    return nn.Sequential(GatedConv(incoming, outgoing), nn.BatchNorm2d(outgoing), nn.ELU(inplace=True))


def twice(maps: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c _ _"]:
    return interpolate(maps, scale_factor=2, mode="nearest")


def masked(
    maps: Float[Tensor, "b c h w"], masks: Float[Tensor, "b n _ _"], context: Float[Tensor, "b n _ _"]
) -> Float[Tensor, "bn d h w"]:
    """For every plane, what it may know of the maps, and its two masks at their size.

    In memory the channels are side by side, as convolutions of few channels are quickest.
    """
    known, own = (adaptive_avg_pool2d(mask, maps.shape[2:])[..., None] for mask in (context, masks))
    seen = maps.movedim(1, -1)[:, None] * known
    return torch.cat((seen, known, own), dim=-1).flatten(0, 1).movedim(-1, 1)


class Level(nn.Module):
    """Half as coarse, with the maps of the encoder at that size."""

    def __init__(self, incoming: int, skipped: int, outgoing: int) -> None:
        super().__init__()
        self.before, self.after = gated(incoming, outgoing), gated(outgoing + skipped, outgoing)

    def forward(
        self, maps: Float[Tensor, "bn c h w"], skipped: Float[Tensor, "bn e _ _"] | None
    ) -> Float[Tensor, "bn d _ _"]:
        maps = twice(self.before(maps))
        return self.after(maps if skipped is None else torch.cat((maps, skipped), dim=1))


class ColourPrediction(nn.Module):
    """Colours and densities of planes whose masks are given.

    encoder_widths: at 1/2 ... 1/32, finest first; blocks: of each stage. reach: width within the extension,
    groups: of its norms. decoder_widths: at 1, 1/2 ... 1/16 of the picture. thickness: n planes have this
    times n + 1 times the density that the decoder tells, so that many, which are closer, are as opaque as
    few; None: they have what it tells, as released. It is in files of weights.
    """

    def __init__(
        self,
        encoder_widths: Sequence[int],
        blocks: int,
        reach: int,
        groups: int | None,
        decoder_widths: Sequence[int],
        thickness: float | None = None,
    ) -> None:
        super().__init__()
        self.register_buffer("thickness", None if thickness is None else torch.tensor(float(thickness)))
        self.encoder = Encoder(encoder_widths, blocks)
        coarsest = encoder_widths[-1]
        self.reach = Reach(coarsest, reach, groups)
        incoming = (*decoder_widths[1:], coarsest + MASKS)
        skipped = (0, *(width + MASKS for width in encoder_widths[:-1]))
        self.levels = nn.ModuleList(map(Level, incoming, skipped, decoder_widths))
        self.heads = nn.ModuleList(GatedConv(width, 4) for width in decoder_widths[:SCALES])

    def forward(
        self,
        image: Float[Tensor, "b 3 h w"],
        disparity: Float[Tensor, "b 1 h w"],
        masks: Float[Tensor, "b n h w"],
        context: Float[Tensor, "b n h w"],
    ) -> list[Drawn]:
        """Colours in [0, 1] (b n 3 h w) and densities (b n h w), at 1, 1/2, 1/4 and 1/8 of the picture.

        image, disparity: in [0, 1], of any size (tools/multiplane/sides.py, to multiples of 128); smaller
        scales have sides rounded up. masks, context: of tools/multiplane/masks.py.
        """
        height, width = image.shape[2:]
        seen = torch.cat((NORMALISATIONS["imagenet"](image), disparity), dim=1)
        seen, masks, context = (grown(maps, MULTIPLE) for maps in (seen, masks, context))
        pyramid, drawing = self.encoder(seen), rendering_masks(masks)
        maps, drawn = masked(self.reach(pyramid[-1]), masks, context), []
        for scale in reversed(range(len(self.levels))):
            skipped = masked(pyramid[scale - 1], masks, context) if scale > 0 else None
            maps = self.levels[scale](maps, skipped)
            if scale < SCALES:
                size = -(-height >> scale), -(-width >> scale)
                drawn.insert(0, tuple(cut(part, *size) for part in self.draw(scale, maps, drawing)))
        return drawn

    def draw(self, scale: int, maps: Float[Tensor, "bn c h w"], drawing: Float[Tensor, "b n _ _"]) -> Drawn:
        """drawing: rendering masks at full size."""
        raw = self.heads[scale](maps).to(drawing.dtype).unflatten(0, drawing.shape[:2])
        drawing = adaptive_avg_pool2d(drawing, raw.shape[3:])
        thickness = 1 if self.thickness is None else self.thickness * (drawing.shape[1] + 1)
        density = (thickness * raw[:, :, 3] * drawing).relu() + THINNEST
        return raw[:, :, :3].sigmoid(), density
