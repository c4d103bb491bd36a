"""All training pixels in memory, and batches of rays drawn from them.

The pictures stay uint8, one after the other in one buffer, and kernels read them there. They are cut
into blocks of 8x8 pixels. Where there is alpha, a block is foreground if it or one of its 8 neighbours
shows anything; the rest is certain background, teaches little, and is drawn `background_share` as often.
Pixels that a mask hides, or that lie beyond what the lens can see, are never drawn.
"""

from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, Int32, Int64, UInt8
from torch import Tensor

from scenes.cameras import Cameras, rays_through
from scenes.images import Progress, for_each_image, read_mask, shrunk_mask
from scenes.random import uniform
from scenes.rays import Rays
from scenes.scene import Scene, SceneError

BLOCK = 8  # pixels a side
HIDDEN, BACKGROUND, FOREGROUND = 0, 1, 2  # kinds of blocks
KINDS_DRAWN = (FOREGROUND, BACKGROUND)  # in the order in which they are listed
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
        Raises: SceneError if there are no pictures, one is not as large as its camera says, or all is masked.
        """
        n, cameras = len(scene.images), scene.cameras
        if n == 0:
            raise SceneError(f"scene {scene.name}: no pictures to train on; read it from its folder")
        channels, sizes = 4 if scene.has_alpha else 3, cameras.sizes.cpu()
        data, offset, kinds, seen = _decode(scene, sizes, channels, workers, progress)
        foreground, background = (_blocks_of(kinds, kind) for kind in KINDS_DRAWN)
        blocks = torch.cat((foreground, background))
        if len(blocks) == 0:
            raise SceneError(f"scene {scene.name}: the masks leave no pixel to train on; mend or remove them")
        if seen is not None:
            seen = torch.cat([seen[i][kinds[i] == kind] for kind in KINDS_DRAWN for i in range(n)])
        return cls(
            data=data,
            offset=offset,
            width=sizes[:, 0].to(torch.int32),
            height=sizes[:, 1].to(torch.int32),
            channels=channels,
            camera_to_world=cameras.camera_to_world[:, :3].contiguous(),
            intrinsics=cameras.intrinsics.contiguous(),
            blocks=blocks.to(torch.int32),
            n_foreground=len(foreground),
            background_share=background_share,
            distortion=None if cameras.distortion is None else cameras.distortion.contiguous(),
            projection=cameras.projection,
            seen=seen,
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

        Streams 0 to 3 of `scenes.random` choose foreground or background, block, column and row (or, of a
        block that is seen in part, which of its pixels). Their products are taken in float64, so that every
        backend rounds alike.
        """
        index = torch.arange(count, device=self.data.device)
        u = [uniform(seed, step, stream, index).double() for stream in (BLOCKS, COLUMNS, ROWS)]
        n_background = len(self.blocks) - self.n_foreground
        in_foreground = self.draws_foreground(count, seed, step, background_share)
        size = torch.where(in_foreground, self.n_foreground, n_background)
        first = torch.where(in_foreground, 0, self.n_foreground)
        block = first + torch.minimum((u[0] * size).long(), size - 1)
        image, row, column = self.blocks[block].long().unbind(-1)
        if self.seen is None:
            x, y = (u[1] * BLOCK).long(), (u[2] * BLOCK).long()
        else:
            y, x = _nth_bit(self.seen[block], u[1])
        x = torch.minimum(BLOCK * column + x, self.width[image].long() - 1)
        y = torch.minimum(BLOCK * row + y, self.height[image].long() - 1)
        return image, x, y

    def draw(self, count: int, seed: int, step: int, background_share: float | int | None = None) -> Batch:
        """`count` random rays with their colours; a pure function of (seed, step).

        background_share: overrides the source's own for this draw.
        """
        image, x, y = self.draw_pixels(count, seed, step, background_share)
        pixels = torch.stack((x, y), dim=-1).to(torch.float32) + 0.5
        distortion = None if self.distortion is None else self.distortion[image]
        rays = rays_through(
            self.camera_to_world[image], self.intrinsics[image], pixels, distortion, self.projection
        )
        start = self.offset[image] + (y * self.width[image] + x) * self.channels
        channel = torch.arange(self.channels, device=start.device)
        colours = self.data[start[:, None] + channel].to(torch.float32) / 255
        rgba = torch.cat((colours, torch.ones_like(colours[:, : 4 - self.channels])), dim=-1)
        known = self.distances
        distance = torch.zeros_like(rgba[:, 0]) if known is None else known[start // self.channels]
        return Batch(rays, rgba, image, torch.stack((x, y), dim=-1), distance)


def _decode(
    scene: Scene, sizes: Int64[Tensor, "n 2"], channels: int, workers: int | None, progress: Progress | None
) -> tuple[UInt8[Tensor, "total"], Int64[Tensor, "n"], list[Tensor], list[Tensor] | None]:
    """All pictures in one buffer, where each starts, the kinds of their blocks, and what of them is seen."""
    images = scene.images
    bytes_of = sizes.prod(dim=-1) * channels
    ends = bytes_of.cumsum(0)
    data = torch.empty(int(ends[-1]), dtype=torch.uint8)
    kinds: list[Tensor] = [torch.empty(0)] * len(images)
    seen: list[Tensor] = [torch.empty(0)] * len(images)
    fields = visible_fields(scene.cameras)
    partly = bool(scene.masks) or any(field is not None for field in fields)

    def take(index: int, image: UInt8[Tensor, "h w c"]) -> None:
        width, height = sizes[index].tolist()
        if image.shape[:2] != (height, width):
            raise SceneError(
                f"{images.name(index)}: is {image.shape[1]} x {image.shape[0]}, its camera "
                f"{width} x {height}; bring both to one size"
            )
        if image.shape[2] > channels:
            raise SceneError(f"{images.name(index)}: has alpha, the scene says none; set has_alpha")
        place = data[int(ends[index] - bytes_of[index]) : int(ends[index])].view(height, width, channels)
        place[..., : image.shape[2]] = image
        if image.shape[2] < channels:
            place[..., 3] = 255
        shown = foreground_blocks(place[..., 3].numpy()) if channels == 4 else True
        kinds[index] = torch.full((-(-height // BLOCK), -(-width // BLOCK)), BACKGROUND)
        kinds[index][torch.as_tensor(shown).expand(kinds[index].shape)] = FOREGROUND
        if partly:
            seen[index] = _block_bits(_seen(scene, index, fields[index], (height, width)))
            kinds[index][seen[index] == 0] = HIDDEN

    for_each_image(images, take, workers, progress)
    return data, ends - bytes_of, kinds, seen if partly else None


def _seen(
    scene: Scene, index: int, field: Bool[Tensor, "h w"] | None, size: tuple[int, int]
) -> Bool[Tensor, "height width"]:
    """Which pixels of a picture may be drawn: the mask says so, and the lens sees there."""
    seen = torch.ones(size, dtype=torch.bool) if field is None else field
    mask = scene.masks[index] if scene.masks else None
    if mask is None:
        return seen
    found = mask if isinstance(mask, Tensor) else read_mask(mask)
    return seen & shrunk_mask(found, *reversed(size))


def visible_fields(cameras: Cameras) -> list[Tensor | None]:
    """Of every camera: which pixels its lens sees at all; None: every one.

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
            centres = camera.pixel_centres()
            edges = torch.cat((centres[0], centres[-1], centres[:, 0], centres[:, -1]))
            whole = bool(camera.rays(edges).directions.isfinite().all())
            known[lens] = None if whole else camera.rays().directions.isfinite().all(dim=-1)
        fields.append(known[lens])
    return fields


def _block_bits(seen: Bool[Tensor, "height width"]) -> Int64[Tensor, "rows columns"]:
    """Of each 8x8 block: bit 8 row + column is set where the pixel is seen."""
    height, width = seen.shape
    padded = torch.nn.functional.pad(seen, (0, -width % BLOCK, 0, -height % BLOCK))
    rows, columns = padded.shape[0] // BLOCK, padded.shape[1] // BLOCK
    bits = padded.view(rows, BLOCK, columns, BLOCK).transpose(1, 2).reshape(rows, columns, BLOCK * BLOCK)
    return (bits.long() << torch.arange(BLOCK * BLOCK)).sum(dim=-1)  # bit 63 wraps to the sign, as it should


def _nth_bit(
    bits: Int64[Tensor, "n"], u: Float64[Tensor, "n"]
) -> tuple[Int64[Tensor, "n"], Int64[Tensor, "n"]]:
    """Row and column of the set bit that `u` in [0, 1) chooses among those of each block."""
    is_set = bits[:, None] >> torch.arange(BLOCK * BLOCK, device=bits.device) & 1
    count = is_set.sum(dim=-1)
    wanted = torch.minimum((u * count).long(), count - 1)
    place = (is_set.cumsum(dim=-1) > wanted[:, None]).to(torch.int8).argmax(dim=-1)
    return place // BLOCK, place % BLOCK


def _blocks_of(kinds: list[Tensor], kind: int) -> Int64[Tensor, "b 3"]:
    """Picture, row and column of the blocks of one kind, in order."""
    found = []
    for index, image in enumerate(kinds):
        place = (image == kind).nonzero()
        found.append(torch.cat((torch.full_like(place[:, :1], index), place), dim=-1))
    return torch.cat(found)


def foreground_blocks(alpha: np.ndarray) -> np.ndarray:
    """Which 8x8 blocks of a uint8 (height, width) alpha channel show anything, or touch one that does."""
    height, width = alpha.shape
    padded = np.pad(alpha != 0, ((0, -height % BLOCK), (0, -width % BLOCK)))
    shown = padded.reshape(padded.shape[0] // BLOCK, BLOCK, padded.shape[1] // BLOCK, BLOCK).any(axis=(1, 3))
    apron = np.pad(shown, 1)
    tall = apron[:-2] | apron[1:-1] | apron[2:]
    return tall[:, :-2] | tall[:, 1:-1] | tall[:, 2:]
