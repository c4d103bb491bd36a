"""Writes H.264 videos, frame by frame: nothing but the frame at hand is in memory."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.nn import functional as F

from scenes.cameras import Cameras
from scenes.images import quantised


class VideoError(RuntimeError):
    """The video could not be written; the message names the file and the cause."""


def frames(
    model: Any, cameras: Cameras, progress: Callable[[int, int], None] = lambda done, total: None
) -> Iterator[UInt8[Tensor, "h w 3"]]:
    """The picture of each camera, rendered when asked for."""
    for index in range(len(cameras)):
        yield quantised(model.render(cameras[index]).rgb.cpu())
        progress(index + 1, len(cameras))


def write_video(path: Path, pictures: Iterable[UInt8[Tensor, "h w 3"]], fps: float | int = 30) -> None:
    """Write pictures of one size as an mp4 that every player opens (H.264, yuv420p).

    A side of odd length gets one more row or column, a copy of the last: the format wants even ones.
    Raises: VideoError if there is no picture, no encoder, or the file cannot be written.
    """
    import imageio_ffmpeg

    temporary = path.with_name(f".{path.stem}.tmp{path.suffix}")
    writer = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for picture in pictures:
            even = _even(picture)
            if writer is None:
                size = (even.shape[1], even.shape[0])
                # Without macro_block_size=1 the sizes are rounded up to 16 and the pictures rescaled.
                writer = imageio_ffmpeg.write_frames(
                    str(temporary), size, fps=fps, codec="libx264", pix_fmt_out="yuv420p", macro_block_size=1,
                    quality=8, ffmpeg_log_level="error",
                )  # fmt: skip
                writer.send(None)
            writer.send(even.numpy().tobytes())
        if writer is None:
            raise VideoError(f"{path}: no pictures to write")
        writer.close()
        writer = None
        temporary.replace(path)
    except (OSError, RuntimeError) as error:
        raise VideoError(f"{path}: not written: {error}") from error
    finally:
        with contextlib.suppress(OSError):  # what went wrong has been said
            if writer is not None:
                writer.close()
            temporary.unlink(missing_ok=True)


def _even(picture: UInt8[Tensor, "h w 3"]) -> UInt8[Tensor, "h2 w2 3"]:
    height, width = picture.shape[:2]
    if height % 2 == 0 and width % 2 == 0:
        return picture.contiguous()
    planes = F.pad(picture.movedim(-1, 0)[None].float(), (0, width % 2, 0, height % 2), mode="replicate")
    return planes[0].movedim(0, -1).to(torch.uint8).contiguous()
