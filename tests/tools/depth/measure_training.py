"""What trainings of depth networks reach on made-up places, and whether losses and mixtures keep their word.

    python -m tests.tools.depth.measure_training learning robustness mixing

Networks are tiny and pictures small, so that a training takes some minutes. Places that are measured
were seen by no training. Errors are those of z_depth after least squares to 1 / z_depth, picture by picture.
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from render.trainer import Length, Training
from tools.depth.losses import Kind, inverse_depth_target
from tools.depth.metrics import Protocol, evaluate, mean_of_images
from tools.depth.pairs import Labelled
from tools.depth.training import NORMALISATION, Recipe

WIDTH, HEIGHT = 96, 64
VIEWS = 4  # of each place
HELD_OUT = 1_000_000  # seed of the first place that is measured
CAPS = {"room": 10, "still_life": 10, "street": 80, "land": 80}  # metres, of what is measured
RECIPE = Recipe(
    model="tiny",
    batch=16,
    width=WIDTH,
    height=HEIGHT,
    varied_shapes=False,
    augmentation="mirrored",
    learning_rate=3e-3,
    warm_up=50,
    averaged=0.98,
)


WAYS = {
    "equal": {"mixing": "equal"},
    "pareto": {"mixing": "pareto"},
    "pareto, parameters": {"mixing": "pareto", "shared": "parameters"},
}


@dataclass(frozen=True, eq=False)
class InMemory:
    """A data set of pictures (n, h, w, 3) uint8 and depth (n, h, w), 0 where nothing is known.

    cap: the largest z_depth that is measured, metres.
    """

    name: str
    kind: Kind
    rgb: Tensor
    values: Tensor
    cap: float | int

    def __len__(self) -> int:
        return len(self.rgb)

    def read(self, index: int) -> Labelled:
        values = self.values[index]
        return Labelled(self.rgb[index], values, values > 0, None)


def made_up(kind: str, first: int, places: int, folder: Path | None = None) -> InMemory:
    """Pictures of places of one kind, from the seed `first` on; kept in a folder if there is one."""
    from scenes.generate.rooms import views

    file = None if folder is None else folder / f"{kind}-{first}-{places}.npz"
    if file is not None and file.exists():
        arrays = np.load(file)
        rgb, z_depth = arrays["rgb"], arrays["z_depth"]
    else:
        found = [view for seed in range(places) for view in views(first + seed, WIDTH, HEIGHT, VIEWS, kind)]
        rgb = np.stack([view.rgb for view in found])
        z_depth = np.stack([view.z_depth for view in found]).astype(np.float32)
        if file is not None:
            np.savez(file, rgb=rgb, z_depth=z_depth)
    return InMemory(kind, "z_depth", torch.from_numpy(rgb), torch.from_numpy(z_depth), CAPS[kind])


def as_inverse(made: InMemory) -> InMemory:
    """The same with inverse depth told, 1 / metres."""
    inverse = torch.where(made.values > 0, made.values.reciprocal(), 0.0)
    return replace(made, kind="inverse_depth", values=inverse)


def spoilt(made: InMemory, seed: int = 0) -> InMemory:
    """Every second picture's inverse depth shifted by up to its largest value, and scaled by 1 to 100.

    As disparity in pixels is, of stereo pairs whose lenses and distances nobody wrote down.
    """
    generator = torch.Generator().manual_seed(seed)
    made, odd = as_inverse(made), torch.arange(len(made)) % 2 == 1
    scale = 100 ** torch.rand(len(made), generator=generator)
    shift = torch.rand(len(made), generator=generator) * made.values.amax(dim=(1, 2))
    told = scale[:, None, None] * (made.values + shift[:, None, None])
    return replace(made, values=torch.where(odd[:, None, None] & (made.values > 0), told, made.values))


def trained(sets: Sequence[InMemory], recipe: Recipe, steps: int, seed: int = 0) -> nn.Module:
    """The averaged network after a training."""
    model, batches = recipe.build(seed), recipe.batches(sets, memory=1e9)
    for _ in Training(model, batches, Length(steps=steps), seed=seed):
        pass
    batches.close()
    return model.average


@torch.no_grad()
def errors_of(maps: Tensor, made: InMemory) -> dict[str, float]:
    """Mean AbsRel and share of bad pixels (1 - delta_1) of maps (n, h, w) of inverse depth."""
    protocol = Protocol(cap=made.cap)
    rows = [
        evaluate(found, truth, protocol)
        for found, truth in zip(maps, made.values, strict=True)
        if ((truth > protocol.nearest) & (truth < protocol.cap)).float().mean() > 0.1
    ]
    mean = mean_of_images(rows)
    return {"abs_rel": mean["abs_rel"], "bad": 1 - mean["delta1"]}


@torch.no_grad()
def predictions(network: nn.Module, made: InMemory) -> Tensor:
    images = NORMALISATION(made.rgb.permute(0, 3, 1, 2).float() / 255)
    return torch.cat([network(part)[:, 0] for part in images.split(32)])


def mean_map(made: InMemory) -> Tensor:
    """The mean over a training set of inverse depth in [0, 1] per picture: knows where pictures are near."""
    target, known = inverse_depth_target(made.values, made.values > 0, made.kind)
    return torch.where(known, target, 0.0).sum(dim=0) / known.sum(dim=0).clamp(min=1)


@torch.no_grad()
def loss_of(network: nn.Module, made: InMemory, recipe: Recipe) -> float:
    """What a training with this recipe would take for its loss on these pictures."""
    values = torch.where(made.values > 0, made.values, torch.nan)
    return float(recipe.build().loss(predictions(network, made), values, made.kind))


def joined(name: str, parts: Sequence[InMemory]) -> InMemory:
    rgb, values = (torch.cat([getattr(part, field) for part in parts]) for field in ("rgb", "values"))
    return replace(parts[0], name=name, rgb=rgb, values=values)


def learning(folder: Path | None, places: int = 1000, steps: int = 4000, seed: int = 0) -> dict[str, Any]:
    """A network that has seen rooms, against the mean map of those rooms, in others."""
    seen, unseen = made_up("room", 0, places, folder), made_up("room", HELD_OUT, 50, folder)
    baseline = errors_of(mean_map(seen).expand(len(unseen), -1, -1), unseen)
    found = errors_of(predictions(trained([seen], RECIPE, steps, seed), unseen), unseen)
    ratios = {name: found[name] / baseline[name] for name in found}
    return {"mean map": baseline, "network": found, "ratio": ratios}


def robustness(folder: Path | None, places: int = 1000, steps: int = 3000, seed: int = 0) -> dict[str, Any]:
    """AbsRel in unseen rooms after learning from clean labels and from labels of which half are spoilt."""
    seen, unseen = made_up("room", 0, places, folder), made_up("room", HELD_OUT, 50, folder)
    labels, result = {"clean": as_inverse(seen), "spoilt": spoilt(seen)}, {}
    for loss in ("ssimae", "l1"):
        recipe = replace(RECIPE, loss=loss)
        errors = {
            name: errors_of(predictions(trained([each], recipe, steps, seed), unseen), unseen)["abs_rel"]
            for name, each in labels.items()
        }
        result[loss] = errors | {"ratio": errors["spoilt"] / errors["clean"]}
    return result


def mixing(
    folder: Path | None, places: int = 120, steps: int = 700, seeds: Sequence[int] = (0, 1, 2)
) -> dict[str, Any]:
    """What three sets come to in one training, in each of WAYS: errors and losses on places unseen."""

    def sets(first: int, places: int) -> list[InMemory]:
        kinds = {kind: made_up(kind, first, places, folder) for kind in CAPS}
        outdoors = joined("outdoors", (kinds["street"], kinds["land"]))
        return [kinds["room"], kinds["still_life"], outdoors]

    seen, unseen, result = sets(0, places), sets(HELD_OUT, 30), {}
    for way, settings in WAYS.items():
        recipe, rows = replace(RECIPE, **settings), []
        for seed in seeds:
            network = trained(seen, recipe, steps, seed)
            found = {each.name: errors_of(predictions(network, each), each) for each in unseen}
            for each in unseen:
                found[each.name]["loss"] = loss_of(network, each, recipe)
            names = ("abs_rel", "bad", "loss")
            worst = {name: max(errors[name] for errors in found.values()) for name in names}
            rows.append({**found, "worst": worst})
        result[way] = {"mean": mean_of_rows(rows), "seeds": rows}
    return result


def mean_of_rows(rows: Sequence[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    return {key: mean_of_images([row[key] for row in rows]) for key in rows[0]}


EXPERIMENTS = {"learning": learning, "robustness": robustness, "mixing": mixing}


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    reader.add_argument("experiments", nargs="+", choices=EXPERIMENTS)
    reader.add_argument("--folder", type=Path, help="keeps the pictures that were made")
    reader.add_argument("--steps", type=int)
    options = reader.parse_args()
    if options.folder is not None:
        options.folder.mkdir(parents=True, exist_ok=True)
    length = {} if options.steps is None else {"steps": options.steps}
    for name in options.experiments:
        began = time.perf_counter()
        found = EXPERIMENTS[name](options.folder, **length)
        print(json.dumps({"experiment": name, **found, "seconds": time.perf_counter() - began}), flush=True)


if __name__ == "__main__":
    main()
