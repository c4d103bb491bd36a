"""The fused step draws the rays that scenes/pixels.py defines: behind any lens, of any size, around masks."""

import math
from dataclasses import replace

import pytest
import torch

from fields.kernels.ngp import Limits
from render.methods.ngp_composed import composed_loss
from scenes.cameras import Cameras
from scenes.generate import analytic
from scenes.images import ImageSequence
from scenes.pixels import PixelSource
from scenes.scene import Scene
from tests.render.test_ngp import built, settings_for, small, trained

LENSES = {
    "perspective": (-0.2, 0.05, 2e-3, -1e-3, 0.01, 0.02, 0.0, 0.0),
    "fisheye": (0.05, -0.01, 0.003, 0.0, 0.0, 0.0, 0.0, 0.0),
    "equirectangular": (0.0,) * 8,
}


@pytest.fixture(scope="module")
def plain() -> Scene:
    return analytic.generate_spheres(width=48, views={"train": 8, "val": 1, "test": 1})["train"]


def behind(scene: Scene, projection: str, masks: bool, mixed: bool) -> PixelSource:
    """The scene's pictures as if another lens had taken them, half of them cropped, a disc of each hidden."""
    cameras, n = scene.cameras, len(scene)
    sizes = torch.tensor([(48, 48) if not mixed or i % 2 else (45, 37) for i in range(n)])
    pictures = tuple(scene.images[i][: sizes[i, 1], : sizes[i, 0]] for i in range(n))
    lens = torch.tensor(LENSES[projection]).expand(n, 8), projection
    poses, intrinsics = cameras.camera_to_world, cameras.intrinsics.unbind(-1)
    cameras = Cameras(poses, *intrinsics, sizes[:, 0], sizes[:, 1], *lens)
    disc = ((cameras[1].pixel_centres() - 20).norm(dim=-1) > 9) if masks else None
    hidden = tuple(None if disc is None else disc[: p.shape[0], : p.shape[1]] for p in pictures)
    return PixelSource.from_scene(
        replace(scene, cameras=cameras, images=ImageSequence(pictures), masks=hidden if masks else ())
    )


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("projection", LENSES)
def test_the_fused_step_draws_the_rays_of_the_definition(plain, projection, mixed, masks):
    """Loss and gradients of rays that differ would differ by far more than the order of sums."""
    source = behind(plain, projection, masks, mixed)
    config = small(precision="float32")
    fused = trained(built(config, plain), source, 20)
    composed = built(config, plain, "reference")
    composed.load_state(fused.state())
    settings, limits = settings_for(fused, rays=800), Limits(math.sqrt(3) / 256)
    result = fused.fused.train_step(source, settings, limits, list(fused.adam.values()), gradients_only=True)
    found = composed_loss(composed, source, settings, limits)
    loss, squared_error, selected = found.loss, found.squared_error, len(found.traced.kept)
    assert selected > 300
    assert result.loss == pytest.approx(loss.item(), rel=1e-3)
    assert result.squared_error == pytest.approx(squared_error, rel=1e-3)
    wanted = torch.autograd.grad(loss, composed.parameters())
    for state, gradient in zip(fused.adam.values(), wanted, strict=True):
        assert (state.gradient - gradient).norm() < 3e-3 * gradient.norm()


def test_lenses_and_masks_are_followed(plain):
    """The same settings give another loss behind another lens, and with a mask: neither is passed over."""
    model, limits = built(small(precision="float32"), plain), Limits(math.sqrt(3) / 256)
    settings = settings_for(model, rays=800, background=(1.0, 1.0, 1.0))

    def loss(projection: str, masks: bool) -> float:
        source = behind(plain, projection, masks, mixed=True)
        step = model.fused.train_step
        return step(source, settings, limits, list(model.adam.values()), gradients_only=True).loss

    losses = {loss(projection, masks) for projection in LENSES for masks in (False, True)}
    assert len(losses) == 6
