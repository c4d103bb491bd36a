"""How the folders of published RGB-D data sets are laid out; one function each (see tools/depth/datasets.py).

Every one tells the kind of depth, what a count means, and which counts mean nothing, as its authors do.
"""

import math
import re
from bisect import bisect_left
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from scenes.formats.capture import find_inside, finite, is_number, read_json, read_text
from scenes.generate.collection import FORMAT, VERSION
from scenes.images import read_header
from tools.depth.bare import read_cam
from tools.depth.losses import Kind
from tools.depth.pairs import DepthSet, DepthSetError, Intrinsics, Pair, kind_named

COLOURS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm")
DEPTHS = (".png", ".npy", ".tif", ".tiff", ".pgm")
OF_8_BITS = ("middlebury",)  # layouts that are published so
KINECT = Intrinsics(585.0, 585.0, 320.0, 240.0)  # the README of 7-Scenes, for 640 x 480
SCENENET_FOV = (60.0, 45.0)  # degrees across and down, of pictures of 320 x 240
TUM_APART = 0.02  # seconds between a picture and its depth at most, as the benchmark's own tool has it


class Where(NamedTuple):
    """Files: a folder, and a pattern of names without suffix whose groups, together, are a pair's key."""

    folder: str
    name: str = "(.+)"


def keyed(folder: Path, where: Where, suffixes: tuple[str, ...], *, deep: bool = False) -> dict[str, Path]:
    """Files by their keys, sorted. Raises: DepthSetError if two have one."""
    root, found = folder / where.folder, {}
    if not root.is_dir():
        return {}
    for file in sorted(root.rglob("*") if deep else root.iterdir()):
        match = re.fullmatch(where.name, file.relative_to(root).with_suffix("").as_posix())
        if match is None or file.suffix.lower() not in suffixes or file.name.startswith("."):
            continue
        key = "-".join(match.groups())
        if key in found:
            raise DepthSetError(f"{file}: {found[key].name} beside it means the same; remove one of the two")
        found[key] = file
    return found


def by_names(
    folder: Path,
    colours: Where,
    depths: Where,
    *,
    deep: bool = False,
    suffixes: tuple[str, ...] = DEPTHS,
    camera: Callable[[str, Path], Intrinsics | Path | None] = lambda key, rgb: None,
    **told: Any,
) -> DepthSet | None:
    """The set whose pictures and depth pictures are told by their names; None if there are none of either.

    deep: look into the folders' folders. suffixes: of depth files. told: of DepthSet.
    Raises: DepthSetError for the first picture without partner.
    """
    if not (rgb := keyed(folder, colours, COLOURS, deep=deep)):
        return None
    if not (depth := keyed(folder, depths, suffixes, deep=deep)):
        return None
    for here, there, missing in ((rgb, depth, "depth"), (depth, rgb, "colour")):
        if alone := sorted(here.keys() - there.keys()):
            raise DepthSetError(
                f"{here[alone[0]]}: has no {missing} picture beside it ({len(alone)} of {len(here)} have "
                f"none); add what is missing or remove the picture"
            )
    pairs = tuple(Pair(key, rgb[key], depth[key], camera(key, rgb[key])) for key in rgb)
    return DepthSet(folder.resolve().name, pairs=pairs, **told)


def is_plain(folder: Path) -> bool:
    """Whether there are folders rgb/ and depth/."""
    return (folder / "rgb").is_dir() and (folder / "depth").is_dir()


def unknown_counts(kind: Any) -> list[int]:
    """What stored counts mean that nothing is known, where nobody says it: 0, but of a mere order."""
    return [] if kind == "relative_inverse" else [0]


def plain(folder: Path, kind: Kind, unit: float | int, **told: Any) -> DepthSet:
    """rgb/NAME and depth/NAME. Raises: DepthSetError if they hold nothing, or not the same names."""
    told = {"unknown": tuple(unknown_counts(kind)), "kind": kind, "unit": unit, **told}
    found = by_names(folder, Where("rgb"), Where("depth"), **told)
    if found is None:
        raise DepthSetError(f"{folder}: holds no pictures in rgb/ and depth/; put them there by equal names")
    return found


def ours(folder: Path) -> DepthSet | None:
    """rgb/NAME, depth/NAME, dataset.json that says what they mean, and perhaps cameras/NAME.json."""
    file = folder / "dataset.json"
    if not file.is_file():
        return None
    told = read_json(file)
    if told.get("format") != FORMAT:
        return None
    if told.get("version") != VERSION:
        raise DepthSetError(f"{file}: version is {told.get('version')!r}; this program reads {VERSION}")
    unknown = told.get("unknown", unknown_counts(told.get("kind")))
    if not isinstance(unknown, list) or not all(map(is_number, unknown)):
        raise DepthSetError(f"{file}: unknown is {unknown!r}; write a list of counts, such as [0]")
    cap = told.get("cap")
    return plain(
        folder,
        kind_named(str(file), told.get("kind")),
        finite(str(file), "unit", told.get("unit"), 0),
        unknown=tuple(unknown),
        cap=None if cap is None else finite(str(file), "cap", cap, 0),
        camera=_our_cameras(folder, "camera" in told),
    )


def _our_cameras(folder: Path, for_all: bool) -> Callable[[str, Path], Path | None]:
    there = {file.stem for file in (folder / "cameras").glob("*.json")}
    default = folder / "dataset.json" if for_all else None
    return lambda key, rgb: folder / "cameras" / f"{key}.json" if key in there else default


def annotated(folder: Path) -> DepthSet | None:
    """test_annotations.json that lists {"rgb", "depth", "depth_scale", "cam_in"}, as Metric3D has it.

    Its paths begin where their author stood: the longest end of each that is in the folder is taken.
    """
    file = folder / "test_annotations.json"
    if not file.is_file():
        return None
    entries = read_json(file).get("files")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries) or not entries:
        raise DepthSetError(f"{file}: files is no list of objects; write one for each picture")
    pairs, scales = [], set()
    for number, entry in enumerate(entries):
        label = f"{file}: file {number}"
        rgb, depth = (_ending(label, folder, entry.get(key), key) for key in ("rgb", "depth"))
        scales.add(finite(label, "depth_scale", entry.get("depth_scale"), 0))
        camera = _four(label, entry["cam_in"]) if "cam_in" in entry else None
        name = rgb.relative_to(folder).with_suffix("").as_posix()
        pairs.append(Pair(name, rgb, depth, camera))
    if len(scales) > 1:
        raise DepthSetError(f"{file}: depth_scale is {sorted(scales)}; a set must have one: divide it")
    scale = scales.pop()
    header = read_header(pairs[0].rgb)
    nyu = "nyu" if scale == 1000 and (header.width, header.height) == (640, 480) else None
    protocol = "kitti" if scale == 256 else nyu
    return DepthSet(folder.resolve().name, "z_depth", tuple(pairs), 1 / scale, protocol=protocol)


def _ending(label: str, folder: Path, path: Any, key: str) -> Path:
    if not isinstance(path, str) or not path:
        raise DepthSetError(f"{label}: {key} is {path!r}; name the picture")
    parts = PurePosixPath(path).parts
    for start in range(len(parts)):
        if found := find_inside(label, folder, "/".join(parts[start:]), False, ()):
            return found
    raise DepthSetError(f"{label}: {key} {path} is not in {folder}; put it there or remove the entry")


def _four(label: str, numbers: Any) -> Intrinsics:
    if not isinstance(numbers, list) or len(numbers) != 4:
        raise DepthSetError(f"{label}: cam_in is {numbers!r}; write fx, fy, cx, cy")
    named = dict(zip(Intrinsics._fields, numbers, strict=True))
    return Intrinsics(*(finite(label, f"cam_in {key}", value) for key, value in named.items()))


def tum(folder: Path) -> DepthSet | None:
    """TUM RGB-D: rgb.txt and depth.txt list times and files; depth of 5000 counts a metre."""
    lists = [folder / "rgb.txt", folder / "depth.txt"]
    if not all(file.is_file() for file in lists):
        return None
    rgb, depth = (_timed(file) for file in lists)
    pairs = tuple(
        Pair(f"{time:.6f}", rgb[time], depth[near]) for time, near in associated(list(rgb), list(depth))
    )
    if not pairs:
        raise DepthSetError(f"{lists[0]}: no time in it is within {TUM_APART} s of one in depth.txt")
    return DepthSet(folder.resolve().name, "z_depth", pairs, 1 / 5000, protocol="tum")


def _timed(file: Path) -> dict[float, Path]:
    """Of lines "time file"; # begins a comment."""
    found = {}
    for number, line in enumerate(read_text(file).splitlines(), start=1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        label = f"{file}: line {number}"
        try:
            time, name = float(words[0]), words[1]
        except (ValueError, IndexError):
            raise DepthSetError(f"{label}: is no time and file: {line[:80]!r}; remove or mend it") from None
        picture = find_inside(label, file.parent, name, False, ())
        if picture is None or not math.isfinite(time):
            raise DepthSetError(f"{label}: {name} is not there; put it back or remove the line")
        found[time] = picture
    return found


def associated(
    first: list[float], second: list[float], apart: float = TUM_APART
) -> list[tuple[float, float]]:
    """Times of two lists that belong together: the closest first, each once, none further apart."""
    ordered = sorted(second)
    close = []
    for time in first:
        for near in ordered[bisect_left(ordered, time - apart) :]:
            if near - time >= apart:
                break
            close.append((abs(near - time), time, near))
    left, right, found = set(first), set(second), []
    for _, time, near in sorted(close):
        if time in left and near in right:
            left.remove(time)
            right.remove(near)
            found.append((time, near))
    return sorted(found)


def matrix_camera(file: Path) -> Intrinsics:
    """Of 3x3 or 4x4 numbers. Raises: DepthSetError if the file does not hold such a matrix."""
    try:
        numbers = [float(word) for word in read_text(file).split()]
    except ValueError as error:
        raise DepthSetError(f"{file}: holds more than numbers ({str(error)[:80]}); mend it") from error
    side = {9: 3, 16: 4}.get(len(numbers))
    if side is None or not all(map(math.isfinite, numbers)) or min(numbers[0], numbers[side + 1]) <= 0:
        raise DepthSetError(f"{file}: is no matrix of fx 0 cx, 0 fy cy, 0 0 1; write the intrinsics so")
    return Intrinsics(numbers[0], numbers[side + 1], numbers[2], numbers[side + 2])


def seven_scenes(folder: Path) -> DepthSet | None:
    """7-Scenes (Microsoft Research): millimetres of a Kinect, 65535 where it saw nothing."""
    told = folder / "camera-intrinsics.txt"

    def camera(key: str, rgb: Path) -> Intrinsics | None:
        return matrix_camera(told) if told.is_file() else KINECT

    colours, depths = Where(".", r"frame-(\d+)\.color"), Where(".", r"frame-(\d+)\.depth")
    return by_names(folder, colours, depths, kind="z_depth", unit=1e-3, unknown=(0, 65535), camera=camera)


def scannet(folder: Path) -> DepthSet | None:
    """ScanNet, as its own reader unpacks a scan: color/N, depth/N in millimetres."""
    told = folder / "intrinsic" / "intrinsic_color.txt"

    def camera(key: str, rgb: Path) -> Intrinsics | None:
        return matrix_camera(told) if told.is_file() else None

    return by_names(folder, Where("color"), Where("depth"), kind="z_depth", unit=1e-3, camera=camera)


def kitti(folder: Path) -> DepthSet | None:
    """KITTI depth prediction, its selected validation pictures: 256 counts a metre, of a LiDAR."""
    lenses: Mapping[str, Path] = keyed(folder, Where("intrinsics", r"(.+)_image_(\d+_image_\d+)"), (".txt",))

    def camera(key: str, rgb: Path) -> Intrinsics | None:
        return matrix_camera(lenses[key]) if key in lenses else None

    colours = Where("image", r"(.+)_image_(\d+_image_\d+)")
    depths = Where("groundtruth_depth", r"(.+)_groundtruth_depth_(\d+_image_\d+)")
    told = {"kind": "z_depth", "unit": 1 / 256, "protocol": "kitti", "camera": camera}
    return by_names(folder, colours, depths, **told)


def nyu(folder: Path) -> DepthSet | None:
    """NYUv2 as pictures side by side, rgb_N and sync_depth_N, millimetres."""
    colours, depths = Where(".", r"rgb_(\d+)"), Where(".", r"sync_depth_(\d+)")
    return by_names(folder, colours, depths, kind="z_depth", unit=1e-3, protocol="nyu")


def eth3d(folder: Path) -> DepthSet | None:
    """ETH3D, a scene of its cameras: metres, without header, infinite where unknown; pictures as taken."""
    colours = Where("images/dslr_images")
    depths = Where("ground_truth_depth/dslr_images")
    told = {"kind": "z_depth", "unit": 1.0, "protocol": "eth3d", "stored": "bare"}
    return by_names(folder, colours, depths, suffixes=(".jpg",), **told)


def sintel(folder: Path) -> DepthSet | None:
    """MPI Sintel, its training folder: final/SCENE/frame_N.png, depth/SCENE/frame_N.dpt, metres."""

    def camera(key: str, rgb: Path) -> Intrinsics | None:
        file = folder / "camdata_left" / f"{key}.cam"
        return Intrinsics(*read_cam(file)) if file.is_file() else None

    told = {"kind": "z_depth", "unit": 1.0, "protocol": "sintel", "stored": "dpt", "camera": camera}
    return by_names(folder, Where("final"), Where("depth"), deep=True, suffixes=(".dpt",), **told)


def scenenet(folder: Path) -> DepthSet | None:
    """SceneNet RGB-D, one trajectory: photo/N, depth/N, which are distances along rays in millimetres."""

    def camera(key: str, rgb: Path) -> Intrinsics:
        header = read_header(rgb)
        half = [math.tan(math.radians(angle) / 2) for angle in SCENENET_FOV]
        cx, cy = header.width / 2, header.height / 2
        return Intrinsics(cx / half[0], cy / half[1], cx, cy)

    told = {"kind": "z_depth", "unit": 1e-3, "camera": camera, "along_rays": True}
    return by_names(folder, Where("photo", r"(\d+)"), Where("depth", r"(\d+)"), **told)


def cityscapes(folder: Path) -> DepthSet | None:
    """Cityscapes: leftImg8bit/ and disparity/; a disparity of d pixels is 256 d + 1, and 0 is unknown."""
    colours = Where("leftImg8bit", "(.+)_leftImg8bit")
    depths = Where("disparity", "(.+)_disparity")
    return by_names(folder, colours, depths, deep=True, kind="inverse_depth", unit=1 / 256, offset=1)


def middlebury(folder: Path) -> DepthSet | None:
    """Middlebury 2003, quarter size: im2, im6 and disp2, disp6, four counts a pixel of disparity, 8 bits."""
    pairs = []
    for number in (2, 6):
        rgb = _first(folder, f"im{number}.png", f"im{number}.ppm")
        depth = _first(folder, f"disp{number}.png", f"disp{number}.pgm")
        if rgb is not None and depth is not None:
            pairs.append(Pair(f"im{number}", rgb, depth))
    return DepthSet(folder.resolve().name, "inverse_depth", tuple(pairs), 0.25) if pairs else None


def _first(folder: Path, *names: str) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)


def dpt(folder: Path) -> DepthSet | None:
    """Pictures, and in dpt_depth/ what DPT made of them: inverse depth up to scale and shift, 16 bits."""
    return by_names(folder, Where("."), Where("dpt_depth"), kind="relative_inverse", unknown=())
