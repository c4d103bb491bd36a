"""instant-ngp: the fused step against the composition of readable parts, determinism, and learning."""

import math

import pytest
import torch
from torch.testing import assert_close

from fields.kernels.adam import sparse_adam
from fields.kernels.library import BFLOAT16_SETS, library
from fields.kernels.ngp import Limits, StepSettings
from render.methods.ngp import NGP, PARAMETERS
from render.methods.ngp_composed import composed_loss
from scenes.crop import Crop
from scenes.generate import analytic
from scenes.layout import cube_around
from scenes.pixels import PixelSource
from scenes.transforms import rotation_between, similarity
from tests.fields.kernels.equality import assert_same

# Relative error of a whole gradient, and absolute of a picture: sums in another order; bfloat16 also rounds
# activations that lie near a rounding boundary to the other side.
GRADIENT_TOLERANCE = {"float32": 3e-3, "bfloat16": 2e-2}
PICTURE_TOLERANCE = {"float32": 2e-3, "bfloat16": 1e-2}


@pytest.fixture(scope="module")
def scene():
    return analytic.generate_spheres(width=48, views={"train": 12, "val": 1, "test": 2})["train"]


@pytest.fixture(scope="module")
def pixels(scene):
    return PixelSource.from_scene(scene)


def small(**settings) -> NGP:
    return NGP(**{"log2_table_size": 12, "occupancy_resolution": 32, "first_samples": 4_000,
                  "last_samples": 4_000, "finest_resolution": 128, **settings})  # fmt: skip


def built(config: NGP, scene, backend: str = "kernels", seed: int = 0):
    torch.manual_seed(seed)
    return config.build(scene, backend=backend)


def trained(model, pixels, steps: int, seed: int = 3):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        model.step(pixels, 0.0, generator)
    return model


def needs(precision: str) -> None:
    if precision == "bfloat16" and library().isa not in BFLOAT16_SETS:
        pytest.skip("the processor lacks bfloat16 products")


def settings_for(model, **changes) -> StepSettings:
    values = dict(
        seed=3, step=1000, rays=500, background=None, background_share=0.15, background_weight=3.0,
        huber_delta=0.1, learning_rate=1e-2, beta1=0.9, beta2=0.99, epsilon=1e-15, weight_decay=1e-6,
    )  # fmt: skip
    return StepSettings(**{**values, **changes})


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(("levels", "features"), [(8, 4), (16, 2), (8, 8), (5, 4)])
def test_the_fused_step_has_the_loss_and_gradients_of_the_composed_one(
    scene, pixels, precision, levels, features
):
    needs(precision)
    config = small(precision=precision, levels=levels, features=features)
    fused = trained(built(config, scene), pixels, 30)
    composed = built(config, scene, "reference")
    composed.load_state(fused.state())
    settings, limits = settings_for(fused), Limits(math.sqrt(3) / 256)
    result = fused.fused.train_step(pixels, settings, limits, list(fused.adam.values()), gradients_only=True)
    found = composed_loss(composed, pixels, settings, limits)
    loss, squared_error, selected = found.loss, found.squared_error, len(found.traced.kept)
    tolerance = GRADIENT_TOLERANCE[precision]
    assert result.loss == pytest.approx(loss.item(), rel=tolerance)
    assert result.squared_error == pytest.approx(squared_error, rel=tolerance)
    assert result.selected == pytest.approx(selected, rel=1e-2)
    assert selected > 500  # or the comparison would be of nothing
    wanted = torch.autograd.grad(loss, composed.parameters())
    for name, state, gradient in zip(PARAMETERS, fused.adam.values(), wanted, strict=True):
        error = (state.gradient - gradient).norm() / gradient.norm()
        assert error < tolerance, f"{name}: {error:.2e}"


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_fused_updates_are_adam_on_the_fused_gradients(scene, pixels, precision):
    """Step after step: moments and cleared gradients are as the next step needs them."""
    needs(precision)
    model = built(small(precision=precision), scene)
    states, limits = list(model.adam.values()), Limits(math.sqrt(3) / 256)
    for step in range(4):
        settings = settings_for(model, step=step)
        model.fused.train_step(pixels, settings, limits, states, gradients_only=True)
        expected = [[array.clone() for array in state.arrays] for state in states]
        states[0].gradient.zero_()
        for name, arrays in zip(PARAMETERS, expected, strict=True):
            assert (arrays[3] != 0).any()
            if name != "table":
                arrays[3] += settings.weight_decay * arrays[0]
            features = model.config.features if name == "table" else 1
            numbers = ("learning_rate", "beta1", "beta2", "epsilon")
            sparse_adam(*arrays, features, step=step + 1, **{n: getattr(settings, n) for n in numbers})
        model.fused.train_step(pixels, settings, limits, states)
        for state, arrays in zip(states, expected, strict=True):
            torch.testing.assert_close(state.value, arrays[0], atol=2e-6, rtol=0)
            assert_same(state.arrays[1:3], arrays[1:3], "adam")
        assert not states[0].gradient.any(), "a whole step leaves no gradient of the grid"


TILTED = similarity(
    1.0, rotation_between(torch.tensor([0.0, 0.0, 1.0]), torch.tensor([1.0, 2.0, 2.0])), torch.zeros(3)
)


@pytest.mark.parametrize("crop", [Crop((0.2, 0.0, 0.1), (0.9, 0.7, 1.1)).moved(TILTED), None])
def test_a_crop_is_the_same_on_both_backends_and_cuts_density_away(scene, pixels, crop):
    """Of the reference: as if the field had no density outside."""
    fused = trained(built(small(precision="float32"), scene), pixels, 60)
    composed = built(small(precision="float32"), scene, "reference")
    composed.load_state(fused.state())
    names, camera = ("rgb", "opacity", "samples"), scene.cameras[0]
    one, other = (model.render(camera, names, crop=crop) for model in (fused, composed))
    whole = fused.render(camera, names)
    if crop is None:
        assert torch.equal(one.rgb, whole.rgb)
        return
    assert 0.02 < (one.opacity - whole.opacity).abs().mean() and int(one.samples.sum()) > 100
    latent = composed.field._latent
    composed.field._latent = lambda points: (latent(points)[0], latent(points)[1] * crop.contains(points))
    masked = composed.render(camera, names)
    for name in ("rgb", "opacity"):
        assert (getattr(one, name) - getattr(other, name)).abs().max() < PICTURE_TOLERANCE["float32"], name
        assert (getattr(masked, name) - getattr(other, name)).abs().max() < 1e-5, name
    assert (one.samples != other.samples).float().mean() < 0.02
    around = Crop.between((-50.0, -50.0, -50.0), (50.0, 50.0, 50.0))
    assert torch.equal(fused.render(camera, names, crop=around).rgb, whole.rgb)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_picture_is_the_same_on_both_backends(scene, pixels, precision):
    needs(precision)
    config = small(precision=precision)
    fused = trained(built(config, scene), pixels, 100)
    composed = built(config, scene, "reference")
    composed.load_state(fused.state())
    names = ("rgb", "opacity", "distance", "z_depth")
    one, other = (model.render(scene.cameras[0], (*names, "samples")) for model in (fused, composed))
    assert (one.samples != other.samples).float().mean() < 0.02  # where a ray ends may be a tie
    solid = other.opacity > 0.1
    assert solid.any()
    tolerance = PICTURE_TOLERANCE[precision]
    for name in names:
        a, b = getattr(one, name), getattr(other, name)
        a, b = (a[solid], b[solid]) if name in ("distance", "z_depth") else (a, b)
        assert (a - b).abs().max() < (10 if name in ("distance", "z_depth") else 1) * tolerance, name


def test_the_fused_occupancy_is_that_of_the_definition(scene, pixels):
    config = small(precision="float32")
    fused = trained(built(config, scene), pixels, 40)
    composed = built(config, scene, "reference")
    composed.load_state(fused.state())
    for step in (48, 300, 316):  # early and late stride
        for model in (fused, composed):
            model.steps = step
            model.update_occupancy(math.sqrt(3) / 512, seed=5)
        torch.testing.assert_close(fused.occupancy.density, composed.occupancy.density, rtol=2e-3, atol=1e-3)
        differing = (fused.occupancy.occupied() != composed.occupancy.occupied()).float().mean()
        assert differing < 1e-3


@pytest.mark.parametrize("threads", [2, 3, 5])
def test_any_number_of_threads_gives_the_same_bits(scene, pixels, threads):
    def bits(count: int) -> dict[str, torch.Tensor]:
        before = torch.get_num_threads()
        torch.set_num_threads(count)
        try:
            return {k: v.clone() for k, v in trained(built(small(), scene), pixels, 40).state().items()}
        finally:
            torch.set_num_threads(before)

    one, many = bits(1), bits(threads)
    for name, value in one.items():
        assert torch.equal(value, many[name]), name


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(scene, pixels):
    first, again, other = (trained(built(small(), scene), pixels, 20, seed) for seed in (3, 3, 4))
    assert torch.equal(first.adam["table"].value, again.adam["table"].value)
    assert not torch.equal(first.adam["table"].value, other.adam["table"].value)


def test_a_state_that_is_loaded_goes_on_as_if_never_stored(scene, pixels):
    straight = trained(built(small(), scene), pixels, 50)
    half = trained(built(small(), scene), pixels, 25)
    resumed = built(small(), scene, seed=9)
    resumed.load_state({name: value.clone() for name, value in half.state().items()})
    trained(resumed, pixels, 25)
    for name, value in straight.state().items():
        assert torch.equal(value, resumed.state()[name]), name


def test_rays_that_miss_the_box_show_the_background(scene, pixels):
    model = trained(built(small(), scene), pixels, 5)
    away = type(scene.cameras).look_at((9, 0, 0), (18, 0, 0), (0, 0, 1), 8, 6, 40.0)
    seen = model.render(away, ("rgb", "opacity"), background=(0.2, 0.4, 0.6))
    assert not seen.opacity.any()
    torch.testing.assert_close(seen.rgb, torch.tensor((0.2, 0.4, 0.6)).expand(6, 8, 3))


@pytest.mark.parametrize("backend", ["kernels", "reference"])
def test_space_that_knows_nothing_has_the_density_it_begins_with(scene, backend):
    """exp(-density_shift) for each side of the box, whatever the networks' weights; no bias lifts it."""
    model = built(small(density_shift=1.5), scene, backend)
    model.field.grid.table.data.zero_()
    if model.fused:
        model.fused.refresh()
    points = torch.rand(50, 3) * model.field.box_side + model.field.box_minimum
    density = model.fused.density(points) if model.fused else model.field.density(points)
    assert_close(density, torch.full((50,), math.exp(-1.5) / model.field.box_side), rtol=1e-6, atol=0)


@pytest.mark.parametrize(("backend", "steps", "floor"), [("kernels", 250, 18), ("reference", 60, 15)])
def test_a_little_training_shows_the_spheres(scene, pixels, backend, steps, floor):
    """Pictures in one grey score about 11 dB."""
    config = small(precision="float32")
    model = built(config, scene, backend)
    generator = torch.Generator().manual_seed(0)
    for step in range(steps):
        values = model.step(pixels, step / steps, generator)
    assert values["psnr"] > floor


def test_a_step_follows_the_pixels_and_the_arrays_it_is_given(scene, pixels):
    """What the fused calls keep of their arguments is made anew when one of them is another."""
    others = PixelSource.from_scene(analytic.generate_spheres(width=32, views={"train": 5})["train"])
    limits = Limits(math.sqrt(3) / 256)

    def loss(model, source):
        settings = settings_for(model, background=(1.0, 1.0, 1.0))
        return model.fused.train_step(
            source, settings, limits, list(model.adam.values()), gradients_only=True
        ).loss

    fresh = [loss(built(small(), scene), source) for source in (pixels, others)]
    kept = built(small(), scene)
    assert [loss(kept, pixels), loss(kept, others), loss(kept, pixels)] == [*fresh, fresh[0]]
    kept.field.color_weights.data = torch.full_like(kept.field.color_weights.data, 0.5)
    assert loss(kept, pixels) != fresh[0]


def test_a_nan_in_the_parameters_reaches_the_loss(scene, pixels):
    model = trained(built(small(precision="float32"), scene), pixels, 20)
    model.adam["color_weights"].value.fill_(math.nan)
    assert math.isnan(model.step(pixels, 0.0, torch.Generator().manual_seed(3))["loss"])


def test_the_learning_rate_is_constant_and_then_falls_to_its_last_share():
    config = NGP()
    rates = [config.learning_rate_at(s) for s in (0.0, config.constant_share, 1.0)]
    assert rates[0] == rates[1] == config.learning_rate
    assert rates[2] == pytest.approx(config.learning_rate * config.final_learning_rate)
    assert NGP(constant_share=1.0).learning_rate_at(1.0) == config.learning_rate, "it may stay constant"


def test_the_number_of_rays_follows_the_samples_they_meet(scene):
    model = built(small(), scene)
    model.rays = 1024
    model.adapt_rays(wanted_samples=30_000, evaluated=20_000)
    assert model.rays == 1536
    model.adapt_rays(wanted_samples=30_000, evaluated=1)
    assert model.rays == 3072, "at most twice as many"
    model.adapt_rays(wanted_samples=100, evaluated=10**6)
    assert model.rays == 1536, "at least half as many"


def test_the_cube_is_the_smallest_around_the_middle_of_the_box():
    assert cube_around((-1, 0, 2), (1, 4, 3)) == ((-2.0, 0.0, 0.5), 4.0)
