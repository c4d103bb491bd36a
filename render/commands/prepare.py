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
from render.console import Console, duration
from render.methods import METHODS
from render.methods import method as method_class
from render.provenance import differences
from render.run import Run, RunConfig, RunError
from render.settings import nearest, parse_pairs
from render.trainer import Length, plan
from scenes import formats
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

    def decode(self, progress: Callable[[int, int], None]) -> PixelSource:
        return PixelSource.from_scene(self.scene, progress=progress)

    def open_run(self) -> Run:
        """The run folder, made or opened."""
        if self.run is None or self.checkpoint is None:
            return run.create(self.out, self.config, overwrite=self.overwrite)
        opened = replace(self.run, config=self.config)
        run.save_config(opened)
        opened.cut_log(self.checkpoint.step)
        return opened

    def announce_resume(self, opened: Run, start: dict[str, Any], console: Console) -> None:
        """Say where the training goes on, and whether its bits can differ from an uninterrupted one."""
        if self.checkpoint is None:
            return
        console.say(
            f"goes on at step {self.checkpoint.step}, after {duration(self.checkpoint.elapsed)} of training"
        )
        earlier = opened.starts()
        changed = differences(earlier[-1], start) if earlier else ["provenance.json is missing"]
        if changed:
            console.say(f"the bits can differ from an uninterrupted training: {', '.join(changed)}")
        elif self.length.steps is None:
            console.say(
                "same machine and versions; but a budget follows the clock, so no two trainings are equal"
            )
        else:
            console.say(
                "same machine and versions: the result will be that of an uninterrupted training, bit for bit"
            )


def prepare(options: Namespace) -> Job:
    """Settle a training from its command line.

    Raises: ValueError (SceneError, RunError, ...) naming what is wrong and what to do.
    """
    if options.device:
        run.usable_device(options.device)
    return _resumed(options) if options.resume else _new(options)


def _new(options: Namespace) -> Job:
    name = options.method or next(iter(METHODS))
    settings, trainer = parse_pairs(options.set, method_class(name))
    asked = name, settings, options.preset, options.steps, options.budget
    plan(*asked)  # what is wrong with it is said before anything is read
    bounds = options.bounds or "auto"
    scene = read_scene(options.scene, "train", options.downscale or 1, options.allow_outside, bounds)
    values, preset, length = plan(*asked, scene.bounds.unbounded)
    out = options.out or Path("runs") / scene.name
    run.check_free(out, overwrite=options.overwrite)
    config = RunConfig(
        method=name,
        settings=values,
        scene=scene.header(),
        source=str(Path(options.scene).absolute()),
        downscale=options.downscale or 1,
        bounds=bounds,
        preset=preset,
        steps=length.steps,
        budget=length.budget,
        seed=options.seed or 0,
        device=options.device or "cpu",
        backend=options.backend or "auto",
        **trainer,
    )
    return Job(scene, config, length, out, options.overwrite)


def _resumed(options: Namespace) -> Job:
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
        found, _ = run.find(options.out or Path("runs") / given.resolve().name)
    config = _merged(options, found)
    scene = read_scene(source, "train", config.downscale, options.allow_outside, config.bounds)
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
    fixed = {name: getattr(options, name) for name in ("method", "preset", "seed", "downscale", "bounds")}
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
    path: str | Path, split: str, downscale: float | int, allow_outside: bool, bounds: str
) -> Scene:
    """A scene; see `scenes.formats.read` and `check_scene`."""
    check_scene(Path(path))
    return formats.read(path, split, downscale, allow_outside, bounds)


def check_scene(path: Path) -> None:
    """Raises SceneError, with what exists nearby, if there is nothing at `path`."""
    if not path.exists():
        raise SceneError(f"{path}: no such scene{_scenes_nearby(path)}")


def _scenes_nearby(path: Path) -> str:
    """'; did you mean ...?' or what scenes lie in the nearest folder that exists."""
    parent = next(folder for folder in path.absolute().parents if folder.is_dir())
    there = {str(path.parent / entry.name): entry for entry in sorted(parent.iterdir()) if entry.is_dir()}
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


def set_threads(threads: int | None) -> None:
    """How many cores torch and the kernels use; None leaves torch's choice."""
    if threads is not None:
        torch.set_num_threads(threads)
