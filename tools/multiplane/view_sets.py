"""Pairs of views to learn from: out of folders of made-up places that are seen from a little aside.

`render scenes generate neighbours DIR` makes such a folder (scenes/generate/collection.py): NAME is
PLACE-VIEW, and the views of a place see one world.
"""

from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch

from scenes.cameras import Cameras
from scenes.formats.capture import read_json
from scenes.random import bits
from scenes.scene import SceneError
from tools.depth.datasets import DepthSetError, read_set
from tools.multiplane.view_pairs import NothingNearError, PairBatch, ViewPair, together, view_pair
from tools.reading_ahead import ReadAhead

MIRROR = torch.diag(torch.tensor([-1.0, 1.0, 1.0, 1.0]))
PAIR, MIRRORED = 0, 1  # streams of scenes.random
TRIES = 16  # pairs that are drawn for one that can be used
SUBJECT = "neighbours"
MAKE = "make such a folder with render scenes generate neighbours DIR"


class ViewSet:
    """The ordered pairs of views that a folder holds, those of one place after those of another.

    Every view's camera is read, no picture but the first one's beginning.
    Raises: DepthSetError if it holds no place with two views, views from everywhere, or of several sizes;
    SceneError for cameras that cannot be read.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder, self.views = Path(folder), read_set(folder)
        self.name = self.views.name
        places = defaultdict(list)
        for index, pair in enumerate(self.views.pairs):
            place, _, view = pair.name.rpartition("-")
            if place and view.isdigit():
                places[place].append(index)
        self.pairs = [pair for views in places.values() for pair in permutations(views, 2)]
        if not self.pairs or self.views.kind != "inverse_depth" or self.views.layout != "render":
            raise DepthSetError(f"{folder}: has no two views of one place; {MAKE}")
        if told_subject(self.folder) != SUBJECT:
            raise DepthSetError(
                f"{folder}: its views are not from a little aside, but of a whole place; {MAKE}"
            )
        self.cameras = [camera_of(self.folder, pair.name) for pair in self.views.pairs]
        self.size = self.cameras[0].width, self.cameras[0].height
        for pair, camera in zip(self.views.pairs, self.cameras, strict=True):
            if (camera.width, camera.height) != self.size:
                raise DepthSetError(
                    f"{pair.rgb}: {camera.width} x {camera.height} pixels, {self.views.pairs[0].rgb.name} "
                    f"has {self.size[0]} x {self.size[1]}; all pictures must be of one size"
                )

    def __len__(self) -> int:
        return len(self.pairs)

    def read(self, index: int, size: tuple[int, int] | None = None) -> ViewPair:
        """size: what all sets of a training have; it is this one's.

        Raises: NothingNearError if the source sees nothing at a finite depth; errors of damaged files.
        """
        seen = []
        for view in self.pairs[index]:
            labelled, camera = self.views.read(view), self.cameras[view]
            height, width, _ = labelled.rgb.shape
            if (width, height) != self.size:
                raise DepthSetError(
                    f"{self.views.pairs[view].rgb}: {width} x {height} pixels, its camera has "
                    f"{self.size[0]} x {self.size[1]}; make the folder again"
                )
            inverse = labelled.values
            seen += [labelled.rgb, torch.where(inverse > 0, 1 / inverse.clamp(min=1e-9), 0.0), camera]
        return view_pair(*seen)


def told_subject(folder: Path) -> str | None:
    """What a folder says it shows (scenes/generate/collection.py), if anything."""
    file = folder / "rooms.json"
    return read_json(file).get("subject") if file.is_file() else None


def camera_of(folder: Path, name: str) -> Cameras:
    """Raises: SceneError that names the file."""
    file = folder / "cameras" / f"{name}.json"
    told = read_json(file)
    try:
        intrinsics = [[told["fx"], 0, told["cx"]], [0, told["fy"], told["cy"]], [0, 0, 1]]
        pose, size = torch.tensor(told["camera_to_world"]), {name: told[name] for name in ("width", "height")}
        return Cameras.from_matrices(K=intrinsics, camera_to_world=pose, **size)
    except (KeyError, TypeError, ValueError) as error:
        raise SceneError(f"{file}: is no camera ({error!r:.100}); make the folder again") from None


def mirrored(pair: ViewPair) -> ViewPair:
    """As if the place were seen in a mirror: left is right."""

    def turned(camera: Cameras) -> Cameras:
        pose = MIRROR @ camera.camera_to_world @ MIRROR
        return replace(camera, camera_to_world=pose, cx=camera.width - camera.cx)

    maps = ("source", "disparity", "truth", "truth_disparity", "hidden", "beside")
    flipped = {name: getattr(pair, name).flip(-1) for name in maps}
    return replace(pair, camera=turned(pair.camera), target=turned(pair.target), **flipped)


@runtime_checkable
class PairSet(Protocol):
    """What pairs are drawn from. size: that of its pictures, if they have one, else they take any."""

    folder: Path
    name: str
    size: tuple[int, int] | None

    def __len__(self) -> int: ...

    def read(self, index: int, size: tuple[int, int]) -> ViewPair: ...


class DrawnPairs:
    """Pairs of a training's steps: of all sets alike, half of them mirrored, by seed and step alone.

    size: width and height of pictures. workers: threads that read ahead.
    """

    def __init__(self, sets: Sequence[PairSet], batch: int, size: tuple[int, int], workers: int = 2) -> None:
        self.sets, self.batch, self.size = tuple(sets), batch, size
        self._ahead = ReadAhead(self._begin, workers)

    def at(self, seed: int, step: int) -> PairBatch:
        """The pairs of a step; those of the next one are begun.

        Raises: what a set does whose files cannot be read; NothingNearError if hardly a view sees anything.
        """
        found = [pair for pair in self._ahead.at(seed, step) if pair is not None]
        for drawn in self._draws(seed, step)[self.batch :]:
            if len(found) == self.batch:
                break
            if (pair := self._read(drawn)) is not None:
                found.append(pair)
        if len(found) < self.batch:
            names = ", ".join(each.name for each in self.sets)
            raise NothingNearError(f"{names}: hardly a view sees anything at a finite depth; make others")
        flips = (bits(seed, step, MIRRORED, torch.arange(self.batch)) & 1).tolist()
        return together([mirrored(pair) if flip else pair for pair, flip in zip(found, flips, strict=True)])

    def close(self) -> None:
        """Read no more."""
        self._ahead.close()

    def _begin(self, pool: ThreadPoolExecutor, seed: int, step: int) -> list[Future]:
        return [pool.submit(self._read, drawn) for drawn in self._draws(seed, step)[: self.batch]]

    def _draws(self, seed: int, step: int) -> list[int]:
        return bits(seed, step, PAIR, torch.arange(TRIES * self.batch)).tolist()

    def _read(self, drawn: int) -> ViewPair | None:
        """None if the source sees but the sky: another pair is taken."""
        chosen = self.sets[drawn % len(self.sets)]
        try:
            return chosen.read(drawn // len(self.sets) % len(chosen), self.size)
        except NothingNearError:
            return None
