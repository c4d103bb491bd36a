"""`render depth-eval DATASET...`: measure a depth network, or its predictions, by pictures of known depth."""

import json
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from render.arguments import Parser, add_output_options, positive, warn, whole
from render.console import Console

SUMMARY = "Measure a depth network, or what it predicted, on pictures whose depth is known."
ALIGNMENTS = ("inverse", "median", "none")
PROTOCOLS = ("auto", "kitti", "nyu", "eth3d", "sintel", "tum", "none")
KINDS = ("z_depth", "inverse_depth", "relative_inverse")
NONE = "none"  # in place of a model: baselines alone
# Measures in the order of the columns, and their digits after the point.
COLUMNS = {
    "abs_rel": 4, "sq_rel": 4, "rmse": 3, "rmse_log": 4, "log10": 4, "silog": 2,
    "delta1": 4, "delta2": 4, "delta3": 4, "whdr": 4,
}  # fmt: skip


def parser() -> Parser:
    parser = Parser("depth-eval", SUMMARY)
    parser.add_argument(
        "datasets", nargs="+", type=Path, metavar="DATASET", help="folders: see docs/depth.md"
    )
    add_set_options(parser)
    add_predictor_options(parser)
    parser.add_argument(
        "--protocol",
        choices=PROTOCOLS,
        default="auto",
        help="which depths count: as published tables have it, or none: all that is known "
        "(default: auto, by the data set)",
    )
    parser.add_argument(
        "--align",
        choices=ALIGNMENTS,
        default="inverse",
        help="bring predictions to the truth by scale and shift of inverse depth (default), by the median "
        "depth, or not",
    )
    parser.add_argument("--limit", type=whole, metavar="N", help="only so many pictures, evenly spread")
    parser.add_argument("--device", default="cpu", metavar="NAME", help="cpu (default) or cuda")
    parser.add_argument("--threads", type=whole, metavar="N", help="processor cores to use (default: all)")
    add_output_options(parser)
    return parser


def add_set_options(parser: Parser) -> None:
    parser.add_argument(
        "--kind", choices=KINDS, help="of the depth in plain folders rgb/ and depth/, which do not tell it"
    )
    parser.add_argument("--unit", type=positive, metavar="X", help="of a count in these, such as 0.001")


def add_predictor_options(parser: Parser) -> None:
    parser.add_argument(
        "--model",
        metavar="NAME",
        help="small (default), which is built in; one of docs/depth.md, with --weights; or none",
    )
    parser.add_argument("--weights", type=Path, metavar="FILE", help="of the model")
    parser.add_argument(
        "--size", type=whole, metavar="PIXELS", help="a side to look at (default: that of the training)"
    )
    parser.add_argument(
        "--predictions",
        type=Path,
        metavar="DIR",
        help="in place of a model: .npy or 16-bit .png files, named as the pictures",
    )
    parser.add_argument(
        "--predicted-kind",
        choices=KINDS,
        help="what they are (default: what files of render depth say of themselves; of others "
        "relative_inverse with --align inverse, else z_depth)",
    )
    parser.add_argument(
        "--predicted-unit",
        type=positive,
        metavar="X",
        help="of a count in .png predictions (default: the data set's)",
    )
    parser.add_argument(
        "--mean-map",
        type=Path,
        metavar="FILE",
        help="also measure one map of inverse depth (.npy) for all pictures",
    )


def main(arguments: list[str]) -> int:
    options = checked(arguments)
    console = Console(quiet=options.quiet or options.json)
    from render.commands.prepare import set_threads
    from tools.depth.evaluation import BASELINES, BASELINES_OF_ORDER, measure, measure_order

    set_threads(options.threads)
    sets = [read(path, options) for path in options.datasets]
    asked = list(models(options))
    if options.predictions:
        asked.insert(0, predictions_of(sets[0], options))
    results = []
    for path, found in zip(options.datasets, sets, strict=True):
        counting = console.count(f"{path}: picture")
        with console.progress():
            if isinstance(found, tuple):
                each = [*asked, *BASELINES_OF_ORDER]
                results.append(measure_order(path.resolve().name, found, each, counting))
            else:
                told = {"protocol": options.protocol, "alignment": options.align, "progress": counting}
                results.append(measure(found, [*asked, *BASELINES], **told))
        for name in results[-1].left_out:
            warn(f"{path}: {name} is left out: none of its depth counts")
    if options.json:
        print(json.dumps({"results": [asdict(result) for result in results]}, indent=2))
    else:
        print("\n\n".join(table(result) for result in results))
    return 0


def read(path: Path, options: Namespace) -> Any:
    """A data set, or a tuple of questions about order."""
    from tools.depth.datasets import read_set
    from tools.depth.ordinal import has_questions, read_questions

    if has_questions(path):
        questions = read_questions(path)
        return tuple(questions[index] for index in spread(len(questions), options.limit))
    found = read_set(path, options.kind, options.unit)
    return found.subset(spread(len(found), options.limit))


def spread(count: int, limit: int | None) -> list[int]:
    """Indices of all, or of `limit` that are spread evenly."""
    most = min(limit or count, count)
    return [index * count // most for index in range(most)]


def checked(arguments: list[str]) -> Namespace:
    """What was asked for; leaves with exit code 2 if options do not go together."""
    known = parser()
    options = known.parse_args(arguments)
    if options.predictions and (options.model or options.weights or options.size):
        known.error("--predictions are in place of a model: leave --model, --weights and --size out")
    if options.model == NONE and (options.weights or options.size):
        known.error("--weights and --size are of a model, and there is none")
    if options.predictions and len(options.datasets) > 1:
        known.error(f"--predictions are of one data set, and there are {len(options.datasets)}")
    if not options.predictions and (options.predicted_kind or options.predicted_unit):
        known.error("--predicted-kind and --predicted-unit are for --predictions")
    if options.mean_map and options.align != "inverse":
        known.error("--mean-map is of inverse depth up to scale and shift: give --align inverse")
    return options


def models(options: Namespace) -> Iterator[Any]:
    """What looks at pictures, and one map for all of them."""
    from tools.depth.evaluation import BUILT_IN, mean_map, network

    if options.model != NONE and not options.predictions:
        yield network(options.model or BUILT_IN, options.weights, options.size, options.device)
    if options.mean_map:
        yield mean_map(options.mean_map)


def predictions_of(found: Any, options: Namespace) -> Any:
    """What was predicted of a data set."""
    from tools.depth.predictions import predictions

    asked, otherwise = options.predicted_kind, "relative_inverse" if options.align == "inverse" else "z_depth"
    unit, pictures = options.predicted_unit, found if isinstance(found, tuple) else found.pairs
    if unit is None and not isinstance(found, tuple) and (asked or otherwise) == found.kind:
        unit = found.unit
    stems = {picture.name: picture.rgb.stem for picture in pictures}
    return predictions(options.predictions, stems, asked, otherwise, unit)


def table(result: Any) -> str:
    """A data set's heading, and a row for each predictor."""
    aligned = {"inverse": "aligned by scale and shift of inverse depth", "median": "aligned by the median"}
    how = aligned.get(result.alignment, "not aligned; what knows no metres, by the median")
    if result.protocol == "whdr":
        how = "which of two points is nearer, not as people said"
    pictures = f"{result.pictures} picture{'s' * (result.pictures != 1)}"
    lines = [f"{result.name} ({result.layout}): {pictures}, protocol {result.protocol}, {how}"]
    wide, first = max(map(len, result.rows)), next(iter(result.rows.values()))
    columns = {name: digits for name, digits in COLUMNS.items() if name in first}
    lines.append(" ".join((" " * wide, *(f"{name:>8}" for name in columns))))
    for name, row in result.rows.items():
        numbers = (f"{row[column]:8.{digits}f}" for column, digits in columns.items())
        lines.append(" ".join((f"{name:<{wide}}", *numbers)))
    return "\n".join(lines)
