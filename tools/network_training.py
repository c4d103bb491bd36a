"""What commands that train networks have in common: their options, a beginning, a resume, and the run itself.

Torch is imported when something is trained, not for --help.
"""

import json
import shlex
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from render.arguments import Parser, add_output_options, seconds, warn, whole
from render.console import Console, count, duration

if TYPE_CHECKING:
    from render.checkpoint import Checkpoint
    from tools.network_runs import Kind, NetworkConfig, NetworkRun

# Of the model, data sets, options and a console: what the model's steps draw from, until it is closed.
Reading = Callable[[Any, tuple, Namespace, Console], Any]


def add_data_options(parser: Parser, operand: str, what: str, out: str, steps: int) -> None:
    """What is learnt from, where it goes and how long it takes: `steps` unless one says so."""
    parser.set_defaults(usual_steps=steps)
    parser.add_argument(
        "datasets",
        nargs="*",
        type=Path,
        metavar=operand,
        help=f"{what}; with --resume, those of the run unless they have moved",
    )
    parser.add_argument(
        "--out", type=Path, default=Path(out), metavar="DIR", help=f"run folder (default: {out})"
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument(
        "--steps",
        type=whole,
        metavar="N",
        help=f"train for N steps: the same seed, the same bits (default: {steps})",
    )
    length.add_argument("--budget", type=seconds, metavar="TIME", help="train for 60s, 5m or 1h by the clock")


def add_memory_option(parser: Parser, kept: str, rest: str) -> None:
    """How much of what a training draws from is kept. rest: what becomes of what is not."""
    from render.commands.train import memory_size

    parser.add_argument(
        "--memory",
        type=memory_size,
        metavar="SIZE",
        help=f"what {kept} may take, as 8GB; the rest is {rest} anew (default: half of what is free)",
    )


def add_training_options(parser: Parser) -> None:
    """What is the same for whatever is trained."""
    parser.add_argument("--seed", type=int, metavar="N", help="seed of all random numbers (default: 0)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="set a hyper-parameter"
    )
    parser.add_argument(
        "--start-from", type=Path, metavar="FILE", help="begin with these weights, of the same network"
    )
    there = parser.add_mutually_exclusive_group()
    there.add_argument("--resume", action="store_true", help="go on with the run that is there")
    there.add_argument("--overwrite", action="store_true", help="replace the run that is there")
    parser.add_argument("--device", metavar="NAME", help="cpu (default) or cuda")
    parser.add_argument("--threads", type=whole, metavar="N", help="processor cores to use (default: all)")
    add_output_options(parser)


@dataclass(frozen=True)
class Job:
    """A training that can start. `run` and `checkpoint` are there when it goes on with an earlier one."""

    config: "NetworkConfig"
    sets: tuple
    run: "NetworkRun | None" = None
    checkpoint: "Checkpoint | None" = None


def train(
    kind: "Kind", options: Namespace, arguments: list[str], flags: dict[str, Any], reading: Reading
) -> int:
    """Do what a command line asks for. Returns its exit code.

    flags: settings of the recipe that have options of their own; None is left out.
    """
    from render.commands.prepare import set_threads

    set_threads(options.threads)
    console = Console(quiet=options.quiet or options.json)
    asked = settings_of(kind, options, flags)
    job = resumed(kind, options, *asked) if options.resume else new(kind, options, *asked)
    run, training, report = fit(kind, job, options, arguments, reading, console)
    result: dict[str, Any] = {"run": str(run.path), "step": training.step, "elapsed": training.elapsed}
    result |= {"finished": training.finished, "loss": report.loss if report else None}
    if training.finished:
        training.model.write(run.weights)
        result["weights"] = str(run.weights)
        console.say(f"weights: {run.weights}")
        if run.weights.name == kind.usable:  # no other command reads what is for experiments
            console.say(f"next: {kind.used_by} {shlex.quote(str(run.weights))}")
    else:
        console.say(f"stopped and saved at step {training.step}; go on with:")
        console.say(f"  {shlex.join(['render', kind.verb, '--out', str(run.path), '--resume'])}")
    if options.json:
        sys.stdout.write(json.dumps(result, indent=2) + "\n")
    return 0 if training.finished else 1


def settings_of(
    kind: "Kind", options: Namespace, flags: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings of the recipe that the command line names, and of the trainer."""
    from render.settings import parse_pairs

    pairs = [f"{name}={value}" for name, value in flags.items() if value is not None]
    return parse_pairs([*options.set, *pairs], kind.recipe)


def new(kind: "Kind", options: Namespace, settings: dict[str, Any], trainer: dict[str, Any]) -> Job:
    """Settle a new training; nothing is written."""
    from render import run
    from tools import network_runs

    run.usable_device(options.device or "cpu")
    recipe = kind.recipe(**settings)
    network_runs.check_free(kind, options.out, overwrite=options.overwrite)
    sets = tuple(kind.read_set(path) for path in options.datasets)
    recipe.check(sets)
    steps = options.usual_steps if options.steps is None and options.budget is None else options.steps
    config = network_runs.NetworkConfig(
        recipe=recipe,
        datasets=tuple(map(kind.remembered, options.datasets, sets)),
        start_from=None if options.start_from is None else str(options.start_from.absolute()),
        steps=steps,
        budget=options.budget,
        seed=options.seed or 0,
        device=options.device or "cpu",
        **trainer,
    )
    return Job(config, sets)


def resumed(kind: "Kind", options: Namespace, settings: dict[str, Any], trainer: dict[str, Any]) -> Job:
    """Settle how an earlier training goes on: length, device and checkpoints may change, nothing else."""
    from render import checkpoint
    from render.run import RunError, usable_device
    from tools import network_runs

    run = network_runs.find(kind, options.out)
    config = run.config
    fixed = settings | {} if options.seed is None else settings | {"seed": options.seed}
    if options.start_from is not None:
        fixed["start_from"] = str(options.start_from.absolute())
    stored = {**asdict(config), **asdict(config.recipe)}
    for name, value in fixed.items():
        if value != stored[name]:
            raise RunError(
                f"{run.path}: was trained with {name}={stored[name]}, a resume cannot make that {value}; "
                "leave it out, or train elsewhere with --out"
            )
    paths = options.datasets or [Path(each.path) for each in config.datasets]
    sets = tuple(kind.read_set(path) for path in paths)
    datasets = tuple(map(kind.remembered, paths, sets))
    network_runs.check_same(run, datasets)
    if options.steps or options.budget:
        config = replace(config, steps=options.steps, budget=options.budget)
    device = options.device or config.device
    usable_device(device)
    config = replace(config, datasets=datasets, device=device, **trainer)
    last = checkpoint.load_latest(run.checkpoints, warn)
    return Job(config, sets, replace(run, config=config), last)


def fit(
    kind: "Kind", job: Job, options: Namespace, arguments: Sequence[str], reading: Reading, console: Console
) -> tuple[Any, Any, Any]:
    """Train. Returns the run, the training (finished or stopped) and its last report, if there was any."""
    from render.commands.train import stop_on_signal
    from render.trainer import Length, Training

    config, began = job.config, time.perf_counter()
    model = config.recipe.build(config.seed, config.device)
    if config.start_from is not None and job.checkpoint is None:
        model.start_from(Path(config.start_from))
    batches = reading(model, job.sets, options, console)
    run = opened(kind, job, options, model, arguments, console)
    report = None
    with stop_on_signal() as stopped:
        training = Training(
            model,
            batches,
            Length(config.steps, config.budget),
            seed=config.seed,
            began=began,
            home=run,
            resume=job.checkpoint,
            checkpoint_every=config.checkpoint_every,
            stop=lambda: bool(stopped),
        )
        try:
            with console.progress():
                for report in training:
                    if report.note:
                        console.say(report.note)
                    console.update(line(kind, report, config.steps))
        finally:
            batches.close()
    if report is not None:
        console.say(f"trained: {line(kind, report, config.steps)}; {report.cpu_share:.0%} of its cores")
    return run, training, report


def opened(
    kind: "Kind", job: Job, options: Namespace, model: Any, arguments: Sequence[str], console: Console
) -> "NetworkRun":
    """The run folder, made or gone on with, and this start noted in it."""
    from render import provenance
    from render.commands.prepare import announce_resume
    from tools import network_runs

    backend = {"name": "reference", "reason": kind.reason, "instruction_set": None}
    step = 0 if job.checkpoint is None else job.checkpoint.step
    start = provenance.started(model.description(), backend, [kind.verb, *arguments], step)
    if job.run is None or job.checkpoint is None:
        run = network_runs.create(kind, options.out, job.config, overwrite=options.overwrite)
    else:
        run = job.run
        network_runs.save_config(run)
        run.cut_log(step)
        announce_resume(run, job.checkpoint, job.config.steps, start, console)
    run.add_start(start)
    return run


def line(kind: "Kind", report: Any, steps: int | None) -> str:
    """One report on one line."""
    done = f"step {report.step}/{steps}" if steps else f"step {report.step}"
    clock = f"{duration(report.elapsed)}, {duration(report.remaining)} left"
    rate = f"{count(report.samples_per_second)}{kind.samples}/s"
    return f"{done}  {report.schedule:4.0%}  loss {report.loss:.4f}  {rate}  {clock}"
