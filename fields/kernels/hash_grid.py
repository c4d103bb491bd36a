"""Multiresolution hash-grid encoding of points (instant-ngp, arXiv:2201.05989, section 3).

Layout, indexing and interpolation are tiny-cuda-nn's, so that its tables and ours are the same numbers:

    scale       (L,)      float32; vertices of level l stand at (vertex - 0.5) / scale[l]
    resolution  (L,)      int32; vertices along an axis
    offset      (L + 1,)  int64; entries offset[l] .. offset[l + 1] of the table are level l
    table       (offset[L] * F,)  F values an entry

A level is dense (x + y res + z res^2) where resolution^3 entries fit, else hashed (Eq. 4).
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fields.kernels.checks import check_array, check_backend, no_second_order
from fields.kernels.library import Grid, library

PRIMES = (1, 2654435761, 805459861)  # pi_1, pi_2, pi_3 of Eq. 4
MOST_LEVELS = 32  # of the kernels


class HashGridLevels(NamedTuple):
    """Where each level stands in the table (`HashGridSpec.level_tables`)."""

    scale: Float[Tensor, " levels"]
    resolution: Int[Tensor, " levels"]
    offset: Int[Tensor, " levels+1"]


def entry_index(vertex: Int[Tensor, "*n 3"], resolution: int, entries: int) -> Int[Tensor, "*n"]:
    """Entry of a grid vertex within its level: dense where it fits, else the hash of Eq. 4."""
    x, y, z = vertex.unbind(-1)
    if resolution**3 <= entries:
        index = x + y * resolution + z * resolution**2
    else:
        # int64 holds the products; the mask is uint32 wrap-around, which xor respects.
        index = (x * PRIMES[0] ^ y * PRIMES[1] ^ z * PRIMES[2]) & 0xFFFFFFFF
    return index % entries


def hash_grid_reference(
    points: Float[Tensor, "n 3"], table: Float[Tensor, " p"], levels: HashGridLevels, features: int
) -> Float[Tensor, "n lf"]:
    """The definition: trilinear interpolation of the eight entries around a point, level after level.

    Differentiable, twice too, to `table` and `points`; the gradient to a clamped coordinate is 0.
    """
    points = points.clamp(0, 1)
    tables = table.reshape(-1, features).split(levels.offset.diff().tolist())
    corners = torch.cartesian_prod(*[torch.arange(2, device=points.device)] * 3)  # (8, 3)
    encoded = []
    for scale, resolution, rows in zip(
        levels.scale.tolist(), levels.resolution.tolist(), tables, strict=True
    ):
        position = points * scale + 0.5
        cell = position.floor()
        inside = (position - cell)[:, None]
        share = torch.where(corners.bool(), inside, 1 - inside)  # (n, 8, 3), along each axis
        weight = share[..., 0] * share[..., 1] * share[..., 2]
        index = entry_index(cell.long()[:, None] + corners, resolution, len(rows))
        entries = rows.index_select(0, index.flatten()).view(*index.shape, features)
        encoded.append((weight[..., None] * entries).sum(dim=1))
    return torch.cat(encoded, dim=-1)


def hash_grid(
    points: Float[Tensor, "*n 3"],
    table: Float[Tensor, " p"],
    levels: HashGridLevels,
    features: int,
    backend: str = "reference",
) -> Float[Tensor, "*n lf"]:
    """Encoding (..., L F), level-major, of points in the unit cube (clamped to it).

    Raises: ValueError if the arrays disagree or, for the kernels, are not float32 on the CPU.
    """
    check_backend(backend)
    check_table(table, levels, features)
    flat = points.reshape(-1, 3)
    if backend == "reference":
        encoded = hash_grid_reference(flat, table, levels, features)
    else:
        encoded = hash_grid_op(flat.contiguous(), table.contiguous(), *levels, features)
    return encoded.view(*points.shape[:-1], encoded.shape[-1])


def check_table(table: Tensor, levels: HashGridLevels, features: int) -> None:
    if features not in (1, 2, 4, 8):
        raise ValueError(f"features is {features}; it must be 1, 2, 4 or 8")
    wanted = int(levels.offset[-1]) * features
    if table.shape != (wanted,):
        raise ValueError(f"table has shape {tuple(table.shape)}; these levels need ({wanted},)")


@torch.library.custom_op("render::hash_grid", mutates_args=(), device_types="cpu")
def hash_grid_op(
    points: Tensor, table: Tensor, scale: Tensor, resolution: Tensor, offset: Tensor, features: int
) -> Tensor:
    grid = checked_grid(points, table, scale, resolution, offset, features)
    encoded = points.new_empty(len(points), len(scale) * features)
    library().call("nr_hash_grid_forward", grid, points, table, len(points), encoded)
    return encoded


@torch.library.custom_op("render::hash_grid_backward", mutates_args=(), device_types="cpu")
def hash_grid_backward_op(
    points: Tensor, table: Tensor, scale: Tensor, resolution: Tensor, offset: Tensor, features: int,
    grad: Tensor, to_table: bool, to_points: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Gradients to table and points; the one not asked for is empty."""
    grid = checked_grid(points, table, scale, resolution, offset, features)
    check_array("grad", grad, (len(points), len(scale) * features))
    grad_table = table.new_empty(table.shape if to_table else 0)
    grad_points = points.new_empty(points.shape if to_points else 0)
    library().call(
        "nr_hash_grid_backward", grid, points, table, grad, len(points),
        grad_table if to_table else None, grad_points if to_points else None,
    )  # fmt: skip
    return grad_table, grad_points


def checked_grid(
    points: Tensor, table: Tensor, scale: Tensor, resolution: Tensor, offset: Tensor, features: int
) -> Grid:
    """The C struct; it points into the tensors, which the caller keeps alive."""
    levels = len(scale)
    if not 1 <= levels <= MOST_LEVELS:
        raise ValueError(f"{levels} levels; the kernels take 1 to {MOST_LEVELS}, use backend='reference'")
    check_array("points", points, (None, 3))
    check_array("table", table, (None,))
    check_array("scale", scale, (None,))
    check_array("resolution", resolution, (levels,), torch.int32)
    check_array("offset", offset, (levels + 1,), torch.int64)
    check_table(table, HashGridLevels(scale, resolution, offset), features)
    if int(offset[0]) != 0 or bool((offset.diff() < 1).any()):
        raise ValueError(f"offset is {offset.tolist()}; it must rise from 0")
    return Grid(levels, features, scale.data_ptr(), resolution.data_ptr(), offset.data_ptr())


@hash_grid_op.register_fake
def _(points, table, scale, resolution, offset, features):
    return points.new_empty(points.shape[0], scale.shape[0] * features)


@hash_grid_backward_op.register_fake
def _(points, table, scale, resolution, offset, features, grad, to_table, to_points):
    return (
        table.new_empty(table.shape if to_table else 0),
        points.new_empty(points.shape if to_points else 0),
    )


def _save(ctx, inputs, output):
    *tensors, ctx.features = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx, grad):
    to_points, to_table = ctx.needs_input_grad[:2]
    grad_table, grad_points = hash_grid_backward_op(
        *ctx.saved_tensors, ctx.features, grad.contiguous(), to_table, to_points
    )
    return grad_points if to_points else None, grad_table if to_table else None, *[None] * 4


hash_grid_op.register_autograd(_backward, setup_context=_save)
hash_grid_backward_op.register_autograd(
    no_second_order("hash_grid"), setup_context=lambda ctx, inputs, output: None
)
