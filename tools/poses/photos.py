"""Photographs to find poses of: which files of a folder are pictures, and what their EXIF says."""

import math
import os
import shutil
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from scenes.photographs import PICTURES

if TYPE_CHECKING:
    from PIL.Image import Exif

# Photographs that the libraries in use do not read: named, so that nobody wonders where they went.
FOREIGN = (".avif", ".jxl", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2")
# What pycolmap does not read becomes another kind in the scene.
COPIED_AS = {".webp": ".png", ".heic": ".jpg", ".heif": ".jpg", ".hif": ".jpg"}
# EXIF tags
ORIENTATION = 0x0112
MAKE, MODEL, EXIF_PART, GPS_PART = 0x010F, 0x0110, 0x8769, 0x8825
FOCAL_LENGTH, FOCAL_LENGTH_35MM = 0x920A, 0xA405
LATITUDE_HALF, LATITUDE, LONGITUDE_HALF, LONGITUDE, BELOW_SEA, ALTITUDE = 1, 2, 3, 4, 5, 6
SHARING = ("auto", "shared", "per-image")
UPRIGHT_QUALITY = 95  # of a JPEG that is turned

Progress = Callable[[int, int], None]  # called with (done, total)


class PosesError(ValueError):
    """Poses cannot be found; the message names the cause and the remedy."""


@dataclass(frozen=True)
class Position:
    """What a GPS receiver said: degrees north and east, metres above the sea (None: not told)."""

    latitude: float
    longitude: float
    altitude: float | None = None


@dataclass(frozen=True)
class Photo:
    """A readable photograph.

    path           the file
    width, height  once it stands upright
    turned         whether it does not lie upright in the file, as its EXIF orientation says, or is HEIF
    camera         make, model and focal length as its EXIF says; empty: nothing
    position       where its GPS says it was taken
    """

    path: Path
    width: int
    height: int
    turned: bool = False
    camera: str = ""
    position: Position | None = None

    @property
    def name(self) -> str:
        """In the scene."""
        return self.path.name + COPIED_AS.get(self.path.suffix.lower(), "")


class Listing(NamedTuple):
    """Where the pictures are, their files sorted by name, and the number of other files."""

    folder: Path
    files: list[Path]
    ignored: int


@dataclass(frozen=True)
class Photos:
    """The photographs of a folder, by name.

    refused  name and cause of the pictures that cannot be read
    ignored  how many other files there are
    """

    folder: Path
    photos: tuple[Photo, ...]
    refused: dict[str, str]
    ignored: int


def collect(folder: Path, progress: Progress | None = None) -> Photos:
    """Look through a folder, or its folder `images` if it has no pictures itself.

    Every picture is decoded once: what is cut short is found now and not after an hour.
    Raises: PosesError if there is no picture, or fewer than two that can be read.
    """
    folder, files, ignored = listing(folder)
    refused = {file.name: "this kind is not read; convert it to JPEG" for file in files if _is_foreign(file)}
    files = [file for file in files if not _is_foreign(file)]
    examined = _examine_all(files, progress)
    photos = [result for result in examined if isinstance(result, Photo)]
    refused |= {
        file.name: cause for file, cause in zip(files, examined, strict=True) if isinstance(cause, str)
    }
    if len(photos) < 2:
        count = "no picture" if not photos else "only one picture"
        first = {cause: name for name, cause in reversed(refused.items())}  # of each cause
        because = "".join(f"; {name}: {cause}" for cause, name in list(first.items())[:3])
        raise PosesError(f"{folder}: holds {count} that can be read, and poses need at least two{because}")
    return Photos(folder, tuple(photos), refused, ignored)


def _examine_all(files: list[Path], progress: Progress | None) -> list[Photo | str]:
    """In parallel. A damaged EXIF block is worth no warning: what is lost is a first guess of the lens."""
    results = []
    with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        warnings.simplefilter("ignore")
        try:
            for done, result in enumerate(pool.map(_examined, files), start=1):
                results.append(result)
                if progress is not None:
                    progress(done, len(files))
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return results


def _is_foreign(file: Path) -> bool:
    return file.suffix.lower() in FOREIGN


def listing(folder: Path) -> Listing:
    """The pictures of a folder, or of its folder `images` if it has none itself.

    Raises: PosesError if neither has.
    """
    for place in (folder, folder / "images"):
        entries = sorted(place.iterdir()) if place.is_dir() else []
        files = [entry for entry in entries if entry.is_file() and not entry.name.startswith(".")]
        pictures = [file for file in files if file.suffix.lower() in PICTURES + FOREIGN]
        if pictures:
            return Listing(place, pictures, len(files) - len(pictures))
    below = [entry.name for entry in sorted(folder.iterdir()) if entry.is_dir() and _holds_pictures(entry)]
    hint = f"; there are some in {', '.join(below[:4])}" if below else ""
    raise PosesError(f"{folder}: holds no picture ({', '.join(PICTURES)}); give the folder that does{hint}")


def _holds_pictures(folder: Path) -> bool:
    return any(entry.suffix.lower() in PICTURES for entry in folder.iterdir())


def _examined(file: Path) -> Photo | str:
    """A photograph, or why it cannot be used."""
    from PIL import Image

    from scenes.images import ImageError, read_header

    if not file.name.isprintable():
        return "its name cannot be printed; rename it"
    try:
        header = read_header(file)
        with Image.open(file) as image:
            exif = image.getexif()
            camera, position = _camera(exif), _position(exif)
            turned = exif.get(ORIENTATION, 1) in range(2, 9) or image.format == "HEIF"
            # A TIFF's size stands upright already; Pillow turns its pixels by itself, too.
            width, height = image.size if image.format == "TIFF" else (header.width, header.height)
            # A JPEG at an eighth of its size: the whole file is read all the same.
            image.draft("RGB", (1, 1))
            image.load()
    except ImageError as error:
        return str(error).removeprefix(f"{file}: ")
    except (OSError, SyntaxError, ValueError, TypeError, ArithmeticError) as error:
        return f"cannot be decoded ({error}); replace it"
    return Photo(file, width, height, turned, camera, position)


def _camera(exif: "Exif") -> str:
    """Make, model and focal length: photographs that have them in common share a lens."""
    details = exif.get_ifd(EXIF_PART)
    found = [exif.get(MAKE), exif.get(MODEL), details.get(FOCAL_LENGTH), details.get(FOCAL_LENGTH_35MM)]
    return " ".join(str(value).strip("\0 ") for value in found if value)


def _position(exif: "Exif") -> Position | None:
    tags = exif.get_ifd(GPS_PART)
    latitude = _degrees(tags.get(LATITUDE), tags.get(LATITUDE_HALF), "S")
    longitude = _degrees(tags.get(LONGITUDE), tags.get(LONGITUDE_HALF), "W")
    if latitude is None or longitude is None or abs(latitude) > 90 or abs(longitude) > 180:
        return None
    if latitude == longitude == 0:  # what a camera writes that does not know
        return None
    altitude = _number(tags.get(ALTITUDE))
    if altitude is not None and tags.get(BELOW_SEA) in (1, b"\1"):
        altitude = -altitude
    return Position(latitude, longitude, altitude)


def _degrees(parts: Any, half: Any, negative: str) -> float | None:
    """Degrees, minutes and seconds as degrees."""
    if not isinstance(parts, tuple) or len(parts) != 3:
        return None
    numbers = [_number(part) for part in parts]
    if None in numbers:
        return None
    value = sum(number / size for number, size in zip(numbers, (1, 60, 3600), strict=True))
    return -value if str(half).strip("\0 ").upper() == negative else value


def _number(value: Any) -> float | None:
    """A rational of EXIF, whose denominator can be 0."""
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return number if math.isfinite(number) else None


def lenses(photos: Sequence[Photo], sharing: str = "auto") -> list[list[str]]:
    """Names of the photographs that share one camera.

    auto: those of one size, make, model and focal length do.
    Raises: PosesError if all are to share one, and are not of one size.
    """
    if sharing == "per-image":
        return [[photo.name] for photo in photos]
    groups: dict[tuple, list[str]] = {}
    for photo in photos:
        camera = photo.camera if sharing == "auto" else ""
        groups.setdefault((photo.width, photo.height, camera), []).append(photo.name)
    if sharing == "shared" and len(groups) > 1:
        sizes = ", ".join(f"{names[0]} {width} x {height}" for (width, height, _), names in groups.items())
        raise PosesError(f"photographs of different sizes cannot share a camera ({sizes}); use --camera auto")
    return list(groups.values())


def place(photos: Sequence[Photo], folder: Path, progress: Progress | None = None) -> None:
    """Put photographs into a new folder, upright: as links to the originals where that is possible.

    A link costs no space; a turned picture is written anew, with its EXIF but for the orientation, and so is
    one that pycolmap does not read.
    """
    folder.mkdir(parents=True)
    for done, photo in enumerate(photos, start=1):
        target = folder / photo.name
        if photo.turned or photo.name != photo.path.name:
            write_upright(photo.path, target)
        else:
            try:
                os.link(photo.path.resolve(), target)
            except OSError:  # another disk, or a file of somebody else's
                shutil.copyfile(photo.path, target)
        if progress is not None:
            progress(done, len(photos))


def write_upright(source: Path, target: Path) -> None:
    """A copy of a picture, turned as its EXIF says, in the format of its name."""
    from PIL import Image, ImageOps

    with Image.open(source) as image:
        upright = ImageOps.exif_transpose(image)
        options: dict[str, Any] = {"exif": upright.getexif()}
        if target.suffix.lower() in (".jpg", ".jpeg"):
            upright = upright.convert("RGB") if upright.mode == "RGBA" else upright
            options |= {"quality": UPRIGHT_QUALITY, "subsampling": 0}
        if profile := image.info.get("icc_profile"):
            options |= {"icc_profile": profile}
        upright.save(target, **options)
