"""instant-ngp where space has no end: the fused step against its definition, and far things learnt."""

import math
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from render.methods.ngp_composed import composed_loss
from scenes.generate import analytic
from scenes.layout import unbounded
from scenes.pixels import PixelSource
from scenes.scene import Scene
from tests.render.test_ngp import (
    GRADIENT_TOLERANCE,
    PICTURE_TOLERANCE,
    built,
    needs,
    settings_for,
    small,
    trained,
)


@pytest.fixture(scope="module")
def scene() -> Scene:
    """The spheres, with cameras that stand four inner boxes away: most of what they see is contracted."""
    plain = analytic.generate_spheres(width=48, views={"train": 12, "val": 1, "test": 1})["train"]
    return replace(plain, bounds=unbounded(near=0.2))


@pytest.fixture(scope="module")
def pixels(scene) -> PixelSource:
    return PixelSource.from_scene(scene)


def nested(**settings):
    return small(occupancy_levels=4, near_fade=1.2, **settings)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("schedule", [0.0, 0.7])
def test_the_fused_step_has_the_loss_and_gradients_of_the_composed_one(scene, pixels, precision, schedule):
    needs(precision)
    config = nested(precision=precision)
    fused = trained(built(config, scene), pixels, 30)
    composed = built(config, scene, "reference")
    composed.load_state(fused.state())
    settings, limits = settings_for(fused), fused.limits_at(schedule)
    assert limits.march_growth > 0 and limits.march_near > 0 and limits.fade > 0
    result = fused.fused.train_step(pixels, settings, limits, list(fused.adam.values()), gradients_only=True)
    found = composed_loss(composed, pixels, settings, limits)
    loss, squared_error, selected = found.loss, found.squared_error, len(found.traced.kept)
    tolerance = GRADIENT_TOLERANCE[precision]
    assert result.loss == pytest.approx(loss.item(), rel=tolerance)
    assert result.squared_error == pytest.approx(squared_error, rel=tolerance)
    assert result.evaluated == pytest.approx(int(found.traced.samples.sum()), rel=1e-2)
    assert result.selected == pytest.approx(selected, rel=1e-2)
    assert selected > 500
    wanted = torch.autograd.grad(loss, composed.parameters())
    for state, gradient in zip(fused.adam.values(), wanted, strict=True):
        assert (state.gradient - gradient).norm() < tolerance * gradient.norm()


def test_gradients_fade_near_a_camera(scene, pixels):
    """Without the fade the same step pulls harder; it changes no value."""
    model = trained(built(nested(precision="float32"), scene), pixels, 30)
    settings, limits = settings_for(model), model.limits_at(0.0)

    def step(limits):
        arrays = list(model.adam.values())
        arrays[0].gradient.zero_()
        loss = model.fused.train_step(pixels, settings, limits, arrays, gradients_only=True).loss
        return loss, arrays[1].gradient.norm()

    (loss, faded), (same, whole) = (step(replace(limits, fade=fade)) for fade in (4.0, 0.0))
    assert loss == same
    assert faded < 0.6 * whole, "the spheres are 1.2 to 2.8 sides away"


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_picture_is_the_same_on_both_backends(scene, pixels, precision):
    needs(precision)
    config = nested(precision=precision)
    fused = trained(built(config, scene), pixels, 100)
    composed = built(config, scene, "reference")
    composed.load_state(fused.state())
    one, other = (model.render(scene.cameras[0], ("rgb", "opacity")) for model in (fused, composed))
    assert (other.opacity > 0.5).any()
    assert (one.rgb - other.rgb).abs().max() < PICTURE_TOLERANCE[precision]


@pytest.mark.parametrize("backend", ["kernels", "reference"])
def test_density_falls_with_the_distance_like_the_size_of_what_is_seen(scene, backend):
    """A field that knows nothing: exp(-shift) / (side max(1, reach)), everywhere, far beyond the box too."""
    model = built(nested(density_shift=1.5), scene, backend)
    model.field.grid.table.data.zero_()
    if model.fused:
        model.fused.refresh()
    points = torch.tensor([[0.3, -0.2, 0.9], [4.0, 1.0, -2.0], [0.0, 0.0, -50.0]])
    density = model.fused.density(points) if model.fused else model.field.density(points)
    assert_close(density, math.exp(-1.5) / 2 / torch.tensor([1.0, 4.0, 50.0]))


def test_the_fused_occupancy_is_that_of_the_definition(scene, pixels):
    config = nested(precision="float32")
    fused = trained(built(config, scene), pixels, 40)
    composed = built(config, scene, "reference")
    composed.load_state(fused.state())
    for step in (48, 300):
        for model in (fused, composed):
            model.steps = step
            model.update_occupancy(math.sqrt(3) / 512, seed=5)
        assert_close(fused.occupancy.density, composed.occupancy.density, rtol=2e-3, atol=1e-3)
        differing = (fused.occupancy.occupied() != composed.occupancy.occupied()).float().mean()
        assert differing < 1e-3


def test_any_number_of_threads_and_a_resume_give_the_same_bits(scene, pixels):
    straight = trained(built(nested(), scene), pixels, 40).state()
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        half = trained(built(nested(), scene), pixels, 20)
        resumed = built(nested(), scene, seed=9)
        resumed.load_state({name: value.clone() for name, value in half.state().items()})
        trained(resumed, pixels, 20)
    finally:
        torch.set_num_threads(before)
    for name, value in straight.items():
        assert torch.equal(value, resumed.state()[name]), name


def test_what_lies_far_beyond_the_box_is_learnt(scene, pixels):
    """The spheres stand within 1.5 of the middle, the cameras at 4: all is learnt from outside of the box."""
    model = built(nested(precision="float32"), scene)
    generator = torch.Generator().manual_seed(0)
    for step in range(300):
        values = model.step(pixels, step / 300, generator)
    assert values["psnr"] > 18  # pictures in one grey score about 11 dB
