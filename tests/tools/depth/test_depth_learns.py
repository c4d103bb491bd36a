"""What is promised of trainings shows when one is run: in seconds on planes, in minutes on made-up rooms."""

from dataclasses import replace

import pytest
import torch

from tests.tools.depth import measure_training
from tests.tools.depth.depth_sets import Slopes
from tests.tools.depth.measure_training import (
    InMemory,
    as_inverse,
    errors_of,
    mean_map,
    predictions,
    spoilt,
    trained,
)
from tools.depth.training import Recipe

RECIPE = Recipe(
    model="tiny",
    batch=8,
    width=64,
    height=32,
    varied_shapes=False,
    augmentation="mirrored",
    learning_rate=3e-3,
    warm_up=10,
    averaged=0.9,
)


def planes(first: int, count: int) -> InMemory:
    """Planes at all angles from the picture of this number on, all of their depth known."""
    made = Slopes("planes", size=(64, 32), known=1.0)
    read = [made.read(first + index) for index in range(count)]
    rgb, values = (torch.stack([getattr(each, field) for each in read]) for field in ("rgb", "values"))
    return InMemory("planes", "z_depth", rgb, values, 80)


@pytest.fixture(scope="module")
def unseen():
    return planes(1000, 24)


def error(network, unseen) -> float:
    return errors_of(predictions(network, unseen), unseen)["abs_rel"]


def test_a_network_knows_more_than_the_mean_of_what_it_saw(unseen):
    seen = planes(0, 64)
    baseline = errors_of(mean_map(seen).expand(len(unseen), -1, -1), unseen)["abs_rel"]
    assert error(trained([seen], RECIPE, 80), unseen) < 0.4 * baseline


def test_labels_of_any_scale_and_shift_teach_the_invariant_loss_as_much(unseen):
    seen = planes(0, 64)
    clean, other = (trained([each], RECIPE, 80) for each in (as_inverse(seen), spoilt(seen)))
    assert error(other, unseen) < 1.3 * error(clean, unseen)


def test_they_spoil_what_is_learnt_with_l1(unseen):
    seen, recipe = planes(0, 64), replace(RECIPE, loss="l1")
    clean, other = (trained([each], recipe, 200) for each in (as_inverse(seen), spoilt(seen)))
    assert error(other, unseen) > 2 * error(clean, unseen)


@pytest.mark.slow
def test_rooms_that_were_never_seen():
    ratio = measure_training.learning(None)["ratio"]
    assert ratio["abs_rel"] <= 0.6 and ratio["bad"] <= 0.5


@pytest.mark.slow
def test_spoilt_labels_of_rooms():
    found = measure_training.robustness(None)
    assert found["ssimae"]["ratio"] <= 1.1 and found["l1"]["ratio"] >= 1.5


@pytest.mark.slow
def test_pareto_leaves_no_set_behind():
    found = measure_training.mixing(None)
    assert found["pareto"]["mean"]["worst"]["abs_rel"] <= found["equal"]["mean"]["worst"]["abs_rel"]
