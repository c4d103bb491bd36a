"""Pixels from fields: samplers, volume rendering, methods, the trainer and the program."""

import importlib

__version__ = "0.1.0"

# Resolved on first use, so that `import render` costs nothing.
_LAZY = {
    "depth": "tools.depth.predict:depth_of",
    "load": "render.run:load",
    "photo": "tools.multiplane.photo:photo",
    "train": "render.trainer:train",
}

__all__ = ["__version__", "depth", "load", "photo", "train"]


def __getattr__(name: str):
    if name not in _LAZY:
        raise AttributeError(f"module 'render' has no attribute {name!r}")
    module, attribute = _LAZY[name].split(":")
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted(__all__)
