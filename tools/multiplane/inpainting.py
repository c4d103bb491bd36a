"""What a moved camera uncovers, filled in by a network that has learnt what lies behind things.

The network gets the picture with its holes filled classically (tools/multiplane/filling.py), and says what to
change there: before it has learnt anything it changes nothing. Convolutions are gated (Yu et al., ICCV 2019,
arXiv:1806.03589), so that a hole does not count as a picture. AdaMPI's released inpainter is EdgeConnect
(Nazeri et al. 2019): two stages, edges first, learnt against discriminators. Ours is one stage of 0.5 million
parameters, learnt from differences alone: it tells the likely surface, and makes no texture up.

Notation: maps hold red, green, blue and disparity. Disparity is scaled so that what is known of a picture
lies between 0 and 1; its own scale and shift do not matter.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import elu, interpolate

from tools.depth.models import read_tensors, weights_file
from tools.depth.weights import take_weights
from tools.multiplane.filling import fill
from tools.multiplane.sides import cut, grown

CHANNELS = 4  # of maps
MULTIPLE = 4  # the picture is halved twice
DILATIONS = (1, 2, 4, 8)  # of the coarsest maps: 64 pixels either way

# Widths of maps at 1, 1/2 and 1/4 of the picture.
SIZES: Mapping[str, tuple[int, int, int]] = {"small": (16, 32, 64), "tiny": (4, 8, 12)}

# What trainings call their files.
FILES: Mapping[str, str] = {"small": "inpainter.safetensors", "tiny": "inpainter-tiny.safetensors"}

How = Literal["classical", "network"]


class Gated(nn.Module):
    """A convolution, times what a second one lets pass: ELU(values) sigmoid(gate).

    Beyond the picture its last row and column go on, so that a flat one has no sides.
    """

    def __init__(self, incoming: int, outgoing: int, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        settings = {"padding": dilation, "dilation": dilation, "padding_mode": "replicate"}
        self.conv = nn.Conv2d(incoming, 2 * outgoing, 3, stride, **settings)

    def forward(self, maps: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d _ _"]:
        values, gate = self.conv(maps).chunk(2, dim=1)
        return elu(values) * gate.sigmoid()


class Inpainter(nn.Module):
    """A U-Net of gated convolutions, dilated in its middle. widths: of SIZES.

    Nothing is normalised over a picture: what is far away from a hole changes nothing in it.
    """

    def __init__(self, widths: tuple[int, int, int] = SIZES["small"]) -> None:
        super().__init__()
        fine, half, quarter = widths
        self.first = Gated(CHANNELS + 1, fine)
        self.down = nn.ModuleList(
            nn.Sequential(Gated(before, after, stride=2), Gated(after, after))
            for before, after in ((fine, half), (half, quarter))
        )
        self.middle = nn.ModuleList(Gated(quarter, quarter, dilation=each) for each in DILATIONS)
        self.up = nn.ModuleList((Gated(quarter + half, half), Gated(half + fine, fine)))
        self.last = nn.Conv2d(fine, CHANNELS, 3, padding=1, padding_mode="replicate")
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(
        self, guess: Float[Tensor, "b 4 h w"], mask: Bool[Tensor, "b h w"]
    ) -> Float[Tensor, "b 4 h w"]:
        """Better maps than a first guess, of any size; of pixels that are not masked, too.

        guess: the picture's maps, and inside of the mask what may have been there.
        """
        seen = torch.cat((guess, mask[:, None].to(guess.dtype)), dim=1)
        maps = self.first(grown(2 * seen - 1, MULTIPLE))
        finer = []
        for step in self.down:
            finer.append(maps)
            maps = step(maps)
        for step in self.middle:
            maps = maps + step(maps)
        for step in self.up:
            larger = interpolate(maps, scale_factor=2, mode="nearest")
            maps = step(torch.cat((larger, finer.pop()), dim=1))
        return guess + cut(self.last(maps), *mask.shape[1:])


class FirstGuess(NamedTuple):
    """A picture filled classically, and of which disparities 0 and 1 stand for: least, least + span."""

    maps: Float[Tensor, "4 h w"]
    least: Float[Tensor, ""]
    span: Float[Tensor, ""]


def first_guess(
    rgb: Float[Tensor, "h w 3"], disparity: Float[Tensor, "h w"], mask: Bool[Tensor, "h w"]
) -> FirstGuess:
    """What the network is given. Raises: ValueError as `fill`."""
    rgb, filled = fill(rgb, disparity, mask)
    least, most = disparity[~mask].aminmax()
    span = torch.where(most > least, most - least, 1.0)
    maps = torch.cat((rgb, ((filled - least) / span)[..., None]), dim=-1).permute(2, 0, 1)
    return FirstGuess(maps, least, span)


@torch.no_grad()
def inpaint(
    rgb: Float[Tensor, "h w 3"],
    disparity: Float[Tensor, "h w"],
    mask: Bool[Tensor, "h w"],
    how: How,
    network: Inpainter | None = None,
) -> tuple[Float[Tensor, "h w 3"], Float[Tensor, "h w"]]:
    """Colours in [0, 1] and disparity with the masked pixels filled in.

    how: "classical", by `fill`; or "network", by the network that is given.
    Pixels that are not masked stay as they are, and what stands in masked ones plays no part. Disparities
    that are found lie between those that are known.
    Raises: ValueError for "network" without one, "classical" with one, and as `fill`.
    """
    if how == "classical":
        if network is not None:
            raise ValueError('how is "classical" and a network is given; leave it out, or name "network"')
        return fill(rgb, disparity, mask)
    if network is None:
        raise ValueError('how is "network" and none is given; read_inpainter reads one, or name "classical"')
    maps, least, span = first_guess(rgb, disparity, mask)
    if not bool(mask.any()):
        return rgb.clone(), disparity.clone()
    weight = network.last.weight
    found = network(maps[None].to(weight), mask[None].to(weight.device))[0].clamp(0, 1).to(maps)
    return (
        torch.where(mask[..., None], found[:3].permute(1, 2, 0), rgb),
        torch.where(mask, least + span * found[3], disparity),
    )


def read_inpainter(path: str | Path, size: str = "small") -> Inpainter:
    """The network that `render inpaint-train` wrote, ready to look at pictures; size: of SIZES.

    path: the file, or the training's folder. Nothing in it is run.
    Raises: FileNotFoundError, WeightsError if it is of another network.
    """
    path, network = weights_file(Path(path), (FILES[size],)), Inpainter(SIZES[size])
    take_weights(network, read_tensors(path), (), (), str(path))
    return network.eval().requires_grad_(False)
