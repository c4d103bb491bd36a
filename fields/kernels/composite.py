"""Compositing of packed samples along rays (NeRF, arXiv:2003.08934, Eq. 3).

    density    (n,)        sigma >= 0, 1 / unit
    values     (n, c)      colour, or features of any width
    delta      (n,)        length of each sample's interval, unit
    ray_start  (rays + 1,) int64; ray r owns samples ray_start[r] .. ray_start[r + 1]
    weights    (n,)        T_i (1 - exp(-sigma_i delta_i)), the share of the pixel seen at sample i

Differentiable to density and values; the reference to delta, too.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from fields.kernels.checks import check_array, check_backend, no_second_order
from fields.kernels.library import library


class Composited(NamedTuple):
    """Per ray the weighted sum of values and of 1, per sample its weight."""

    values: Float[Tensor, "rays c"]
    opacity: Float[Tensor, " rays"]
    weights: Float[Tensor, " n"]


def sum_before(values: Float[Tensor, " n"], position: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Sum of the values before each sample on its own ray; `position` counts samples along the ray.

    Doubling strides (Hillis and Steele): log2 of the longest ray passes, and no difference of sums, which
    would turn infinite thickness into infinity minus infinity.
    """
    total, stride = shifted(values, position, 1), 1
    longest = int(position.max()) if len(position) else 0
    while stride < longest:
        total = total + shifted(total, position, stride)
        stride *= 2
    return total


def shifted(values: Float[Tensor, " n"], position: Int[Tensor, " n"], by: int) -> Float[Tensor, " n"]:
    """The value `by` samples earlier on the same ray, 0 where there is none."""
    earlier = F.pad(values, (by, 0))[: len(values)]
    return torch.where(position >= by, earlier, 0.0)


def composite_reference(
    density: Float[Tensor, " n"],
    values: Float[Tensor, "n c"],
    delta: Float[Tensor, " n"],
    ray_start: Int[Tensor, " starts"],
) -> Composited:
    """The definition. A ray without samples has opacity 0."""
    rays, counts = len(ray_start) - 1, ray_start.diff()
    ray = torch.arange(rays, device=counts.device).repeat_interleave(counts)
    position = torch.arange(len(density), device=counts.device) - ray_start[ray]
    thickness = density * delta
    weights = torch.exp(-sum_before(thickness, position)) * -torch.expm1(-thickness)
    composited = values.new_zeros(rays, values.shape[1]).index_add(0, ray, weights[:, None] * values)
    opacity = weights.new_zeros(rays).index_add(0, ray, weights)
    return Composited(composited, opacity, weights)


def composite(
    density: Float[Tensor, " n"],
    values: Float[Tensor, "n c"],
    delta: Float[Tensor, " n"],
    ray_start: Int[Tensor, " starts"],
    backend: str = "reference",
) -> Composited:
    """Values (rays, c), opacity (rays,) and weights (n,) of packed samples.

    Raises: ValueError if the arrays disagree in length, ray_start does not rise from 0 to n or, for the
    kernels, arrays are not float32 on the CPU or `delta` asks for a gradient, which they do not give.
    """
    check_backend(backend)
    check_packed(density, values, delta, ray_start)
    if backend == "reference":
        return composite_reference(density, values, delta, ray_start)
    if torch.is_grad_enabled() and delta.requires_grad:
        raise ValueError(
            "delta asks for a gradient; the kernels give none, detach it or use backend='reference'"
        )
    arrays = [array.contiguous() for array in (density, values, delta, ray_start)]
    return Composited(*composite_op(*arrays))


def check_packed(density: Tensor, values: Tensor, delta: Tensor, ray_start: Tensor) -> None:
    """Lengths agree and every ray's samples lie inside the arrays."""
    n = len(density)
    if len(values) != n or len(delta) != n:
        raise ValueError(
            f"density, values and delta hold {n}, {len(values)}, {len(delta)} samples; give as many"
        )
    if ray_start.dtype != torch.int64 or ray_start.ndim != 1 or len(ray_start) < 1:
        raise ValueError(
            f"ray_start is {ray_start.dtype} {tuple(ray_start.shape)}; it must be int64 (rays+1)"
        )
    if int(ray_start[0]) != 0 or int(ray_start[-1]) != n or bool((ray_start.diff() < 0).any()):
        raise ValueError(f"ray_start must rise from 0 to the number of samples, {n}")


@torch.library.custom_op("render::composite", mutates_args=(), device_types="cpu")
def composite_op(
    density: Tensor, values: Tensor, delta: Tensor, ray_start: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    check_composite(density, values, delta, ray_start)
    rays, channels = len(ray_start) - 1, values.shape[1]
    composited, opacity = values.new_empty(rays, channels), density.new_empty(rays)
    weights = torch.empty_like(density)
    library().call(
        "nr_composite_forward", density, values, delta, ray_start, rays, channels,
        composited, opacity, weights,
    )  # fmt: skip
    return composited, opacity, weights


@torch.library.custom_op("render::composite_backward", mutates_args=(), device_types="cpu")
def composite_backward_op(
    density: Tensor, values: Tensor, delta: Tensor, ray_start: Tensor,
    grad: Tensor, grad_opacity: Tensor, grad_weights: Tensor,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Gradients to density and values."""
    check_composite(density, values, delta, ray_start)
    rays, channels = len(ray_start) - 1, values.shape[1]
    check_array("grad", grad, (rays, channels))
    check_array("grad_opacity", grad_opacity, (rays,))
    check_array("grad_weights", grad_weights, (len(density),))
    grad_density, grad_values = torch.empty_like(density), torch.empty_like(values)
    library().call(
        "nr_composite_backward", density, values, delta, ray_start, rays, channels,
        grad, grad_opacity, grad_weights, grad_density, grad_values,
    )  # fmt: skip
    return grad_density, grad_values


def check_composite(density: Tensor, values: Tensor, delta: Tensor, ray_start: Tensor) -> None:
    check_array("density", density, (None,))
    check_array("values", values, (len(density), None))
    check_array("delta", delta, (len(density),))
    check_array("ray_start", ray_start, (None,), torch.int64)
    check_packed(density, values, delta, ray_start)


@composite_op.register_fake
def _(density, values, delta, ray_start):
    rays = ray_start.shape[0] - 1
    return values.new_empty(rays, values.shape[1]), density.new_empty(rays), torch.empty_like(density)


@composite_backward_op.register_fake
def _(density, values, delta, ray_start, grad, grad_opacity, grad_weights):
    return torch.empty_like(density), torch.empty_like(values)


def _save(ctx, inputs, output):
    ctx.save_for_backward(*inputs)


def _backward(ctx, *grads):
    grads = [grad.contiguous() for grad in grads]
    return *composite_backward_op(*ctx.saved_tensors, *grads), None, None


composite_op.register_autograd(_backward, setup_context=_save)
composite_backward_op.register_autograd(
    no_second_order("composite"), setup_context=lambda ctx, inputs, output: None
)
