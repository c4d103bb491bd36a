"""Records of COLMAP's files, taken field by field: .bin (numbers behind a count) or .txt (words).

No read goes beyond the end of a file, and nothing is set aside for a count that the file has no room for.
Source: COLMAP 4.2, doc/format.rst, reconstruction_io_binary.cc, reconstruction_io_text.cc, sensor/models.h.
"""

import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedReader, TextIOWrapper
from pathlib import Path
from typing import Any

from scenes.scene import SceneError

CAMERA_MODELS = {  # what their parameters are; a model's number in a binary file is its place here
    "SIMPLE_PINHOLE": ("f", "cx", "cy"),
    "PINHOLE": ("fx", "fy", "cx", "cy"),
    "SIMPLE_RADIAL": ("f", "cx", "cy", "k"),
    "RADIAL": ("f", "cx", "cy", "k1", "k2"),
    "OPENCV": ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2"),
    "OPENCV_FISHEYE": ("fx", "fy", "cx", "cy", "k1", "k2", "k3", "k4"),
    "FULL_OPENCV": ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6"),
    "FOV": ("fx", "fy", "cx", "cy", "omega"),
    "SIMPLE_RADIAL_FISHEYE": ("f", "cx", "cy", "k"),
    "RADIAL_FISHEYE": ("f", "cx", "cy", "k1", "k2"),
    "THIN_PRISM_FISHEYE": ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2", "k3", "k4", "sx1", "sy1"),
    "RAD_TAN_THIN_PRISM_FISHEYE": tuple("fx fy cx cy k0 k1 k2 k3 k4 k5 p0 p1 s0 s1 s2 s3".split()),
    "SIMPLE_DIVISION": ("f", "cx", "cy", "k"),
    "DIVISION": ("fx", "fy", "cx", "cy", "k"),
    "SIMPLE_FISHEYE": ("f", "cx", "cy"),
    "FISHEYE": ("fx", "fy", "cx", "cy"),
    "EUCM": ("fx", "fy", "cx", "cy", "alpha", "beta"),
    "EQUIRECTANGULAR": ("w", "h"),
}
NAMES = {"M": tuple(CAMERA_MODELS), "S": ("CAMERA", "IMU")}  # codes of fields, besides those of struct
ALLOWED = {"B": range(2**8), "I": range(2**32), "Q": range(2**64), **NAMES}
MAX_NAME = 4096  # bytes of a picture's name, as most file systems have it
Row = tuple[str, tuple[Any, ...]]  # codes, N a name, K keypoints (x, y, point's id); values


def broken(where: str | Path, problem: str) -> SceneError:
    return SceneError(f"{where}: {problem}; copy or write the model again")


class BinaryRecords:
    """The records of a binary file, whose fields are taken in turn."""

    def __init__(self, file: Path, stream: BufferedReader) -> None:
        self.file, self.stream, self.label = file, stream, str(file)
        self.size = os.fstat(stream.fileno()).st_size

    def records(self, what: str, least: int) -> Iterator[None]:
        """Goes from record to record; `least` is how many bytes one has at least."""
        (count,) = self.take("Q", f"number of {what}s")
        if count > (self.size - 8) // least:
            raise broken(self.file, f"has no room for the {count} {what}s that it claims")
        for index in range(count):
            self.label = f"{self.file}: {what} {index + 1} of {count}"
            yield
        if self.stream.tell() != self.size:
            raise broken(self.file, f"does not end with the last of its {count} {what}s")

    def take(self, codes: str, what: str) -> list[Any]:
        """Values by their codes; `what` says what they are."""
        layout = struct.Struct(layout_of(codes))
        data = self.stream.read(layout.size)
        if len(data) < layout.size:
            raise broken(self.label, f"the file ends inside its {what}")
        values = layout.unpack(data)
        for code, value in zip(codes, values, strict=True):
            if code in NAMES and not 0 <= value < len(NAMES[code]):
                raise broken(self.label, f"the number {value} in its {what} is unknown")
        return [NAMES[c][value] if c in NAMES else value for c, value in zip(codes, values, strict=True)]

    def name(self) -> str:
        start = self.stream.tell()
        name, end, _ = self.stream.read(MAX_NAME + 1).partition(b"\0")
        if not end:
            raise broken(self.label, f"its name does not end within {MAX_NAME} bytes")
        self.stream.seek(start + len(name) + 1)
        return name.decode("utf-8", "surrogateescape")

    def skip_keypoints(self) -> None:
        end = 24 * self.take("Q", "number of keypoints")[0] + self.stream.tell()
        if end > self.size:
            raise broken(self.label, "the file ends inside its keypoints")
        self.stream.seek(end)


class TextRecords:
    """The same of a text file."""

    def __init__(self, file: Path, stream: BufferedReader) -> None:
        self.file = file
        self.lines = enumerate(TextIOWrapper(stream, "utf-8", "surrogateescape"), start=1)
        self.number, self.line, self.words, self.taken = 0, "", [], 0

    @property
    def label(self) -> str:
        return f"{self.file}: line {self.number}"

    def records(self, what: str, least: int) -> Iterator[None]:
        for number, line in self.lines:
            words = line.split()
            if words and not words[0].startswith("#"):
                self.number, self.line, self.words, self.taken = number, line, words, 0
                yield
                if self.taken < len(words):
                    raise broken(self.label, f"has {len(words)} words, its {what} takes {self.taken}")

    def take(self, codes: str, what: str) -> list[Any]:
        words = self.words[self.taken : self.taken + len(codes)]
        if len(words) < len(codes):
            raise broken(self.label, f"ends inside its {what}")
        self.taken += len(codes)
        pairs = [*zip(codes, words, strict=True)]
        try:
            values = [float(w) if code == "d" else w if code in NAMES else int(w) for code, w in pairs]
        except ValueError as error:
            raise broken(self.label, f"its {what} has a word that is no number: {str(error)[:90]}") from error
        for code, value in zip(codes, values, strict=True):
            if code in ALLOWED and value not in ALLOWED[code]:
                raise broken(self.label, f"{str(value)[:60]!r} in its {what} is not in {ALLOWED[code]}")
        return values

    def name(self) -> str:
        """All that is left of the line: names may hold spaces."""
        parts = self.line.split(maxsplit=self.taken)
        if len(parts) == self.taken:
            raise broken(self.label, "ends before its name")
        self.taken = len(self.words)
        return parts[-1].rstrip()

    def skip_keypoints(self) -> None:
        _, line = next(self.lines, (0, ""))
        if len(line.split()) % 3:
            raise broken(self.label, "the next line is not its keypoints (X Y POINT3D_ID each, or empty)")


def layout_of(codes: str) -> str:
    return "<" + codes.replace("M", "i").replace("S", "i")


Records = BinaryRecords | TextRecords


@contextmanager
def opened(file: Path) -> Iterator[Records]:
    """Raises: SceneError where the file cannot be read."""
    try:
        if not file.is_file():
            raise broken(file, "is no file")
        with file.open("rb") as stream:
            yield BinaryRecords(file, stream) if file.suffix == ".bin" else TextRecords(file, stream)
    except OSError as error:
        raise broken(file, f"cannot be read ({error})") from error


def read_records(file: Path, what: str, least: int, take: Callable[[Records], Any]) -> tuple[Any, ...]:
    """All records of a file. Raises: SceneError, also where two have one id."""
    found: dict[int, Any] = {}
    with opened(file) as records:
        for _ in records.records(what, least):
            record = take(records)
            if found.setdefault(record.id, record) is not record:
                raise broken(records.label, f"id {record.id} is that of an earlier {what}")
    return tuple(found.values())


def write_records(file: Path, rows: Iterator[Row]) -> None:
    records = [[*zip(codes, values, strict=True)] for codes, values in rows]
    if file.suffix == ".bin":
        fields = (packed(*field) for record in records for field in record)
        file.write_bytes(struct.pack("<Q", len(records)) + b"".join(fields))
    else:
        lines = (" ".join(_word(*field) for field in record) for record in records)
        file.write_bytes("".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape"))


def _word(code: str, value: Any) -> str:
    if code == "K":
        return " ".join(str(number) for keypoint in value for number in keypoint)
    return f"{value}\n" if code == "N" else str(value)


def packed(code: str, value: Any) -> bytes:
    if code == "N":
        return value.encode("utf-8", "surrogateescape") + b"\0"
    if code == "K":
        return struct.pack("<Q", len(value)) + b"".join(struct.pack("<ddQ", *keypoint) for keypoint in value)
    return struct.pack(layout_of(code), NAMES[code].index(value) if code in NAMES else value)
