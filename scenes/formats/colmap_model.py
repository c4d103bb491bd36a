"""COLMAP's sparse model as it lies on disk: cameras, images, points, and since version 3.12 rigs and frames.

A record is taken by one function whether the file is .bin (little-endian numbers behind a count of records)
or .txt (words, one record a line). Poses are those of the file, world to camera: a quaternion w x y z
(Hamilton), then a translation. Keypoints and tracks are skipped.

No read goes beyond the end of a file, and nothing is set aside for a count that the file has no room for.
Source: COLMAP 4.2, doc/format.rst, reconstruction_io_binary.cc, reconstruction_io_text.cc, sensor/models.h.
"""

import os
import struct
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedReader, TextIOWrapper
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

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
POSE = "d" * 7

Numbers = tuple[float, ...]
Points = tuple[np.ndarray, np.ndarray]  # (m, 3) float64 and their colours, (m, 3) uint8
NO_POINTS: Points = np.zeros((0, 3)), np.zeros((0, 3), np.uint8)


class Camera(NamedTuple):
    """Intrinsics; the parameters are those that CAMERA_MODELS names."""

    id: int
    model: str
    width: int
    height: int
    parameters: Numbers


class Image(NamedTuple):
    """A registered picture; `pose` is world to camera."""

    id: int
    pose: Numbers
    camera_id: int
    name: str


class Rig(NamedTuple):
    """Sensors fixed to each other: kind, id, and pose rig to sensor (None: unknown; the first is the rig)."""

    id: int
    sensors: tuple[tuple[str, int, Numbers | None], ...]


class RigFrame(NamedTuple):
    """A rig at one time; `pose` is world to rig, `data` are kind and id of a sensor, and of its image."""

    id: int
    rig_id: int
    pose: Numbers
    data: tuple[tuple[str, int, int], ...]


class SparseModel(NamedTuple):
    """All that the files of one model say, as they say it."""

    cameras: tuple[Camera, ...]
    images: tuple[Image, ...]
    points: Points = NO_POINTS
    rigs: tuple[Rig, ...] = ()
    frames: tuple[RigFrame, ...] = ()


def suffix_of_model(folder: Path) -> str | None:
    """.bin or .txt, which of them the model in this folder is written in; None: there is no model."""
    for suffix in (".bin", ".txt"):
        if all((folder / (stem + suffix)).is_file() for stem in ("cameras", "images")):
            return suffix
    return None


def read_model(folder: Path) -> SparseModel:
    """The model in a folder; points, rigs and frames may be missing. Raises: SceneError."""
    suffix = suffix_of_model(folder)
    if suffix is None:
        raise SceneError(f"{folder}: has no cameras.bin and images.bin (or .txt); give a COLMAP model")
    rigs, frames, points = (folder / (stem + suffix) for stem in ("rigs", "frames", "points3D"))
    return SparseModel(
        _read(folder / ("cameras" + suffix), "camera", 40, _take_camera),
        read_images(folder, suffix),
        read_points(points) if points.exists() else NO_POINTS,
        _read(rigs, "rig", 8, _take_rig) if rigs.exists() else (),
        _read(frames, "frame", 68, _take_frame) if frames.exists() else (),
    )


def read_images(folder: Path, suffix: str) -> tuple[Image, ...]:
    """The registered pictures alone. Raises: SceneError."""
    return _read(folder / ("images" + suffix), "image", 73, _take_image)


def _broken(where: str | Path, problem: str) -> SceneError:
    return SceneError(f"{where}: {problem}; copy or write the model again")


class _Binary:
    """The records of a binary file, whose fields are taken in turn."""

    def __init__(self, file: Path, stream: BufferedReader) -> None:
        self.file, self.stream, self.label = file, stream, str(file)
        self.size = os.fstat(stream.fileno()).st_size

    def records(self, what: str, least: int) -> Iterator[None]:
        """Goes from record to record; `least` is how many bytes one has at least."""
        (count,) = self.take("Q", f"number of {what}s")
        if count > (self.size - 8) // least:
            raise _broken(self.file, f"has no room for the {count} {what}s that it claims")
        for index in range(count):
            self.label = f"{self.file}: {what} {index + 1} of {count}"
            yield
        if self.stream.tell() != self.size:
            raise _broken(self.file, f"does not end with the last of its {count} {what}s")

    def take(self, codes: str, what: str) -> list[Any]:
        """Values by their codes; `what` says what they are."""
        layout = struct.Struct(_layout(codes))
        data = self.stream.read(layout.size)
        if len(data) < layout.size:
            raise _broken(self.label, f"the file ends inside its {what}")
        values = layout.unpack(data)
        for code, value in zip(codes, values, strict=True):
            if code in NAMES and not 0 <= value < len(NAMES[code]):
                raise _broken(self.label, f"the number {value} in its {what} is unknown")
        return [NAMES[c][value] if c in NAMES else value for c, value in zip(codes, values, strict=True)]

    def name(self) -> str:
        start = self.stream.tell()
        name, end, _ = self.stream.read(MAX_NAME + 1).partition(b"\0")
        if not end:
            raise _broken(self.label, f"its name does not end within {MAX_NAME} bytes")
        self.stream.seek(start + len(name) + 1)
        return name.decode("utf-8", "surrogateescape")

    def skip_keypoints(self) -> None:
        end = 24 * self.take("Q", "number of keypoints")[0] + self.stream.tell()
        if end > self.size:
            raise _broken(self.label, "the file ends inside its keypoints")
        self.stream.seek(end)


class _Text:
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
                    raise _broken(self.label, f"has {len(words)} words, its {what} takes {self.taken}")

    def take(self, codes: str, what: str) -> list[Any]:
        words = self.words[self.taken : self.taken + len(codes)]
        if len(words) < len(codes):
            raise _broken(self.label, f"ends inside its {what}")
        self.taken += len(codes)
        pairs = [*zip(codes, words, strict=True)]
        try:
            values = [float(w) if code == "d" else w if code in NAMES else int(w) for code, w in pairs]
        except ValueError as error:
            raise _broken(
                self.label, f"its {what} has a word that is no number: {str(error)[:90]}"
            ) from error
        for code, value in zip(codes, values, strict=True):
            if code in ALLOWED and value not in ALLOWED[code]:
                raise _broken(self.label, f"{str(value)[:60]!r} in its {what} is not in {ALLOWED[code]}")
        return values

    def name(self) -> str:
        """All that is left of the line: names may hold spaces."""
        parts = self.line.split(maxsplit=self.taken)
        if len(parts) == self.taken:
            raise _broken(self.label, "ends before its name")
        self.taken = len(self.words)
        return parts[-1].rstrip()

    def skip_keypoints(self) -> None:
        _, line = next(self.lines, (0, ""))
        if len(line.split()) % 3:
            raise _broken(self.label, "the next line is not its keypoints (X Y POINT3D_ID each, or empty)")


def _layout(codes: str) -> str:
    return "<" + codes.replace("M", "i").replace("S", "i")


_Records = _Binary | _Text


@contextmanager
def _opened(file: Path) -> Iterator[_Records]:
    """Raises: SceneError where the file cannot be read."""
    try:
        if not file.is_file():
            raise _broken(file, "is no file")
        with file.open("rb") as stream:
            yield _Binary(file, stream) if file.suffix == ".bin" else _Text(file, stream)
    except OSError as error:
        raise _broken(file, f"cannot be read ({error})") from error


def _read(file: Path, what: str, least: int, take: Callable[[_Records], Any]) -> tuple[Any, ...]:
    """All records of a file. Raises: SceneError, also where two have one id."""
    found: dict[int, Any] = {}
    with _opened(file) as records:
        for _ in records.records(what, least):
            record = take(records)
            if found.setdefault(record.id, record) is not record:
                raise _broken(records.label, f"id {record.id} is that of an earlier {what}")
    return tuple(found.values())


def _take_camera(record: _Records) -> Camera:
    number, model, width, height = record.take("IMQQ", "id, model and size")
    parameters = record.take("d" * len(CAMERA_MODELS[model]), "parameters")
    return Camera(number, model, width, height, tuple(parameters))


def _take_image(record: _Records) -> Image:
    number, *pose, camera = record.take("I" + POSE + "I", "id, pose and camera")
    image = Image(number, tuple(pose), camera, record.name())
    record.skip_keypoints()
    return image


def _take_rig(record: _Records) -> Rig:
    number, count = record.take("II", "id and number of sensors")
    sensors = []
    for index in range(count):  # ends with the file, whatever the count
        kind, sensor = record.take("SI", "sensors")
        known = index > 0 and record.take("B", "sensors")[0]
        sensors.append((kind, sensor, tuple(record.take(POSE, "sensors")) if known else None))
    return Rig(number, tuple(sensors))


def _take_frame(record: _Records) -> RigFrame:
    number, rig, *pose, count = record.take("II" + POSE + "I", "id, rig, pose and number of data")
    return RigFrame(number, rig, tuple(pose), tuple(tuple(record.take("SIQ", "data")) for _ in range(count)))


# 51 bytes; 8 more follow for each picture of the track.
POINT = np.dtype([("id", "<u8"), ("xyz", "<f8", 3), ("rgb", "u1", 3), ("error", "<f8"), ("length", "<u8")])


def read_points(file: Path) -> Points:
    """Points and colours of points3D.bin or .txt; the points may be NaN or infinite. Raises: SceneError."""
    with _opened(file) as records:
        return _points_of_text(records) if isinstance(records, _Text) else _points_of_binary(records)


def _points_of_binary(records: _Binary) -> Points:
    data = records.stream.read()
    starts = np.fromiter(_starts(records.file, data), np.int64)
    # A record may begin at any byte: gather them from a view that has one at every byte.
    everywhere = np.ndarray((max(len(data) - POINT.itemsize + 1, 0),), POINT, buffer=data, strides=(1,))
    points = everywhere[starts]
    return points["xyz"].astype(np.float64), points["rgb"].copy()


def _starts(file: Path, data: bytes) -> Iterator[int]:
    """Where each point begins; tracks make that a chain, which no array operation follows."""
    integer_at = struct.Struct("<Q").unpack_from
    count = integer_at(data)[0] if len(data) >= 8 else 1
    if count > (len(data) - 8) // POINT.itemsize:
        raise _broken(file, f"has no room for the {count} points that it claims")
    start, last, length = 8, len(data) - POINT.itemsize, POINT.fields["length"][1]
    for index in range(count):
        if start > last:
            raise _broken(file, f"the file ends inside point {index + 1} of {count}")
        yield start
        start += POINT.itemsize + 8 * integer_at(data, start + length)[0]
    if start != len(data):
        raise _broken(file, f"does not end where its {count} points and their tracks do")


def _points_of_text(records: _Text) -> Points:
    numbers, colours = array("d"), array("B")
    for _ in records.records("point", 0):
        _, *xyz, red, green, blue, _ = records.take("QdddBBBd", "id, X Y Z, R G B and error")
        numbers.extend(xyz)
        colours.extend((red, green, blue))
        if (len(records.words) - records.taken) % 2:
            raise _broken(records.label, "its track has no IMAGE_ID POINT2D_IDX pairs")
        records.taken = len(records.words)
    return np.array(numbers).reshape(-1, 3), np.array(colours).reshape(-1, 3)


def write_model(folder: Path, model: SparseModel, suffix: str = ".bin") -> None:
    """Write the files of a model, images last: with them it counts as there. Points have no tracks."""
    folder.mkdir(parents=True, exist_ok=True)
    _write_points(folder / ("points3D" + suffix), model.points)
    if model.rigs:
        _write(folder / ("rigs" + suffix), map(_rig_row, model.rigs))
        _write(folder / ("frames" + suffix), map(_frame_row, model.frames))
    _write(folder / ("cameras" + suffix), map(_camera_row, model.cameras))
    _write(folder / ("images" + suffix), map(_image_row, model.images))


_Row = tuple[str, tuple[Any, ...]]  # codes, N a name and that there are no keypoints; values


def _camera_row(camera: Camera) -> _Row:
    return "IMQQ" + "d" * len(camera.parameters), (*camera[:4], *camera.parameters)


def _image_row(image: Image) -> _Row:
    return "I" + POSE + "IN", (image.id, *image.pose, image.camera_id, image.name)


def _rig_row(rig: Rig) -> _Row:
    codes, values = "II", [rig.id, len(rig.sensors)]
    for index, (kind, sensor, pose) in enumerate(rig.sensors):
        codes += "SI" + ("B" if index else "") + (POSE if pose else "")
        values += [kind, sensor, *([int(pose is not None)] if index else []), *(pose or ())]
    return codes, tuple(values)


def _frame_row(frame: RigFrame) -> _Row:
    data = [value for datum in frame.data for value in datum]
    head = (frame.id, frame.rig_id, *frame.pose, len(frame.data))
    return "II" + POSE + "I" + "SIQ" * len(frame.data), (*head, *data)


def _write(file: Path, rows: Iterator[_Row]) -> None:
    records = [[*zip(codes, values, strict=True)] for codes, values in rows]
    if file.suffix == ".bin":
        fields = (_packed(*field) for record in records for field in record)
        file.write_bytes(struct.pack("<Q", len(records)) + b"".join(fields))
    else:
        lines = (" ".join(f"{v}\n" if code == "N" else str(v) for code, v in record) for record in records)
        file.write_bytes("".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape"))


def _packed(code: str, value: Any) -> bytes:
    if code == "N":
        return value.encode("utf-8", "surrogateescape") + bytes(9)
    return struct.pack(_layout(code), NAMES[code].index(value) if code in NAMES else value)


def _write_points(file: Path, points: Points) -> None:
    """An error of -1 is COLMAP's own for a point that has none."""
    xyz, colours = points
    if file.suffix == ".bin":
        records = np.zeros(len(xyz), POINT)
        records["id"], records["error"] = np.arange(1, len(xyz) + 1), -1.0
        records["xyz"], records["rgb"] = xyz, colours
        file.write_bytes(struct.pack("<Q", len(records)) + records.tobytes())
    else:
        rows = zip(range(1, len(xyz) + 1), xyz.tolist(), colours.tolist(), strict=True)
        _write(file, (("QdddBBBd", (number, *point, *colour, -1.0)) for number, point, colour in rows))
