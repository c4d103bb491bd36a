"""`render video RUN`: a film of a run along a path of cameras, as mp4, GIF or pictures."""

import json
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

from render.arguments import Parser, add_machine_options, add_output_options, seconds, warn, whole
from render.console import Console, duration

SUMMARY = "Render a film of a run. Needs no dataset. A film that is broken off goes on where it stopped."
FRAMES, FPS, WIDTH = 120, 30, 400
PATHS = ("orbit", "spiral", "interpolate", "dataset")


def parser() -> Parser:
    parser = Parser("video", SUMMARY)
    parser.add_argument("run", metavar="RUN", help="a run folder, one of its checkpoints, or any file in it")
    parser.add_argument(
        "--path",
        default="orbit",
        help="orbit (default), spiral, interpolate (past the training cameras), dataset (from them), "
        "or a nerfstudio camera_path.json in the scene's own frame",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="FILE.mp4, FILE.gif, or a folder for pictures (default: PATH.mp4 in the run)",
    )
    parser.add_argument(
        "--modes", default="rgb", help="side by side, of rgb, depth, opacity, normal, samples: rgb,depth"
    )
    parser.add_argument("--frames", type=whole, metavar="N", help=f"pictures (default: {FRAMES})")
    parser.add_argument("--seconds", type=seconds, metavar="TIME", help="length, in place of --frames: 8, 1m")
    parser.add_argument("--fps", type=whole, metavar="N", help=f"pictures a second (default: {FPS})")
    parser.add_argument(
        "--width",
        type=whole,
        metavar="PIXELS",
        help=f"of one picture (default: {WIDTH}, or the training pictures' if that is less)",
    )
    parser.add_argument("--height", type=whole, metavar="PIXELS", help="default: as the training pictures'")
    parser.add_argument(
        "--save-path", type=Path, metavar="FILE", help="write the cameras as camera_path.json"
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
    modes = checked_modes(options.modes)
    cameras, fps = chosen_path(run, options)
    own = "" if options.path in PATHS or Path(options.path).stem not in PATHS else "-path"
    out = options.out or run.path / f"{Path(options.path).stem}{own}.mp4"
    check_out(out, fps)
    if options.save_path:
        save_path(run, cameras, fps, options.save_path)
        console.say(f"cameras: {options.save_path}")
    device, backend = options.device or "cpu", options.backend or "auto"
    model, _ = load_model(run, chosen, device=device, backend=backend, warn=warn)
    began = time.perf_counter()
    film(model, cameras, out, console, modes=modes, fps=fps)
    elapsed = time.perf_counter() - began
    if options.json:
        print(json.dumps({"video": str(out), "frames": len(cameras), "seconds": elapsed}, indent=2))
    else:
        console.say(f"{out}: {len(cameras)} frames in {duration(elapsed)}")
    return 0


def checked_modes(text: str) -> tuple[str, ...]:
    """Raises ValueError for a mode that there is not."""
    from render.modes import MODES

    modes = tuple(text.split(","))
    for mode in modes:
        if mode not in MODES:
            raise ValueError(f"--modes {mode!r} is unknown; known: {', '.join(MODES)}")
    return modes


def check_out(out: Path, fps: float | int) -> None:
    """Raises ValueError for a kind of file that is not written, before anything is rendered."""
    from render.video import MOST_GIF_FPS

    if out.suffix not in (".mp4", ".gif", ""):
        raise ValueError(f"--out {out}: films are .mp4, .gif, or a folder of pictures (no suffix)")
    if out.suffix == ".gif" and fps > MOST_GIF_FPS:
        raise ValueError(f"--fps {fps:g}: a GIF shows at most {MOST_GIF_FPS} pictures a second")


def chosen_path(run: Any, options: Namespace) -> tuple[Any, float | int]:
    """The cameras of the film, model frame, and its pictures a second."""
    from render.run_cameras import load_cameras
    from scenes.paths import scene_orbit, scene_spiral, through
    from scenes.scene import Scene

    fps = options.fps or FPS
    own = options.path == "dataset" or options.path not in PATHS
    if own and (options.frames or options.seconds):
        raise ValueError(f"--path {options.path} has frames of its own; leave --frames and --seconds out")
    if options.frames and options.seconds:
        raise ValueError("--frames and --seconds both say how long the film is; give one of them")
    if options.path not in PATHS:
        return read_path(run, options)
    scene = Scene.from_header(run.config.scene)
    frames = options.frames or (max(round(options.seconds * fps), 1) if options.seconds else FRAMES)
    size = film_size(scene.cameras.width, scene.cameras.height, options.width, options.height)
    if options.path == "orbit":
        return scene_orbit(scene, frames, *size), fps
    cameras, _ = load_cameras(run)
    if options.path == "spiral":
        return scene_spiral(scene, cameras, frames, *size), fps
    if options.path == "interpolate":
        return through(cameras, frames, *size), fps
    if not isinstance(cameras.width, int) or not isinstance(cameras.height, int):
        raise ValueError("--path dataset: its pictures are of several sizes; take --path interpolate")
    if options.height:
        raise ValueError("--path dataset: the pictures' own shape is kept; give --width alone")
    return cameras.scaled(cameras.width / (options.width or min(WIDTH, cameras.width))), fps


def read_path(run: Any, options: Namespace) -> tuple[Any, float | int]:
    """The cameras of a file, taken from the input's frame to the model's."""
    from dataclasses import replace

    import torch

    from scenes.camera_path import read_camera_path
    from scenes.transforms import transform_poses

    if not Path(options.path).exists():
        raise ValueError(f"--path {options.path}: neither a file nor one of {', '.join(PATHS)}")
    film = read_camera_path(options.path)
    there = torch.tensor(run.config.scene["model_from_input"], dtype=torch.float64)
    poses = transform_poses(there, film.cameras.camera_to_world.double()).float()
    cameras = replace(film.cameras, camera_to_world=poses)
    if options.height:
        raise ValueError("--path FILE: its own shape is kept; give --width alone")
    if options.width:
        cameras = cameras.scaled(cameras.width / options.width)
    return cameras, options.fps or film.fps


def save_path(run: Any, cameras: Any, fps: float | int, path: Path) -> None:
    """Write a film's cameras (model frame) as camera_path.json, in the frame of the input."""
    from dataclasses import replace

    import torch

    from scenes.camera_path import CameraPath, write_camera_path
    from scenes.transforms import transform_poses

    back = torch.linalg.inv(torch.tensor(run.config.scene["model_from_input"], dtype=torch.float64))
    poses = transform_poses(back, cameras.camera_to_world.double())
    write_camera_path(path, CameraPath(replace(cameras, camera_to_world=poses), fps))


def film_size(full_width: int, full_height: int, width: int | None, height: int | None) -> tuple[int, int]:
    """As asked for; what is not asked for follows the training pictures' shape."""
    if height and not width:
        return max(round(height * full_width / full_height), 1), height
    width = width or min(WIDTH, full_width)
    return width, height or max(round(width * full_height / full_width), 1)


def film(
    model: Any,
    cameras: Any,
    out: Path,
    console: Console,
    *,
    modes: tuple[str, ...] = ("rgb",),
    fps: float | int = FPS,
) -> None:
    """Render a film and write it, and say how it goes."""
    from render.film import write_film

    def begin(there: int, total: int) -> None:
        if there:
            console.say(f"{there} of {total} frames are there from an earlier start")

    def progress(done: int, total: int, left: float) -> None:
        console.update(f"video frame {done}/{total}, {duration(left)} left")

    with console.progress():
        write_film(model, cameras, out, modes=modes, fps=fps, begin=begin, progress=progress)


def orbit_video(run: Any, model: Any, console: Console) -> Path:
    """The film that a training ends with: a turn around the scene. Returns the file written."""
    from scenes.paths import scene_orbit
    from scenes.scene import Scene

    scene = Scene.from_header(run.config.scene)
    size = film_size(scene.cameras.width, scene.cameras.height, None, None)
    path = run.path / "orbit.mp4"
    film(model, scene_orbit(scene, FRAMES, *size), path, console)
    return path
