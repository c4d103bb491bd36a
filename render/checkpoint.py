"""Checkpoints: everything a training is, written so that no accident leaves half of one.

    checkpoints/step-N/model.safetensors      what rendering needs
    checkpoints/step-N/trainer.safetensors    what only training needs: names that begin with "optimizer."
    checkpoints/step-N/state.json             step, elapsed seconds, random state, SHA-256 of all three

A checkpoint is written under a temporary name, every file synced, then renamed: it is there whole or not at
all.
"""

import base64
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save_file
from torch import Tensor

FORMAT, VERSION = "render-checkpoint", 1
MODEL, TRAINER, STATE = "model.safetensors", "trainer.safetensors", "state.json"
KEPT = 2


class CheckpointError(ValueError):
    """A checkpoint cannot be written, found or trusted; the message names file and remedy."""


@dataclass(frozen=True)
class Checkpoint:
    """One moment of a training. `tensors` is what `Model.state()` gave; `elapsed` is seconds of training."""

    step: int
    elapsed: float
    tensors: dict[str, Tensor]
    generator: Tensor  # state of the random generator (`torch.Generator.get_state`), its seed included
    rollbacks: int = 0  # how often a loss that was not finite took the training back


def save(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write `folder/step-N` whole or not at all, then remove all but the last two.

    Raises: CheckpointError if a value is not finite or the disk is full; older checkpoints stay as they were.
    """
    _check_finite(checkpoint.tensors)
    target = folder / f"step-{checkpoint.step}"
    temporary = folder / f".step-{checkpoint.step}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for remains in folder.glob(".step-*.tmp"):  # of a process that was killed while it saved
            shutil.rmtree(remains)
        temporary.mkdir()
        _write_files(temporary, checkpoint)
        _sync_folder(temporary)
        if target.exists():  # the same step once more, after a resume from an older one
            shutil.rmtree(target)
        temporary.rename(target)
        _sync_folder(folder)
    except (OSError, SafetensorError) as error:  # safetensors tells the system's reason in words only
        shutil.rmtree(temporary, ignore_errors=True)
        raise CheckpointError(
            f"{target}: not written: {error}; {_what_is_left(folder)}; "
            "make room on the disk or mend the folder, then go on with --resume"
        ) from error
    for old in stored(folder)[KEPT:]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def stored(folder: Path) -> list[Path]:
    """The checkpoints in a folder, newest first."""
    found = [path for path in folder.glob("step-*") if re.fullmatch(r"step-\d+", path.name)]
    return sorted(found, key=step_of, reverse=True)


def load(path: Path) -> Checkpoint:
    """Read and verify the checkpoint `path` (a `step-N` folder).

    Raises: CheckpointError naming the file that is missing, cut, altered or of another version.
    """
    state = _read_state(path / STATE)
    tensors = {}
    for name, claimed in state["files"].items():
        tensors |= _read_tensors(path / name, claimed)
    generator = torch.frombuffer(bytearray(base64.b64decode(state["generator"])), dtype=torch.uint8)
    return Checkpoint(state["step"], state["elapsed"], tensors, generator, state["rollbacks"])


def load_latest(folder: Path, warn: Callable[[str], None]) -> Checkpoint:
    """The newest checkpoint that can be trusted; `warn` hears of each one that cannot.

    Raises: CheckpointError if there is none.
    """
    damages = []
    for path in stored(folder):
        try:
            checkpoint = load(path)
        except CheckpointError as error:
            damages.append(error)
            continue
        for damage in damages:
            warn(f"{damage}; going on from step {checkpoint.step}")
        return checkpoint
    if damages:
        raise CheckpointError(
            "; ".join(map(str, damages)) + "; no checkpoint is left: train again with --overwrite"
        )
    raise CheckpointError(f"{folder}: no checkpoint yet; train again with --overwrite")


def _write_files(folder: Path, checkpoint: Checkpoint) -> None:
    """The three files, synced; state.json last, with the hashes of the others."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in checkpoint.tensors.items()}
    trainer = {name: value for name, value in tensors.items() if name.startswith("optimizer.")}
    model = {name: value for name, value in tensors.items() if name not in trainer}
    hashes = {}
    for name, part in ((MODEL, model), (TRAINER, trainer)):
        save_file(part, folder / name)  # straight from the tensors' memory
        with (folder / name).open("r+b") as file:
            os.fsync(file.fileno())
            hashes[name] = hashlib.file_digest(file, "sha256").hexdigest()
    state = {
        "format": FORMAT,
        "version": VERSION,
        "step": checkpoint.step,
        "elapsed": checkpoint.elapsed,
        "rollbacks": checkpoint.rollbacks,
        "generator": base64.b64encode(checkpoint.generator.numpy().tobytes()).decode(),
        "files": hashes,
    }
    state["sha256"] = hashlib.sha256(_canonical(state)).hexdigest()
    _write_synced(folder / STATE, _canonical(state))


def _canonical(state: dict[str, Any]) -> bytes:
    """The one spelling of a state, so that its own hash covers every byte."""
    return json.dumps(state, indent=1, sort_keys=True).encode() + b"\n"


def _read_state(path: Path) -> dict[str, Any]:
    content = _read(path)
    try:
        state = json.loads(content)
    except ValueError:
        state = None
    if not isinstance(state, dict):
        raise CheckpointError(f"{path}: cut or altered (no valid JSON); {_REMEDY}")
    found = (state.get("format"), state.get("version"))
    if found != (FORMAT, VERSION):
        raise CheckpointError(
            f"{path}: {found[0]} version {found[1]}, but this program reads {FORMAT} version {VERSION}: "
            "use the release that wrote it"
        )
    claimed = state.pop("sha256", None)
    right = hashlib.sha256(_canonical(state)).hexdigest()
    if claimed != right or content != _canonical({**state, "sha256": right}):
        raise CheckpointError(f"{path}: altered (its SHA-256 does not match); {_REMEDY}")
    return state


def _read_tensors(path: Path, claimed: str) -> dict[str, Tensor]:
    content = _read(path)
    if hashlib.sha256(content).hexdigest() != claimed:
        raise CheckpointError(
            f"{path}: cut or altered ({len(content)} bytes, SHA-256 does not match); {_REMEDY}"
        )
    try:
        return tensors_from_bytes(content)
    except SafetensorError as error:
        raise CheckpointError(f"{path}: not a safetensors file ({error}); {_REMEDY}") from error


_REMEDY = "restore it from a copy or delete the folder it is in"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}; {_REMEDY}") from error


def _check_finite(tensors: dict[str, Tensor]) -> None:
    for name, value in tensors.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise NotFiniteError(f"{name} holds values that are not finite; nothing was saved")


class NotFiniteError(CheckpointError):
    """A parameter is NaN or infinite: saving it would poison every later rollback."""


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":
        return  # Windows has no such thing
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def step_of(path: Path) -> int:
    """The step that a checkpoint folder is from."""
    return int(path.name.removeprefix("step-"))


def _what_is_left(folder: Path) -> str:
    left = stored(folder) if folder.is_dir() else []
    return (
        f"the checkpoint of step {step_of(left[0])} is untouched" if left else "no earlier checkpoint exists"
    )
