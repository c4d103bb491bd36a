"""On what a training ran, and whether going on elsewhere can change its bits."""

import os
import platform
import sys
from datetime import UTC, datetime
from typing import Any

import numpy
import torch

from fields.kernels.library import isa, resolve_backend
from render import __version__
from render.run import RunConfig


def record(config: RunConfig, model: Any, arguments: list[str], step: int) -> dict[str, Any]:
    """One start of a scene's training as plain data."""
    description = model.description()
    return started(description, _backend(config, description["backend"]), arguments, step)


def started(
    description: dict[str, Any], backend: dict[str, Any], arguments: list[str], step: int
) -> dict[str, Any]:
    """One start of a training as plain data. description: of its model; backend: name, reason and
    instruction_set of what computes."""
    return {
        "step": step,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "arguments": arguments,
        "versions": {
            "render": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": numpy.__version__,
        },
        "machine": {
            "system": platform.platform(),
            "processor": processor(),
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "threads": torch.get_num_threads(),
        },
        "backend": backend,
        "model": description,
    }


def _backend(config: RunConfig, name: str) -> dict[str, Any]:
    """What computes, and why it and nothing else."""
    found = resolve_backend(config.backend, config.device)
    reason = found.reason if found.name == name else f"method {config.method} runs on torch alone"
    return {"name": name, "reason": reason, "instruction_set": isa() if name == "kernels" else None}


def processor() -> str:
    """The processor's own name for itself."""
    if sys.platform == "linux":
        with open("/proc/cpuinfo") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What changed between two starts that can change the bits of a training; empty: nothing can.

    The kernels give the same bits for any number of threads; torch, which the reference runs on, does not
    promise that. Other instruction sets and other versions of torch round differently.
    """
    watched = {
        "backend": ("backend", "name"),
        "instruction set": ("backend", "instruction_set"),
        "torch": ("versions", "torch"),
        "processor": ("machine", "processor"),
    }
    if now["backend"]["name"] == "reference":
        watched["threads"] = ("machine", "threads")
    else:
        del watched["processor"]  # the instruction set says it all
    pairs = {name: (before[a].get(b), now[a].get(b)) for name, (a, b) in watched.items()}
    return [f"{name} {old} -> {new}" for name, (old, new) in pairs.items() if old != new]
