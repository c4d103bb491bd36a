"""`render photo-train DATASET...`: the networks behind `render photo`, from pictures with depth."""

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from render.arguments import Parser, size, whole
from render.console import Console
from tools.network_training import add_data_options, add_training_options, train

if TYPE_CHECKING:
    from tools.multiplane.picture_sets import PictureSet
    from tools.multiplane.training import AdaMPITraining
    from tools.multiplane.view_sets import DrawnPairs, ViewSet

SUMMARY = (
    "Train AdaMPI, which makes planes of photographs, on views that are a little apart (render scenes "
    "generate neighbours), or on single pictures with depth, which are warped there and back."
)
STEPS = 20_000


def parser() -> Parser:
    parser = Parser("photo-train", SUMMARY)
    add_data_options(
        parser, "DATASET", "a folder of pictures with depth (docs/photo.md)", "runs/photo", STEPS
    )
    parser.add_argument(
        "--planes", type=whole, metavar="N", help="of most steps (default: 8), others have more"
    )
    parser.add_argument("--batch", type=whole, metavar="N", help="pairs of views in a step (default: 4)")
    parser.add_argument(
        "--size", type=size, metavar="WxH", help="of single pictures, multiples of 8 (default: 128x128)"
    )
    parser.add_argument(
        "--inpainter",
        type=Path,
        metavar="FILE",
        help="fills the holes of single pictures (render inpaint-train); none: classically",
    )
    add_training_options(parser)
    return parser


def main(arguments: list[str]) -> int:
    reader = parser()
    options = reader.parse_args(arguments)
    if not options.datasets and not options.resume:
        reader.error("name at least one folder: render scenes generate neighbours DIR makes one")
    from tools.multiplane.training_run import KIND

    width, height = options.size or (None, None)
    inpainter = options.inpainter.absolute() if options.inpainter else None
    flags = {"planes": options.planes, "batch": options.batch, "width": width, "height": height}
    flags |= {"inpainter": inpainter}
    return train(KIND, options, arguments, flags, read)


def read(
    model: "AdaMPITraining",
    sets: "tuple[ViewSet | PictureSet, ...]",
    options: Namespace,
    console: Console,
) -> "DrawnPairs":
    """What the training draws from; what it is, is said."""
    pairs = model.recipe.batches(sets)
    width, height = pairs.size
    for each in sets:
        of = "views" if each.size else "pictures, warped there and back,"
        console.say(f"data: {len(each)} pairs of {len(each.views)} {of} in {each.name}, {width}x{height}")
    recipe, most = model.recipe, model.recipe.config.planes
    also = f"; in some steps up to {most}, of fewer" if most > recipe.planes else ""
    console.say(f"a step: {recipe.batch} pairs, {recipe.planes} planes of each{also}")
    return pairs
