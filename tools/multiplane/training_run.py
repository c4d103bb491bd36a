"""Trainings of AdaMPI, for what all trainings of networks share (tools/network_runs.py)."""

from pathlib import Path

from tools import network_runs
from tools.depth.datasets import read_set
from tools.multiplane.adampi import CONFIGS
from tools.multiplane.picture_sets import PictureSet
from tools.multiplane.training import Recipe
from tools.multiplane.view_sets import SUBJECT, ViewSet, told_subject
from tools.network_runs import DataSet, Kind, NetworkRun


def read_pairs(path: Path) -> ViewSet | PictureSet:
    """Views that are a little apart, or a data set of single pictures with depth.

    Raises: as `ViewSet` and `tools.depth.datasets.read_set`.
    """
    found = read_set(path)
    return ViewSet(path) if told_subject(path) == SUBJECT else PictureSet(path, found)


def remembered(path: Path, found: ViewSet | PictureSet) -> DataSet:
    """Its pictures, of which pairs are made."""
    return DataSet.of(path, found.views)


KIND = Kind(
    verb="photo-train",
    operand="DATASET",
    format="render-photo-run",
    recipe=Recipe,
    files=tuple(f"{network}.safetensors" for network in CONFIGS),
    usable="small.safetensors",
    read_set=read_pairs,
    samples="plane pixels",
    used_by="render photo PICTURE --adampi-weights",
    reason="AdaMPI's networks learn on torch alone",
    remembered=remembered,
)


def find(path: Path) -> NetworkRun:
    """The run in a folder. Raises: RunError if there is none, or it is of something else."""
    return network_runs.find(KIND, path)
