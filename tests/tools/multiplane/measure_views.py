"""How well one picture and its depth tell what another camera sees: networks beside what needs none.

    render scenes generate neighbours DIR --count 160 --size 128x128 --seed 1000
    python -m tests.tools.multiplane.measure_views DIR [--network NAME=FILE ...] [--planes 8]
    RENDER_TEST_DATA=... python -m tests.tools.multiplane.measure_views --real [--network ...] [--planes 32]

Of each place in DIR, its first view tells the second one. Real pairs are frames of 7-Scenes, ten apart, at
half their size, and the eyes of Middlebury's cones and teddy; where the given depth knows nothing, there is
taken the farther of what it knows beside it in the row. PSNR in dB, mean over pairs: of all pixels that the
first camera could see or that something hid from it, and of the hidden ones alone. `wins` are pairs in which
the first method named is better than each other one.
"""

import argparse
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import torch
from torch import Tensor

from render.multiplane import MultiplaneImage, blend_source, render
from scenes.cameras import Cameras
from scenes.images import read_image
from tests.tools.multiplane.test_layers import disparities, known_everywhere
from tools.multiplane.filling import fill, nearest_fill
from tools.multiplane.layers import layered
from tools.multiplane.planes import FAR
from tools.multiplane.predict import read_planes_network
from tools.multiplane.view_pairs import ViewPair, view_pair
from tools.multiplane.view_sets import ViewSet
from tools.multiplane.warp import Warped, splat, warp

LEAST_HIDDEN = 20  # pixels, of a pair whose hidden ones count
REDUCED = 2  # times, frames of 7-Scenes
UNKNOWN = 65535  # in their depth, as 0; else millimetres
STEREO = ("cones", "teddy")
FIELD_OF_VIEW = 65  # degrees, of a stereo pair: nobody wrote it down, and it plays no part
Shown = Callable[[ViewPair], Tensor]


def identity(pair: ViewPair) -> Tensor:
    return pair.source


def splatted(pair: ViewPair) -> Tensor:
    return splat(*_given(pair)).rgb.permute(2, 0, 1)


def warped_and_nearest(pair: ViewPair) -> Tensor:
    seen = warp(*_given(pair))
    return nearest_fill(seen.rgb, ~seen.covered).permute(2, 0, 1)


def warped_and_filled(pair: ViewPair) -> Tensor:
    seen: Warped = warp(*_given(pair))
    disparity = torch.where(seen.covered, 1 / seen.z_depth, 0.0)
    return fill(seen.rgb, disparity, ~seen.covered)[0].permute(2, 0, 1)


def _given(pair: ViewPair) -> tuple[Tensor, Tensor, Cameras, Cameras]:
    z_depth = torch.where(pair.disparity > 0, 1 / pair.disparity.clamp(min=1e-6), torch.inf)
    return pair.source.permute(1, 2, 0), z_depth, pair.camera, pair.target


def in_layers(planes: int) -> Shown:
    def shown(pair: ViewPair) -> Tensor:
        image = layered(pair.source.permute(1, 2, 0), pair.disparity, pair.camera, planes)
        return render(image, pair.target).rgb.permute(2, 0, 1)

    return shown


def by_network(file: str, planes: int) -> Shown:
    """What its file says that it leaves out is left out."""
    network = read_planes_network(file)

    def shown(pair: ViewPair) -> Tensor:
        found = network(pair.source[None], pair.disparity[None, None], planes=planes)
        z_depth = 1 / found.disparities[0].clamp(min=FAR)
        image = MultiplaneImage(found.rgb[0], found.density[0], z_depth, pair.camera)
        image = blend_source(image, pair.source) if network.config.blends else image
        return render(image, pair.target).rgb.permute(2, 0, 1)

    return shown


def made_up(folder: str) -> Iterator[ViewPair]:
    views = ViewSet(folder)
    for index, (source, target) in enumerate(views.pairs):
        if (source % 4, target % 4) == (0, 1):
            yield views.read(index)


def frames(folder: Path) -> Iterator[ViewPair]:
    """Each frame of 7-Scenes and the next one that is there."""
    names = sorted(path.name.split(".")[0] for path in folder.glob("*.pose.txt"))
    for one, other in pairwise(_frame(folder, name) for name in names):
        yield view_pair(*one, *other)


def _frame(folder: Path, name: str) -> tuple[Tensor, Tensor, Cameras]:
    """Each REDUCED-th pixel of its depth, and the mean of the colours around it."""
    picture = torch.from_numpy(imageio.imread(folder / f"{name}.color.jpg")).float()
    rgb = torch.nn.functional.avg_pool2d(picture.permute(2, 0, 1)[None], REDUCED)[0].permute(1, 2, 0)
    stored = imageio.imread(folder / f"{name}.depth.png").astype(np.float32)
    z_depth = torch.from_numpy(np.where(stored < UNKNOWN, stored / 1000, 0)[::REDUCED, ::REDUCED].copy())
    known = known_everywhere(torch.where(z_depth > 0, 1 / z_depth, 0.0))
    z_depth = torch.where(known > 0, 1 / known, 0.0)
    pose = torch.from_numpy(np.loadtxt(folder / f"{name}.pose.txt"))
    left, _, right = torch.linalg.svd(pose[:3, :3])  # stored with few digits
    pose[:3, :3] = left @ right
    fx, fy, cx, cy = np.loadtxt(folder / "camera-intrinsics.txt")[[0, 1, 0, 1], [0, 1, 2, 2]]
    numbers = (pose.new_tensor(number) for number in (fx, fy, cx + 0.5, cy + 0.5))
    camera = Cameras(pose, *numbers, picture.shape[1], picture.shape[0]).scaled(REDUCED)
    return rgb.round().to(torch.uint8), z_depth, camera


def eyes(folder: Path) -> Iterator[ViewPair]:
    """The left eye's picture tells the right one's. Unit: the z_depth of the largest disparity."""
    pictures = [read_image(folder / f"im{n}.png")[..., :3] for n in (2, 6)]
    pixels = [known_everywhere(disparities(folder / f"disp{n}.pgm")) for n in (2, 6)]
    height, width = pixels[0].shape
    camera = Cameras.from_fov(torch.eye(4), width, height, FIELD_OF_VIEW)
    pose = torch.eye(4)
    pose[0, 3] = float(pixels[0].max() / camera.fx)
    z_depths = (pixels[0].max() / each for each in pixels)
    first, second = zip(pictures, z_depths, (camera, replace(camera, camera_to_world=pose)), strict=True)
    yield view_pair(*first, *second)


def psnr(shown: Tensor, pair: ViewPair, counts: Tensor) -> float:
    error = (shown.clamp(0, 1) - pair.truth).square().mean(dim=0)[counts].mean()
    return float(-10 * torch.log10(error.clamp(min=1e-10)))


@torch.no_grad()
def measure(name: str, pairs: Iterator[ViewPair], methods: dict[str, Shown]) -> None:
    scores: dict[str, list[tuple[float, float]]] = {method: [] for method in methods}
    for pair in pairs:
        hidden = pair.hidden & ~pair.beside
        for method, rows in scores.items():
            shown = methods[method](pair)
            told = psnr(shown, pair, hidden) if int(hidden.sum()) >= LEAST_HIDDEN else float("nan")
            rows.append((psnr(shown, pair, ~pair.beside), told))
    tables = {method: torch.tensor(rows) for method, rows in scores.items()}
    best, found = next(iter(tables.values()))[:, 0], {}
    print(f"{name}: {len(best)} pair{'s' * (len(best) != 1)}; dB of all, of what was hidden; wins")
    for method, rows in tables.items():
        (everywhere, hidden), wins = rows.nanmean(dim=0).tolist(), float((best > rows[:, 0]).double().mean())
        found[method] = {"psnr": everywhere, "hidden": hidden, "wins": wins}
        print(f"{method:16} {everywhere:6.2f} {hidden:6.2f} {100 * wins:4.0f} %")
    print(json.dumps({"pairs": name, "methods": found}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folders", nargs="*", metavar="DIR")
    parser.add_argument("--real", action="store_true")
    parser.add_argument("--network", action="append", default=[], metavar="NAME=FILE")
    parser.add_argument("--planes", type=int, default=8)
    options = parser.parse_args()
    networks = dict(each.split("=", 1) for each in options.network)
    methods = {name: by_network(file, options.planes) for name, file in networks.items()}
    methods |= {"identity": identity, "splat + nearest": splatted, "warp + nearest": warped_and_nearest}
    methods |= {"warp + fill": warped_and_filled, "fixed planes": in_layers(options.planes)}
    for folder in options.folders:
        measure(folder, made_up(folder), methods)
    if options.real:
        data = Path(os.environ["RENDER_TEST_DATA"])
        measure("7-Scenes", frames(data / "rgbd"), methods)
        for name in STEREO:
            measure(name, eyes(data / "stereo" / name), methods)


if __name__ == "__main__":
    main()
