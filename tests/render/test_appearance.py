"""Exposures and white balances: gradients, gauge, and what they recover."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from fields.kernels.ngp import StepRays
from render.appearance import Appearance, fitted
from scenes.generate import analytic
from scenes.images import ImageSequence
from scenes.pixels import PixelSource
from tests.render.test_ngp import built, small


@pytest.fixture
def rays(generator) -> StepRays:
    """Forty rays of pictures 0, 1 and 3; picture 2 has none."""
    picture = torch.tensor([0, 1, 3])[torch.randint(3, (40,), generator=generator)]
    pixel = torch.stack((picture, torch.zeros_like(picture), torch.zeros_like(picture)), dim=-1).int()
    color, gradient = torch.rand(2, 40, 3, generator=generator)
    return StepRays(pixel, color, gradient - 0.5, None, None)


def test_the_gradient_is_that_of_the_transforms(rays, generator):
    appearance = Appearance(4)
    value = (0.3 * torch.randn(4, 6, generator=generator)).requires_grad_()
    appearance.value = value
    transforms = appearance.transforms()[rays.pixel[:, 0].long()]
    shown = (transforms[..., :3] @ rays.color[..., None])[..., 0] + transforms[..., 3]
    (wanted,) = torch.autograd.grad((shown * rays.color_gradient).sum(), value)
    appearance.value = value.detach()
    assert_close(appearance.gradient(rays), wanted)


def test_pictures_that_gave_no_ray_move_with_the_mean_alone(rays):
    appearance = Appearance(4)
    appearance.update(rays, 0.01, 1)
    assert_close(appearance.value.mean(dim=0), torch.zeros(6))
    untouched = appearance.value[2] - appearance.value.mean(dim=0)
    moved = appearance.value[[0, 1, 3]] - untouched
    assert_close(moved.abs(), torch.full((3, 6), 0.01), msg="Adam's first step is the learning rate")


def test_the_fit_finds_gain_and_bias_and_leaves_a_grey_wall_its_gain(generator):
    scene = torch.rand(9, 11, 3, generator=generator)
    gain, bias = torch.tensor([0.7, 1.0, 1.6]), torch.tensor([0.1, 0.0, -0.2])
    found = fitted(scene * gain + bias, scene)
    assert_close(found[0], gain)
    assert_close(found[1], bias)
    wall = torch.full((9, 11, 3), 0.5)
    found = fitted(wall * gain + bias, wall)
    assert_close(found[0], torch.ones(3))
    assert_close(wall * found[0] + found[1], wall * gain + bias)


def exposed(scene, gains):
    """The scene's pictures on black, each as bright as its gain says."""
    pictures = []
    for index, gain in enumerate(gains):
        rgb, alpha = scene.images[index][..., :3], scene.images[index][..., 3:]
        pictures.append((rgb * (alpha / 255) * gain * 0.7).to(torch.uint8))
    return replace(scene, images=ImageSequence(tuple(pictures)), has_alpha=False, background=None)


def learnt(scene, steps, backend="kernels", **settings):
    config = small(precision="float32", first_samples=8000, last_samples=8000, **settings)
    model, generator = built(config, scene, backend), torch.Generator().manual_seed(0)
    pixels = PixelSource.from_scene(scene)
    for step in range(steps):
        model.step(pixels, step / steps, generator)
    return model


def test_exposures_are_found_and_new_views_are_better_for_it():
    """Alone, the field must explain by place and view what only the exposure changed."""
    made = analytic.generate("planes", width=48, views={"train": 16, "val": 4})
    gains = torch.linspace(0.3, 1.7, 16)[torch.randperm(16, generator=torch.Generator().manual_seed(1))]
    scene, views = exposed(made["train"], gains), exposed(made["val"], torch.ones(4))
    psnr = {}
    for appearance in (False, True):
        model = learnt(scene, 600, appearance=appearance, appearance_rate=0.04)
        errors = []
        for index in range(4):
            truth, picture = views.images[index] / 255, model.render(views.cameras[index]).rgb
            gain, bias = fitted(truth, picture)
            errors.append((picture * gain + bias - truth).square().mean())
        psnr[appearance] = float(-10 * torch.stack(errors).mean().log10())
    assert psnr[True] > psnr[False] + 0.7
    found = model.appearance.value[:, :3].mean(dim=1)
    assert torch.corrcoef(torch.stack((found, gains.log())))[0, 1] > 0.9
    assert found.std() > 0.6 * gains.log().std()


def test_the_reference_learns_exposures_as_the_kernels_do():
    scene = analytic.generate("planes", width=16, views={"train": 4})["train"]
    scene = exposed(scene, torch.tensor([0.5, 1.0, 1.2, 1.4]))
    one, other = (learnt(scene, 12, backend, appearance=True) for backend in ("kernels", "reference"))
    assert_close(one.appearance.value, other.appearance.value, rtol=0, atol=1e-3)
    assert one.appearance.value.abs().max() > 0.003
