"""Two cameras' pictures of one place, near to each other: what a stack of planes learns from.

Frame: that of the source camera, at its origin. Unit: the z_depth that is nearest there, so that disparity,
inverse depth in that unit, is 1 for what is nearest and 0 for what is infinitely far.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from scenes.cameras import Cameras

NEAREST = 0.005  # share of the source's pixels that may be nearer than disparity 1
MAPS = ("source", "disparity", "truth", "truth_disparity", "hidden")  # of a batch
TOLERANCE = 0.05  # of disparity, relative: what is no farther behind what the source saw there, it saw


class NothingNearError(ValueError):
    """A picture without anything at a finite depth: no camera that moves sees it otherwise."""


@dataclass(frozen=True, eq=False)
class ViewPair:
    """What is given, of the source camera, and what is asked for, of the target camera.

    disparity  of the source, in [0, 1]; truth_disparity: of the target, in that unit, so perhaps more
    hidden     pixels of the target that the source camera did not see, though they lie in its field of view
    beside     pixels of the target that lie outside of the source's field of view: nobody can know them
    """

    source: Float[Tensor, "3 h w"]
    disparity: Float[Tensor, "h w"]
    camera: Cameras
    truth: Float[Tensor, "3 h w"]
    truth_disparity: Float[Tensor, "h w"]
    target: Cameras
    hidden: Bool[Tensor, "h w"]
    beside: Bool[Tensor, "h w"]


def view_pair(
    source: UInt8[Tensor, "h w 3"],
    source_z: Float[Tensor, "h w"],
    camera: Cameras,
    truth: UInt8[Tensor, "h w 3"],
    truth_z: Float[Tensor, "h w"],
    target: Cameras,
) -> ViewPair:
    """Of two pictures with depth, z_depth 0 for what is infinitely far, and cameras in any frame and unit.

    Raises: NothingNearError if the source sees nothing at a finite depth.
    """
    inverse, truth_inverse = inverse_depth(source_z), inverse_depth(truth_z)
    nearest = 1 / torch.quantile(inverse.flatten(), 1 - NEAREST)
    if not nearest.isfinite():
        raise NothingNearError("the source sees nothing at a finite depth: there is nothing to move before")
    to_source = camera.camera_to_world.double().inverse()
    pose = to_source @ target.camera_to_world.double()
    pose[:3, 3] /= nearest
    here = replace(camera, camera_to_world=torch.eye(4))
    there = replace(target, camera_to_world=pose.float())
    disparity, truth_disparity = (inverse * nearest).clamp(max=1), truth_inverse * nearest
    hidden, beside = unseen(disparity, here, truth_disparity, there)
    colours = (picture.permute(2, 0, 1).float() / 255 for picture in (source, truth))
    first, second = colours
    return ViewPair(first, disparity, here, second, truth_disparity, there, hidden, beside)


def inverse_depth(z_depth: Float[Tensor, "h w"]) -> Float[Tensor, "h w"]:
    return torch.where(z_depth > 0, 1 / z_depth.clamp(min=1e-6), 0.0)


def unseen(
    disparity: Float[Tensor, "h w"],
    camera: Cameras,
    target_disparity: Float[Tensor, "h w"],
    target: Cameras,
) -> tuple[Bool[Tensor, "h w"], Bool[Tensor, "h w"]]:
    """Pixels of `target` that `camera` does not see: those that something hides from it, those beside it.

    A point is hidden if all four pixels around where it would be show something nearer.
    """
    finite = target_disparity > 0
    z_depth = 1 / target_disparity.clamp(min=1e-4)  # what is farther does not move any more
    points = target.unproject(target.pixel_centres(), z_depth)
    pixels, met = camera.project(points)
    height, width = disparity.shape
    inside = (met > 0) & (pixels >= 0).all(-1) & (pixels[..., 0] < width) & (pixels[..., 1] < height)
    low = (pixels - 0.5).floor()
    farthest = torch.full_like(met, torch.inf)
    for right in (0, 1):
        for down in (0, 1):
            column = (low[..., 0] + right).clamp(0, width - 1).long()
            row = (low[..., 1] + down).clamp(0, height - 1).long()
            farthest = torch.minimum(farthest, disparity[row, column])
    own = torch.where(finite, 1 / met.clamp(min=1e-6), 0.0)
    hidden = inside & (own < (1 - TOLERANCE) * farthest)
    return hidden, ~inside


@dataclass(frozen=True, eq=False)
class PairBatch:
    """Some pairs of one size; see `ViewPair`."""

    source: Float[Tensor, "b 3 h w"]
    disparity: Float[Tensor, "b h w"]
    truth: Float[Tensor, "b 3 h w"]
    truth_disparity: Float[Tensor, "b h w"]
    hidden: Bool[Tensor, "b h w"]
    cameras: Sequence[Cameras]
    targets: Sequence[Cameras]

    def to(self, device: torch.device | str) -> "PairBatch":
        moved = {name: getattr(self, name).to(device) for name in MAPS}
        cameras, targets = ([one.to(device) for one in each] for each in (self.cameras, self.targets))
        return PairBatch(**moved, cameras=cameras, targets=targets)

    def first(self, count: int) -> "PairBatch":
        """The first so many pairs."""
        some = {name: getattr(self, name)[:count] for name in MAPS}
        return PairBatch(**some, cameras=self.cameras[:count], targets=self.targets[:count])


def together(pairs: Sequence[ViewPair]) -> PairBatch:
    stacked = {name: torch.stack([getattr(pair, name) for pair in pairs]) for name in MAPS}
    cameras, targets = ([getattr(pair, name) for pair in pairs] for name in ("camera", "target"))
    return PairBatch(**stacked, cameras=cameras, targets=targets)
