"""ReLU network without biases, in tiny-cuda-nn's flat layout of weights.

    weights  [width, inputs], (hidden_layers - 1) x [width, width], [outputs, width], row-major, one
             after the other; inputs, width and outputs are multiples of 16

precision: "float32", or "bfloat16": weights, the inputs of every layer, hidden activations and the
gradients that enter a product are rounded to bfloat16 (to nearest, ties to even); sums, the output and
the resulting gradients stay float32.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from fields.kernels.checks import check_array, check_backend, no_second_order
from fields.kernels.library import Network, library

PRECISIONS = ("float32", "bfloat16")
WIDEST, DEEPEST = 128, 16  # of the kernels


@dataclass(frozen=True)
class MLPSpec:
    """Widths of a network as the parameters hold them, padded to multiples of 16."""

    inputs: int
    width: int
    hidden_layers: int
    outputs: int

    def __post_init__(self) -> None:
        for name in ("inputs", "width", "outputs"):
            value = getattr(self, name)
            if value < 16 or value % 16:
                raise ValueError(f"{name} is {value}; it must be a multiple of 16 (pad it: {padded(value)})")
        if self.hidden_layers < 1:
            raise ValueError(f"hidden_layers is {self.hidden_layers}; it must be at least 1")

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """(out, in) of each layer."""
        hidden = [(self.width, self.width)] * (self.hidden_layers - 1)
        return [(self.width, self.inputs), *hidden, (self.outputs, self.width)]

    @property
    def parameter_count(self) -> int:
        return sum(rows * columns for rows, columns in self.shapes)


def padded(width: int) -> int:
    """Next multiple of 16."""
    return max(16, -(-width // 16) * 16)


def layer_matrices(weights: Float[Tensor, " p"], spec: MLPSpec) -> list[Float[Tensor, "o i"]]:
    """The flat weights as one view (out, in) a layer."""
    sizes = [rows * columns for rows, columns in spec.shapes]
    return [flat.view(shape) for flat, shape in zip(weights.split(sizes), spec.shapes, strict=True)]


class RoundForward(torch.autograd.Function):
    """Rounds to bfloat16; the gradient passes through."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return x.bfloat16().to(x.dtype)

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        return grad


class RoundBackward(torch.autograd.Function):
    """Passes values through; rounds the gradient to bfloat16."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        return RoundForward.apply(grad)


def product(x: Float[Tensor, "n i"], matrix: Float[Tensor, "o i"], precision: str) -> Float[Tensor, "n o"]:
    """x matrix^T; with "bfloat16" the operands of it, and of both products of its backward, are rounded."""
    if precision == "float32":
        return F.linear(x, matrix)
    return RoundBackward.apply(F.linear(RoundForward.apply(x), RoundForward.apply(matrix)))


def mlp_reference(
    x: Float[Tensor, "n i"], weights: Float[Tensor, " p"], spec: MLPSpec, precision: str = "float32"
) -> Float[Tensor, "n o"]:
    """The definition. The ReLU's mask in the backward pass is that of the forward pass."""
    *hidden, last = layer_matrices(weights, spec)
    for matrix in hidden:
        x = torch.relu(product(x, matrix, precision))
    return product(x, last, precision)


def mlp(
    x: Float[Tensor, "*n i"],
    weights: Float[Tensor, " p"],
    spec: MLPSpec,
    precision: str = "float32",
    backend: str = "reference",
) -> Float[Tensor, "*n o"]:
    """Outputs (..., outputs) of the network on x (..., inputs).

    Raises: ValueError if the arrays disagree with `spec` or, for the kernels, are not float32 on the CPU
    or beyond 128 wide, 16 deep.
    """
    check_backend(backend)
    if precision not in PRECISIONS:
        raise ValueError(f"precision {precision!r} is unknown; use {' or '.join(PRECISIONS)}")
    if x.shape[-1] != spec.inputs:
        raise ValueError(f"x has {x.shape[-1]} columns; the network takes {spec.inputs}")
    if weights.shape != (spec.parameter_count,):
        raise ValueError(
            f"weights has shape {tuple(weights.shape)}; the network needs ({spec.parameter_count},)"
        )
    flat = x.reshape(-1, spec.inputs)
    if backend == "reference":
        y = mlp_reference(flat, weights, spec, precision)
    else:
        sizes = spec.inputs, spec.width, spec.hidden_layers, spec.outputs
        y = mlp_op(flat.contiguous(), weights.contiguous(), *sizes, precision == "bfloat16")
    return y.view(*x.shape[:-1], spec.outputs)


@torch.library.custom_op("render::mlp", mutates_args=(), device_types="cpu")
def mlp_op(
    x: Tensor, weights: Tensor, inputs: int, width: int, hidden_layers: int, outputs: int, bfloat16: bool
) -> Tensor:
    network = checked_network(x, weights, inputs, width, hidden_layers, outputs)
    y = x.new_empty(len(x), outputs)
    library().call("nr_mlp_forward", network, weights, x, len(x), y, int(bfloat16))
    return y


@torch.library.custom_op("render::mlp_backward", mutates_args=(), device_types="cpu")
def mlp_backward_op(
    x: Tensor, weights: Tensor, inputs: int, width: int, hidden_layers: int, outputs: int, bfloat16: bool,
    grad: Tensor, to_x: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Gradients to x (empty if not asked for) and weights."""
    network = checked_network(x, weights, inputs, width, hidden_layers, outputs)
    check_array("grad", grad, (len(x), outputs))
    grad_x = x.new_empty(x.shape if to_x else 0)
    grad_weights = torch.empty_like(weights)
    library().call(
        "nr_mlp_backward", network, weights, x, grad, len(x),
        grad_weights, grad_x if to_x else None, int(bfloat16),
    )  # fmt: skip
    return grad_x, grad_weights


def checked_network(
    x: Tensor, weights: Tensor, inputs: int, width: int, hidden_layers: int, outputs: int
) -> Network:
    spec = MLPSpec(inputs, width, hidden_layers, outputs)
    if max(inputs, width, outputs) > WIDEST or hidden_layers > DEEPEST:
        raise ValueError(f"{spec} is beyond the kernels' {WIDEST} wide, {DEEPEST} deep")
    check_array("x", x, (None, inputs))
    check_array("weights", weights, (spec.parameter_count,))
    return Network(inputs, width, hidden_layers, outputs)


@mlp_op.register_fake
def _(x, weights, inputs, width, hidden_layers, outputs, bfloat16):
    return x.new_empty(x.shape[0], outputs)


@mlp_backward_op.register_fake
def _(x, weights, inputs, width, hidden_layers, outputs, bfloat16, grad, to_x):
    return x.new_empty(x.shape if to_x else 0), torch.empty_like(weights)


def _save(ctx, inputs, output):
    x, weights, *ctx.settings = inputs
    ctx.save_for_backward(x, weights)


def _backward(ctx, grad):
    to_x = ctx.needs_input_grad[0]
    grad_x, grad_weights = mlp_backward_op(*ctx.saved_tensors, *ctx.settings, grad.contiguous(), to_x)
    return grad_x if to_x else None, grad_weights, *[None] * 5


mlp_op.register_autograd(_backward, setup_context=_save)
mlp_backward_op.register_autograd(no_second_order("mlp"), setup_context=lambda ctx, inputs, output: None)
