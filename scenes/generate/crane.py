"""Upper works of the demo machine: engine house, cab, winch, lattice boom, mast, grab (of our own design).

Unit: one stud pitch; x forward, y left, z up, in the frame that the slew ring turns about z.
"""

from itertools import pairwise

import numpy as np

from scenes.generate import bricks as b
from scenes.generate.placing import LYING, Parts, free, moved, put
from scenes.generate.solids import box, rotation, strut, translation, tube

BOOM_FOOT, BOOM_LENGTH, BOOM_ANGLE = (4.4, 0.0, 7.7), 16.5, 51.0
BOOM_TIP = (
    BOOM_FOOT[0] + BOOM_LENGTH * np.cos(np.radians(BOOM_ANGLE)),
    0.0,
    BOOM_FOOT[2] + BOOM_LENGTH * np.sin(np.radians(BOOM_ANGLE)),
)
MAST_TOP = (-5.6, 0.0, 16.6)


def deck() -> Parts:
    """Floor of the upper works with its edge stripes, steps and handrails. Local frame of the slew."""
    parts = [put(b.plate(4, 5), "graphite", x, y, 14) for x in (-8, -4, 0) for y in (-5, 0)]
    parts += [put(b.plate(2, 6), "graphite", 4, -3, 14)]
    parts += [put(b.plate(4, 2), "slate", x, y, 15) for x in (-8, -4, 0) for y in (-5, 3)]
    parts += [put(b.plate(4, 2), "slate", 0, y, 15) for y in (-3, 1)]
    parts += [
        put(b.plate(2, 4), "slate", 4, -2, 15),
        put(b.tile(2, 1), "yellow", 4, -3, 15),
        put(b.tile(2, 1), "yellow", 4, 2, 15),
    ]
    for y, sign in ((-5.0, -1), (4.9, 1)):
        parts += [
            free(b.fence(4, 1.6, 4), "yellow", translation(-7.6, y + 0.05, 6.5)),
            free(b.fence(3, 1.6, 3), "yellow", translation(-3.2, y + 0.05, 6.5)),
            free(b.ladder(2), "grey", translation(-0.6, sign * 5.15, 5.75), rotation("z", 90)),
        ]
        parts += [
            put(b.tile(1, 1), ("yellow", "graphite")[k % 2], k - 8, y if sign < 0 else 4, 16)
            for k in range(6)
        ]
    return parts


def engine_house() -> Parts:
    """Walls in running bond with louvres, and the plates of the roof."""
    parts = []
    for course in range(3):
        plates, colour = 16 + 3 * course, "cream" if course == 1 else "teal"
        shift = course % 2
        for y in (-3, 2):
            parts += [put(b.brick(2, 1), colour, x, y, plates) for x in range(-8 + shift, -2, 2)]
            parts += [put(b.brick(1, 1), colour, x, y, plates) for x in ((-8, -2) if shift else ())]
        for x in (-8, -2):
            parts += [put(b.brick(1, 2), colour, x, y, plates) for y in (-2, 0)]
    for y, sign in ((-3.02, -1), (3.02, 1)):
        upright = rotation("x", 90 * -sign) if sign < 0 else rotation("z", 180) @ rotation("x", 90)
        for k in range(3):
            x = -7.6 + 2 * k if sign < 0 else -5.6 + 2 * k
            parts += [free(b.grille(2), "graphite", translation(x, y, z), upright) for z in (7.4, 8.6)]
    parts += [put(b.plate(2, 6), "teal", x, -3, 25) for x in (-8, -6, -4)]
    parts += [put(b.plate(1, 6), "teal", -2, -3, 25)]
    return parts


def engine_roof() -> Parts:
    """On the roof of the engine house: fan under a grating, exhausts, caps, hoses, the ladder up."""
    parts = []
    fan = translation(-6.6, 0, 10.4)
    parts += [
        free(b.ring(1.45, 1.2, 0.35), "slate", fan),
        free(b.wheel(1.2, 0.2, 8), "steel", fan @ translation(0, 0, 0.2)),
    ]
    parts += [
        free(
            tube(
                [(1.3 * np.cos(a), 1.3 * np.sin(a), 0.42), (-1.3 * np.cos(a), -1.3 * np.sin(a), 0.42)],
                0.05,
                6,
            ),
            "graphite",
            fan,
        )
        for a in np.arange(6) * np.pi / 6
    ]
    for y in (-2.2, 2.2):
        top = (-3.4, y, 13.6)
        parts += [
            free(b.disc(0.5, 0.6), "slate", translation(-3.4, y, 10.4)),
            free(tube([(-3.4, y, 10.9), top, (-3.6, y, 14.0), (-4.2, y, 14.4)], 0.27, 16), "steel"),
            *[free(b.ring(0.36, 0.2, 0.16), "graphite", translation(-3.4, y, z)) for z in (11.5, 12.3, 13.1)],
        ]
    parts += [put(b.round_brick(2), colour, -5, y, 26) for y, colour in ((-3, "red"), (2, "blue"))]
    parts += [put(b.slope(1, 1, 2), "cream", -8, y, 26, turn=2) for y in (-3, 2)]
    parts.append(free(b.ladder(8, 1.0, 0.52), "yellow", translation(-0.55, 0.8, 6.75), rotation("y", -6)))
    parts += [
        free(b.hose((-7.8, y, 10.5), (-8.6, y, 12), (-5, y, 12.5), (-4.6, y, 10.6)), "graphite")
        for y in (-1.8, 1.8)
    ]
    return parts


def counterweight() -> Parts:
    """Stack of slabs behind the engine, striped, rounded at the back."""
    parts = [put(b.brick(2, 4), "slate", -10, y, 14) for y in (-4, 0)]
    parts += [put(b.inverted_slope(2, 2), "slate", -12, y, 14, turn=2) for y in (-4, -2, 0, 2)]
    for course, plates in enumerate((17, 20)):
        for k in range(8):
            colour = ("yellow", "graphite")[(k + course) % 2]
            parts.append(put(b.brick(2, 1), colour, -12, k - 4, plates))
        parts += [put(b.brick(2, 4), "slate", -10, y, plates) for y in (-4, 0)]
    parts += [put(b.curved_slope(2, 2, 2), "slate", -12, y, 23, turn=2) for y in (-4, -2, 0, 2)]
    parts += [put(b.plate(2, 2), "slate", -10, y, 23) for y in (-4, -2, 0, 2)]
    parts += [
        free(b.disc(0.28, 0.2), "red", translation(-12.0, y, 6.2), rotation("y", -90)) for y in (-3.5, 3.5)
    ]
    parts += [
        free(tube([(-11.4, y, 9.8), (-11, y, 10.6), (-11, y + 1, 10.6), (-11.4, y + 1, 9.8)], 0.1), "steel")
        for y in (-3, 2)
    ]
    return parts


def cab() -> Parts:
    """Operator's cab: open frames, seat, desk with levers, roof with lamps and a beacon."""
    x0, y0, z0 = 0.5, 2.0, 6.4
    parts = [put(b.tile(4, 3), "grey", x0, y0, 16)]
    parts += [put(b.brick(1, 1, 2), "cream", x0 + dx, y0 + dy, 17) for dx in (0, 3) for dy in (0, 2)]
    parts += [
        put(b.brick(2, 1, 2), "cream", x0 + 1, y0 + 2, 17),
        put(b.brick(1, 1, 2), "cream", x0, y0 + 1, 17),
        put(b.slope(1, 1, 2), "cream", x0 + 3, y0 + 1, 17),
    ]
    base = z0 + 1.2
    parts += [
        free(b.window(3.9, 3.2, 1), "cream", translation(x0 + 0.05, y0 + dy, base)) for dy in (0.05, 2.77)
    ]
    for x in (x0 + 0.22, x0 + 3.95):
        parts.append(free(b.window(2.9, 3.2, 0), "cream", translation(x, y0 + 0.05, base), rotation("z", 90)))
    parts += [put(b.tile(4, 3), "orange", x0, y0, 27), put(b.tile(2, 2), "cream", x0 + 1, y0 + 0.5, 28)]
    parts += [
        put(b.slope(1, 3, 1, 0.1), "orange", x0 + 4, y0, 27),
        put(b.grille(2), "graphite", x0 + 1, y0 + 1, 29),
    ]
    parts += [
        put(b.brick(1, 1, 2), "red", x0 + 0.8, y0 + 1, 17),
        put(b.tile(1, 2), "red", x0 + 0.6, y0 + 0.5, 19),
        free(
            box((0.3, 1.6, 1.6), (x0 + 0.5, y0 + 0.7, 8.0), 0.05),
            "red",
        ),
        put(b.slope(1, 2, 2), "slate", x0 + 2.7, y0 + 0.5, 19, turn=2),
    ]
    for dy in (0.8, 1.2, 1.9, 2.3):
        parts.append(free(tube([(x0 + 2.6, y0 + dy, 8.3), (x0 + 2.3, y0 + dy, 9.0)], 0.06, 8), "steel"))
        parts.append(free(b.disc(0.12, 0.2), "red", translation(x0 + 2.25, y0 + dy, 9.0)))
    for dy in (0.4, 2.6):
        parts += [
            free(b.disc(0.34, 0.4), "steel", translation(x0 + 4.4, y0 + dy, 11.5), rotation("y", 90)),
            free(b.disc(0.26, 0.06), "yellow", translation(x0 + 4.8, y0 + dy, 11.5), rotation("y", 90)),
        ]
    parts += [
        free(b.disc(0.32, 0.5, 0.12), "orange", translation(x0 + 0.5, y0 + 0.5, 11.2)),
        free(tube([(x0 + 0.3, y0 + 2.7, 11.2), (x0 + 0.1, y0 + 2.7, 14.2)], 0.04, 6), "graphite"),
    ]
    for y in (y0 + 0.0, y0 + 3.15):
        parts += [
            free(b.hose((x0 + 4, y, 10.6), (x0 + 4.6, y, 10.4), (x0 + 4.6, y, 9.8), radius=0.05), "graphite"),
            free(box((0.1, 0.5, 0.8), (x0 + 4.55, y - 0.25, 9.2)), "slate"),
        ]
    return parts


def winch() -> Parts:
    """Right side of the deck: two rope drums with gears, motor, valve block and hoses, tool box."""
    parts = []
    for x, colour in ((-0.4, "brass"), (2.0, "steel")):
        parts += [free(b.ring(0.95, 0.2, 0.15), "slate", translation(x, y, 7.7), LYING) for y in (-1.5, -4.3)]
        turns = [
            free(
                b.ring(0.62 + 0.05 * (k % 2), 0.2, 0.17, 0.03, 20),
                colour,
                translation(x, -1.7 - 0.17 * k, 7.7),
                LYING,
            )
            for k in range(15)
        ]
        parts += [*turns, free(b.axle(4.0), "slate", translation(x, -2.9, 7.7), LYING)]
        parts += [free(b.gear(14, 1.1, 0.3), "grey", translation(x, -4.65, 7.7), LYING)]
        parts += [put(b.slope(1, 1, 3), "teal", x - 0.5, y, 16) for y in (-1.5, -5)]
    parts += [put(b.brick(1, 2, 2), "teal", 3.2, -4, 16), put(b.tile(1, 2), "cream", 3.2, -4, 18)]
    parts += [
        free(
            b.hose(
                (3.7, -3.8 + 0.4 * k, 7.5),
                (5, -3.8 + 0.4 * k, 9),
                (4.6, -1 + 0.2 * k, 6.8),
                (4.4, -1 + 0.2 * k, 7.2),
                radius=0.08,
            ),
            ("graphite", "red", "graphite", "blue")[k],
        )
        for k in range(4)
    ]
    parts += [put(b.jumper(2, 2), "teal", -2, -5, 16), put(b.round_brick(1), "lime", -1.5, -4.5, 17)]
    return parts


def boom() -> Parts:
    """Lattice boom: four chords, laced on each face, tapered to both ends; sheaves at the tip."""
    stations = np.array([0.0, 1.2, 2.6, 4.0, 5.4, 6.8, 8.2, 9.6, 11.0, 12.4, 13.8, 15.2, 16.5])
    half_width = np.interp(stations, (0, 2.6, 11, 16.5), (0.9, 1.05, 0.95, 0.45))
    half_height = np.interp(stations, (0, 2.6, 11, 16.5), (0.25, 1.0, 0.9, 0.3))
    corners = [
        [(x, sy * w, sz * h) for x, w, h in zip(stations, half_width, half_height, strict=True)]
        for sy, sz in ((-1, -1), (1, -1), (1, 1), (-1, 1))
    ]
    parts = []
    for chord in corners:
        for k, (p, q) in enumerate(pairwise(chord)):
            parts.append(free(strut(p, q, 0.24, 0.24), "cream" if k in (4, 5, 9) else "orange"))
        parts += [
            free(box((0.36, 0.36, 0.36), (-0.18, -0.18, -0.18), 0.05), "slate", translation(*p))
            for p in chord[1::3]
        ]
    for face in range(4):
        one, other = corners[face], corners[(face + 1) % 4]
        for k in range(len(stations) - 1):
            p, q = (one[k], other[k + 1]) if (k + face) % 2 else (other[k], one[k + 1])
            parts += [
                free(tube([p, q], 0.085, 8), "orange"),
                free(tube([one[k], other[k]], 0.07, 8), "steel"),
            ]
    for y in (-0.55, 0.0, 0.55):
        parts.append(free(b.pulley(0.75, 0.4), "slate", translation(16.7, y, 0.1), LYING))
    parts += [
        free(b.axle(2.0), "steel", translation(16.7, 0, 0.1), LYING),
        free(b.axle(2.6), "steel", LYING),
        free(b.disc(0.2, 0.35, 0.08), "red", translation(16.9, 0.9, 0.4)),
    ]
    raised = moved(parts, translation(*BOOM_FOOT) @ rotation("y", -BOOM_ANGLE))
    feet = [
        free(b.hinge_arm(1.1), "slate", translation(BOOM_FOOT[0] - 0.3, y, 6.8), rotation("y", -60))
        for y in (-1.3, 1.3)
    ]
    return [*raised, *feet]


def mast() -> Parts:
    """A-frame behind the boom, its stays, the pendants to the tip and the hoist ropes."""
    parts = []
    x, _, z = MAST_TOP
    for y in (-1.3, 1.3):
        front, back, top = (-2.2, y, 10.2), (-8.2, y, 9.8), (x, 0.8 * y, z)
        parts += [free(strut(front, top, 0.36, 0.3), "orange"), free(strut(back, top, 0.24, 0.24), "orange")]
        for t in (0.3, 0.55, 0.8):
            p, q = (tuple(np.multiply(1 - t, e) + np.multiply(t, top)) for e in (front, back))
            parts.append(free(tube([p, q], 0.08, 8), "steel"))
        parts += [free(b.pulley(0.6, 0.36), "slate", translation(x, 0.45 * y, z), LYING)]
        tip = (BOOM_TIP[0], 0.55 * y, BOOM_TIP[2])
        for t0, t1, r in ((0.0, 0.48, 0.05), (0.52, 1.0, 0.05), (0.47, 0.53, 0.13)):
            p, q = (tuple(np.multiply(1 - t, top) + np.multiply(t, tip)) for t in (t0, t1))
            parts.append(free(tube([p, q], r, 8), "brass" if r > 0.1 else "graphite"))
    half_width = np.array([0, 1.25, 0])
    for t in (0.25, 0.5, 0.75):
        p = np.multiply(1 - t, (-2.2, 0, 10.2)) + np.multiply(t, MAST_TOP)
        parts.append(free(tube([p - half_width, p + half_width], 0.1, 8), "orange"))
    parts.append(free(b.axle(2.8), "steel", translation(*MAST_TOP), LYING))
    for y, drum in ((-0.35, -0.4), (0.35, 2.0)):
        parts.append(free(tube([(drum, -2.5 + y, 8.4), (x + 0.5, y, z + 0.4)], 0.045, 6), "graphite"))
        parts.append(free(tube([(x, y, z + 0.6), (BOOM_TIP[0], y, BOOM_TIP[2] + 0.6)], 0.045, 6), "graphite"))
    return parts


def grab() -> Parts:
    """Clamshell on its ropes, half open, under the tip of the boom."""
    x, z = BOOM_TIP[0] + 1.0, BOOM_TIP[2]
    block = 11.2
    parts = [
        free(tube([(x + dx, dy, z + 0.2), (x + 0.6 * dx, dy, block)], 0.045, 6), "graphite")
        for dx in (-0.3, 0.3)
        for dy in (-0.55, 0.55)
    ]
    parts += [free(b.pulley(0.6, 0.3), "slate", translation(x, y, block), LYING) for y in (-0.5, 0.5)]
    parts += [
        free(box((1.0, 0.2, 1.5), (x - 0.5, y - 0.1, block - 0.8), 0.05), "yellow")
        for y in (-0.85, 0.0, 0.85)
    ]
    parts += [
        free(b.disc(0.55, 0.4), "slate", translation(x, 0, block - 1.2)),
        free(b.axle(2.1), "steel", translation(x, 0, block), LYING),
    ]
    hub = block - 3.2
    parts += [
        free(tube([(x, 0, hub), (x, 0, block - 1.1)], 0.2, 12), "steel"),
        free(b.axle(2.8), "steel", translation(x, 0, hub), LYING),
    ]
    for side in (0, 180):
        jaw = translation(x, 0, hub) @ rotation("z", side) @ rotation("y", 16)
        parts += [free(b.arc_panel(2.3, 200, 270, 2.4), "orange", jaw, translation(0, -1.2, 0))]
        parts += [free(b.sector(2.25, 185, 268), "slate", jaw, translation(0, y, 0)) for y in (-1.3, 1.1)]
        parts += [
            free(b.bucket_tooth(0.6), "steel", jaw, translation(0.1, y, -2.15), rotation("y", 40))
            for y in (-0.9, 0, 0.9)
        ]
        for y in (-0.9, 0.9):
            a, c = (x, y, block - 1.0), tuple((jaw @ (-1.9, y, -0.5, 1.0))[:3])
            parts.append(free(tube([a, c], 0.12, 8), "yellow"))
    return parts


def upper_works() -> Parts:
    """All that turns on the slew ring, in the frame of the ring."""
    return [
        *deck(),
        *engine_house(),
        *engine_roof(),
        *counterweight(),
        *cab(),
        *winch(),
        *boom(),
        *mast(),
        *grab(),
    ]
