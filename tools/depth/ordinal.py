"""Pairs of points of which people said which one is nearer: Depth in the Wild (Chen et al. 2016).

DIW_test.csv, with the pictures beside it, has two lines for each of them:

    ./DIW_test/NAME.thumb
    y_A,x_A,y_B,x_B,>,width,height      pixels counted from 1; > : A is farther away than B; < : nearer
"""

from dataclasses import dataclass
from pathlib import Path

from scenes.formats.capture import find_inside, read_text
from tools.depth.pairs import DepthSetError

TABLE = "DIW_test.csv"
NEARER = {"<": True, ">": False}  # whether the first point is


@dataclass(frozen=True)
class Question:
    """Which of two points of a picture is nearer.

    first, second  (row, column) from 0, of a picture of width x height; may lie a little outside
    """

    name: str
    rgb: Path
    first: tuple[int, int]
    second: tuple[int, int]
    first_is_nearer: bool
    width: int
    height: int

    def points(self, width: int, height: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """The two in a picture of this size, within it, as the data set's authors bring them there."""
        first, second = (
            (_within(row * height // self.height, height), _within(column * width // self.width, width))
            for row, column in (self.first, self.second)
        )
        return first, second


def _within(index: int, count: int) -> int:
    return min(max(index, 0), count - 1)


def has_questions(folder: Path) -> bool:
    return (folder / TABLE).is_file()


def read_questions(folder: Path) -> tuple[Question, ...]:
    """All that the table of a folder asks. Raises: DepthSetError, SceneError that name the line."""
    file = folder / TABLE
    lines = [line.strip() for line in read_text(file).splitlines() if line.strip()]
    if not lines or len(lines) % 2:
        raise DepthSetError(f"{file}: has {len(lines)} lines; it must have two for each picture")
    return tuple(_question(file, number, *lines[number : number + 2]) for number in range(0, len(lines), 2))


def _question(file: Path, number: int, name: str, told: str) -> Question:
    label = f"{file}: line {number + 2}"
    words = told.split(",")
    try:
        row, column, other_row, other_column, width, height = (int(words[i]) for i in (0, 1, 2, 3, 5, 6))
        nearer = NEARER[words[4].strip()[:1]]
    except (ValueError, IndexError, KeyError):
        raise DepthSetError(f"{label}: {told[:80]!r} is not y,x,y,x,< or >,width,height; mend it") from None
    if width < 1 or height < 1:
        raise DepthSetError(f"{label}: {width} x {height} is no size of a picture; mend it")
    label = f"{file}: line {number + 1}"
    picture = find_inside(label, file.parent, name, False, ())
    if picture is None:
        raise DepthSetError(f"{label}: {name} is not there; put it back or remove both lines")
    first, second = (row - 1, column - 1), (other_row - 1, other_column - 1)
    return Question(Path(name).stem, picture, first, second, nearer, width, height)
