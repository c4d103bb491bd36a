"""How well layers show the other eye's picture of a stereo pair, and how long they take: docs/photo.md.

    RENDER_TEST_DATA=... python -m tests.tools.multiplane.measure_layers

Middlebury 2003, cones and teddy at 450x375. The left eye's picture and disparity are given; where nothing
is known, the farther of what is beside it in its row. The right eye's picture is met, but for a twentieth
at each side. Seconds are a processor's.
"""

import os
import time
from dataclasses import replace
from pathlib import Path

import torch

from fields.kernels.library import resolve_backend
from render.metrics import psnr
from render.multiplane import render
from scenes.cameras import Cameras
from scenes.images import read_image
from tests.tools.multiplane.test_layers import disparities, known_everywhere
from tools.multiplane.layers import layered

PAIRS = ("cones", "teddy")
PLANES = (8, 16, 32, 64)
BACKEND = resolve_backend("auto", "cpu").name


def shown(name: str, planes: int, **settings) -> tuple[float, float, float, float]:
    """PSNR of the left picture and of the layers to the right one, dB; seconds to make them and to see."""
    folder = Path(os.environ["RENDER_TEST_DATA"]) / "stereo" / name
    left, right = (read_image(folder / f"im{n}.png")[..., :3].float() / 255 for n in (2, 6))
    pixels = known_everywhere(disparities(folder / "disp2.pgm"))
    height, width = pixels.shape
    camera = Cameras.from_fov(torch.eye(4), width, height, 65)
    pose = torch.eye(4)
    pose[0, 3] = float(pixels.max() / camera.fx)
    began = time.process_time()
    made = layered(left, pixels / pixels.max(), camera, planes, **settings)
    ready = time.process_time()
    seen = render(made, replace(camera, camera_to_world=pose), backend=BACKEND).rgb
    done = time.process_time()
    inner = (slice(height // 20, -height // 20), slice(width // 20, -width // 20))
    still, moved = (float(psnr(picture[inner], right[inner])) for picture in (left, seen))
    return still, moved, ready - began, done - ready


def main() -> None:
    for name in PAIRS:
        for settings in ({}, {"spacing": "fitted"}, {"reach": 0.0}):
            for planes in PLANES:
                still, moved, making, viewing = shown(name, planes, **settings)
                print(f"{name} {planes} {settings} still {still:.2f} layers {moved:.2f} dB, "
                      f"made in {making:.2f} s, a view in {viewing:.3f} s", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
