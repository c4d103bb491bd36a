"""Which parts of the unit cube hold anything: a grid of densities, kept up to date while a field learns.

After instant-ngp (arXiv:2201.05989, appendix C), with a schedule that suits a CPU: one sweep over
all cells at first, then few cells an update, half of them in regular turn and half where matter
was found. Every choice is a function of (seed, step) through `scenes.random`, so that any other
implementation can make the same ones.

Cells are numbered x fastest, (z * R + y) * R + x. In `bits`, word (z/4, y/4, x/4) holds a block of
4x4x4 cells; cell (x, y, z) is its bit x%4 + 4 (y%4) + 16 (z%4). Where space has no end there are several
nested grids, each twice as large as the one before (`fields/kernels/occupancy.py`), stacked along z.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from fields.kernels.occupancy import occupancy_bits_reference, unpack_bits
from scenes.random import uniform

PICK, JITTER_X, JITTER_Y, JITTER_Z = 16, 17, 18, 19  # streams of scenes.random
EARLY_STEPS = 256  # while the field is still taking shape, look around more
EARLY_STRIDE, LATE_STRIDE = 8, 32  # one cell in so many is visited in turn at an update
CHUNK = 2**18  # points given to the field at once


class OccupancyGrid(nn.Module):
    """Density (L R, R, R) [z, y, x] in 1 / side of the cube, and the bits that say where to march.

    A visited cell becomes max(decay * old, new); the others keep their value. A cell is occupied
    where its density exceeds min(mean density, `thinnest` / marching step): an optical thickness of
    `thinnest` in one step, or less while the whole field is thinner. Before the first update every
    cell is occupied, since nothing has been ruled out.
    """

    density: Float[Tensor, "z r r"]
    bits: Int64[Tensor, "v b b"]
    updates: Int64[Tensor, ""]

    def __init__(
        self, resolution: int = 128, decay: float = 0.95, thinnest: float = 0.01, levels: int = 1
    ) -> None:
        super().__init__()
        if resolution % 4 or resolution <= 0:
            raise ValueError(f"resolution must be a multiple of 4, got {resolution}")
        self.resolution, self.decay, self.thinnest, self.levels = resolution, decay, thinnest, levels
        self.register_buffer("density", torch.zeros(levels * resolution, resolution, resolution))
        words = resolution // 4
        self.register_buffer("bits", torch.full((levels * words, words, words), -1, dtype=torch.int64))
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def update(
        self, density_at: Callable[[Tensor], Tensor], march_step: float, *, seed: int, step: int
    ) -> None:
        """Look at some cells again and decide anew which are occupied.

        density_at: (n, 3) points in the unit cube's frame -> (n,) density, 1 / side of the cube (where space
            has no end, times how far out it is, in half sides).
        march_step: length of a marching step, sides of the cube.
        seed, step: of the training; they choose the cells and the points in them.
        """
        cells = self.cells_to_visit(seed, step)
        points = self.points_in(cells, seed, step)
        found = torch.cat([density_at(part) for part in points.split(CHUNK)])
        flat = self.density.view(-1)
        # A cell that is visited twice decays once and keeps the larger find.
        newest = torch.zeros_like(flat).scatter_reduce(0, cells, found.to(flat.dtype), "amax")
        flat[cells] = torch.maximum(self.decay * flat[cells], newest[cells])
        self.bits.copy_(occupancy_bits_reference(self.density, self.threshold(march_step)))
        self.updates += 1

    def threshold(self, march_step: float) -> float:
        """The density that an occupied cell exceeds."""
        mean = self.density.mean(dtype=torch.float64).item()
        return min(mean, self.thinnest / march_step)

    def stride(self, step: int) -> int:
        """One cell in so many is visited in turn by the update of this step."""
        return EARLY_STRIDE if step < EARLY_STEPS else LATE_STRIDE

    def cells_to_visit(self, seed: int, step: int) -> Int64[Tensor, "n"]:
        """Numbers of the cells that the update of this step looks at.

        All of them at the first update. Then every 8th (from step 256 on every 32nd), beginning one
        further at each update, so that all cells have their turn; and as many draws, with
        replacement, from the occupied cells: the floor(u * count)-th, u from stream PICK.
        """
        cells, device = self.density.numel(), self.density.device
        updates = int(self.updates)
        if updates == 0:
            return torch.arange(cells, device=device)
        stride = self.stride(step)
        in_turn = torch.arange(updates % stride, cells, stride, device=device)
        occupied = self.occupied().flatten().nonzero()[:, 0]
        if not len(occupied):
            return in_turn
        share = uniform(seed, step, PICK, torch.arange(len(in_turn), device=device))
        drawn = occupied[(share.double() * len(occupied)).long()]
        return torch.cat((in_turn, drawn))

    def points_in(self, cells: Int64[Tensor, "n"], seed: int, step: int) -> Float[Tensor, "n 3"]:
        """A point in each cell, uniform, in the unit cube's frame; visit i takes index i of its streams."""
        r = self.resolution
        corner = torch.stack((cells % r, cells // r % r, cells // (r * r) % r), dim=-1)
        visit = torch.arange(len(cells), device=cells.device)
        inside = [uniform(seed, step, stream, visit) for stream in (JITTER_X, JITTER_Y, JITTER_Z)]
        points = (corner + torch.stack(inside, dim=-1)) / r
        if self.levels == 1:
            return points
        return (points - 0.5) * 2.0 ** (cells // r**3)[:, None] + 0.5

    def occupied(self) -> Bool[Tensor, "z r r"]:
        """The bits as one truth value a cell, [z, y, x]."""
        return unpack_bits(self.bits)
