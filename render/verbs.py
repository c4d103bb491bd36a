"""The verbs of the command `render`: what each does and where it lives, resolved when it is used.

A table of strings: a verb may live in `tools`, which nothing here imports.
"""

import importlib
from collections.abc import Callable
from typing import Any

COMMANDS = {
    "train": (
        "render.commands.train:main",
        "turn a scene, photographs or a video into a run that can be rendered from anywhere",
    ),
    "eval": ("render.commands.eval:main", "measure a run on held-out views"),
    "video": (
        "render.commands.video:main",
        "render a film of a run: an orbit, past its cameras, or along a path",
    ),
    "view": ("tools.viewer.command:main", "look at a run and move through it, in a window or a browser"),
    "export": (
        "tools.export.command:main",
        "write a run's mesh, point cloud, cameras, depth maps or density, for other programs",
    ),
    "photo": (
        "tools.multiplane.command:main",
        "move into single photographs: planes, films, pages for browsers",
    ),
    "photo-train": (
        "tools.multiplane.train_command:main",
        "train what makes planes of photographs, on pictures with depth",
    ),
    "inpaint-train": (
        "tools.multiplane.inpaint_command:main",
        "train what fills in behind things, on pictures with depth",
    ),
    "depth": ("tools.depth.command:main", "tell how far things are in photographs and videos"),
    "depth-eval": (
        "tools.depth.eval_command:main",
        "measure a depth network, or its predictions, by pictures whose depth is known",
    ),
    "depth-train": ("tools.depth.train_command:main", "train a depth network on pictures with depth"),
    "poses": ("tools.poses.command:main", "find where photographs were taken: photos or a video to a scene"),
    "bench": ("tools.bench:main", "measure the speed of this machine and of the kernels on it"),
    "scenes": ("render.commands.scenes:main", "list, inspect and generate scenes"),
    "doctor": ("tools.doctor:main", "say what is installed, what is missing and what it is for"),
}

# What a training shows itself in: `with LIVE(run, model, scene, port, console) as learnt`.
LIVE = "tools.viewer.live:live"


def command(verb: str) -> Callable[..., int]:
    """The function behind a verb, its module imported now."""
    return resolved(COMMANDS[verb][0])


def resolved(name: str) -> Callable[..., Any]:
    """What "module:function" names."""
    module, function = name.split(":")
    return getattr(importlib.import_module(module), function)
