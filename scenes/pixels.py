"""All training pixels, and batches of rays drawn from them.

The pictures stay uint8, one after the other in one buffer, and kernels read them there: in memory, or in a
file that is mapped into it (scenes/memory.py). They are cut into blocks of 8x8 pixels. Where there is alpha,
a block is foreground if it or one of its 8 neighbours shows anything; the rest is certain background, teaches
little, and is drawn `background_share` as often. Pixels that a mask hides, or that lie beyond what the lens
can see, are never drawn.
"""

from dataclasses import dataclass, fields, replace
from pathlib import Path

import torch
from jaxtyping import Bool, Float32, Float64, Int32, Int64, UInt8
from torch import Tensor

from scenes.blocks import BLOCK, nth_bit
from scenes.cameras import rays_through
from scenes.decoding import Layout, decode
from scenes.images import Progress
from scenes.random import uniform
from scenes.rays import Rays
from scenes.scene import Scene, SceneError

KINDS, BLOCKS, COLUMNS, ROWS = 0, 1, 2, 3  # streams of scenes.random


@dataclass(frozen=True, eq=False)
class Batch:
    """Rays and what the pictures show along them.

    rgba         (count, 4)  in [0, 1], straight alpha; alpha is 1 where pictures have none
    image_index  (count,)    the picture each ray belongs to
    xy           (count, 2)  the pixel there, column and row
    distance     (count,)    along the ray to what the picture shows, where that is known; else 0
    """

    rays: Rays
    rgba: Float32[Tensor, "count 4"]
    image_index: Int64[Tensor, "count"]
    xy: Int64[Tensor, "count 2"]
    distance: Float32[Tensor, "count"]


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
    distortion        (n, 8)     as in scenes/lenses.py, or None: there is none
    projection        as there
    seen              (b,)       which pixels of each block may be drawn, bit 8 row + column; None: all. A
                                 block counts alike however many they are
    distances         (p,)       of each pixel along its ray, model frame, in the order of `data`; 0 where it
                                 is unknown; None: all are
    sighted           (s, 3)     picture, column, row: pixels that show a point of structure from motion, or
                                 None: no such points are known
    sighted_distance  (s,)       how far each point is along its pixel's ray, model frame
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
    distortion: Float32[Tensor, "n 8"] | None = None
    projection: str = "perspective"
    seen: Int64[Tensor, "b"] | None = None
    distances: Float32[Tensor, "p"] | None = None
    sighted: Int32[Tensor, "s 3"] | None = None
    sighted_distance: Float32[Tensor, "s"] | None = None

    @classmethod
    def from_scene(
        cls,
        scene: Scene,
        background_share: float | int = 1.0,
        workers: int | None = None,
        progress: Progress | None = None,
        folder: Path | None = None,
    ) -> "PixelSource":
        """Decode a scene's pictures in parallel, straight into the one buffer.

        workers: threads, default one a core. progress: called with (done, total). folder: where the file is
        made that holds the buffer; None: it lies in memory. The pixels are the same.
        Raises: SceneError if there are no pictures, one is not as large as its camera says, or all is masked;
        MemoryBudgetError if there is no room for the file.
        """
        n, cameras = len(scene.images), scene.cameras
        if n == 0:
            raise SceneError(f"scene {scene.name}: no pictures to train on; read it from its folder")
        layout = Layout.of(scene)
        buffer, n_foreground, sightings = decode(scene, layout, folder, workers, progress)
        if len(buffer.blocks) == 0:
            raise SceneError(f"scene {scene.name}: the masks leave no pixel to train on; mend or remove them")
        return cls(
            data=buffer.data,
            offset=layout.offset[:-1],
            width=layout.sizes[:, 0].to(torch.int32),
            height=layout.sizes[:, 1].to(torch.int32),
            channels=layout.channels,
            camera_to_world=cameras.camera_to_world[:, :3].contiguous(),
            intrinsics=cameras.intrinsics.contiguous(),
            blocks=buffer.blocks,
            n_foreground=n_foreground,
            background_share=background_share,
            distortion=None if cameras.distortion is None else cameras.distortion.contiguous(),
            projection=cameras.projection,
            seen=buffer.seen,
            distances=buffer.distances,
            sighted=None if sightings is None else sightings.pixel,
            sighted_distance=None if sightings is None else sightings.distance,
        )

    def __len__(self) -> int:
        return len(self.offset)

    def to(self, device: torch.device | str) -> "PixelSource":
        """The same pixels on another device."""
        arrays = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{k: v.to(device) for k, v in arrays.items() if isinstance(v, Tensor)})

    def foreground_rate(
        self, background_share: float | int | None = None, sighting_share: float | int = 0
    ) -> float:
        """Chance that a draw takes a sighting or a foreground block.

        Raises: ValueError for a share outside [0, 1], or of 0 where all blocks are background.
        """
        share = self.background_share if background_share is None else background_share
        for name, value in (("background_share", share), ("sighting_share", sighting_share)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {value}")
        counted = self.n_foreground + share * (len(self.blocks) - self.n_foreground)
        if counted == 0:
            raise ValueError("background_share is 0 and the pictures show nothing; give a share above 0")
        sighted = self.sighting_rate(sighting_share)
        return sighted + (1 - sighted) * self.n_foreground / counted

    def sighting_rate(self, sighting_share: float | int) -> float | int:
        """Chance that a draw takes a sighting: the share that is asked for, if there are any."""
        return 0 if self.sighted is None or len(self.sighted) == 0 else sighting_share

    def draws_foreground(
        self,
        count: int,
        seed: int,
        step: int,
        background_share: float | int | None = None,
        sighting_share: float | int = 0,
    ) -> Bool[Tensor, "count"]:
        """Which of the draws of (seed, step) take a foreground block or a sighting."""
        rate = self.foreground_rate(background_share, sighting_share)
        return self._stream(KINDS, count, seed, step) < rate

    def draw_pixels(
        self, count: int, seed: int, step: int, background_share: float | int | None = None
    ) -> tuple[Int64[Tensor, "count"], Int64[Tensor, "count"], Int64[Tensor, "count"]]:
        """Picture, x and y of `count` random pixels; a pure function of (seed, step).

        Streams 0 to 3 of `scenes.random` choose foreground or background, block, column and row (or, of a
        block that is seen in part, which of its pixels). Their products are taken in float64, so that every
        backend rounds alike.
        """
        foreground = self.draws_foreground(count, seed, step, background_share)
        return self._pixels_in_blocks(foreground, count, seed, step)

    def _stream(self, stream: int, count: int, seed: int, step: int) -> Float64[Tensor, "count"]:
        index = torch.arange(count, device=self.data.device)
        return uniform(seed, step, stream, index).double()

    def _pixels_in_blocks(
        self, foreground: Bool[Tensor, "count"], count: int, seed: int, step: int
    ) -> tuple[Int64[Tensor, "count"], Int64[Tensor, "count"], Int64[Tensor, "count"]]:
        u = [self._stream(stream, count, seed, step) for stream in (BLOCKS, COLUMNS, ROWS)]
        n_background = len(self.blocks) - self.n_foreground
        size = torch.where(foreground, self.n_foreground, n_background)
        first = torch.where(foreground, 0, self.n_foreground)
        block = first + torch.minimum((u[0] * size).long(), size - 1)
        image, row, column = self.blocks[block].long().unbind(-1)
        if self.seen is None:
            x, y = (u[1] * BLOCK).long(), (u[2] * BLOCK).long()
        else:
            y, x = nth_bit(self.seen[block], u[1])
        x = torch.minimum(BLOCK * column + x, self.width[image].long() - 1)
        y = torch.minimum(BLOCK * row + y, self.height[image].long() - 1)
        return image, x, y

    def draw(
        self,
        count: int,
        seed: int,
        step: int,
        background_share: float | int | None = None,
        sighting_share: float | int = 0,
    ) -> Batch:
        """`count` random rays with their colours; a pure function of (seed, step).

        background_share: overrides the source's own for this draw. sighting_share: how many of the rays go
        through sightings, if there are any; stream 0 chooses them before all else, stream 1 which one.
        """
        foreground = self.draws_foreground(count, seed, step, background_share, sighting_share)
        place = torch.stack(self._pixels_in_blocks(foreground, count, seed, step), dim=-1)
        rate, sighted, known = self.sighting_rate(sighting_share), None, self.distances
        if rate > 0:
            chosen = (self._stream(BLOCKS, count, seed, step) * len(self.sighted)).long()
            chosen = chosen.clamp(max=len(self.sighted) - 1)
            sighted = self._stream(KINDS, count, seed, step) < rate
            place = torch.where(sighted[:, None], self.sighted[chosen].long(), place)
        image, x, y = place.unbind(-1)
        pixels = place[:, 1:].to(torch.float32) + 0.5
        distortion = None if self.distortion is None else self.distortion[image]
        rays = rays_through(
            self.camera_to_world[image], self.intrinsics[image], pixels, distortion, self.projection
        )
        start = self.offset[image] + (y * self.width[image] + x) * self.channels
        channel = torch.arange(self.channels, device=start.device)
        colours = self.data[start[:, None] + channel].to(torch.float32) / 255
        rgba = torch.cat((colours, torch.ones_like(colours[:, : 4 - self.channels])), dim=-1)
        distance = torch.zeros_like(rgba[:, 0]) if known is None else known[start // self.channels]
        if sighted is not None:
            distance = torch.where(sighted, self.sighted_distance[chosen], distance)
        return Batch(rays, rgba, image, place[:, 1:], distance)
