"""What every method's model does, and the part that all methods made of rays share."""

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Protocol

import torch
from jaxtyping import Bool, Float, Int32
from torch import Tensor

from render.differentiable import recomputed, wants_gradient
from render.input_frame import (
    cameras_in_model,
    check_frame,
    in_input_axes,
    in_input_units,
    points_in_model,
)
from render.normals import surface_normals
from scenes.cameras import Cameras
from scenes.crop import Crop
from scenes.pixels import PixelSource
from scenes.rays import Rays
from scenes.transforms import similarity_scale

Colour = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Rendered:
    """What was asked for, one value a ray or pixel; the rest is None.

    rgb       in front of the background, in [0, 1] up to rounding
    opacity   share of the ray that is stopped, in [0, 1] up to rounding
    distance  along the ray, units of the frame: mean of what it meets, 0 where it meets nothing
    z_depth   the same along the optical axis of the camera
    normal    unit length, axes of the frame, towards the camera; 0 where the ray meets nothing
    samples   how many places along the ray the method looked at
    """

    rgb: Float[Tensor, "*s 3"] | None = None
    opacity: Float[Tensor, "*s"] | None = None
    distance: Float[Tensor, "*s"] | None = None
    z_depth: Float[Tensor, "*s"] | None = None
    normal: Float[Tensor, "*s 3"] | None = None
    samples: Int32[Tensor, "*s"] | None = None


class Model(Protocol):
    """A method at work on one scene. It owns its parameters and its optimiser's state."""

    def step(self, pixels: PixelSource, schedule: float, generator: torch.Generator) -> dict[str, float]:
        """One whole update; at least loss, psnr (dB, of the batch), rays and samples, or "loss/NAME" besides.

        `schedule` in [0, 1] is the share of the training that is done. A loss that is not finite is
        returned, not hidden.
        """
        ...

    def state(self) -> dict[str, Tensor]:
        """All that a resumed training needs, bit for bit; what begins with "optimizer." only it needs."""
        ...

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take over what `state` gave. Raises ValueError for a missing name or another shape."""
        ...

    def render(
        self,
        camera: Cameras,
        outputs: Sequence[str] = ("rgb",),
        background: Colour | None = None,
        crop: Crop | None = None,
        frame: str = "model",
    ) -> Rendered:
        """The picture that one camera takes, (height, width), or those of n, (n, height, width)."""
        ...

    def density(self, points: Float[Tensor, "*n 3"], frame: str = "model") -> Float[Tensor, "*n"]:
        """Density at points, 1 / unit of the frame."""
        ...

    def description(self) -> dict[str, Any]:
        """Backend, precision, number of parameters and what else a run's record should say."""
        ...


class RayModel:
    """`render` for methods whose pixels are rays that know nothing of each other.

    A subclass implements `render_rays` for the names in `ray_outputs`; z_depth and normal follow from
    distance. `differentiable_in_rays` lets cameras and rays learn from what is rendered.
    """

    ray_outputs: ClassVar[tuple[str, ...]] = ("rgb", "opacity", "distance", "samples")
    rays_per_chunk: int = 4096
    rays_per_gradient: int = 1024  # of a chunk that is computed again for its gradients
    points_per_chunk: int = 2**18
    background: Colour | None  # of the scene, behind everything; None means black
    model_from_input: Float[Tensor, "4 4"] = torch.eye(4, dtype=torch.float64)  # of the scene
    device: torch.device
    dtype: torch.dtype = torch.float32  # of the rays and points that the networks take

    def render_rays(
        self,
        rays: Rays,
        outputs: Sequence[str],
        background: Colour | None = None,
        crop: Crop | None = None,
    ) -> Rendered:
        """What is seen along rays of any number, (n,); one chunk of a picture. See `render`."""
        raise NotImplementedError

    def render_rays_of(
        self,
        camera: Cameras,
        rays: Rays,
        outputs: Sequence[str],
        background: Colour | None,
        crop: Crop | None,
    ) -> Rendered:
        """`render_rays`, for a method to override whose rays need to know their camera."""
        return self.render_rays(rays, outputs, background, crop)

    def render(
        self,
        camera: Cameras,
        outputs: Sequence[str] = ("rgb",),
        background: Colour | None = None,
        crop: Crop | None = None,
        frame: str = "model",
    ) -> Rendered:
        """The pictures of one camera or of several, on the cameras' device: see `Rendered`.

        camera: one, for (height, width), or n of one size, for (n, height, width).
        background: the colour behind everything, and beyond what a lens sees; the scene's own if not given.
        crop: a box outside of which nothing is.
        frame: of cameras, crop and what comes back: model, or that of the scene's input, with its unit
            (`render/input_frame.py`).
        Differentiable in cameras that require a gradient: poses, intrinsics and lens. Where samples stand
        along a ray is a constant, and so are the model's parameters.
        Raises: ValueError for an output that the method cannot give, cameras of several sizes or none, or
        another frame.
        """
        check_frame(frame)
        with torch.set_grad_enabled(torch.is_grad_enabled() and camera.requires_grad):
            if frame == "model":
                return self._render(camera, outputs, background, crop)
            moved = cameras_in_model(camera, self.model_from_input)
            crop = crop and crop.moved(self.model_from_input)
            return self._told_to_input(self._render(moved, outputs, background, crop))

    def _render(
        self, camera: Cameras, outputs: Sequence[str], background: Colour | None, crop: Crop | None
    ) -> Rendered:
        if camera.shape:
            return self._render_each(camera, outputs, background, crop)
        derived = ("z_depth", "normal") if "distance" in self.ray_outputs else ()
        check_outputs(outputs, (*self.ray_outputs, *derived))
        there = camera.to(self.device, self.dtype)
        rays, unseen = all_rays(there)
        wanted = {"distance" if name in derived else name for name in outputs}
        asked = wants_gradient(rays.origins, rays.directions)
        size = min(self.rays_per_chunk, self.rays_per_gradient) if asked else self.rays_per_chunk
        chunks = [
            self.render_rays_of(there, rays[i : i + size], tuple(wanted), background, crop)
            for i in range(0, len(rays), size)
        ]
        found = {name: torch.cat([getattr(chunk, name) for chunk in chunks]) for name in wanted}
        if bool(unseen.any()):
            for name, values in found.items():
                nothing = self.background_colour(background) if name == "rgb" else values.new_zeros(())
                hidden = unseen.unflatten(0, (-1, *[1] * (values.ndim - 1)))
                found[name] = torch.where(hidden, nothing.to(values), values)
        shape, back = (camera.height, camera.width), camera.camera_to_world.device
        found = {name: values.unflatten(0, shape) for name, values in found.items()}
        found |= from_distance(outputs, rays.reshape(*shape), found.get("distance"), forward_axis(there))
        return Rendered(**{name: found[name].to(back) for name in outputs})

    def _told_to_input(self, seen: Rendered) -> Rendered:
        matrix = self.model_from_input
        lengths = {"distance": seen.distance, "z_depth": seen.z_depth}
        told = {
            name: value if value is None else in_input_units(value, matrix) for name, value in lengths.items()
        }
        normal = seen.normal if seen.normal is None else in_input_axes(seen.normal, matrix)
        return replace(seen, normal=normal, **told)

    def density_at(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
        """Density (1 / model unit) at points of the model frame, on the model's device; one chunk.

        Of torch's own operations where `torch.is_grad_enabled()`.
        """
        raise NotImplementedError

    def density(self, points: Float[Tensor, "*n 3"], frame: str = "model") -> Float[Tensor, "*n"]:
        """Density at any number of points, 1 / unit of the frame, on the points' device.

        That of the field, also where rays pass by because nothing was found there; grids hold 0 outside of
        their box. Differentiable in points that require a gradient; the parameters get none.
        frame: of the points: model, or that of the scene's input, with its unit (`render/input_frame.py`).
        Raises: ValueError for another frame, or a point that is not finite.
        """
        check_frame(frame)
        size = self.points_per_chunk // (4 if wants_gradient(points) else 1)
        parts = points.reshape(-1, 3).split(size)
        return torch.cat([self._density(part, frame) for part in parts]).view(points.shape[:-1])

    def _density(self, points: Float[Tensor, "n 3"], frame: str) -> Float[Tensor, " n"]:
        if not bool(points.isfinite().all()):
            point = points[~points.isfinite().all(dim=-1)][0].tolist()
            raise ValueError(f"points: {point} is not finite; leave such points out")
        moved = points if frame == "model" else points_in_model(points, self.model_from_input)
        scale = 1.0 if frame == "model" else float(similarity_scale(self.model_from_input))
        (density,) = recomputed(lambda there: (self.density_at(there),), moved.to(self.device, self.dtype))
        return (density * scale).to(points.device, points.dtype)

    def _render_each(
        self, cameras: Cameras, outputs: Sequence[str], background: Colour | None, crop: Crop | None
    ) -> Rendered:
        if len(cameras.shape) > 1 or len(cameras) == 0:
            raise ValueError(f"cameras: one, or a row of them, are rendered; got {tuple(cameras.shape)}")
        if not (isinstance(cameras.width, int) and isinstance(cameras.height, int)):
            raise ValueError("cameras of several sizes make no stack of pictures; render them one by one")
        seen = [self._render(cameras[i], outputs, background, crop) for i in range(len(cameras))]
        return Rendered(**{name: torch.stack([getattr(each, name) for each in seen]) for name in outputs})

    def background_colour(self, background: Colour | None) -> Float[Tensor, "3"]:
        """The colour behind everything: the given one, or the scene's, or black."""
        return torch.tensor(background or self.background or (0.0, 0.0, 0.0), device=self.device)


def differentiable_in_rays(render_rays: Callable[..., Rendered]) -> Callable[..., Rendered]:
    """A method's `render_rays`: without a graph, or in rays that require a gradient `recomputed`."""

    @functools.wraps(render_rays)
    def wrapped(self: RayModel, rays: Rays, outputs: Sequence[str], *rest: Any, **named: Any) -> Rendered:
        def seen(origins: Tensor, directions: Tensor) -> tuple[Tensor, ...]:
            found = render_rays(self, Rays(origins, directions), outputs, *rest, **named)
            return tuple(getattr(found, name) for name in outputs)

        values = recomputed(seen, rays.origins, rays.directions)
        return Rendered(**dict(zip(outputs, values, strict=True)))

    return wrapped


def all_rays(camera: Cameras) -> tuple[Rays, Bool[Tensor, " n"]]:
    """Rays through every pixel of one camera, row by row, and which lie beyond what its lens sees.

    Those look straight ahead.
    """
    rays = camera.rays().reshape(-1)
    unseen = ~rays.directions.isfinite().all(dim=-1)
    if wants_gradient(rays.directions) and bool(unseen.any()):
        # Again, and never through those pixels: the gradient of what is no number spoils all others.
        middle = camera.intrinsics[2:].detach()
        rays = camera.rays(torch.where(unseen[:, None], middle, camera.pixel_centres().reshape(-1, 2)))
    elif bool(unseen.any()):
        rays = replace(rays, directions=torch.where(unseen[:, None], forward_axis(camera), rays.directions))
    return rays, unseen


def forward_axis(camera: Cameras) -> Float[Tensor, "3"]:
    """The optical axis of one camera, unit length."""
    return camera.camera_to_world[:3, 2]


def from_distance(
    outputs: Sequence[str],
    rays: Rays,
    distance: Float[Tensor, "h w"] | None,
    forward: Float[Tensor, "3"],
) -> dict[str, Tensor]:
    """Those of z_depth and normal that are asked for, of what is met at `distance` along rays (h, w)."""
    found = {}
    if "z_depth" in outputs:
        found["z_depth"] = distance * (rays.directions * forward).sum(-1)
    if "normal" in outputs:
        points = rays.origins + distance[..., None] * rays.directions
        found["normal"] = surface_normals(points, distance, rays.directions)
    return found


def check_outputs(outputs: Iterable[str], known: Sequence[str]) -> None:
    """Raises ValueError for an output that is not known, naming those that are."""
    if isinstance(outputs, str):
        raise ValueError(f"outputs is a sequence of names, got {outputs!r}; write ({outputs!r},)")
    for name in outputs:
        if name not in known:
            there = "no output of this method" if name in _ALL_OUTPUTS else "no output"
            raise ValueError(f"outputs: {name!r} is {there}; it gives {', '.join(known)}")


_ALL_OUTPUTS = tuple(field.name for field in fields(Rendered))


def check_state(own: dict[str, Tensor], state: dict[str, Tensor]) -> None:
    """Raises ValueError if a state does not have the names and shapes of the model's own."""
    if odd := sorted(own.keys() ^ state.keys()):
        raise ValueError(f"state: {odd[0]} is {'missing' if odd[0] in own else 'unknown'}; wrong settings?")
    for name, value in own.items():
        if value.shape != state[name].shape:
            raise ValueError(
                f"state: {name} is {tuple(state[name].shape)}, these settings want {tuple(value.shape)}"
            )
