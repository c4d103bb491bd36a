"""Poses that were found before: scenes that say of which files they were made."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from render.console import Console
from tools.poses.job import REPORT, Job
from tools.poses.photos import PosesError

NAMED = 4  # names in a message

Files = dict[str, list[int]]  # size and time of change (ns) of each picture, or of the video, by name


def reuse(job: Job, overwrite: bool, console: Console) -> bool:
    """Whether OUT is a scene of the same files, or could be made of one beside it. Says so.

    Raises: PosesError if it is a scene of other files and may not be overwritten.
    """
    files = job.asked["files"]
    what = f"the poses of the same {'video' if job.is_video else f'{len(files)} pictures'}, found before"
    known = files_of(job.out)
    if known == files:
        console.say(f"{job.out}: has {what}")
        return True
    if known is not None and not overwrite:
        raise PosesError(
            f"{job.out}: has the poses of other pictures ({difference(known, files)}); find them anew "
            "(--overwrite), or elsewhere (--out DIR)"
        )
    other = None if job.out.exists() else beside(job.out, files)
    if other is None:
        return False
    copy(other, job.out)
    console.say(f"{job.out}: has {what} for {other}")
    return True


def files_of(scene: Path) -> Files | None:
    """The files that a scene was made of; None if `render poses` did not make it."""
    try:
        report: Any = json.loads((scene / REPORT).read_text(encoding="utf-8"))
        return report["asked"]["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def beside(out: Path, files: Files) -> Path | None:
    """A scene of these files in the folder that `out` is to be made in."""
    folder = out.absolute().parent
    entries = sorted(folder.glob("[!.]*")) if folder.is_dir() else []
    return next((out.parent / entry.name for entry in entries if files_of(entry) == files), None)


def difference(known: Files, files: Files) -> str:
    """What is other about two sets of files: "1 new: a.jpg; 2 gone: b.jpg, c.jpg"."""
    parts = {
        "new": sorted(files.keys() - known.keys()),
        "gone": sorted(known.keys() - files.keys()),
        "changed": sorted(name for name in files.keys() & known.keys() if files[name] != known[name]),
    }
    return "; ".join(
        f"{len(names)} {what}: {', '.join(names[:NAMED])}{', ...' * (len(names) > NAMED)}"
        for what, names in parts.items()
        if names
    )


def copy(scene: Path, out: Path) -> None:
    """All of a scene or nothing; its pictures as links where that is possible."""
    fresh = out.with_name(f".{out.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(scene, fresh, copy_function=_link)
    fresh.rename(out)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or a file of somebody else's
        shutil.copyfile(source, target)
