"""Real spherical harmonics up to degree 3, sixteen values a direction, with tiny-cuda-nn's signs and order.

The polynomials are evaluated as they stand, without normalising: directions are unit vectors. (tiny-cuda-nn
itself is handed (direction + 1) / 2 and undoes it.)
"""

import torch
from jaxtyping import Float
from torch import Tensor

from fields.kernels.checks import check_array, check_backend, no_second_order
from fields.kernels.library import library

COUNT = 16


def spherical_harmonics_reference(directions: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 16"]:
    """The definition: band after band, order -l .. l."""
    x, y, z = directions.unbind(-1)
    xx, yy, zz = x * x, y * y, z * z
    bands = [
        torch.full_like(x, 0.28209479177387814),
        -0.48860251190291987 * y,
        0.48860251190291987 * z,
        -0.48860251190291987 * x,
        1.0925484305920792 * x * y,
        -1.0925484305920792 * y * z,
        0.94617469575755997 * zz - 0.31539156525251999,
        -1.0925484305920792 * x * z,
        0.54627421529603959 * (xx - yy),
        0.59004358992664352 * y * (yy - 3 * xx),
        2.8906114426405538 * x * y * z,
        0.45704579946446572 * y * (1 - 5 * zz),
        0.3731763325901154 * z * (5 * zz - 3),
        0.45704579946446572 * x * (1 - 5 * zz),
        1.4453057213202769 * z * (xx - yy),
        0.59004358992664352 * x * (3 * yy - xx),
    ]
    return torch.stack(bands, dim=-1)


def spherical_harmonics(
    directions: Float[Tensor, "*n 3"], backend: str = "reference"
) -> Float[Tensor, "*n 16"]:
    """Sixteen harmonics of unit directions.

    Raises: ValueError if, for the kernels, directions are not float32 on the CPU.
    """
    check_backend(backend)
    if backend == "reference":
        return spherical_harmonics_reference(directions)
    flat = directions.reshape(-1, 3).contiguous()
    return spherical_harmonics_op(flat).view(*directions.shape[:-1], COUNT)


@torch.library.custom_op("render::spherical_harmonics", mutates_args=(), device_types="cpu")
def spherical_harmonics_op(directions: Tensor) -> Tensor:
    check_array("directions", directions, (None, 3))
    harmonics = directions.new_empty(len(directions), COUNT)
    library().call("nr_spherical_harmonics_forward", directions, len(directions), harmonics)
    return harmonics


@torch.library.custom_op("render::spherical_harmonics_backward", mutates_args=(), device_types="cpu")
def spherical_harmonics_backward_op(directions: Tensor, grad: Tensor) -> Tensor:
    check_array("directions", directions, (None, 3))
    check_array("grad", grad, (len(directions), COUNT))
    grad_directions = torch.empty_like(directions)
    library().call("nr_spherical_harmonics_backward", directions, grad, len(directions), grad_directions)
    return grad_directions


@spherical_harmonics_op.register_fake
def _(directions):
    return directions.new_empty(directions.shape[0], COUNT)


@spherical_harmonics_backward_op.register_fake
def _(directions, grad):
    return torch.empty_like(directions)


def _save(ctx, inputs, output):
    ctx.save_for_backward(*inputs)


def _backward(ctx, grad):
    return spherical_harmonics_backward_op(*ctx.saved_tensors, grad.contiguous())


spherical_harmonics_op.register_autograd(_backward, setup_context=_save)
spherical_harmonics_backward_op.register_autograd(
    no_second_order("spherical_harmonics"), setup_context=lambda ctx, inputs, output: None
)
