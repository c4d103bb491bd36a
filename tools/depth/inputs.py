"""What is given to look at: pictures, folders of them and videos, and what each is to be called."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from scenes.photographs import PICTURES, VIDEOS, pictures_of


class InputError(ValueError):
    """An input that cannot be used; the message names it and the remedy."""


@dataclass(frozen=True)
class Input:
    """path: a picture or a video; name: what its files begin with, its own."""

    path: Path
    name: str

    @property
    def is_video(self) -> bool:
        return is_video(self.path)


def is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEOS


def files_in(path: Path) -> list[Path]:
    """The file at `path`, or the pictures of the folder there, by name.

    Raises: InputError if there is neither.
    """
    if path.is_file():
        return [path]
    if not path.exists():
        raise InputError(f"{path}: no such picture, video or folder")
    if not path.is_dir():
        raise InputError(f"{path}: is no file; give a picture, a video or a folder of pictures")
    if found := pictures_of(path):
        return found
    videos = [entry.name for entry in sorted(path.iterdir()) if entry.is_file() and is_video(entry)]
    hint = f"; name its videos ({', '.join(videos[:4])})" if videos else ""
    raise InputError(f"{path}: holds no picture ({', '.join(PICTURES)}){hint}")


def named(paths: Sequence[Path], files_of: Callable[[Path, str], Sequence[str]]) -> list[Input]:
    """Each file once, with a name: its own without the suffix, and where that is taken NAME-2, NAME-3, ...

    files_of: what would be written for a file of that name. The name is taken where one of these is, be it in
    capitals.
    """
    found: dict[str, Input] = {}
    taken: set[str] = set()
    for path in paths:
        place = os.path.abspath(path)
        if place in found:
            continue
        name, count = path.stem, 1
        while taken & {file.casefold() for file in files_of(path, name)}:
            count += 1
            name = f"{path.stem}-{count}"
        taken |= {file.casefold() for file in files_of(path, name)}
        found[place] = Input(path, name)
    return [*found.values()]
