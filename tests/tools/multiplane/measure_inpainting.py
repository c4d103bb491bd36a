"""What the trained inpainter tells of what warp-back loses, beside what needs no training.

    render scenes generate rooms TRAIN --count 400 --size 256x192 --seed 1
    render scenes generate rooms HELD_OUT --count 100 --size 256x192 --seed 100000
    python tests/tools/multiplane/measure_inpainting.py TRAIN HELD_OUT --minutes 6

PSNR in dB of colours and mean |difference| of disparity in holes, of the pixels of all pictures together and
as a mean over pictures with at least LEAST pixels lost; `wins` are pictures where the network is better.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from render.metrics import psnr_of
from render.trainer import Length, Training
from tools.depth.datasets import read_set
from tools.multiplane.filling import nearest_fill
from tools.multiplane.inpainting import Inpainter
from tools.multiplane.inpainting_pairs import Holes
from tools.multiplane.inpainting_training import InpainterTraining, Recipe

MEMORY = 2e9  # bytes
LEAST = 100  # pixels lost, of a picture that counts
SEED_HELD_OUT = 1


def trained(folder: str, length: Length, recipe: Recipe) -> InpainterTraining:
    drawn, model = recipe.pairs([read_set(folder)], memory=MEMORY), recipe.build()
    for report in Training(model, drawn, length):
        if report.note is None:
            print(f"{report.step:5} {report.elapsed:6.1f} s  loss {report.loss:.4f}", flush=True)
    return model


def scores(maps: Tensor, holes: Holes) -> dict[str, Tensor]:
    """Of each picture: squared error of colours, |difference| of disparity, means over the holes."""
    off = torch.where(holes.mask[:, None], maps.clamp(0, 1) - holes.truth, 0.0)
    count = holes.mask.sum(dim=(1, 2)).clamp(min=1)
    return {
        "squared": off[:, :3].square().sum(dim=(1, 2, 3)) / (3 * count),
        "disparity": off[:, 3].abs().sum(dim=(1, 2)) / count,
    }


def nearest(holes: Holes) -> Tensor:
    pairs = zip(holes.guess, holes.mask, strict=True)
    return torch.stack([nearest_fill(maps.permute(1, 2, 0), mask).permute(2, 0, 1) for maps, mask in pairs])


@torch.no_grad()
def compared(network: Inpainter, holes: Holes) -> dict[str, dict[str, float]]:
    found = torch.cat([network(guess[None], mask[None]) for _, guess, mask in zip(*holes, strict=True)])
    counts = holes.mask.sum(dim=(1, 2))
    many = counts >= LEAST
    methods = {"nearest": nearest(holes), "fill": holes.guess, "network": found}
    told = {name: scores(maps, holes) for name, maps in methods.items()}
    table = {}
    for name, score in told.items():
        squared, disparity = (float((score[kind] * counts).sum() / counts.sum()) for kind in score)
        each = -10 * torch.log10(score["squared"][many].clamp(min=1e-10))
        wins = (told["network"]["squared"] < score["squared"])[many].double().mean()
        table[name] = {
            "psnr": psnr_of(squared),
            "psnr_of_pictures": float(each.mean()),
            "disparity": disparity,
            "wins": float(wins),
        }
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("train")
    parser.add_argument("held_out")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--variants", type=int, default=8)
    parser.add_argument("--pictures", type=int, default=96, help="held-out ones, drawn at random")
    parser.add_argument("--write", type=Path, metavar="FILE")
    options = parser.parse_args()
    recipe = Recipe(batch=options.batch, variants=options.variants)
    budget = None if options.minutes is None else 60 * options.minutes
    began = time.perf_counter()
    model = trained(options.train, Length(options.steps, budget), recipe)
    told = {"steps": int(model.steps), "seconds": time.perf_counter() - began}
    if options.write:
        model.write(options.write)
    holes = replace(recipe, batch=options.pictures).pairs([read_set(options.held_out)]).at(SEED_HELD_OUT, 0)
    told |= {"lost": float(holes.mask.float().mean()), "methods": compared(model.average, holes)}
    print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
