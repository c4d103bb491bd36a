"""Scene files: which format a folder is in, and the one call that reads any of them.

A format is a module with
    recognise(path) -> str | None                why `path` is in this format, or None
    capture(path, allow_outside) -> Capture      all that its files say: scenes/formats/capture.py
and, where the format can be written, write(scene, path). NeRF-synthetic, whose splits are files of their own
and whose frame and bounds are fixed, has splits(path) and read(path, split, downscale, allow_outside) for it.
"""

import importlib
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from scenes.formats.posed import scene_of, splits_of
from scenes.layout import BOUNDS
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
    for name in FORMATS:
        if reason := format_module(name).recognise(path):
            return Detection(name, reason)
    raise SceneError(f"{path}: no scene in a known format ({', '.join(FORMATS)}); check the path")


def splits(path: str | Path) -> tuple[str, ...]:
    """The splits that a scene has, of train, val and test."""
    module = format_module(detect(path).name)
    if hasattr(module, "splits"):
        return module.splits(Path(path))
    return splits_of(module.capture(Path(path), True))


def read(
    path: str | Path,
    split: str = "train",
    downscale: float | int = 1,
    allow_outside: bool = False,
    bounds: str = "auto",
) -> Scene:
    """Read one split of a scene in whatever format it is, or "all" of them.

    downscale: how many times smaller pictures become, at least 1. allow_outside: let a scene file name
    pictures outside of its folder. bounds: box, unbounded, or auto: what the capture suggests (NeRF-synthetic
    scenes have their own).
    Raises: SceneError. Warns: SceneWarning if pictures are missing.
    """
    if bounds not in BOUNDS:
        raise SceneError(f"bounds {bounds!r} is unknown; choose one of {', '.join(BOUNDS)}")
    path = Path(path)
    module = format_module(detect(path).name)
    if hasattr(module, "read"):
        parts = module.splits(path) if split == "all" else (split,)
        scenes = [module.read(path, part, 1, allow_outside) for part in parts]
        return Scene.joined(scenes).downscaled(downscale)
    folder = path.parent if path.is_file() else path
    return scene_of(module.capture(path, allow_outside), folder, split, downscale, bounds)
