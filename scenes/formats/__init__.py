"""Scene files: which format a folder is in, and the one call that reads any of them.

A format is a module with
    recognise(path) -> str | None       why `path` is in this format, or None
    splits(path) -> tuple[str, ...]     the splits that are there
    read(path, split, downscale, allow_outside) -> Scene
and, where the format can be written, write(scene, path, split).
"""

import importlib
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from scenes.scene import Scene, SceneError

FORMATS = {
    "nerf-synthetic": "scenes.formats.nerf_synthetic",
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
    return format_module(detect(path).name).splits(Path(path))


def read(
    path: str | Path, split: str = "train", downscale: float | int = 1, allow_outside: bool = False
) -> Scene:
    """Read one split of a scene in whatever format it is.

    downscale: how many times smaller pictures become, at least 1. allow_outside: let a scene file name
    pictures outside of its folder.
    Raises: SceneError. Warns: SceneWarning if pictures are missing.
    """
    return format_module(detect(path).name).read(Path(path), split, downscale, allow_outside)
