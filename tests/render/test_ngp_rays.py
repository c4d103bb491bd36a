"""What the fused step does beyond colours: distortion, depth, appearances, and gradients of rays."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from render.methods.ngp_composed import composed_loss
from scenes.generate import analytic
from scenes.layout import unbounded
from scenes.pixels import PixelSource
from scenes.scene import Scene
from tests.render.test_ngp import GRADIENT_TOLERANCE, built, needs, settings_for, small, trained

TERMS = {
    "colour alone": {},
    "distortion": {"distortion": 0.3},
    "depth": {"depth": 0.7},
    "opacity": {"opacity": 0.4},
    "all": {"distortion": 0.2, "depth": 0.5, "opacity": 0.3},
    "sightings": {"depth": 0.7, "sighting_share": 0.4},
}


@pytest.fixture(scope="module", params=["box", "unbounded"])
def scene(request) -> Scene:
    plain = analytic.generate_spheres(width=48, views={"train": 12, "val": 1, "test": 1})["train"]
    return plain if request.param == "box" else replace(plain, bounds=unbounded(near=0.2))


@pytest.fixture(scope="module")
def pixels(scene) -> PixelSource:
    """Half of the pixels' distances are known: some in front of the spheres, some in them, some behind.

    And 200 sightings, at distances that no pixel has.
    """
    source = PixelSource.from_scene(scene)
    random = torch.rand(source.data.numel() // source.channels, generator=torch.Generator().manual_seed(1))
    places = torch.randint(48, (200, 3), generator=torch.Generator().manual_seed(2), dtype=torch.int32)
    return replace(
        source,
        distances=torch.where(random < 0.5, 0.0, 1 + 6 * random),
        sighted=places % torch.tensor([len(scene), 48, 48], dtype=torch.int32),
        sighted_distance=torch.linspace(0.5, 9, 200),
    )


@pytest.fixture(scope="module")
def appearance(scene):
    noise = torch.randn(len(scene), 3, 4, generator=torch.Generator().manual_seed(2))
    return torch.eye(3, 4) + 0.2 * noise


def config(scene, **settings):
    return small(occupancy_levels=4 if scene.bounds.unbounded else 1, near_fade=1.2, **settings)


def both(scene, pixels, precision, **settings):
    """A model on the kernels, 30 steps old, and the same one on the reference."""
    needs(precision)
    settings = config(scene, precision=precision, **settings)
    fused = trained(built(settings, scene), pixels, 30)
    composed = built(settings, scene, "reference")
    composed.load_state(fused.state())
    return fused, composed


def assert_same_rays(ours, wanted, tolerance):
    """All but one in a hundred: a sample that rounding takes across a cell's face has another slope there."""
    errors = (ours - wanted).norm(dim=-1).sort().values
    assert errors[: -len(errors) // 100].norm() < tolerance * wanted.norm()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("looks", [False, True])
@pytest.mark.parametrize("terms", TERMS)
def test_every_loss_and_gradient_is_that_of_the_definition(
    scene, pixels, appearance, terms, looks, precision
):
    fused, composed = both(scene, pixels, precision)
    settings, limits = settings_for(fused, **TERMS[terms]), fused.limits_at(0.6)
    look = appearance if looks else None
    states = list(fused.adam.values())
    result = fused.fused.train_step(
        pixels, settings, limits, states, appearance=look, ray_gradients=True, gradients_only=True
    )
    found = composed_loss(composed, pixels, settings, limits, look, ray_gradients=True)
    tolerance = GRADIENT_TOLERANCE[precision]
    assert len(found.traced.kept) > 500
    assert result.loss == pytest.approx(found.loss.item(), rel=tolerance)
    gradients, told = found.differentiate(composed.parameters(), True, True)
    for state, gradient in zip(states, gradients, strict=True):
        assert (state.gradient - gradient).norm() < tolerance * gradient.norm()
    assert torch.equal(result.rays.pixel, told.pixel)
    for name in ("color", "color_gradient", "origin_gradient", "direction_gradient"):
        assert_same_rays(getattr(result.rays, name), getattr(told, name), 2 * tolerance)


@pytest.mark.parametrize("levels, features", [(16, 2), (4, 8)])
def test_rays_have_gradients_whatever_the_grid(scene, pixels, levels, features):
    fused, composed = both(scene, pixels, "float32", levels=levels, features=features)
    settings, limits = settings_for(fused), fused.limits_at(0.6)
    states = list(fused.adam.values())
    result = fused.fused.train_step(pixels, settings, limits, states, ray_gradients=True, gradients_only=True)
    found = composed_loss(composed, pixels, settings, limits, None, ray_gradients=True)
    _, told = found.differentiate(composed.parameters(), False, True)
    assert_same_rays(result.rays.origin_gradient, told.origin_gradient, 6e-3)


def test_what_is_told_changes_no_bit_of_the_step(scene, pixels):
    plain, told = (trained(built(config(scene), scene), pixels, 10) for _ in range(2))
    identity = torch.eye(3, 4).expand(len(scene), 3, 4).contiguous()
    for model, extra in ((plain, {}), (told, {"ray_gradients": True, "appearance": identity})):
        settings, limits = settings_for(model), model.limits_at(0.6)
        result = model.fused.train_step(pixels, settings, limits, list(model.adam.values()), **extra)
        assert (result.rays is None) == (not extra)
    for name, value in plain.state().items():
        assert_close(value, told.state()[name], rtol=0, atol=0, msg=name)


def test_levels_that_are_not_active_learn_nothing_and_move_no_ray(scene, pixels):
    fused, composed = both(scene, pixels, "float32")
    settings, limits = settings_for(fused, active_levels=3), fused.limits_at(0.6)
    states = list(fused.adam.values())
    result = fused.fused.train_step(pixels, settings, limits, states, ray_gradients=True, gradients_only=True)
    found = composed_loss(composed, pixels, settings, limits, None, ray_gradients=True)
    gradients, told = found.differentiate(composed.parameters(), False, True)
    first = int(fused.field.grid.offset[3]) * fused.config.features
    assert gradients[0][:first].any() and not gradients[0][first:].any()
    assert not states[0].gradient[first:].any()
    assert (states[0].gradient - gradients[0]).norm() < 3e-3 * gradients[0].norm()
    assert_same_rays(result.rays.origin_gradient, told.origin_gradient, 6e-3)
