"""Placing brick parts: a solid, its colour, and where it goes.

Unit: one stud pitch; x forward, y left, z up. Heights of bricks are given in plates.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from scenes.generate.bricks import CLEARANCE, PLATE
from scenes.generate.solids import Number, Solid, rotation, translation

Array = np.ndarray
Parts = list["Placed"]

# Linear RGB reflectance and finish.
COLOURS: dict[str, tuple[tuple[float, float, float], str]] = {
    "teal": ((0.010, 0.215, 0.235), "plastic"),
    "orange": ((0.830, 0.200, 0.012), "plastic"),
    "cream": ((0.800, 0.740, 0.600), "plastic"),
    "white": ((0.820, 0.820, 0.800), "plastic"),
    "yellow": ((0.860, 0.560, 0.020), "plastic"),
    "red": ((0.560, 0.015, 0.012), "plastic"),
    "lime": ((0.330, 0.520, 0.030), "plastic"),
    "blue": ((0.020, 0.100, 0.420), "plastic"),
    "sky": ((0.300, 0.560, 0.720), "plastic"),
    "slate": ((0.130, 0.150, 0.165), "plastic"),
    "grey": ((0.340, 0.350, 0.350), "plastic"),
    "graphite": ((0.028, 0.030, 0.033), "plastic"),
    "sand": ((0.560, 0.440, 0.250), "plastic"),
    "earth": ((0.230, 0.130, 0.065), "plastic"),
    "moss": ((0.110, 0.190, 0.060), "plastic"),
    "rubber": ((0.040, 0.040, 0.043), "rubber"),
    "steel": ((0.560, 0.570, 0.580), "metal"),
    "brass": ((0.680, 0.480, 0.180), "metal"),
}
LYING = rotation("x", 90)  # lays the axis of a wheel, gear or pin from z to -y


@dataclass(frozen=True)
class Placed:
    """One part of the machine: a solid in its own frame, a name of COLOURS, and where it goes."""

    solid: Solid
    colour: str
    pose: Float[Array, "4 4"]


def put(solid: Solid, colour: str, x: Number, y: Number, plates: Number, turn: int = 0) -> Placed:
    """A brick with the lowest corner of its footprint at (x, y), turned by quarters."""
    turned = rotation("z", 90.0 * turn)
    low = (solid.vertices @ turned[:3, :3].T)[:, :2].min(axis=0) - CLEARANCE if turn else (0.0, 0.0)
    return Placed(solid, colour, translation(x - low[0], y - low[1], plates * PLATE) @ turned)


def free(solid: Solid, colour: str, *pose: Float[Array, "4 4"]) -> Placed:
    """A part under a product of matrices (none: where it was built)."""
    return Placed(solid, colour, np.linalg.multi_dot([np.eye(4), np.eye(4), *pose]))


def moved(parts: Iterable[Placed], matrix: Float[Array, "4 4"]) -> Parts:
    return [Placed(p.solid, p.colour, matrix @ p.pose) for p in parts]
