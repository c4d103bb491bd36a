"""Command lines: short help, any order, and the nearest right word for a wrong one.

A command is a function `main(arguments: list[str]) -> int`, listed in `render/verbs.py`; it reads its
arguments with a `Parser`. Nothing here imports torch.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from render.settings import nearest, parse_seconds

USAGE = 2  # exit code
# argparse takes -1e-3 for an option, and a number for a value only where this matches.
NEGATIVE_NUMBER = re.compile(r"-(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$|-inf$", re.IGNORECASE)


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that knows no abbreviations and answers a mistyped option with the nearest one."""

    def __init__(self, verb: str, summary: str) -> None:
        super().__init__(
            prog=f"render {verb}".strip(),
            description=summary,
            allow_abbrev=False,
            formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=28, width=100),
        )
        self._negative_number_matcher = NEGATIVE_NUMBER

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        known, unknown = self.parse_known_args(args, namespace)
        if unknown:
            word = unknown[0].partition("=")[0]
            what = "option" if word.startswith("-") else "argument"
            self.error(f"unknown {what} {word}{nearest(word, self._option_string_actions)}")
        return known

    def error(self, message: str) -> NoReturn:
        """One line on stderr, exit code 2."""
        hint = "" if message.endswith("?") else f"; see {self.prog} --help"
        self.exit(USAGE, f"{self.prog}: {message}{hint}\n")


def seconds(text: str) -> float:
    """An argument type: 60s, 5m, 1h."""
    try:
        return parse_seconds(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def whole(text: str) -> int:
    """An argument type: a whole number above 0."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def count(text: str) -> int:
    """An argument type: a whole number, 0 or more."""
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 0")
    return int(text)


def size(text: str) -> tuple[int, int]:
    """An argument type: a picture's width and height, 256x192."""
    sides = text.lower().split("x")
    if len(sides) != 2 or not all(side.isdecimal() and int(side) > 0 for side in sides):
        raise argparse.ArgumentTypeError(f"{text!r} is no size of a picture; write it as 256x192")
    return int(sides[0]), int(sides[1])


def positive(text: str) -> float:
    """An argument type: a number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def factor(text: str) -> float | int:
    """An argument type: a number that is at least 1; whole ones stay whole."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 1 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least 1")
    return int(value) if value == int(value) else value


def add_machine_options(parser: Parser) -> None:
    """Where to run: the options that every command which renders has in common."""
    parser.add_argument("--device", default=None, metavar="NAME", help="cpu (default) or cuda")
    parser.add_argument(
        "--backend",
        choices=("auto", "kernels", "reference"),
        help="what computes: auto takes the kernels if built",
    )
    parser.add_argument("--threads", type=whole, metavar="N", help="processor cores to use (default: all)")


def add_output_options(parser: Parser) -> None:
    parser.add_argument("--json", action="store_true", help="print the result as JSON, and nothing else")
    parser.add_argument("--quiet", action="store_true", help="print errors only")


def warn(message: str) -> None:
    """One line on stderr."""
    sys.stderr.write(f"render: warning: {message}\n")
