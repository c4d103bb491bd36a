"""One training step of instant-ngp in readable parts: what the fused step of the kernels is defined by.

Rays are marched to their end, densities looked up, samples cut, colours composited, and torch differentiates.
"""

from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from fields.base import FieldOutput
from fields.kernels.adam import sparse_adam
from fields.kernels.composite import composite, sum_before
from fields.kernels.march import Spacing, march
from fields.kernels.ngp import Limits, StepResult, StepSettings
from render.losses import huber
from render.volume import over_background
from scenes.pixels import PixelSource
from scenes.random import uniform
from scenes.rays import Rays

if TYPE_CHECKING:
    from render.methods.ngp import NGPModel

RED, GREEN, BLUE, JITTER = 4, 5, 6, 7  # streams of scenes.random; 0 to 3 draw the pixels


def composed_step(
    model: "NGPModel", pixels: PixelSource, settings: StepSettings, limits: Limits
) -> StepResult:
    """The step in torch: the gradients of `composed_loss`, then Adam."""
    loss, squared_error, evaluated, selected = composed_loss(model, pixels, settings, limits)
    gradients = torch.autograd.grad(loss, [*model.parameters()])
    for (name, state), gradient in zip(model.adam.items(), gradients, strict=True):
        decay = 0.0 if name == "table" else settings.weight_decay
        state.gradient.copy_(gradient + decay * state.value)
        sparse_adam(
            state.value, state.first_moment, state.second_moment, state.gradient,
            model.config.features if name == "table" else 1,
            learning_rate=settings.learning_rate, beta1=settings.beta1, beta2=settings.beta2,
            epsilon=settings.epsilon, step=settings.step + 1,
        )  # fmt: skip
    return StepResult(loss.item(), squared_error, evaluated, selected, {})


def composed_loss(
    model: "NGPModel", pixels: PixelSource, settings: StepSettings, limits: Limits
) -> tuple[Float[Tensor, ""], float, int, int]:
    """Huber loss of the composited rays of one step; mean squared error, samples looked at and kept.

    Rays are marched to their end, then cut: samples behind too little transmittance are dropped, those
    of too little weight keep their density but have neither colour nor gradient.
    """
    batch = pixels.draw(settings.rays, settings.seed, settings.step, settings.background_share)
    index = torch.arange(settings.rays, device=model.device)
    random = {s: uniform(settings.seed, settings.step, s, index) for s in (RED, GREEN, BLUE, JITTER)}
    if settings.background is None:
        behind = torch.stack([random[channel] for channel in (RED, GREEN, BLUE)], dim=-1)
    else:
        behind = torch.tensor(settings.background, device=model.device).expand(settings.rays, 3)
    target = over_background(batch.rgba[:, :3] * batch.rgba[:, 3:], batch.rgba[:, 3], behind)
    rgb, opacity, _, (evaluated, selected) = trace(model, batch.rays, limits, random[JITTER])
    pixel = over_background(rgb, opacity, behind)
    seen = pixels.draws_foreground(settings.rays, settings.seed, settings.step, settings.background_share)
    weight = torch.where(seen, 1.0, settings.background_weight)[:, None]
    loss = huber(pixel, target, settings.huber_delta, weight)
    return loss, (pixel.detach() - target).square().mean().item(), evaluated, selected


def trace(
    model: "NGPModel", rays: Rays, limits: Limits, jitter: Float[Tensor, " rays"]
) -> tuple[Float[Tensor, "rays 3"], Float[Tensor, " rays"], Float[Tensor, " rays"], tuple[int, int]]:
    """rgb, opacity, sum of weight x distance; (samples looked at, samples kept)."""
    field, side = model.field, model.field.box_side
    origins = (rays.origins - field.box_minimum) / side
    marched = march(
        origins, rays.directions, jitter, model.occupancy.bits, limits.march_step, model.backend.name,
        growth=limits.march_growth, near=limits.march_near,
    )  # fmt: skip
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
    return (
        composited.values[:, :3],
        composited.opacity,
        composited.values[:, 3],
        (int(seen.sum()), len(kept)),
    )


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
