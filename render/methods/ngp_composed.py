"""One training step of instant-ngp in readable parts: what the fused step of the kernels is defined by.

Rays are marched to their end, densities looked up, samples cut, colours composited, and torch differentiates.
"""

import copy
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Bool, Float, Int32, Int64
from torch import Tensor

from fields.base import FieldOutput
from fields.kernels.adam import sparse_adam
from fields.kernels.composite import composite, sum_before
from fields.kernels.march import Marched, Spacing, march
from fields.kernels.ngp import Limits, StepRays, StepResult, StepSettings
from render.differentiable import frozen
from render.losses import huber, packed_depth, packed_distortion, packed_opacity
from render.volume import over_background
from scenes.pixels import Batch, PixelSource
from scenes.random import uniform
from scenes.rays import Rays

if TYPE_CHECKING:
    from render.methods.ngp import NGPModel

RED, GREEN, BLUE, JITTER = 4, 5, 6, 7  # streams of scenes.random; 0 to 3 draw the pixels


def composed_step(
    model: "NGPModel",
    pixels: PixelSource,
    settings: StepSettings,
    limits: Limits,
    appearance: Float[Tensor, "images 3 4"] | None = None,
    ray_gradients: bool = False,
) -> StepResult:
    """The step in torch: the gradients of `composed_loss`, then Adam."""
    found = composed_loss(model, pixels, settings, limits, appearance, ray_gradients)
    gradients, told = found.differentiate(model.parameters(), appearance is not None, ray_gradients)
    for (name, state), gradient in zip(model.adam.items(), gradients, strict=True):
        decay = 0.0 if name == "table" else settings.weight_decay
        state.gradient.copy_(gradient + decay * state.value)
        sparse_adam(
            state.value, state.first_moment, state.second_moment, state.gradient,
            model.config.features if name == "table" else 1,
            learning_rate=settings.learning_rate, beta1=settings.beta1, beta2=settings.beta2,
            epsilon=settings.epsilon, step=settings.step + 1,
        )  # fmt: skip
    return StepResult(
        found.loss.item(),
        found.squared_error,
        int(found.traced.samples.sum()),
        len(found.traced.kept),
        {},
        told,
    )


class Traced(NamedTuple):
    """What rays meet. `seen` are the samples before the ray's end, `kept` (their numbers) those that teach.

    rgb, opacity, distance  of each ray; distance: sum of weight x distance
    samples                 how many of each ray's were seen
    kept, ray, t, weights   of the samples that teach: their numbers among all, rays, distances, weights
    """

    rgb: Float[Tensor, "rays 3"]
    opacity: Float[Tensor, " rays"]
    distance: Float[Tensor, " rays"]
    samples: Int32[Tensor, " rays"]
    kept: Int64[Tensor, " k"]
    ray: Int64[Tensor, " k"]
    t: Float[Tensor, " k"]
    weights: Float[Tensor, " k"]


class Composed(NamedTuple):
    """A step's loss, and what it was made of."""

    loss: Float[Tensor, ""]
    squared_error: float
    traced: Traced
    batch: Batch
    color: Float[Tensor, "rays 3"]
    shown: Float[Tensor, "rays 3"]

    def differentiate(
        self, parameters: list[Tensor], colors: bool, rays: bool
    ) -> tuple[list[Tensor], StepRays | None]:
        """Gradients of the parameters, and what the fused step would tell of its rays."""
        inputs = (*parameters, self.shown)
        inputs += (self.batch.rays.origins, self.batch.rays.directions) if rays else ()
        found = torch.autograd.grad(self.loss, inputs)
        count = len(parameters)
        if not (colors or rays):
            return list(found[:count]), None
        pixel = torch.cat((self.batch.image_index[:, None], self.batch.xy), dim=-1).to(torch.int32)
        moved = found[count + 1 :] if rays else (None, None)
        return list(found[:count]), StepRays(pixel, self.color.detach(), found[count], *moved)


def composed_loss(
    model: "NGPModel",
    pixels: PixelSource,
    settings: StepSettings,
    limits: Limits,
    appearance: Float[Tensor, "images 3 4"] | None = None,
    ray_gradients: bool = False,
) -> Composed:
    """Huber loss of the composited rays of one step, and the losses of their weights.

    Rays are marched to their end, then cut: samples behind too little transmittance are dropped, those
    of too little weight keep their density but have neither colour nor gradient. appearance: of each picture
    A, b; the composited colour c is compared as A c + b.
    """
    shares = settings.background_share, settings.sighting_share
    batch = pixels.draw(settings.rays, settings.seed, settings.step, *shares)
    if ray_gradients:
        batch.rays.origins.requires_grad_(), batch.rays.directions.requires_grad_()
    index = torch.arange(settings.rays, device=model.device)
    random = {s: uniform(settings.seed, settings.step, s, index) for s in (RED, GREEN, BLUE, JITTER)}
    if settings.background is None:
        behind = torch.stack([random[channel] for channel in (RED, GREEN, BLUE)], dim=-1)
    else:
        behind = torch.tensor(settings.background, device=model.device).expand(settings.rays, 3)
    target = over_background(batch.rgba[:, :3] * batch.rgba[:, 3:], batch.rgba[:, 3], behind)
    model.field.active_levels = settings.active_levels or model.config.levels
    traced = trace(model, batch.rays, limits, random[JITTER])
    model.field.active_levels = model.config.levels
    color = over_background(traced.rgb, traced.opacity, behind)
    shown = color if appearance is None else transformed(color, appearance[batch.image_index])
    seen = pixels.draws_foreground(settings.rays, settings.seed, settings.step, *shares)
    weight = torch.where(seen, 1.0, settings.background_weight)[:, None]
    loss = huber(shown, target, settings.huber_delta, weight)
    loss = loss + loss_of_weights(traced, batch.distance / model.field.box_side, settings, limits)
    squared_error = (shown.detach() - target).square().mean().item()
    return Composed(loss, squared_error, traced, batch, color, shown)


def transformed(color: Float[Tensor, "n 3"], appearance: Float[Tensor, "n 3 4"]) -> Float[Tensor, "n 3"]:
    """A c + b."""
    return (appearance[..., :3] @ color[..., None])[..., 0] + appearance[..., 3]


def loss_of_weights(
    traced: Traced, known: Float[Tensor, " rays"], settings: StepSettings, limits: Limits
) -> Float[Tensor, ""]:
    """Distortion, opacity and depth, in sides of the box; u is the distance, further out its logarithm."""
    spacing = Spacing(limits.march_step, limits.march_growth)
    interval = limits.march_growth or limits.march_step
    u = interval * spacing.place(traced.t)
    loss = settings.distortion * packed_distortion(u, traced.weights, interval, traced.ray, len(known))
    loss = loss + settings.opacity * packed_opacity(traced.weights, len(known))
    return loss + settings.depth * packed_depth(traced.t, traced.weights, known, traced.ray)


def look(model: "NGPModel", rays: Rays, limits: Limits) -> Traced:
    """What rays meet for a picture: samples in the middle of their steps, and nothing to learn but rays."""
    still = copy.copy(model)
    still.field = frozen(model.field)
    return trace(still, rays, limits, torch.full((len(rays),), 0.5, device=model.device))


def trace(model: "NGPModel", rays: Rays, limits: Limits, jitter: Float[Tensor, " rays"]) -> Traced:
    """March rays to their end, look densities up, cut, composite. Where samples stand is a constant."""
    field, side = model.field, model.field.box_side
    still = rays.origins.detach(), rays.directions.detach()
    still = (still[0] - field.box_minimum) / side, still[1]
    marched = march(
        *still, jitter, model.occupancy.bits, limits.march_step,
        model.backend.name, growth=limits.march_growth, near=limits.march_near,
    )  # fmt: skip
    if limits.crop is not None:
        marched = cropped(marched, *still, limits.crop)
    ray = torch.arange(len(jitter), device=model.device).repeat_interleave(marched.ray_start.diff())
    distance = marched.distances * side
    delta = side * Spacing(limits.march_step, limits.march_growth).length(marched.distances)
    points = rays.origins[ray] + distance[:, None] * rays.directions[ray]
    if limits.cut_nothing:
        density, seen = torch.zeros_like(distance), torch.ones_like(distance, dtype=torch.bool)
        kept = torch.arange(len(ray), device=model.device)
    else:
        place = torch.arange(len(ray), device=model.device) - marched.ray_start[ray]
        density, seen, kept = cut(model, points, place, delta, limits)
    found = field(points[kept], rays.directions[ray[kept]])
    if limits.fade > 0:
        share = (marched.distances[kept] / limits.fade).clamp(max=1).square()
        found = FieldOutput(*(ScaledGradient.apply(value, share) for value in found))
    density = density.index_put((kept,), found.density)
    rgb = torch.zeros_like(points).index_put((kept,), found.rgb)
    counts = torch.zeros_like(marched.ray_start[1:]).index_add(0, ray[seen], torch.ones_like(ray[seen]))
    ray_start = torch.nn.functional.pad(counts.cumsum(0), (1, 0))
    values = torch.cat((rgb, distance[:, None]), dim=-1)[seen]
    composited = composite(density[seen], values, delta[seen], ray_start, model.backend.name)
    return Traced(
        rgb=composited.values[:, :3],
        opacity=composited.opacity,
        distance=composited.values[:, 3],
        samples=counts.to(torch.int32),
        kept=kept,
        ray=ray[kept],
        t=marched.distances[kept],
        weights=torch.zeros_like(distance).masked_scatter(seen, composited.weights)[kept],
    )


def cropped(
    marched: Marched,
    origins: Float[Tensor, "n 3"],
    directions: Float[Tensor, "n 3"],
    crop: Float[Tensor, "3 4"],
) -> Marched:
    """The samples that `crop` sends into [-1, 1]^3; rays of the unit cube."""
    rays = len(origins)
    ray = torch.arange(rays, device=origins.device).repeat_interleave(marched.ray_start.diff())
    points = origins[ray] + marched.distances[:, None] * directions[ray]
    kept = ((points @ crop[:, :3].T + crop[:, 3]).abs() <= 1).all(dim=-1)
    ray_start = torch.nn.functional.pad(torch.bincount(ray[kept], minlength=rays).cumsum(0), (1, 0))
    return Marched(ray_start, marched.distances[kept])


@torch.no_grad()
def cut(
    model: "NGPModel",
    points: Float[Tensor, "n 3"],
    place: Int64[Tensor, " n"],
    delta: Float[Tensor, " n"],
    limits: Limits,
) -> tuple[Float[Tensor, " n"], Bool[Tensor, " n"], Int64[Tensor, " k"]]:
    """Density of every sample, which are seen, and the numbers of those that weigh enough.

    place: of each sample on its ray, 0, 1, ...; delta: the length it stands for.
    """
    density = model.field.density(points)
    thickness = density * delta
    before = torch.exp(-sum_before(thickness, place))
    seen = before >= limits.lowest_transmittance
    heavy = before * -torch.expm1(-thickness) > limits.lowest_weight
    return density, seen, (seen & heavy).nonzero().flatten()


class ScaledGradient(torch.autograd.Function):
    """The values as they are; their gradient times `share`, one a row."""

    @staticmethod
    def forward(ctx, values: Tensor, share: Tensor) -> Tensor:
        ctx.save_for_backward(share)
        return values.clone()

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        (share,) = ctx.saved_tensors
        return grad * share.reshape(-1, *[1] * (grad.dim() - 1)), None
