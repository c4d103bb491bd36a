"""Trainings of AdaMPI, for what all trainings of networks share (tools/network_runs.py)."""

from pathlib import Path

from tools import network_runs
from tools.multiplane.adampi import CONFIGS
from tools.multiplane.training import Recipe
from tools.multiplane.view_sets import ViewSet
from tools.network_runs import DataSet, Kind, NetworkRun


def remembered(path: Path, found: ViewSet) -> DataSet:
    """Its pictures, of which pairs are made."""
    return DataSet.of(path, found.views)


KIND = Kind(
    verb="photo-train",
    operand="DIR",
    format="render-photo-run",
    recipe=Recipe,
    files=tuple(f"{network}.safetensors" for network in CONFIGS),
    usable="small.safetensors",
    read_set=ViewSet,
    samples="plane pixels",
    used_by="render photo PICTURE --adampi-weights",
    reason="AdaMPI's networks learn on torch alone",
    remembered=remembered,
)


def find(path: Path) -> NetworkRun:
    """The run in a folder. Raises: RunError if there is none, or it is of something else."""
    return network_runs.find(KIND, path)
