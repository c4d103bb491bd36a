"""The health report tells the truth about a model, and what to do about a bad one."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from tools.poses.mapping import Settings
from tools.poses.photos import Position
from tools.poses.report import (
    Health,
    Placed,
    Report,
    advice,
    align,
    as_json,
    enu,
    lines,
    no_model,
    similarity_between,
)

GOOD = Health(
    images=10,
    registered=10,
    mean_reprojection_error=0.6,
    points=900,
    mean_track_length=4.0,
    mean_observations=360.0,
    models=(Placed(tuple(f"p{i}.jpg" for i in range(10)), np.zeros((10, 3))),),
    unplaced=(),
    cameras=(),
)
EARTH = 6_378_137.0  # metres, WGS84's equator


def rotation(rng):
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q * np.sign(np.linalg.det(q))


@pytest.fixture
def rng(seed):
    return np.random.default_rng(seed)


def test_any_similarity_is_found_again(rng):
    for count in (3, 4, 50):
        points, turn, scale, shift = rng.normal(size=(count, 3)), rotation(rng), 7.5, rng.normal(size=3) * 100
        found = similarity_between(points, scale * points @ turn.T + shift)
        np.testing.assert_allclose(found[:3, :3], scale * turn, atol=1e-9)
        np.testing.assert_allclose(found[:3, 3], shift, atol=1e-9)


def test_a_mirror_is_not_a_similarity(rng):
    """Poses that are mirrored must not align: the determinant stays positive."""
    points = rng.normal(size=(20, 3))
    found = similarity_between(points, points * [1, 1, -1])
    assert np.linalg.det(found[:3, :3]) > 0


def test_no_other_similarity_is_nearer(rng):
    source, target = rng.normal(size=(12, 3)), rng.normal(size=(12, 3))
    best = similarity_between(source, target)

    def error(matrix):
        return ((source @ matrix[:3, :3].T + matrix[:3, 3] - target) ** 2).sum()

    for _ in range(200):
        nearby = best.copy()
        nearby[:3, :3] = (1 + 1e-3 * rng.normal()) * best[:3, :3] @ small_rotation(1e-3 * rng.normal(size=3))
        nearby[:3, 3] += 1e-3 * rng.normal(size=3)
        assert error(nearby) >= error(best)


def small_rotation(w):
    angle = np.linalg.norm(w)
    x, y, z = w / angle
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * k @ k


def test_points_in_one_place_have_no_similarity():
    assert similarity_between(np.zeros((4, 3)), np.eye(4)[:, :3]) is None
    assert similarity_between(np.eye(4)[:, :3], np.ones((4, 3))) is None


def test_east_north_and_up_are_metres_on_the_ellipsoid():
    """On the equator a degree east is a known arc, and so is one north near it (WGS84)."""
    step = 1e-4  # degrees
    origin = np.array([0.0, 20.0, 100.0])
    found = enu(np.array([[0, step, 0], [step, 0, 0], [0, 0, 5.0]]) + origin, origin)
    arc = np.radians(step)
    flat = 1 - 1 / 298.257223563
    north = EARTH * flat**2 + 100  # radius of the meridian's curve on the equator
    expected = [[arc * (EARTH + 100), 0, 0], [0, arc * north, 0], [0, 0, 5]]
    np.testing.assert_allclose(found, expected, atol=1e-3)


def placed_by_gps(rng, count, noise=0.0, altitude=True):
    """A model whose true frame is metres around Lund, turned and scaled; GPS wrong by `noise` metres."""
    metres = rng.normal(size=(count, 3)) * [40, 30, 2]
    turn, scale = rotation(rng), 0.05
    names = tuple(f"{i:03}.jpg" for i in range(count))
    seen = metres + noise * rng.normal(size=(count, 3))
    latitude, longitude = 55.7, 13.2
    north = np.degrees(seen[:, 1] / 6_379_000) + latitude
    east = np.degrees(seen[:, 0] / (6_392_500 * np.cos(np.radians(latitude)))) + longitude
    positions = {
        name: Position(float(a), float(b), float(c) + 30 if altitude else None)
        for name, a, b, c in zip(names, north, east, seen[:, 2], strict=True)
    }
    return Placed(names, scale * metres @ turn.T + [3, 4, 5]), positions, 1 / scale


def test_poses_that_agree_with_gps_have_no_error_and_the_right_scale(rng):
    model, positions, scale = placed_by_gps(rng, 20)
    found = align(model, positions)
    assert found.photos == 20 and found.median_error < 0.2  # metres: the plain radii above are that coarse
    assert found.metres_per_unit == pytest.approx(scale, rel=2e-3)


def test_the_error_is_that_of_the_gps(rng):
    model, positions, _ = placed_by_gps(rng, 400, noise=5.0)
    found = align(model, positions)
    assert found.median_error == pytest.approx(5 * 1.538, rel=0.1)  # median of a normal vector's length, 3-D
    assert found.median_horizontal == pytest.approx(5 * 1.177, rel=0.1)  # and 2-D


def test_too_few_positions_give_no_alignment(rng):
    model, positions, _ = placed_by_gps(rng, 5)
    assert align(model, {}) is None
    assert align(model, dict(list(positions.items())[:2])) is None
    same = dict.fromkeys(positions, Position(55.0, 13.0, 1.0))
    assert align(model, same) is None


def test_positions_without_height_align_too(rng):
    model, positions, scale = placed_by_gps(rng, 30, altitude=False)
    found = align(model, positions)
    assert found.metres_per_unit == pytest.approx(scale, rel=0.05) and found.median_horizontal < 2


def test_a_good_model_needs_no_advice():
    assert advice(GOOD, Settings(), False) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"registered": 4, "unplaced": tuple(f"q{i}.jpg" for i in range(20))},
            ["4 of 10", "overlap", "q7.jpg and 12"],
        ),
        ({"mean_reprojection_error": 1.4}, ["1.40", "--camera-model OPENCV"]),
        ({"mean_track_length": 2.1}, ["2.1 pictures"]),
        (
            {"models": (*GOOD.models, Placed(("x.jpg", "z.jpg"), np.zeros((2, 3))))},
            ["2 models", "p0.jpg to p9.jpg", "x.jpg to z.jpg", "between them"],
        ),
    ],
)
def test_a_bad_model_names_its_remedy(change, said):
    text = " | ".join(advice(dataclasses.replace(GOOD, **change), Settings(), False))
    assert all(part in text for part in said), text


def test_the_advice_is_not_to_do_what_was_done():
    few = dataclasses.replace(GOOD, registered=4, mean_reprojection_error=2.0)
    assert "--matching exhaustive" in advice(few, Settings(matching="sequential"), False)[0]
    text = " ".join(advice(few, Settings(camera_model="OPENCV"), True))
    assert "--matching" not in text and "--camera-model" not in text and "--frames" in text


def test_a_lens_that_was_asked_for_and_not_used_is_named():
    kept = dataclasses.replace(GOOD, cameras=({"model": "SIMPLE_RADIAL"},))
    assert "SIMPLE_RADIAL was kept" in advice(kept, Settings(camera_model="FULL_OPENCV"), False)[0]
    assert (
        advice(kept, Settings(camera_model="SIMPLE_RADIAL"), False) == advice(kept, Settings(), False) == []
    )


def test_when_there_is_no_model_the_cause_and_the_remedy_are_named():
    apart = str(no_model(0, Settings(matching="sequential"), Path("out.partial")))
    assert "overlap" in apart and "--matching exhaustive" in apart and "out.partial" in apart
    still = str(no_model(7, Settings(), Path("out.partial")))
    assert "sideways" in still and "--matching" not in still


def test_the_report_is_plain_data_and_lines(rng):
    model, positions, _ = placed_by_gps(rng, 10)
    report = Report(
        dataclasses.replace(GOOD, models=(model,)), positions, align(model, positions), ["do this"]
    )
    facts = json.loads(json.dumps(as_json(report)))
    assert facts["gps"]["positions"]["003.jpg"][2] == positions["003.jpg"].altitude
    assert np.shape(facts["gps"]["alignment"]["enu_from_model"]) == (4, 4)
    assert (facts["images"], facts["registered"], facts["models"], facts["points"]) == (10, 10, 1, 900)
    text = "\n".join(lines(report))
    assert "10 of 10 pictures (100%)" in text and "0.60 pixels" in text and "advice: do this" in text
