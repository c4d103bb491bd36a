"""The step of a depth training, alone and under the trainer that all trainings have in common."""

import itertools
import math
from dataclasses import replace

import pytest
import torch

from render import checkpoint, run
from render.run import RunFolder
from render.trainer import Length, Training
from tests.tools.depth.depth_sets import Numbered, Slopes
from tools.depth.models import read_model, read_tensors
from tools.depth.small import SIZES, Small
from tools.depth.training import Recipe
from tools.depth.weights import WeightsError, take_weights

RECIPE = Recipe(model="tiny", batch=4, width=64, height=32, warm_up=5, averaged=0.9, precision="float32")


@pytest.fixture
def sets():
    return Slopes("slopes"), Slopes("disparities", "relative_inverse", 5)


@pytest.fixture
def start(sets):
    """A function that sets up a training; its batches are closed when the test ends."""
    opened = []

    def make(recipe=RECIPE, length=6, **options) -> Training:
        opened.append(recipe.batches(sets, memory=1e9))
        return Training(recipe.build(seed=1), opened[-1], Length(steps=length), **options)

    yield make
    for batches in opened:
        batches.close()


def same(first, second) -> bool:
    ours, theirs = first.state(), second.state()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize(
    "settings",
    [{}, {"mixing": "pareto"}, {"precision": "bfloat16", "loss": "ssitrim"}, {"loss": "ssimse"}],
    ids=lambda settings: "-".join(settings.values()) or "plain",
)
def test_a_resume_equals_the_uninterrupted_training_bit_for_bit(start, settings, tmp_path):
    recipe = replace(RECIPE, **settings)
    whole = start(recipe, seed=3)
    list(whole)
    steps = itertools.count(1)
    part = start(recipe, seed=3, home=RunFolder(tmp_path), stop=lambda: next(steps) > 2)
    list(part)
    assert part.step == 2 and not same(part.model, whole.model)
    found = checkpoint.load_latest(tmp_path / "checkpoints", pytest.fail)
    rest = start(recipe, seed=99, resume=found)
    list(rest)
    assert same(rest.model, whole.model)
    other = start(recipe, seed=4)
    list(other)
    assert not same(other.model, whole.model)


def test_a_checkpoint_holds_a_network_to_use(start, tmp_path):
    """model.safetensors is the averaged network and nothing else, as `--weights` wants it."""
    training = start(home=RunFolder(tmp_path))
    list(training)
    found = Small(SIZES["tiny"])
    file = tmp_path / "checkpoints" / "step-6" / "model.safetensors"
    take_weights(found, read_tensors(file), (), (), str(file))
    for name, value in training.model.average.state_dict().items():
        assert torch.equal(found.state_dict()[name], value)


def test_the_weights_that_are_kept_are_a_mean_of_past_ones(start):
    """After n steps: each step's weights count less by `averaged` for every step after it."""
    training = start(replace(RECIPE, averaged=0.25))
    model = training.model
    expected = {name: value.clone().double() for name, value in model.network.state_dict().items()}
    keep_mean = model.keep_mean

    def watched():
        carried = min(0.25, (1 + int(model.steps)) / (10 + int(model.steps)))
        for name, value in model.network.state_dict().items():
            expected[name] = carried * expected[name] + (1 - carried) * value.double()
        keep_mean()

    model.keep_mean = watched
    list(training)
    for name, value in model.average.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value.double(), expected[name], rtol=1e-5, atol=1e-6)
        else:
            assert torch.equal(value, model.network.state_dict()[name])


def random_maps(count=3):
    generator = torch.Generator().manual_seed(0)
    found = torch.rand(count, 24, 32, generator=generator)
    values = 0.5 + torch.rand(count, 24, 32, generator=generator)
    unknown = torch.rand(count, 24, 32, generator=generator) < 0.2
    return found, torch.where(unknown, torch.nan, values)


@pytest.mark.parametrize("loss", ["ssimse", "ssimae", "ssitrim"])
def test_whichever_way_depth_is_told_the_loss_is_the_same(loss):
    """z_depth, inverse depth up to scale, and up to scale and shift: of one scene, one loss."""
    model = replace(RECIPE, loss=loss).build()
    found, z_depth = random_maps()
    expected = model.loss(found, z_depth, "z_depth")
    inverse = 1 / z_depth
    assert expected > 0.1
    torch.testing.assert_close(model.loss(found, 7 * inverse, "inverse_depth"), expected)
    torch.testing.assert_close(model.loss(found, 7 * inverse - 20, "relative_inverse"), expected)


def test_l1_takes_inverse_depth_as_it_is_told():
    """Half the mean |d - d*| over known pixels; another scale is another loss."""
    model = replace(RECIPE, loss="l1", edges=0.0).build()
    found, z_depth = random_maps()
    rows = []
    for prediction, values in zip(found, z_depth, strict=True):
        known = values.isfinite()
        rows.append((prediction[known] - 1 / values[known]).abs().mean() / 2)
    expected = torch.stack(rows).mean()
    torch.testing.assert_close(model.loss(found, z_depth, "z_depth"), expected)
    torch.testing.assert_close(model.loss(found, 1 / z_depth, "inverse_depth"), expected)
    assert model.loss(found, 2 / z_depth, "inverse_depth") > 1.5 * expected


@pytest.mark.parametrize("shared", ["features", "parameters"])
def test_pareto_weighs_gradients_to_the_least_norm(shared):
    """Of what it is told to look at; equal weighs nothing."""
    model = replace(RECIPE, mixing="pareto", shared=shared).build()
    images = torch.rand(4, 3, 32, 64, generator=torch.Generator().manual_seed(0))
    features = model.network.encode(images)
    found = model.network.decode(features)[:, 0]
    losses = [found[:2].square().mean(), 5 * found[2:, :8].mean()]
    over = features if shared == "features" else list(model.network.parameters())
    first, second = (
        torch.cat([part.flatten() for part in torch.autograd.grad(loss, over, retain_graph=True)])
        for loss in losses
    )
    weights = model.weights(losses, features)
    norms = [float((k / 100 * first + (1 - k / 100) * second).norm()) for k in range(101)]
    ours = float((weights[0] * first + weights[1] * second).norm())
    torch.testing.assert_close(weights.sum(), torch.tensor(1.0))
    assert ours <= 1.0001 * min(norms) < 0.99 * norms[50]
    equal = replace(RECIPE, mixing="equal").build()
    assert torch.equal(equal.weights(losses, features), torch.tensor([0.5, 0.5]))


def test_the_learning_rate_rises_along_a_line_and_falls_along_a_cosine():
    model = replace(RECIPE, learning_rate=0.5, final_learning_rate=0.1, warm_up=4).build()
    rates = []
    for step in range(6):
        model.steps.fill_(step)
        rates.append(model.learning_rate(0.0))
    assert rates == [0.125, 0.25, 0.375, 0.5, 0.5, 0.5]
    found = [model.learning_rate(schedule) for schedule in (0.0, 0.25, 0.5, 1.0)]
    expected = [0.5, 0.05 + 0.45 * (2 + math.sqrt(2)) / 4, 0.275, 0.05]
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("mixing", ["equal", "pareto"])
def test_a_loss_that_is_no_number_takes_the_training_back(start, mixing, tmp_path):
    """One spoilt batch: the trainer goes back to its last checkpoint, and other pictures come."""
    training = start(replace(RECIPE, mixing=mixing), home=RunFolder(tmp_path), seed=3, checkpoint_every=2)
    at = training.pixels.at

    def spoilt(seed, step):
        batch = at(seed, step)
        return replace(batch, images=batch.images * math.nan) if (seed, step) == (3, 4) else batch

    training.pixels.at = spoilt
    notes = [report.note for report in training if report.note]
    assert notes == ["the loss of step 5 is nan; back at step 4 with other random numbers (1 of 3)"]
    assert training.step == 6 and all(v.isfinite().all() for v in training.model.state().values())


def test_a_gradient_that_is_no_number_changes_no_weight_and_is_told(start):
    training = start()
    parameters = list(training.model.network.parameters())
    before = [parameter.clone() for parameter in parameters]
    parameters[-1].register_hook(lambda gradient: gradient * math.nan)
    assert math.isnan(training.model.step(training.pixels, 0.0, training.generator)["loss"])
    assert all(torch.equal(now, then) for now, then in zip(parameters, before, strict=True))


def test_each_set_s_loss_is_told_under_its_name(start):
    training = start()
    told = training.model.step(training.pixels, 0.0, training.generator)
    each = told["loss/slopes"], told["loss/disparities"]
    assert told["loss"] == pytest.approx(sum(each) / 2) and each[0] != each[1]
    assert (told["samples"], told["rays"]) == (4, 4 * 64 * 32) or told["rays"] in (4 * 64 * 64, 4 * 32 * 64)


def test_the_file_of_weights_is_the_averaged_network_and_small(tmp_path):
    """Matrices to half precision, batch norms untouched: predictions move by less than 1 %."""
    torch.manual_seed(0)
    model = Recipe().build()
    for name, value in model.average.state_dict().items():
        if name.endswith("running_var"):
            value.copy_(1e6 * torch.rand_like(value) + 1e-9)  # neither end fits half precision
    file = tmp_path / "small.safetensors"
    model.write(file)
    assert file.stat().st_size <= 12e6
    found = read_model("small", file)
    for name, value in model.average.state_dict().items():
        if value.ndim < 2:
            assert torch.equal(found.state_dict()[name], value), name
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        ours, theirs = model.average(images), found(images)
    assert (ours - theirs).std() < 0.01 * ours.std()


def test_a_training_starts_from_the_weights_of_a_file(start, tmp_path):
    first = start(length=2)
    list(first)
    found = tmp_path / "tiny.safetensors"
    first.model.write(found)
    model = RECIPE.build(seed=5)
    model.start_from(found)
    written = read_tensors(found)
    for network in (model.network, model.average):
        assert all(torch.equal(v, written[n].to(v.dtype)) for n, v in network.state_dict().items())
    with pytest.raises(WeightsError, match=r"tiny.safetensors: not weights of this model"):
        Recipe().build().start_from(found)


def test_labels_that_tell_too_little_are_refused():
    sets = (Slopes("metres"), Slopes("films", "relative_inverse"))
    with pytest.raises(ValueError, match="films: tells inverse depth up to scale and shift"):
        replace(RECIPE, loss="l1").check(sets)
    RECIPE.check(sets)
    with pytest.raises(ValueError, match="two data sets are called metres"):
        RECIPE.check((*sets, Slopes("metres")))
    with pytest.raises(ValueError, match="batch=4: 5 data sets"):
        RECIPE.check([Numbered(str(k), 3) for k in range(5)])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"width": 100}, "width=100: must be a multiple of 32"),
        ({"height": 0}, "height=0: must be a multiple"),
        ({"batch": 0}, "batch=0: must be at least 1"),
        ({"averaged": 1.0}, "averaged=1.0: must be at least 0 and below 1"),
        ({"clip": -1.0}, "clip=-1.0: must be above 0"),
        ({"edges": -1.0}, "edges=-1.0: must be at least 0"),
        ({"anchor": math.nan}, "anchor=nan: must be at least 0"),
        ({"learning_rate": 0.0}, "learning_rate=0.0: must be above 0 and at most 1"),
        ({"final_learning_rate": 7.0}, "final_learning_rate=7.0: must be at least 0 and at most 1"),
    ],
)
def test_settings_that_make_no_training_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**settings)


def test_a_batch_of_one_value_is_refused_before_it_is_one():
    """Batch norm makes nothing of it; with other shapes 64x32 becomes 32x32, too."""
    with pytest.raises(ValueError, match="batch=1: one picture of 32x32 has but one value"):
        replace(RECIPE, batch=1, width=64, height=32, varied_shapes=True).check([Slopes("metres")])
    for other in ({"batch": 2}, {"varied_shapes": False}, {"width": 96, "height": 64}):
        told = {"batch": 1, "width": 64, "height": 32, "varied_shapes": True, **other}
        replace(RECIPE, **told).check([Slopes("metres")])


@pytest.mark.parametrize("mixing", ["equal", "pareto"])
def test_it_learns(start, mixing):
    """Planes lit by how near they are, from labels of two kinds: the loss falls to less than half."""
    recipe = replace(RECIPE, mixing=mixing, batch=8, learning_rate=3e-3, varied_shapes=False)
    training = start(recipe, length=60)
    losses = [training.model.step(training.pixels, k / 60, training.generator)["loss"] for k in range(60)]
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])


def test_the_network_is_drawn_from_the_seed_and_the_user_s_generator_is_left_alone():
    state = torch.random.get_rng_state()
    models = [RECIPE.build(seed) for seed in (3, 3, 4)]
    assert torch.equal(torch.random.get_rng_state(), state)
    assert same(models[0], models[1]) and not same(models[0], models[2])
    assert run.GENERATOR_LENT.acquire(blocking=False)
    run.GENERATOR_LENT.release()
