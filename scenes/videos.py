"""Videos, frame by frame: ffmpeg decodes, and no more than a few frames are held."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from scenes.images import MAX_PIXELS, ImageError

KINDS = {"gray": "pgm", "rgb24": "ppm"}  # of pixels, and of pictures that say how large they are


def video_frames(path: Path, pixels: str = "rgb24", filters: str = "null") -> Iterator[np.ndarray]:
    """Frames (h, w, 3) uint8, upright, each once: none doubled or dropped to keep a steady rate.

    pixels: gray for frames (h, w). filters: of ffmpeg. Ends early where ffmpeg cannot go on; of what is no
    video there are no frames. They are read-only.
    Raises: ImageError for frames of more than MAX_PIXELS.
    """
    output = ["-map", "0:v:0", "-fps_mode", "passthrough", "-vf", filters, "-pix_fmt", pixels]
    command = [*_ffmpeg(path), *output, "-c:v", KINDS[pixels], "-f", "image2pipe", "-"]
    # In a session of its own: Ctrl-C is for us to hear, who then stop it.
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            while (frame := _frame(path, process.stdout)) is not None:
                yield frame
        finally:
            process.kill()


def _frame(path: Path, stream: BinaryIO) -> np.ndarray | None:
    """The next frame of a stream of PGM or PPM; None at its end."""
    magic, size, _ = stream.readline(), stream.readline(), stream.readline()
    if not size:
        return None
    width, height = map(int, size.split())
    if width * height > MAX_PIXELS:
        raise ImageError(f"{path}: {width} x {height} is more than {MAX_PIXELS} pixels; shrink it first")
    channels = 3 if magic == b"P6\n" else 1
    data = stream.read(width * height * channels)
    if len(data) < width * height * channels:
        return None
    shape = (height, width, 3) if channels == 3 else (height, width)
    return np.frombuffer(data, np.uint8).reshape(shape)


def video_seconds(path: Path) -> float:
    """How long a video is, 0 where ffmpeg cannot tell."""
    said = subprocess.run(_ffmpeg(path), stdin=subprocess.DEVNULL, capture_output=True).stderr
    found = re.search(rb"Duration: (\d+):(\d+):(\d+\.\d+)", said)
    hours, minutes, seconds = map(float, found.groups()) if found else (0.0, 0.0, 0.0)
    return 3600 * hours + 60 * minutes + seconds


def video_rate(path: Path) -> float:
    """Frames a second of a video's pictures, however long its sound is; 0 where ffmpeg cannot tell."""
    said = subprocess.run(_ffmpeg(path), stdin=subprocess.DEVNULL, capture_output=True).stderr
    found = re.search(rb"Video: [^\n]*?, (\d+(?:\.\d+)?)(k?) fps", said)
    return float(found[1]) * (1000 if found[2] else 1) if found else 0.0


def _ffmpeg(path: Path) -> list[str]:
    import imageio_ffmpeg

    # Whatever the name looks like and whatever the file says: it is a file, and leads to nothing but files.
    return [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-protocol_whitelist", "file", "-i", f"file:{path}"]
