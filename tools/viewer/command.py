"""`render view RUN`: look at a run and move through it, in a window, or in a browser with --web."""

import threading
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

from render.arguments import Parser, add_machine_options, warn, whole
from render.console import Console

SUMMARY = "Look at a run and move through it. A run that is still being trained is shown as it learns."
FRUSTUM = 0.08  # of the scene's size: length of a training camera's frustum
THUMBNAIL = 96  # pixels of its photograph's longest side
MOST_THUMBNAILS = 200
POLL = 1.0  # seconds between looks for a newer checkpoint
CAMERA_COLOUR, POINT_COLOUR = (80, 160, 255), (255, 120, 40)


def parser() -> Parser:
    parser = Parser("view", SUMMARY)
    parser.add_argument("run", metavar="RUN", help="a run folder, one of its checkpoints, or any file in it")
    parser.add_argument(
        "--fps", type=whole, default=15, metavar="N", help="pictures a second while it moves (default: 15)"
    )
    parser.add_argument(
        "--scene", type=Path, metavar="SCENE", help="where the photographs are (default: where they were)"
    )
    parser.add_argument(
        "--allow-outside", action="store_true", help="let the scene file name pictures outside its folder"
    )
    add_machine_options(parser)
    return parser


def main(arguments: list[str]) -> int:
    options = parser().parse_args(arguments)
    from tools.viewer.display import check_display

    check_display()
    console = Console()
    run, session, overlays = opened(options, console)
    from tools.viewer.window import Window

    Window(session, f"render: {run.path.name}", run.path, overlays).run()
    return 0


def opened(options: Namespace, console: Console) -> tuple[Any, Any, dict[str, Callable[[], Any]]]:
    """The run, a session that follows its training, and what can be laid over its pictures."""
    from render.commands.prepare import set_threads
    from render.run import find, load_model
    from render.run_cameras import load_cameras
    from scenes.scene import Scene
    from tools.viewer.session import Session

    set_threads(options.threads)
    run, chosen = find(options.run)
    where = {"device": options.device or "cpu", "backend": options.backend or "auto"}
    model, step = load_model(run, chosen, **where, warn=warn)
    cameras, names = None, ()
    if (run.path / "cameras.json").exists():
        cameras, names = load_cameras(run)
    photographs, points = taken(run, options, console)
    session = Session(
        model,
        Scene.from_header(run.config.scene),
        cameras=cameras,
        names=names,
        photographs=photographs,
        frame_rate=options.fps,
    )
    console.say(f"{run.path}: {run.config.method}, step {step}")
    if chosen is None:
        follower = threading.Thread(target=follow, args=(session, run, step, where), daemon=True)
        follower.start()
    return run, session, overlays_of(session, points)


def taken(run: Any, options: Namespace, console: Console) -> tuple[Any, Any]:
    """The photographs of a run's training, and the points of its structure from motion; None if not there."""
    from render.commands.prepare import read_scene
    from scenes.scene import SceneError
    from tools.viewer.photographs import Photographs

    source, config = options.scene or run.config.source, run.config
    if source is None:
        return None, None
    try:
        rest = config.downscale, options.allow_outside, config.bounds, config.hold_out
        scene = read_scene(Path(source), "train", *rest)
    except (OSError, SceneError, ValueError) as error:
        if options.scene:
            raise
        console.say(f"without photographs: {error}")
        return None, None
    return Photographs(scene), scene.points if len(scene.points) else None


def overlays_of(session: Any, points: Any) -> dict[str, Callable[[], Any]]:
    """Training cameras, their photographs and sparse points, each made when it is first shown."""
    import torch

    from tools.viewer.overlays import Dots, frusta

    found: dict[str, Callable[[], Any]] = {}
    length = FRUSTUM * session.scene.orbit.radius
    if session.cameras is not None:
        found["cameras"] = lambda: frusta(session.cameras, length, CAMERA_COLOUR)
    if session.photographs is not None:
        found["photographs"] = lambda: hung(session.photographs, length)
    if points is not None:
        colours = torch.tensor([POINT_COLOUR], dtype=torch.uint8).expand(len(points), -1)
        found["points"] = lambda: Dots(points, colours)
    return found


def hung(photographs: Any, length: float) -> Any:
    """The photographs as thumbnails across their frusta."""
    from scenes.images import quantised
    from tools.viewer.solids import Hangings

    few = list(range(0, len(photographs.scene), -(-len(photographs.scene) // MOST_THUMBNAILS)))
    pictures = [quantised(photographs.picture(index, THUMBNAIL)[0]) for index in few]
    return Hangings(photographs.scene.cameras[few], pictures, length)


def follow(session: Any, run: Any, step: int, where: dict[str, str]) -> None:
    """Show what a running training has learnt, whenever it leaves a checkpoint."""
    import time

    from render import checkpoint
    from render.checkpoint import CheckpointError
    from render.run import load_model

    newest = step
    while not session.closed:
        time.sleep(POLL)
        stored = checkpoint.stored(run.checkpoints)
        if not stored or checkpoint.step_of(stored[0]) <= newest:
            continue
        try:
            model, newest = load_model(run, None, **where, warn=lambda message: None)
        except CheckpointError:
            continue  # it was just being replaced: the next look finds the one after it
        session.model = model
        session.learnt()
