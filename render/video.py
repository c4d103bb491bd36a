"""Writes films as H.264 or GIF, frame by frame: nothing but the frame at hand is in memory."""

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from PIL import Image


MOST_GIF_FPS = 50  # the format counts hundredths of a second, of which browsers want at least two


class VideoError(RuntimeError):
    """The video could not be written; the message names the file and the cause."""


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


def write_gif(path: Path, pictures: Iterable[UInt8[Tensor, "h w 3"]], fps: float | int = 30) -> None:
    """Write pictures of one size as a GIF that repeats, each with a palette of its own.

    Raises: VideoError if there is no picture, more of them a second than MOST_GIF_FPS, or the file cannot be
    written.
    """
    from PIL import Image

    if not 0 < fps <= MOST_GIF_FPS:
        raise VideoError(
            f"{path}: a GIF shows at most {MOST_GIF_FPS} pictures a second, not {fps:g}; lower --fps"
        )
    temporary = path.with_name(f".{path.name}.tmp")

    def timed() -> Iterator["Image.Image"]:
        for index, picture in enumerate(pictures):
            frame = Image.fromarray(picture.contiguous().numpy())
            # The film keeps its time, though no picture's is a whole number of hundredths.
            frame.info["duration"] = 10 * (round((index + 1) * 100 / fps) - round(index * 100 / fps))
            yield frame

    frames = timed()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        first = next(frames, None)
        if first is None:
            raise VideoError(f"{path}: no pictures to write")
        with temporary.open("wb") as file:
            first.save(file, "GIF", save_all=True, append_images=frames, loop=0)
        temporary.replace(path)
    except (OSError, OverflowError) as error:  # a picture that stands for more than 655 seconds
        raise VideoError(f"{path}: not written: {error}; as .mp4 it can be") from error
    finally:
        temporary.unlink(missing_ok=True)


def _even(picture: UInt8[Tensor, "h w 3"]) -> UInt8[Tensor, "h2 w2 3"]:
    height, width = picture.shape[:2]
    if height % 2 == 0 and width % 2 == 0:
        return picture.contiguous()
    planes = F.pad(picture.movedim(-1, 0)[None].float(), (0, width % 2, 0, height % 2), mode="replicate")
    return planes[0].movedim(0, -1).to(torch.uint8).contiguous()
