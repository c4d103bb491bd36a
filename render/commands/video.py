"""`render video RUN`: an orbit around the scene, as mp4."""

import json
import time
from pathlib import Path
from typing import Any

from render.arguments import Parser, add_machine_options, add_output_options, warn, whole
from render.console import Console, duration

SUMMARY = "Render an orbit video of a run. Needs no dataset."
FRAMES, FPS, WIDTH = 120, 30, 400


def parser() -> Parser:
    parser = Parser("video", SUMMARY)
    parser.add_argument("run", metavar="RUN", help="a run folder, one of its checkpoints, or any file in it")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the video (default: orbit.mp4 in the run)")
    parser.add_argument(
        "--frames", type=whole, default=FRAMES, metavar="N", help=f"pictures (default: {FRAMES})"
    )
    parser.add_argument(
        "--fps", type=whole, default=FPS, metavar="N", help=f"pictures a second (default: {FPS})"
    )
    parser.add_argument(
        "--width",
        type=whole,
        metavar="PIXELS",
        help=f"default: {WIDTH}, or the training pictures' if that is less",
    )
    add_machine_options(parser)
    add_output_options(parser)
    return parser


def main(arguments: list[str]) -> int:
    options = parser().parse_args(arguments)
    console = Console(quiet=options.quiet or options.json)
    from render.commands.prepare import set_threads
    from render.run import find, load_model

    set_threads(options.threads)
    run, chosen = find(options.run)
    device, backend = options.device or "cpu", options.backend or "auto"
    model, _ = load_model(run, chosen, device=device, backend=backend, warn=warn)
    began = time.perf_counter()
    path = orbit_video(
        run, model, console, out=options.out, frames=options.frames, fps=options.fps, width=options.width
    )
    elapsed = time.perf_counter() - began
    if options.json:
        print(json.dumps({"video": str(path), "frames": options.frames, "seconds": elapsed}, indent=2))
    else:
        console.say(f"{path}: {options.frames} frames in {duration(elapsed)}")
    return 0


def orbit_video(
    run: Any,
    model: Any,
    console: Console,
    *,
    out: Path | None = None,
    frames: int = FRAMES,
    fps: int = FPS,
    width: int | None = None,
) -> Path:
    """Render one turn around the scene as its own cameras saw it. Returns the file written."""
    from render import video
    from scenes.paths import scene_orbit
    from scenes.scene import Scene

    scene = Scene.from_header(run.config.scene)
    size = scene.cameras
    width = width or min(WIDTH, size.width)
    cameras = scene_orbit(scene, frames, width, max(round(width * size.height / size.width), 1))
    path = out or run.path / "orbit.mp4"
    with console.progress():
        video.write_video(path, video.frames(model, cameras, console.count("video frame")), fps)
    return path
