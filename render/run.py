"""Run folders: what a training leaves behind, and how to read it back.

runs/SCENE/config.json       what was asked for: plain data, versioned, enough to build the model again
runs/SCENE/provenance.json   on what it ran: versions, arguments, machine, kernels; one entry a start
runs/SCENE/metrics.jsonl     one line about every second of training
runs/SCENE/checkpoints/      see render/checkpoint.py
runs/SCENE/eval/             pictures and numbers
runs/SCENE/export/           what `render export` wrote
"""

import json
import math
import os
import shutil
import threading
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from render import checkpoint
from render.methods import method
from render.settings import typed_settings
from scenes.scene import Scene

FORMAT, VERSION = "render-run", 1
OWNED = (
    *("config.json", "provenance.json", "metrics.jsonl", "cameras.json", "checkpoints", "eval", "export"),
    *("orbit.mp4", "spiral.mp4", "interpolate.mp4", "dataset.mp4"),
)
# Parameters are drawn from torch's global generator, which is lent for that and given back as it was: of two
# threads, one must not take what the other has seeded for the user's.
GENERATOR_LENT = threading.Lock()


class RunError(ValueError):
    """A run folder is missing, taken or unreadable; the message says what to do."""


@dataclass(frozen=True)
class RunConfig:
    """What a training was asked to do. `length` is in steps or, with a budget, in seconds."""

    method: str
    settings: dict[str, Any]  # every hyper-parameter, also those left at their defaults
    scene: dict[str, Any]  # `Scene.header()`: what rendering needs to know of the scene
    source: str | None  # the scene's path, None for a scene that was made in memory
    downscale: float | int = 1
    bounds: str = "auto"  # of the scene, as it was asked for
    hold_out: tuple[str, ...] = ()  # the pictures to test on, as they were asked for; empty: the capture's
    preset: str | None = None
    steps: int | None = None
    budget: float | int | None = None
    seed: int = 0
    device: str = "cpu"
    backend: str = "auto"
    checkpoint_every: int | None = None  # steps; None: every 60 s

    def build(self, scene: Scene | None = None) -> Any:
        """The model, as it stands before its first step. `scene` defaults to the stored header.

        Raises: ValueError for a device that is not there, KernelsUnavailable if the kernels are asked for
        by name and cannot run here.
        """
        device = usable_device(self.device)
        kind = method(self.method)
        config = kind(**typed_settings(kind, self.settings))
        scene = Scene.from_header(self.scene) if scene is None else scene
        with GENERATOR_LENT, torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return config.build(scene, device=device, backend=self.backend)


@dataclass(frozen=True)
class RunFolder:
    """A folder that holds a training, of whatever it is."""

    path: Path

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def log(self, line: dict[str, Any]) -> None:
        """Append one line to metrics.jsonl."""
        with (self.path / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(plain(line)) + "\n")

    def cut_log(self, step: int) -> None:
        """Drop what was logged after `step`: a resume trains those steps again."""
        path = self.path / "metrics.jsonl"
        if path.exists():
            lines = [line for line in path.read_text().splitlines() if _step_of(line) <= step]
            replace_text(path, "".join(f"{line}\n" for line in lines))

    def starts(self) -> list[dict[str, Any]]:
        """Every start of this training, the first one first."""
        path = self.path / "provenance.json"
        try:
            return json.loads(path.read_text())["starts"] if path.exists() else []
        except (ValueError, KeyError, TypeError):
            raise RunError(f"{path}: cut or altered; delete it, nothing else needs it") from None

    def add_start(self, start: dict[str, Any]) -> None:
        write_json(self.path / "provenance.json", {"starts": [*self.starts(), start]})


@dataclass(frozen=True)
class Run(RunFolder):
    """A folder that holds the training of a scene."""

    config: RunConfig

    @property
    def evaluation(self) -> Path:
        return self.path / "eval"


def usable_device(name: str) -> torch.device:
    """The device called `name`. Raises ValueError if there is no such thing here."""
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"device {name!r} is unknown; use cpu or cuda") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {name}: torch finds no GPU here (render doctor says more); use cpu")
    return device


def create(path: Path, config: RunConfig, *, overwrite: bool = False) -> Run:
    """Make the folder of a new run.

    Raises: RunError if something is there already, unless `overwrite`, which removes a run (and only a run).
    """
    clear(path, overwrite=overwrite)
    run = Run(path, config)
    save_config(run)
    return run


def clear(path: Path, owned: Sequence[str] = OWNED, *, overwrite: bool = False) -> None:
    """Make an empty folder at `path`; of a run that is there, what it owns goes, if `overwrite`.

    Raises: RunError as `create`.
    """
    check_free(path, overwrite=overwrite)
    path.mkdir(parents=True, exist_ok=True)
    for name in owned:
        if (path / name).exists():
            _remove(path / name)


def check_free(path: Path, *, overwrite: bool = False) -> None:
    """Raises RunError unless a run may be made at `path`."""
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    if not is_run(path):
        raise RunError(f"{path}: is there and holds no run; choose another folder with --out")
    if not overwrite:
        raise RunError(
            f"{path}: holds a run already; go on with it (--resume), train elsewhere (--out DIR) "
            "or replace it (--overwrite)"
        )


def save_config(run: Run) -> None:
    write_json(run.path / "config.json", {"format": FORMAT, "version": VERSION, **asdict(run.config)})


def is_run(path: Path) -> bool:
    return (path / "config.json").is_file()


def find(path: str | os.PathLike) -> tuple[Run, Path | None]:
    """The run that `path` is, or is in, and the checkpoint folder that it points into, if it does.

    Raises: RunError if there is no run here.
    """
    start = Path(path)
    if not start.exists():
        raise RunError(f"{start}: no such run{_nearby(start)}")
    start = start.absolute()
    chain = [start, *start.parents]
    for folder in chain:
        if is_run(folder):
            inside = [place for place in chain if place.parent == folder / "checkpoints" and place.is_dir()]
            return Run(folder, _read_config(folder / "config.json")), inside[0] if inside else None
    raise RunError(f"{path}: not a run: no config.json in it or above it{_nearby(Path(path))}")


def load(path: str | os.PathLike, *, device: str = "cpu", backend: str = "auto") -> Any:
    """The trained model of a run: `load("runs/lego").render(camera)`. Needs no dataset and prints nothing.

    Args:
        path: a run folder, one of its checkpoints, or any file in either.
        device, backend: where to render; any backend reads what another one trained.
    Raises: RunError, CheckpointError naming what is missing or damaged.
    Warns: if the newest checkpoint is damaged and the one before it is used.
    """
    run, chosen = find(path)
    return load_model(run, chosen, device=device, backend=backend, warn=warnings.warn)[0]


def load_model(
    run: Run, chosen: Path | None, *, device: str, backend: str, warn: Callable[[str], None]
) -> tuple[Any, int]:
    """The model of a run and the step it is from; `chosen` is a checkpoint folder, None takes the newest."""
    if chosen is None:
        found = checkpoint.load_latest(run.checkpoints, warn)
    else:
        found = checkpoint.load(chosen)
    model = replace(run.config, device=device, backend=backend).build()
    model.load_state(found.tensors)
    return model, found.step


def write_json(path: Path, content: dict[str, Any]) -> None:
    replace_text(path, json.dumps(plain(content), indent=2) + "\n")


def plain(value: Any) -> Any:
    """`value` as JSON can hold it: a number that is not finite becomes null."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def replace_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text)
    temporary.replace(path)


def _read_config(path: Path) -> RunConfig:
    try:
        content = json.loads(path.read_text())
        stated = (content.pop("format"), content.pop("version"))
    except (ValueError, KeyError, AttributeError, TypeError):
        raise RunError(f"{path}: not a run's configuration; restore it from a copy or train again") from None
    if stated != (FORMAT, VERSION):
        raise RunError(
            f"{path}: {stated[0]} version {stated[1]}, this program reads {FORMAT} version {VERSION}"
        )
    try:
        return RunConfig(**{**content, "hold_out": tuple(content.get("hold_out", ()))})
    except TypeError as error:
        raise RunError(f"{path}: {error}; restore it from a copy or train again") from None


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def _step_of(line: str) -> int | float:
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError):
        return float("inf")  # a line that was cut by a crash


def _nearby(path: Path) -> str:
    folders = [path.parent, Path("runs")]
    runs = {
        str(found) for folder in folders if folder.is_dir() for found in folder.iterdir() if is_run(found)
    }
    return f"; runs nearby: {', '.join(sorted(runs)[:8])}" if runs else "; train one: render train SCENE"
