"""How well one picture with depth shows another view: `measure_warp.py [--pairs N] [--rgbd FOLDER]`.

PSNR of the view that a second camera has, mean over pairs, in all of the picture, where the first picture's
surface is seen and where it is not. Pairs are N made-up places (seeds from FIRST_SEED on, motions of
`Motions`, one exposure for both views), and, of a folder of 7-Scenes, all frames with the next one there.
"""

import argparse
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import imageio.v3 as imageio
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from scenes.cameras import Cameras
from scenes.generate.lighting import Caster, look
from scenes.generate.pathtrace import srgb
from scenes.generate.rooms import FIELD_OF_VIEW, PLACES, choose_view
from tools.multiplane.filling import fill, nearest_fill
from tools.multiplane.warp import splat, warp
from tools.multiplane.warp_back import Motions, draw_motion

FIRST_SEED = 500_000
SIZE = (256, 192)
REDUCED = 2  # times, the pictures of a folder
UNKNOWN = 65535  # in its depth, as 0; else millimetres


class View(NamedTuple):
    rgb: Float[Tensor, "h w 3"]
    z_depth: Float[Tensor, "h w"]
    camera: Cameras


def made_up_pair(seed: int) -> tuple[View, View]:
    """Two views of a place. The unit of the motion between them is how far the nearest 2 % are."""
    width, height = SIZE
    rng = np.random.default_rng(seed)
    weights = np.array([weight for _, weight in PLACES.values()])
    kind = list(PLACES)[rng.choice(len(PLACES), p=weights / weights.sum())]
    place, viewpoint = PLACES[kind][0](rng)
    caster = Caster(place)
    fov = rng.uniform(*FIELD_OF_VIEW)
    focal = 0.5 * height / np.tan(np.radians(fov) / 2)
    pose = choose_view(caster, viewpoint, focal, width, height, rng, kind == "still_life")
    motion = draw_motion(Motions(), torch.Generator().manual_seed(seed)).numpy()
    radiance, z_depth = look(caster, pose, focal, width, height, np.random.default_rng(seed))
    gain = 0.2 / max(float(radiance.mean()), 1e-6)
    motion[:3, 3] *= np.quantile(z_depth[z_depth > 0], 0.02)
    other = look(caster, pose @ motion, focal, width, height, np.random.default_rng(seed))

    def view(pose: np.ndarray, radiance: np.ndarray, z_depth: np.ndarray) -> View:
        rgb = torch.from_numpy(srgb(np.clip(gain * radiance, 0, 1))).float()
        depth = torch.from_numpy(np.where(z_depth > 0, z_depth, np.inf)).float()
        return View(rgb, depth, Cameras.from_fov(torch.from_numpy(pose), width, height, float(fov)))

    return view(pose, radiance, z_depth), view(pose @ motion, *other)


def frame(folder: Path, name: str) -> View:
    """A frame of 7-Scenes, each REDUCED-th pixel of its depth, and the mean of the colours around it."""
    picture = torch.from_numpy(imageio.imread(folder / f"{name}.color.jpg")).float() / 255
    rgb = torch.nn.functional.avg_pool2d(picture.permute(2, 0, 1)[None], REDUCED)[0].permute(1, 2, 0)
    stored = imageio.imread(folder / f"{name}.depth.png").astype(np.float32)
    z_depth = np.where(stored < UNKNOWN, stored / 1000, 0)[::REDUCED, ::REDUCED]
    pose = torch.from_numpy(np.loadtxt(folder / f"{name}.pose.txt"))
    left, _, right = torch.linalg.svd(pose[:3, :3])  # stored with few digits
    pose[:3, :3] = left @ right
    fx, fy, cx, cy = np.loadtxt(folder / "camera-intrinsics.txt")[[0, 1, 0, 1], [0, 1, 2, 2]]
    numbers = (pose.new_tensor(number) for number in (fx, fy, cx + 0.5, cy + 0.5))
    camera = Cameras(pose, *numbers, picture.shape[1], picture.shape[0]).scaled(REDUCED)
    return View(rgb, torch.from_numpy(z_depth.copy()), camera)


def frame_pairs(folder: Path) -> Iterator[tuple[View, View]]:
    names = sorted(path.name.split(".")[0] for path in folder.glob("*.pose.txt"))
    for one, other in pairwise(names):
        yield frame(folder, one), frame(folder, other)


def psnr(errors: Tensor) -> float:
    return float(-10 * errors.mean().clamp(min=1e-10).log10())


def measure(pairs: Iterator[tuple[View, View]]) -> None:
    found: dict[str, list[tuple[float, float, float]]] = {}
    shares = []
    for first, second in pairs:
        seen = warp(first.rgb, first.z_depth, first.camera, second.camera)
        hole = ~seen.covered
        if not 50 <= int(hole.sum()) <= 0.6 * hole.numel():
            continue
        shares.append(float(hole.float().mean()))
        disparity = torch.where(seen.covered, 1 / seen.z_depth, 0.0)
        pictures = {
            "warp + fill": fill(seen.rgb, disparity, hole)[0],
            "warp + nearest": nearest_fill(seen.rgb, hole),
            "splat + nearest": splat(first.rgb, first.z_depth, first.camera, second.camera).rgb,
        }
        for name, picture in pictures.items():
            errors = (picture - second.rgb).square().mean(dim=-1)
            found.setdefault(name, []).append((psnr(errors), psnr(errors[~hole]), psnr(errors[hole])))
    print(
        f"{len(shares)} pairs, {100 * np.mean(shares):.1f} % of the pixels not seen; dB: all, seen, not seen"
    )
    for name, rows in found.items():
        print(f"{name:16}" + "".join(f"{value:8.2f}" for value in np.mean(rows, axis=0)))
    ours, others = (np.array(found[name])[:, 2] for name in ("warp + fill", "warp + nearest"))
    print(f"warp + fill is better where not seen in {100 * (ours > others).mean():.0f} % of the pairs")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--rgbd", type=Path)
    options = parser.parse_args()
    measure(made_up_pair(FIRST_SEED + index) for index in range(options.pairs))
    if options.rgbd:
        measure(frame_pairs(options.rgbd))


if __name__ == "__main__":
    main()
