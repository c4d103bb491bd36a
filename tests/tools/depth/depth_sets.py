"""Data sets of pictures with depth, for tests: in memory, or in a folder."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from tools.depth.losses import Kind
from tools.depth.pairs import Labelled


@dataclass(eq=False)
class Numbered:
    """Pictures of one colour each, its number, whose depth is that number plus 1, all over."""

    name: str
    count: int
    kind: Kind = "z_depth"
    size: tuple[int, int] = (64, 48)
    read_so_far: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return self.count

    def read(self, index: int) -> Labelled:
        self.read_so_far.append(index)
        width, height = self.size
        rgb = torch.full((height, width, 3), index, dtype=torch.uint8)
        return Labelled(
            rgb,
            torch.full((height, width), index + 1.0),
            torch.ones(height, width, dtype=torch.bool),
            None,
        )


@dataclass(eq=False)
class Slopes:
    """Planes at all angles, lit by how near they are: what there is to learn shows in the first steps."""

    name: str
    kind: Kind = "z_depth"
    count: int = 8
    size: tuple[int, int] = (64, 48)
    known: float = 0.9  # share of pixels

    def __len__(self) -> int:
        return self.count

    def read(self, index: int) -> Labelled:
        width, height = self.size
        generator = torch.Generator().manual_seed(index)
        slope = torch.rand(2, generator=generator) - 0.5
        x, y = torch.linspace(-1, 1, width), torch.linspace(-1, 1, height)
        inverse = 1 + 0.8 * (slope[0] * x + slope[1] * y[:, None])
        rgb = (140 * inverse)[..., None] + 10 * torch.randn(height, width, 3, generator=generator)
        values = 1 / inverse if self.kind == "z_depth" else inverse
        known = torch.rand(height, width, generator=generator) < self.known
        return Labelled(rgb.clamp(0, 255).to(torch.uint8), torch.where(known, values, 0.0), known, None)


def write_set(folder: Path, kind: Kind = "z_depth", count: int = 6) -> Path:
    """Slopes as a folder that `tools.depth.datasets` reads."""
    from imageio.v3 import imwrite

    (folder / "rgb").mkdir(parents=True)
    (folder / "depth").mkdir()
    told = {"format": "render-depth-set", "version": 1, "kind": kind, "unit": 1e-4}
    (folder / "dataset.json").write_text(json.dumps(told))
    made = Slopes(folder.name, kind, count)
    for index in range(count):
        read = made.read(index)
        imwrite(folder / "rgb" / f"{index}.png", read.rgb.numpy())
        imwrite(folder / "depth" / f"{index}.png", (read.values.numpy() * 1e4).astype(np.uint16))
    return folder
