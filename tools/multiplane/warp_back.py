"""Pairs for training made of single pictures with depth: AdaMPI's warp-back.

Source: Han, Wang, Yang, SIGGRAPH 2022, arXiv:2205.11733. A network that is to show a picture from elsewhere
needs pictures from elsewhere, and a photograph has none. So the photograph is what is to be seen, and what
the network is given is a made-up view of it with its holes filled in.

Disparity is 1 / z_depth in a unit in which it lies between 0 (infinitely far) and 1; motions of cameras are
in that unit too. Cameras are pinholes of the picture's size.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import conv2d, pad

from scenes.cameras import Cameras
from tools.multiplane.filling import fill, nearest_fill
from tools.multiplane.warp import warp

EDGE = 0.03  # gradient of disparity per pixel, over sqrt(2); the network's maps blur their edges

# Colours and disparity, and which pixels of them to fill in.
Fill = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Motions:
    """How far a camera is moved and turned, at random and evenly, either way.

    x, y, z   at most, to the right, down and forwards, unit of disparity
    least     altogether, at least
    rotation  at most, about each axis, degrees

    The defaults hold swings (0.14 aside, 0.2 forwards), circles (0.14 high) and zooms (0.3 forwards).
    AdaMPI's published motions are `Motions(x=0.2, y=0, z=0, least=0.1, rotation=0)`: aside alone.
    """

    x: float | int = 0.2
    y: float | int = 0.2
    z: float | int = 0.3
    least: float | int = 0.1
    rotation: float | int = 2.0

    def __post_init__(self) -> None:
        if min(self.x, self.y, self.z, self.least, self.rotation) < 0:
            raise ValueError(f"motions are at least 0, got {self}")
        most = max(self.x, self.y, self.z)
        if most == 0:
            raise ValueError("one of x, y and z must be more than 0, or nothing would come into view")
        if self.least > 0.9 * most:
            raise ValueError(
                f"least is {self.least}; at most 0.9 of the largest of x, y and z can be had, {0.9 * most}"
            )


class InpaintingPair(NamedTuple):
    """A picture, and pixels of it that a camera loses sight of on its way to another view and back."""

    rgb: Float[Tensor, "h w 3"]
    disparity: Float[Tensor, "h w"]
    lost: Bool[Tensor, "h w"]


class WarpedPair(NamedTuple):
    """A made-up view of a picture, which a network is given, and the picture, which it is to show.

    Disparities lie in one unit, in which the source's lie in [0, 1]; the cameras' translations too.
    occluded: pixels of the target that show what the source does not.
    """

    source_rgb: Float[Tensor, "h w 3"]
    source_disparity: Float[Tensor, "h w"]
    source: Cameras
    target_rgb: Float[Tensor, "h w 3"]
    target_disparity: Float[Tensor, "h w"]
    target: Cameras
    occluded: Bool[Tensor, "h w"]


def disparity_of_depth(z_depth: Float[Tensor, "h w"]) -> Float[Tensor, "h w"]:
    """Of a picture whose z_depth is measured (0, negative or no number: unknown; infinite: sky), in [0, 1].

    As `normalised_disparity`.
    """
    return normalised_disparity(torch.where(z_depth > 0, 1 / z_depth, torch.nan))


def normalised_disparity(inverse_depth: Float[Tensor, "h w"]) -> Float[Tensor, "h w"]:
    """Inverse depth, measured or predicted up to scale and shift, brought to [0, 1].

    The least becomes 0 and the most 1. What is not finite is unknown, and takes the value of the nearest
    pixel that is known.
    Raises: ValueError if nothing is known, or all of it is the same.
    """
    known = inverse_depth.isfinite()
    least, most = inverse_depth[known].aminmax() if bool(known.any()) else (0.0, 0.0)
    if not most > least:
        count = int(known.sum())
        raise ValueError(
            f"inverse depth is the same in all {count} known pixels, so nothing would move before anything "
            "else; leave the picture out"
        )
    disparity = ((inverse_depth - least) / (most - least))[..., None]
    return nearest_fill(disparity, ~known)[..., 0].clamp(0, 1)


def sharpened(disparity: Float[Tensor, "h w"], edge: float | int = EDGE) -> Float[Tensor, "h w"]:
    """Disparity whose blurred edges have become jumps, for maps that a network predicted.

    Pixels where Sobel's gradient exceeds `edge` take the value of the nearest where it does not. What is
    narrower than three pixels is lost with them: depth that is exact does without.
    """
    smooth, slope = disparity.new_tensor([1, 2, 1]) / 4, disparity.new_tensor([-1, 0, 1]) / 2
    kernels = torch.stack((smooth[:, None] * slope, slope[:, None] * smooth))[:, None]
    around = pad(disparity[None, None], (1, 1, 1, 1), mode="replicate")
    gradient = conv2d(around, kernels)[0].square().mean(dim=0).sqrt()
    blurred = gradient > edge
    if bool(blurred.all()):
        return disparity.clone()
    return nearest_fill(disparity[..., None], blurred)[..., 0]


def draw_motion(motions: Motions, generator: torch.Generator) -> Float[Tensor, "4 4"]:
    """A camera's pose in the axes of the camera that it was moved from; float64."""
    most = torch.tensor([motions.x, motions.y, motions.z], dtype=torch.float64)
    step = None
    while step is None or step.norm() < motions.least:
        step = most * (2 * torch.rand(3, generator=generator, dtype=torch.float64) - 1)
    turn = 2 * torch.rand(3, generator=generator, dtype=torch.float64) - 1
    x, y, z = torch.deg2rad(motions.rotation * turn).tolist()
    motion = torch.eye(4, dtype=torch.float64)
    motion[:3, :3] = torch.linalg.matrix_exp(
        torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)
    )
    motion[:3, 3] = step
    return motion


def moved(camera: Cameras, motions: Motions, generator: torch.Generator) -> Cameras:
    """The camera at a random place beside its own; float64."""
    camera = camera.to(camera.fx.device, torch.float64)
    motion = draw_motion(motions, generator).to(camera.fx.device)
    return replace(camera, camera_to_world=camera.camera_to_world @ motion)


def lost_pixels(z_depth: Float[Tensor, "h w"], camera: Cameras, away: Cameras) -> Bool[Tensor, "h w"]:
    """Pixels that are not there any more when the picture is warped from `camera` to `away` and back."""
    nothing = z_depth.new_zeros(*z_depth.shape, 3)
    there = warp(nothing, z_depth, camera, away)
    return ~warp(there.rgb, there.z_depth, away, camera).covered


def inpainting_pair(
    rgb: Float[Tensor, "h w 3"],
    disparity: Float[Tensor, "h w"],
    camera: Cameras,
    motions: Motions,
    generator: torch.Generator,
) -> InpaintingPair:
    """The picture, with what is lost of it on the way to another view and back.

    disparity: of every pixel, in [0, 1]. Raises: ValueError otherwise, or as `warp`.
    """
    check_disparity(disparity)
    away = moved(camera, motions, generator)
    return InpaintingPair(rgb, disparity, lost_pixels(1 / disparity, camera, away))


def warped_pair(
    rgb: Float[Tensor, "h w 3"],
    disparity: Float[Tensor, "h w"],
    camera: Cameras,
    motions: Motions,
    generator: torch.Generator,
    inpainter: Fill = fill,
) -> WarpedPair:
    """The picture as the target, and as the source a view of it from a random place beside.

    inpainter: fills the source's holes; `fill`, or `partial(inpaint, how="network", network=...)` of
    tools/multiplane/inpainting.py.
    disparity: of every pixel, in [0, 1]. Where the source's would exceed 1, because it moved ahead, the unit
    is made smaller, for both views and for their cameras.
    Raises: ValueError otherwise, or as `warp`.
    """
    check_disparity(disparity)
    source = moved(camera, motions, generator)
    seen = warp(rgb, 1 / disparity, camera, source)
    nearness = torch.where(seen.covered, 1 / seen.z_depth, 0.0)
    source_rgb, source_disparity = inpainter(seen.rgb, nearness, ~seen.covered)
    back = warp(source_rgb, 1 / source_disparity, source, camera)
    nearest = source_disparity.max().clamp(min=1)
    return WarpedPair(
        source_rgb,
        source_disparity / nearest,
        _scaled(source, nearest, camera),
        rgb,
        disparity / nearest,
        _scaled(camera, nearest, camera),
        ~back.covered,
    )


def check_disparity(disparity: Float[Tensor, "h w"]) -> None:
    """Raises: ValueError if it is not within [0, 1] everywhere."""
    outside = ~((disparity >= 0) & (disparity <= 1))
    if bool(outside.any()):
        row, column = outside.nonzero()[0].tolist()
        raise ValueError(
            f"disparity is {float(disparity[row, column])} in row {row}, column {column}; bring it to [0, 1] "
            "with normalised_disparity or disparity_of_depth"
        )


def _scaled(camera: Cameras, factor: Float[Tensor, ""], like: Cameras) -> Cameras:
    """The same camera where all lengths are `factor` times larger, in the precision of another."""
    pose = camera.camera_to_world.clone()
    pose[:3, 3] *= factor
    return replace(camera, camera_to_world=pose).to(camera.fx.device, like.fx.dtype)
