"""Photographs or a video where `render train` expects a scene: their poses are found first, and once.

The scene that they become stands beside the run, RUN.scene. It is used again as long as the pictures are the
same; an interrupted search goes on from RUN.scene.partial.
"""

from pathlib import Path

from render.console import Console
from render.verbs import command
from scenes.formats.posed import held_out
from scenes.photographs import POSED, kind_of, pictures_of


def scene_beside(out: Path) -> Path:
    """Where the poses of the photographs go that the run folder `out` is trained on."""
    out = out if out.name not in ("", "..") else out.resolve()
    return out.with_name(out.name + POSED)


def is_begun(out: Path) -> bool:
    """Whether poses were found for the run folder `out`, or looked for."""
    place = scene_beside(out)
    return place.exists() or place.with_name(f"{place.name}.partial").exists()


def find_poses(
    source: Path,
    out: Path,
    *,
    again: str,
    hold_out: tuple[str, ...] = (),
    overwrite: bool = False,
    threads: int | None = None,
    quiet: bool = False,
) -> Path:
    """The scene that the photographs or the video at `source` become, for the run folder `out`.

    again: the command line that wants it. hold_out: names of photographs, checked before anything is done.
    overwrite: find the poses anew, if they are those of other pictures.
    Raises: ValueError with what `render poses` says.
    """
    if hold_out and kind_of(source) == "photographs":
        held_out(str(source), [file.name for file in pictures_of(source)], hold_out)
    place = scene_beside(out)
    if not place.exists():
        goes_on = "goes on finding these" if is_begun(out) else "finds these first"
        what = {"photographs": "photographs", "video": "a video"}[kind_of(source)]
        Console(quiet=quiet).say(f"{source}: {what} without poses; {goes_on} (render poses), into {place}")
    options = ["--overwrite"] * overwrite + ["--quiet"] * quiet
    options += [] if threads is None else ["--threads", str(threads)]
    command("poses")([str(source), "--out", str(place), "--reuse", *options], again)
    return place
