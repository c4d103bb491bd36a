"""Whether NeRF learns: a small scene in seconds; the claims of its paper on real data, run by name (slow).

    RENDER_TEST_DATA=... pytest -m slow tests/render/test_nerf_learns.py --log-cli-level=INFO

takes five trainings of 20 minutes. The same trainings can be run one by one, and resumed, as
`render train SCENE --method nerf --downscale 8 --budget 20m --set position_frequencies=0`.
"""

import functools
import logging
import statistics

import pytest
import torch

from render.methods.nerf import NeRF
from render.metrics import psnr
from render.trainer import train
from scenes import formats
from scenes.generate.analytic import generate
from scenes.images import on_background
from scenes.pixels import PixelSource

MINUTES = 20


def held_out_psnr(model, scene):
    """Mean PSNR over the scene's views, on its own background."""
    return statistics.fmean(
        float(psnr(model.render(camera).rgb.clamp(0, 1), on_background(image, scene.background)))
        for camera, image in zip(scene.cameras, scene.images, strict=True)
    )


def test_learns_views_of_spheres_that_it_has_not_seen():
    """A white picture scores 8.8 dB here; a broken sampler, encoding or compositing does not reach 17."""
    scenes = generate("spheres", width=32, views={"train": 16, "test": 2})
    pixels = PixelSource.from_scene(scenes["train"])
    config = NeRF(
        rays=256,
        coarse_samples=16,
        fine_samples=16,
        width=32,
        depth=3,
        position_frequencies=6,
        learning_rate=5e-3,
        precision="float32",
    )
    torch.manual_seed(0)
    model, generator = config.build(scenes["train"]), torch.Generator().manual_seed(0)
    for step in range(300):
        model.step(pixels, step / 300, generator)
    assert held_out_psnr(model, scenes["test"]) > 17


@functools.cache
def lego_psnr(folder, seed, **settings):
    """Held-out PSNR on lego at 100x100: 88 of its training views to learn from, every 8th held out."""
    scene = formats.read(folder / "lego", split="train", downscale=8)
    held_out = range(0, 96, 8)
    seen = scene.subset([i for i in range(len(scene)) if i not in held_out])
    model = train(seen, "nerf", budget=60.0 * MINUTES, seed=seed, **settings)
    found = held_out_psnr(model, scene.subset(held_out))
    logging.getLogger(__name__).info("lego 100x100, seed %d, %s: %.2f dB", seed, settings, found)
    return found


@pytest.mark.slow
def test_lego_is_learnt(test_data):
    """A white picture scores 10.7 dB."""
    assert lego_psnr(test_data, 0) >= 20


@pytest.mark.slow
def test_positional_encoding_is_worth_a_decibel(test_data):
    """The paper's gap at full size is 2.2 dB (Table 2)."""
    assert lego_psnr(test_data, 0) - lego_psnr(test_data, 0, position_frequencies=0) >= 1


@pytest.mark.slow
def test_what_hierarchical_sampling_is_worth_is_told(test_data, record_property):
    """32 + 32 samples against 64 even ones, over two seeds; either sign is a result, a collapse is not."""
    uniform = {"coarse_samples": 64, "fine_samples": 0}
    gaps = [lego_psnr(test_data, seed) - lego_psnr(test_data, seed, **uniform) for seed in (0, 1)]
    record_property("hierarchical_gap_db", gaps)
    logging.getLogger(__name__).info("hierarchical less uniform, by seed: %s dB", gaps)
    assert all(abs(gap) < 3 for gap in gaps)
