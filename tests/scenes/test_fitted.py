"""What is built into rooms stands along its span of wall, on the floor and under the ceiling."""

import numpy as np
import pytest

from scenes.generate import fitted
from scenes.generate.fitted import Kitchen, spans_of_wall
from scenes.generate.parts import Material, Part

CEILING = 2.5
BESIDE = 0.3  # metres that things on a board may reach beyond it
CORNERS = np.array([(x, y, z, 1.0) for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (0.0, 1.0)])


def bounds(parts: list[Part]) -> tuple[np.ndarray, np.ndarray]:
    """The least and the greatest corner of boxes around the parts."""
    corners = np.concatenate([(CORNERS * (*each.size, 1.0)) @ each.pose.T for each in parts])[:, :3]
    return corners.min(axis=0), corners.max(axis=0)


def kitchen_run(rng, span):
    return fitted.kitchen_run(rng, Kitchen.drawn(rng, CEILING), span)


def rack(rng, span):
    return fitted.rack(rng, span, CEILING)


def wardrobe(rng, span):
    return fitted.wardrobe(rng, span, CEILING)


@pytest.mark.parametrize("built", [kitchen_run, rack, wardrobe])
def test_what_is_built_along_a_wall_fills_its_span_and_no_more(built):
    for seed in range(200):
        rng = np.random.default_rng(seed)
        left = rng.uniform(-3, 1)
        right = left + rng.uniform(0.7, 4)
        least, greatest = bounds(built(rng, (left, right)))
        assert left - BESIDE < least[0] < left + 0.05 and right - 0.05 < greatest[0] < right + BESIDE
        assert -BESIDE < least[1] < 0.05 and 0.3 < greatest[1] < 1.1
        assert -1e-9 <= least[2] < 0.15 and greatest[2] < CEILING + 1e-9


@pytest.mark.parametrize("built", [fitted.posts, fitted.overhead])
def test_what_stands_free_lies_within_the_room(built):
    for seed in range(60):
        rng = np.random.default_rng(seed)
        width, depth = rng.uniform(2.2, 8, 2)
        least, greatest = bounds(built(rng, width, depth, CEILING))
        thick = 0.3
        assert (least >= (-width / 2 - thick, -depth / 2 - thick, -thick)).all()
        assert (greatest <= (width / 2 + thick, depth / 2 + thick, CEILING + thick)).all()
        assert greatest[2] > CEILING - 0.5


def test_a_closet_touches_a_wall_and_leaves_room():
    wall = Material("plain", ((0.5,) * 3,) * 3)
    for seed in range(60):
        rng = np.random.default_rng(seed)
        sides = rng.uniform(2.2, 8, 2)
        least, greatest = bounds(fitted.closet(rng, wall, *sides, CEILING))
        reached = np.concatenate((-sides / 2 - least[:2], greatest[:2] - sides / 2))
        assert reached.max() > -1e-9 and reached.max() < 0.02
        assert np.prod((greatest - least)[:2]) < 0.25 * np.prod(sides)


def test_nothing_is_built_before_a_door_or_a_low_window():
    assert spans_of_wall(4.0, None, 0.6) == [(-2.0, 2.0)]
    assert spans_of_wall(4.0, (-1.0, 1.0, 1.1, 2.0), 0.6, tall=0.9) == [(-2.0, 2.0)]
    for bottom, tall in ((0.0, 0.9), (0.8, 0.9), (1.1, 2.0), (1.1, np.inf)):
        assert spans_of_wall(4.0, (0.0, 0.9, bottom, 2.0), 0.6, tall) == [(-2.0, -0.1), (1.0, 2.0)]
    assert spans_of_wall(4.0, (0.6, 1.5, 0.0, 2.0), 0.6) == [(-2.0, 0.5)]
    assert spans_of_wall(1.0, (-0.4, 0.4, 0.0, 2.0), 0.6) == []
