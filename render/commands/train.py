"""`render train SCENE`: from pictures to a run folder, with all that a person wants to see after it."""

import json
import os
import shlex
import signal
import time
from argparse import ArgumentTypeError, Namespace
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from render.arguments import Parser, add_machine_options, add_output_options, factor, seconds, whole
from render.console import Console, count, duration
from render.methods import METHODS
from scenes.memory import parse_size

DEFAULT = next(iter(METHODS))
LONGEST_VIDEO = 300.0  # seconds; a longer one has to be asked for
# Settings of a method that have a flag of their own.
SWITCHES = {
    "refine-poses": "train the cameras' poses and focal lengths along; for poses that are not exact",
    "appearance": "give each picture an exposure and white balance of its own; for automatic cameras",
}
SUMMARY = "Turn a scene into a run that can be rendered from anywhere."


def parser() -> Parser:
    parser = Parser("train", SUMMARY)
    parser.add_argument(
        "scene",
        metavar="SCENE",
        help="a scene folder, or a scene file in it; or a folder of photographs or a video, whose poses are "
        "found first and kept in RUN.scene, beside the run folder RUN",
    )
    parser.add_argument("--method", metavar="NAME", help=f"{' or '.join(METHODS)} (default: {DEFAULT})")
    parser.add_argument(
        "--preset", metavar="NAME", help="fast, standard (default), quality, or another of the method's"
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument(
        "--steps", type=whole, metavar="N", help="train for N steps: the same seed, the same bits"
    )
    length.add_argument("--budget", type=seconds, metavar="TIME", help="train for 60s, 5m or 1h by the clock")
    parser.add_argument("--out", type=Path, metavar="DIR", help="run folder (default: runs/SCENE)")
    parser.add_argument("--seed", type=int, metavar="N", help="seed of all random numbers (default: 0)")
    parser.add_argument("--downscale", type=factor, metavar="N", help="shrink the pictures N times")
    parser.add_argument(
        "--memory",
        type=memory_size,
        metavar="SIZE",
        help="what the training may take, as 8GB or 500MB; past it the pictures lie in a file, in TMPDIR or "
        "beside the run (default: half of what is free)",
    )
    parser.add_argument(
        "--bounds",
        metavar="KIND",
        help="box: nothing is outside of it; unbounded: all that is seen (default: as the capture suggests)",
    )
    parser.add_argument(
        "--hold-out",
        type=names,
        metavar="NAME[,NAME...]",
        help="pictures to test on: names or patterns like 'IMG_2*' (default: the capture's, else every 8th)",
    )
    for flag, meaning in SWITCHES.items():
        setting = f"{flag.replace('-', '_')}=true"
        parser.add_argument(f"--{flag}", dest="set", action="append_const", const=setting, help=meaning)
    parser.add_argument("--set", action="append", metavar="KEY=VALUE", help="set a hyper-parameter")
    parser.set_defaults(set=[])
    there = parser.add_mutually_exclusive_group()
    there.add_argument("--resume", action="store_true", help="go on with the run that is there")
    there.add_argument(
        "--overwrite",
        action="store_true",
        help="replace the run that is there, and its poses if those are of other photographs",
    )
    parser.add_argument(
        "--view",
        nargs="?",
        type=int,
        const=8080,
        metavar="PORT",
        help="watch it learn in a browser on this machine (default port: 8080; 0: any free one)",
    )
    parser.add_argument(
        "--allow-outside", action="store_true", help="let the scene file name pictures outside its folder"
    )
    add_machine_options(parser)
    add_output_options(parser)
    return parser


def names(text: str) -> tuple[str, ...]:
    """An argument type: names with commas between them."""
    found = tuple(name.strip() for name in text.split(","))
    if not all(found):
        raise ArgumentTypeError(f"{text!r} has an empty name; write NAME or NAME,NAME")
    return found


def memory_size(text: str) -> int:
    """An argument type: 8GB, 500MB."""
    try:
        return parse_size(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None


def main(arguments: list[str]) -> int:
    options = parser().parse_args(arguments)
    console = Console(quiet=options.quiet or options.json)
    run, training, report = fit(options, arguments, console)
    result: dict[str, Any] = {"run": str(run.path), "step": training.step, "elapsed": training.elapsed}
    result |= {"finished": training.finished, "cpu_share": report.cpu_share if report else None}
    if training.finished:
        result |= finish(run, training.model, options, console)
    else:
        console.say(f"stopped and saved at step {training.step}; go on with:")
        console.say(f"  {resume_command(options)}")
    if options.json:
        print(json.dumps(result, indent=2))
    return 0 if training.finished else 1


def fit(options: Namespace, arguments: list[str], console: Console) -> tuple[Any, Any, Any]:
    """Train. Returns the run, the training (finished or stopped) and its last report, if there was any."""
    from render import provenance
    from render.commands.prepare import announce_resume, prepare, set_threads
    from render.trainer import Training

    set_threads(options.threads)
    job = prepare(options, shlex.join(["render", "train", *arguments]))
    if job.scene.placing:
        console.say(f"bounds: {job.scene.placing}")
    if masked := sum(mask is not None for mask in job.scene.masks):
        console.say(f"masks: {masked} of {len(job.scene)} pictures; what is black in them is not learnt")
    building = time.perf_counter()
    model = job.config.build(job.scene)
    place = job.place_pictures(model, options.memory)
    console.say(place.text)
    decoding = time.perf_counter()
    with console.progress():
        pixels = job.decode(place, console.count("decoding pictures"))
    decoded = time.perf_counter() - decoding
    began = building + decoded  # to build the model counts, to decode does not
    console.say(f"decoded {len(pixels)} pictures in {duration(decoded)}")
    run = job.open_run()
    first = job.checkpoint.step if job.checkpoint else 0
    start = provenance.record(run.config, model, ["train", *arguments], first)
    console.say(f"backend: {start['backend']['name']} ({start['backend']['reason']})")
    if space := model.description().get("space"):
        console.say(f"space: {space}")
    if job.checkpoint:
        announce_resume(run, job.checkpoint, job.length.steps, start, console)
    run.add_start(start)
    report = None
    with stop_on_signal() as stopped, watched(options.view, run, model, job.scene, console) as learnt:
        training = Training(
            model,
            pixels,
            job.length,
            seed=run.config.seed,
            began=began,
            home=run,
            resume=job.checkpoint,
            checkpoint_every=run.config.checkpoint_every,
            stop=lambda: bool(stopped),
        )
        with console.progress():
            for report in training:
                learnt()
                if report.note:
                    console.say(report.note)
                console.update(line(report, job.length.steps))
        if report is not None:  # None: nothing was left to do
            share = f"the process got {report.cpu_share:.0%} of its cores"
            console.say(f"trained: {line(report, job.length.steps)}; {share}")
        if cameras := model.description().get("cameras"):
            console.say(f"cameras (medians): {cameras}")
    return run, training, report


def watched(port: int | None, run: Any, model: Any, scene: Any, console: Console) -> Any:
    """A viewer of the training, if one is asked for; yields what it wants to be told by."""
    from render.verbs import LIVE, resolved

    return nullcontext(lambda: None) if port is None else resolved(LIVE)(run, model, scene, port, console)


def finish(run: Any, model: Any, options: Namespace, console: Console) -> dict[str, Any]:
    """Measure the test views, write the contact sheet and the orbit video, and say what to do next."""
    from render.commands.eval import evaluate_run, summary
    from render.commands.video import orbit_video
    from scenes import formats

    result: dict[str, Any] = {}
    source = Path(run.config.source)
    try:
        result["test"] = evaluate_run(
            run, model, source, "test", "float", console, allow_outside=options.allow_outside
        )
        console.say(f"test: {summary(result['test'])}")
        console.say(f"      pictures, contact_sheet.png and metrics.json in {shown(run.evaluation / 'test')}")
        if run.config.settings.get("refine_poses"):
            console.say("      from where these cameras were given, unrefined; each set by its picture:")
            console.say(f"      `render eval {shown(run.path)} --protocol half-posed`")
    except formats.NoSplit as error:
        console.say(f"nothing was measured: {error}")
    where = shown(run.path)
    expected = video_seconds(run.config.scene, result)
    if expected > LONGEST_VIDEO:
        console.say(
            f"no video: it would take about {duration(expected)} here; `render video {where}` makes it"
        )
    else:
        video = orbit_video(run, model, console)
        result["video"] = str(video)
        console.say(f"video: {shown(video)}")
    console.say("next:")
    console.say(f"  render video {where} --width {run.config.scene['width']}    a larger video")
    console.say(f"  render eval {where} --protocol nerfbaselines    numbers to compare with others")
    console.say(f'  render.load("{where}").render(camera)    in a Python program')
    return result


def video_seconds(scene: dict[str, Any], result: dict[str, Any]) -> float:
    """How long the orbit video should take, from the time of a test view; 0 if none was rendered."""
    from render.commands.video import FRAMES, WIDTH

    if "test" not in result:
        return 0.0
    return FRAMES * result["test"]["seconds_per_frame"] * min(WIDTH / scene["width"], 1.0) ** 2


@contextmanager
def stop_on_signal() -> Iterator[list[int]]:
    """Ctrl-C and SIGTERM fill the list; a second one ends the program at once."""
    received: list[int] = []

    def note(number: int, frame: Any) -> None:
        received.append(number)
        if len(received) > 1:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def line(report: Any, steps: int | None) -> str:
    """One report on one line."""
    done = f"step {report.step}/{steps}" if steps else f"step {report.step}"
    rates = f"{count(report.rays_per_second)}rays/s  {count(report.samples_per_second)}samples/s"
    clock = f"{duration(report.elapsed)}, {duration(report.remaining)} left"
    return f"{done}  {report.schedule:4.0%}  psnr {report.psnr:5.2f} dB  {rates}  {clock}"


def resume_command(options: Namespace) -> str:
    out = ["--out", str(options.out)] if options.out else []
    return shlex.join(["render", "train", str(options.scene), *out, "--resume"])


def shown(path: Path) -> str:
    """A path as short as it can be."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
