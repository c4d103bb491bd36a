"""The built-in depth network, or weights that may become it, on real pictures and on made-up ones.

    python -m tests.tools.depth.measure_small ROOMS [--weights FILE] [--held-out FOLDER] [--sheet FILE]

ROOMS is the folder the network learnt from (`render scenes generate rooms`): the mean of its maps of inverse
depth, each from 0 to 1, is the baseline. Real pictures are those of RENDER_TEST_DATA. A sheet shows made-up
pictures that it has not seen, the truth, and its answer, brought to the truth by least squares.
"""

import argparse
import os
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from tools.depth.align import align_least_squares
from tools.depth.colours import coloured
from tools.depth.datasets import read_set
from tools.depth.eval_command import table
from tools.depth.evaluation import BASELINES, Predictor, look, mean_map, measure, network
from tools.depth.losses import inverse_depth_target
from tools.depth.pairs import DepthSet

REAL = ("depth/nyu", "rgbd", "depth/kitti")
SIZE = (192, 256)
SHOWN, COLUMNS = 6, 2  # pictures of a sheet


def mean_of(rooms: DepthSet, most: int) -> Tensor:
    """The mean over `most` pictures, evenly spread, of inverse depth from 0 to 1 in each."""
    count = min(most, len(rooms))
    total, times = torch.zeros(SIZE), torch.zeros(SIZE)
    for index in (k * len(rooms) // count for k in range(count)):
        found = rooms.read(index)
        target, known = inverse_depth_target(found.values[None], found.known[None], rooms.kind)
        filled = torch.where(known, target, 0.0)
        both = interpolate(torch.stack((filled, known.float()), dim=1), size=SIZE, mode="area")[0]
        total, times = total + both[0], times + both[1]
    return total / times.clamp(min=1e-6)


def sheet(pictures: DepthSet, predictor: Predictor, file: Path) -> None:
    rows = []
    for index in (k * len(pictures) // SHOWN for k in range(SHOWN)):
        seen = look(pictures, index, "none")
        assert seen is not None
        inverse = torch.where(seen.mask, seen.truth.reciprocal(), 0.0).float()
        answer = predictor.guess(seen).values
        scale, shift = align_least_squares(answer[None], inverse[None], seen.mask[None])
        dark, light = inverse[seen.mask].quantile(torch.tensor([0.02, 0.98])).tolist()
        maps = [coloured(each, dark, light) for each in (inverse, scale * answer + shift)]
        rows.append(torch.cat((seen.rgb[..., :3], *maps), dim=1))
    columns = [torch.cat(rows[k::COLUMNS]) for k in range(COLUMNS)]
    iio.imwrite(file, torch.cat(columns, dim=1).numpy())


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    reader.add_argument("rooms", type=Path)
    reader.add_argument("--weights", type=Path, help="in place of the built-in ones")
    reader.add_argument("--held-out", type=Path, help="made-up pictures that it has not seen")
    reader.add_argument("--sheet", type=Path, help="a picture to write, of some of these")
    reader.add_argument("--size", type=int, help="a side to look at")
    reader.add_argument("--most", type=int, default=4000, help="of ROOMS in the mean (default: 4000)")
    options = reader.parse_args()
    kept = options.rooms / f"mean-map-{options.most}.npy"
    if not kept.exists():
        np.save(kept, mean_of(read_set(options.rooms), options.most).numpy())
    predictors: tuple[Predictor, ...] = (network(weights=options.weights, size=options.size),)
    predictors += (mean_map(kept), *BASELINES)
    folders = [Path(os.environ["RENDER_TEST_DATA"]) / name for name in REAL]
    for folder in [*folders, *([options.held_out] if options.held_out else [])]:
        print(table(measure(read_set(folder), predictors)), flush=True)
    if options.sheet:
        sheet(read_set(options.held_out), predictors[0], options.sheet)


if __name__ == "__main__":
    main()
