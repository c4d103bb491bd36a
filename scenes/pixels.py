"""All training pixels in memory, and batches of rays drawn from them.

The pictures stay uint8, one after the other in one buffer, and kernels read them there. They are cut
into blocks of 8x8 pixels. Where there is alpha, a block is foreground if it or one of its 8 neighbours
shows anything; the rest is certain background, teaches little, and is drawn `background_share` as often.
"""

from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int32, Int64, UInt8
from torch import Tensor

from scenes.cameras import rays_through
from scenes.images import ImageSequence, Progress, for_each_image
from scenes.random import uniform
from scenes.rays import Rays
from scenes.scene import Scene, SceneError

BLOCK = 8  # pixels a side
KINDS, BLOCKS, COLUMNS, ROWS = 0, 1, 2, 3  # streams of scenes.random


@dataclass(frozen=True, eq=False)
class Batch:
    """Rays and what the pictures show along them.

    rgba         (count, 4)  in [0, 1], straight alpha; alpha is 1 where pictures have none
    image_index  (count,)    the picture each ray belongs to
    """

    rays: Rays
    rgba: Float32[Tensor, "count 4"]
    image_index: Int64[Tensor, "count"]


@dataclass(frozen=True, eq=False)
class PixelSource:
    """The pixels of n pictures, their cameras, and their 8x8 blocks.

    data              (total,)   bytes, pictures row by row, channels last
    offset            (n,)       where each picture starts in `data`
    width, height     (n,)       pixels
    channels          3 or 4 (straight alpha), of all pictures
    camera_to_world   (n, 3, 4)  OpenCV axes, model frame
    intrinsics        (n, 4)     fx, fy, cx, cy, pixels
    blocks            (b, 3)     picture, block row, block column; the foreground comes first
    n_foreground      how many blocks are foreground
    background_share  how much a background block counts, in [0, 1]; 1: all blocks alike
    """

    data: UInt8[Tensor, "total"]
    offset: Int64[Tensor, "n"]
    width: Int32[Tensor, "n"]
    height: Int32[Tensor, "n"]
    channels: int
    camera_to_world: Float32[Tensor, "n 3 4"]
    intrinsics: Float32[Tensor, "n 4"]
    blocks: Int32[Tensor, "b 3"]
    n_foreground: int
    background_share: float | int

    @classmethod
    def from_scene(
        cls,
        scene: Scene,
        background_share: float | int = 1.0,
        workers: int | None = None,
        progress: Progress | None = None,
    ) -> "PixelSource":
        """Decode a scene's pictures in parallel, straight into the one buffer.

        workers: threads, default one a core. progress: called with (done, total).
        Raises: SceneError if there are no pictures or one is not as large as its camera says.
        """
        n, cameras = len(scene.images), scene.cameras
        if n == 0:
            raise SceneError(f"scene {scene.name}: no pictures to train on; read it from its folder")
        height, width, channels = cameras.height, cameras.width, 4 if scene.has_alpha else 3
        data, foreground = _decode(scene.images, height, width, channels, workers, progress)
        blocks = torch.cat((foreground.nonzero(), (~foreground).nonzero())).to(torch.int32)
        return cls(
            data=data,
            offset=torch.arange(n) * (height * width * channels),
            width=torch.full((n,), width, dtype=torch.int32),
            height=torch.full((n,), height, dtype=torch.int32),
            channels=channels,
            camera_to_world=cameras.camera_to_world[:, :3].contiguous(),
            intrinsics=cameras.intrinsics.contiguous(),
            blocks=blocks,
            n_foreground=int(foreground.sum()),
            background_share=background_share,
        )

    def __len__(self) -> int:
        return len(self.offset)

    def to(self, device: torch.device | str) -> "PixelSource":
        """The same pixels on another device."""
        arrays = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{k: v.to(device) for k, v in arrays.items() if isinstance(v, Tensor)})

    def foreground_rate(self, background_share: float | int | None = None) -> float:
        """Chance that a draw takes a foreground block.

        Raises: ValueError for a share outside [0, 1], or of 0 where all blocks are background.
        """
        share = self.background_share if background_share is None else background_share
        if not 0 <= share <= 1:
            raise ValueError(f"background_share must lie in [0, 1], got {share}")
        counted = self.n_foreground + share * (len(self.blocks) - self.n_foreground)
        if counted == 0:
            raise ValueError("background_share is 0 and the pictures show nothing; give a share above 0")
        return self.n_foreground / counted

    def draws_foreground(
        self, count: int, seed: int, step: int, background_share: float | int | None = None
    ) -> Bool[Tensor, "count"]:
        """Which of the draws of (seed, step) take a foreground block."""
        index = torch.arange(count, device=self.data.device)
        return uniform(seed, step, KINDS, index).double() < self.foreground_rate(background_share)

    def draw_pixels(
        self, count: int, seed: int, step: int, background_share: float | int | None = None
    ) -> tuple[Int64[Tensor, "count"], Int64[Tensor, "count"], Int64[Tensor, "count"]]:
        """Picture, x and y of `count` random pixels; a pure function of (seed, step).

        Streams 0 to 3 of `scenes.random` choose foreground or background, block, column and row. Their
        products are taken in float64, so that every backend rounds alike.
        """
        index = torch.arange(count, device=self.data.device)
        u = [uniform(seed, step, stream, index).double() for stream in (BLOCKS, COLUMNS, ROWS)]
        n_background = len(self.blocks) - self.n_foreground
        in_foreground = self.draws_foreground(count, seed, step, background_share)
        size = torch.where(in_foreground, self.n_foreground, n_background)
        first = torch.where(in_foreground, 0, self.n_foreground)
        block = first + torch.minimum((u[0] * size).long(), size - 1)
        image, row, column = self.blocks[block].long().unbind(-1)
        x = torch.minimum(BLOCK * column + (u[1] * BLOCK).long(), self.width[image].long() - 1)
        y = torch.minimum(BLOCK * row + (u[2] * BLOCK).long(), self.height[image].long() - 1)
        return image, x, y

    def draw(self, count: int, seed: int, step: int, background_share: float | int | None = None) -> Batch:
        """`count` random rays with their colours; a pure function of (seed, step).

        background_share: overrides the source's own for this draw.
        """
        image, x, y = self.draw_pixels(count, seed, step, background_share)
        pixels = torch.stack((x, y), dim=-1).to(torch.float32) + 0.5
        rays = rays_through(self.camera_to_world[image], self.intrinsics[image], pixels)
        start = self.offset[image] + (y * self.width[image] + x) * self.channels
        channel = torch.arange(self.channels, device=start.device)
        colours = self.data[start[:, None] + channel].to(torch.float32) / 255
        rgba = torch.cat((colours, torch.ones_like(colours[:, : 4 - self.channels])), dim=-1)
        return Batch(rays, rgba, image)


def _decode(
    images: ImageSequence,
    height: int,
    width: int,
    channels: int,
    workers: int | None,
    progress: Progress | None,
) -> tuple[UInt8[Tensor, "total"], Bool[Tensor, "n rows columns"]]:
    """All pictures in one buffer, and which of their blocks are foreground."""
    data = torch.empty((len(images), height, width, channels), dtype=torch.uint8)
    rows, columns = -(-height // BLOCK), -(-width // BLOCK)
    foreground = torch.ones((len(images), rows, columns), dtype=torch.bool)

    def take(index: int, image: UInt8[Tensor, "h w c"]) -> None:
        if image.shape[:2] != (height, width):
            raise SceneError(
                f"{images.name(index)}: is {image.shape[1]} x {image.shape[0]}, its camera "
                f"{width} x {height}; bring both to one size"
            )
        if image.shape[2] > channels:
            raise SceneError(f"{images.name(index)}: has alpha, the scene says none; set has_alpha")
        data[index, ..., : image.shape[2]] = image
        if image.shape[2] < channels:
            data[index, ..., 3] = 255
        if channels == 4:
            foreground[index] = torch.from_numpy(foreground_blocks(data[index, ..., 3].numpy()))

    for_each_image(images, take, workers, progress)
    return data.flatten(), foreground


def foreground_blocks(alpha: np.ndarray) -> np.ndarray:
    """Which 8x8 blocks of a uint8 (height, width) alpha channel show anything, or touch one that does."""
    height, width = alpha.shape
    padded = np.pad(alpha != 0, ((0, -height % BLOCK), (0, -width % BLOCK)))
    shown = padded.reshape(padded.shape[0] // BLOCK, BLOCK, padded.shape[1] // BLOCK, BLOCK).any(axis=(1, 3))
    apron = np.pad(shown, 1)
    tall = apron[:-2] | apron[1:-1] | apron[2:]
    return tall[:, :-2] | tall[:, 1:-1] | tall[:, 2:]
