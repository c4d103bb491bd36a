"""A scene: cameras, the pictures they took, and what a renderer must know about the place.

Everything in a Scene is in the model frame. `model_from_input` takes points of the input's own frame
there; its inverse takes poses, exports and depths back before they leave the program.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from scenes.cameras import Cameras
from scenes.depths import DepthSequence
from scenes.images import ImageSequence
from scenes.transforms import level_axes, looked_at_point

Vector = tuple[float | int, float | int, float | int]
HEADER_VERSION = 1
WIDEST_GAP = 90.0  # degrees between cameras: behind it, nobody knows what there is
LEAST_ARC = 10.0  # degrees, for a path that moves at all


class SceneError(ValueError):
    """A scene that cannot be used; the message names the file, the frame and the remedy."""


class SceneWarning(UserWarning):
    """Something in a scene that was left out, and the rest used."""


@dataclass(frozen=True)
class Frustum:
    """The view that cameras share which all look the same way.

    centre                where it begins, before all cameras, model frame
    right, down, forward  its axes there, unit length
    slope                 half its width and height at distance 1
    near                  distance from the centre, along forward, of the nearest thing
    """

    centre: Vector
    right: Vector
    down: Vector
    forward: Vector
    slope: tuple[float | int, float | int]
    near: float | int


@dataclass(frozen=True)
class Bounds:
    """Where the scene is: a box, and the part of each ray that can meet it.

    minimum, maximum  corners of the box, model frame
    near, far         distances along rays, scene units
    unbounded         what lies beyond the box is seen too; the box holds what is seen best
    frustum           of an unbounded scene whose cameras all look the same way, else None
    """

    minimum: Vector
    maximum: Vector
    near: float | int
    far: float | int
    unbounded: bool = False
    frustum: Frustum | None = None

    def __post_init__(self) -> None:
        if not all(low < high for low, high in zip(self.minimum, self.maximum, strict=True)):
            raise ValueError(f"bounds: minimum {self.minimum} must lie below maximum {self.maximum}")
        if not 0 <= self.near < self.far:
            raise ValueError(f"bounds: near {self.near} must be at least 0 and below far {self.far}")


@dataclass(frozen=True)
class Orbit:
    """The turn around a scene that shows it as its own cameras saw it.

    centre, up  model frame; up has unit length
    radius      distance of the camera from the centre, scene units
    elevation   of the camera above the plane across `up`, degrees
    fov         vertical field of view, degrees
    azimuth     middle of the part of the turn that was seen, and
    extent      how much that is, degrees; 360: all around
    """

    centre: Vector
    up: Vector
    radius: float
    elevation: float
    fov: float
    azimuth: float = 0.0
    extent: float = 360.0

    @classmethod
    def around(cls, cameras: Cameras, up: Vector, bounds: Bounds) -> "Orbit":
        """The orbit about what the cameras look at, at their mean distance and elevation.

        Where they do not fix a point (one camera, or parallel ones) it is about the middle of the box.
        """
        middle = torch.tensor([bounds.minimum, bounds.maximum], dtype=torch.float32).mean(dim=0)
        centre = looked_at_point(cameras.camera_to_world.cpu(), default=middle)
        axis = normalize(torch.tensor(up, dtype=torch.float32), dim=0)
        arms = cameras.centres.cpu() - centre
        distance = arms.norm(dim=-1)
        sine = (arms @ axis / distance.clamp(min=1e-9)).clamp(-1, 1)
        first, second = level_axes(axis)
        azimuth, extent = _seen_arc(torch.atan2(arms @ second, arms @ first).rad2deg())
        return cls(
            centre=_vector(centre),
            up=_vector(axis),
            radius=float(distance.mean()),
            elevation=math.degrees(float(torch.asin(sine).mean())),
            fov=float(cameras.fov.mean()),
            azimuth=azimuth,
            extent=extent,
        )


def _seen_arc(azimuths: Float[Tensor, "n"]) -> tuple[float, float]:
    """Middle and extent of the part of a turn that cameras cover, degrees; 360 where no wide gap is left."""
    at = azimuths.sort().values
    gaps = torch.cat((at, at[:1] + 360)).diff()
    widest = int(gaps.argmax())
    if gaps[widest] <= WIDEST_GAP:
        return 0.0, 360.0
    extent = 360 - float(gaps[widest])
    return float(at[(widest + 1) % len(at)]) + extent / 2, max(extent, LEAST_ARC)


def _identity() -> Float[Tensor, "4 4"]:
    return torch.eye(4, dtype=torch.float64)


def _no_points() -> Float[Tensor, "0 3"]:
    return torch.zeros(0, 3)


@dataclass(frozen=True, eq=False)
class Scene:
    """What a method is built from and trained on.

    cameras           (n,)
    images            n pictures, as large as the cameras say
    background        the colour pictures are evaluated on, or None: the pictures fill their frames
    has_alpha         whether pictures have four channels
    source            the folder or file it was read from
    model_from_input  (4, 4) similarity, float64: an input's origin can be far from what it shows
    frame_names       n names, as in the file: train/r_12
    up                up in the model frame
    default_orbit     a stored orbit; None: what the cameras suggest
    masks             n pictures, black where nothing is to be learnt (None: learn all of it), or ()
    depths            n pictures of z_depth, or None
    times             (n,) in [0, 1], of a scene that moves, or None
    points            (m, 3) of structure from motion; empty where there are none
    shown             n times (k,) int64, which of the points a picture shows for certain, or ()
    splits            names of the frames of each split, where the capture or its user names them; else None
    placing           which bounds were chosen, and why; for people
    """

    name: str
    cameras: Cameras
    images: ImageSequence
    bounds: Bounds
    background: Vector | None = None
    has_alpha: bool = False
    source: Path | None = None
    model_from_input: Float[Tensor, "4 4"] = field(default_factory=_identity)
    frame_names: tuple[str, ...] = ()
    up: Vector = (0.0, 0.0, 1.0)
    default_orbit: Orbit | None = None
    masks: tuple[Path | Tensor | None, ...] = ()
    depths: DepthSequence | None = None
    times: Float[Tensor, "n"] | None = None
    points: Float[Tensor, "m 3"] = field(default_factory=_no_points)
    shown: tuple[Tensor, ...] = ()
    placing: str = ""
    splits: dict[str, tuple[str, ...]] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "model_from_input", self.model_from_input.double())
        n = len(self.cameras)
        lists = {
            "images": self.images,
            "frame names": self.frame_names,
            "masks": self.masks,
            "lists of points": self.shown,
            "depths": self.depths or (),
            "times": () if self.times is None else self.times,
        }
        for name, values in lists.items():
            if len(values) not in (0, n):
                raise ValueError(f"scene {self.name}: {n} cameras and {len(values)} {name} must be as many")

    def __len__(self) -> int:
        return len(self.cameras)

    @property
    def orbit(self) -> Orbit:
        """The stored orbit, or the one that the cameras suggest."""
        return self.default_orbit or Orbit.around(self.cameras, self.up, self.bounds)

    def subset(self, indices: Sequence[int]) -> "Scene":
        """Some of the frames, in the order given; the orbit stays that of the whole scene."""
        return replace(
            self,
            cameras=self.cameras[list(indices)],
            images=self.images.subset(indices),
            frame_names=tuple(self.frame_names[i] for i in indices) if self.frame_names else (),
            masks=tuple(self.masks[i] for i in indices) if self.masks else (),
            depths=self.depths and self.depths.subset(indices),
            times=None if self.times is None else self.times[list(indices)],
            shown=tuple(self.shown[i] for i in indices) if self.shown else (),
            default_orbit=self.orbit,
        )

    def downscaled(self, factor: float | int) -> "Scene":
        """The same scene with pictures `factor` times smaller (at least 1), averaged over areas."""
        if factor == 1:
            return self
        if not factor >= 1:
            raise ValueError(f"downscale must be at least 1, got {factor}")
        cameras = self.cameras.scaled(factor)
        sizes = cameras.sizes.tolist()
        depths = self.depths and self.depths.resized(sizes)
        return replace(self, cameras=cameras, images=self.images.resized(sizes), depths=depths)

    @classmethod
    def from_images(
        cls,
        images: Any,
        cameras: Cameras,
        *,
        names: Sequence[str] = (),
        masks: Sequence[Any] = (),
        depths: Sequence[Any] = (),
        points: Any = None,
        shown: Sequence[Any] = (),
        bounds: str = "auto",
        box: tuple[Vector, Vector] | None = None,
        up: Vector | None = None,
        background: Vector | None = None,
        name: str = "images",
    ) -> "Scene":
        """A scene to train on, of n pictures in memory and the cameras that took them.

        The cameras' frame and unit are the input's: with frame="input" a model renders them as they are.
        images: arrays or tensors (height, width, 3 or 4), uint8 or floats in [0, 1], sRGB, straight alpha; or
            paths of pictures, taken upright. Of each camera's size.
        masks: (height, width) each, 0 where nothing is to be learnt, or paths, or None.
        depths: z_depth (height, width) each, input units, 0 where it is unknown, or None.
        points: (m, 3) of structure from motion, input frame. shown: of each picture, which of them it shows.
        bounds: box, unbounded, or auto: a box where pictures have alpha or `box` is given.
        box: corners of what there is to see, input frame. up: there; None: as the cameras were held.
        background: behind pictures with alpha; white if not given.
        Raises: SceneError for what does not fit, by the number of the picture.
        """
        from scenes.formats.arrays import scene_of_images

        known = {"names": names, "masks": masks, "depths": depths, "points": points, "shown": shown}
        rest = {"bounds": bounds, "box": box, "up": up, "background": background, "name": name}
        return scene_of_images(images, cameras, **known, **rest)

    @classmethod
    def joined(cls, scenes: Sequence["Scene"]) -> "Scene":
        """Splits of one scene, one after the other; pictures as they lie in files, without masks, depths
        and what each shows.

        Raises: SceneError if they are not in one frame, or of one size and lens.
        """
        first = scenes[0]
        for scene in scenes[1:]:
            same = torch.equal(scene.model_from_input, first.model_from_input)
            if not same or scene.cameras.largest != first.cameras.largest or scene.images.sizes is not None:
                raise SceneError(f"{first.name}: its splits differ in frame or size; convert them one by one")
        values = {
            name: torch.cat([getattr(scene.cameras, name) for scene in scenes])
            for name in ("camera_to_world", "fx", "fy", "cx", "cy")
        }
        return replace(
            first,
            cameras=replace(first.cameras, **values),
            images=replace(
                first.images, items=tuple(item for scene in scenes for item in scene.images.items)
            ),
            frame_names=tuple(name for scene in scenes for name in scene.frame_names),
            has_alpha=any(scene.has_alpha for scene in scenes),
            masks=(),
            depths=None,
            times=None,
            shown=(),
        )

    def header(self) -> dict[str, Any]:
        """Plain data from which a model can be built and shown without the dataset (JSON can hold it)."""
        return {
            "version": HEADER_VERSION,
            "name": self.name,
            "width": self.cameras.largest[0],
            "height": self.cameras.largest[1],
            "bounds": _plain(asdict(self.bounds)),
            "background": None if self.background is None else list(self.background),
            "has_alpha": self.has_alpha,
            "model_from_input": self.model_from_input.tolist(),
            "up": list(self.up),
            "orbit": _plain(asdict(self.orbit)),
        }

    @classmethod
    def from_header(cls, header: dict[str, Any]) -> "Scene":
        """The scene that `header` describes: no cameras and no images, but all that `build` needs.

        Raises: SceneError if the header is of another version or incomplete.
        """
        if header.get("version") != HEADER_VERSION:
            raise SceneError(
                f"scene header: version {header.get('version')!r} is not {HEADER_VERSION}; "
                "open it with the version of render that wrote it"
            )
        try:
            none = torch.zeros(0)
            size = int(header["width"]), int(header["height"])
            return cls(
                name=header["name"],
                cameras=Cameras(torch.zeros(0, 4, 4), none, none, none, none, *size),
                images=ImageSequence(()),
                bounds=_bounds(header["bounds"]),
                background=None if header["background"] is None else tuple(header["background"]),
                has_alpha=header["has_alpha"],
                model_from_input=torch.tensor(header["model_from_input"], dtype=torch.float64),
                up=tuple(header["up"]),
                default_orbit=Orbit(**_tuples(header["orbit"])),
            )
        except (KeyError, TypeError) as error:
            raise SceneError(f"scene header: {error} is missing or wrong; write the run again") from error


def _vector(values: Float[Tensor, "3"]) -> Vector:
    x, y, z = values.tolist()
    return x, y, z


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    lists = {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}
    return {k: _plain(v) if isinstance(v, dict) else v for k, v in lists.items()}


def _bounds(values: dict[str, Any]) -> Bounds:
    frustum = values.get("frustum")
    return Bounds(**_tuples({**values, "frustum": frustum and Frustum(**_tuples(frustum))}))


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
