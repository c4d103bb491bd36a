"""One finding of poses: what is asked for, and the folders it works in.

Work goes on in OUT.partial, which an interruption leaves for the next start:
    job.json      what was asked for: the next start goes on only with the same
    frames.json   of a video: which frames were kept
    database.db   features and matches so far
    scene/        becomes OUT in the end: images/, sparse/0, ... and poses.json
"""

import json
import shutil
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scenes.photographs import PICTURES
from tools.poses.mapping import MOST_EXHAUSTIVE, Settings
from tools.poses.photos import PosesError, listing

REPORT = "poses.json"  # in a scene: how its poses were found
VERSION = 1


@dataclass(frozen=True)
class Job:
    """What is asked for. `asked`: as plain data, all that the features in a database depend on."""

    source: Path
    out: Path
    settings: Settings
    sharing: str
    frames: int | None
    asked: dict[str, Any]

    @property
    def is_video(self) -> bool:
        return self.source.is_file()

    @property
    def partial(self) -> Path:
        return self.out.with_name(f"{self.out.name}.partial")

    @property
    def scene(self) -> Path:
        return self.partial / "scene"

    @property
    def images(self) -> Path:
        return self.scene / "images"

    @property
    def database(self) -> Path:
        return self.partial / "database.db"

    @property
    def record(self) -> Path:
        return self.partial / "frames.json"


def settle(options: Namespace) -> Job:
    """What to do, before any work. Raises: PosesError."""
    source = options.source
    if not source.exists():
        raise PosesError(f"{source}: no such folder or video")
    if source.is_file() and source.suffix.lower() in PICTURES:
        raise PosesError(f"{source}: is one picture; give the folder that holds all of them")
    files = [source] if source.is_file() else listing(source).files
    in_order = source.is_file() or len(files) > MOST_EXHAUSTIVE
    settings = Settings(
        camera_model=options.camera_model,
        matching=options.matching or ("sequential" if in_order else "exhaustive"),
        overlap=options.overlap,
        seed=options.seed,
        threads=options.threads,
    )
    asked = {
        "version": VERSION,
        "files": {file.name: [file.stat().st_size, file.stat().st_mtime_ns] for file in files},
        "frames": options.frames,
        "camera": options.camera,
        "camera_model": settings.first_model,
        "seed": options.seed,
    }
    out = options.out or Path("scenes") / source.resolve().stem
    return Job(source, out, settings, options.camera, options.frames, asked)


def check_out(job: Job, overwrite: bool) -> None:
    """Raises: PosesError unless a scene may be made there."""
    out = job.out
    if out.name in ("", ".."):
        raise PosesError(f"--out {out}: give the folder to make a name")
    if job.source.resolve().is_relative_to(out.resolve()):
        raise PosesError(f"{out}: the pictures lie in it; choose another folder with --out")
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / REPORT).is_file():
        raise PosesError(f"{out}: is there and no scene of render poses; choose another folder with --out")
    if not overwrite:
        raise PosesError(f"{out}: is there already; replace it (--overwrite) or write elsewhere (--out DIR)")


def check_partial(job: Job, overwrite: bool) -> None:
    """Remove what is left of an earlier attempt that this one cannot go on with, if `overwrite`.

    Raises: PosesError if it may not.
    """
    if not job.partial.exists():
        return
    try:
        earlier = json.loads((job.partial / "job.json").read_text(encoding="utf-8"))
        changed = [name for name, value in job.asked.items() if earlier.get(name) != value]
    except (OSError, ValueError, AttributeError):
        raise PosesError(f"{job.partial}: is in the way and not from render poses; move it away") from None
    if changed and not overwrite:
        raise PosesError(
            f"{job.partial}: was begun with other {' and '.join(changed)}; go on as it was begun, or begin "
            "anew with --overwrite"
        )
    if changed:
        shutil.rmtree(job.partial)


def begin(job: Job) -> None:
    """Make OUT.partial."""
    job.partial.mkdir(parents=True, exist_ok=True)
    write_json(job.partial / "job.json", job.asked)


def write_json(file: Path, value: dict[str, Any]) -> None:
    """All of it or nothing."""
    fresh = file.with_name(f"{file.name}.new")
    fresh.write_text(json.dumps(value, indent=1, ensure_ascii=False), encoding="utf-8")
    fresh.replace(file)


def fresh_folder(job: Job) -> Path:
    """Where pictures go before all of them are there; not made yet."""
    fresh = job.partial / "images.new"
    shutil.rmtree(fresh, ignore_errors=True)
    job.scene.mkdir(exist_ok=True)
    return fresh


def save(job: Job, facts: dict[str, Any]) -> None:
    """Complete the scene, and put it where it belongs."""
    write_json(job.scene / REPORT, facts)
    if job.out.exists():
        job.out.rename(job.partial / "replaced")
    job.scene.rename(job.out)
    shutil.rmtree(job.partial)
