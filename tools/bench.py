"""`render bench`: what this machine gives, and what the kernels make of it, all measured in one run.

Ratios between programs are taken from runs that alternate, so that a machine that slows down slows both.
"""

import json
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from render.arguments import Parser, add_machine_options, warn
from render.console import Console

BATCH = 32_768  # samples in the step that is compared
WARM_UP_STEPS = 300
ROUNDS = 7
REHEARSALS = 10  # steps of either program that are not counted: torch's first ones wait for fresh memory
VIEW_SIZE = (800, 800)
PAUSE = 0.02  # seconds between the programs: threads that wait for more work keep a core busy for a while
# Multiply-adds of the networks for one sample (docs/benchmarks.md): rows x columns of the layers in use.
DENSITY_MACS = 64 * 32 + 16 * 64
COLOR_MACS = 64 * 32 + 64 * 64 + 4 * 64
# Backward: the hidden layer again, the gradient of every layer's input but the harmonics', all weights.
BACKWARD_MACS = 64 * 32 + (4 * 64 + 64 * 64 + 16 * 64 + 16 * 64 + 64 * 32) + DENSITY_MACS + COLOR_MACS


def main(arguments: list[str]) -> int:
    options = parser().parse_args(arguments)
    console = Console(quiet=options.json)
    from render.commands.prepare import set_threads

    set_threads(options.threads)
    if options.view:
        result = measure_view(options)
    else:
        result = measure(options.scene, console.say)
    if options.json:
        print(json.dumps(result, indent=2))
    elif options.view:
        print(view_lines(result))
    else:
        print_tables(result)
    return 0


def parser() -> Parser:
    parser = Parser("bench", "Measure the speed of this machine and of the kernels on it.")
    parser.add_argument(
        "scene",
        nargs="?",
        type=Path,
        metavar="SCENE",
        help="a scene to train on (default: spheres, made anew)",
    )
    parser.add_argument(
        "--view", type=Path, metavar="RUN", help="measure how a run moves in the viewer, at 800x800, instead"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, and nothing else")
    add_machine_options(parser)
    return parser


def measure(scene: Path | None, say: Callable[[str], None]) -> dict[str, Any]:
    """Everything; a minute on two cores."""
    say("measuring the machine")
    machine = measure_machine()
    say("preparing a scene")
    training, pixels, camera = prepare(scene)
    say("training a field to measure on")
    model = warm_up(training, pixels)
    say("comparing the fused step with the torch reference")
    train = measure_training(model, training, pixels)
    train["stages"] = measure_stages(model, pixels, machine)
    say("rendering")
    return {
        "machine": machine,
        "train": train,
        "render": {
            "seconds_per_frame": measure_rendering(model, camera),
            "size": [camera.width, camera.height],
        },
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "instruction_set": model.backend.reason,
        "precision": model.precision,
        "scene": training.name,
    }


def measure_view(options: Any) -> dict[str, Any]:
    """How the viewer moves through a run, `tools/viewer/measure.py`."""
    from render.run import find, load_model
    from scenes.scene import Scene
    from tools.viewer.measure import measure_session
    from tools.viewer.session import Session

    run, chosen = find(options.view)
    where = {"device": options.device or "cpu", "backend": options.backend or "auto"}
    model, step = load_model(run, chosen, **where, warn=warn)
    found = measure_session(Session(model, Scene.from_header(run.config.scene), size=VIEW_SIZE))
    return {"run": str(run.path), "step": step, **found}


def view_lines(result: dict[str, Any]) -> str:
    """What `render bench --view RUN` prints."""
    width, height = result["moving_size"]
    return (
        f"while it moves      {result['frames_per_second']:.1f} pictures a second, of {width} x {height}\n"
        f"first picture       {1000 * result['first_pixel_seconds']:.0f} ms after a movement (median)\n"
        f"picture of {result['size'][0]}x{result['size'][1]}  "
        f"{result['still_seconds']:.2f} s after the last movement (median)"
    )


def best_of(run: Callable[[], Any], rounds: int = ROUNDS) -> float:
    """Shortest time of several runs, seconds."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def measure_machine() -> dict[str, float]:
    """Rates of torch's own large products (2048^3) and copies (256 MB), and the threads they had."""
    import torch

    rates = {"threads": float(torch.get_num_threads())}
    for name in ("float32", "bfloat16"):
        a, b = (torch.randn(2048, 2048).to(getattr(torch, name)) for _ in range(2))
        rates[f"{name}_gflops"] = 2 * 2048**3 / best_of(lambda a=a, b=b: a @ b) / 1e9
    source = torch.zeros(2**26)
    target = torch.empty_like(source)
    rates["copy_gbps"] = 2 * source.nbytes / best_of(lambda: target.copy_(source)) / 1e9
    return rates


def prepare(path: Path | None) -> tuple[Any, Any, Any]:
    """Training scene, its pixels, and a camera to render."""
    from scenes import formats
    from scenes.generate import analytic
    from scenes.pixels import PixelSource

    if path is None:
        made = analytic.generate("spheres", width=200, views={"train": 24, "val": 1, "test": 1})
        training, camera = made["train"], made["test"].cameras[0].scaled(0.25)
    else:
        training = formats.read(path, split="train")
        camera = training.cameras[0]
    return training, PixelSource.from_scene(training), camera


def warm_up(scene: Any, pixels: Any) -> Any:
    """The default field after a few hundred steps, when most of space is known to be empty."""
    import torch

    from render.methods.ngp import NGP

    torch.manual_seed(0)
    model = NGP().build(scene, backend="kernels")
    generator = torch.Generator().manual_seed(0)
    for _ in range(WARM_UP_STEPS):
        model.step(pixels, 0.0, generator)
    return model


def settings_for(model: Any, rays: int, step: int) -> Any:
    from fields.kernels.ngp import StepSettings

    c = model.config
    return StepSettings(
        seed=1, step=step, rays=rays, background=None, background_share=c.background_share,
        background_weight=c.background_weight, huber_delta=c.huber_delta, learning_rate=0.0,
        beta1=c.beta1, beta2=c.beta2, epsilon=c.epsilon, weight_decay=0.0,
    )  # fmt: skip


def measure_training(model: Any, scene: Any, pixels: Any) -> dict[str, float]:
    """Samples per second, forward, backward and update of *every* sample that is marched; the learning rate
    is 0, so that all rounds do the same work. Both backends draw the same rays."""
    from dataclasses import replace

    from fields.kernels.ngp import Limits
    from render.methods.ngp_composed import composed_step

    reference = replace(model.config, precision=model.precision).build(scene, backend="reference")
    reference.load_state(model.state())
    limits = Limits(model.config.march_step_at(0.0), 0.0, -1.0)  # nothing is cut
    rays = rays_for(model, pixels, limits)
    fused_times, reference_times, samples = [], [], 0
    for step in range(REHEARSALS + ROUNDS):
        settings = settings_for(model, rays, 10_000 + step)
        time.sleep(PAUSE)
        start = time.perf_counter()
        samples = model.fused.train_step(pixels, settings, limits, list(model.adam.values())).evaluated
        fused_times.append(time.perf_counter() - start)
        time.sleep(PAUSE)
        start = time.perf_counter()
        composed_step(reference, pixels, settings, limits)
        reference_times.append(time.perf_counter() - start)
    fused, slow = (samples / statistics.median(t[REHEARSALS:]) for t in (fused_times, reference_times))
    return {
        "samples": samples,
        "samples_per_second": fused,
        "reference_samples_per_second": slow,
        "ratio": fused / slow,
    }


def rays_for(model: Any, pixels: Any, limits: Any) -> int:
    """So many rays that a step evaluates about BATCH samples."""
    rays = 512
    for _ in range(4):
        settings = settings_for(model, rays, 9_999)
        result = model.fused.train_step(
            pixels, settings, limits, list(model.adam.values()), gradients_only=True
        )
        for state in model.adam.values():
            state.gradient.zero_()
        rays = max(64, round(rays * BATCH / max(result.evaluated, 1)))
    return rays


def measure_stages(model: Any, pixels: Any, machine: dict[str, float]) -> list[dict[str, Any]]:
    """Thread time of an ordinary training step by stage, and the networks' share of the machine's peak."""
    total: dict[str, float] = {}
    evaluated = selected = rays = 0
    for step in range(4 * ROUNDS):
        settings = settings_for(model, model.rays, 20_000 + step)
        limits = model.config.limits_at(0.0)
        result = model.fused.train_step(pixels, settings, limits, list(model.adam.values()), profile=True)
        for name, seconds in result.stages.items():
            total[name] = total.get(name, 0.0) + seconds
        evaluated, selected = evaluated + result.evaluated, selected + result.selected
        rays += settings.rays
    items = {"rays": rays, "march": rays, "encode": evaluated, "density": evaluated, "select": evaluated}
    macs = {"density": DENSITY_MACS, "color": COLOR_MACS, "backward": BACKWARD_MACS}
    peak = machine[f"{model.precision}_gflops"]
    stages = []
    for name, seconds in total.items():
        count = items.get(name, selected)
        stage = {
            "name": name,
            "share": seconds / sum(total.values()),
            "nanoseconds": seconds / count * 1e9,
            "per": {rays: "ray", evaluated: "evaluated sample"}.get(count, "selected sample"),
        }
        if name in macs:
            rate = 2 * macs[name] * count / seconds * machine["threads"] / 1e9
            stage |= {"gflops": rate, "share_of_peak": rate / peak}
        stages.append(stage)
    return stages


def measure_rendering(model: Any, camera: Any) -> float:
    return best_of(lambda: model.render(camera), rounds=3)


def print_tables(result: dict[str, Any]) -> None:
    machine, train = result["machine"], result["train"]
    print(
        f"machine    {machine['float32_gflops']:.0f} GFLOP/s float32, "
        f"{machine['bfloat16_gflops']:.0f} bfloat16"
    )
    print(
        f"           (torch, 2048^3), copy {machine['copy_gbps']:.0f} GB/s, {machine['threads']:.0f} threads"
    )
    print(f"kernels    {result['instruction_set']}, {result['precision']}; scene {result['scene']}")
    print(f"training   {train['samples_per_second'] / 1e6:.2f} M samples/s fused, every sample trained")
    print(f"           {train['reference_samples_per_second'] / 1e3:.0f} k samples/s torch reference")
    print(f"           ratio {train['ratio']:.1f}, {train['samples']} samples a step")
    for stage in train["stages"]:
        line = f"  {stage['name']:<10}{stage['share']:6.1%}{stage['nanoseconds']:9.1f} ns per {stage['per']}"
        if "gflops" in stage:
            line += f", {stage['gflops']:.0f} GFLOP/s ({stage['share_of_peak']:.0%} of the machine's)"
        print(line)
    width, height = result["render"]["size"]
    print(f"rendering  {result['render']['seconds_per_frame']:.3f} s a frame of {width} x {height}")
    print(f"memory     {result['memory_mb']:.0f} MB at most")
