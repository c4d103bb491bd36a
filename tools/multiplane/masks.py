"""Which plane sees what of a picture, and what follows: what is drawn on each, and what each may know.

Source: AdaMPI, arXiv:2205.11733. Planes are counted from near to far; FM_n below is the share of a pixel that
belongs to plane n, between 0 and 1; of all planes together it is 1.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate

from tools.multiplane.planes import with_planes
from tools.multiplane.sides import cut, grown

MULTIPLE = 8  # the picture is halved three times
UNSEEN = 1e-6  # share of a pixel that is left for planes so far behind that they are opaque there


def even_masks(image: Float[Tensor, "b 3 h w"], count: int) -> Float[Tensor, "b n h w"]:
    """Every pixel belongs to all planes alike."""
    return torch.full_like(image[:, :1], 1 / count).expand(-1, count, -1, -1)


def rendering_masks(masks: Float[Tensor, "b n h w"]) -> Float[Tensor, "b n h w"]:
    """What a plane may draw: pixels of its own and of planes before it, sum of FM_j over j <= n."""
    return masks.cumsum(dim=1)


def context_masks(masks: Float[Tensor, "b n h w"]) -> Float[Tensor, "b n h w"]:
    """What a plane knows of the picture: its own pixels and those behind it, sum of FM_j over j >= n."""
    return masks.flip(1).cumsum(dim=1).flip(1)


def alphas(masks: Float[Tensor, "b n h w"]) -> Float[Tensor, "b n h w"]:
    """How opaque planes are that show in each pixel as much as their masks say: FM_n / C_n, C of context."""
    left = context_masks(masks)
    return torch.where(left > UNSEEN, masks / left.clamp(min=UNSEEN), 1.0)


def conv(incoming: int, outgoing: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(incoming, outgoing, 3, stride, 1), nn.BatchNorm2d(outgoing), nn.ReLU(inplace=True)
    )


class FeatureMasks(nn.Module):
    """FM of every plane, told by the picture, its disparity and that of the plane: a U-Net of three steps.

    Planes meet in the last step only, a softmax over them: told in another order, they get their masks in it.

    widths: of its four sizes, the finest first. rectified: logits below 0 count as 0, as the released weights
    learnt it; where all planes' are, a pixel belongs to all alike and training cannot change that.
    sharpness: before anything was learnt a plane is exp(-sharpness) as likely for each step between even
    planes that a pixel's disparity lies away from it; None: all are alike, as released. It is in files of
    weights, which mean nothing without it.
    """

    def __init__(self, widths: Sequence[int], *, rectified: bool, sharpness: float | None = None) -> None:
        super().__init__()
        self.register_buffer("sharpness", None if sharpness is None else torch.tensor(float(sharpness)))
        finest, *_, coarsest = widths
        halved = (conv(fine, coarse, 2) for fine, coarse in pairwise(widths))
        self.down = nn.ModuleList((conv(5, finest), *halved))
        self.middle = conv(coarsest, coarsest)
        self.up = nn.ModuleList(conv(coarse + fine, fine) for coarse, fine in pairwise(widths[::-1]))
        self.logits = conv(finest, 1) if rectified else conv(finest, 1)[:-1]

    def forward(
        self,
        image: Float[Tensor, "b 3 h w"],
        disparity: Float[Tensor, "b 1 h w"],
        planes: Float[Tensor, "b n"],
    ) -> Float[Tensor, "b n h w"]:
        """image, disparity: in [0, 1], of any size (tools/multiplane/sides.py, to multiples of 8)."""
        seen = grown(torch.cat((image, disparity), dim=1), MULTIPLE)
        maps, finer = with_planes(seen, planes), []
        for step in self.down:
            maps = step(maps)
            finer.append(maps)
        maps = self.middle(finer.pop())
        for step in self.up:
            maps = interpolate(maps, scale_factor=2, mode="bilinear", align_corners=True)
            maps = step(torch.cat((maps, finer.pop()), dim=1))
        # A network may compute in less precision than its pictures have; shares are told in theirs.
        logits = self.logits(maps).to(planes.dtype).squeeze(1).unflatten(0, planes.shape)
        logits = cut(logits, *image.shape[2:])
        if self.sharpness is not None:
            steps = (disparity - planes[:, :, None, None]).abs() * (planes.shape[1] + 1)
            logits = logits - self.sharpness * steps
        return logits.softmax(dim=1)
