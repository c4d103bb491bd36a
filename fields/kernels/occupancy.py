"""Occupancy of L nested grids, one bit a cell, from a density grid.

    density  (L R, R, R)          indexed [z, y, x], the grids one after the other
    bits     (L R/4, R/4, R/4)    int64 words of 4x4x4 cells, indexed [z/4, y/4, x/4];
                                  cell (x, y, z) is bit (x % 4) + 4 (y % 4) + 16 (z % 4)

Grid 0 covers the unit cube; grid l covers the cube about the same middle that is 2^l times as large. A cell
of a larger grid is occupied where anything in it is, the finer grids' cells too. A word holds a cube of
cells, not a row, so that a ray finds its next cells in the word it has.
"""

from itertools import pairwise

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fields.kernels.checks import check_array, check_backend
from fields.kernels.library import library

FINEST = 256  # cells along an axis; the kernels' limit
MOST_LEVELS = 10


def pack_bits(occupied: Bool[Tensor, "z r r"]) -> Int[Tensor, "v w w"]:
    """Words of cells that are given as booleans."""
    deep, words = occupied.shape[0] // 4, occupied.shape[1] // 4
    blocks = occupied.reshape(deep, 4, words, 4, words, 4).permute(0, 2, 4, 1, 3, 5).flatten(3)
    # Bit 63 is the sign: the sum of distinct powers is their union, wrap-around included.
    return (blocks.long() << torch.arange(64, device=occupied.device)).sum(dim=-1)


def unpack_bits(bits: Int[Tensor, "v w w"]) -> Bool[Tensor, "z r r"]:
    """Cells as booleans [z, y, x]; the inverse of `pack_bits`."""
    deep, words = bits.shape[:2]
    blocks = (bits[..., None] >> torch.arange(64, device=bits.device)) & 1
    cells = blocks.bool().view(deep, words, words, 4, 4, 4).permute(0, 3, 1, 4, 2, 5)
    return cells.reshape(4 * deep, 4 * words, 4 * words)


def levels_at(points: Float[Tensor, "*n 3"], levels: int) -> Int[Tensor, "*n"]:
    """The finest grid whose cube holds each point (in the unit cube's frame); the largest if none does."""
    reach = (2 * (points - 0.5).abs().amax(dim=-1)).clamp(min=1)
    return reach.log2().ceil().clamp(max=levels - 1).long()


def lookup_bits(bits: Int[Tensor, "v w w"], points: Float[Tensor, "*n 3"]) -> Bool[Tensor, "*n"]:
    """Whether the cell of each point is occupied; a point outside counts for the nearest cell.

    points: in the frame of the unit cube, which grid 0 covers.
    """
    resolution, levels = 4 * bits.shape[1], bits.shape[0] // bits.shape[1]
    level = levels_at(points, levels)
    inside = points if levels == 1 else (points - 0.5) / 2.0 ** level[..., None] + 0.5
    x, y, z = (inside * resolution).floor().clamp(0, resolution - 1).long().unbind(-1)
    z = z + level * resolution
    return (bits[z // 4, y // 4, x // 4] >> (x % 4 + 4 * (y % 4) + 16 * (z % 4))) & 1 == 1


def occupancy_bits_reference(density: Float[Tensor, "z r r"], threshold: float) -> Int[Tensor, "v w w"]:
    """The definition: a cell is occupied where density > threshold, or where a finer grid's cell in it is."""
    occupied = (density > threshold).unflatten(0, (-1, density.shape[1]))
    half, quarter = density.shape[1] // 2, density.shape[1] // 4
    middle = slice(quarter, quarter + half)
    for finer, coarser in pairwise(occupied):
        coarser[middle, middle, middle] |= finer.view(half, 2, half, 2, half, 2).any(5).any(3).any(1)
    return pack_bits(occupied.flatten(0, 1))


def occupancy_bits(
    density: Float[Tensor, "z r r"], threshold: float, backend: str = "reference"
) -> Int[Tensor, "v w w"]:
    """Bitfield of the cells whose density is above `threshold`. Not differentiable.

    Raises: ValueError if density is not one or more cubes with a multiple of 4 cells, at most 256, along an
    axis (of 8 where there are several) or, for the kernels, not float32 on the CPU.
    """
    check_backend(backend)
    check_cube(density)
    if backend == "reference":
        return occupancy_bits_reference(density, threshold)
    return occupancy_bits_op(density.detach().contiguous(), threshold)


def _cubes(shape: torch.Size) -> bool:
    """Whether a shape is that of 1 to MOST_LEVELS cubes, one after the other."""
    if len(shape) != 3 or shape[1] != shape[2] or not shape[1] or shape[0] % shape[1]:
        return False
    return 1 <= shape[0] // shape[1] <= MOST_LEVELS


def check_cube(density: Tensor) -> None:
    if not (_cubes(density.shape) and density.shape[1] % 4 == 0 and density.shape[1] <= FINEST):
        raise ValueError(
            f"density has shape {tuple(density.shape)}; it must be a cube of 4, 8, ... {FINEST} cells, "
            f"or up to {MOST_LEVELS} of them one after the other"
        )


def check_bits(bits: Tensor) -> None:
    if bits.dtype != torch.int64 or not (_cubes(bits.shape) and bits.shape[1] <= FINEST // 4):
        raise ValueError(
            f"bits is {bits.dtype} {tuple(bits.shape)}; it must be an int64 cube of 1 to {FINEST // 4} words "
            f"along an axis, or up to {MOST_LEVELS} of them one after the other"
        )


@torch.library.custom_op("render::occupancy_bits", mutates_args=(), device_types="cpu")
def occupancy_bits_op(density: Tensor, threshold: float) -> Tensor:
    check_array("density", density, (None, None, None))
    check_cube(density)
    bits = torch.empty([side // 4 for side in density.shape], dtype=torch.int64)
    resolution = density.shape[1]
    library().call("nr_occupancy_bits", density, resolution, len(density) // resolution, threshold, bits)
    return bits


@occupancy_bits_op.register_fake
def _(density, threshold):
    return density.new_empty([side // 4 for side in density.shape], dtype=torch.int64)
