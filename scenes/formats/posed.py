"""The scene that a capture becomes: the pictures that are there, in a frame that suits a model."""

import difflib
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from torch import Tensor

from scenes.cameras import Cameras
from scenes.depths import DepthSequence
from scenes.formats.capture import Capture, Frame, Lens, present
from scenes.formats.placing import place
from scenes.images import ImageHeader, ImageSequence, read_header
from scenes.lenses import COEFFICIENTS
from scenes.photographs import PICTURES, name_of
from scenes.scene import Scene, SceneError
from scenes.transforms import similarity_scale

HELD_OUT = 8  # every eighth picture, by sorted name, is for testing
WHITE = (1.0, 1.0, 1.0)
SAME_SHAPE = 0.02  # of the side ratio: a smaller copy of a picture is rounded to whole pixels


class NoSplit(SceneError):
    """A scene has no such split, or none of its pictures is there."""


def splits_of(capture: Capture, hold_out: Sequence[str] = ()) -> tuple[str, ...]:
    """The splits that a capture has; with `hold_out`, train and test whatever it says."""
    if capture.splits is not None and not hold_out:
        return tuple(name for name in ("train", "val", "test") if capture.splits.get(name))
    return ("train", "test") if len(capture.frames) > 1 else ("train",)


def held_out(label: str, names: Sequence[str], hold_out: Sequence[str]) -> set[str]:
    """Those of the pictures that `hold_out` means: by name, or by a shell pattern (* ? [abc]).

    A name may lack its folders and its suffixes. label: for messages.
    Raises: SceneError if one of them means no picture (it tells near names), or together they mean all.
    """
    spelled = {name: _spellings(name) for name in names}
    chosen: set[str] = set()
    for wanted in hold_out:
        found = {
            name
            for name, words in spelled.items()
            if wanted in words or any(fnmatchcase(word, wanted) for word in words)
        }
        if not found:
            last = {word: PurePosixPath(name).name for name, words in spelled.items() for word in words}
            near = {last[word]: None for word in difflib.get_close_matches(wanted, last, n=4, cutoff=0.5)}
            there = f"near: {', '.join(near)}" if near else f"there are {min(names)} to {max(names)}"
            raise SceneError(f"{label}: hold-out {wanted!r} is no picture's name; {there}")
        chosen |= found
    if len(chosen) == len(names):
        raise SceneError(f"{label}: hold-out {','.join(hold_out)} leaves no picture to train on; name fewer")
    return chosen


def _spellings(name: str) -> list[str]:
    """How a picture's name may be given: images/a/1.jpg, a/1.jpg, 1.jpg, 1, ..."""
    parts = PurePosixPath(name).parts
    words = ["/".join(parts[i:]) for i in range(len(parts))]
    for word in words:  # grows: what is left may have a suffix of its own
        path = PurePosixPath(word)
        if path.suffix.lower() in PICTURES:
            words.append(str(path.with_suffix("")))
    return words


def scene_of(
    capture: Capture,
    folder: Path,
    split: str = "train",
    downscale: float | int = 1,
    bounds: str = "auto",
    hold_out: Sequence[str] = (),
) -> Scene:
    """One split of a capture as a scene, or "all". Splits share one model frame, that of all frames.

    bounds: auto, box or unbounded. hold_out: what `held_out` takes; it goes before the capture's own splits.
    Raises: SceneError. Warns: SceneWarning if pictures are missing.
    """
    frames = sorted(present(capture.file, capture.frames), key=lambda frame: frame.name)
    upright = not _posed_as_stored(frames)
    headers = [read_header(frame.image, upright) for frame in frames if frame.image]
    has_alpha = any(header.has_alpha for header in headers)
    cameras = _cameras(frames, headers)
    placed = place(
        cameras,
        torch.from_numpy(capture.points),
        has_alpha=has_alpha,
        bounds=bounds,
        up=capture.up,
        box=capture.box,
        box_is_all=capture.box_is_all,
        near=capture.near,
    )
    parts = _parts(capture, frames, hold_out)
    chosen = _members(capture, frames, split, parts)
    scene = Scene(
        name=name_of(folder),
        cameras=placed.cameras,
        images=ImageSequence(tuple(frame.image for frame in frames if frame.image), upright=upright),
        bounds=placed.bounds,
        background=WHITE if has_alpha and capture.white else None,
        has_alpha=has_alpha,
        source=folder,
        model_from_input=placed.model_from_input,
        frame_names=tuple(frame.name for frame in frames),
        placing=placed.why,
        masks=tuple(frame.mask for frame in frames) if any(frame.mask for frame in frames) else (),
        depths=_depths(capture, frames, float(similarity_scale(placed.model_from_input)), cameras),
        times=_times(frames),
        points=placed.points,
        shown=_shown(frames),
        splits=parts if hold_out or capture.splits is not None else None,
    )
    return scene.subset(chosen).downscaled(downscale)


def _posed_as_stored(frames: list[Frame]) -> bool:
    """Whether the poses are those of the pictures as they are stored, not of those that EXIF turns.

    COLMAP takes no notice of EXIF's orientation. It shows where a picture that is to be turned by a quarter
    has the shape of its camera only if it is not.
    """
    for frame in frames:
        if frame.image is None:
            continue
        wide = frame.lens.width > frame.lens.height
        held, stored = read_header(frame.image), read_header(frame.image, upright=False)
        if held != stored and held.width != held.height:
            return (stored.width > stored.height) == wide
    return False


def _parts(capture: Capture, frames: list[Frame], hold_out: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Names of the frames of each split, in the order of `frames`."""
    names = [frame.name for frame in frames]
    if hold_out:
        testing = held_out(str(capture.file), names, hold_out)
    elif capture.splits is not None:
        listed = {split: set(capture.splits[split]) for split in splits_of(capture)}
        return {split: tuple(name for name in names if name in listed[split]) for split in listed}
    else:
        testing = set(names[::HELD_OUT]) if len(names) > 1 else set()
    parts = {"train": tuple(name for name in names if name not in testing)}
    return parts | ({"test": tuple(name for name in names if name in testing)} if testing else {})


def _members(
    capture: Capture, frames: list[Frame], split: str, parts: dict[str, tuple[str, ...]]
) -> list[int]:
    """Numbers of the frames of a split, or of all."""
    if split == "all":
        return list(range(len(frames)))
    if split not in parts:
        raise NoSplit(f"{capture.file}: no split {split!r}; there are: {', '.join(parts)}")
    if not parts[split]:
        raise NoSplit(f"{capture.file}: no picture of split {split!r} is there")
    names = set(parts[split])
    return [i for i, frame in enumerate(frames) if frame.name in names]


def _cameras(frames: list[Frame], headers: list[ImageHeader]) -> Cameras:
    """Cameras in the input frame, float64, at the sizes that the pictures have."""
    lenses = [_at_size(frame, header) for frame, header in zip(frames, headers, strict=True)]
    return cameras_of([frame.label for frame in frames], [frame.camera_to_world for frame in frames], lenses)


def cameras_of(labels: Sequence[str], poses: Sequence[np.ndarray], lenses: Sequence[Lens]) -> Cameras:
    """Cameras, float64, of (4, 4) poses. labels: for messages. Raises: SceneError if they do not mix."""
    for label, lens in zip(labels, lenses, strict=True):
        if lens.projection != lenses[0].projection:
            raise SceneError(
                f"{label}: its lens is {lens.projection}, that of {labels[0]} "
                f"{lenses[0].projection}. Bring all pictures to one kind (--undistort)."
            )
    coefficients = [[*lens.coefficients, *[0.0] * COEFFICIENTS][:COEFFICIENTS] for lens in lenses]
    numbers = torch.tensor([[lens.fx, lens.fy, lens.cx, lens.cy] for lens in lenses], dtype=torch.float64)
    return Cameras(
        torch.from_numpy(np.stack(poses)),
        *numbers.unbind(-1),
        torch.tensor([lens.width for lens in lenses]),
        torch.tensor([lens.height for lens in lenses]),
        torch.tensor(coefficients, dtype=torch.float64) if any(any(row) for row in coefficients) else None,
        lenses[0].projection,
    )


def _at_size(frame: Frame, header: ImageHeader) -> Lens:
    """A frame's lens at the size of its picture, which may be a smaller or larger copy."""
    lens, x, y = frame.lens, header.width / frame.lens.width, header.height / frame.lens.height
    if abs(x / y - 1) > SAME_SHAPE:
        raise SceneError(
            f"{frame.label}: the picture is {header.width} x {header.height}, its camera is for "
            f"{lens.width} x {lens.height}, another shape. Put the right pictures there, or turn them."
        )
    return replace(
        lens, fx=lens.fx * x, fy=lens.fy * y, cx=lens.cx * x, cy=lens.cy * y,
        width=header.width, height=header.height,
    )  # fmt: skip


def _depths(capture: Capture, frames: list[Frame], scale: float, cameras: Cameras) -> DepthSequence | None:
    if not any(frame.depth for frame in frames):
        return None
    items = tuple(frame.depth for frame in frames)
    depths = DepthSequence(items, capture.depth_unit * scale, capture.depth_unknown)
    return depths.resized(cameras.sizes.tolist())


def _shown(frames: list[Frame]) -> tuple[Tensor, ...]:
    if not any(len(frame.shows) for frame in frames):
        return ()
    return tuple(torch.from_numpy(frame.shows) for frame in frames)


def _times(frames: list[Frame]) -> Tensor | None:
    times = [frame.time for frame in frames if frame.time is not None]
    return torch.tensor(times) if len(times) == len(frames) else None
