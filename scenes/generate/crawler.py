"""Lower works of the demo machine: crawlers, chassis, dozer blade and ripper (of our own design).

Unit: one stud pitch; x forward, y left, z up, the stand's underside at z = 0.
"""

from functools import cache
from itertools import pairwise

import numpy as np
from jaxtyping import Float

from scenes.generate import bricks as b
from scenes.generate.placing import LYING, Array, Parts, free, put
from scenes.generate.solids import box, rotation, strut, translation, tube


def _hull(points: Float[Array, "n 2"]) -> Float[Array, "k 2"]:
    """Convex hull, counter-clockwise (Andrew's monotone chain)."""

    def chain(ordered: Float[Array, "n 2"]) -> list:
        kept: list = []
        for p in ordered:
            while len(kept) > 1 and np.linalg.det([kept[-1] - kept[-2], p - kept[-1]]) <= 0:
                kept.pop()
            kept.append(p)
        return kept[:-1]

    ordered = points[np.lexsort((points[:, 1], points[:, 0]))]
    return np.array(chain(ordered) + chain(ordered[::-1]))


# Circles (x, z, radius) that the pins of a track run round: sprocket, road wheels, idler.
TRACK_CIRCLES = ((-8.0, 3.45, 1.8), (-5.6, 2.45, 1.0), (5.6, 2.45, 1.0), (8.0, 3.25, 1.7))
LINK_PITCH = 0.9


@cache
def track_poses() -> list[Float[Array, "4 4"]]:
    """Poses of the links along the loop in the plane y = 0, outside up."""
    circles = [b.circle(r, 96) + np.array([x, z]) for x, z, r in TRACK_CIRCLES]
    loop = _hull(np.concatenate(circles))
    loop = np.concatenate([loop, loop[:1]])
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(loop, axis=0), axis=1))])
    count = int(length[-1] / LINK_PITCH)
    places = np.linspace(0, length[-1], count + 1)
    pins = np.stack([np.interp(places, length, loop[:, k]) for k in (0, 1)], -1)
    poses = []
    for p, q in pairwise(pins):
        along, middle = (p - q) / np.linalg.norm(p - q), (p + q) / 2
        pose = translation(middle[0], 0.0, middle[1])
        pose[:3, 0] = (along[0], 0.0, along[1])
        pose[:3, 2] = (-along[1], 0.0, along[0])
        poses.append(pose)
    return poses


def track(side: int) -> Parts:
    """One crawler: chain, sprocket, idler, road wheels, rollers, frame of beams."""
    y = 6.0 * side
    sideways = translation(0, y, 0)
    parts = [
        free(b.chain_link(LINK_PITCH, 3.3), "rubber" if k % 6 else "slate", sideways, pose)
        for k, pose in enumerate(track_poses())
    ]
    for dy in (-0.95, 0.95):
        parts += [
            free(b.gear(13, 1.75, 0.5), "steel", translation(-8.0, y + dy, 3.45), LYING),
            free(b.wheel(1.45, 0.55, 6), "slate", translation(8.0, y + dy, 3.25), LYING),
        ]
        parts += [
            free(b.wheel(0.82, 0.5, 5), "orange", translation(x, y + dy, 2.45), LYING)
            for x in (-5.6, -3.36, -1.12, 1.12, 3.36, 5.6)
        ]
        parts += [
            free(b.pulley(0.5, 0.5), "grey", translation(x, y + dy, 4.5), LYING) for x in (-3.6, 0.0, 3.6)
        ]
    parts.append(free(b.wheel(1.1, 2.5, 4), "orange", translation(-8.0, y, 3.45), LYING))
    for x, z in ((-8.0, 3.45), (8.0, 3.25)):
        parts += [
            free(b.axle(3.6), "steel", translation(x, y, z), LYING),
            free(b.ring(0.6, 0.2, 0.3), "orange", translation(x, y + side * 1.5 + 0.15, z), LYING),
        ]
    for dy, colour in ((1.45 * side, "teal"), (-1.45 * side, "slate")):
        parts.append(free(b.beam(13, 0.4), colour, translation(-6.0, y + dy, 3.5), LYING))
        parts += [free(b.pin(0.7), "grey", translation(x, y + dy, 3.5), LYING) for x in (-5, -2, 2, 5)]
    for x in (-3.36, 0.0, 3.36):
        parts.append(
            free(b.beam(3, 0.3), "slate", translation(x, y + 1.5 * side, 2.5), LYING, rotation("z", 90))
        )
    return parts


def chassis() -> Parts:
    """Between the crawlers: hull of bricks, cross beams, slew ring."""
    parts = [put(b.brick(4, 2), "graphite", x, y, 6) for x in (-6, -2, 2) for y in (-3, -1, 1)]
    parts += [put(b.slope(2, 2), "slate", 6, y, 6) for y in (-3, -1, 1)]
    parts += [put(b.slope(2, 2), "slate", -8, y, 6, turn=2) for y in (-3, -1, 1)]
    parts += [put(b.brick(2, 11, 2), "slate", x, -5.5, 9) for x in (-5, 3)]
    parts += [put(b.brick(4, 2, 2), "graphite", x, y, 9) for x in (-3, -1) for y in (-4, 2)]
    parts += [put(b.plate(4, 4), "slate", x, y, 11) for x in (-4, 0) for y in (-4, 0)]
    parts += [put(b.grille(2), "grey", 7, y, 9) for y in (-3, -2, 1, 2)]
    parts += [
        free(b.ring(3.3, 2.4, 0.3), "steel", translation(0, 0, 4.75)),
        free(b.gear(40, 3.2, 0.35, 2.4), "brass", translation(0, 0, 5.2)),
        free(b.ring(3.4, 2.2, 0.3), "slate", translation(0, 0, 5.35)),
    ]
    return parts


def blade() -> Parts:
    """Dozer blade with push arms and two rams in front, ripper with three teeth behind."""
    parts = []
    for k in range(8):
        y = 2 * k - 8
        colour = "orange" if k % 2 == 0 else "cream"
        parts += [
            free(b.arc_panel(3.6, 140, 212, 2), colour, translation(14.3, y, 3.0)),
            put(b.tile(1, 2), "graphite", 11.0, y, 2.5),
            free(b.bucket_tooth(0.7), "steel", translation(11.6, y + 1, 1.05)),
        ]
        parts.append(free(box((0.3, 0.24, 3.4), (10.3, y + 0.88, 1.7)), "slate"))
    parts += [
        free(tube([(11.45, -8, 5.35), (11.45, 8, 5.35)], 0.16), "steel"),
        put(b.tile(1, 8), "slate", 9.8, -4, 10),
        put(b.tile(1, 8), "slate", 9.75, -4, 5),
    ]
    parts += [free(b.sector(2.6, 120, 240), "orange", translation(13.3, y, 3.1)) for y in (-8.1, 7.9)]
    for y in (-3.0, 3.0):
        parts += [
            free(b.beam(5, 0.6), "orange", translation(6.2, y, 2.7), LYING),
            free(b.pin(), "grey", translation(6.2, y, 2.7), LYING),
        ]
        barrel, rod = b.hydraulic((6.6, 0.6 * y, 4.4), (10.3, 0.8 * y, 3.9))
        parts += [
            free(barrel, "yellow"),
            free(rod, "steel"),
            put(b.jumper(1, 1), "slate", 6.1, 0.6 * y - 0.5, 9),
        ]
    for y in (-2.0, 0.0, 2.0):
        parts += [
            free(b.hinge_arm(2.2), "orange", translation(-8.3, y, 3.3), rotation("z", 180)),
            free(strut((-10.5, y, 4.3), (-10.9, y, 1.9), 0.34, 0.5), "graphite"),
            free(b.bucket_tooth(1.0), "steel", translation(-11.1, y, 2.1), rotation("y", 110)),
        ]
    barrel, rod = b.hydraulic((-8.0, 1.0, 4.5), (-10.5, 1.0, 4.0))
    return [
        *parts,
        free(barrel, "yellow"),
        free(rod, "steel"),
        free(tube([(-10.5, -2.6, 3.6), (-10.5, 2.6, 3.6)], 0.2), "steel"),
    ]
