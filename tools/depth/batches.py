"""Batches of pictures with depth: from several data sets alike, read ahead, and kept while there is room.

Which pictures a step has, and what becomes of them, follows from the seed and the number of the step alone,
as reading ahead wants it (tools/reading_ahead.py).
"""

import itertools
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from scenes.random import bits
from tools.depth.augmentation import USUAL, Shares, augmented
from tools.depth.losses import Kind
from tools.depth.mixing import equal_shares
from tools.reading_ahead import ReadAhead

SHAPE, EXAMPLE = 0, 1  # streams of scenes.random
Example = tuple[Tensor, Tensor]  # a picture and its depths


@runtime_checkable
class Labels(Protocol):
    """A data set of pictures with depth of one kind; see `tools.depth.pairs.DepthSet`."""

    name: str
    kind: Kind

    def __len__(self) -> int: ...

    def read(self, index: int) -> Any:
        """Something with rgb (h, w, 3) uint8, values (h, w) and known (h, w): which of them say anything."""
        ...


@dataclass(frozen=True, eq=False)
class Batch:
    """Pictures of all sets, as many of each, those of one set after those of another.

    images  sRGB in [0, 1]
    values  of depth, each set's of its own kind; NaN where nothing is known
    """

    images: Float[Tensor, "n 3 h w"]
    values: Float[Tensor, "n h w"]
    names: tuple[str, ...]
    kinds: tuple[Kind, ...]

    @property
    def parts(self) -> list[slice]:
        """The pictures of each set."""
        size = len(self.images) // len(self.names)
        return [slice(k * size, (k + 1) * size) for k in range(len(self.names))]

    def to(self, device: torch.device | str) -> "Batch":
        return replace(self, images=self.images.to(device), values=self.values.to(device))


def shrunk(
    rgb: UInt8[Tensor, "h w 3"], values: Float[Tensor, "h w"], pixels: int
) -> tuple[UInt8[Tensor, "rows columns 3"], Float[Tensor, "rows columns"]]:
    """A whole number of times smaller, and of no fewer `pixels`: colours averaged, depths picked."""
    height, width = values.shape
    times = max(int((height * width / pixels) ** 0.5), 1)
    if times == 1:
        return rgb, values
    rows, columns = height // times, width // times
    blocks = rgb[: rows * times, : columns * times].reshape(rows, times, columns, times, 3)
    picked = values[times // 2 :: times, times // 2 :: times][:rows, :columns]
    return blocks.float().mean(dim=(1, 3)).round().to(torch.uint8), picked.contiguous()


class Batches:
    """The batches of a training, one a step.

    Args:
        per_set: pictures of each set in a batch.
        shapes: widths and heights of batches, drawn alike.
        memory: bytes of pictures to keep, so that these are read once.
        workers: threads that read.
    """

    def __init__(
        self,
        sets: Sequence[Labels],
        per_set: int,
        shapes: Sequence[tuple[int, int]],
        shares: Shares = USUAL,
        *,
        memory: float | int = 0,
        workers: int = 2,
    ) -> None:
        self.sets, self.per_set, self.shapes, self.shares = tuple(sets), per_set, tuple(shapes), shares
        self._room, self._kept, self._lock = memory, {}, threading.Lock()
        self._orders: Iterator[Tensor] = self._orders_of(0)
        self._standing: tuple[int, int] = (0, 0)  # seed and step that `_orders` gives next
        self._ahead = ReadAhead(self._begin, workers)

    def at(self, seed: int, step: int) -> Batch:
        """The batch of a step of the training with this seed. The next one is begun.

        Raises: what a set does whose files cannot be read; ValueError if one is empty.
        """
        examples = self._ahead.at(seed, step)
        images, values = (torch.stack(parts) for parts in zip(*examples, strict=True))
        names = tuple(each.name for each in self.sets)
        return Batch(images, values, names, tuple(each.kind for each in self.sets))

    def close(self) -> None:
        """Read no more."""
        self._ahead.close()

    def _begin(self, pool: ThreadPoolExecutor, seed: int, step: int) -> list[Future]:
        width, height = self.shapes[self._drawn(seed, step, SHAPE, 1)[0] % len(self.shapes)]
        indices = self._indices(seed, step)
        seeds = iter(self._drawn(seed, step, EXAMPLE, indices.numel()))
        return [
            pool.submit(self._example, place, index, (width, height), next(seeds))
            for place, row in enumerate(indices.tolist())
            for index in row
        ]

    @staticmethod
    def _drawn(seed: int, step: int, stream: int, count: int) -> list[int]:
        return bits(seed, step, stream, torch.arange(count)).tolist()

    def _orders_of(self, seed: int) -> Iterator[Tensor]:
        lengths = [len(each) for each in self.sets]
        return equal_shares(lengths, self.per_set, torch.Generator().manual_seed(seed))

    def _indices(self, seed: int, step: int) -> Tensor:
        """Which pictures of each set: (sets, per_set)."""
        if self._standing != (seed, step):
            self._orders = itertools.islice(self._orders_of(seed), step, None)
        self._standing = seed, step + 1
        return next(self._orders)

    def _example(self, place: int, index: int, size: tuple[int, int], seed: int) -> Example:
        rgb, values = self._read(place, index)
        return augmented(rgb, values, size, torch.Generator().manual_seed(seed), self.shares)

    def _read(self, place: int, index: int) -> Example:
        """A picture as it is kept: no larger than it is of use."""
        kept = self._kept.get((place, index))
        if kept is not None:
            return kept
        found = self.sets[place].read(index)
        values = torch.where(found.known, found.values, torch.nan)
        width, height = self.shapes[0]
        example = shrunk(found.rgb, values, width * height)
        size = sum(part.nbytes for part in example)
        with self._lock:
            if size <= self._room and (place, index) not in self._kept:
                self._room -= size
                self._kept[place, index] = example
        return example
