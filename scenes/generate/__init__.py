"""Procedural scenes with exact truth. A generator is called with the folder to write,
a function that is told of its progress, and its own options.

Single pictures are made by `scenes.generate.rooms`, and folders of them by `scenes.generate.collection`."""

import difflib
import importlib
from collections.abc import Callable
from typing import Any

from scenes.scene import SceneError

GENERATORS = {
    "lego": "scenes.generate.lego:generate",
    "spheres": "scenes.generate.analytic:generate_spheres",
    "boxes": "scenes.generate.analytic:generate_boxes",
    "planes": "scenes.generate.analytic:generate_planes",
}


def generator(name: str) -> Callable[..., Any]:
    """The function that makes a scene of GENERATORS; its module is imported only now.

    Raises: SceneError for a name that is not in the table.
    """
    if name not in GENERATORS:
        near = difflib.get_close_matches(name, GENERATORS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(GENERATORS)}"
        raise SceneError(f"no generator {name!r}; {hint}")
    module, attribute = GENERATORS[name].split(":")
    return getattr(importlib.import_module(module), attribute)
