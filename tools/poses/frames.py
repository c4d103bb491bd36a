"""Frames of a video to find poses of: the sharpest of each window of time.

A frame is known by its number in the order of decoding, from 0. ffmpeg decodes twice: once small and grey
to measure every frame, once in full for the frames that are kept. Neither holds more than a few frames.
"""

import re
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from tools.poses.photos import PosesError, Progress

MEASURED_WIDTH = 640  # pixels; more shows noise, less hides blur
PER_SECOND, FEWEST, MOST = 2, 60, 300  # frames that are kept, where nobody says how many
JPEG_QUALITY = 95


class Kept(NamedTuple):
    """A frame that is kept: its number, when it is shown (about; s), how sharp it is."""

    number: int
    time: float
    sharpness: float

    @property
    def name(self) -> str:
        return f"frame_{self.number:06d}.jpg"


class Plan(NamedTuple):
    """How many frames a video has, and those to keep in order of time."""

    frames: int
    kept: list[Kept]


def sharpness(grey: np.ndarray) -> float:
    """Variance of the Laplacian of a picture (h, w) uint8, over the variance of the picture itself.

    Blur takes away what the Laplacian answers to, and leaves most of the rest; the ratio does not change
    with exposure and contrast. 0 for a picture of one tone. Source: Pech-Pacheco et al., ICPR 2000, LAPV.
    """
    tones = grey.astype(np.float32)
    spread = float(tones.var())
    if min(tones.shape) < 3 or spread == 0:
        return 0.0
    middle = tones[1:-1, 1:-1]
    laplacian = tones[:-2, 1:-1] + tones[2:, 1:-1] + tones[1:-1, :-2] + tones[1:-1, 2:] - 4 * middle
    return float(laplacian.var()) / spread


def choose(values: list[float], count: int) -> list[int]:
    """The largest value's index in each of `count` windows of equal length; all where there are no more."""
    count = min(count, len(values))
    edges = [len(values) * i // count for i in range(count + 1)] if count else []
    return [max(range(*window), key=values.__getitem__) for window in pairwise(edges)]


def default_count(seconds: float, frames: int) -> int:
    """How many frames to keep of a video."""
    return min(max(round(seconds * PER_SECOND), FEWEST), MOST, frames)


def plan(path: Path, count: int | None = None, progress: Progress | None = None) -> Plan:
    """Which frames of a video to keep: `count`, or if None two a second within FEWEST and MOST.

    Raises: PosesError if it is no video, or holds fewer than two frames.
    """
    values = []
    for grey in _decoded(path, "pgm", "gray", f"scale='min({MEASURED_WIDTH},iw)':-2"):
        values.append(sharpness(grey))
        if progress is not None:
            progress(len(values), 0)
    if not values:
        raise PosesError(f"{path}: no video that ffmpeg can read; give a video, or a folder of photographs")
    seconds = _seconds(path)
    wanted = choose(values, count or default_count(seconds, len(values)))
    if len(wanted) < 2:
        raise PosesError(f"{path}: poses need at least two frames, got {len(wanted)} of {len(values)}")
    return Plan(len(values), [Kept(n, seconds * n / len(values), values[n]) for n in wanted])


def write(path: Path, planned: Plan, folder: Path, progress: Progress | None = None) -> tuple[int, int]:
    """Write the frames of a plan into a new folder, as JPEG. Returns their width and height.

    Raises: PosesError if the video is no longer the one that was planned with.
    """
    from PIL import Image

    folder.mkdir(parents=True)
    chosen = "+".join(f"eq(n\\,{frame.number})" for frame in planned.kept)
    written, shape = 0, (0, 0, 3)
    for picture in _decoded(path, "ppm", "rgb24", f"select={chosen}"):
        file = folder / planned.kept[written].name
        Image.fromarray(picture).save(file, format="JPEG", quality=JPEG_QUALITY, subsampling=0)
        written, shape = written + 1, picture.shape
        if progress is not None:
            progress(written, len(planned.kept))
    if written < len(planned.kept):
        raise PosesError(f"{path}: breaks off before frame {planned.kept[written].number}; convert it again")
    return shape[1], shape[0]


def _ffmpeg(path: Path) -> list[str]:
    import imageio_ffmpeg

    # Whatever the name looks like and whatever the file says: it is a file, and leads to nothing but files.
    return [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-protocol_whitelist", "file", "-i", f"file:{path}"]


def _decoded(path: Path, kind: str, pixels: str, filters: str) -> Iterator[np.ndarray]:
    """Frames (h, w) or (h, w, 3) uint8, upright, each once: none doubled or dropped to keep a steady rate.

    kind: pgm or ppm, whose frames say how large they are. Ends early where ffmpeg cannot go on.
    """
    output = ["-map", "0:v:0", "-fps_mode", "passthrough", "-vf", filters, "-pix_fmt", pixels]
    command = [*_ffmpeg(path), *output, "-c:v", kind, "-f", "image2pipe", "-"]
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
    from scenes.images import MAX_PIXELS

    magic, size, _ = stream.readline(), stream.readline(), stream.readline()
    if not size:
        return None
    width, height = map(int, size.split())
    if width * height > MAX_PIXELS:
        raise PosesError(f"{path}: {width} x {height} is more than {MAX_PIXELS} pixels; shrink it first")
    channels = 3 if magic == b"P6\n" else 1
    data = stream.read(width * height * channels)
    if len(data) < width * height * channels:
        return None
    shape = (height, width, 3) if channels == 3 else (height, width)
    return np.frombuffer(data, np.uint8).reshape(shape)


def _seconds(path: Path) -> float:
    """How long a video is, 0 where ffmpeg cannot tell."""
    said = subprocess.run(_ffmpeg(path), stdin=subprocess.DEVNULL, capture_output=True).stderr
    found = re.search(rb"Duration: (\d+):(\d+):(\d+\.\d+)", said)
    hours, minutes, seconds = map(float, found.groups()) if found else (0.0, 0.0, 0.0)
    return 3600 * hours + 60 * minutes + seconds


def as_json(planned: Plan, width: int, height: int) -> dict[str, Any]:
    """What was kept of a video, as plain data."""
    kept = [{"name": frame.name, **frame._asdict()} for frame in planned.kept]
    return {"width": width, "height": height, "frames": planned.frames, "kept": kept}
