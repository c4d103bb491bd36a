"""All pictures of a scene, decoded into one buffer, with a table of the 8x8 blocks that may be drawn.

The buffer lies in memory, or in a file that is mapped into it (scenes/memory.py); what is in it is the same.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float32, Int32, Int64, UInt8
from torch import Tensor
from torch.nn.functional import pad

from scenes.blocks import BLOCK, block_bits, foreground_blocks, visible_fields
from scenes.depths import distances_along_rays
from scenes.images import Progress, for_each_image, read_mask, shrunk_mask
from scenes.memory import FACTORS, Needs, Plan, file_places, mapped_file, plan
from scenes.scene import Scene, SceneError
from scenes.sightings import Sightings, sightings_in

HIDDEN, BACKGROUND, FOREGROUND = 0, 1, 2  # kinds of blocks
KINDS_DRAWN = (FOREGROUND, BACKGROUND)  # in the order in which they are listed
ALIGNMENT = 64  # bytes, of the arrays in the buffer
ENTRY, BITS, DISTANCE = 12, 8, 4  # bytes of a block in the table, of what is seen of it, of a pixel's depth
# Bytes that a worker holds for each pixel of a file, measured: as it is, and to shrink 3 or 4 channels.
DECODED, SHRUNK = 16, {3: 48, 4: 64}
STRAIGHT, BENT = 84, 290  # the same for each pixel whose depth is known, without and with a lens to undo


class Buffer(NamedTuple):
    """The arrays in the one buffer; the table of blocks is as long as it could become.

    data       (total,)   bytes, pictures row by row, channels last
    blocks     (most, 3)  picture, block row, block column; the foreground first
    seen       (most,)    the bits of each block that may be drawn; None: all
    distances  (p,)       along the ray of each pixel, where the scene has depths
    """

    data: UInt8[Tensor, "total"]
    blocks: Int32[Tensor, "most 3"]
    seen: Int64[Tensor, "most"] | None
    distances: Float32[Tensor, "p"] | None

    @property
    def unlisted(self) -> Int64[Tensor, "most"]:
        """What is seen of the blocks, in the order of the pictures: it stands where the table comes later."""
        return self.blocks.view(-1)[: 2 * len(self.blocks)].view(torch.int64)


class Decoded(NamedTuple):
    """What `decode` found: `Buffer`, cut to the blocks that are listed, and which of these are foreground.

    sightings: of all pictures, or None.
    """

    buffer: Buffer
    n_foreground: int
    sightings: Sightings | None


class Layout(NamedTuple):
    """Where everything of n pictures lies.

    sizes         (n, 2)   width and height, pixels
    channels      3 or 4, of all pictures
    offset        (n+1,)   the first byte of each picture, and the end
    columns       (n,)     of blocks
    block_offset  (n+1,)   the first block of each picture, and the end
    """

    sizes: Int64[Tensor, "n 2"]
    channels: int
    offset: Int64[Tensor, "n+1"]
    columns: Int64[Tensor, "n"]
    block_offset: Int64[Tensor, "n+1"]

    @classmethod
    def of(cls, scene: Scene) -> "Layout":
        sizes, channels = scene.cameras.sizes.cpu(), 4 if scene.has_alpha else 3
        sides = -(-sizes // BLOCK)
        ends = [pad(area.prod(dim=-1).cumsum(0), (1, 0)) for area in (sizes, sides)]
        return cls(sizes, channels, ends[0] * channels, sides[:, 0], ends[1])

    def bytes_of(self, index: int) -> slice:
        """Where a picture lies in the data."""
        return slice(*self.offset[index : index + 2].tolist())

    def blocks_of(self, index: int) -> slice:
        """The blocks of a picture, among all."""
        return slice(*self.block_offset[index : index + 2].tolist())

    def lengths(self, partly: bool, deep: bool) -> tuple[int, int, int, int]:
        """Bytes of the arrays of `Buffer`; partly: not all of every picture is seen; deep: it has depths."""
        most, total = int(self.block_offset[-1]), int(self.offset[-1])
        return total, most * ENTRY, most * BITS * partly, total // self.channels * DISTANCE * deep

    def allocate(self, partly: bool, deep: bool, folder: Path | None) -> Buffer:
        """The buffer, in memory or in a file in `folder`."""
        lengths = self.lengths(partly, deep)
        starts = [0]
        for length in lengths:
            starts.append(starts[-1] + -(-length // ALIGNMENT) * ALIGNMENT)
        if folder is None:
            buffer = torch.empty(starts[-1], dtype=torch.uint8)
        else:
            buffer = torch.frombuffer(mapped_file(folder, starts[-1]), dtype=torch.uint8)
        data, blocks, seen, distances = (buffer[a : a + n] for a, n in zip(starts, lengths, strict=False))
        return Buffer(
            data,
            blocks.view(torch.int32).view(-1, 3),
            seen.view(torch.int64) if partly else None,
            distances.view(torch.float32) if deep else None,
        )


def plan_pictures(
    scene: Scene,
    downscale: float | int,
    *,
    model: int,
    step: int,
    budget: float | int | None,
    beside: Path | None,
) -> Plan:
    """Settle where the pictures of a scene go; see `scenes.memory.plan`.

    downscale: how many times smaller they are than their files. model, step: bytes, as in `Needs`. budget:
    bytes, or None. beside: where the run will lie.
    Raises: MemoryBudgetError if the training fits nowhere.
    """

    def needs(factor: float | int) -> Needs:
        smaller = scene.downscaled(factor / downscale)
        layout = Layout.of(smaller)
        straight = scene.cameras.distortion is None and scene.cameras.projection == "perspective"
        pixels = int(scene.cameras.sizes.prod(dim=-1).max() * downscale**2)
        decoding = pixels * (DECODED if smaller.images.sizes is None else SHRUNK[layout.channels])
        if scene.depths is not None:
            decoding = max(decoding, (STRAIGHT if straight else BENT) * int(layout.sizes.prod(dim=-1).max()))
        partly = bool(scene.masks) or not straight
        return Needs(sum(layout.lengths(partly, scene.depths is not None)), model, step, decoding)

    smaller = ((factor, needs(factor)) for factor in FACTORS if factor > downscale)
    return plan(needs(downscale), budget, file_places(beside), smaller)


def decode(
    scene: Scene,
    layout: Layout,
    folder: Path | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Decoded:
    """Decode in `workers` threads, default one a core; see `Layout.allocate` and `PixelSource.from_scene`."""
    images, channels = scene.images, layout.channels
    fields = visible_fields(scene.cameras)
    partly = bool(scene.masks) or any(field is not None for field in fields)
    buffer = layout.allocate(partly, scene.depths is not None, folder)
    kinds = torch.empty(len(buffer.blocks), dtype=torch.uint8)
    sighted: dict[int, Sightings] = {}

    def take(index: int, image: UInt8[Tensor, "h w c"]) -> None:
        width, height = layout.sizes[index].tolist()
        _check_picture(images.name(index), image, width, height, channels)
        place = buffer.data[layout.bytes_of(index)].view(height, width, channels)
        place[..., : image.shape[2]] = image
        if image.shape[2] < channels:
            place[..., 3] = 255
        blocks = layout.blocks_of(index)
        kinds[blocks], bits = FOREGROUND, None
        if channels == 4:
            shown = torch.from_numpy(foreground_blocks(place[..., 3].numpy())).flatten()
            kinds[blocks][~shown] = BACKGROUND
        if partly:
            bits = _seen(scene, index, fields[index], (height, width))
            buffer.unlisted[blocks] = bits.flatten()
            kinds[blocks][bits.flatten() == 0] = HIDDEN
        if scene.depths is not None:
            pixels = slice(*(layout.offset[index : index + 2] // channels).tolist())
            depths, camera = scene.depths.subset([index]), scene.cameras[[index]]
            buffer.distances[pixels] = distances_along_rays(depths, camera)
        if scene.shown:
            sighted[index] = sightings_in(scene, index, bits)

    for_each_image(images, take, workers, progress)
    found = [sighted[index] for index in range(len(images))] if sighted else []
    sightings = Sightings(*map(torch.cat, zip(*found, strict=True))) if found else None
    return Decoded(*_listed(layout, buffer, kinds), sightings)


def _check_picture(name: str, image: UInt8[Tensor, "h w c"], width: int, height: int, channels: int) -> None:
    """Raises SceneError unless a picture is what its scene says."""
    if image.shape[:2] != (height, width):
        raise SceneError(
            f"{name}: is {image.shape[1]} x {image.shape[0]}, its camera {width} x {height}; "
            "bring both to one size"
        )
    if image.shape[2] > channels:
        raise SceneError(f"{name}: has alpha, the scene says none; set has_alpha")


def _seen(
    scene: Scene, index: int, field: Int64[Tensor, "rows columns"] | None, size: Sequence[int]
) -> Int64[Tensor, "rows columns"]:
    """Which pixels of each block of a picture may be drawn: the mask says so, and the lens sees there."""
    height, width = size
    mask = scene.masks[index] if scene.masks else None
    if mask is None:
        return block_bits(torch.ones(height, width, dtype=torch.bool)) if field is None else field
    found = mask if isinstance(mask, Tensor) else read_mask(mask)
    bits = block_bits(shrunk_mask(found, width, height))
    return bits if field is None else bits & field


def _listed(layout: Layout, buffer: Buffer, kinds: UInt8[Tensor, "most"]) -> tuple[Buffer, int]:
    """Fill the table with the blocks that may be drawn, and count those of the foreground."""
    if buffer.seen is not None:  # before the table covers what it comes from
        for _, chosen, place in _drawn(layout, kinds):
            buffer.seen[place] = buffer.unlisted[chosen]
    end = 0
    for index, chosen, place in _drawn(layout, kinds):
        within, columns = chosen - layout.block_offset[index], layout.columns[index]
        row, column = torch.div(within, columns, rounding_mode="floor"), within % columns
        buffer.blocks[place] = torch.stack((torch.full_like(row, index), row, column), dim=-1).to(torch.int32)
        end = place.stop
    seen = None if buffer.seen is None else buffer.seen[:end]
    listed = buffer._replace(blocks=buffer.blocks[:end], seen=seen)
    return listed, int((kinds == FOREGROUND).sum())


def _drawn(layout: Layout, kinds: UInt8[Tensor, "most"]) -> Iterator[tuple[int, Int64[Tensor, "k"], slice]]:
    """Picture by picture, foreground first: blocks that may be drawn, and their places in the table."""
    end = 0
    for kind in KINDS_DRAWN:
        for index in range(len(layout.sizes)):
            blocks = layout.blocks_of(index)
            chosen = (kinds[blocks] == kind).nonzero().flatten() + blocks.start
            yield index, chosen, slice(end, end + len(chosen))
            end += len(chosen)
