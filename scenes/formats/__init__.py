"""Scene files: which format a folder is in, and the one call that reads any of them.

A format is a module with
    recognise(path) -> str | None                why `path` is in this format, or None
    capture(path, allow_outside) -> Capture      all that its files say: scenes/formats/capture.py
and, where the format can be written, write(scene, path). NeRF-synthetic, whose splits are files of their own
and whose frame and bounds are fixed, has splits(path) and read(path, split, downscale, allow_outside) for it.
"""

import importlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from scenes.formats.capture import Capture
from scenes.formats.posed import NoSplit, scene_of, splits_of
from scenes.layout import BOUNDS
from scenes.photographs import kind_of
from scenes.scene import Scene, SceneError

# In the order in which they are tried: a folder can hold several descriptions of one capture.
FORMATS = {
    "d-nerf": "scenes.formats.dnerf",
    "nerf-synthetic": "scenes.formats.nerf_synthetic",
    "nerfstudio": "scenes.formats.nerfstudio",
    "instant-ngp": "scenes.formats.instant_ngp",
    "colmap": "scenes.formats.colmap",
    "llff": "scenes.formats.llff",
    "idr": "scenes.formats.idr",
    "nsvf": "scenes.formats.nsvf",
    "polycam": "scenes.formats.polycam",
    "record3d": "scenes.formats.record3d",
    "rgbd": "scenes.formats.rgbd",
    "realestate10k": "scenes.formats.realestate10k",
}


WITHOUT_POSES = {"photographs": "a folder of photographs", "video": "a video"}


class Detection(NamedTuple):
    """A format's name, and what it was known by."""

    name: str
    reason: str


def format_module(name: str) -> ModuleType:
    """The module of a format in FORMATS."""
    if name not in FORMATS:
        raise SceneError(f"no scene format {name!r}; known: {', '.join(FORMATS)}")
    return importlib.import_module(FORMATS[name])


def detect(path: str | Path) -> Detection:
    """The format of a scene folder, or of a file in it.

    Raises: SceneError if the path is missing or in no known format.
    """
    path = Path(path)
    if not path.exists():
        raise SceneError(f"{path}: no such scene; give a folder, or a scene file in it")
    if found := _recognised(path):
        return found
    if kind := kind_of(path):
        raise SceneError(
            f"{path}: is {WITHOUT_POSES[kind]} without poses; render train {path} finds these first, "
            f"render poses {path} makes a scene with them"
        )
    raise SceneError(f"{path}: no scene in a known format ({', '.join(FORMATS)}); check the path")


def _recognised(path: Path) -> Detection | None:
    for name in FORMATS:
        if reason := format_module(name).recognise(path):
            return Detection(name, reason)
    return None


def unposed(path: str | Path) -> str | None:
    """What is at `path` instead of a scene: "photographs" or a "video" without poses; None: neither."""
    kind = kind_of(Path(path))
    return kind if kind and _recognised(Path(path)) is None else None


def check_bounds(bounds: str) -> None:
    """Raises: SceneError unless these bounds can be asked for."""
    if bounds not in BOUNDS:
        raise SceneError(f"bounds {bounds!r} is unknown; choose one of {', '.join(BOUNDS)}")


def splits(path: str | Path, hold_out: Sequence[str] = ()) -> tuple[str, ...]:
    """The splits that a scene has, of train, val and test. hold_out: as in `read`."""
    path = Path(path)
    module = format_module(detect(path).name)
    if hasattr(module, "splits"):
        _check_not_held_out(path, hold_out)
        return module.splits(path)
    return splits_of(_capture(module, path, True), hold_out)


def read(
    path: str | Path,
    split: str = "train",
    downscale: float | int = 1,
    allow_outside: bool = False,
    bounds: str = "auto",
    hold_out: Sequence[str] = (),
) -> Scene:
    """Read one split of a scene in whatever format it is, or "all" of them.

    downscale: how many times smaller pictures become, at least 1. allow_outside: let a scene file name
    pictures outside of its folder. bounds: box, unbounded, or auto: what the capture suggests (NeRF-synthetic
    scenes have their own). hold_out: names or shell patterns of the pictures that are the test split, instead
    of the capture's own or every eighth; see `scenes.formats.posed.held_out`.
    Raises: SceneError; NoSplit, if the scene has no such split. Warns: SceneWarning if pictures are missing.
    """
    check_bounds(bounds)
    path = Path(path)
    module = format_module(detect(path).name)
    if hasattr(module, "read"):
        _check_not_held_out(path, hold_out)
        return _read_parts(module, path, split, allow_outside).downscaled(downscale)
    folder = path.parent if path.is_file() else path
    return scene_of(_capture(module, path, allow_outside), folder, split, downscale, bounds, hold_out)


def _read_parts(module: ModuleType, path: Path, split: str, allow_outside: bool) -> Scene:
    """Of a format whose splits are files of their own."""
    there = module.splits(path)
    if split not in (*there, "all"):
        raise NoSplit(f"{path}: no split {split!r}; the splits that are there: {', '.join(there)}")
    parts = there if split == "all" else (split,)
    scenes = [module.read(path, part, 1, allow_outside) for part in parts]
    names = {part: scene.frame_names for part, scene in zip(parts, scenes, strict=True)}
    return replace(Scene.joined(scenes), splits=names) if split == "all" else scenes[0]


def _capture(module: ModuleType, path: Path, allow_outside: bool) -> Capture:
    """From here and nowhere else: Python shows the same warning from the same place once."""
    return module.capture(path, allow_outside)


def _check_not_held_out(path: Path, hold_out: Sequence[str]) -> None:
    if hold_out:
        raise SceneError(f"{path}: its splits are files of their own; leave --hold-out (hold_out) away")
