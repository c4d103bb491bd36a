"""`render photo-train DIR...`: the networks behind `render photo`, from views that are a little apart."""

from argparse import Namespace
from typing import TYPE_CHECKING

from render.arguments import Parser, whole
from render.console import Console
from tools.network_training import add_data_options, add_training_options, train

if TYPE_CHECKING:
    from tools.multiplane.training import AdaMPITraining
    from tools.multiplane.view_sets import DrawnPairs, ViewSet

SUMMARY = (
    "Train AdaMPI, which makes planes of photographs, on folders of views that are a little apart: those of "
    "render scenes generate neighbours."
)
STEPS = 20_000


def parser() -> Parser:
    parser = Parser("photo-train", SUMMARY)
    add_data_options(parser, "DIR", "a folder of neighbouring views with depth", "runs/photo", STEPS)
    parser.add_argument("--planes", type=whole, metavar="N", help="how many it learns with (default: 8)")
    parser.add_argument("--batch", type=whole, metavar="N", help="pairs of views in a step (default: 4)")
    add_training_options(parser)
    return parser


def main(arguments: list[str]) -> int:
    reader = parser()
    options = reader.parse_args(arguments)
    if not options.datasets and not options.resume:
        reader.error("name at least one folder: render scenes generate neighbours DIR makes one")
    from tools.multiplane.training_run import KIND

    return train(KIND, options, arguments, {"planes": options.planes, "batch": options.batch}, read)


def read(
    model: "AdaMPITraining", sets: "tuple[ViewSet, ...]", options: Namespace, console: Console
) -> "DrawnPairs":
    """What the training draws from; what it is, is said."""
    pairs = model.recipe.batches(sets)
    for each in sets:
        width, height = each.size
        console.say(f"data: {len(each)} pairs of {len(each.views)} views in {each.name}, {width}x{height}")
    console.say(f"a step: {model.recipe.batch} pairs, {model.recipe.planes} planes of each")
    return pairs
