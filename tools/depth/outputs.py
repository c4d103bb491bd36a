"""Files of depth: what is written for a picture or a video, and how stored numbers become depth again.

    NAME-depth.json   what the rest means: kind, unit, the steps of the 16 bits, what a cloud assumes
    NAME-depth.png    16 bits: value = offset + step * stored; both numbers stand in the file, too
    NAME-depth.npy    (height, width) float32
    NAME-colour.png   near is light, far is dark
    NAME-cloud.ply    points in the camera's frame

Of a video: NAME-depth/frame_000000.png and .npy, NAME-colour.mp4, NAME-cloud/frame_000000.ply.
"""

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from scenes.depths import read_depth, text_of
from scenes.formats.capture import read_json
from scenes.formats.companions import MOST_STEPS
from scenes.formats.ply import write_points
from scenes.images import write_png
from tools.depth.cloud import ASSUMED_RATIO, Lens, assumed_line, lens_of, points_of, z_depth_of
from tools.depth.colours import coloured
from tools.depth.predict import Depth
from tools.export.depth import step_for
from tools.export.folder import ExportError, whole

FORMAT, VERSION = "render depth of pictures", 1
# What follows the name of a picture, and that of a video, of which most are folders of frames.
FORMATS = {
    "png16": ("-depth.png", "-depth"),
    "npy": ("-depth.npy", "-depth"),
    "colour": ("-colour.png", "-colour.mp4"),
    "cloud": ("-cloud.ply", "-cloud"),
}
FRAMES = {"png16": ".png", "npy": ".npy", "cloud": ".ply"}
FOLDERS = ("-depth", "-cloud")
FRAME = r"frame_\d{6,}\.(png|npy|ply)"
TABLE = "-depth.json"
MEANING = {
    "inverse_relative": "1 / z_depth up to an unknown scale and shift; near is large",
    "metric": "z_depth along the optical axis, metres",
}
UNITS = {"inverse_relative": None, "metric": "metre"}
LINE = "1 / (scale * value + shift)"
LARGEST = 65_535
SHOWN = (0.005, 0.995)  # of all pixels' inverse depth: where the colours end
LOOKED_AT = 1_000_000  # pixels, about, that tell it


@dataclass(frozen=True)
class Wanted:
    """What to write.

    colormap    of the coloured picture
    fov, focal  for a cloud: degrees across the longer side, or pixels; None: see `lens_of`
    ratio       for a cloud of inverse relative depth: farthest over nearest z_depth, which is assumed
    """

    formats: tuple[str, ...] = ("png16", "colour")
    colormap: str = "dusk"
    fov: float | None = None
    focal: float | None = None
    ratio: float = ASSUMED_RATIO


@dataclass(frozen=True)
class Range:
    """Between which values the depths of a picture lie, or of all frames of a video; and from which inverse
    depth to which the colours run."""

    lowest: float
    highest: float
    dark: float
    light: float


@dataclass(frozen=True)
class Steps:
    """What 16 bits stand for: value = offset + step * stored."""

    offset: float
    step: float


def places(folder: Path, name: str, formats: Sequence[str], video: bool) -> dict[str, Path]:
    """Where each format of a picture or a video of that name goes, and "table"."""
    suffixes = {kind: FORMATS[kind][video] for kind in formats}
    return {kind: folder / f"{name}{suffix}" for kind, suffix in {**suffixes, "table": TABLE}.items()}


def check_free(files: Iterable[Path], inputs: Iterable[Path], overwrite: bool) -> None:
    """Raises: ExportError if something is there that is not to be replaced, or is not of this making."""
    given = {os.path.abspath(path) for path in inputs}
    for path in files:
        if os.path.abspath(path) in given:
            raise ExportError(f"{path}: is one of the inputs; choose another folder with --out")
        if not path.exists():
            continue
        if not overwrite:
            raise ExportError(
                f"{path}: is there already; replace it (--overwrite) or write elsewhere (--out DIR)"
            )
        if path.is_dir() != path.name.endswith(FOLDERS):
            raise ExportError(f"{path}: is in the way; move it, or choose another folder with --out")
        if path.is_dir() and not all(re.fullmatch(FRAME, entry.name) for entry in path.iterdir()):
            raise ExportError(f"{path}: holds more than frames; choose another folder with --out")


def range_of(depth: Depth) -> Range:
    """Raises: ValueError if a value is not finite."""
    if not bool(depth.values.isfinite().all()):
        raise ValueError("the network's answer is not finite; its weights are damaged, take others")
    nearness = depth.nearness().flatten()
    some = nearness[:: max(len(nearness) // LOOKED_AT, 1)]
    dark, light = some.quantile(torch.tensor(SHOWN)).tolist()
    return Range(float(depth.values.min()), float(depth.values.max()), dark, light)


def joined(ranges: Iterable[Range]) -> Range:
    """Of one or more pictures together."""
    every = [*ranges]
    return Range(
        min(one.lowest for one in every),
        max(one.highest for one in every),
        min(one.dark for one in every),
        max(one.light for one in every),
    )


def steps_of(kind: str, between: Range) -> Steps:
    """For inverse relative depth 65,535 of them; for metric depth millimetres, or what `step_for` has."""
    if kind == "metric":
        return Steps(0.0, step_for(between.highest))
    return Steps(between.lowest, (between.highest - between.lowest) / LARGEST)


def write_png16(path: Path, depth: Depth, steps: Steps) -> None:
    """Write depth in whole steps. Of metric depth 0 is left out: to others it means that nothing is known."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    values = depth.values.double()
    stored = torch.zeros_like(values) if steps.step == 0 else ((values - steps.offset) / steps.step).round()
    stored = stored.clamp(1, MOST_STEPS) if depth.kind == "metric" else stored.clamp(0, LARGEST)
    told = PngInfo()
    for name, value in _facts(depth.kind, steps).items():
        told.add_text(name, str(value))
    with whole(path) as fresh:
        Image.fromarray(stored.numpy().astype(np.uint16)).save(fresh, format="PNG", pnginfo=told)


def read_png16(path: str | Path) -> Depth:
    """Depth to half a step. Raises: ValueError for a file that `write_png16` did not write; ImageError."""
    found = read_written(path)
    if not isinstance(found, Depth):
        raise ValueError(f"{path}: does not say what its steps are; give a picture of render depth")
    return found


def read_written(path: str | Path) -> Depth | Float[Tensor, "h w"]:
    """Depth from a file that `render depth` wrote; the stored numbers of one that does not say what it is.

    Pictures say it in their text, .npy files in the table that lies beside them, or beside a film's folder.
    Raises: ImageError for what is no depth picture or array; ValueError for a kind that is unknown.
    """
    path = Path(path)
    values = read_depth(path)
    told = _table_beside(path) if path.suffix == ".npy" else text_of(path)
    if "kind" not in told or (path.suffix != ".npy" and not {"offset", "step"} <= told.keys()):
        return values
    if told["kind"] not in MEANING:
        raise ValueError(f"{path}: is said to be {told['kind']!r}; known: {', '.join(MEANING)}")
    if path.suffix != ".npy":
        try:
            steps = Steps(float(told["offset"]), float(told["step"]))
        except ValueError:
            raise ValueError(f"{path}: its offset and step are no numbers; write it again") from None
        values = (steps.offset + steps.step * values.double()).float()
    return Depth(values, told["kind"])


def _table_beside(path: Path) -> Mapping[str, Any]:
    """Of an array, or of the film whose folder it lies in; empty if there is none."""
    name, folder = path.name.removesuffix(FORMATS["npy"][0]), path.parent
    tables = [path.with_name(name + TABLE)] if name != path.name else []
    if folder.name.endswith(FORMATS["npy"][1]):
        tables.append(folder.with_name(folder.name.removesuffix(FORMATS["npy"][1]) + TABLE))
    for table in tables:
        if table.is_file():
            told = read_json(table)
            return told if told.get("format") == FORMAT else {}
    return {}


def _facts(kind: str, steps: Steps) -> dict[str, Any]:
    return {"kind": kind, "offset": steps.offset, "step": steps.step}


def write_npy(path: Path, values: Float[Tensor, "h w"]) -> None:
    with whole(path) as fresh, fresh.open("wb") as stream:  # numpy would append a suffix to a path
        np.save(stream, values.numpy())


def colour_picture(depth: Depth, between: Range, colormap: str) -> UInt8[Tensor, "h w 3"]:
    return coloured(depth.nearness(), between.dark, between.light, colormap)


def write_depth(files: Mapping[str, Path], depth: Depth, between: Range, colormap: str) -> None:
    """Write one picture's depth in each format that `files` names, but for a cloud.

    Raises: ExportError that names the file which cannot be written.
    """
    if "png16" in files:
        write_png16(files["png16"], depth, steps_of(depth.kind, between))
    if "npy" in files:
        write_npy(files["npy"], depth.values)
    if "colour" in files:
        with whole(files["colour"]) as fresh:
            write_png(fresh, colour_picture(depth, between, colormap))


def write_cloud(
    path: Path, depth: Depth, image: UInt8[Tensor, "h w c"], between: Range, lens: Lens, ratio: float | int
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    z_depth = z_depth_of(depth, assumed_line(between.lowest, between.highest, ratio))
    write_points(path, points_of(z_depth, image, lens.focal))


def write_picture(
    files: Mapping[str, Path],
    depth: Depth,
    image: UInt8[Tensor, "h w c"],
    wanted: Wanted,
    photograph: Path | None = None,
) -> dict[str, Any]:
    """Write the depth of one picture in each format that `files` names, and tell what it means.

    photograph: the file whose EXIF may tell the lens.
    Raises: ValueError if a value is not finite, ExportError that names the file which cannot be written.
    """
    height, width = image.shape[:2]
    between = range_of(depth)
    lens = lens_of(width, height, fov=wanted.fov, focal=wanted.focal, file=photograph)
    write_depth(files, depth, between, wanted.colormap)
    if "cloud" in files:
        write_cloud(files["cloud"], depth, image, between, lens, wanted.ratio)
    return {**table_of(depth.kind, between, wanted, lens), "width": width, "height": height}


def table_of(kind: str, between: Range, wanted: Wanted, lens: Lens) -> dict[str, Any]:
    """What the files mean, as plain data."""
    facts: dict[str, Any] = {"kind": kind, "meaning": MEANING[kind], "unit": UNITS[kind]}
    if "png16" in wanted.formats:
        facts["png16"] = _facts(kind, steps_of(kind, between))
    if "cloud" in wanted.formats:
        line = assumed_line(between.lowest, between.highest, wanted.ratio)
        facts["cloud"] = {
            "focal_pixels": lens.focal,
            "lens": lens.known,
            "axes": "x right, y down, z forward",
            "unit": UNITS[kind],
            "assumed": None if kind == "metric" else {"z_depth": LINE, **asdict(line)},
        }
    return facts


def write_table(path: Path, facts: Mapping[str, Any]) -> None:
    text = json.dumps({"format": FORMAT, "version": VERSION, **facts}, indent=2) + "\n"
    with whole(path) as fresh:
        fresh.write_text(text, encoding="utf-8")
