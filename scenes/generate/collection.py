"""Folders of made-up RGB-D pictures, to train and to measure networks: of places without end.

    OUT/rgb/NAME.jpg       the picture
    OUT/depth/NAME.png     16 bits: 1 / z_depth in steps of UNIT; 0 is infinitely far, the sky
    OUT/cameras/NAME.json  fx, fy, cx, cy, width, height (pixels, centres at +0.5), camera_to_world (OpenCV)
    OUT/rooms.json         what they are made of: subject (SUBJECTS), seed and size
    OUT/dataset.json       what the depth pictures mean; written when all pictures are there

NAME is PLACE-VIEW. The views of one place (VIEWS of them) share a world in metres whose +Z is up. Seed, size,
place and view make a picture what it is, and not how many there are, or how many processes made them.
"""

import json
import os
import selectors
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt16

from scenes.formats.capture import read_json
from scenes.generate.lighting import load_open3d
from scenes.generate.rooms import RGBD, neighbours, views
from scenes.images import Progress
from scenes.scene import SceneError

VIEWS = 4  # of a place; more are quicker, for the place is made but once, and less various
UNIT = 1 / 6500  # 1 / metres in a count: half of one is 0.4 % of a z_depth of 50 m, and less of nearer ones
MOST = 65535  # counts: what is nearer than 0.0992 m is taken to be there
WELL_TOLD = 50.0  # metres
# To the right or left, downwards and forwards, in z_depths of what is nearest.
ASIDE = ((0.08, 0.22), (-0.06, 0.06), (-0.15, 0.2))
FORMAT, VERSION = "render-depth-set", 1
MADE, VERSION_MADE = "render-rooms", 2  # another version wherever a seed comes to mean other pictures
UNFINISHED = ".unfinished"
QUALITY = 95  # of the JPEG pictures
# Not multiprocessing: that runs the program's main module anew, which need not be made for it.
APART = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from scenes.generate.collection import serve; serve()"
)  # fmt: skip


ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}


@dataclass(frozen=True)
class Recipe:
    """Of SUBJECTS, the seed of all pictures, and their size in pixels."""

    subject: str
    seed: int
    width: int
    height: int

    def place_seed(self, place: int) -> int:
        """A seed of its own for each place of each collection."""
        return int(np.random.SeedSequence((self.seed, place)).generate_state(1, np.uint64)[0])


def generate(
    out: Path,
    *,
    count: int,
    width: int = 256,
    height: int = 192,
    seed: int = 0,
    subject: str = "rooms",
    workers: int = 1,
    progress: Progress = lambda done, total: None,
) -> int:
    """Make what is missing of a folder of `count` pictures, in `workers` processes. Returns how many it made.

    Pictures that are there are kept, so a folder whose making was broken off is gone on with, and one that
    is complete can be made larger. Every file is whole or not there.
    subject: rooms, a place from everywhere; or neighbours, from one viewpoint and a little beside it.
    progress: told of pictures, those already there among them.
    Raises: SceneError if the folder holds something else, or pictures of another seed or size, or cannot be
    written; ValueError for numbers out of range; ModuleNotFoundError without Open3D; RuntimeError if a
    process ends before it should.
    """
    if min(count, workers) < 1 or seed < 0 or min(width, height) < 16:
        told = f"count {count}, workers {workers}, seed {seed}, size {width} x {height}"
        raise ValueError(f"{told}: at least 1, 1, 0 and 16 x 16 are needed")
    if subject not in SUBJECTS:
        raise ValueError(f"subject is {subject!r}; choose one of {', '.join(SUBJECTS)}")
    if find_spec("open3d") is None:
        load_open3d()  # to hear what is missing, before the processes do
    recipe = Recipe(subject, seed, width, height)
    begin(out, recipe)
    wanted = {place: min(VIEWS, count - place * VIEWS) for place in range(-(-count // VIEWS))}
    missing = {place: lacking(out, place, number) for place, number in wanted.items()}
    new = sum(missing.values())
    done = count - new
    progress(done, count)
    for place in made(out, recipe, [(place, wanted[place]) for place in wanted if missing[place]], workers):
        done += missing[place]
        progress(done, count)
    described = {"kind": "inverse_depth", "unit": UNIT, "unknown": [], "cap": WELL_TOLD}
    put(out / "dataset.json", write_json, {"format": FORMAT, "version": VERSION, **described})
    return new


def begin(out: Path, recipe: Recipe) -> None:
    """Make the folder, or see that what is there is of the same recipe. Raises: SceneError."""
    file = out / "rooms.json"
    told = {"format": MADE, "version": VERSION_MADE, **asdict(recipe)}
    if file.is_file():
        there = read_json(file)
        if there != told:
            raise SceneError(
                f"{file}: is of {_spelled(there)}, not of {_spelled(told)}; give its subject, seed and size, "
                "or another folder"
            )
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SceneError(f"{out}: is there already and holds something else; name another folder")
    out.mkdir(parents=True, exist_ok=True)
    put(file, write_json, told)
    for part in PARTS:
        (out / part).mkdir(exist_ok=True)
        for left in filter(_abandoned, (out / part).glob(f".*{UNFINISHED}")):
            left.unlink(missing_ok=True)


def _abandoned(unfinished: Path) -> bool:
    """Whether the process that began to write a file is there no more; see `put`."""
    try:
        os.kill(int(unfinished.suffixes[-2][1:]), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _spelled(told: dict) -> str:
    size = f"{told.get('width')} x {told.get('height')}"
    return f"{told.get('subject')}, seed {told.get('seed')}, {size}, generator {told.get('version')}"


def file_of(out: Path, part: str, place: int, view: int) -> Path:
    return out / part / f"{place:06d}-{view}{PARTS[part][0]}"


def lacking(out: Path, place: int, number: int) -> int:
    """How many of the first views of a place lack a file."""
    there = [all(file_of(out, part, place, view).is_file() for part in PARTS) for view in range(number)]
    return number - sum(there)


def made(out: Path, recipe: Recipe, places: list[tuple[int, int]], workers: int) -> Iterator[int]:
    """Make the first views of places, so many of each, in processes; tells each place when it is done.

    A process has one thread, and even a single one is not this one: sums are rounded as threads share them.
    Raises: as `generate`; the other processes are ended.
    """
    shares = [places[first::workers] for first in range(min(workers, len(places)))]
    with selectors.DefaultSelector() as selector, ExitStack() as stack:
        for share in shares:
            process = stack.enter_context(_started(out, recipe, share))
            selector.register(process.stdout, selectors.EVENT_READ, process)
        while selector.get_map():
            for key, _ in selector.select():
                if line := key.fileobj.readline():
                    yield _heard(json.loads(line))
                    continue
                selector.unregister(key.fileobj)
                if code := key.data.wait():
                    raise RuntimeError(f"{out}: a process that made pictures ended with code {code}")


@contextmanager
def _started(out: Path, recipe: Recipe, share: list[tuple[int, int]]) -> Iterator[subprocess.Popen[bytes]]:
    with tempfile.TemporaryFile() as order:  # a pipe would hold but a part of a long one
        order.write(json.dumps([str(out), asdict(recipe), share]).encode())
        order.seek(0)
        with subprocess.Popen(
            [sys.executable, "-c", APART, json.dumps(sys.path)],
            stdin=order,
            stdout=subprocess.PIPE,
            bufsize=0,
            env={**os.environ, **ONE_THREAD},
            start_new_session=True,  # Ctrl-C is for us to hear
        ) as process:
            try:
                yield process
            finally:
                process.kill()


def _heard(said: dict[str, Any]) -> int:
    if "error" in said:
        raise SceneError(said["error"])
    return said["place"]


def serve() -> None:
    """Make the places that standard input names; tell each on standard output.

    A process whose parent was killed is heard by nobody any more, and ends.
    """
    out, recipe, share = json.load(sys.stdin)
    try:
        for place, number in share:
            _tell(_made(Path(out), Recipe(**recipe), place, number))
    except BrokenPipeError:
        os._exit(1)


def _made(out: Path, recipe: Recipe, place: int, number: int) -> dict[str, Any]:
    try:
        make_place(out, recipe, place, number)
    except OSError as error:
        return {"error": f"{out}: place {place} cannot be written ({error.strerror or error})"}
    return {"place": place}


def _tell(what: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def make_place(out: Path, recipe: Recipe, place: int, number: int) -> None:
    """Write the first views of a place, but for files that are there."""
    pictures = SUBJECTS[recipe.subject](recipe.place_seed(place), recipe.width, recipe.height, number)
    for view, picture in enumerate(pictures):
        for part, (_, write) in PARTS.items():
            file = file_of(out, part, place, view)
            if not file.is_file():
                put(file, write, picture)


def beside(seed: int, width: int, height: int, number: int) -> list[RGBD]:
    """A viewpoint, and `number` - 1 a little beside it (ASIDE), as cameras about a photograph move."""
    rng = np.random.default_rng((seed, 1))
    moves = []
    for _ in range(VIEWS - 1):  # the same whatever the number is
        x, y, z = (rng.uniform(low, high) for low, high in ASIDE)
        moves.append((float(rng.choice((-1, 1)) * x), y, z))
    return neighbours(seed, width, height, moves[: number - 1])


SUBJECTS: dict[str, Callable[[int, int, int, int], list[RGBD]]] = {"rooms": views, "neighbours": beside}


def counts_of(z_depth: Float[np.ndarray, "h w"]) -> UInt16[np.ndarray, "h w"]:
    """1 / z_depth in steps of UNIT; only the sky, whose z_depth is 0, is 0: infinitely far."""
    steps = np.divide(1 / UNIT, z_depth, out=np.zeros_like(z_depth), where=z_depth > 0)
    return np.where(z_depth > 0, steps.round().clip(1, MOST), 0).astype(np.uint16)


def write_depth(file: Path, picture: RGBD) -> None:
    from PIL import Image

    Image.fromarray(counts_of(picture.z_depth)).save(file, format="PNG")


def write_colours(file: Path, picture: RGBD) -> None:
    from PIL import Image

    Image.fromarray(picture.rgb).save(file, format="JPEG", quality=QUALITY, subsampling=0)


def write_lens(file: Path, picture: RGBD) -> None:
    camera = picture.camera
    lens = {name: float(getattr(camera, name)) for name in ("fx", "fy", "cx", "cy")}
    size = {"width": int(camera.width), "height": int(camera.height)}
    write_json(file, {**lens, **size, "camera_to_world": camera.camera_to_world.tolist()})


def write_json(file: Path, told: dict[str, Any]) -> None:
    file.write_text(json.dumps(told) + "\n", encoding="utf-8")


# Of one picture, in the order in which they are written: folder, suffix, and what writes it.
PARTS: dict[str, tuple[str, Callable[[Path, RGBD], None]]] = {
    "cameras": (".json", write_lens),
    "depth": (".png", write_depth),
    "rgb": (".jpg", write_colours),
}


def put(file: Path, write: Callable[[Path, Any], None], what: Any) -> None:
    """Write a file whole, or not at all; whoever writes the same at the same time writes the same bytes."""
    unfinished = file.with_name(f".{file.name}.{os.getpid()}{UNFINISHED}")
    write(unfinished, what)
    unfinished.replace(file)
