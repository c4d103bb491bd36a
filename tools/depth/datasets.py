"""Data sets of pictures with depth, as their authors publish them: which one a folder holds.

A layout is a function of a folder. It gives the set that lies there, None if the folder is laid out
otherwise, and an error if it is laid out so and something is amiss. Folders of such folders are read too.
"""

import warnings
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

from scenes.depths import has_8_bits
from scenes.images import ImageError
from tools.depth import layouts
from tools.depth.pairs import DepthSet, DepthSetError, DepthSetWarning, Intrinsics, Labelled, Pair, kind_named

__all__ = ["DepthSet", "DepthSetError", "DepthSetWarning", "Intrinsics", "Labelled", "Pair", "read_set"]

# In the order in which they are tried; each knows its own by a file or a pattern of names.
LAYOUTS: dict[str, Callable[[Path], DepthSet | None]] = {
    "render": layouts.ours,
    "annotated": layouts.annotated,
    "tum": layouts.tum,
    "7-scenes": layouts.seven_scenes,
    "scannet": layouts.scannet,
    "kitti": layouts.kitti,
    "nyu": layouts.nyu,
    "eth3d": layouts.eth3d,
    "sintel": layouts.sintel,
    "scenenet": layouts.scenenet,
    "cityscapes": layouts.cityscapes,
    "middlebury": layouts.middlebury,
    "dpt": layouts.dpt,
}


# What all sets of a folder must have alike to be one.
ALIKE = tuple(field.name for field in fields(DepthSet) if field.name not in ("name", "pairs"))


def read_set(path: str | Path, kind: str | None = None, unit: float | int | None = None) -> DepthSet:
    """The data set in a folder, of LAYOUTS, or of folders rgb/ and depth/ of which kind and unit are given.

    Files are listed and matched, and the first is looked at; none is decoded.
    unit: value of one count of a depth picture, such as 0.001 for z_depth in millimetres
    Raises: DepthSetError if no layout fits, a partner is missing, or the layout tells its kind and one is
    given; SceneError and ImageError for files that cannot be read.
    Warns: DepthSetWarning for inverse depth of 8 bits.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise DepthSetError(f"{folder}: no such folder; name one that holds pictures and their depth")
    if kind is not None or unit is not None:
        return checked(given(folder, kind, unit))
    found = laid_out(folder) or joined(folder)
    if found is None and (folder / "rooms.json").is_file():
        raise DepthSetError(
            f"{folder}: was not made to its end; give the same `render scenes generate` command again"
        )
    if found is None:
        plain = "; give the kind and the unit of its depth" if layouts.is_plain(folder) else ""
        known = ", ".join(LAYOUTS)
        raise DepthSetError(f"{folder}: no data set of a known layout ({known}), nor folders of one{plain}")
    return checked(found)


def laid_out(folder: Path) -> DepthSet | None:
    """What a folder itself holds."""
    for name, layout in LAYOUTS.items():
        if (found := layout(folder)) is not None:
            return replace(found, layout=name)
    return None


def joined(folder: Path) -> DepthSet | None:
    """What the folders in a folder hold, as one set; None if they hold nothing.

    Raises: DepthSetError if they are of several layouts or kinds.
    """
    inner = sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    sets = [found for entry in inner if (found := laid_out(entry)) is not None]
    if not sets:
        return None
    first, pairs = sets[0], []
    for each in sets:
        told, others = ({name: getattr(one, name) for name in ALIKE} for one in (first, each))
        if other := [name for name in ALIKE if told[name] != others[name]]:
            name = other[0]
            raise DepthSetError(
                f"{folder}: {name} is {told[name]} in {first.name} and {others[name]} in {each.name}; "
                "they are no one set: name one of them"
            )
        pairs += [replace(pair, name=f"{each.name}/{pair.name}") for pair in each.pairs]
    return replace(first, name=folder.resolve().name, pairs=tuple(pairs))


def given(folder: Path, kind: str | None, unit: float | int | None) -> DepthSet:
    """Folders rgb/ and depth/ whose kind and unit the caller knows."""
    found = laid_out(folder)
    if found is not None:
        raise DepthSetError(
            f"{folder}: is laid out as {found.layout}, which tells {found.kind} in units of {found.unit:g}; "
            "leave kind and unit out"
        )
    known = kind_named(str(folder), kind)
    found = layouts.plain(folder, known, 1.0 if unit is None else unit)
    if unit is None and known == "z_depth" and found.pairs[0].depth.suffix != ".npy":
        raise DepthSetError(
            f"{found.pairs[0].depth}: what a count means is not known; give its unit: 0.001 for millimetres"
        )
    return found


def checked(found: DepthSet) -> DepthSet:
    """The set, if its first depth picture is fine enough to mean what it should.

    Raises: DepthSetError for z_depth of 8 bits; ImageError if the picture cannot be read.
    """
    first = found.pairs[0].depth
    if not first.is_file():
        raise ImageError(f"{first}: no such depth picture")
    if found.layout in layouts.OF_8_BITS or not has_8_bits(first):
        return found
    if found.kind == "z_depth":
        raise DepthSetError(
            f"{first}: 8 bits hold 256 depths, so that it is a picture to look at, not a measurement; "
            "save z_depth as 16 bits or .npy"
        )
    steps = (
        f"{first}: inverse depth of 8 bits lies on 256 steps, which show as terraces; save 16 bits or .npy"
    )
    warnings.warn(steps, DepthSetWarning, stacklevel=3)
    return found
