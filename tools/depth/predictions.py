"""Depth that was predicted elsewhere, as files that are named like the pictures of a data set.

`.npy` files hold values and pictures hold counts of a unit. What `render depth` writes says itself what it
is: its pictures in their text, its `.npy` files in the table beside them.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from scenes.depths import read_depth
from tools.depth.evaluation import KIND_OF, Guess, Predictor, Seen
from tools.depth.losses import Kind
from tools.depth.outputs import FORMATS, TABLE, read_png16
from tools.depth.pairs import DepthSetError

SUFFIXES = (".npy", ".png", ".tif", ".tiff")  # in the order in which they are looked for
OURS = tuple(FORMATS[name][0] for name in ("npy", "png16"))  # what `render depth` puts after a name


class Predicted(NamedTuple):
    """A file, and what it says that it holds; None if it says nothing."""

    file: Path
    kind: Kind | None


def predictions(
    folder: Path,
    stems: Mapping[str, str],
    asked: Kind | None,
    otherwise: Kind,
    unit: float | int | None,
) -> Predictor:
    """Files of a folder, named as the pictures or as `render depth` does.

    stems: the names of pictures' files without suffix, by the pictures' names
    asked: what the files are said to hold; where nobody says it, they hold what `otherwise` is
    unit: of a count in pictures that do not say it
    Raises: DepthSetError if one is missing, serves two pictures or contradicts what was asked, or if there
            are pictures of z_depth whose unit nobody knows.
    """
    files = _files(folder, stems)
    for file, kind in files.values():
        if asked and kind and kind != asked:
            raise DepthSetError(f"{file}: says that it is {kind}, not {asked}; leave --predicted-kind out")
    default = asked or otherwise
    step = unit or (1.0 if default == "relative_inverse" else None)
    silent = (file for file, kind in files.values() if kind is None and file.suffix != ".npy")
    if step is None and any(silent):
        raise DepthSetError(f"{folder}: nothing tells what a count in it means; give --predicted-unit")

    def guess(seen: Seen) -> Guess:
        file, kind = files[seen.name]
        values = _values(file, kind, step)
        if values.shape != seen.truth.shape:
            sizes = " and ".join(f"{width} x {height}" for height, width in (values.shape, seen.truth.shape))
            raise DepthSetError(f"{file}: it and its picture are {sizes}; resize the prediction")
        return Guess(values, kind or default)

    return Predictor(f"predictions in {folder}", guess)


def _files(folder: Path, stems: Mapping[str, str]) -> dict[str, Predicted]:
    if not folder.is_dir():
        raise DepthSetError(f"{folder}: no such folder; --predictions wants one with a file for each picture")
    found = {name: _file_for(folder, name, stem) for name, stem in stems.items()}
    if missing := [name for name, file in found.items() if file is None]:
        raise DepthSetError(
            f"{folder}: holds no prediction {missing[0]}{SUFFIXES[0]} or {SUFFIXES[1]} ({len(missing)} of "
            f"{len(found)} are missing); name them as the pictures"
        )
    owner: dict[Path, str] = {}
    for name, file in found.items():
        if file in owner:
            raise DepthSetError(
                f"{file}: may be of two pictures, {owner[file]} and {name}; put the predictions into folders "
                f"as the pictures are: {name}{file.suffix}"
            )
        owner[file] = name
    return {name: Predicted(file, _kind_told(file)) for name, file in found.items() if file}


def _file_for(folder: Path, name: str, stem: str) -> Path | None:
    names = [f"{each}{suffix}" for each in (name, stem) for suffix in SUFFIXES]
    names += [f"{each}{suffix}" for each in (name, stem) for suffix in OURS]
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _kind_told(file: Path) -> Kind | None:
    if file.name.endswith(FORMATS["png16"][0]):
        return KIND_OF[read_png16(file).kind]
    table = file.with_name(file.name.removesuffix(FORMATS["npy"][0]) + TABLE)
    if not file.name.endswith(FORMATS["npy"][0]) or not table.is_file():
        return None
    try:
        return KIND_OF[json.loads(table.read_text("utf-8"))["kind"]]
    except (ValueError, KeyError, TypeError) as error:
        raise DepthSetError(f"{table}: does not say what kind of depth it is of; remove it") from error


def _values(file: Path, kind: Kind | None, step: float | None) -> Tensor:
    if file.suffix == ".npy":
        return read_depth(file)
    if kind is not None:
        return read_png16(file).values
    return read_depth(file) * step
