"""A training that is watched while it goes on: the model that learns is the model that is shown.

The kernels do one thing at a time with a model (a lock of theirs), so no picture is of half a step.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from render.console import Console
from scenes.scene import Scene
from tools.viewer.command import FRAME_RATE, Viewing
from tools.viewer.gate import open_gate
from tools.viewer.photographs import Photographs
from tools.viewer.web import serve


@contextmanager
def live(run: Any, model: Any, scene: Scene, port: int, console: Console) -> Iterator[Callable[[], None]]:
    """Within, a browser on this machine can look. Yields what the training calls when it has learnt."""
    points = scene.points if len(scene.points) else None
    viewing = Viewing(run, model, scene.cameras, scene.frame_names, Photographs(scene), points, FRAME_RATE)
    viewing.learnt(model)
    gate = open_gate("127.0.0.1", port)
    end = serve(gate.server, viewing.session, viewing.overlays, run.path.name)
    console.say(f"watch it learn: {gate.url}")
    try:
        yield lambda: viewing.learnt(model)
    finally:
        end()
        gate.close()
