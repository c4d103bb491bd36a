"""Small scenes with exact truth: spheres, boxes and textured panels, cast ray by ray.

Colours are matt, so every view shows a point alike; the light is fixed. Geometry is that of the ray
through the pixel's centre; colour and alpha are the mean over a grid of rays in the pixel.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.nn.functional import normalize

from scenes.cameras import Cameras
from scenes.formats.nerf_synthetic import BOUNDS, WHITE, Geometry, write, write_geometry
from scenes.images import ImageSequence, quantised
from scenes.rays import Rays
from scenes.scene import Scene, Vector

Texture = Callable[[Float[Tensor, "*n 3"]], Float[Tensor, "*n 3"]]  # colours in [0, 1] of points

# The camera rig of NeRF-synthetic.
RADIUS = 4.031128874
FOV = math.degrees(0.6911112070083618)
VIEWS = {"train": 24, "val": 4, "test": 6}
LIGHT = (0.4, 0.3, 0.866)  # towards the light
AMBIENT = 0.35  # share of the light that comes from everywhere
GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))


def checker(first: Vector, second: Vector, size: float | int) -> Texture:
    """Cubes of side `size` (scene units) in two colours; sharp edges at known places."""

    def colour(points: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3"]:
        # A hair off the lattice, so that faces on a lattice plane do not flicker between two cubes.
        odd = ((points / size + 1e-3).floor().sum(dim=-1, keepdim=True) % 2).bool()
        return torch.where(odd, points.new_tensor(first), points.new_tensor(second))

    return colour


def waves(length: float | int) -> Texture:
    """Smooth colours that repeat every `length` scene units along each axis."""

    def colour(points: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3"]:
        phase = points.new_tensor([0.0, 2.0, 4.0])
        return 0.5 + 0.45 * torch.sin(2 * math.pi / length * (points + 0.5 * points.roll(1, -1)) + phase)

    return colour


class Hit(NamedTuple):
    """Where rays meet a shape first; `distance` is infinite where they do not.

    normal: unit length, on the side that the ray comes from.
    """

    distance: Float[Tensor, "*rays"]
    normal: Float[Tensor, "*rays 3"]


@dataclass(frozen=True)
class Sphere:
    """A ball; centre and radius in scene units."""

    centre: Vector
    radius: float | int
    texture: Texture

    def meet(self, rays: Rays) -> Hit:
        """Nearest crossing in front of the origin."""
        to_centre = rays.origins.new_tensor(self.centre) - rays.origins
        along = (to_centre * rays.directions).sum(-1)
        # The squared miss distance by the perpendicular, not |c|^2 - b^2, which cancels far away.
        missed = (to_centre - along[..., None] * rays.directions).square().sum(-1)
        half = (self.radius**2 - missed).clamp(min=0).sqrt()
        outside = along - half > 0
        distance = torch.where(outside, along - half, along + half)
        distance = torch.where((missed < self.radius**2) & (distance > 0), distance, torch.inf)
        normal = normalize(distance[..., None] * rays.directions - to_centre, dim=-1)
        return Hit(distance, torch.where(outside[..., None], normal, -normal))


@dataclass(frozen=True)
class Box:
    """An axis-aligned box between two corners, scene units."""

    minimum: Vector
    maximum: Vector
    texture: Texture

    def meet(self, rays: Rays) -> Hit:
        """Nearest crossing in front of the origin, by the slab method."""
        directions = torch.where(rays.directions.abs() < 1e-12, 1e-12, rays.directions)
        low = (rays.origins.new_tensor(self.minimum) - rays.origins) / directions
        high = (rays.origins.new_tensor(self.maximum) - rays.origins) / directions
        entry, entry_axis = torch.minimum(low, high).max(dim=-1)
        leave, leave_axis = torch.maximum(low, high).min(dim=-1)
        outside = entry > 0
        distance = torch.where(outside, entry, leave)
        distance = torch.where((entry < leave) & (leave > 0), distance, torch.inf)
        axis = torch.where(outside, entry_axis, leave_axis)
        normal = torch.eye(3, dtype=directions.dtype, device=directions.device)[axis]
        return Hit(distance, normal * -directions.sign())


@dataclass(frozen=True)
class Panel:
    """A flat parallelogram, seen from both sides: centre + a * right + b * up, a and b in [-1, 1]."""

    centre: Vector
    right: Vector
    up: Vector
    texture: Texture

    def meet(self, rays: Rays) -> Hit:
        """The crossing with the plane where it lies within the edges."""
        new = rays.origins.new_tensor
        right, up = new(self.right), new(self.up)
        normal = normalize(torch.linalg.cross(right, up), dim=0)
        slope = rays.directions @ normal
        slope = torch.where(slope.abs() < 1e-12, 1e-12, slope)
        distance = ((new(self.centre) - rays.origins) @ normal) / slope
        across = rays.at(distance) - new(self.centre)
        edges = torch.linalg.pinv(torch.stack((right, up), dim=-1))
        within = ((across @ edges.T).abs() <= 1).all(dim=-1)
        distance = torch.where(within & (distance > 0), distance, torch.inf)
        return Hit(distance, normal * -slope.sign()[..., None])


Shape = Sphere | Box | Panel

SCENES: Mapping[str, tuple[Shape, ...]] = {
    "spheres": (
        Sphere((0.0, 0.0, 0.1), 0.7, waves(0.8)),
        Sphere((0.85, 0.35, -0.3), 0.35, checker((0.9, 0.25, 0.1), (0.95, 0.9, 0.8), 0.2)),
        Sphere((-0.7, -0.6, -0.35), 0.3, waves(0.5)),
    ),
    "boxes": (
        Box((-0.9, -0.9, -0.6), (0.9, 0.9, -0.4), checker((0.15, 0.2, 0.3), (0.85, 0.85, 0.8), 0.3)),
        Box((-0.5, -0.3, -0.4), (0.1, 0.3, 0.5), waves(0.7)),
        Box((0.3, -0.5, -0.4), (0.7, 0.5, 0.0), checker((0.1, 0.5, 0.2), (0.9, 0.8, 0.1), 0.2)),
    ),
    "planes": (
        Panel((0.0, 0.0, -0.5), (0.95, 0.0, 0.0), (0.0, 0.95, 0.0), waves(0.6)),
        Panel((0.0, 0.3, 0.1), (0.6, 0.2, 0.0), (0.0, 0.0, 0.6), checker((0.8, 0.1, 0.2), (1, 1, 0.9), 0.3)),
        Panel((-0.3, -0.4, 0.0), (0.2, -0.4, 0.0), (0.1, 0.0, 0.5), waves(0.45)),
    ),
}


class Seen(NamedTuple):
    """What rays see: `distance` is infinite, and `normal` and `colour` are 0, where they see nothing."""

    distance: Float[Tensor, "*rays"]
    normal: Float[Tensor, "*rays 3"]
    colour: Float[Tensor, "*rays 3"]

    @property
    def hit(self) -> Bool[Tensor, "*rays"]:
        """Where rays see anything."""
        return self.distance.isfinite()


def cast(shapes: tuple[Shape, ...], rays: Rays) -> Seen:
    """The nearest shape along every ray, shaded."""
    seen = Seen(
        torch.full_like(rays.origins[..., 0], torch.inf),
        torch.zeros_like(rays.origins),
        torch.zeros_like(rays.origins),
    )
    light = normalize(rays.origins.new_tensor(LIGHT), dim=0)
    for shape in shapes:
        distance, normal = shape.meet(rays)
        nearer = distance < seen.distance
        points = rays.at(torch.where(nearer, distance, 0.0))
        shade = AMBIENT + (1 - AMBIENT) * (normal @ light).clamp(min=0)
        colour = shape.texture(points) * shade[..., None]
        choose = nearer[..., None]
        seen = Seen(
            torch.where(nearer, distance, seen.distance),
            torch.where(choose, normal, seen.normal),
            torch.where(choose, colour, seen.colour),
        )
    return seen


def picture(
    shapes: tuple[Shape, ...], camera: Cameras, supersampling: int = 4
) -> UInt8[Tensor, "height width 4"]:
    """Straight-alpha picture of one camera: the mean over supersampling^2 rays a pixel."""
    steps = (torch.arange(supersampling) + 0.5) / supersampling - 0.5
    offsets = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), dim=-1).reshape(-1, 2)
    seen = cast(shapes, camera.rays(camera.pixel_centres()[:, :, None] + offsets))
    count = seen.hit.sum(dim=-1, keepdim=True)
    colour = seen.colour.sum(dim=-2) / count.clamp(min=1)
    return quantised(torch.cat((colour, count / len(offsets)), dim=-1))


def geometry(shapes: tuple[Shape, ...], camera: Cameras) -> Geometry:
    """Exact z_depth and normals of one camera, at pixel centres; 0 where nothing is seen."""
    rays = camera.rays()
    seen = cast(shapes, rays)
    cosine = rays.directions @ camera.camera_to_world[:3, 2]
    return Geometry(torch.where(seen.hit, seen.distance * cosine, 0.0), seen.normal)


def rig(views: int, width: int, turn: float) -> Cameras:
    """Cameras spread evenly over the upper half of NeRF-synthetic's sphere, `turn` radians round."""
    index = torch.arange(views, dtype=torch.float64)
    z = 0.05 + 0.9 * (index + 0.5) / views
    angle = GOLDEN_ANGLE * index + turn
    across = (1 - z.square()).sqrt()
    eyes = RADIUS * torch.stack((across * angle.cos(), across * angle.sin(), z), dim=-1)
    return Cameras.look_at(eyes, (0.0, 0.0, 0.0), (0.0, 0.0, 1.0), width, width, FOV)


def generate(
    name: str,
    out: str | Path | None = None,
    *,
    width: int = 64,
    views: Mapping[str, int] = VIEWS,
    supersampling: int = 4,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Scene]:
    """Make a scene of SCENES: the splits in memory, and as a NeRF-synthetic folder if `out` is given.

    The test views on disk have their geometry beside them. Width is that of the square pictures;
    `progress` is told of each split.
    Raises: SceneError if `out` already holds one of the splits.
    """
    if name not in SCENES:
        raise ValueError(f"no analytic scene {name!r}; known: {', '.join(SCENES)}")
    made = {}
    for number, (split, count) in enumerate(views.items()):
        if progress:
            progress(f"{split}: {count} views")
        cameras = rig(count, width, turn=2.0 * number)
        made[split] = Scene(
            name=name,
            cameras=cameras,
            images=ImageSequence(tuple(picture(SCENES[name], c, supersampling) for c in cameras)),
            bounds=BOUNDS,
            background=WHITE,
            has_alpha=True,
            source=None if out is None else Path(out),
            frame_names=tuple(f"{split}/r_{i}" for i in range(count)),
        )
        if out is not None:
            write(made[split], out, split)
            if split == "test":
                for i, camera in enumerate(cameras):
                    write_geometry(Path(out) / split / f"r_{i}.npz", geometry(SCENES[name], camera))
    return made


generate_spheres = partial(generate, "spheres")
generate_boxes = partial(generate, "boxes")
generate_planes = partial(generate, "planes")
