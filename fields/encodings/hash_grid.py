"""Multiresolution hash-grid encoding (instant-ngp, arXiv:2201.05989, section 3): its shape and its module."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from fields.kernels.hash_grid import HashGridLevels, hash_grid


@dataclass(frozen=True)
class HashGridSpec:
    """Hyper-parameters under the paper's names; the table they lay out is tiny-cuda-nn's."""

    levels: int = 8  # L
    features: int = 4  # F, values per entry
    log2_table_size: int = 17  # log2 T, T = most entries of a level
    base_resolution: int = 16  # N_min
    finest_resolution: int = 1024  # N_max
    growth: float | None = None  # b; None: from N_min, N_max and L (Eqs. 2-3)

    def __post_init__(self) -> None:
        if self.features not in (1, 2, 4, 8):
            raise ValueError(f"features is {self.features}; it must be 1, 2, 4 or 8")
        if not 1 <= self.levels <= 128:
            raise ValueError(f"levels is {self.levels}; it must be from 1 to 128")
        if not 3 <= self.log2_table_size <= 30:
            raise ValueError(f"log2_table_size is {self.log2_table_size}; it must be from 3 to 30")
        if self.base_resolution < 2 or self.finest_resolution < self.base_resolution:
            raise ValueError(
                f"base_resolution {self.base_resolution}, finest_resolution {self.finest_resolution}: "
                "they must rise from 2 or more"
            )

    @property
    def per_level_scale(self) -> float:
        """Growth b of the resolution from one level to the next."""
        if self.growth is not None:
            return self.growth
        if self.levels == 1:
            return 1.0
        return math.exp(math.log(self.finest_resolution / self.base_resolution) / (self.levels - 1))

    def level_tables(self) -> HashGridLevels:
        """scale float32 (L,), resolution int32 (L,), offset int64 (L + 1,) by tiny-cuda-nn's formula.

        scale = exp2(l log2 b) N_min - 1, resolution = ceil(scale) + 1, each operation rounded to float32.
        Computed in double and then rounded, so that every machine gets the same bits.
        """
        log2_growth = np.float32(math.log2(np.float32(self.per_level_scale)))
        scale, resolution, offset = [], [], [0]
        for level in range(self.levels):
            power = np.float32(2.0 ** float(np.float32(level) * log2_growth))
            scale.append(power * np.float32(self.base_resolution) - np.float32(1))
            resolution.append(math.ceil(scale[-1]) + 1)
            dense = -(-(resolution[-1] ** 3) // 8) * 8  # rounded up to a multiple of 8
            offset.append(offset[-1] + min(dense, 2**self.log2_table_size))
        return HashGridLevels(
            torch.tensor(np.array(scale, dtype=np.float32)),
            torch.tensor(resolution, dtype=torch.int32),
            torch.tensor(offset, dtype=torch.int64),
        )

    @property
    def entries(self) -> int:
        """Entries of all levels together."""
        return int(self.level_tables().offset[-1])

    @property
    def parameter_count(self) -> int:
        """Values in the table: entries x features."""
        return self.entries * self.features

    @property
    def outputs(self) -> int:
        """Width of the encoding, L F."""
        return self.levels * self.features


class HashGrid(nn.Module):
    """Hash-grid encoding of points in the unit cube; owns `table` (entries * features,), level after level.

    backend: "reference" or "kernels", held here and not global (`fields.kernels.library.resolve_backend`
    settles "auto").
    """

    def __init__(
        self, spec: HashGridSpec, *, backend: str = "reference", generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.spec, self.backend = spec, backend
        levels = spec.level_tables()
        # Buffers follow the module to its device; the spec makes them again, so no checkpoint holds them.
        for name, tensor in levels._asdict().items():
            self.register_buffer(name, tensor, persistent=False)
        table = torch.empty(spec.parameter_count)  # U(-1e-4, 1e-4): section 4, Initialization
        self.table = nn.Parameter(table.uniform_(-1e-4, 1e-4, generator=generator))

    def forward(self, points: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n features"]:
        """Features (level-major) of points, which are clamped to [0, 1]."""
        levels = HashGridLevels(self.scale, self.resolution, self.offset)
        return hash_grid(points, self.table, levels, self.spec.features, self.backend)

    def extra_repr(self) -> str:
        return f"{self.spec}, backend={self.backend!r}"
