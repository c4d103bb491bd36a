"""Multiplane images: one camera's view as a stack of pictures, which other cameras look through.

AdaMPI (arXiv:2205.11733) after MINE (arXiv:2103.14910, Eqs. 2-10): planes of density, whose opacity follows
from the distance to the next plane along the ray. Stereo magnification (arXiv:1805.09817) and its kin:
planes of alpha. The planes stand across the optical axis of the source camera, one picture each.

Pixel centres are at +0.5, in the source and in the target. (The published code of MINE and AdaMPI counts
pixel centres from 0 with a principal point of width / 2: its pictures are those of principal points that
are half a pixel further right and down.)

A target camera can have any lens; of planes behind it, it sees nothing. What it sees beside the source's
picture, nobody knows: as in the published code the picture's border goes on there, or, by choice, there is
nothing. `samples`, the number of planes that a ray meets inside of their pictures, tells where it is a guess.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from fields.kernels.multiplane import (
    KINDS,
    Marched,
    check_settings,
    epipolar_lines,
    intervals,
    multiplane,
    plane_weights,
)
from render.differentiable import wants_gradient
from render.methods.base import Rendered, all_rays, check_outputs, forward_axis
from render.volume import expected_distance
from scenes.cameras import Cameras

OUTPUTS = ("rgb", "opacity", "z_depth", "distance", "samples")
SAMPLES_PER_CHUNK = 2**22  # rays times planes


class Epsilons(NamedTuple):
    """What is added to the share that each plane lets through, and to the opacity that divides a depth."""

    transmittance: float
    opacity: float


EXACT = Epsilons(0.0, 0.0)
# Of MINE's and AdaMPI's code, for densities; alphas have none there. Weights add up to 1 + 1e-6 a plane.
PUBLISHED = Epsilons(1e-6, 1e-5)


@dataclass(frozen=True, eq=False)
class MultiplaneImage:
    """Planes across the optical axis of the camera that took the picture.

    rgb           (planes, 3, height, width)  in [0, 1]
    opacity       (planes, height, width)     density >= 0 (1 / unit) or alpha in [0, 1], as opacity_kind says
    z_depth       (planes,)                   of the planes, > 0, near to far, scene units
    camera        one, perspective without distortion, as large as the planes
    opacity_kind  "density" or "alpha"
    """

    rgb: Float[Tensor, "planes 3 h w"]
    opacity: Float[Tensor, "_ _ _"]
    z_depth: Float[Tensor, " _"]
    camera: Cameras
    opacity_kind: str = "density"

    def __post_init__(self) -> None:
        if self.opacity_kind not in KINDS:
            raise ValueError(f"opacity_kind is one of {', '.join(KINDS)}, got {self.opacity_kind!r}")
        planes, _, height, width = self.rgb.shape
        if planes == 0:
            raise ValueError("rgb has no planes; give one or more")
        if self.opacity.shape != (planes, height, width) or self.z_depth.shape != (planes,):
            raise ValueError(
                f"rgb is {tuple(self.rgb.shape)}, so opacity must be {(planes, height, width)} and z_depth "
                f"({planes},); got {tuple(self.opacity.shape)} and {tuple(self.z_depth.shape)}"
            )
        self._check_camera(width, height)
        z_depth = self.z_depth.detach()
        if not bool(((z_depth > 0) & z_depth.isfinite()).all()):
            raise ValueError(f"z_depth must be positive and finite, got {z_depth.tolist()}")
        if bool((z_depth.diff() < 0).any()):
            raise ValueError(
                f"z_depth must rise from plane to plane, got {z_depth.tolist()}; use MultiplaneImage.sorted"
            )

    def _check_camera(self, width: int, height: int) -> None:
        camera = self.camera
        if camera.shape:
            raise ValueError(f"camera is the one that sees the planes, got {len(camera)}; index one first")
        if camera.distortion is not None or camera.projection != "perspective":
            raise ValueError("camera must be perspective without distortion; undistort the picture first")
        if (camera.width, camera.height) != (width, height):
            raise ValueError(
                f"camera takes {camera.width} x {camera.height} pixels, the planes have {width} x {height}"
            )

    @classmethod
    def sorted(
        cls,
        rgb: Float[Tensor, "planes 3 h w"],
        opacity: Float[Tensor, "planes h w"],
        z_depth: Float[Tensor, " planes"],
        camera: Cameras,
        opacity_kind: str = "density",
    ) -> "MultiplaneImage":
        """The same of planes in any order; those at one depth keep theirs."""
        order = z_depth.detach().argsort(stable=True)
        return cls(rgb[order], opacity[order], z_depth[order], camera, opacity_kind)

    @functools.cached_property
    def interleaved(self) -> Float[Tensor, "planes h w 4"]:
        """Colour and opacity side by side, without gradients; made once, for all that the kernels render."""
        with torch.no_grad():
            return torch.cat((self.rgb, self.opacity[:, None]), dim=1).permute(0, 2, 3, 1).contiguous()


class Composited(NamedTuple):
    """A multiplane image as its own camera sees it.

    rgb      in front of black
    opacity  share of each pixel's ray that is stopped
    z_depth  mean of what the ray meets, 0 where it meets nothing; scene units
    weights  share of each plane in each pixel
    """

    rgb: Float[Tensor, "h w 3"]
    opacity: Float[Tensor, "h w"]
    z_depth: Float[Tensor, "h w"]
    weights: Float[Tensor, "planes h w"]


def composite(image: MultiplaneImage, epsilons: Epsilons = EXACT) -> Composited:
    """The source camera's own view, pixel by pixel; nothing is read between pixels.

    epsilons: EXACT, or PUBLISHED, which released networks were trained with; of densities, not of alphas.
    """
    epsilons = _epsilons_of(image, epsilons)
    weights, _ = _weights(image, epsilons)
    opacity = weights.sum(dim=0)
    rgb = (weights[:, None] * image.rgb).sum(dim=0).permute(1, 2, 0)
    weighted = (weights * image.z_depth[:, None, None].to(weights)).sum(dim=0)
    return Composited(rgb, opacity, _mean(weighted, opacity, epsilons), weights)


def render(
    image: MultiplaneImage,
    camera: Cameras,
    outputs: Sequence[str] = ("rgb",),
    *,
    outside: str = "border",
    epsilons: Epsilons = EXACT,
    lowest_transmittance: float | int = 0.0,
    backend: str = "reference",
) -> Rendered:
    """The pictures of one camera, (height, width), or of n of one size, (n, height, width).

    camera: in the frame in which the source camera stands, with any lens; pixels beyond its field are empty.
    outputs: of rgb (in front of black), opacity, z_depth, distance, samples: see `Rendered`. samples counts
        the planes that a ray meets inside of their pictures.
    outside: "border" lets the pictures' borders go on for ever; "empty" ends the planes there, so that
        opacity is 0 where the source camera saw nothing.
    epsilons: as of `composite`.
    lowest_transmittance: planes before which less is left are not seen.
    backend: "reference" is differentiable in the planes' colours, opacities and depths and in the cameras'
        poses and intrinsics; "kernels" (float32, on the CPU) is not.
    Raises: ValueError for an output or setting that is not known, cameras of several sizes or none, or what
        the kernels do not take.
    """
    check_outputs(outputs, OUTPUTS)
    epsilons = _epsilons_of(image, epsilons)
    settings = (image.opacity_kind, outside, lowest_transmittance, epsilons.transmittance)
    check_settings(*settings)
    each = [_seen_from(image, one) for one in _each(camera)]
    found = _march(image, torch.cat([_lines(image, one) for one in each]), settings, backend)
    values = found._asdict() | {"distance": _mean(found.distance, found.opacity, epsilons)}
    if "z_depth" in outputs:
        cosines = torch.cat([_cosines(one) for one in each])
        values["z_depth"] = values["distance"] * cosines.to(values["distance"])
    shape = (*camera.shape, each[0].height, each[0].width)
    back = camera.camera_to_world.device
    return Rendered(**{name: values[name].view(*shape, *values[name].shape[1:]).to(back) for name in outputs})


def blend_source(
    image: MultiplaneImage, source: Float[Tensor, "3 h w"], epsilons: Epsilons = EXACT
) -> MultiplaneImage:
    """Each plane with the picture's own colours as far as it is seen: c_n <- T_n I + (1 - T_n) c_n.

    T_n: the transmittance before plane n, in the source's view. What is hidden there keeps its colours.
    """
    _, before = _weights(image, _epsilons_of(image, epsilons))
    seen = before[:, None]
    return replace(image, rgb=seen * source + (1 - seen) * image.rgb)


def _epsilons_of(image: MultiplaneImage, epsilons: Epsilons) -> Epsilons:
    return epsilons if image.opacity_kind == "density" else EXACT


def _weights(
    image: MultiplaneImage, epsilons: Epsilons
) -> tuple[Float[Tensor, "planes h w"], Float[Tensor, "planes h w"]]:
    """Weights in the source's own pixels, and transmittance before each plane."""
    camera = replace(image.camera, camera_to_world=torch.eye(4, dtype=torch.float64))
    camera = camera.to(image.rgb.device, torch.float64)
    slope = (1 / camera.rays().directions[..., 2]).to(image.rgb.dtype)
    delta = intervals(image.z_depth.to(slope), slope, image.opacity_kind)
    return plane_weights(image.opacity, delta, epsilons.transmittance)


def _mean(
    weighted: Float[Tensor, "*s"], opacity: Float[Tensor, "*s"], epsilons: Epsilons
) -> Float[Tensor, "*s"]:
    if epsilons.opacity:
        return weighted / (opacity + epsilons.opacity)
    return expected_distance(weighted, opacity)


def _each(camera: Cameras) -> list[Cameras]:
    if len(camera.shape) > 1 or (camera.shape and len(camera) == 0):
        raise ValueError(f"cameras: one, or a row of them, are rendered; got {tuple(camera.shape)}")
    if not (isinstance(camera.width, int) and isinstance(camera.height, int)):
        raise ValueError("cameras of several sizes make no stack of pictures; render them one by one")
    return [camera[i] for i in range(len(camera))] if camera.shape else [camera]


def _seen_from(image: MultiplaneImage, camera: Cameras) -> Cameras:
    """The camera along the axes of the source camera, which stands at the origin; in double precision."""
    there, source = (one.to(image.rgb.device, torch.float64) for one in (camera, image.camera))
    pose = torch.linalg.inv(source.camera_to_world) @ there.camera_to_world
    return replace(there, camera_to_world=pose)


def _lines(image: MultiplaneImage, there: Cameras) -> Float[Tensor, "rays 6"]:
    """Epipolar lines of a camera's pixels, row by row; those beyond its lens's field meet nothing."""
    rays, unseen = all_rays(there)
    directions = rays.directions
    if bool(unseen.any()):
        directions = torch.where(unseen[:, None], directions.new_tensor([0.0, 0.0, -1.0]), directions)
    return epipolar_lines(rays.origins, directions, image.camera.intrinsics.to(directions))


def _cosines(there: Cameras) -> Float[Tensor, " rays"]:
    """Of the angles between a camera's rays and its optical axis."""
    return (all_rays(there)[0].directions * forward_axis(there)).sum(-1)


def _march(image: MultiplaneImage, lines: Float[Tensor, "rays 6"], settings: tuple, backend: str) -> Marched:
    """`multiplane`; the reference some rays at a time."""
    if backend == "kernels":
        if wants_gradient(image.rgb, image.opacity, image.z_depth, lines):
            raise ValueError(
                "image or camera asks for a gradient; the kernels give none: use backend='reference', or "
                "render under torch.no_grad()"
            )
        return multiplane(image.interleaved, image.z_depth.detach(), lines, *settings, backend)
    planes = torch.cat((image.rgb, image.opacity[:, None]), dim=1).permute(0, 2, 3, 1)
    size = max(1, SAMPLES_PER_CHUNK // len(planes))
    chunks = [multiplane(planes, image.z_depth, part, *settings, backend) for part in lines.split(size)]
    return Marched(*(torch.cat(part) for part in zip(*chunks, strict=True)))
