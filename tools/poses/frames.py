"""Frames of a video to find poses of: the sharpest of each window of time.

A frame is known by its number in the order of decoding, from 0. ffmpeg decodes twice: once small and grey
to measure every frame, once in full for the frames that are kept. Neither holds more than a few frames.
"""

from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from scenes.videos import video_frames, video_seconds
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
    for grey in video_frames(path, "gray", f"scale='min({MEASURED_WIDTH},iw)':-2"):
        values.append(sharpness(grey))
        if progress is not None:
            progress(len(values), 0)
    if not values:
        raise PosesError(f"{path}: no video that ffmpeg can read; give a video, or a folder of photographs")
    seconds = video_seconds(path)
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
    for picture in video_frames(path, "rgb24", f"select={chosen}"):
        file = folder / planned.kept[written].name
        Image.fromarray(picture).save(file, format="JPEG", quality=JPEG_QUALITY, subsampling=0)
        written, shape = written + 1, picture.shape
        if progress is not None:
            progress(written, len(planned.kept))
    if written < len(planned.kept):
        raise PosesError(f"{path}: breaks off before frame {planned.kept[written].number}; convert it again")
    return shape[1], shape[0]


def as_json(planned: Plan, width: int, height: int) -> dict[str, Any]:
    """What was kept of a video, as plain data."""
    kept = [{"name": frame.name, **frame._asdict()} for frame in planned.kept]
    return {"width": width, "height": height, "frames": planned.frames, "kept": kept}
