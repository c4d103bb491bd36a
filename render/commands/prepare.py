"""What has to be settled before a training starts: the scene, the settings, and whether the folder is free.

Everything that can be wrong with a command line is found here, before the first picture is decoded.
"""

from argparse import Namespace
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from render import checkpoint, run
from render.arguments import warn
from render.checkpoint import Checkpoint
from render.commands import photographs
from render.console import Console, duration
from render.methods import METHODS
from render.methods import method as method_class
from render.provenance import differences
from render.run import Run, RunConfig, RunError, RunFolder
from render.run_cameras import save_cameras
from render.settings import nearest, parse_pairs
from render.trainer import Length, memory_of, plan
from scenes import formats
from scenes.decoding import plan_pictures
from scenes.memory import Plan
from scenes.photographs import VIDEOS, name_of
from scenes.pixels import PixelSource
from scenes.scene import Scene, SceneError


@dataclass(frozen=True)
class Job:
    """A training that can start. `checkpoint` and `run` are there when it goes on with an earlier one."""

    scene: Scene
    config: RunConfig
    length: Length
    out: Path
    overwrite: bool = False
    checkpoint: Checkpoint | None = None
    run: Run | None = None

    def place_pictures(self, model: Any, memory: int | None) -> Plan:
        """Where the pictures go, if all of the training may take `memory` bytes (None: half of what is free).

        Raises: MemoryBudgetError if it fits nowhere.
        """
        kept, step = memory_of(model)
        downscale = self.config.downscale
        return plan_pictures(self.scene, downscale, model=kept, step=step, budget=memory, beside=self.out)

    def decode(self, place: Plan, progress: Callable[[int, int], None]) -> PixelSource:
        return PixelSource.from_scene(
            self.scene, workers=place.workers, progress=progress, folder=place.folder
        )

    def open_run(self) -> Run:
        """The run folder, made or opened."""
        if self.run is None or self.checkpoint is None:
            made = run.create(self.out, self.config, overwrite=self.overwrite)
            save_cameras(made, self.scene)
            return made
        opened = replace(self.run, config=self.config)
        run.save_config(opened)
        opened.cut_log(self.checkpoint.step)
        return opened


def announce_resume(
    opened: RunFolder, found: Checkpoint, steps: int | None, start: dict[str, Any], console: Console
) -> None:
    """Say where a training goes on, and whether its bits can differ from an uninterrupted one."""
    console.say(f"goes on at step {found.step}, after {duration(found.elapsed)} of training")
    earlier = opened.starts()
    changed = differences(earlier[-1], start) if earlier else ["provenance.json is missing"]
    if changed:
        console.say(f"the bits can differ from an uninterrupted training: {', '.join(changed)}")
    elif steps is None:
        console.say(
            "same machine and versions; but a budget follows the clock, so no two trainings are equal"
        )
    else:
        console.say(
            "same machine and versions: the result will be that of an uninterrupted training, bit for bit"
        )


def prepare(options: Namespace, again: str) -> Job:
    """Settle a training from its command line. again: that line, for messages.

    Raises: ValueError (SceneError, RunError, ...) naming what is wrong and what to do.
    """
    if options.device:
        run.usable_device(options.device)
    if options.resume and not _is_finding_poses(options):
        return _resumed(options, again)
    return _new(options, again)


def _is_finding_poses(options: Namespace) -> bool:
    """Whether an earlier start got as far as the poses of photographs, and not to their training."""
    out = run_folder(options)
    return photographs.is_begun(out) and not run.is_run(out) and formats.unposed(options.scene) is not None


def run_folder(options: Namespace) -> Path:
    """--out, or runs/NAME."""
    return options.out or Path("runs") / name_of(Path(options.scene))


def _new(options: Namespace, again: str) -> Job:
    name = options.method or next(iter(METHODS))
    settings, trainer = parse_pairs(options.set, method_class(name))
    asked = name, settings, options.preset, options.steps, options.budget
    plan(*asked)  # what is wrong with it is said before anything is read
    bounds, hold_out = options.bounds or "auto", options.hold_out or ()
    formats.check_bounds(bounds)
    source = Path(options.scene)
    if formats.unposed(source):
        run.check_free(run_folder(options), overwrite=options.overwrite)
        source = _posed(options, again, hold_out)
    scene = read_scene(source, "train", options.downscale or 1, options.allow_outside, bounds, hold_out)
    values, preset, length = plan(*asked, scene.bounds.unbounded)
    out = options.out or Path("runs") / scene.name
    run.check_free(out, overwrite=options.overwrite)
    config = RunConfig(
        method=name,
        settings=values,
        scene=scene.header(),
        source=str(source.absolute()),
        downscale=options.downscale or 1,
        bounds=bounds,
        hold_out=hold_out,
        preset=preset,
        steps=length.steps,
        budget=length.budget,
        seed=options.seed or 0,
        device=options.device or "cpu",
        backend=options.backend or "auto",
        **trainer,
    )
    return Job(scene, config, length, out, options.overwrite)


def _posed(options: Namespace, again: str, hold_out: tuple[str, ...] = ()) -> Path:
    """The scene that the photographs or the video at options.scene become."""
    return photographs.find_poses(
        Path(options.scene),
        run_folder(options),
        again=again,
        hold_out=hold_out,
        overwrite=options.overwrite,
        threads=options.threads,
        quiet=options.quiet or options.json,
    )


def _resumed(options: Namespace, again: str) -> Job:
    given = Path(options.scene)
    if run.is_run(given):
        found, _ = run.find(given)
        source = found.config.source
        if source is None:
            raise RunError(
                f"{given}: was trained on a scene in memory; its pictures are not there to go on with"
            )
    else:
        source = options.scene
        found, _ = run.find(run_folder(options))
        if formats.unposed(given):
            if not photographs.scene_beside(run_folder(options)).exists():
                raise RunError(
                    f"{found.path}: was trained on {found.config.source}, not on {given}; go on with: "
                    f"render train {found.path} --resume"
                )
            source = _posed(options, again)
    config = _merged(options, found)
    scene = read_scene(
        source, "train", config.downscale, options.allow_outside, config.bounds, config.hold_out
    )
    if scene.header() != config.scene:
        raise RunError(f"{source}: is not the scene that {found.path} was trained on; give that one's path")
    length = Length(config.steps, config.budget)
    last = checkpoint.load_latest(found.checkpoints, warn)
    return Job(
        scene, replace(config, source=str(Path(source).absolute())), length, found.path, False, last, found
    )


def _merged(options: Namespace, found: Run) -> RunConfig:
    """The run's configuration with what a resume may change: length, device, backend, checkpoints."""
    config = found.config
    settings, trainer = parse_pairs(options.set, method_class(config.method))
    names = ("method", "preset", "seed", "downscale", "bounds", "hold_out")
    fixed = {name: getattr(options, name) for name in names}
    stored = {**asdict(config), **config.settings}
    for name, value in {**fixed, **settings}.items():
        stands = list(stored[name]) if isinstance(stored[name], tuple) else stored[name]
        if value is not None and (list(value) if isinstance(value, tuple) else value) != stands:
            raise RunError(
                f"{found.path}: was trained with {name}={stored[name]}, a resume cannot make that {value}; "
                "leave it out, or train elsewhere with --out"
            )
    if options.steps or options.budget:
        config = replace(config, steps=options.steps, budget=options.budget)
    config = replace(
        config, device=options.device or config.device, backend=options.backend or config.backend
    )
    return replace(config, **trainer)


def read_scene(
    path: str | Path,
    split: str,
    downscale: float | int,
    allow_outside: bool,
    bounds: str,
    hold_out: tuple[str, ...] = (),
) -> Scene:
    """A scene; see `scenes.formats.read` and `check_scene`."""
    check_scene(Path(path))
    return formats.read(path, split, downscale, allow_outside, bounds, hold_out)


def check_scene(path: Path) -> None:
    """Raises SceneError, with what exists nearby, if there is nothing at `path`."""
    if not path.exists():
        raise SceneError(f"{path}: no such scene{_scenes_nearby(path)}")


def _scenes_nearby(path: Path) -> str:
    """'; did you mean ...?' or what scenes lie in the nearest folder that exists."""
    parent = next(folder for folder in path.absolute().parents if folder.is_dir())
    entries = [entry for entry in sorted(parent.iterdir()) if entry.is_dir() or _is_video(entry)]
    there = {str(path.parent / entry.name): entry for entry in entries}
    near = nearest(str(path), there)
    if near:
        return near
    known = [name for name, entry in there.items() if _is_scene(entry)]
    if known:
        return f"; scenes in {parent}: {', '.join(Path(name).name for name in known[:8])}"
    return f"; {parent} holds no scene; render scenes list shows those that can be made"


def _is_scene(path: Path) -> bool:
    try:
        formats.detect(path)
    except SceneError:
        return False
    return True


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEOS


def set_threads(threads: int | None) -> None:
    """How many cores torch and the kernels use; None leaves torch's choice."""
    if threads is not None:
        torch.set_num_threads(threads)
