"""The points of a COLMAP model, and which pictures show each: points3D.bin or .txt.

Source: COLMAP 4.2, doc/format.rst, reconstruction_io_binary.cc, reconstruction_io_text.cc.
"""

import struct
from array import array
from collections.abc import Iterator, Mapping
from itertools import chain, pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from scenes.formats.colmap_records import (
    BinaryRecords,
    TextRecords,
    broken,
    opened,
    write_records,
)

# 51 bytes; 8 more follow for each picture of the track: its id and which of its keypoints.
POINT = np.dtype([("id", "<u8"), ("xyz", "<f8", 3), ("rgb", "u1", 3), ("error", "<f8"), ("length", "<u8")])
TRACK_STEP = 8
LEAST_TRACK = 3  # pictures that must show a point for its place to be trusted
LARGEST_ERROR = 2.0  # pixels, likewise
UNKNOWN_ERROR = -1.0  # COLMAP's own, for a point that has none


class Points(NamedTuple):
    """m points, and the t times that a picture shows one of them.

    xyz      (m, 3) float64, may be NaN or infinite
    colours  (m, 3) uint8
    errors   (m,) float64, mean reprojection error, pixels; below 0: unknown
    tracks   (t, 2) int64, the number of a point, counted from 0, and the id of an image; (t, 3) of points to
             be written: also which of the image's keypoints
    """

    xyz: np.ndarray
    colours: np.ndarray
    errors: np.ndarray
    tracks: np.ndarray

    @classmethod
    def without_tracks(cls, xyz: np.ndarray, colours: np.ndarray) -> "Points":
        return cls(xyz, colours, np.full(len(xyz), UNKNOWN_ERROR), np.zeros((0, 2), np.int64))


class Keypoints(NamedTuple):
    """Where a picture shows points: xy (k, 2) float64, pixels; point (k,) int64, their numbers from 0."""

    xy: np.ndarray
    point: np.ndarray


NO_POINTS = Points.without_tracks(np.zeros((0, 3)), np.zeros((0, 3), np.uint8))


def read_points(file: Path) -> Points:
    """The points of points3D.bin or .txt. Raises: SceneError."""
    with opened(file) as records:
        return _of_text(records) if isinstance(records, TextRecords) else _of_binary(records)


def trusted_sightings(points: Points, kept: np.ndarray) -> dict[int, np.ndarray]:
    """Of each image: the points that it shows and whose place can be trusted, as numbers among those `kept`.

    kept: (m,) bool. Two pictures alone agree on a wrong match as readily as on a right one.
    """
    # As one number of 64 bits each, which sorts ten times as fast. A picture may show a point twice.
    pairs = np.unique(points.tracks[:, 0] << 32 | points.tracks[:, 1])
    length = np.bincount(pairs >> 32, minlength=len(kept))
    trusted = kept & (length >= LEAST_TRACK) & (points.errors <= LARGEST_ERROR)
    pairs = pairs[trusted[pairs >> 32]]
    point, image = pairs >> 32, pairs & 0xFFFFFFFF
    order, number = np.argsort(image, kind="stable"), kept.cumsum() - 1
    images, first = np.unique(image[order], return_index=True)
    shown = np.split(number[point[order]], first[1:])
    return dict(zip(images.tolist(), shown, strict=False))  # split gives one empty part of nothing


def _of_binary(records: BinaryRecords) -> Points:
    data = records.stream.read()
    starts = np.fromiter(_starts(records.file, data), np.int64)
    points = _anywhere(data, POINT)[starts]
    lengths = points["length"].astype(np.int64)
    point = np.arange(len(starts)).repeat(lengths)
    within = np.arange(len(point)) - (lengths.cumsum() - lengths)[point]
    image = _anywhere(data, np.dtype("<u4"))[starts[point] + POINT.itemsize + TRACK_STEP * within]
    tracks = np.stack((point, image.astype(np.int64)), axis=1)
    return Points(points["xyz"].astype(np.float64), points["rgb"].copy(), points["error"].copy(), tracks)


def _anywhere(data: bytes, kind: np.dtype) -> np.ndarray:
    """A view that has a value of this kind at every byte: a record may begin at any of them."""
    return np.ndarray((max(len(data) - kind.itemsize + 1, 0),), kind, buffer=data, strides=(1,))


def _starts(file: Path, data: bytes) -> Iterator[int]:
    """Where each point begins; tracks make that a chain, which no array operation follows."""
    integer_at = struct.Struct("<Q").unpack_from
    count = integer_at(data)[0] if len(data) >= 8 else 1
    if count > (len(data) - 8) // POINT.itemsize:
        raise broken(file, f"has no room for the {count} points that it claims")
    start, last, length = 8, len(data) - POINT.itemsize, POINT.fields["length"][1]
    for index in range(count):
        if start > last:
            raise broken(file, f"the file ends inside point {index + 1} of {count}")
        yield start
        start += POINT.itemsize + TRACK_STEP * integer_at(data, start + length)[0]
    if start != len(data):
        raise broken(file, f"does not end where its {count} points and their tracks do")


def _of_text(records: TextRecords) -> Points:
    numbers, colours, errors, tracks = array("d"), array("B"), array("d"), array("q")
    for index, _ in enumerate(records.records("point", 0)):
        _, *xyz, red, green, blue, error = records.take("QdddBBBd", "id, X Y Z, R G B and error")
        numbers.extend(xyz)
        colours.extend((red, green, blue))
        errors.append(error)
        pairs, odd = divmod(len(records.words) - records.taken, 2)
        if odd:
            raise broken(records.label, "its track has no IMAGE_ID POINT2D_IDX pairs")
        for image in records.take("II" * pairs, "track")[::2]:
            tracks.extend((index, image))
    return Points(
        np.array(numbers).reshape(-1, 3),
        np.array(colours).reshape(-1, 3),
        np.array(errors),
        np.array(tracks).reshape(-1, 2),
    )


def tracks_of(keypoints: Mapping[int, Keypoints]) -> np.ndarray:
    """(t, 3) int64, sorted: point, id of the image, and which of its keypoints."""
    steps = [
        np.stack((found.point, np.full_like(found.point, image), np.arange(len(found.point))), axis=1)
        for image, found in keypoints.items()
    ]
    tracks = np.concatenate([np.zeros((0, 3), np.int64), *steps])
    return tracks[np.lexsort(tracks.T[::-1])]


def write_points(file: Path, points: Points) -> None:
    """The tracks are written if they say which keypoints they are made of."""
    n, tracks = len(points.xyz), points.tracks if points.tracks.shape[1] == 3 else np.zeros((0, 3), np.int64)
    ends = np.searchsorted(tracks[:, 0], np.arange(n + 1))
    steps = [tracks[start:end, 1:] for start, end in pairwise(ends.tolist())]
    if file.suffix == ".bin":
        records = np.zeros(n, POINT)
        records["id"], records["error"] = np.arange(1, n + 1), points.errors
        records["xyz"], records["rgb"], records["length"] = points.xyz, points.colours, np.diff(ends)
        pairs = (
            (record.tobytes(), step.astype("<u4").tobytes())
            for record, step in zip(records, steps, strict=True)
        )
        contents = chain.from_iterable(pairs)
        file.write_bytes(struct.pack("<Q", n) + b"".join(contents))
    else:
        values = (points.xyz, points.colours, points.errors)
        rows = zip(range(1, n + 1), *(array.tolist() for array in values), steps, strict=True)
        flat = ((i, *xyz, *rgb, error, *step.ravel().tolist()) for i, xyz, rgb, error, step in rows)
        write_records(file, (("QdddBBBd" + "I" * (len(row) - 8), row) for row in flat))
