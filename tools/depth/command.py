"""`render depth INPUT...`: how far things are in photographs and videos, one after the other."""

import json
import sys
import time
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from render.arguments import Parser, add_output_options, factor, positive, warn, whole
from render.console import Console, duration
from render.settings import nearest

if TYPE_CHECKING:
    from tools.depth.inputs import Input

SUMMARY = "Tell how far things are in photographs and videos. Needs nothing but them."
OUT = Path("depth")
FORMATS = {"png16": "grey of 16 bits", "npy": "float32", "colour": "near is light", "cloud": "a .ply"}
DEFAULT = ("png16", "colour")
COLORMAPS = ("dusk", "inferno", "viridis", "grey")
OPTIONS = {"colormap": "colour", "fov": "cloud", "focal": "cloud", "ratio": "cloud"}  # of which format
# What one input can end with, while the others go on.
ERRORS = (ValueError, OSError, RuntimeError, ArithmeticError, MemoryError)


def parser() -> Parser:
    parser = Parser("depth", SUMMARY)
    parser.add_argument(
        "inputs", type=Path, nargs="+", metavar="INPUT", help="photographs, folders of them, videos"
    )
    parser.add_argument("--out", type=Path, default=OUT, metavar="DIR", help=f"a folder (default: {OUT})")
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there")
    kinds = ", ".join(f"{name} ({what})" for name, what in FORMATS.items())
    parser.add_argument("--formats", metavar="LIST", help=f"of {kinds}; default: {','.join(DEFAULT)}")
    parser.add_argument(
        "--model",
        default="small",
        metavar="NAME",
        help="small (default), which is built in, or one of docs/depth.md, with --weights",
    )
    parser.add_argument("--weights", type=Path, metavar="FILE", help="of the model")
    parser.add_argument(
        "--size", type=whole, metavar="PIXELS", help="a side to look at (default: that of the training)"
    )
    parser.add_argument("--colormap", choices=COLORMAPS, help=f"colour: default {COLORMAPS[0]}")
    add_cloud_options(parser)
    parser.add_argument(
        "--video-alignment",
        choices=("on", "off"),
        default="on",
        help="bring each frame's scale and shift to those before it (default: on)",
    )
    parser.add_argument("--device", default="cpu", metavar="NAME", help="cpu (default) or cuda")
    parser.add_argument("--threads", type=whole, metavar="N", help="processor cores to use (default: all)")
    add_output_options(parser)
    return parser


def add_cloud_options(parser: Parser) -> None:
    lens = parser.add_mutually_exclusive_group()
    lens.add_argument(
        "--fov",
        type=positive,
        metavar="DEGREES",
        help="cloud: across the longer side (default: as the EXIF says, else 60)",
    )
    lens.add_argument(
        "--focal", type=positive, metavar="PIXELS", help="cloud: focal length, in place of --fov"
    )
    parser.add_argument(
        "--ratio",
        type=factor,
        metavar="N",
        help="cloud: how many times as far the farthest is as the nearest, which inverse relative depth "
        "does not tell (default: 10)",
    )


def checked(arguments: list[str]) -> Namespace:
    """What was asked for; leaves with exit code 2 if a word is unknown or an option is of no use."""
    known = parser()
    options = known.parse_args(arguments)
    options.formats = tuple(dict.fromkeys(options.formats.split(","))) if options.formats else DEFAULT
    for name in options.formats:
        if name not in FORMATS:
            known.error(f"--formats {name!r} is none of {', '.join(FORMATS)}{nearest(name, FORMATS)}")
    for option, format in OPTIONS.items():
        if getattr(options, option) is not None and format not in options.formats:
            known.error(f"--{option} is for --formats {format}")
    if options.fov is not None and options.fov >= 180:
        known.error(f"--fov {options.fov:g}: must be below 180 degrees")
    from tools.depth.models import released
    from tools.depth.predict import sized

    try:
        options.seen = sized(released(options.model), options.size)
    except ValueError as error:
        known.error(str(error))
    return options


def main(arguments: list[str]) -> int:
    options = checked(arguments)
    console = Console(quiet=options.quiet or options.json)
    from render.commands.prepare import set_threads
    from render.run import usable_device
    from tools.depth.models import read_model
    from tools.export.folder import check_file

    set_threads(options.threads)
    device = usable_device(options.device)
    if options.out.is_file():
        raise ValueError(f"--out {options.out}: is a file; choose a folder")
    check_file(options.out / "depth.json")
    items, results = gathered(options)
    if items:
        network = read_model(options.model, options.weights).to(device)
        options.out.mkdir(parents=True, exist_ok=True)
        with console.progress():
            results += [attempted(network, item, items, options, console) for item in items]
    if options.json:
        print(json.dumps({"model": options.model, "inputs": results}, indent=2))
    return int(any("error" in result for result in results))


def gathered(options: Namespace) -> tuple[list["Input"], list[dict[str, Any]]]:
    """The pictures and videos, and the inputs that are none."""
    from tools.depth.inputs import files_in, is_video, named
    from tools.depth.outputs import places

    found, failures = [], []
    for path in options.inputs:
        try:
            found += files_in(path)
        except ERRORS as error:
            failures.append(failed(path, error))

    def files_of(path: Path, name: str) -> list[str]:
        return [place.name for place in places(Path(), name, options.formats, is_video(path)).values()]

    return named(found, files_of), failures


def attempted(
    network: Any, item: "Input", items: list["Input"], options: Namespace, console: Console
) -> dict[str, Any]:
    """What --json tells of one input: its files and what they mean, or why there are none."""
    from tools.depth.outputs import check_free, places, write_table

    began = time.perf_counter()
    files = places(options.out, item.name, options.formats, item.is_video)
    try:
        check_free(files.values(), [other.path for other in items], options.overwrite)
        table = files.pop("table")
        look = of_video if item.is_video else of_picture
        facts = {"source": str(item.path), "model": options.model}
        facts |= look(network, item.path, files, options, console)
        write_table(table, facts)
    except ERRORS as error:
        return failed(item.path, error)
    written = [*dict.fromkeys([*files.values(), table])]
    seconds = time.perf_counter() - began
    names = ", ".join(path.name for path in written)
    console.say(f"{item.path}: {facts['kind']} depth in {options.out}: {names} ({duration(seconds)})")
    if facts.get("cloud", {}).get("assumed"):
        lens = facts["cloud"]["lens"]
        console.say(f"its cloud is a guess: its depth is assumed (--ratio), the lens is {lens} (--fov)")
    return {"input": str(item.path), "files": [str(path) for path in written], **facts, "seconds": seconds}


def of_picture(
    network: Any, path: Path, files: dict[str, Path], options: Namespace, console: Console
) -> dict[str, Any]:
    from scenes.images import read_image
    from tools.depth.outputs import write_picture
    from tools.depth.predict import predicted

    image = read_image(path)
    if (count := frames_in(path)) > 1:
        warn(f"{path}: the first of its {count} frames is taken; for all of them, make it a video")
    console.update(f"looking at {path}")
    return write_picture(files, predicted(network, options.seen, image), image, wanted(options), path)


def frames_in(path: Path) -> int:
    """Of an animated picture; what a telephone's JPEG holds besides its picture is not counted."""
    from PIL import Image

    with Image.open(path) as image:
        try:
            return 1 if image.format in ("JPEG", "MPO") else getattr(image, "n_frames", 1)
        except (OSError, SyntaxError, ValueError, TypeError, EOFError):  # the first is whole, another is not
            return 1


def of_video(
    network: Any, path: Path, files: dict[str, Path], options: Namespace, console: Console
) -> dict[str, Any]:
    from tools.depth.film import write_film

    def progress(what: str, done: int, total: int) -> None:
        console.update(f"{path}: {what} {done}" + f"/{total}" * (total > 0))

    align = options.video_alignment == "on"
    return write_film(network, options.seen, path, files, wanted(options), align=align, progress=progress)


def wanted(options: Namespace) -> Any:
    from tools.depth.outputs import Wanted

    named = {name: getattr(options, name) for name in ("colormap", "fov", "focal", "ratio")}
    return Wanted(options.formats, **{name: value for name, value in named.items() if value is not None})


def failed(path: Path, error: BaseException) -> dict[str, Any]:
    """One line on stderr, and what --json tells of the input."""
    message = " ".join(str(error).split()) or type(error).__name__
    message = message if str(path) in message else f"{path}: {message}"
    sys.stderr.write(f"render: {message}\n")
    return {"input": str(path), "error": message}
