"""Instant-ngp captures: transforms.json, with one lens for all frames or one for each.

    {"fl_x": pixels, "cx": pixels, "w": pixels, "k1": ..., "aabb_scale": 4,
     "frames": [{"file_path": "images/0001.jpg", "sharpness": 31.7, "transform_matrix": 4x4}]}

Camera-to-world, OpenGL axes, +z up. What a frame says of its lens goes before what the file says. Comments
are allowed. A position x in the file stands at x * scale + offset in instant-ngp's unit cube; that cube,
aabb_scale times as large, is the capture's box (instant-ngp also cycles the axes, which leaves a cube as it
is; scale and offset are applied before that). `sharpness` is not used, nor are `dynamic_mask_NAME.png` (white
where a pixel is to be ignored), `NAME.alpha.png` and what turns a colour transparent: a warning counts them.

Two programs call their file transforms.json. `dialect` tells them apart by the first that holds:
    a key that only nerfstudio has (NERFSTUDIO_KEYS)      nerfstudio
    a key that only instant-ngp has (INSTANT_NGP_KEYS)    instant-ngp
    fl_x or frames                                        nerfstudio
transforms_train.json and its kind are NeRF-synthetic, and so is a folder that holds one of them.
Source: instant-ngp's src/nerf_loader.cu and scripts/colmap2nerf.py.
"""

import json
import math
import os
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from scenes.formats.capture import (
    EXTENSIONS,
    Capture,
    Frame,
    Lens,
    file_name,
    find_inside,
    finite,
    is_number,
    pixels,
    read_text,
    rigid_pose,
)
from scenes.images import ImageError, read_header
from scenes.scene import SceneError, SceneWarning
from scenes.transforms import opengl_to_opencv

NERF_SYNTHETIC = ("transforms_train.json", "transforms_val.json", "transforms_test.json")
NERFSTUDIO_KEYS = (  # of the file or of its first frame
    *("camera_model", "applied_transform", "applied_scale", "ply_file_path", "orientation_override"),
    *("train_filenames", "val_filenames", "test_filenames", "depth_unit_scale_factor", "distortion_params"),
    *("fisheye_crop_radius", "colmap_im_id", "mask_path", "depth_file_path"),
)
INSTANT_NGP_KEYS = (
    *("aabb_scale", "scale", "offset", "aabb", "x_fov", "y_fov", "camera_angle_x", "camera_angle_y"),
    *("is_fisheye", "ftheta_p0", "latlong", "equirectangular", "orthographic", "rolling_shutter"),
    *("integer_depth_scale", "depth_path", "sharpness", "transform_matrix_start", "render_aabb"),
)
REFUSED = {  # keys of lenses and frames that nothing here can express
    "ftheta_p0": "an f-theta lens",
    "equirectangular": "an equal-area panorama (only a latlong one can be read)",
    "orthographic": "an orthographic camera",
    "normal_mts_args": "a camera of Mitsuba",
}
LEFT_OUT = ("white_transparent", "black_transparent")
PICTURES = (*EXTENSIONS, ".bmp", ".gif", ".tga")
FOCAL = 1e-3, 1e9  # pixels
PRINCIPAL = -1e9, 1e9
COEFFICIENT = -1e6, 1e6
DEEPEST = 32  # levels of a JSON file; a real one has six
SCALE = 0.33  # of instant-ngp's unit cube, where the file does not say
LARGEST_BOX = 1e6  # of numbers that place the box
DEPTH_UNIT = 1e-3
COMMENT = re.compile(r'"(?:[^"\\]++|\\.)*+"?|//[^\n]*+|/\*(?:[^*]++|\*(?!/))*+(?:\*/)?', re.DOTALL)


class Dialect(NamedTuple):
    """Whose transforms.json this is, nerfstudio's or instant-ngp's, and what it was known by."""

    name: str
    reason: str


def transforms_file(path: Path) -> Path | None:
    """The transforms.json that `path` is, or that lies in it; None if it is another format's."""
    try:
        if path.is_file():
            named = path.name.startswith("transforms") and path.suffix == ".json"
            return path if named and path.name not in NERF_SYNTHETIC else None
        file = path / "transforms.json"
        synthetic = any((path / name).exists() for name in NERF_SYNTHETIC)
        return file if file.is_file() and not synthetic else None
    except (OSError, ValueError):  # a name that is too long
        return None


def dialect(file: Path, contents: dict[str, Any]) -> Dialect | None:
    """Which program's file this is; None if it is neither's."""
    entries = contents.get("frames")
    first = entries[0] if isinstance(entries, list) and entries else {}
    keys = contents.keys() | (first.keys() if isinstance(first, dict) else set())
    either = ("fl_x", "frames")
    known = ("nerfstudio", NERFSTUDIO_KEYS), ("instant-ngp", INSTANT_NGP_KEYS), ("nerfstudio", either)
    for name, names in known:
        if found := [key for key in names if key in keys]:
            return Dialect(name, f"has {file.name} with {found[0]}")
    return None


def recognise(path: Path) -> str | None:
    """Why this is an instant-ngp capture, or None."""
    try:
        file = transforms_file(path)
        found = dialect(file, read_transforms(file)) if file else None
    except SceneError:
        return None
    return found.reason if found and found.name == "instant-ngp" else None


def capture(path: Path, allow_outside: bool = False) -> Capture:
    """All frames, sorted by the numbers in their names. Raises: SceneError. Warns: SceneWarning."""
    file = path / "transforms.json" if path.is_dir() else path
    contents = read_transforms(file)
    entries = sorted(frame_entries(file, contents), key=lambda entry: _natural_order(entry.name))
    if "n_frames" in contents:
        entries = entries[: int(finite(str(file), "n_frames", contents["n_frames"], 0.0))]
    images = [find_inside(e.label, file.parent, e.name, allow_outside, PICTURES) for e in entries]
    first = next((image for image in images if image), None)
    unit = _depth_unit(file, contents)
    frames = tuple(
        Frame(
            label=entry.label,
            name=entry.name,
            image=image,
            camera_to_world=_pose(entry),
            lens=_lens(entry, contents, image or first),
            depth=_depth(entry, file.parent, allow_outside) if unit else None,
        )
        for entry, image in zip(entries, images, strict=True)
    )
    _warn_of_what_is_left_out(file, contents, frames)
    box, up = _box(file, contents), _up(file, contents)
    # instant-ngp crops to its box; the pictures show what lies beyond it, too.
    return Capture(file, frames, box=box, box_is_all=False, depth_unit=unit or DEPTH_UNIT, up=up)


class Entry(NamedTuple):
    """One of a file's frames, as it stands there."""

    label: str
    name: str
    values: dict[str, Any]


def read_transforms(file: Path) -> dict[str, Any]:
    """The object in a JSON file that may hold comments.

    Raises: SceneError, also where it is nested so deeply that nothing may be done with it.
    """
    if file.exists() and not file.is_file():
        raise SceneError(f"{file}: is no file; a pipe or a folder cannot be read")
    text = read_text(file).removeprefix("\ufeff")
    try:
        try:
            contents = json.loads(text)
        except ValueError:
            contents = json.loads(COMMENT.sub(_without_comment, text))
    except (ValueError, RecursionError) as error:
        raise SceneError(f"{file}: is not JSON ({error}); write it again") from error
    if not isinstance(contents, dict):
        raise SceneError(f"{file}: holds a {type(contents).__name__}; it must be an object with frames")
    level: list[Any] = [contents]
    for _ in range(DEEPEST):
        values = (v for outer in level for v in (outer.values() if isinstance(outer, dict) else outer))
        level = [value for value in values if isinstance(value, list | dict)]
    if level:
        raise SceneError(f"{file}: is nested more than {DEEPEST} levels deep; write it again")
    return contents


def _without_comment(match: re.Match[str]) -> str:
    found = match[0]
    return " " if found.startswith("//") or (found.startswith("/*") and found.endswith("*/")) else found


def frame_entries(file: Path, contents: dict[str, Any]) -> list[Entry]:
    """The frames of a file, each with its name. Raises: SceneError."""
    entries = contents.get("frames")
    if not isinstance(entries, list) or not entries:
        raise SceneError(f"{file}: frames is missing or empty; list at least one frame")
    named = []
    for index, values in enumerate(entries):
        given = values.get("file_path") if isinstance(values, dict) else None
        name = file_name(f"{file}: frame {index}", slashed(given))
        named.append(Entry(f"{file}: frame {index} ({name})", name, values))
    return named


def slashed(value: object) -> object:
    """A name written on Windows as one of everywhere else."""
    return value.replace("\\", "/") if isinstance(value, str) else value


def _natural_order(name: str) -> list[tuple[int, str]]:
    """A key that puts frame_9 before frame_10."""
    parts = re.split("([0-9]+)", name)
    numbers = [(len(digits := part.lstrip("0")), digits) for part in parts[1::2]]
    texts = [(0, text) for text in parts[::2]]
    return [key for pair in zip(texts, [*numbers, (0, "")], strict=True) for key in pair]


def opencv_pose(label: str, matrix: object, name: str = "transform_matrix") -> np.ndarray:
    """(4, 4) float64 in OpenCV axes, of a matrix in OpenGL axes. Raises: SceneError."""
    return opengl_to_opencv(torch.from_numpy(rigid_pose(label, matrix, name))).numpy()


def _pose(entry: Entry) -> np.ndarray:
    label, values = entry.label, entry.values
    start = "transform_matrix_start" if "transform_matrix_start" in values else "transform_matrix"
    pose = opencv_pose(label, values.get(start), start)
    if "transform_matrix_end" in values:
        end = opencv_pose(label, values["transform_matrix_end"], "transform_matrix_end")
        if not np.array_equal(pose, end):
            raise SceneError(
                f"{label}: transform_matrix_end differs from {start}; a camera that moves while the shutter "
                "is open (rolling_shutter) is not read. Leave the end out to take the picture as still."
            )
    return pose


def picture_size(label: str, values: dict[str, Any], image: Path | None) -> tuple[int, int]:
    """Width and height for which a lens is told, pixels; where it does not say, those of `image`."""
    if "w" in values and "h" in values:
        return pixels(label, "w", values["w"]), pixels(label, "h", values["h"])
    if image is None:
        raise SceneError(f"{label}: w and h are missing, and no picture is there to tell them; give both")
    try:
        header = read_header(image)
    except ImageError as error:
        raise SceneError(f"{label}: w and h are missing, and the picture does not tell: {error}") from error
    return header.width, header.height


def focal_lengths(
    label: str, levels: Sequence[dict[str, Any]], width: int, height: int
) -> tuple[float, float]:
    """fx and fy in pixels, of the first of `levels` that tells one; an axis that is not told is as the other.

    Raises: SceneError.
    """
    for values in levels:
        fx, fy = _focal_length(label, values, "x", width), _focal_length(label, values, "y", height)
        if fx or fy:
            return fx or fy or 0.0, fy or fx or 0.0
    raise SceneError(f"{label}: fl_x is missing; give it in pixels (or x_fov in degrees)")


def _focal_length(label: str, values: dict[str, Any], axis: str, side: int) -> float | None:
    fov, focal, angle = f"{axis}_fov", f"fl_{axis}", f"camera_angle_{axis}"
    if fov in values:
        return 0.5 * side / math.tan(math.radians(finite(label, fov, values[fov], 0.01, 180.0)) / 2)
    if focal in values:
        return finite(label, focal, values[focal], *FOCAL)
    if angle in values:
        return 0.5 * side / math.tan(finite(label, angle, values[angle], 1e-4, math.pi) / 2)
    return None


def principal_point(label: str, values: dict[str, Any], width: int, height: int) -> tuple[float, float]:
    """cx and cy in pixels; the middle where they are not told."""
    middle = {"cx": width / 2, "cy": height / 2}
    cx, cy = (finite(label, n, values.get(n, default), *PRINCIPAL) for n, default in middle.items())
    return cx, cy


def coefficients(label: str, projection: str, values: dict[str, Any]) -> tuple[float, ...]:
    """Coefficients of a lens as scenes/lenses.py orders them; () where there is no distortion.

    Raises: SceneError for one that the projection does not have.
    """
    names = ("k1", "k2", "k3", "k4", "p1", "p2")
    k1, k2, k3, k4, p1, p2 = (finite(label, n, values.get(n, 0.0), *COEFFICIENT) for n in names)
    surplus = {"k4": k4} if projection == "perspective" else {"p1": p1, "p2": p2}
    for name, value in surplus.items():
        if value:
            raise SceneError(
                f"{label}: {name} is {value}; a {projection} lens with {name} is not read. "
                "Undistort the pictures first, with the program that measured it."
            )
    found = (k1, k2, p1, p2, k3) if projection == "perspective" else (k1, k2, k3, k4)
    return found if any(found) else ()


def _lens(entry: Entry, contents: dict[str, Any], image: Path | None) -> Lens:
    label, values = entry.label, {**contents, **entry.values}
    for key, meaning in REFUSED.items():
        if values.get(key):
            raise SceneError(f"{label}: {key} tells {meaning}, which is not read; convert the pictures first")
    width, height = picture_size(label, values, image)
    if values.get("latlong"):
        return Lens(
            fx=width / (2 * math.pi),
            fy=height / math.pi,
            cx=width / 2,
            cy=height / 2,
            width=width,
            height=height,
            projection="equirectangular",
        )
    if not isinstance(fisheye := values.get("is_fisheye", False), bool):
        raise SceneError(f"{label}: is_fisheye is {fisheye!r}; it must be true or false")
    projection = "fisheye" if fisheye else "perspective"
    fx, fy = focal_lengths(label, (entry.values, contents), width, height)
    cx, cy = principal_point(label, values, width, height)
    return Lens(fx, fy, cx, cy, width, height, coefficients(label, projection, values), projection)


def _depth_unit(file: Path, contents: dict[str, Any]) -> float | None:
    """Input units of one step of a depth picture; None: depth is not to be read."""
    scale = finite(str(file), "integer_depth_scale", contents.get("integer_depth_scale", -1.0))
    return scale if scale > 0 and contents.get("enable_depth_loading", True) else None


def _depth(entry: Entry, folder: Path, allow_outside: bool) -> Path | None:
    """A frame's depth picture, if it names one that is there."""
    if "depth_path" not in entry.values:
        return None
    name = file_name(entry.label, slashed(entry.values["depth_path"]), "depth_path")
    return find_inside(f"{entry.label}: depth_path {name}", folder, name, allow_outside, PICTURES)


def _warn_of_what_is_left_out(file: Path, contents: dict[str, Any], frames: Sequence[Frame]) -> None:
    # isfile, unlike Path.is_file, answers no to a name that is too long.
    there = [(frame.name, frame.image) for frame in frames if frame.image is not None]
    masks = sum(os.path.isfile(image.parent / f"dynamic_mask_{image.stem}.png") for _, image in there)
    alphas = sum(os.path.isfile(file.parent / f"{name}.alpha{image.suffix}") for name, image in there)
    found = [f"{masks} dynamic_mask_*.png"] * (masks > 0) + [f"{alphas} *.alpha.*"] * (alphas > 0)
    found += [key for key in LEFT_OUT if contents.get(key)]
    if found:
        what = ", ".join(found)
        remedy = "give masks as mask_path of nerfstudio's file (black = ignore), alpha inside the pictures"
        warnings.warn(f"{file}: not used: {what}; {remedy}", SceneWarning, stacklevel=3)


def _vector(label: str, name: str, value: object, limit: float) -> tuple[float, float, float]:
    if not isinstance(value, list) or len(value) != 3:
        raise SceneError(f"{label}: {name} is {value!r}; it must be three numbers")
    x, y, z = (finite(label, name, number, -limit, limit) for number in value)
    return x, y, z


def _box(file: Path, contents: dict[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Corners of the cube that instant-ngp models, input frame; None if the file has none of its keys."""
    label = str(file)
    if not contents.keys() & {"aabb_scale", "aabb", "scale", "offset"}:
        return None
    side = finite(label, "aabb_scale", contents.get("aabb_scale", 1))
    if side not in {2**power for power in range(8)}:
        raise SceneError(f"{label}: aabb_scale is {side:g}; it must be a power of 2, from 1 to 128")
    if "aabb" in contents:
        corners = contents["aabb"]
        if not isinstance(corners, list) or len(corners) != 2:
            raise SceneError(f"{label}: aabb is {corners!r}; it must be two corners")
        low, high = (_vector(label, "aabb", corner, LARGEST_BOX) for corner in corners)
        scale = 1 / max(1e-6, *(abs(b - a) for a, b in zip(low, high, strict=True)))
        offset = tuple(0.5 - (a + b) / 2 * scale for a, b in zip(low, high, strict=True))
    else:
        scale = finite(label, "scale", contents.get("scale", SCALE), 1 / LARGEST_BOX, LARGEST_BOX)
        given = contents.get("offset", 0.5)
        offset = _vector(label, "offset", [given] * 3 if is_number(given) else given, LARGEST_BOX)
    least, most = (tuple((0.5 + half - o) / scale for o in offset) for half in (-side / 2, side / 2))
    return least, most


def _up(file: Path, contents: dict[str, Any]) -> tuple[float, float, float]:
    x, y, z = _vector(str(file), "up", contents.get("up", [0.0, 0.0, 1.0]), LARGEST_BOX)
    length = math.hypot(x, y, z)
    if length < 1e-6:
        raise SceneError(f"{file}: up is [{x:g}, {y:g}, {z:g}]; it must have a length")
    return x / length, y / length, z / length
