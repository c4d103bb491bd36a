"""Photographs and videos of which nobody knows yet where they were taken. Imports nothing heavy."""

from pathlib import Path

# Suffixes, in small letters.
PICTURES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp", ".heic", ".heif", ".hif")
VIDEOS = (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".3gp", ".mts", ".m2ts")
POSED = ".scene"  # suffix of the scene folder that `render train` makes of photographs, beside the run


def pictures_of(folder: Path) -> list[Path]:
    """The pictures of a folder, or of its folder `images` if it has none itself, by name; hidden ones not."""
    for place in (folder, folder / "images"):
        entries = sorted(place.iterdir()) if place.is_dir() else []
        found = [entry for entry in entries if entry.suffix.lower() in PICTURES and entry.is_file()]
        if found := [entry for entry in found if not entry.name.startswith(".")]:
            return found
    return []


def kind_of(path: Path) -> str | None:
    """What is at `path`, if it could be given poses: "photographs" or "video"; else None.

    Whether it is a scene already is for `scenes.formats.detect` to say.
    """
    try:
        if path.is_file():
            return "video" if path.suffix.lower() in VIDEOS else None
        return "photographs" if pictures_of(path) else None
    except OSError:  # a folder that may not be looked into
        return None


def name_of(path: Path) -> str:
    """What to call a run of the scene, the photographs or the video at `path`."""
    path = path.resolve()
    if path.is_file():
        return path.stem if path.suffix.lower() in VIDEOS else path.parent.name
    return path.name.removesuffix(POSED)
