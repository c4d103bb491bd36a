"""Depth that was predicted elsewhere, as files that are named like the pictures of a data set.

`.npy` files hold values and pictures hold counts of a unit. What `render depth` writes says itself what it
is: its pictures in their text, its `.npy` files in the table beside them.
"""

from collections.abc import Mapping
from pathlib import Path

from tools.depth.evaluation import KIND_OF, Guess, Predictor, Seen
from tools.depth.losses import Kind
from tools.depth.outputs import FORMATS, read_written
from tools.depth.pairs import DepthSetError
from tools.depth.predict import Depth

SUFFIXES = (".npy", ".png", ".tif", ".tiff")  # in the order in which they are looked for
OURS = tuple(FORMATS[name][0] for name in ("npy", "png16"))  # what `render depth` puts after a name


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
    Raises: DepthSetError if one is missing or serves two pictures; when it is looked at, if it contradicts
            what was asked, or is a picture of z_depth whose unit nobody knows.
    """
    files, default = _files(folder, stems), asked or otherwise
    step = unit or (1.0 if default == "relative_inverse" else None)

    def guess(seen: Seen) -> Guess:
        file = files[seen.name]
        found = read_written(file)
        if isinstance(found, Depth):
            kind, values = KIND_OF[found.kind], found.values
            if asked not in (None, kind):
                raise DepthSetError(f"{file}: says it is {kind}, not {asked}; leave --predicted-kind out")
        elif file.suffix == ".npy":
            kind, values = default, found
        elif step is None:
            raise DepthSetError(f"{file}: nothing tells what a count in it means; give --predicted-unit")
        else:
            kind, values = default, step * found
        if values.shape != seen.truth.shape:
            sizes = " and ".join(f"{width} x {height}" for height, width in (values.shape, seen.truth.shape))
            raise DepthSetError(f"{file}: it and its picture are {sizes}; resize the prediction")
        return Guess(values, kind)

    return Predictor(f"predictions in {folder}", guess)


def _files(folder: Path, stems: Mapping[str, str]) -> dict[str, Path]:
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
    return {name: file for name, file in found.items() if file}


def _file_for(folder: Path, name: str, stem: str) -> Path | None:
    names = [f"{each}{suffix}" for each in (name, stem) for suffix in SUFFIXES]
    names += [f"{each}{suffix}" for each in (name, stem) for suffix in OURS]
    return next((folder / name for name in names if (folder / name).is_file()), None)
