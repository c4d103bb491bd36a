"""Single RGB-D pictures of made-up places: rooms, table tops, streets and open land, without end.

The picture of a seed is always the same. Depth is that of the triangles, exact; the colours are only
plausible. Cameras are OpenCV, +Z of the world is up, lengths are metres.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, UInt8

from scenes.cameras import Cameras
from scenes.generate.developing import develop
from scenes.generate.furniture import bright, colour
from scenes.generate.interiors import room, still_life
from scenes.generate.lighting import Caster, Place, look, pixel_rays
from scenes.generate.parts import Material, Number, Part, Rng
from scenes.generate.streets import land, street
from scenes.generate.textures import PATTERNS
from scenes.generate.viewpoints import Viewpoint

Array = np.ndarray
TRIES = 12  # views of a place that are looked at before the best is taken
ANY_MATERIAL = 0.5  # share of places in which nothing tells by its colours what it is
KEPT = 0.15  # share of materials that stay there
NEAREST, FREE = 0.35, 0.9  # metres: what the nearest 3 % of a view and its median should be away
FIELD_OF_VIEW = (40.0, 80.0)  # degrees, of the shorter side of the picture

# The kinds of place, and how often each is drawn.
PLACES: Mapping[str, tuple[Callable[[Rng], tuple[Place, Viewpoint]], Number]] = {
    "room": (room, 0.6),
    "still_life": (still_life, 0.12),
    "street": (street, 0.2),
    "land": (land, 0.08),
}


@dataclass(frozen=True, eq=False)
class RGBD:
    """A picture and the z_depth (metres, 0 for the sky) through its pixels' centres, with its camera."""

    rgb: UInt8[Array, "h w 3"]
    z_depth: Float[Array, "h w"]
    camera: Cameras


def any_material(rng: Rng) -> Material:
    """Whatever pattern in whatever colours, from fine to coarse."""
    pattern, scale = str(rng.choice(list(PATTERNS))), 10 ** rng.uniform(-1.7, 0.5)
    a, b, c = (colour(rng, 1.0) if rng.uniform() < 0.7 else bright(rng) for _ in range(3))
    return Material(pattern, (a, b, c), scale, rng.uniform() ** 2)


def of_any_material(parts: Sequence[Part], rng: Rng) -> list[Part]:
    """The same shapes made of anything, but for what glows; what was of one material is of one again.

    Domain randomisation (Tobin et al. 2017): what is left to go by is shapes, shading and perspective.
    """
    drawn: dict[int, Material] = {}
    for each in parts:
        if id(each.material) not in drawn:
            stays = each.material.glow > 0 or rng.uniform() < KEPT
            drawn[id(each.material)] = each.material if stays else any_material(rng)
    return [each._replace(material=drawn[id(each.material)]) for each in parts]


def _framing(z_depth: Float[Array, " n"]) -> float:
    """1 for a view with room before it, less the closer it is to something, and 0 for mere sky."""
    seen = np.isfinite(z_depth)
    if seen.mean() < 0.35:
        return 0.0
    near, middle = np.quantile(z_depth[seen], (0.03, 0.5))
    return float(min(near / NEAREST, 1.0) * min(middle / FREE, 1.0))


@dataclass(frozen=True, eq=False)
class Lens:
    """A place, where one may stand in it, and the camera: what all pictures of a seed share."""

    caster: Caster
    viewpoint: Viewpoint
    close: bool
    focal: Number
    width: int
    height: int


def _lens(width: int, height: int, kind: str | None, rng: Rng) -> Lens:
    if min(width, height) < 16:
        raise ValueError(f"width x height is {width} x {height}; a picture needs 16 pixels each way")
    if kind is not None and kind not in PLACES:
        raise ValueError(f"kind is {kind!r}; choose one of {', '.join(PLACES)}")
    weights = np.array([weight for _, weight in PLACES.values()])
    drawn = list(PLACES)[rng.choice(len(PLACES), p=weights / weights.sum())]
    place, viewpoint = PLACES[kind or drawn][0](rng)
    if rng.uniform() < ANY_MATERIAL:
        place = replace(place, parts=of_any_material(place.parts, rng))
    caster = Caster(place)
    half_angle = np.radians(rng.uniform(*FIELD_OF_VIEW)) / 2
    focal = 0.5 * min(width, height) / np.tan(half_angle)
    return Lens(caster, viewpoint, (kind or drawn) == "still_life", focal, width, height)


def choose_view(lens: Lens, rng: Rng) -> Float[Array, "4 4"]:
    """The first view that is not cramped, or the best of TRIES; a close one needs less room."""
    best, score = np.eye(4), -1.0
    step = max(lens.width, lens.height) / 16
    for _ in range(TRIES):
        camera_to_world = lens.viewpoint(rng)
        size = round(lens.width / step), round(lens.height / step)
        coarse = pixel_rays(camera_to_world, lens.focal / step, *size)
        scale = 3.0 if lens.close else 1.0
        hits = lens.caster.cast(camera_to_world[:3, 3], coarse.reshape(-1, 3))
        framing = _framing(scale * hits.distance)
        if framing > score:
            best, score = camera_to_world, framing
        if score >= 1.0:
            break
    return best


def _rng(seed: int) -> Rng:
    if seed < 0:
        raise ValueError(f"seed is {seed}; it must not be negative")
    return np.random.default_rng(seed)


def _camera(lens: Lens, camera_to_world: Float[Array, "4 4"]) -> Cameras:
    pose = torch.from_numpy(camera_to_world).to(torch.float32)
    fov = float(np.degrees(2 * np.arctan(0.5 * lens.height / lens.focal)))
    return Cameras.from_fov(pose, lens.width, lens.height, fov)


def views(seed: int, width: int, height: int, count: int = 1, kind: str | None = None) -> list[RGBD]:
    """Pictures of one place from viewpoints of their own, with one lens.

    kind: of PLACES; drawn by the weights there if it is None
    Raises: ValueError for a size under 16 pixels, a negative seed or an unknown kind;
            ModuleNotFoundError without Open3D.
    """
    rng = _rng(seed)
    lens = _lens(width, height, kind, rng)
    found = []
    for _ in range(count):
        camera_to_world = choose_view(lens, rng)
        radiance, z_depth = look(lens.caster, camera_to_world, lens.focal, width, height, rng)
        found.append(RGBD(develop(radiance, rng), z_depth, _camera(lens, camera_to_world)))
    return found


def neighbours(
    seed: int,
    width: int,
    height: int,
    moves: Sequence[Sequence[Number]],
    kind: str | None = None,
) -> list[RGBD]:
    """A picture, and those that the same camera takes once it has moved a little, with the same exposure.

    moves: (x, y, z) of each further picture in the first camera's axes (right, down, forward), times the
        z_depth that 1 % of the first picture is nearer than. The cameras are not turned.
    Raises: as `views`.
    """
    rng = _rng(seed)
    lens = _lens(width, height, kind, rng)
    first = choose_view(lens, rng)
    light, film = (int(rng.integers(2**32)) for _ in range(2))
    found: list[RGBD] = []
    metered, near = None, 0.0
    for move in ((0, 0, 0), *moves):
        camera_to_world = first.copy()
        camera_to_world[:3, 3] += first[:3, :3] @ (near * np.asarray(move, dtype=np.float64))
        radiance, z_depth = look(
            lens.caster, camera_to_world, lens.focal, width, height, np.random.default_rng(light)
        )
        if metered is None:
            metered, near = radiance, float(np.quantile(z_depth[z_depth > 0], 0.01))
        picture = develop(radiance, np.random.default_rng(film), metered)
        found.append(RGBD(picture, z_depth, _camera(lens, camera_to_world)))
    return found


def rgbd(seed: int, width: int, height: int) -> RGBD:
    """The picture of a seed: sRGB, exact z_depth and the camera.

    Raises: as `views`.
    """
    return views(seed, width, height)[0]
