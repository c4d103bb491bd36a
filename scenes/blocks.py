"""The 8x8 blocks that pictures are cut into: which show anything, and which pixels of them are seen.

What is seen of a block is 64 bits: bit 8 row + column.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from scenes.cameras import Cameras

BLOCK = 8  # pixels a side
STRIP = 512  # rows whose rays are looked at together: a ray takes many times the memory of a pixel


def foreground_blocks(alpha: np.ndarray) -> np.ndarray:
    """Which 8x8 blocks of a uint8 (height, width) alpha channel show anything, or touch one that does."""
    height, width = alpha.shape
    padded = np.pad(alpha != 0, ((0, -height % BLOCK), (0, -width % BLOCK)))
    shown = padded.reshape(padded.shape[0] // BLOCK, BLOCK, padded.shape[1] // BLOCK, BLOCK).any(axis=(1, 3))
    apron = np.pad(shown, 1)
    tall = apron[:-2] | apron[1:-1] | apron[2:]
    return tall[:, :-2] | tall[:, 1:-1] | tall[:, 2:]


def visible_fields(cameras: Cameras) -> list[Tensor | None]:
    """Of every camera: the bits of its blocks that its lens sees at all; None: every one.

    A lens's field is star-shaped about its principal point, so that only pictures whose edges leave it are
    looked at whole.
    """
    if cameras.distortion is None and cameras.projection == "perspective":
        return [None] * len(cameras)
    known: dict[tuple, Tensor | None] = {}
    fields = []
    for camera in (cameras[i].to("cpu") for i in range(len(cameras))):
        lens = (*camera.intrinsics.tolist(), camera.width, camera.height)
        lens += () if camera.distortion is None else tuple(camera.distortion.tolist())
        if lens not in known:
            known[lens] = _visible_field(camera)
        fields.append(known[lens])
    return fields


def _visible_field(camera: Cameras) -> Int64[Tensor, "rows columns"] | None:
    """See `visible_fields`."""
    centres = camera.pixel_centres()
    edges = torch.cat((centres[0], centres[-1], centres[:, 0], centres[:, -1]))
    if bool(camera.rays(edges).directions.isfinite().all()):
        return None
    strips = centres.split(STRIP)
    return torch.cat([block_bits(camera.rays(strip).directions.isfinite().all(dim=-1)) for strip in strips])


def block_bits(seen: Bool[Tensor, "height width"]) -> Int64[Tensor, "rows columns"]:
    """Of each 8x8 block: bit 8 row + column is set where the pixel is seen."""
    height, width = seen.shape
    padded = torch.nn.functional.pad(seen, (0, -width % BLOCK, 0, -height % BLOCK))
    rows, columns = padded.shape[0] // BLOCK, padded.shape[1] // BLOCK
    blocks = padded.view(rows, BLOCK, columns, BLOCK).transpose(1, 2).reshape(rows, columns, BLOCK * BLOCK)
    return torch.from_numpy(np.packbits(blocks.numpy(), axis=-1, bitorder="little")).view(torch.int64)[..., 0]


def nth_bit(
    bits: Int64[Tensor, "n"], u: Float64[Tensor, "n"]
) -> tuple[Int64[Tensor, "n"], Int64[Tensor, "n"]]:
    """Row and column of the set bit that `u` in [0, 1) chooses among those of each block."""
    is_set = bits[:, None] >> torch.arange(BLOCK * BLOCK, device=bits.device) & 1
    count = is_set.sum(dim=-1)
    wanted = torch.minimum((u * count).long(), count - 1)
    place = (is_set.cumsum(dim=-1) > wanted[:, None]).to(torch.int8).argmax(dim=-1)
    return place // BLOCK, place % BLOCK
