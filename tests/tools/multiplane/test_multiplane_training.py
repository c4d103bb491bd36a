"""One training step of AdaMPI: what learns when, and that a resumed training is the same one."""

import math
from dataclasses import replace

import pytest
import torch

from render.trainer import PART
from scenes.cameras import Cameras
from scenes.generate.rooms import neighbours
from tools.multiplane import losses
from tools.multiplane.layers import layered
from tools.multiplane.planes import even_planes, in_order
from tools.multiplane.training import STAGES, WEIGHTS, Recipe, Stack
from tools.multiplane.view_pairs import together, view_pair

SIDE = 128


class Same:
    """The same pair at every step: a textured square before a textured wall."""

    def __init__(self, count: int = 2) -> None:
        generator = torch.Generator().manual_seed(3)
        coarse = torch.rand(1, 3, 16, 16, generator=generator)
        texture = torch.nn.functional.interpolate(coarse, (SIDE, SIDE), mode="bilinear")[0].permute(1, 2, 0)
        pictures = (255 * texture).byte()
        cameras, depths = [], []
        for x in (0.0, 0.2):
            pose = torch.eye(4)
            pose[0, 3] = x
            K = [[SIDE, 0, SIDE / 2], [0, SIDE, SIDE / 2], [0, 0, 1]]
            cameras.append(Cameras.from_matrices(K=K, camera_to_world=pose, width=SIDE, height=SIDE))
            depth = torch.full((SIDE, SIDE), 4.0)
            depth[30:90, 40 - int(SIDE * x) : 90 - int(SIDE * x)] = 1.0
            depths.append(depth)
        shifted = pictures.roll(-int(SIDE * 0.05), dims=1)
        args = (pictures, depths[0], cameras[0], shifted, depths[1], cameras[1])
        self.batch = together([view_pair(*args)] * count)

    def at(self, seed: int, step: int):
        return self.batch


@pytest.fixture(scope="module")
def pairs() -> Same:
    return Same()


@pytest.fixture(scope="module")
def made_up():
    """A made-up place from two spots, as a batch, and layers of the first picture from its exact depth."""
    first, second = neighbours(3, 96, 96, [(0.15, 0.0, 0.0)], kind="room")
    views = [
        (torch.from_numpy(view.rgb), torch.from_numpy(view.z_depth), view.camera) for view in (first, second)
    ]
    pair = view_pair(*views[0], *views[1])
    image = layered(pair.source.permute(1, 2, 0), pair.disparity, pair.camera, 16)
    return (
        together([pair]),
        1 / image.z_depth[None],
        Stack(image.rgb[None], image.opacity[None], image.opacity_kind),
    )


def seen(batch, planes, stack):
    return Recipe(planes=16).build().seen(batch, planes, stack, 0)[0]


def test_a_stack_is_compared_with_what_the_other_camera_sees(made_up):
    """Not with what the first one does, nor from the wrong side: layers of the exact depth are near to it."""
    batch, planes, stack = made_up
    told = seen(batch, planes, stack)
    still = (batch.source - batch.truth).abs().mean()
    assert told["absolute"] < 0.6 * still and told["disparity"] < 0.03
    swapped = replace(batch, cameras=batch.targets, targets=batch.cameras)
    assert seen(swapped, planes, stack)["absolute"] > still
    assert seen(replace(batch, truth=batch.source), planes, stack)["absolute"] > 0.6 * still


def test_what_is_hidden_is_what_hidden_losses_look_at(made_up):
    """What is wrong there alone counts there as much more as that is less than all; colours, once drawn."""
    batch, planes, stack = made_up
    share = batch.hidden.double().mean()
    assert 0.005 < share < 0.3
    wrong = replace(batch, truth_disparity=torch.where(batch.hidden, 1.0, batch.truth_disparity))
    before, after = (seen(each, planes, stack) for each in (batch, wrong))
    more = {name: float(after[name] - before[name]) for name in ("disparity", "hidden_disparity")}
    assert more["hidden_disparity"] > 0.2
    assert more["disparity"] == pytest.approx(float(share) * more["hidden_disparity"], rel=1e-4)
    assert "hidden_absolute" not in before
    density = seen(batch, planes, replace(stack, opacity=20 * stack.opacity, kind="density"))
    assert {"hidden_absolute", "hidden_dissimilarity"} <= density.keys()


def parts(training) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in training.network.state_dict().items()}


@pytest.mark.parametrize("stage", STAGES)
def test_in_each_stage_its_parts_learn_and_no_others_change(pairs, stage):
    training = Recipe(planes=3).build()
    before = parts(training)
    told = training.step(pairs, stage.until - 1e-6, torch.Generator().manual_seed(0))
    assert torch.isfinite(torch.tensor(list(told.values()))).all()
    changed = {name.split(".")[0] for name, value in parts(training).items() if not value.equal(before[name])}
    assert changed == set(stage.learns)
    names = [name.removeprefix(PART) for name in told]
    scales = {name.split("/")[1] for name in names if "/" in name}
    assert scales == ({"0", "1", "2", "3"} if stage.draws else {"0"})


def test_the_loss_is_the_weighted_sum_that_the_table_says(pairs):
    told = Recipe(planes=3).build().step(pairs, 0.5, torch.Generator())
    total = 0.0
    for name, value in told.items():
        loss, _, scale = name.removeprefix(PART).partition("/")
        if loss in WEIGHTS:
            total += WEIGHTS[loss][int(scale or 0) > 0] * value
    assert told["loss"] == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize("schedule", [0.1, 0.9])
def test_steps_make_the_loss_smaller(pairs, schedule):
    training = Recipe(planes=3, warm_up=1).build()
    found = [training.step(pairs, schedule, torch.Generator())["loss"] for _ in range(6)]
    assert found[-1] < found[0]


def test_less_precision_moves_the_loss_little_and_shares_still_add_up(pairs):
    exact, rounded = (Recipe(planes=3, precision=name).build() for name in ("float32", "bfloat16"))
    told, other = (training.step(pairs, 0.5, torch.Generator()) for training in (exact, rounded))
    for name in ("loss", f"{PART}misassigned", f"{PART}absolute/0"):
        assert other[name] != told[name]
        assert other[name] == pytest.approx(told[name], rel=0.03), name
    batch = pairs.at(0, 0)
    with torch.no_grad(), rounded.reduced():
        planes = in_order(rounded.network.place(batch.source, batch.disparity[:, None]))
        masks = rounded.network.divide(batch.source, batch.disparity[:, None], planes)
    assert masks.dtype == torch.float32
    assert torch.allclose(masks.sum(dim=1), torch.ones(()), atol=1e-6)


def test_a_gradient_that_is_no_number_changes_nothing_and_is_told(pairs):
    training = Recipe(planes=3).build()
    before = {name: value.clone() for name, value in training.state().items()}
    training.network.feature_masks.down[0][0].weight.register_hook(lambda gradient: gradient * torch.nan)
    told = training.step(pairs, 0.1, torch.Generator())
    assert math.isnan(told["loss"])  # of which the trainer takes care
    for name, value in training.state().items():
        if "running" not in name and not name.endswith("num_batches_tracked"):
            assert torch.equal(value, before[name]), name


def test_a_training_that_is_loaded_goes_on_bit_for_bit(pairs):
    first = Recipe(planes=3).build()
    first.step(pairs, 0.9, torch.Generator())
    second = Recipe(planes=3).build(seed=5)
    second.load_state({name: value.clone() for name, value in first.state().items()})
    for training in (first, second):
        training.step(pairs, 0.9, torch.Generator())
    for name, value in first.state().items():
        assert torch.equal(value, second.state()[name]), name


def test_the_weights_that_are_kept_are_a_mean_of_past_ones(pairs):
    """Each step's weights count less by `averaged` for every step after it; buffers of norms go along."""
    training = Recipe(planes=2, averaged=0.15, warm_up=1).build()
    expected = {name: value.clone().double() for name, value in training.average.state_dict().items()}
    for step in range(2):
        training.step(pairs, 0.1, torch.Generator())
        carried = min(0.15, (2 + step) / (11 + step))
        for name, value in training.network.state_dict().items():
            expected[name] = carried * expected[name] + (1 - carried) * value.double()
    for name, value in training.average.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value.double(), expected[name], rtol=1e-5, atol=1e-6)
        assert torch.equal(value, training.state()[name])
    moved = training.network.state_dict()["feature_masks.middle.0.weight"]
    assert not torch.equal(moved, training.average.state_dict()["feature_masks.middle.0.weight"])


def test_a_stage_of_which_nothing_is_there_to_learn_is_left_out():
    """Without planes that move and masks that are found, colours are all there is."""
    training = Recipe(planes=2, adjusts_planes=False, finds_masks=False).build()
    assert training.stage(0.0) is STAGES[1] and training.stage(1.0) is STAGES[2]
    half = Recipe(planes=2, adjusts_planes=False).build()
    assert half.stage(0.0) is STAGES[0]


def test_some_steps_have_more_planes_of_as_many_fewer_pairs():
    """As many planes in all, so that a step costs as much; unless told, the most are used."""
    training, met, pairs = Recipe(planes=2).build(), [], Same(4)
    place = training.network.place

    def spied(image, disparity, count):
        met.append((len(image), count))
        return place(image, disparity, count)

    training.network.place = spied
    for _ in range(8):
        training.step(pairs, 0.1, torch.Generator())
    assert met == [(4, 2)] * 3 + [(2, 4)] + [(4, 2)] * 3 + [(1, 8)]
    assert training.network.config.planes == 8 and Recipe(planes=2, batch=2).config.planes == 4
    assert [Recipe(planes=5).crowd(step) for step in range(8)] == [1, 1, 1, 2, 1, 1, 1, 4]
    assert {Recipe(network="official").crowd(step) for step in range(8)} == {1}
    assert {Recipe(batch=3).crowd(step) for step in range(8)} == {1}
    assert Recipe(planes=5, crowded=False).config.planes == Recipe(planes=5, batch=1).config.planes == 5


def test_planes_of_the_official_network_alone_are_held_to_a_model(pairs):
    """Those of the small one begin where they fit."""
    for network in ("official", "small"):
        recipe = Recipe(network=network, planes=2)
        told = recipe.build().step(pairs, 0.1, torch.Generator())
        assert (f"{PART}imitation" in told) == (network == "official")
    batch = pairs.at(0, 0)
    even, clusters = even_planes(2)[None], losses.clustered(batch.disparity, 2)
    told = Recipe(network="official", planes=2, clustered=1.0).build().step(pairs, 0.1, torch.Generator())
    assert told[f"{PART}imitation"] == pytest.approx(float((even - clusters).abs().mean()), rel=1e-5)
