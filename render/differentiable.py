"""Values that are computed again when their gradients are asked for.

A picture's graph takes gigabytes: for each of its samples what every layer of every network made of it. Here
none is kept. The backward pass computes a chunk again, with a graph, differentiates it and drops it, so that
memory is that of one chunk; and the forward pass may take a faster way to the same values.
"""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

Values = Callable[..., tuple[Tensor, ...]]


def wants_gradient(*tensors: Tensor) -> bool:
    """Whether autograd is to follow what is made of these."""
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


def recomputed(function: Values, *inputs: Tensor) -> tuple[Tensor, ...]:
    """`function(*inputs)`, differentiable in inputs that ask for it, and in nothing else.

    The function runs without a graph at first (`torch.is_grad_enabled()` tells it), and with one in each
    backward pass, on what it reads by then: a model that learns in between is another one. It must be a
    function of its inputs alone. Second derivatives raise RuntimeError.
    """
    if wants_gradient(*inputs):
        return Recomputed.apply(function, *inputs)
    with torch.no_grad():
        return function(*inputs)


def frozen(module: nn.Module) -> Any:
    """The module with its parameters as constants, which a backward pass of the kernels would differentiate
    whether that is asked for or not. Nothing is copied: it follows the module's values.
    """
    shared = {id(value): value.detach() for value in module.parameters()}
    return copy.deepcopy(module, shared | {id(value): value for value in module.buffers()})


class Recomputed(torch.autograd.Function):
    """See `recomputed`."""

    @staticmethod
    def forward(ctx: Any, function: Values, *inputs: Tensor) -> tuple[Tensor, ...]:
        ctx.function = function
        ctx.save_for_backward(*inputs)
        outputs = function(*inputs)
        ctx.mark_non_differentiable(*(value for value in outputs if not value.is_floating_point()))
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        wanted = ctx.needs_input_grad[1:]
        inputs = [
            value.detach().requires_grad_(asked)
            for value, asked in zip(ctx.saved_tensors, wanted, strict=True)
        ]
        with torch.enable_grad():
            outputs = ctx.function(*inputs)
        seen = [i for i, value in enumerate(outputs) if value.requires_grad]
        asking = [value for value in inputs if value.requires_grad]
        if not seen:  # nothing in the way of any ray, say
            return None, *(torch.zeros_like(value) if value.requires_grad else None for value in inputs)
        found = torch.autograd.grad(
            [outputs[i] for i in seen], asking, [gradients[i] for i in seen], materialize_grads=True
        )
        each = iter(found)
        return None, *(next(each) if asked else None for asked in wanted)
