"""AdaMPI: from one picture and its disparity to a stack of planes that can be seen from elsewhere.

Source: Han, Wang, Yang, Single-View View Synthesis in the Wild with Learned Adaptive Multiplane Images,
SIGGRAPH 2022, arXiv:2205.11733. Three networks in turn: where the planes stand (planes.py), which of them
sees what (masks.py), what is on each (colours.py). Every one can be used alone, as training does.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from tools.multiplane.colours import ColourPrediction, Drawn
from tools.multiplane.masks import FeatureMasks, alphas, context_masks, even_masks
from tools.multiplane.planes import PlaneAdjustment, even_planes, fitted_planes, in_order


@dataclass(frozen=True)
class AdaMPIConfig:
    """How wide the networks are, and what is left out of them.

    planes            how many, unless one asks for another number: no weight depends on it
    plane_widths      of the plane adjustment's five blocks; heads, key, embedded: of its attention
    mask_widths       of the four sizes of the mask network
    encoder_widths    at 1/2, 1/4 ... 1/32 of the picture; blocks: of each stage; reach: of its extension
    groups            of the extension's norms; None: batch norms, as released (colours.py)
    decoder_widths    at 1, 1/2 ... 1/16 of the picture
    fits_planes       whether they are adjusted from where they fit the picture best, else from even ones
    thickness         of planes, for each of them; None: as the decoder tells (colours.py)
    rectified         whether the mask network's logits are, as released weights want it (masks.py)
    sharpness         of masks before anything was learnt; None: all planes are alike (masks.py)
    adjusts_planes    else they stay evenly spaced, and are not fitted either
    finds_masks       else every pixel belongs to all planes alike
    masks_context     else every plane knows the whole picture
    blends            whether what is seen has the picture's own colours (`render.multiplane.blend_source`);
                      that is for those who use the planes to do
    """

    planes: int = 32
    plane_widths: tuple[int, ...] = (8, 16, 32, 64, 128)
    heads: int = 4
    key: int = 32
    embedded: int = 32
    mask_widths: tuple[int, ...] = (16, 32, 64, 128)
    encoder_widths: tuple[int, ...] = (64, 64, 128, 256, 512)
    blocks: int = 2
    reach: int = 256
    groups: int | None = None
    decoder_widths: tuple[int, ...] = (12, 24, 48, 96, 192)
    fits_planes: bool = False
    thickness: float | None = None
    rectified: bool = True
    sharpness: float | None = None
    adjusts_planes: bool = True
    finds_masks: bool = True
    masks_context: bool = True
    blends: bool = True


CONFIGS = {
    "official": AdaMPIConfig(),
    "small": AdaMPIConfig(
        planes=8,
        plane_widths=(8, 8, 16, 32, 64),
        key=16,
        mask_widths=(8, 16, 32, 64),
        encoder_widths=(32, 32, 64, 128, 256),
        reach=128,
        groups=8,
        decoder_widths=(8, 16, 24, 48, 96),
        fits_planes=True,
        thickness=1.0,
        rectified=False,
        sharpness=6.0,
    ),
}


@dataclass(frozen=True)
class PredictedPlanes:
    """Planes of some pictures, near to far unless they were left as they came.

    disparities    inverse depth, 1 nearest
    masks          shares of pixels, 1 over all planes
    drawn          colours (b n 3 h w) in [0, 1] and densities (b n h w) at 1, 1/2, 1/4 and 1/8 of the
                   picture, sides rounded up
    """

    disparities: Float[Tensor, "b n"]
    masks: Float[Tensor, "b n h w"]
    drawn: Sequence[Drawn]

    @property
    def rgb(self) -> Float[Tensor, "b n 3 h w"]:
        return self.drawn[0][0]

    @property
    def density(self) -> Float[Tensor, "b n h w"]:
        return self.drawn[0][1]


class AdaMPI(nn.Module):
    """`place`, `divide` and `draw` one after another, or each alone."""

    def __init__(self, config: AdaMPIConfig) -> None:
        super().__init__()
        c = self.config = config
        self.adjustment = (
            PlaneAdjustment(c.plane_widths, c.heads, c.key, c.embedded) if c.adjusts_planes else None
        )
        self.feature_masks = None
        if c.finds_masks:
            self.feature_masks = FeatureMasks(c.mask_widths, rectified=c.rectified, sharpness=c.sharpness)
        self.colours = ColourPrediction(
            c.encoder_widths, c.blocks, c.reach, c.groups, c.decoder_widths, c.thickness
        )

    def forward(
        self,
        image: Float[Tensor, "b 3 h w"],
        disparity: Float[Tensor, "b 1 _ _"],
        *,
        planes: int | None = None,
        ordered: bool = True,
    ) -> PredictedPlanes:
        """The planes of pictures of any size, image and disparity in [0, 1], 1 nearest.

        planes: how many; else as the configuration says. ordered: they are brought into [0.001, 1] and from
        near to far before masks and colours are made for them; the released program leaves them as they come,
        also where they change places or leave the range, and what is predicted for them follows.
        Raises: ValueError if picture and disparity are not of one size.
        """
        if image.shape[2:] != disparity.shape[2:]:
            sizes = [f"{maps.shape[3]} x {maps.shape[2]}" for maps in (image, disparity)]
            raise ValueError(f"a picture of {sizes[0]} pixels and disparity of {sizes[1]}: resize one")
        disparities = self.place(image, disparity, planes)
        if ordered:
            disparities = in_order(disparities)
        masks = self.divide(image, disparity, disparities)
        return PredictedPlanes(disparities, masks, self.draw(image, disparity, masks))

    def place(
        self, image: Float[Tensor, "b 3 h w"], disparity: Float[Tensor, "b 1 h w"], planes: int | None = None
    ) -> Float[Tensor, "b n"]:
        """Disparities of planes as the network tells them, neither clamped nor sorted.

        Raises: ValueError for less than one plane.
        """
        count = self.config.planes if planes is None else planes
        if count < 1:
            raise ValueError(f"planes={count}: give at least 1")
        if self.adjustment is None or not self.config.fits_planes:
            start = even_planes(count, disparity.dtype, disparity.device).expand(len(image), -1)
        else:
            start = fitted_planes(image, disparity, count)
        return start if self.adjustment is None else self.adjustment(image, disparity, start)

    def divide(
        self,
        image: Float[Tensor, "b 3 h w"],
        disparity: Float[Tensor, "b 1 h w"],
        planes: Float[Tensor, "b n"],
    ) -> Float[Tensor, "b n h w"]:
        """Which plane sees what: shares of pixels."""
        if self.feature_masks is None:
            return even_masks(image, planes.shape[1])
        return self.feature_masks(image, disparity, planes)

    def draw(
        self,
        image: Float[Tensor, "b 3 h w"],
        disparity: Float[Tensor, "b 1 h w"],
        masks: Float[Tensor, "b n h w"],
    ) -> Sequence[Drawn]:
        """Colours and densities of planes with these masks, the finest scale first."""
        context = context_masks(masks) if self.config.masks_context else masks.new_ones(()).expand_as(masks)
        return self.colours(image, disparity, masks, context)


def picture_planes(
    image: Float[Tensor, "b 3 h w"], masks: Float[Tensor, "b n h w"]
) -> tuple[Float[Tensor, "b n 3 h w"], Float[Tensor, "b n h w"]]:
    """Colours and alphas for planes that are trained before there are colours: the picture, cut up by masks.

    From where it was taken the stack looks as the picture does, and each plane's weight there is its mask.
    """
    return image[:, None].expand(-1, masks.shape[1], -1, -1, -1), alphas(masks)
