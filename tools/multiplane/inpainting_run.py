"""Trainings of inpainters, for what all trainings of networks share (tools/network_runs.py)."""

from pathlib import Path

from tools import network_runs
from tools.depth.datasets import read_set
from tools.multiplane.inpainting import FILES
from tools.multiplane.inpainting_training import Recipe
from tools.network_runs import Kind, NetworkRun

KIND = Kind(
    verb="inpaint-train",
    operand="DATASET",
    format="render-inpaint-run",
    recipe=Recipe,
    files=tuple(FILES.values()),
    usable=FILES["small"],
    read_set=read_set,
    samples="pixels",
    used_by="render photo-train DATASET --inpainter",
    reason="inpainters learn on torch alone",
)


def find(path: Path) -> NetworkRun:
    """The run in a folder. Raises: RunError if there is none, or it is of something else."""
    return network_runs.find(KIND, path)
