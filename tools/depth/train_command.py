"""`render depth-train DATASET...`: a depth network from pictures whose depth is known, in whatever way."""

from argparse import Namespace
from typing import TYPE_CHECKING

from render.arguments import Parser, size, whole
from render.console import Console
from tools.network_training import add_data_options, add_memory_option, add_training_options, train

if TYPE_CHECKING:
    from tools.depth.batches import Batches, Labels
    from tools.depth.training import DepthTraining

SUMMARY = (
    "Train a depth network on pictures with depth. Data sets may tell metres, inverse depth or disparity."
)
STEPS = 20_000


def parser() -> Parser:
    parser = Parser("depth-train", SUMMARY)
    add_data_options(
        parser, "DATASET", "a folder of pictures with depth (docs/depth.md)", "runs/depth", STEPS
    )
    parser.add_argument("--model", metavar="NAME", help="small (default), or tiny for experiments")
    parser.add_argument(
        "--loss",
        metavar="NAME",
        help="ssimae (default), ssitrim or ssimse, up to scale and shift; or l1, of depth as it is told",
    )
    parser.add_argument(
        "--mixing",
        metavar="NAME",
        help="how data sets count: equal (default), or pareto, so that no step makes one of them worse",
    )
    parser.add_argument(
        "--batch", type=whole, metavar="N", help="pictures in a step, of all sets (default: 16)"
    )
    parser.add_argument("--size", type=size, metavar="WxH", help="pixels, multiples of 32 (default: 256x192)")
    add_memory_option(parser, "decoded pictures", "read")
    add_training_options(parser)
    return parser


def main(arguments: list[str]) -> int:
    reader = parser()
    options = reader.parse_args(arguments)
    if not options.datasets and not options.resume:
        reader.error("name at least one data set: a folder of pictures with depth")
    from tools.depth.training_run import KIND

    width, height = options.size or (None, None)
    flags = {"model": options.model, "loss": options.loss, "mixing": options.mixing, "batch": options.batch}
    return train(KIND, options, arguments, {**flags, "width": width, "height": height}, read)


def read(
    model: "DepthTraining", sets: "tuple[Labels, ...]", options: Namespace, console: Console
) -> "Batches":
    """What the training draws from; what it is, and how it is computed with, is said."""
    from scenes.memory import budget_of
    from scenes.memory import size as bytes_shown

    memory = budget_of(options.memory)
    batches = model.recipe.batches(sets, memory.bytes)
    for each in sets:
        console.say(f"data: {len(each)} pictures of {each.name} ({each.kind}), {batches.per_set} in a step")
    console.say(f"memory: decoded pictures take {bytes_shown(memory.bytes)} at most ({memory.reason})")
    chosen = " (of auto)" if model.recipe.precision == "auto" else ""
    console.say(f"precision: {model.precision}{chosen}")
    return batches
