"""`render eval RUN`: measure a run on held-out views."""

import json
from pathlib import Path
from typing import Any

from render.arguments import Parser, add_machine_options, add_output_options, warn
from render.console import Console

SUMMARY = "Measure a run on held-out views. Every number is printed with its protocol."


def parser() -> Parser:
    parser = Parser("eval", SUMMARY)
    parser.add_argument("run", metavar="RUN", help="a run folder, one of its checkpoints, or any file in it")
    parser.add_argument(
        "--scene", type=Path, metavar="SCENE", help="the scene, if it moved or another is meant"
    )
    parser.add_argument("--split", default="test", metavar="NAME", help="train, val or test (default)")
    parser.add_argument(
        "--protocol",
        default="float",
        metavar="NAME",
        help="float (default), nerfbaselines (8 bits, white), ngp-black",
    )
    parser.add_argument(
        "--allow-outside", action="store_true", help="let the scene file name pictures outside its folder"
    )
    add_machine_options(parser)
    add_output_options(parser)
    return parser


def main(arguments: list[str]) -> int:
    options = parser().parse_args(arguments)
    console = Console(quiet=options.quiet or options.json)
    from render.commands.prepare import set_threads
    from render.run import RunError, find, load_model

    set_threads(options.threads)
    run, chosen = find(options.run)
    source = options.scene or run.config.source
    if source is None:
        raise RunError(f"{run.path}: was trained on a scene in memory; name one with --scene")
    device, backend = options.device or "cpu", options.backend or "auto"
    model, step = load_model(run, chosen, device=device, backend=backend, warn=warn)
    console.say(f"{run.path}: {run.config.method}, step {step}")
    result = evaluate_run(
        run,
        model,
        Path(source),
        options.split,
        options.protocol,
        console,
        allow_outside=options.allow_outside,
    )
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        print(summary(result))  # asked for: also where --quiet
    return 0


def evaluate_run(
    run: Any, model: Any, source: Path, split: str, protocol: str, console: Console, *, allow_outside: bool
) -> dict[str, Any]:
    """Measure; pictures and metrics.json go into the run's eval/SPLIT (not float: eval/SPLIT-PROTOCOL)."""
    from render.commands.prepare import read_scene
    from render.evaluate import evaluate
    from render.run import plain, write_json

    config = run.config
    scene = read_scene(source, split, config.downscale, allow_outside, config.bounds, config.hold_out)
    out = run.evaluation / (split if protocol == "float" else f"{split}-{protocol}")
    with console.progress():
        result = evaluate(model, scene, split, protocol, out=out, progress=console.count("measuring view"))
    write_json(out / "metrics.json", result)
    return plain(result)


def summary(result: dict[str, Any]) -> str:
    """The numbers with their protocol, on one line."""
    rule = result["protocol"]
    ground = {None: "own background", (1.0, 1.0, 1.0): "white", (0.0, 0.0, 0.0): "black"}
    colour = rule["background"] and tuple(rule["background"])
    rounding = "8 bits" if rule["quantised"] else "not quantised"
    views = f"{rule['split']}, {rule['views']} views of {rule['width']}x{rule['height']}"
    behind = ground.get(colour, f"background {colour}")
    numbers = f"psnr {result['psnr']:.2f} dB  ssim {result['ssim']:.4f}"
    speed = f"{result['seconds_per_frame']:.3f} s a frame"
    return f"{numbers}  {speed}  ({views}, {behind}, {rounding}, mean of per-image values)"
