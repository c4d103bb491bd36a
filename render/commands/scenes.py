"""`render scenes list|info|generate`: which scenes there are, what is in one, and making one."""

import json
import os
import sys
import time
from argparse import Namespace
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from render.arguments import USAGE, Parser, count, size, whole
from render.console import Console, duration
from render.settings import nearest

WRITERS = {"nerfstudio": "nerfstudio", "colmap": "colmap", "blender": "nerf-synthetic"}
PLACES = ("rooms", "neighbours")  # pictures of places without end (scenes/generate/collection.py)
ROOMS_COUNT, ROOMS_SIZE = 1000, (256, 192)
ROOMS_OPTIONS = ("count", "size", "seed", "workers")
ACTIONS = {
    "list": "the scenes in a folder, and those that can be made",
    "info": "what is in a scene: splits, cameras, bounds",
    "convert": "write a scene in another format",
    "generate": "make a scene of our own",
}


def main(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: render scenes ACTION ...\n")
        print("\n".join(f"  {name:<9} {summary}" for name, summary in ACTIONS.items()))
        return 0 if arguments else USAGE
    action, *rest = arguments
    if action not in ACTIONS:
        known = f"; one of {', '.join(ACTIONS)}"
        sys.stderr.write(f"render scenes: unknown action {action}{nearest(action, ACTIONS) or known}\n")
        return USAGE
    run = {"list": list_scenes, "info": info, "convert": convert, "generate": generate}
    return run[action](rest)


def convert(arguments: list[str]) -> int:
    parser = Parser("scenes convert", "Write a scene in another format, in its own frame and units.")
    parser.add_argument("scene", metavar="IN", help="a scene folder, or a scene file in it")
    parser.add_argument("out", type=Path, metavar="OUT", help="the folder to write")
    parser.add_argument("--to", required=True, metavar="FORMAT", help=f"one of {', '.join(WRITERS)}")
    parser.add_argument("--undistort", action="store_true", help="make the pictures those of pinhole cameras")
    parser.add_argument("--overwrite", action="store_true", help="replace what is there")
    parser.add_argument(
        "--allow-outside", action="store_true", help="let it name pictures outside its folder"
    )
    options = parser.parse_args(arguments)
    if options.to not in WRITERS:
        parser.error(
            f"unknown format {options.to!r}{nearest(options.to, WRITERS)}; one of {', '.join(WRITERS)}"
        )
    import tempfile

    from render.commands.prepare import check_scene
    from scenes import formats
    from scenes.undistort import undistorted

    check_scene(Path(options.scene))
    write = formats.format_module(WRITERS[options.to]).write
    with tempfile.TemporaryDirectory() as folder:
        for split in formats.splits(options.scene) if options.to == "blender" else ("all",):
            scene = formats.read(options.scene, split, allow_outside=options.allow_outside)
            if options.undistort:
                scene = undistorted(scene, Path(folder) / split)
            parts = {"split": split} if options.to == "blender" else {}
            write(scene, options.out, overwrite=options.overwrite, **parts)
            print(f"{options.out}: {len(scene)} views of {options.scene} ({split}) as {options.to}")
    return 0


def list_scenes(arguments: list[str]) -> int:
    parser = Parser("scenes list", "The scenes in a folder, and those that can be made.")
    parser.add_argument("folder", nargs="?", type=Path, default=Path("scenes"), metavar="DIR")
    parser.add_argument("--json", action="store_true", help="print JSON, and nothing else")
    options = parser.parse_args(arguments)
    from scenes.generate import GENERATORS

    found = {str(path): name for path, name in scenes_in(options.folder)}
    if options.json:
        print(json.dumps({"found": found, "generators": [*GENERATORS, *PLACES]}, indent=2))
        return 0
    print(f"in {options.folder}:" if found else f"in {options.folder}: none")
    for path, name in found.items():
        print(f"  {path}  ({name})")
    print("can be made (render scenes generate NAME):")
    print(f"  {', '.join([*GENERATORS, *PLACES])}")
    return 0


def scenes_in(folder: Path) -> list[tuple[Path, str]]:
    """The scene folders directly in `folder`, with their formats."""
    from scenes.formats import detect
    from scenes.scene import SceneError

    found = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        try:
            found.append((path, detect(path).name))
        except SceneError:
            continue
    return found


def info(arguments: list[str]) -> int:
    parser = Parser("scenes info", "What is in a scene.")
    parser.add_argument("scene", metavar="SCENE", help="a scene folder, or a scene file in it")
    parser.add_argument(
        "--allow-outside", action="store_true", help="let it name pictures outside its folder"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, and nothing else")
    options = parser.parse_args(arguments)
    from render.commands.prepare import check_scene, read_scene
    from scenes import formats

    check_scene(Path(options.scene))
    detected = formats.detect(options.scene)
    splits = {
        split: read_scene(options.scene, split, 1, options.allow_outside, "auto")
        for split in formats.splits(options.scene)
    }
    first = next(iter(splits.values()))
    facts: dict[str, Any] = {
        "format": detected.name,
        "recognised": detected.reason,
        "views": {split: len(scene) for split, scene in splits.items()},
        "fov": float(first.cameras.fov.mean()),
        "holds": holdings(splits.values()),
        **first.header(),
    }
    if options.json:
        print(json.dumps(facts, indent=2))
        return 0
    bounds, orbit = first.bounds, first.orbit
    print(f"{first.name}: {detected.name} ({detected.reason})")
    if first.placing:
        print(f"  placing     {first.placing}")
    print(f"  views       {', '.join(f'{count} {split}' for split, count in facts['views'].items())}")
    print(f"  pictures    {facts['width']}x{facts['height']}, {'with' if first.has_alpha else 'no'} alpha")
    print(f"  cameras     {facts['fov']:.1f} degrees vertical field of view")
    held = ", ".join(f"{count} {name}" for name, count in facts["holds"].items() if count)
    print(f"  holds also  {held or 'nothing'}")
    print(f"  bounds      {bounds.minimum} to {bounds.maximum}, seen from {bounds.near:g} to {bounds.far:g}")
    print(f"  orbit       radius {orbit.radius:.2f}, elevation {orbit.elevation:.0f} degrees")
    return 0


def holdings(splits: Iterable[Any]) -> dict[str, int]:
    """How much there is besides pictures and cameras. Points are those of the whole scene."""
    scenes = list(splits)
    return {
        "masks": sum(mask is not None for scene in scenes for mask in scene.masks),
        "depth pictures": sum(len(scene.depths) for scene in scenes if scene.depths is not None),
        "times": sum(len(scene.times) for scene in scenes if scene.times is not None),
        "points": len(scenes[0].points),
        "sightings of points": sum(len(shown) for scene in scenes for shown in scene.shown),
    }


def generate(arguments: list[str]) -> int:
    from scenes.generate import GENERATORS, generator
    from scenes.scene import SceneError

    parser = generate_parser([*GENERATORS, *PLACES])
    options = parser.parse_args(arguments)
    if options.folder and options.out:
        parser.error(f"two folders to write, {options.folder} and {options.out}; give one")
    out = options.folder or options.out or Path("scenes") / options.name
    for name in ROOMS_OPTIONS if options.name not in PLACES else ("width",):
        if getattr(options, name) is not None:
            parser.error(f"--{name} is not for {options.name}")
    if options.name in PLACES:
        return generate_rooms(out, options)
    make = generator(options.name)
    if out.is_dir() and any(out.iterdir()):
        raise SceneError(f"{out}: is there already; write elsewhere with --out DIR, or remove it first")
    began = time.perf_counter()
    make(out=out, progress=print, **({} if options.width is None else {"width": options.width}))
    print(f"{out}: made in {duration(time.perf_counter() - began)}; train it: render train {out}")
    return 0


def generate_parser(names: list[str]) -> Parser:
    summary = "Make a scene of our own, with exact poses, depth and normals; or pictures with exact depth."
    parser = Parser("scenes generate", summary)
    parser.add_argument("name", metavar="NAME", help=", ".join(names))
    parser.add_argument(
        "folder", nargs="?", type=Path, metavar="DIR", help="the folder to write (default: scenes/NAME)"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="the same")
    parser.add_argument("--width", type=whole, metavar="PIXELS", help="of the square pictures of a scene")
    many = parser.add_argument_group(" and ".join(PLACES), "pictures of places without end, with depth")
    many.add_argument("--count", type=whole, metavar="N", help="how many pictures (default: 1000)")
    many.add_argument("--size", type=size, metavar="WxH", help="of a picture (default: 256x192)")
    many.add_argument("--seed", type=count, metavar="N", help="another makes others (default: 0)")
    many.add_argument("--workers", type=whole, metavar="N", help="how many processes (default: one a core)")
    return parser


def generate_rooms(out: Path, options: Namespace) -> int:
    """Pictures of made-up places with their depth; those that are there are kept."""
    from scenes.generate.collection import generate

    console, began = Console(), time.perf_counter()
    here: list[int] = []

    def progress(done: int, total: int) -> None:
        here.append(done)
        seconds = time.perf_counter() - began
        if new := done - here[0]:
            left = duration(seconds / new * (total - done))
            console.update(f"picture {done}/{total}, {new / seconds:.2f} a second, {left} left")

    width, height = options.size or ROOMS_SIZE
    wanted = options.count or ROOMS_COUNT
    recipe = {"subject": options.name, "width": width, "height": height, "seed": options.seed or 0}
    with console.progress():
        made = generate(
            out, count=wanted, **recipe, workers=options.workers or os.cpu_count() or 1, progress=progress
        )
    seconds = time.perf_counter() - began
    speed = f", {made / seconds:.2f} a second" if made else ""
    print(f"{out}: {wanted} pictures with depth, {made} of them made now in {duration(seconds)}{speed}")
    return 0
