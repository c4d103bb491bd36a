"""Run folders of trainings of networks: those of scenes (render/run.py), but for what config.json says.

RUN/config.json         what was asked for: plain data, versioned, enough to go on
RUN/provenance.json     on what it ran; one entry a start
RUN/metrics.jsonl       one line about every second of training
RUN/checkpoints/        see render/checkpoint.py; each model.safetensors is the network as it is kept
RUN/NAME.safetensors    the network, when the training is through

What is trained, and from what, is a `Kind`; nothing else here knows.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from render.run import RunError, RunFolder, clear, is_run, write_json
from render.settings import typed_settings

VERSION = 1
OWNED = ("config.json", "provenance.json", "metrics.jsonl", "checkpoints")


@runtime_checkable
class Pictures(Protocol):
    """A data set, as far as a run remembers it."""

    name: str
    kind: str

    def __len__(self) -> int: ...


@dataclass(frozen=True)
class DataSet:
    """What a run remembers of a data set: where it lies, and what a resume must find there."""

    path: str
    name: str
    kind: str
    pictures: int

    @classmethod
    def of(cls, path: Path, found: Pictures) -> "DataSet":
        return cls(str(path.absolute()), found.name, found.kind, len(found))


@dataclass(frozen=True)
class Kind:
    """What a command trains, in so far as it differs from what others train.

    verb, operand  of its command line: render VERB OPERAND...
    format         what its config.json calls itself
    recipe         a frozen dataclass of hyper-parameters, with check(sets), build(seed, device) and file, the
                   name of what it writes in the end
    files, usable  all such names, and the one that other commands read
    read_set       what a folder holds; raises errors that name it
    remembered     what a run notes of that
    samples        what its steps count as samples
    used_by        the command line that a file of its weights completes
    reason         why it runs on torch alone, for the record
    """

    verb: str
    operand: str
    format: str
    recipe: type
    files: tuple[str, ...]
    usable: str
    read_set: Callable[[Path], Any]
    samples: str
    used_by: str
    reason: str
    remembered: Callable[[Path, Any], DataSet] = DataSet.of


@dataclass(frozen=True)
class NetworkConfig:
    """What a training was asked to do. Its length is in steps or, with a budget, in seconds."""

    recipe: Any  # every hyper-parameter, also those left at their defaults
    datasets: tuple[DataSet, ...]
    start_from: str | None = None  # a file of weights; None: drawn by chance
    steps: int | None = None
    budget: float | int | None = None
    seed: int = 0
    device: str = "cpu"
    checkpoint_every: int | None = None  # steps; None: every 60 s

    def plain(self) -> dict[str, Any]:
        """As config.json has it."""
        content = asdict(self)
        return {"settings": content.pop("recipe"), **content}


@dataclass(frozen=True)
class NetworkRun(RunFolder):
    """A folder that holds a training of a network."""

    kind: Kind
    config: NetworkConfig

    @property
    def weights(self) -> Path:
        """Where the network goes in the end."""
        return self.path / self.config.recipe.file


def create(kind: Kind, path: Path, config: NetworkConfig, *, overwrite: bool = False) -> NetworkRun:
    """Make the folder of a new run. Raises: RunError as `check_free`."""
    check_free(kind, path, overwrite=overwrite)
    clear(path, (*OWNED, *kind.files), overwrite=overwrite)
    run = NetworkRun(path, kind, config)
    save_config(run)
    return run


def check_free(kind: Kind, path: Path, *, overwrite: bool = False) -> None:
    """Raises RunError if something is at `path`, unless it is a run of this kind and `overwrite`."""
    from render.run import check_free

    check_free(path, overwrite=overwrite)
    if is_run(path):
        find(kind, path)


def save_config(run: NetworkRun) -> None:
    stated = {"format": run.kind.format, "version": VERSION}
    write_json(run.path / "config.json", {**stated, **run.config.plain()})


def find(kind: Kind, path: Path) -> NetworkRun:
    """The run in a folder. Raises: RunError if there is none, or it is of something else."""
    file = path / "config.json"
    if not file.is_file():
        raise RunError(f"{path}: no such run; begin one: render {kind.verb} {kind.operand}... --out {path}")
    try:
        content = json.loads(file.read_text())
        stated = (content.pop("format"), content.pop("version"))
    except (ValueError, KeyError, AttributeError, TypeError):
        raise RunError(f"{file}: not a run's configuration; restore it from a copy or train again") from None
    if stated != (kind.format, VERSION):
        raise RunError(
            f"{file}: {stated[0]} version {stated[1]}, this command knows {kind.format} version {VERSION}; "
            "choose another folder with --out"
        )
    try:
        datasets = tuple(DataSet(**each) for each in content.pop("datasets"))
        recipe = kind.recipe(**typed_settings(kind.recipe, content.pop("settings")))
        return NetworkRun(path, kind, NetworkConfig(recipe, datasets, **content))
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise RunError(f"{file}: {error}; restore it from a copy or train again") from None


def check_same(run: NetworkRun, datasets: Sequence[DataSet]) -> None:
    """Raises RunError if these are not the data sets that a run has learnt from so far."""
    began = run.config.datasets
    if len(datasets) != len(began):
        raise RunError(f"{run.path}: began with {len(began)} data sets, not {len(datasets)}")
    for before, now in zip(began, datasets, strict=True):
        told = [(each.name, each.kind, each.pictures) for each in (before, now)]
        if told[0] != told[1]:
            raise RunError(
                f"{now.path}: holds {told[1][2]} pictures of {told[1][0]} ({told[1][1]}), the run "
                f"{run.path} began with {told[0][2]} of {told[0][0]} ({told[0][1]}); give it those, or "
                "train elsewhere with --out"
            )
