import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from scenes.cameras import Cameras
from tools.viewer import navigation
from tools.viewer.navigation import Stand, stand_at

amounts = st.floats(-0.7, 0.7)


def stand(eye=(3.0, -4.0, 2.0), target=(0.0, 0.0, 0.0)) -> Stand:
    pose = Cameras.look_at(eye, target, (0, 0, 1), 80, 60, 40.0).camera_to_world
    up = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    return replace(stand_at(pose, torch.tensor(target), up, 5.0), pivot=torch.tensor(target).double())


def seen_at(place: Stand, point) -> torch.Tensor:
    """Where a point stands in the picture, in heights of it."""
    camera = Cameras.from_fov(place.pose.float(), 80, 60, 40.0)
    return camera.project(torch.as_tensor(point).float())[0] / 60


def is_rotation(pose: torch.Tensor) -> bool:
    turn = pose[:3, :3]
    return bool((turn @ turn.T - torch.eye(3, dtype=turn.dtype)).abs().max() < 1e-6)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(amounts, amounts), max_size=12))
def test_an_orbit_keeps_its_distance_its_pivot_and_the_horizon(drags):
    first = place = stand()
    for right, down in drags:
        place = navigation.orbit(place, right, down)
    assert place.distance == pytest.approx(first.distance)
    assert_close(seen_at(place, (0.0, 0.0, 0.0)), torch.tensor([80 / 60 / 2, 0.5]), atol=1e-4, rtol=0)
    assert abs(float(place.pose[2, 0])) < 1e-6, "the camera's right stays level"
    assert float(-place.pose[2, 1]) > 0, "and its up upwards"
    assert is_rotation(place.pose)


@pytest.mark.parametrize("right, down", [(0.05, 0.0), (0.0, 0.05), (-0.05, 0.02)])
def test_what_is_dragged_follows_the_pointer(right, down):
    """An orbit takes the near side of the scene along; a pan the pivot, to the pixel."""
    near = stand().pose[:3, 3] * 0.3
    moved = seen_at(navigation.orbit(stand(), right, down), near) - seen_at(stand(), near)
    assert float(moved @ torch.tensor([right, down])) > 0
    panned = seen_at(navigation.pan(stand(), right, down, 40.0), (0.0, 0.0, 0.0))
    assert_close(panned - seen_at(stand(), (0.0, 0.0, 0.0)), torch.tensor([right, down]), atol=1e-4, rtol=0)


def test_a_look_turns_the_eyes_and_moves_nothing():
    place = navigation.look(stand(), 0.1, 0.05)
    assert_close(place.pose[:3, 3], stand().pose[:3, 3])
    moved = seen_at(place, (0.0, 0.0, 0.0)) - seen_at(stand(), (0.0, 0.0, 0.0))
    assert moved[0] < 0 and moved[1] < 0, "to the right and down: what was there moves to the left and up"
    assert_close(seen_at(place, place.pivot), seen_at(stand(), stand().pivot), atol=1e-4, rtol=0)


def test_a_zoom_goes_to_the_pivot_and_back_and_never_through_it():
    place = navigation.zoom(stand(), 3)
    assert place.distance == pytest.approx(stand().distance * 0.9**3)
    assert_close(navigation.zoom(place, -3).pose, stand().pose)
    close = navigation.zoom(stand(), 1e4)
    assert 0 < close.distance < 0.01 * stand().size
    assert float((close.pivot - close.pose[:3, 3]) @ close.pose[:3, 2]) > 0


def test_flying_moves_the_pivot_along():
    place = navigation.fly(stand(), 0.1, 0.2, -0.3)
    way = place.pose[:3, 3] - stand().pose[:3, 3]
    wanted = 5.0 * (0.1 * stand().pose[:3, 2] + 0.2 * stand().pose[:3, 0] - 0.3 * stand().up)
    assert_close(way, wanted)
    assert_close(place.pivot - stand().pivot, way)


def test_a_tilted_view_is_levelled_where_there_is_a_horizon():
    tilt = torch.eye(4, dtype=torch.float64)
    tilt[:3, :3] = navigation.axis_turn(torch.tensor([0.0, 0.0, 1.0]), 0.4)
    tilted = replace(stand(), pose=stand().pose @ tilt)
    assert_close(navigation.level(tilted).pose, stand().pose, atol=1e-6, rtol=0)
    down = replace(stand(), pose=torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64)))
    assert_close(navigation.level(down).pose, down.pose)


def test_a_turn_about_an_axis_is_rodrigues():
    axis = torch.tensor([1.0, 2.0, 2.0], dtype=torch.float64) / 3
    turn = navigation.axis_turn(axis, 0.7)
    assert_close(turn @ axis, axis)
    assert float(turn.diagonal().sum()) == pytest.approx(1 + 2 * math.cos(0.7))
    quarter = navigation.axis_turn(torch.tensor([0.0, 0.0, 1.0]), math.pi / 2)
    assert_close(quarter[:, 0], torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64), atol=1e-12, rtol=0)
