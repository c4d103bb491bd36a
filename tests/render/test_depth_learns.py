"""What known depths are worth on a real capture: minutes long, run by name.

RENDER_TEST_DATA=... pytest -m slow tests/render/test_depth_learns.py --log-cli-level=INFO
"""

import logging
import statistics

import pytest
import torch

from render.methods.ngp import NGP
from render.metrics import psnr
from scenes import formats
from scenes.pixels import PixelSource
from scenes.transforms import similarity_scale

STEPS = 1000


@pytest.mark.slow
def test_known_depths_make_unseen_ones_better(test_data):
    """Hundred frames of a sensor, every eighth held out: its depth is missed by at least 30 % less."""
    scene = formats.read(test_data / "rgbd", "all", 4, bounds="unbounded")
    metres = 1 / float(similarity_scale(scene.model_from_input))
    held_out = list(range(0, len(scene), 8))
    train = scene.subset([i for i in range(len(scene)) if i % 8])
    pixels, errors = PixelSource.from_scene(train), {}
    preset = {k: v for k, v in NGP.PRESETS["standard"].items() if k not in ("steps", "seconds")}
    for depth in (0.0, NGP().depth):
        torch.manual_seed(0)
        model = NGP(**preset | NGP.UNBOUNDED | {"depth": depth}).build(train)
        generator, decibels, missed = torch.Generator().manual_seed(0), [], []
        for step in range(STEPS):
            model.step(pixels, step / STEPS, generator)
        for index in held_out:
            seen, known = model.render(scene.cameras[index], ("rgb", "z_depth")), scene.depths[index]
            missed.append((seen.z_depth - known)[known > 0].abs() * metres)
            decibels.append(float(psnr(seen.rgb.clamp(0, 1), scene.images[index] / 255)))
        errors[depth] = float(torch.cat(missed).mean())
        logging.info(
            f"depth={depth}: z_depth off by {1000 * errors[depth]:.1f} mm (median "
            f"{1000 * torch.cat(missed).median():.1f}), {statistics.fmean(decibels):.2f} dB"
        )
    assert errors[NGP().depth] < 0.7 * errors[0.0]
