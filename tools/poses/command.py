"""`render poses PHOTOS|VIDEO`: from pictures to a scene folder that `render train` takes.

Where the work goes on, and what an interruption leaves, is in tools/poses/job.py.
"""

import json
import shlex
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from render.arguments import Parser, add_output_options, warn, whole
from render.console import Console, duration
from tools.poses.job import Job, begin, check_out, check_partial, fresh_folder, save, settle, write_json

if TYPE_CHECKING:
    from tools.poses.photos import Photos

SUMMARY = "Find where pictures were taken from. Makes a scene of a folder of photographs or of a video."


def parser() -> Parser:
    from tools.poses.mapping import CAMERA_MODELS, MANY, MATCHING
    from tools.poses.photos import SHARING

    parser = Parser("poses", SUMMARY)
    parser.add_argument(
        "source", type=Path, metavar="PHOTOS|VIDEO", help="a folder of photographs, or a video"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="the scene to make (default: scenes/NAME)")
    parser.add_argument("--overwrite", action="store_true", help="replace the scene that is there")
    parser.add_argument(
        "--reuse",
        action="store_true",
        help="keep the scene that is there if it is of the same pictures, however its poses were found",
    )
    parser.add_argument(
        "--matching",
        choices=MATCHING,
        help="pairs to compare: all, or neighbours by name (default for videos and many photographs)",
    )
    parser.add_argument(
        "--overlap",
        type=whole,
        default=10,
        metavar="N",
        help="neighbours, in sequential matching (default: 10)",
    )
    parser.add_argument(
        "--camera",
        choices=SHARING,
        default="auto",
        help="which photographs share a camera: those of one size and lens (auto), all, or none",
    )
    parser.add_argument(
        "--camera-model",
        choices=tuple(CAMERA_MODELS),
        metavar="NAME",
        help=f"as COLMAP names it: {', '.join(CAMERA_MODELS)} (default: RADIAL for a camera of {MANY} "
        "pictures or more, else SIMPLE_RADIAL)",
    )
    parser.add_argument(
        "--frames", type=whole, metavar="N", help="frames to keep of a video (default: two a second)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="the same seed, the same bits (default: 0)"
    )
    parser.add_argument("--threads", type=whole, metavar="N", help="processor cores to use (default: all)")
    add_output_options(parser)
    return parser


def parsed(arguments: list[str]) -> Namespace:
    """The options. Leaves with exit code 2 if they are wrong."""
    reader = parser()
    options = reader.parse_args(arguments)
    if options.seed < 0:
        reader.error(f"--seed {options.seed}: must be at least 0")
    if options.frames is not None and options.source.is_dir():
        reader.error("--frames is for a video, and this is a folder of photographs")
    return options


def main(arguments: list[str], again: str | None = None) -> int:
    """again: the command that wants the poses and is to be given again, where it is not this one."""
    options = parsed(arguments)
    from render.commands.train import stop_on_signal
    from tools.poses.earlier import reuse
    from tools.poses.mapping import Interrupted, load_pycolmap
    from tools.poses.photos import PosesError

    console = Console(quiet=options.quiet or options.json)
    job = settle(options)
    if options.reuse and reuse(job, options.overwrite, console):
        return 0
    load_pycolmap()
    check_out(job, options.overwrite)
    check_partial(job, options.overwrite)
    anew = shlex.join(["render", "poses", str(job.source), "--out", str(job.out), "--overwrite"])
    with stop_on_signal() as stopped:
        try:
            found = find(job, Watch(console, stopped))
        except Interrupted:
            kept = f"what is done is kept in {job.partial}; go on" if job.partial.exists() else "begin again"
            command = again or shlex.join(["render", "poses", *arguments])
            raise PosesError(f"stopped; {kept} with: {command}") from None
        except PosesError as error:
            if again is None or " --" not in str(error):
                raise
            raise PosesError(f"{error}; give such options to: {anew}; then again: {again}") from None
    then = f"to find its poses otherwise: {anew}" if again else f"train it: render train {job.out}"
    console.say(f"{job.out}: made in {duration(found['seconds'])}; {then}")
    if options.json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
    return 0


@dataclass(frozen=True)
class Watch:
    """Shows progress, and hears whoever wants to stop."""

    console: Console
    signals: list[int]

    def stopped(self) -> bool:
        return bool(self.signals)

    def show(self, text: Callable[[], str]) -> None:
        """In a terminal only: a pipe gets a line a stage."""
        if self.console.live:
            self.console.update(text())

    def count(self, what: str) -> Callable[[int, int], None]:
        """A progress callback; it raises Interrupted."""
        from tools.poses.mapping import Interrupted

        def progress(done: int, total: int) -> None:
            if self.stopped():
                raise Interrupted
            self.show(lambda: f"{what} {done}/{total}" if total else f"{what} {done}")

        return progress


def find(job: Job, watch: Watch) -> dict[str, Any]:
    """All of it. Returns what --json prints. Raises: PosesError, Interrupted."""
    from tools.poses import mapping, report

    began = time.perf_counter()
    with watch.console.progress():
        photos, groups = (gather_frames if job.is_video else gather)(job, watch)
        number = map_photos(job, groups, watch)
    positions = {photo.name: photo.position for photo in photos.photos if photo.position}
    models = [job.scene / "sparse" / str(i) for i in range(number)]
    names, priors = (
        [photo.name for photo in photos.photos],
        mapping.cameras_with_prior(job.database, job.settings),
    )
    health = report.examine(models, names, priors)
    found = report.Report(
        health,
        positions,
        report.align(health.models[0], positions),
        report.advice(health, job.settings, job.is_video),
    )
    seconds = time.perf_counter() - began
    facts = report.as_json(found) | {
        "refused": photos.refused,
        "video": json.loads(job.record.read_text(encoding="utf-8")) if job.is_video else None,
        "asked": job.asked | asdict(job.settings),
        "seconds": seconds,
    }
    save(job, facts)
    for line in report.lines(found):
        watch.console.say(line)
    summary = ("images", "registered", "mean_reprojection_error", "points", "models")
    return {name: facts[name] for name in summary} | {"out": str(job.out), "seconds": seconds}


def gather(job: Job, watch: Watch) -> tuple["Photos", list[list[str]]]:
    """The photographs, put upright into OUT.partial/scene/images, and the names of those that share a camera.

    Raises: PosesError, Interrupted.
    """
    from tools.poses import photos

    found = photos.collect(job.source, watch.count("looking at photograph"))
    groups = photos.lenses(found.photos, job.sharing)
    begin(job)
    if not job.images.exists():
        fresh = fresh_folder(job)
        photos.place(found.photos, fresh, watch.count("placing photograph"))
        fresh.rename(job.images)
    sizes = {f"{photo.width}x{photo.height}" for photo in found.photos}
    size = sizes.pop() if len(sizes) == 1 else f"{len(sizes)} sizes"
    cameras = "one camera" if len(groups) == 1 else f"{len(groups)} cameras"
    others = f"; {found.ignored} other files left aside" if found.ignored else ""
    watch.console.say(f"{found.folder}: {len(found.photos)} photographs, {size}, {cameras}{others}")
    for name, cause in found.refused.items():
        warn(f"{name} is left out: {cause}")
    if found.folder.name == "images" and (masks := found.folder.parent / "masks").is_dir():
        warn(f"{masks} is not used to find poses; copy it into {job.out} to have it used in training")
    return found, groups


def gather_frames(job: Job, watch: Watch) -> tuple["Photos", list[list[str]]]:
    """The same of the sharpest frames of a video."""
    from tools.poses import frames
    from tools.poses.photos import Photo, Photos, lenses

    if not job.images.exists():
        planned = frames.plan(job.source, job.frames, watch.count("looking at frame"))
        begin(job)
        fresh = fresh_folder(job)
        size = frames.write(job.source, planned, fresh, watch.count("writing frame"))
        write_json(job.record, frames.as_json(planned, *size))
        fresh.rename(job.images)
    facts = json.loads(job.record.read_text(encoding="utf-8"))
    width, height = facts["width"], facts["height"]
    kept = tuple(Photo(job.images / frame["name"], width, height) for frame in facts["kept"])
    watch.console.say(f"{job.source}: the {len(kept)} sharpest of {facts['frames']} frames, {width}x{height}")
    return Photos(job.images, kept, {}, 0), lenses(kept, job.sharing)


def map_photos(job: Job, groups: list[list[str]], watch: Watch) -> int:
    """Features, matches and models: scene/sparse/0, ..., the largest first. Returns how many.

    Raises: PosesError if there is none; Interrupted.
    """
    from tools.poses import mapping, report

    settings, database, images = job.settings, job.database, job.images
    total = sum(map(len, groups))

    def stage(progress: Callable[[], str], work: Callable[..., Any], *arguments: Any) -> tuple[Any, str]:
        """The result of a step, and how long it took."""
        began = time.perf_counter()
        result = mapping.apart(
            work,
            *arguments,
            log=job.partial / "pycolmap.log",
            watch=lambda: watch.show(progress),
            stopped=watch.stopped,
        )
        return result, duration(time.perf_counter() - began)

    _, took = stage(
        lambda: f"features {mapping.count(database, 'keypoints')}/{total}",
        mapping.extract, database, images, groups, settings,
    )  # fmt: skip
    watch.console.say(f"features: {mapping.number_of_features(database)} in {total} pictures, {took}")
    pairs = mapping.number_of_pairs(total, settings)
    _, took = stage(
        lambda: f"matching pair {mapping.count(database, 'two_view_geometries')}/{pairs}",
        mapping.match, database, settings,
    )  # fmt: skip
    connected = mapping.number_of_connected(database)
    watch.console.say(f"matching: {connected} of {pairs} pairs show the same thing, {took}")
    work, sparse, placed = job.partial / "models", job.scene / "sparse", job.partial / "placed"
    models, took = stage(
        lambda: f"placing pictures {placed.read_text() if placed.exists() else 0}",
        mapping.reconstruct, database, images, work, sparse, settings, placed,
    )  # fmt: skip
    if not models:
        raise report.no_model(connected, settings, job.partial)
    watch.console.say(f"mapping: {models} {'model' if models == 1 else 'models'}, {took}")
    return models
