"""Where one stands to take a picture, and where one looks, as camera_to_world (OpenCV).

+Z of the world is up, lengths are metres.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from scenes.generate.parts import Number, Rng

Array = np.ndarray
Viewpoint = Callable[[Rng], Float[Array, "4 4"]]  # draws camera_to_world
REACH = 0.46  # share of a room's sides, from its middle, within which one stands


def looking(eye: Array, heading: Number, pitch: Number, roll: Number = 0.0) -> Float[Array, "4 4"]:
    """camera_to_world (OpenCV) at a point; heading about +Z, pitch down, both in radians."""
    forward = np.array([np.cos(heading) * np.cos(pitch), np.sin(heading) * np.cos(pitch), -np.sin(pitch)])
    right = np.array([np.sin(heading), -np.cos(heading), 0.0])
    down = np.cross(forward, right)
    matrix = np.eye(4)
    matrix[:3, 0] = np.cos(roll) * right + np.sin(roll) * down
    matrix[:3, 1] = np.cos(roll) * down - np.sin(roll) * right
    matrix[:3, 2], matrix[:3, 3] = forward, eye
    return matrix


def towards(
    eye: Float[Array, "3"], target: Float[Array, "3"], steepest: Number, rng: Rng
) -> Float[Array, "4 4"]:
    """As one holds a camera that looks at a point, or nearly, no further down than `steepest` radians."""
    across, along, down = target - eye
    pitch = np.arctan2(-down, max(np.hypot(across, along), 0.3))
    heading = np.arctan2(along, across) + rng.normal(0, 0.15)
    return looking(eye, heading, min(pitch, steepest) + rng.normal(0, 0.12), rng.normal(0, 0.09))


def at_furniture(target: Float[Array, "3"], width: Number, depth: Number, rng: Rng) -> Float[Array, "4 4"]:
    """As one stands a step or three before a piece of furniture and looks at it, from within the room."""
    aside, away = rng.uniform(0, 2 * np.pi), rng.uniform(0.6, 2.6)
    reach = REACH * np.array((width, depth))
    x, y = np.clip(target[:2] + away * np.array((np.cos(aside), np.sin(aside))), -reach, reach)
    eye = np.array([x, y, np.clip(rng.normal(1.4, 0.3), 0.5, 2.1)])
    return towards(eye, target, 0.9, rng)


def across_table(
    table: Float[Array, "4 4"], reach: Number, width: Number, depth: Number, rng: Rng
) -> Float[Array, "4 4"]:
    """As one sits or stands at a table and looks over it, at what is behind or beside it.

    table: pose of its middle; reach: how far its edge is from that.
    """
    aside = rng.uniform(0, 2 * np.pi)
    way = np.array((np.cos(aside), np.sin(aside)))
    within = REACH * np.array((width, depth))
    x, y = np.clip(table[:2, 3] + (reach + rng.uniform(-0.1, 0.8)) * way, -within, within)
    eye = np.array([x, y, rng.uniform(1.05, 1.8)])
    beyond = table[:2, 3] - rng.uniform(-0.2, 2.0) * way + rng.normal(0, 0.5, 2)
    return towards(eye, np.array([*beyond, rng.uniform(0.3, 1.3)]), 0.9, rng)
