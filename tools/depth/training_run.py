"""Trainings of depth networks, for what all trainings of networks share (tools/network_runs.py)."""

from pathlib import Path

from tools import network_runs
from tools.depth.datasets import read_set
from tools.depth.small import SIZES
from tools.depth.training import Recipe
from tools.network_runs import Kind, NetworkRun

KIND = Kind(
    verb="depth-train",
    operand="DATASET",
    format="render-depth-run",
    recipe=Recipe,
    files=tuple(f"{model}.safetensors" for model in SIZES),
    usable="small.safetensors",
    read_set=read_set,
    samples="pictures",
    used_by="render depth PICTURE --weights",
    reason="depth networks run on torch alone",
)


def find(path: Path) -> NetworkRun:
    """The run in a folder. Raises: RunError if there is none, or it is of something else."""
    return network_runs.find(KIND, path)
