"""`render inpaint-train DATASET...`: what fills the holes of warped pictures, from pictures with depth."""

from argparse import Namespace
from typing import TYPE_CHECKING

from render.arguments import Parser, size, whole
from render.console import Console
from tools.network_training import add_data_options, add_memory_option, add_training_options, train

if TYPE_CHECKING:
    from tools.depth.batches import Labels
    from tools.multiplane.inpainting_pairs import DrawnHoles
    from tools.multiplane.inpainting_training import InpainterTraining

SUMMARY = (
    "Train a network that fills in what a camera uncovers, on pictures with depth: it is shown what they "
    "lose when they are warped there and back. `render photo-train --inpainter` takes it."
)
STEPS = 5000


def parser() -> Parser:
    parser = Parser("inpaint-train", SUMMARY)
    add_data_options(
        parser, "DATASET", "a folder of pictures with depth (docs/depth.md)", "runs/inpaint", STEPS
    )
    parser.add_argument("--batch", type=whole, metavar="N", help="pictures in a step (default: 8)")
    parser.add_argument("--size", type=size, metavar="WxH", help="of their parts, pixels (default: 128x96)")
    add_memory_option(parser, "pictures with holes", "made")
    add_training_options(parser)
    return parser


def main(arguments: list[str]) -> int:
    reader = parser()
    options = reader.parse_args(arguments)
    if not options.datasets and not options.resume:
        reader.error("name at least one data set: a folder of pictures with depth")
    from tools.multiplane.inpainting_run import KIND

    width, height = options.size or (None, None)
    return train(KIND, options, arguments, {"batch": options.batch, "width": width, "height": height}, read)


def read(
    model: "InpainterTraining", sets: "tuple[Labels, ...]", options: Namespace, console: Console
) -> "DrawnHoles":
    """What the training draws from; what it is, is said."""
    from scenes.memory import budget_of
    from scenes.memory import size as bytes_shown

    memory = budget_of(options.memory)
    recipe = model.recipe
    for each in sets:
        console.say(
            f"data: {len(each)} pictures of {each.name} ({each.kind}), {recipe.variants} parts of each"
        )
    console.say(f"a step: {recipe.batch} parts of {recipe.width}x{recipe.height}")
    console.say(f"memory: pictures with holes take {bytes_shown(memory.bytes)} at most ({memory.reason})")
    return recipe.pairs(sets, memory.bytes)
