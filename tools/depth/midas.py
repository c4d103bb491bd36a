"""MiDaS 2.1 and 3.1: inverse depth from an encoder of several maps and the decoder that DPT took over.

Source: Ranftl et al., Towards Robust Monocular Depth Estimation, TPAMI 2020; Birkl, Wofk, Müller, MiDaS v3.1,
arXiv:2307.14460. Weights as released with them (https://github.com/isl-org/MiDaS) are read by
`tools/depth/weights.py`.
"""

from jaxtyping import Float
from torch import Tensor, nn

from tools.depth import levit, nextvit, swin
from tools.depth.decoder import FEATURES, Decoder, DepthHead
from tools.depth.efficientnet import LITE3, EfficientNetLite
from tools.depth.levit import LeViT
from tools.depth.nextvit import NextViT
from tools.depth.resnext import CHANNELS, ResNeXt
from tools.depth.swin import Swin

SMALL = 64  # features of the finest maps; each coarser one has twice as many
LEVIT = 64, 8  # features that its head gets, and those before the last


class Midas(nn.Module):
    """An encoder that gives maps, a decoder, what makes of its map a finer one if need be, and a head."""

    def __init__(
        self, encoder: nn.Module, decoder: Decoder, head: DepthHead, finer: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.encoder, self.decoder, self.head = encoder, decoder, head
        self.finer = finer or nn.Identity()

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 1 h w"]:
        """image: normalised as the weights want it, sides multiples of 32.

        Raises: ValueError for other sides, and from an encoder that takes pictures of one size only.
        """
        if image.shape[2] % 32 or image.shape[3] % 32:
            size = f"{image.shape[3]} x {image.shape[2]}"
            raise ValueError(f"a picture of {size} pixels: its sides must be multiples of 32")
        return self.head(self.finer(self.decoder(self.encoder(image))[0]))


def midas_large(*, positive: bool = True) -> Midas:
    decoder = Decoder(CHANNELS, FEATURES, rectified=True)
    return Midas(ResNeXt(), decoder, DepthHead(FEATURES, positive=positive, corners=False))


def midas_small(*, positive: bool = True) -> Midas:
    encoder = EfficientNetLite(LITE3)
    decoder = Decoder(encoder.channels, tuple(SMALL << level for level in range(4)))
    return Midas(encoder, decoder, DepthHead(SMALL, positive=positive, corners=False))


def midas_levit(*, positive: bool = True) -> Midas:
    """For pictures of 224 x 224."""
    features, inner = LEVIT
    head = DepthHead(features, inner, positive=positive)
    return Midas(LeViT(), Decoder(levit.CHANNELS), head, levit.finer(FEATURES, features))


def midas_nextvit(*, positive: bool = True) -> Midas:
    return Midas(NextViT(), Decoder(nextvit.CHANNELS), DepthHead(positive=positive))


def midas_swin(backbone: swin.Backbone, *, positive: bool = True) -> Midas:
    """backbone: of `tools.depth.swin.BACKBONES`; for square pictures of its side."""
    return Midas(Swin(backbone), Decoder(backbone.channels), DepthHead(positive=positive))
