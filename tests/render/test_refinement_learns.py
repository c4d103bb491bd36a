"""What refined poses are worth on the demo scene: minutes long, run by name.

pytest -m slow tests/render/test_refinement_learns.py --log-cli-level=INFO
"""

import logging
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from render.evaluate import evaluate
from render.methods.ngp import NGP
from scenes.formats import nerf_synthetic
from scenes.pixels import PixelSource
from scenes.scene import Scene
from scenes.transforms import transform_poses
from tests.render.test_refinement import shaken
from tools.poses.report import similarity_between

LEGO = Path(__file__).parents[2] / "scenes" / "lego"
LAST = torch.tensor([0.0, 0.0, 0.0, 1.0]).double()


def alignment(found: PixelSource, truth: PixelSource) -> torch.Tensor:
    """The similarity from refined cameras' frame to the true one's, by the cameras' positions."""
    centres = [source.camera_to_world[:, :, 3].double().numpy() for source in (found, truth)]
    return torch.from_numpy(similarity_between(*centres))


def errors(found: PixelSource, truth: PixelSource) -> tuple[torch.Tensor, torch.Tensor]:
    """Of each camera after the alignment: degrees, and per cent of the cameras' distance from the scene."""
    true = truth.camera_to_world.double()
    whole = torch.cat((found.camera_to_world.double(), LAST.expand(len(true), 1, 4)), dim=1)
    poses = transform_poses(alignment(found, truth), whole)[:, :3]
    chord = (poses - true)[:, :, :3].norm(dim=(1, 2)) / math.sqrt(8)
    distance = true[:, :, 3].norm(dim=-1).mean()
    return 2 * chord.arcsin().rad2deg(), 100 * (poses - true)[:, :, 3].norm(dim=-1) / distance


def learnt(scene: Scene, pixels: PixelSource, **settings):
    preset = {k: v for k, v in NGP.PRESETS["standard"].items() if k != "seconds"}
    steps = preset.pop("steps")
    torch.manual_seed(0)
    model, generator = NGP(**preset, **settings).build(scene), torch.Generator().manual_seed(0)
    for step in range(steps):
        model.step(pixels, step / steps, generator)
    return model


def measured(model, scene: Scene, found: PixelSource, truth: PixelSource) -> float:
    """PSNR of the scene's views, their true poses taken into the frame of the cameras that were trained."""
    back = alignment(found, truth).inverse().float()
    longer = float(found.intrinsics[0, 0] / truth.intrinsics[0, 0])
    cameras = scene.cameras
    cameras = replace(
        cameras,
        camera_to_world=transform_poses(back, cameras.camera_to_world),
        fx=cameras.fx * longer,
        fy=cameras.fy * longer,
    )
    return evaluate(model, replace(scene, cameras=cameras), "test")["psnr"]


@pytest.mark.slow
def test_poses_off_by_a_degree_and_two_per_cent_come_back():
    """To a tenth of a degree and a fifth of a per cent, and the views to half a decibel of true poses'."""
    scene, views = (nerf_synthetic.read(LEGO, split) for split in ("train", "test"))
    truth = PixelSource.from_scene(scene)
    distance = float(truth.camera_to_world[:, :, 3].norm(dim=-1).mean())
    wrong = shaken(truth, 1.0, 0.02 * distance)
    psnr = {}
    for name, start, refine in (("true", truth, False), ("wrong", wrong, False), ("refined", wrong, True)):
        model = learnt(scene, start, refine_poses=refine)
        found = model.cameras.pixels if refine else start
        turn, way = errors(found, truth)
        psnr[name] = measured(model, views, found, truth)
        logging.info(
            f"{name}: {psnr[name]:.2f} dB; off by {turn.mean():.3f} degrees (at most {turn.max():.3f}) and "
            f"{way.mean():.3f} % (at most {way.max():.3f})"
        )
    assert turn.mean() < 0.1 and way.mean() < 0.2
    assert psnr["refined"] > psnr["true"] - 0.5
    assert psnr["wrong"] < psnr["refined"] - 3
