"""The training loop: clock, schedule, checkpoints, log, and a guard against losses that are not finite.

It never learns which method runs. Where a training stands is told in [0, 1] (`schedule`): by steps, so that
the same seed gives the same bits, or by the clock, so that a budget is spent to its end.
"""

import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from render import checkpoint, provenance, run
from render.checkpoint import Checkpoint, NotFiniteError
from render.methods import method as method_class
from render.run import RunConfig, RunFolder
from render.run_cameras import save_cameras
from render.settings import nearest, typed_settings
from scenes import formats
from scenes.decoding import plan_pictures
from scenes.memory import parse_size
from scenes.pixels import PixelSource
from scenes.scene import Scene, SceneWarning

SAVE_SECONDS = 60.0
REPORT_SECONDS = 0.25
LOG_SECONDS = 1.0
ROLLBACKS = 3
PART = "loss/"  # before the name of a part of the loss, among what a step tells


class TrainingError(RuntimeError):
    """The training cannot go on; the message says why and what to change."""


@dataclass(frozen=True)
class Report:
    """Where a training stands. Rates and means are over the steps since the report before."""

    step: int
    schedule: float  # share of the training that is done
    elapsed: float  # seconds of training, saves and earlier starts included
    remaining: float  # seconds, estimated
    loss: float
    psnr: float  # dB, of the training batch
    rays_per_second: float
    samples_per_second: float
    cpu_share: float  # CPU seconds over threads x wall clock since this start: what others left to it
    note: str | None = None  # what happened, for people
    losses: dict[str, float] = field(default_factory=dict)  # parts of the loss that a step tells by name


@dataclass(frozen=True)
class Length:
    """How long to train: a number of steps, or seconds of wall-clock time."""

    steps: int | None = None
    budget: float | int | None = None

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.budget is None):
            raise ValueError(f"a training has steps or a budget, not {self.steps} steps and {self.budget} s")
        length = self.budget if self.steps is None else self.steps
        if not 0 < length < math.inf:
            raise ValueError(f"a training needs a length above 0, got {length}")

    def schedule(self, step: int, elapsed: float) -> float:
        """Share of the training that is done, in [0, 1]."""
        return min(step / self.steps if self.steps else elapsed / self.budget, 1.0)


class Training:
    """One training. Iterating trains and yields reports; after the last one the run is saved.

    Args:
        model: see `render/methods/base.py`.
        pixels: what the model's steps draw from; a scene's PixelSource, or whatever else it takes.
        began: `time.perf_counter()` when the training's clock started (building the model counts).
        home: where to save; None keeps everything in memory.
        resume: the checkpoint to go on from.
        stop: asked after every step; True saves and ends early.
    """

    def __init__(
        self,
        model: Any,
        pixels: Any,
        length: Length,
        *,
        seed: int = 0,
        began: float | None = None,
        home: RunFolder | None = None,
        resume: Checkpoint | None = None,
        checkpoint_every: int | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.model, self.pixels, self.length, self.home = model, pixels, length, home
        self.checkpoint_every, self.stop = checkpoint_every, stop
        self.generator = torch.Generator().manual_seed(seed)
        self.began = time.perf_counter() if began is None else began
        self.earlier = resume.elapsed if resume else 0.0
        self.ended: float | None = None
        self.step, self.rollbacks, self.saved_step, self.saved_at = 0, 0, -1, self.earlier
        if resume:
            self._restore(resume)
            self.saved_step = resume.step
        self.start = None if resume else self._snapshot(copy=True)
        self.meter = Meter(self.step, self.elapsed)

    @property
    def elapsed(self) -> float:
        """Seconds of training so far, those before a resume included."""
        now = time.perf_counter() if self.ended is None else self.ended
        return self.earlier + now - self.began

    @property
    def schedule(self) -> float:
        return self.length.schedule(self.step, self.elapsed)

    @property
    def finished(self) -> bool:
        return self.schedule >= 1.0

    def __iter__(self) -> Iterator[Report]:
        logged, stopped = self.elapsed, self.stop()
        while not (stopped or self.finished):
            values = self.model.step(self.pixels, self.schedule, self.generator)
            self.step += 1
            note = self._guard(values)
            if note is None:
                self.meter.add(values)
                note = self.save() if self._save_is_due() else None
            stopped = self.stop()
            ended = stopped or self.finished
            if note or ended or self.step == 1 or self.meter.age(self.elapsed) >= REPORT_SECONDS:
                report = self.meter.report(self, note)
                if self.home and (ended or self.elapsed - logged >= LOG_SECONDS):
                    self.home.log(asdict(report))
                    logged = self.elapsed
                yield report
        if self.step != self.saved_step:
            note = self.save()
            if note:  # the last parameters were not finite: train the missing steps again
                yield from self
                return
        self.ended = time.perf_counter()

    def save(self) -> str | None:
        """Write a checkpoint. Returns what had to be done instead, if the parameters are not finite."""
        if self.home:
            try:
                checkpoint.save(self.home.checkpoints, self._snapshot())
            except NotFiniteError as error:
                return self._roll_back(str(error))
            self.start = None  # the rollback has something better now
        self.saved_step, self.saved_at = self.step, self.elapsed
        return None

    def _save_is_due(self) -> bool:
        if self.finished or self.home is None:
            return False  # the end saves
        if self.checkpoint_every:
            return self.step % self.checkpoint_every == 0
        return self.elapsed - self.saved_at >= SAVE_SECONDS

    def _guard(self, values: dict[str, float]) -> str | None:
        if math.isfinite(values["loss"]):
            return None
        return self._roll_back(f"the loss of step {self.step} is {values['loss']}")

    def _roll_back(self, cause: str) -> str:
        """Back to the last checkpoint, with other random numbers: the same ones would end the same way."""
        self.rollbacks += 1
        if self.rollbacks > ROLLBACKS:
            raise TrainingError(
                f"{cause}, after {ROLLBACKS} rollbacks; the method's settings do not suit this scene: "
                "try a lower learning rate (--set learning_rate=...)"
            )
        seed, rollbacks = self.generator.initial_seed(), self.rollbacks
        found, damages = self.start, []
        if found is None:
            found = checkpoint.load_latest(self.home.checkpoints, damages.append)
        self._restore(found)
        self.rollbacks = rollbacks
        self.generator.manual_seed(seed + 1)
        cause = "; ".join([cause, *damages])
        return f"{cause}; back at step {self.step} with other random numbers ({rollbacks} of {ROLLBACKS})"

    def _snapshot(self, copy: bool = False) -> Checkpoint:
        tensors = self.model.state()
        if copy:  # what is all zeros (an optimiser that has not begun) takes no memory
            tensors = {
                name: value.clone() if value.any() else value.new_zeros(()).expand_as(value)
                for name, value in tensors.items()
            }
        return Checkpoint(self.step, self.elapsed, tensors, self.generator.get_state(), self.rollbacks)

    def _restore(self, found: Checkpoint) -> None:
        self.model.load_state(found.tensors)
        self.generator.set_state(found.generator)
        self.step, self.rollbacks = found.step, found.rollbacks


class Meter:
    """Means and rates between two reports."""

    def __init__(self, step: int, elapsed: float) -> None:
        self.first, self.cpu_first = (step, elapsed), time.process_time()
        self._reset(elapsed)

    def _reset(self, elapsed: float) -> None:
        self.since = elapsed
        self.sums = dict.fromkeys(("steps", "loss", "psnr", "rays", "samples"), 0.0)
        self.parts: dict[str, float] = {}

    def add(self, values: dict[str, float]) -> None:
        self.sums["steps"] += 1
        for name in ("loss", "psnr", "rays", "samples"):
            self.sums[name] += values[name]
        for name, value in values.items():
            if name.startswith(PART):
                part = name.removeprefix(PART)
                self.parts[part] = self.parts.get(part, 0.0) + value

    def age(self, elapsed: float) -> float:
        return elapsed - self.since

    def report(self, training: Training, note: str | None) -> Report:
        elapsed = training.elapsed
        seconds, steps = max(elapsed - self.since, 1e-9), self.sums["steps"] or math.nan
        report = Report(
            step=training.step,
            schedule=training.schedule,
            elapsed=elapsed,
            remaining=self._remaining(training, elapsed),
            loss=self.sums["loss"] / steps,
            psnr=self.sums["psnr"] / steps,
            rays_per_second=self.sums["rays"] / seconds,
            samples_per_second=self.sums["samples"] / seconds,
            cpu_share=self._cpu_share(elapsed),
            note=note,
            losses={name: total / steps for name, total in self.parts.items()},
        )
        self._reset(elapsed)
        return report

    def _cpu_share(self, elapsed: float) -> float:
        wall = max(elapsed - self.first[1], 1e-9) * torch.get_num_threads()
        return (time.process_time() - self.cpu_first) / wall

    def _remaining(self, training: Training, elapsed: float) -> float:
        if training.length.budget:
            return max(training.length.budget - elapsed, 0.0)
        step, began = self.first
        done = max(training.step - step, 1)
        return (training.length.steps - training.step) * (elapsed - began) / done


def memory_of(model: Any) -> tuple[int, int]:
    """Bytes of a model with gradients and optimiser, and of what steps and checkpoints work in: estimated.

    The first follows from its state. The second was measured with instant-ngp on the kernels: the first
    values, kept until there is a checkpoint; a list of the cells that may be occupied; one level's gradients
    for each thread; a mask of what is not finite, for a checkpoint. Gradients that torch computes take more.
    """
    sizes = {name: value.numel() * value.element_size() for name, value in model.state().items()}
    parameters = 4 * model.description()["parameters"]
    values = sum(size for name, size in sizes.items() if not name.startswith("optimizer."))
    cells = max(values - parameters, 0)
    step = values + 5 * cells + torch.get_num_threads() * (parameters // 5 + 5 * 10**6)
    return sum(sizes.values()) + 3 * parameters // 2, step + 7 * max(sizes.values()) // 4


def plan(
    name: str,
    settings: dict[str, Any],
    preset: str | None,
    steps: int | None,
    budget: float | int | None,
    unbounded: bool = False,
) -> tuple[dict[str, Any], str, Length]:
    """Every setting of the method `name`, its preset's name and the length of the training.

    unbounded: of the scene; a method can have other defaults then (UNBOUNDED).
    Raises: ValueError for a method, preset or setting that does not exist, or both `steps` and `budget`.
    """
    if steps is not None and budget is not None:
        raise ValueError("steps and budget are both given; a training has one length: keep one of them")
    length = None if steps is None and budget is None else Length(steps, budget)
    kind = method_class(name)
    preset = preset or default_preset(kind, budget)
    if preset not in kind.PRESETS:
        raise ValueError(
            f"preset {preset!r} is unknown to {name}; known: {', '.join(kind.PRESETS)}"
            f"{nearest(preset, kind.PRESETS)}"
        )
    elsewhere = getattr(kind, "UNBOUNDED", {}) if unbounded else {}
    chosen = {**kind.PRESETS[preset], **elsewhere, **settings}
    length = length or Length(steps=chosen["steps"])
    for name_of_length in ("steps", "seconds"):
        chosen.pop(name_of_length, None)
    return asdict(kind(**typed_settings(kind, chosen))), preset, length


def default_preset(kind: type, budget: float | int | None) -> str:
    """ "standard"; with a budget, the preset that was made for about as long (its "seconds")."""
    lengths = {name: preset["seconds"] for name, preset in kind.PRESETS.items() if "seconds" in preset}
    if budget is None or not lengths:
        return "standard" if "standard" in kind.PRESETS else next(iter(kind.PRESETS))
    return min(lengths, key=lambda name: abs(math.log(lengths[name] / budget)))


def train(
    scene: Scene | str | Path,
    method: str = "ngp",
    *,
    preset: str | None = None,
    steps: int | None = None,
    budget: float | int | None = None,
    seed: int = 0,
    device: str = "cpu",
    backend: str = "auto",
    downscale: float | int = 1,
    bounds: str = "auto",
    hold_out: Sequence[str] = (),
    memory: int | str | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    report: Callable[[Report], None] = lambda report: None,
    **settings: Any,
) -> Any:
    """Train on a scene and return the model; prints nothing and leaves signals alone.

    Args:
        scene: a Scene, or the path of one in any known format.
        bounds: of a scene that is read: box, unbounded, or auto.
        hold_out: of a scene that is read: names or shell patterns of the pictures to test on.
        memory: bytes, or "8GB", that the training may take; past it the pictures lie in a file, which is
            warned of. None: half of what is free.
        steps, budget: length in steps or in seconds; neither: the preset's steps.
        out: a run folder to write, with checkpoints; None keeps the model in memory only.
        report: called a few times a second.
        settings: hyper-parameters of the method.
    Raises: ValueError for a wrong argument, TrainingError if the loss stays not finite.
    """
    plan(method, settings, preset, steps, budget)  # what is wrong with it is said before anything is read
    memory = parse_size(memory) if isinstance(memory, str) else memory
    if out is not None:
        run.check_free(Path(out), overwrite=overwrite)
    if not isinstance(scene, Scene):
        scene = formats.read(Path(scene), "train", downscale, bounds=bounds, hold_out=hold_out)
    values, preset, length = plan(method, settings, preset, steps, budget, scene.bounds.unbounded)
    config = RunConfig(
        method=method,
        settings=values,
        scene=scene.header(),
        source=None if scene.source is None else str(Path(scene.source).absolute()),
        downscale=downscale,
        bounds=bounds,
        hold_out=tuple(hold_out),
        preset=preset,
        steps=length.steps,
        budget=length.budget,
        seed=seed,
        device=device,
        backend=backend,
    )
    building = time.perf_counter()
    model = config.build(scene)
    kept, step = memory_of(model)
    beside = None if out is None else Path(out)
    place = plan_pictures(scene, downscale, model=kept, step=step, budget=memory, beside=beside)
    if place.folder is not None:
        warnings.warn(place.text, SceneWarning, stacklevel=2)
    decoding = time.perf_counter()
    pixels = PixelSource.from_scene(scene, workers=place.workers, folder=place.folder)
    began = building + time.perf_counter() - decoding  # to build the model counts, to decode does not
    home = None
    if out is not None:
        home = run.create(Path(out), config, overwrite=overwrite)
        save_cameras(home, scene)
        home.add_start(provenance.record(config, model, [], 0))
    for each in Training(model, pixels, length, seed=seed, began=began, home=home):
        report(each)
    return model
