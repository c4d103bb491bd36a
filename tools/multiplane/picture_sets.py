"""Pairs of views to learn from, out of single pictures with depth of any kind: by warp-back.

Any data set of docs/depth.md will do, and pictures with depth that a network predicted. The picture is what
is asked for; what is given is a view of it from a random place beside, with its holes filled in.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from scenes.images import quantised
from scenes.random import bits
from tools.depth.augmentation import USUAL, augmented
from tools.depth.batches import Labels, shrunk
from tools.depth.losses import Kind
from tools.multiplane.filling import fill
from tools.multiplane.predict import photo_camera
from tools.multiplane.view_pairs import NothingNearError, ViewPair, view_pair
from tools.multiplane.warp_back import (
    Fill,
    Motions,
    disparity_of_depth,
    normalised_disparity,
    sharpened,
    warped_pair,
)

VARIANTS = 64  # of each picture: other parts, colours and motions
VARIANT = 3  # stream of scenes.random
# Noise cannot be foretold, and pictures are mirrored when they are drawn.
SHARES = replace(USUAL, mirrored=0, blurred=0, noisy=0, framed=0)


def part_of(
    found: Labels, index: int, size: tuple[int, int], generator: torch.Generator
) -> tuple[Float[Tensor, "h w 3"], Float[Tensor, "h w"]]:
    """A part of a picture in other colours, and its depth, NaN where nothing is known.

    size: width and height. Raises: what the set does whose files cannot be read.
    """
    read = found.read(index)
    values = torch.where(read.known, read.values, torch.nan)
    rgb, values = shrunk(read.rgb, values, size[0] * size[1])
    rgb, values = augmented(rgb, values, size, generator, SHARES)
    return rgb.permute(1, 2, 0).contiguous(), values


def disparity_of(values: Float[Tensor, "h w"], kind: Kind) -> Float[Tensor, "h w"]:
    """In [0, 1], of a label's values, NaN where nothing is known. A prediction's blurred edges are sharpened.

    Raises: ValueError as `normalised_disparity`.
    """
    if kind == "z_depth":
        return disparity_of_depth(values)
    disparity = normalised_disparity(values)
    return sharpened(disparity) if kind == "relative_inverse" else disparity


@dataclass(frozen=True, eq=False)
class PictureSet:
    """Pairs of a data set of single pictures, VARIANTS of each; what one is follows from its number alone.

    inpainter: fills the holes of what is given; see `tools.multiplane.warp_back.warped_pair`.
    """

    folder: Path
    views: Labels
    motions: Motions = field(default_factory=Motions)
    inpainter: Fill = fill
    size: None = None  # of any that is asked for

    @property
    def name(self) -> str:
        return self.views.name

    def __len__(self) -> int:
        return VARIANTS * len(self.views)

    def read(self, index: int, size: tuple[int, int]) -> ViewPair:
        """size: width and height.

        Raises: NothingNearError if all that was cut out is equally far; errors of damaged files.
        """
        drawn = int(bits(0, index, VARIANT, torch.zeros(1, dtype=torch.int64)))
        generator = torch.Generator().manual_seed(drawn)
        rgb, values = part_of(self.views, index % len(self.views), size, generator)
        try:
            disparity = disparity_of(values, self.views.kind)
        except ValueError as error:
            raise NothingNearError(str(error)) from error
        camera = photo_camera(*size)
        pair = warped_pair(rgb, disparity, camera, self.motions, generator, self.inpainter)
        source = quantised(pair.source_rgb), depth_of(pair.source_disparity), pair.source
        return view_pair(*source, quantised(pair.target_rgb), depth_of(pair.target_disparity), pair.target)


def depth_of(disparity: Float[Tensor, "h w"]) -> Float[Tensor, "h w"]:
    """z_depth, 0 for what is infinitely far."""
    return torch.where(disparity > 0, 1 / disparity.clamp(min=1e-9), 0.0)
