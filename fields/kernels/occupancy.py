"""Occupancy of a grid over the unit cube, one bit a cell, from a density grid.

    density  (R, R, R)          indexed [z, y, x]
    bits     (R/4, R/4, R/4)    int64 words of 4x4x4 cells, indexed [z/4, y/4, x/4];
                                cell (x, y, z) is bit (x % 4) + 4 (y % 4) + 16 (z % 4)

A word holds a cube of cells, not a row, so that a ray finds its next cells in the word it has.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fields.kernels.checks import check_array, check_backend
from fields.kernels.library import library

FINEST = 256  # cells along an axis; the kernels' limit


def pack_bits(occupied: Bool[Tensor, "r r r"]) -> Int[Tensor, "w w w"]:
    """Words of cells that are given as booleans."""
    words = occupied.shape[0] // 4
    blocks = occupied.reshape(words, 4, words, 4, words, 4).permute(0, 2, 4, 1, 3, 5).flatten(3)
    # Bit 63 is the sign: the sum of distinct powers is their union, wrap-around included.
    return (blocks.long() << torch.arange(64, device=occupied.device)).sum(dim=-1)


def unpack_bits(bits: Int[Tensor, "w w w"]) -> Bool[Tensor, "r r r"]:
    """Cells as booleans [z, y, x]; the inverse of `pack_bits`."""
    words = bits.shape[0]
    blocks = (bits[..., None] >> torch.arange(64, device=bits.device)) & 1
    return blocks.bool().view(*[words] * 3, 4, 4, 4).permute(0, 3, 1, 4, 2, 5).reshape(*[4 * words] * 3)


def lookup_bits(bits: Int[Tensor, "w w w"], points: Float[Tensor, "*n 3"]) -> Bool[Tensor, "*n"]:
    """Whether the cell of each point is occupied; a point outside counts for the nearest cell."""
    resolution = 4 * bits.shape[0]
    x, y, z = (points * resolution).floor().clamp(0, resolution - 1).long().unbind(-1)
    return (bits[z // 4, y // 4, x // 4] >> (x % 4 + 4 * (y % 4) + 16 * (z % 4))) & 1 == 1


def occupancy_bits_reference(density: Float[Tensor, "r r r"], threshold: float) -> Int[Tensor, "w w w"]:
    """The definition: a cell is occupied where density > threshold."""
    return pack_bits(density > threshold)


def occupancy_bits(
    density: Float[Tensor, "r r r"], threshold: float, backend: str = "reference"
) -> Int[Tensor, "w w w"]:
    """Bitfield of the cells whose density is above `threshold`. Not differentiable.

    Raises: ValueError if density is not a cube with a multiple of 4 cells, at most 256, along an axis or,
    for the kernels, not float32 on the CPU.
    """
    check_backend(backend)
    check_cube(density)
    if backend == "reference":
        return occupancy_bits_reference(density, threshold)
    return occupancy_bits_op(density.detach().contiguous(), threshold)


def check_cube(density: Tensor) -> None:
    cells = density.shape[0] if density.ndim else 0
    if density.shape != (cells,) * 3 or cells % 4 or not 4 <= cells <= FINEST:
        raise ValueError(
            f"density has shape {tuple(density.shape)}; it must be a cube of 4, 8, ... {FINEST} cells"
        )


def check_bits(bits: Tensor) -> None:
    words = bits.shape[0] if bits.ndim else 0
    if bits.dtype != torch.int64 or bits.shape != (words,) * 3 or not 1 <= words <= FINEST // 4:
        raise ValueError(
            f"bits is {bits.dtype} {tuple(bits.shape)}; it must be an int64 cube of 1 to {FINEST // 4} words"
        )


@torch.library.custom_op("render::occupancy_bits", mutates_args=(), device_types="cpu")
def occupancy_bits_op(density: Tensor, threshold: float) -> Tensor:
    check_array("density", density, (None, None, None))
    check_cube(density)
    bits = torch.empty([len(density) // 4] * 3, dtype=torch.int64)
    library().call("nr_occupancy_bits", density, len(density), threshold, bits)
    return bits


@occupancy_bits_op.register_fake
def _(density, threshold):
    return density.new_empty([density.shape[0] // 4] * 3, dtype=torch.int64)
