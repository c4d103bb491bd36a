"""How well one picture and its depth tell what another camera sees: networks beside what needs none.

    render scenes generate neighbours DIR --count 160 --size 128x128 --seed 1000
    python tests/tools/multiplane/measure_views.py DIR adjusted=FILE uniform=FILE ... [--planes 8]

Of each place in DIR, its first view tells the second one. PSNR in dB, mean over places: of all pixels that
the first camera could see or that something hid from it, and of the hidden ones alone. `wins` are places
where the first network named is better than each other row.
"""

import argparse
import json
from collections.abc import Callable

import torch
from torch import Tensor

from render.multiplane import MultiplaneImage, blend_source, render
from tools.depth.models import read_tensors
from tools.depth.weights import take_weights
from tools.multiplane.adampi import AdaMPI
from tools.multiplane.layers import layered
from tools.multiplane.planes import FAR
from tools.multiplane.training import Recipe
from tools.multiplane.view_pairs import ViewPair
from tools.multiplane.view_sets import ViewSet
from tools.multiplane.warp import splat

LEAST_HIDDEN = 20  # pixels, of a place whose hidden ones count
# What a network leaves out is told by the name it is given.
LEFT_OUT = {
    "uniform": {"adjusts_planes": False},
    "no-masks": {"finds_masks": False},
    "no-context": {"masks_context": False},
    "no-blend": {"blends": False},
}
View = Callable[[ViewPair], Tensor]


def identity(pair: ViewPair) -> Tensor:
    return pair.source


def splatted(pair: ViewPair) -> Tensor:
    z_depth = torch.where(pair.disparity > 0, 1 / pair.disparity.clamp(min=1e-6), torch.inf)
    return splat(pair.source.permute(1, 2, 0), z_depth, pair.camera, pair.target).rgb.permute(2, 0, 1)


def in_layers(planes: int) -> View:
    def view(pair: ViewPair) -> Tensor:
        image = layered(pair.source.permute(1, 2, 0), pair.disparity, pair.camera, planes)
        return render(image, pair.target).rgb.permute(2, 0, 1)

    return view


def by_network(name: str, file: str, planes: int) -> View:
    recipe = Recipe(planes=planes, **LEFT_OUT.get(name, {}))
    network = AdaMPI(recipe.config)
    take_weights(network, read_tensors(file), (), (), file)
    network.eval()

    def view(pair: ViewPair) -> Tensor:
        found = network(pair.source[None], pair.disparity[None, None], planes=planes)
        z_depth = 1 / found.disparities[0].clamp(min=FAR)
        image = MultiplaneImage(found.rgb[0], found.density[0], z_depth, pair.camera)
        image = blend_source(image, pair.source) if recipe.blends else image
        return render(image, pair.target).rgb.permute(2, 0, 1)

    return view


def psnr(view: Tensor, pair: ViewPair, counts: Tensor) -> float:
    error = (view.clamp(0, 1) - pair.truth).square().mean(dim=0)[counts].mean()
    return float(-10 * torch.log10(error.clamp(min=1e-10)))


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("networks", nargs="*", metavar="NAME=FILE")
    parser.add_argument("--planes", type=int, default=8)
    options = parser.parse_args()
    methods: dict[str, View] = {}
    for name, _, file in (each.partition("=") for each in options.networks):
        methods[name] = by_network(name, file, options.planes)
    methods |= {"identity": identity, "splat": splatted, "layers": in_layers(options.planes)}
    views = ViewSet(options.folder)
    firsts = [k for k, (source, target) in enumerate(views.pairs) if (source % 4, target % 4) == (0, 1)]
    scores: dict[str, list[tuple[float, float]]] = {name: [] for name in methods}
    for index in firsts:
        pair = views.read(index)
        for name, method in methods.items():
            view, hidden = method(pair), pair.hidden & ~pair.beside
            told = psnr(view, pair, hidden) if int(hidden.sum()) >= LEAST_HIDDEN else float("nan")
            scores[name].append((psnr(view, pair, ~pair.beside), told))
    table = {}
    best = torch.tensor(scores[next(iter(methods))])
    for name, rows in scores.items():
        rows = torch.tensor(rows)
        wins = (best[:, 0] > rows[:, 0]).double().mean()
        table[name] = {
            "psnr": float(rows[:, 0].mean()),
            "hidden": float(rows[:, 1].nanmean()),
            "wins": float(wins),
        }
        print(f"{name:12} {table[name]['psnr']:6.2f} {table[name]['hidden']:6.2f} {100 * float(wins):4.0f} %")
    print(json.dumps({"places": len(firsts), "planes": options.planes, "methods": table}))


if __name__ == "__main__":
    main()
