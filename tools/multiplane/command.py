"""`render photo PHOTO...`: films that move into single photographs."""

import json
import os
import time
from argparse import Namespace
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from render.arguments import Parser, add_machine_options, add_output_options, positive, size, warn, whole
from render.console import Console, duration
from render.settings import nearest

if TYPE_CHECKING:
    from jaxtyping import UInt8
    from torch import Tensor

    from scenes.cameras import Cameras
    from tools.depth.inputs import Input
    from tools.multiplane.photo import Photo
    from tools.multiplane.predict import Networks

SUMMARY = "Move into single photographs: planes at several depths, and a film of views from beside."
OUT = Path("photo")
PATHS = ("swing", "circle", "zoom", "dolly-zoom")
EXPORTS = {"mpi": "a folder of planes", "html": "a page for a browser"}
FILES = {"film": "-film.mp4", "views": "-views.png", "mpi": "-planes", "html": ".html"}
SMALL_FILE = Path(__file__).with_name("small.safetensors")
SIZE = (384, 256)
FRAMES, FPS = 90, 30
SHOWN_VIEWS = (0.25, 0.75)  # of the way, beside the photograph in NAME-views.png
PAST_EDGE = 0.005  # share of a view from which on it is worth a word


def parser() -> Parser:
    parser = Parser("photo", SUMMARY)
    parser.add_argument("inputs", type=Path, nargs="+", metavar="PHOTO", help="photographs, folders of them")
    parser.add_argument("--out", type=Path, default=OUT, metavar="DIR", help=f"a folder (default: {OUT})")
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there")
    add_planes_options(parser)
    add_depth_options(parser)
    add_film_options(parser)
    kinds = ", ".join(f"{name} ({what})" for name, what in EXPORTS.items())
    parser.add_argument("--export", metavar="LIST", help=f"beside the film: {kinds}")
    add_machine_options(parser)
    add_output_options(parser)
    return parser


def add_planes_options(parser: Parser) -> None:
    here = "adampi" if SMALL_FILE.is_file() else "layers, since its weights are not installed"
    parser.add_argument(
        "--method",
        choices=("adampi", "layers"),
        help="adampi, a network, or layers, which need none (default: adampi where --adampi-weights are "
        f"given, else {here})",
    )
    parser.add_argument(
        "--adampi-weights",
        type=Path,
        metavar="FILE",
        help="adampi_32p.pth, adampi_64p.pth, or .safetensors of the small network",
    )
    parser.add_argument(
        "--planes", type=whole, metavar="N", help="how many (default: 32, or as the network was trained)"
    )
    parser.add_argument(
        "--size",
        type=size,
        default=SIZE,
        metavar="WxH",
        help="shrink photographs to within these sides, upright ones to within HxW (default: {}x{})".format(
            *SIZE
        ),
    )
    parser.add_argument(
        "--fov", type=positive, metavar="DEGREES", help="across the longer side (default: 81.5, as AdaMPI's)"
    )


def add_depth_options(parser: Parser) -> None:
    parser.add_argument(
        "--depth",
        type=Path,
        metavar="FILE",
        help="inverse depth of the one photograph, a grey PNG or .npy, in place of a network's",
    )
    parser.add_argument(
        "--model", metavar="NAME", help="of depth: small (default), or one of docs/depth.md, with --weights"
    )
    parser.add_argument("--weights", type=Path, metavar="FILE", help="of that model")


def add_film_options(parser: Parser) -> None:
    parser.add_argument(
        "--path",
        default="swing",
        metavar="PATH",
        help=f"{', '.join(PATHS)} (default: swing), or a camera_path.json in the photograph's frame",
    )
    parser.add_argument("--amplitude", type=positive, metavar="X", help="times as far (default: 1)")
    parser.add_argument("--frames", type=whole, metavar="N", help=f"pictures (default: {FRAMES})")
    parser.add_argument("--fps", type=whole, metavar="N", help=f"pictures a second (default: {FPS})")


def checked(arguments: list[str]) -> Namespace:
    """What was asked for; leaves with exit code 2 if a word is unknown or options exclude each other."""
    known = parser()
    options = known.parse_args(arguments)
    options.export = tuple(dict.fromkeys(options.export.split(","))) if options.export else ()
    for name in options.export:
        if name not in EXPORTS:
            known.error(f"--export {name!r} is none of {', '.join(EXPORTS)}{nearest(name, EXPORTS)}")
    if options.path not in PATHS:
        if not Path(options.path).is_file():
            known.error(f"--path {options.path!r}: neither a file nor one of {', '.join(PATHS)}")
        if options.frames:
            known.error(f"--path {options.path} has frames of its own; leave --frames out")
    if options.fov is not None and options.fov >= 180:
        known.error(f"--fov {options.fov:g}: must be below 180 degrees")
    if options.depth and (options.model or options.weights):
        known.error("--depth is told, so that no --model is asked for it; leave out one of them")
    if options.method == "layers" and options.adampi_weights:
        known.error("--adampi-weights are for --method adampi")
    return options


def main(arguments: list[str]) -> int:
    options = checked(arguments)
    console = Console(quiet=options.quiet or options.json)
    from fields.kernels.library import resolve_backend
    from render.commands.prepare import set_threads
    from render.run import usable_device
    from scenes.camera_path import read_camera_path
    from tools.export.folder import check_file
    from tools.multiplane.predict import read_networks

    set_threads(options.threads)
    backend = resolve_backend(options.backend or "auto", "cpu")
    options.backend = backend.name
    console.say(f"backend: {backend.name} ({backend.reason})")
    if options.path not in PATHS:
        options.fps = options.fps or read_camera_path(options.path).fps
    if options.out.is_file():
        raise ValueError(f"--out {options.out}: is a file; choose a folder")
    check_file(options.out / "film.mp4")
    items, results = gathered(options)
    if options.depth and len(items) + len(results) != 1:
        raise ValueError(f"--depth {options.depth}: is that of one photograph; give one")
    if items:
        networks = read_networks(
            options.method,
            adampi_weights=options.adampi_weights,
            model=options.model or "small",
            weights=options.weights,
            depth=options.depth is None,
            device=usable_device(options.device or "cpu"),
        )
        options.out.mkdir(parents=True, exist_ok=True)
        with console.progress():
            results += [attempted(networks, item, items, options, console) for item in items]
    if options.json:
        print(json.dumps({"photos": results}, indent=2))
    return int(any("error" in result for result in results))


def gathered(options: Namespace) -> tuple[list["Input"], list[dict[str, Any]]]:
    """The photographs, and the inputs that are none."""
    from tools.depth.command import ERRORS, failed
    from tools.depth.inputs import files_in, is_video, named

    found, failures = [], []
    for path in options.inputs:
        try:
            if path.is_file() and is_video(path):
                raise ValueError("is a video; give one of its frames as a picture")
            found += files_in(path)
        except ERRORS as error:
            failures.append(failed(path, error))

    def files_of(path: Path, name: str) -> list[str]:
        return [place.name for place in places(Path(), name, options.export).values()]

    return named(found, files_of), failures


def places(folder: Path, name: str, exports: Iterable[str]) -> dict[str, Path]:
    """Where the film, the views and the exports of a photograph of that name go."""
    return {kind: folder / f"{name}{FILES[kind]}" for kind in ("film", "views", *exports)}


def check_places(files: dict[str, Path], inputs: Iterable[Path], overwrite: bool) -> None:
    """Raises: ExportError if something is there that is not to be replaced, or is not of this making."""
    from tools.export.folder import ExportError, check_folder

    given = {os.path.abspath(path) for path in inputs}
    for kind, path in files.items():
        if os.path.abspath(path) in given:
            raise ExportError(f"{path}: is one of the inputs; choose another folder with --out")
        if path.exists() and not overwrite:
            raise ExportError(
                f"{path}: is there already; replace it (--overwrite) or write elsewhere (--out DIR)"
            )
        if kind == "mpi":
            check_folder(path)
        elif path.is_dir():
            raise ExportError(f"{path}: is in the way; move it, or choose another folder with --out")


def attempted(
    networks: "Networks", item: "Input", items: list["Input"], options: Namespace, console: Console
) -> dict[str, Any]:
    """What --json tells of one photograph: its files and how long they took, or why there are none."""
    from tools.depth.command import ERRORS, failed

    files = places(options.out, item.name, options.export)
    try:
        check_places(files, [other.path for other in items], options.overwrite)
        return made(networks, item, files, options, console)
    except ERRORS as error:
        return failed(item.path, error)


def made(
    networks: "Networks", item: "Input", files: dict[str, Path], options: Namespace, console: Console
) -> dict[str, Any]:
    """All files of one photograph."""
    from scenes.images import write_png
    from tools.depth.command import frames_in
    from tools.export.folder import whole as whole_file
    from tools.multiplane.photo import photo_of

    began = time.perf_counter()
    photo = photo_of(
        networks,
        item.path,
        planes=options.planes,
        size=options.size,
        fov=options.fov,
        disparity=options.depth,
        backend=options.backend,
        stage=lambda name: console.update(f"{item.path}: {name}"),
    )
    if (count := frames_in(item.path)) > 1:
        warn(f"{item.path}: the first of its {count} frames is taken")
    cameras = photo.path(options.path, options.frames or FRAMES, options.amplitude or 1.0)
    first, further = seconds_of(photo, cameras, began)
    with whole_file(files["views"]) as path:
        write_png(path, views(photo, cameras))
    photo.film(
        files["film"],
        cameras,
        fps=options.fps or FPS,
        progress=lambda done, total, left: console.update(f"{item.path}: frame {done}/{total}"),
    )
    for kind in options.export:
        photo.export(files[kind])
    told = facts(photo, cameras)
    told |= {"input": str(item.path), "files": {kind: str(path) for kind, path in files.items()}}
    total = time.perf_counter() - began
    told["seconds"] = {"first_view": first, "further_view": further, "all": total}
    say(told, files, console)
    return told


def facts(photo: "Photo", cameras: "Cameras") -> dict[str, Any]:
    """What --json tells of a photograph, beside its files and the time they took."""
    return {
        "method": photo.method,
        "backend": photo.backend,
        "planes": len(photo.mpi.z_depth),
        "width": photo.camera.width,
        "height": photo.camera.height,
        "focal_pixels": float(photo.camera.fx),
        "frames": len(cameras),
        "past_edge": past_edge(photo, cameras),
    }


def seconds_of(photo: "Photo", cameras: "Cameras", began: float) -> tuple[float, float]:
    """Until the first view is there, and for each further one."""
    photo.render(cameras[0])
    first = time.perf_counter() - began
    others = [round(share * (len(cameras) - 1)) for share in (0.25, 0.5, 0.75)]
    began = time.perf_counter()
    for index in others:
        photo.render(cameras[index])
    return first, (time.perf_counter() - began) / len(others)


def past_edge(photo: "Photo", cameras: "Cameras") -> float:
    """Most of a view that lies past the photograph's edge on the nearest plane that is before it."""
    from tools.multiplane.paths import beyond_edge

    shares = [0.0]
    for index in range(len(cameras)):
        view = cameras[index : index + 1]
        ahead = photo.mpi.z_depth[photo.mpi.z_depth > float(view.camera_to_world[0, 2, 3])]
        if len(ahead):
            shares.append(float(beyond_edge(photo.camera, view, float(ahead[0])).max()))
    return max(shares)


def say(told: dict[str, Any], files: dict[str, Path], console: Console) -> None:
    seconds, folder = told["seconds"], files["film"].parent
    names = ", ".join(path.name for path in files.values())
    console.say(
        f"{told['input']}: {told['planes']} planes ({told['method']}) in {folder}: {names}; first view after "
        f"{seconds['first_view']:.2f} s, each further one {seconds['further_view']:.3f} s, all of it "
        f"{duration(seconds['all'])}"
    )
    if told["past_edge"] > PAST_EDGE:
        console.say(
            f"up to {100 * told['past_edge']:.0f} % of a view may lie past the photograph's edge, where its "
            "border goes on; a lower --amplitude shows less of that"
        )


def views(photo: "Photo", cameras: "Cameras") -> "UInt8[Tensor, 'h w 3']":
    """The photograph, its disparity (near is light), and two views from the film's way with its own lens."""
    import torch

    from scenes.images import quantised
    from tools.depth.colours import coloured

    pictures = [quantised(photo.image), coloured(photo.disparity, 0.0, 1.0)]
    for share in SHOWN_VIEWS:
        pose = cameras.camera_to_world[round(share * (len(cameras) - 1))]
        pictures.append(quantised(photo.render(replace(photo.camera, camera_to_world=pose)).rgb))
    return torch.cat(pictures, dim=1)
