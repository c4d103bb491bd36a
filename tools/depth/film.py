"""The depth of a video, frame by frame, in one scale from its first frame to its last.

It is gone through twice: answers of the network are brought to those before them and kept in a file without a
name, at the network's size; when it is known what lies nearest and farthest, they are written.
"""

import math
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from render.video import write_video
from scenes.images import ImageError
from scenes.videos import video_frames, video_rate
from tools.depth.align import Steadied, steady
from tools.depth.cloud import lens_of
from tools.depth.models import Released
from tools.depth.outputs import (
    FRAMES,
    Range,
    Wanted,
    colour_picture,
    joined,
    range_of,
    table_of,
    write_cloud,
    write_depth,
)
from tools.depth.predict import Depth, enlarged, seen_by

FPS = 30.0  # where a video does not tell
Answer = Float[Tensor, "rows columns"]
Progress = Callable[[str, int, int], None]  # what, done, of how many (0: not known yet)


@dataclass(frozen=True, eq=False)
class Film:
    """Answers of a network to n frames, brought to one scale, in a file one after the other.

    size: width and height of the frames; shape: of an answer; between: of all frames; cuts: numbers of the
    frames that agree with none before them.
    """

    answers: BinaryIO
    shape: tuple[int, int]
    size: tuple[int, int]
    count: int
    between: Range
    cuts: tuple[int, ...]

    def depths(self, model: Released) -> Iterator[Depth]:
        """Of each frame, in order."""
        self.answers.seek(0)
        length = 4 * math.prod(self.shape)
        for _ in range(self.count):
            values = np.frombuffer(bytearray(self.answers.read(length)), np.float32)
            yield enlarged(torch.from_numpy(values).view(self.shape), model, *self.size)


def aligned(answers: Iterable[Answer]) -> Iterator[tuple[Answer, Steadied]]:
    """Each answer, and how it is brought to those before it."""
    waiting: deque[Answer] = deque()

    def maps() -> Iterator[tuple[Tensor, Tensor]]:
        for answer in answers:
            waiting.append(answer)
            yield answer, torch.ones_like(answer, dtype=torch.bool)

    for placed in steady(maps()):
        yield waiting.popleft(), placed


def look(
    network: nn.Module, model: Released, path: Path, store: BinaryIO, align: bool, progress: Progress
) -> Film:
    """What a network sees in a video. Its answers go to `store`.

    Raises: ImageError if there is no frame, ValueError if they differ in size or an answer is not finite.
    """
    size, shape, ranges, cuts = (0, 0), (0, 0), [], []

    def answers() -> Iterator[Answer]:
        nonlocal size
        for frame in video_frames(path):
            size = size if any(size) else (frame.shape[1], frame.shape[0])
            if frame.shape[1::-1] != size:
                raise ValueError(f"{path}: its frames are of several sizes; convert it to one")
            yield seen_by(network, model, torch.from_numpy(frame.copy()))

    untouched = ((answer, Steadied(1.0, 0.0, False)) for answer in answers())
    for index, (answer, placed) in enumerate(aligned(answers()) if align else untouched):
        answer = placed.scale * answer + placed.shift
        shape = tuple(answer.shape)
        store.write(answer.float().numpy().tobytes())
        ranges.append(range_of(enlarged(answer, model, *size)))
        cuts += [index] * placed.cut
        progress("frame", index + 1, 0)
    if not ranges:
        raise ImageError(f"{path}: no video that ffmpeg can read; give a video or a picture")
    return Film(store, shape, size, len(ranges), joined(ranges), tuple(cuts))


def write_film(
    network: nn.Module,
    model: Released,
    path: Path,
    files: Mapping[str, Path],
    wanted: Wanted,
    *,
    align: bool = True,
    progress: Progress = lambda what, done, total: None,
) -> dict[str, Any]:
    """Write the depth of a video in each format that `files` names, and tell what it means.

    files: folders for frames, and the film, all in one folder. align: bring each frame's inverse depth to
    those before it; metric depth is left as it is.
    Raises: ImageError, ValueError, VideoError, ExportError, OSError.
    """
    align = align and model.kind == "inverse_relative"
    with tempfile.TemporaryFile(dir=next(iter(files.values())).parent) as store, ExitStack() as stack:
        film = look(network, model, path, store, align, progress)
        lens = lens_of(*film.size, fov=wanted.fov, focal=wanted.focal)
        folders = {files[name] for name in FRAMES if name in files}
        fresh = {folder: stack.enter_context(whole_folder(folder)) for folder in folders}
        frames = {n: fresh[files[n]] / f"frame_{{:06d}}{FRAMES[n]}" for n in FRAMES if n in files}
        fps = video_rate(path) or FPS
        pictures = _written(film, model, frames, wanted.colormap, progress)
        if "colour" in files:
            write_video(files["colour"], pictures, fps)
        else:
            deque(pictures, maxlen=0)
        if "cloud" in frames:
            # Their colours come of the video, a second time.
            both = zip(video_frames(path), film.depths(model), strict=False)
            for index, (colours, depth) in enumerate(both):
                place, image = _numbered(frames["cloud"], index), torch.from_numpy(colours.copy())
                write_cloud(place, depth, image, film.between, lens, wanted.ratio)
                progress("writing cloud", index + 1, film.count)
    return {
        **table_of(model.kind, film.between, wanted, lens),
        "width": film.size[0],
        "height": film.size[1],
        "frames": film.count,
        "fps": fps,
        "aligned": align,
        "cuts": [*film.cuts],
    }


def _written(
    film: Film, model: Released, frames: Mapping[str, Path], colormap: str, progress: Progress
) -> Iterator[UInt8[Tensor, "h w 3"]]:
    """The frames in colours, each when its other files are there."""
    for index, depth in enumerate(film.depths(model)):
        files = {name: _numbered(path, index) for name, path in frames.items()}
        write_depth(files, depth, film.between, colormap)
        yield colour_picture(depth, film.between, colormap)
        progress("writing frame", index + 1, film.count)


def _numbered(path: Path, index: int) -> Path:
    return path.with_name(path.name.format(index))


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A folder to write to, which takes the place of `folder` if all goes well, or else is not left."""
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)  # what a kill left
    unfinished.mkdir(parents=True)
    try:
        yield unfinished
        if folder.exists():
            shutil.rmtree(folder)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
