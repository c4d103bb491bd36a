"""What is built into rooms: kitchens and wardrobes from corner to corner, racks, posts, pipes, beams.

As furniture, each is a list of parts with its back at y = 0, facing +y, along a wall that is centred at
x = 0; what stands free in a room is in the room's own axes.
"""

from dataclasses import dataclass

import numpy as np

from scenes.generate.furniture import (
    Parts,
    books,
    bright,
    clutter,
    coated,
    colour,
    metal,
    paper,
    shade,
    sheet,
    thing,
    wooden,
)  # fmt: skip
from scenes.generate.parts import Material, Number, Rng, bar, moved, part, pose, tilted

Span = tuple[Number, Number]  # from where to where along a wall, metres


@dataclass(frozen=True, eq=False)
class Kitchen:
    """What the units of one kitchen have in common. Lengths in metres."""

    front: Material
    top: Material
    back: Material
    handle: Material
    body: Material
    high: Number  # of the worktop
    deep: Number
    above: str  # cupboards, shelves or nothing
    upper: Span  # bottom and top of what hangs above

    @classmethod
    def drawn(cls, rng: Rng, ceiling: Number) -> "Kitchen":
        paint = colour(rng, 0.8) if rng.uniform() < 0.6 else bright(rng)
        front = Material("plain", (paint,) * 3, 1.0, rng.uniform(0, 0.8))
        if rng.uniform() < 0.35:
            front = wooden(rng)
        grain = str(rng.choice(["marble", "mottled", "plain", "timber"]))
        slab = colour(rng, 0.2)
        top = Material(
            grain, (slab, shade(slab, rng.uniform(0.6, 1.5)), bright(rng)), 0.3, rng.uniform(0, 0.8)
        )
        tile = bright(rng) if rng.uniform() < 0.7 else colour(rng)
        back = Material("tiled", (tile, shade(tile, 0.9), colour(rng, 0.2)), rng.uniform(0.05, 0.2), 0.6)
        body = Material("plain", (shade(front.colours[0], 0.5),) * 3)
        above = str(rng.choice(["cupboards", "cupboards", "shelves", "nothing"]))
        low = rng.uniform(1.35, 1.6)
        upper = low, min(low + rng.uniform(0.5, 0.9), ceiling - 0.05)
        return cls(
            front, top, back, metal(rng), body, rng.uniform(0.85, 0.96), rng.uniform(0.55, 0.65), above, upper
        )


def spans_of_wall(
    length: Number, hole: tuple[Number, ...] | None, least: Number, tall: Number = np.inf
) -> list[Span]:
    """What of a wall can be built along: all of it, or what lies beside a door or a window.

    hole: left, right, bottom and top of it; least: metres a span must have; tall: how high it is built.
    """
    whole = -length / 2, length / 2
    if hole is None or hole[2] >= tall:
        return [whole]
    left, right = hole[0] - 0.1, hole[1] + 0.1
    return [(a, b) for a, b in ((whole[0], left), (right, whole[1])) if b - a > least]


def _unit(rng: Rng, style: Kitchen, wide: Number) -> Parts:
    """One cupboard under the worktop: a door, drawers, an oven or a machine with a round door."""
    tall, deep = style.high - 0.14, style.deep
    kind = rng.uniform()
    if kind < 0.1:
        white, dark = bright(rng, 0.6), (0.02, 0.02, 0.02)
        case = Material("plain", (white,) * 3, 1.0, 0.4)
        glass = Material("plain", (dark,) * 3, 1.0, 0.9)
        round_door = moved([part("cylinder", glass, (0.6 * wide, 0.6 * wide, 0.03))], tilted(0, -np.pi / 2))
        return [
            part("box", case, (wide - 0.006, deep, tall), (0, deep / 2, 0.1)),
            *moved(round_door, pose(0, deep, 0.1 + 0.5 * tall)),
        ]
    if kind < 0.2:
        dark = Material("plain", ((0.015,) * 3,) * 3, 1.0, 0.9)
        return [
            part("box", metal(rng), (wide - 0.006, deep, tall), (0, deep / 2, 0.1)),
            part("box", dark, (0.85 * wide, 0.02, 0.55 * tall), (0, deep + 0.005, 0.2)),
            part("box", style.handle, (0.8 * wide, 0.03, 0.02), (0, deep + 0.03, 0.15 + 0.65 * tall)),
        ]
    rows = int(rng.choice([1, 1, 2, 3]))
    found = [part("box", style.body, (wide, deep - 0.02, tall), (0, deep / 2 - 0.01, 0.1))]
    for k in range(rows):
        low = 0.1 + k * tall / rows
        face = wide - 0.008, 0.02, tall / rows - 0.008
        found.append(part("box", style.front, face, (0, deep, low)))
        at = 0, deep + 0.02, low + tall / rows - 0.08
        found.append(part("box", style.handle, (0.4 * wide, 0.02, 0.015), at))
    return found


def _above(rng: Rng, style: Kitchen, wide: Number) -> Parts:
    """What hangs over one unit."""
    low, high = style.upper
    if style.above == "cupboards" and rng.uniform() < 0.85:
        face = wide - 0.008, 0.02, high - low
        return [
            part("box", style.body, (wide, 0.32, high - low), (0, 0.16, low)),
            part("box", style.front, face, (0, 0.33, low)),
        ]
    if style.above == "shelves":
        return wall_shelf(rng, style.top, wide, low)
    return []


def wall_shelf(rng: Rng, board: Material, wide: Number, height: Number) -> Parts:
    """A board on the wall with things on it."""
    found = [part("box", board, (wide, 0.26, 0.03), (0, 0.13, height - 0.03))]
    if rng.uniform() < 0.3:
        return found + moved(books(rng, 0.9 * wide, 0.3, 0.24), pose(0, 0.02, height))
    for x in rng.uniform(-0.42, 0.42, rng.integers(0, 5)) * wide:
        found += moved(thing(rng, rng.uniform(0.08, 0.28)), pose(x, 0.13, height))
    return found


def _fridge(rng: Rng, tall: Number) -> Parts:
    level = rng.choice([0.03, 0.3, 0.75])
    case = Material("plain", ((level,) * 3 if rng.uniform() < 0.8 else colour(rng, 0.9),) * 3, 1.0, 0.5)
    split = rng.uniform(0.3, 0.7) * tall
    return [
        part("box", case, (0.6, 0.62, tall), (0, 0.31, 0)),
        part("box", case, (0.59, 0.05, split - 0.03), (0, 0.65, 0.02)),
        part("box", case, (0.59, 0.05, tall - split - 0.02), (0, 0.65, split)),
        part("box", metal(rng), (0.025, 0.04, 0.3), (-0.25, 0.69, split + 0.05)),
        part("box", metal(rng), (0.025, 0.04, 0.3), (-0.25, 0.69, split - 0.35)),
    ]


def kitchen_run(rng: Rng, style: Kitchen, span: Span) -> Parts:
    """Units side by side under one worktop, with what hangs above, sink, hob, and often a fridge."""
    left, right = span
    found: Parts = []
    if right - left > 1.6 and rng.uniform() < 0.35:
        at = rng.choice([left + 0.31, right - 0.31])
        found += moved(_fridge(rng, rng.uniform(1.4, 2.0)), pose(at))
        left, right = (left + 0.64, right) if at < (left + right) / 2 else (left, right - 0.64)
    middle, width = (left + right) / 2, right - left
    found.append(
        part("box", style.back, (width, 0.01, style.upper[0] - style.high), (middle, 0.005, style.high))
    )
    found.append(part("box", style.body, (width, style.deep - 0.08, 0.1), (middle, style.deep / 2 - 0.04, 0)))
    slab = width + 0.01, style.deep + 0.03, 0.04
    found.append(part("box", style.top, slab, (middle, slab[1] / 2, style.high - 0.04)))
    count = max(1, round(width / rng.uniform(0.45, 0.7)))
    for x in left + (np.arange(count) + 0.5) * width / count:
        found += moved(_unit(rng, style, width / count), pose(x))
        found += moved(_above(rng, style, width / count), pose(x))
    for _ in range(int(width > 1.2) + int(width > 2.4)):  # a sink, a hob
        x = rng.uniform(left + 0.4, right - 0.4)
        plate = metal(rng) if rng.uniform() < 0.6 else Material("plain", ((0.01,) * 3,) * 3, 1.0, 0.9)
        found.append(part("box", plate, (0.55, 0.42, 0.008), (x, 0.31, style.high)))
        if rng.uniform() < 0.5:
            found.append(bar(metal(rng), (x, 0.08, style.high), (x, 0.08, style.high + 0.25), 0.025))
            found.append(bar(metal(rng), (x, 0.08, style.high + 0.25), (x, 0.25, style.high + 0.2), 0.02))
    things = clutter(rng, width, style.deep - 0.1, rng.uniform(0, 12))
    return found + moved(things, pose(middle, style.deep / 2, style.high))


def wardrobe(rng: Rng, span: Span, ceiling: Number) -> Parts:
    """Doors from end to end of a wall, as high as the room or nearly."""
    face = coated(rng, 0.4) if rng.uniform() < 0.4 else wooden(rng)
    deep, tall, handle = rng.uniform(0.4, 0.65), min(rng.uniform(1.9, 3.0), ceiling - 0.03), metal(rng)
    left, right = span
    inside = Material("plain", (shade(face.colours[0], 0.4),) * 3)
    found = [part("box", inside, (right - left, deep, tall), ((left + right) / 2, deep / 2, 0))]
    count = max(1, round((right - left) / rng.uniform(0.4, 0.9)))
    wide = (right - left) / count
    for k in range(count):
        x = left + (k + 0.5) * wide
        found.append(part("box", face, (wide - 0.01, 0.02, tall - 0.1), (x, deep + 0.01, 0.06)))
        at = x + (0.4 if k % 2 else -0.4) * wide, deep + 0.03, 0.45 * tall
        found.append(part("box", handle, (0.02, 0.03, 0.18), at))
    return found


def rack(rng: Rng, span: Span, ceiling: Number) -> Parts:
    """Open boards on posts along a wall, full of cartons and whatever is stored."""
    wide, deep = span[1] - span[0], rng.uniform(0.35, 0.7)
    tall = min(rng.uniform(1.4, 2.4), ceiling - 0.1)
    frame = metal(rng) if rng.uniform() < 0.6 else wooden(rng)
    bays = max(1, round(wide / rng.uniform(0.8, 1.6)))
    found = [
        part("box", frame, (0.04, 0.04, tall), (x, y, 0))
        for x in np.linspace(span[0] + 0.03, span[1] - 0.03, bays + 1) for y in (0.03, deep - 0.03)
    ]  # fmt: skip
    levels = np.linspace(rng.uniform(0.05, 0.4), tall - 0.04, rng.integers(3, 6))
    middle, step = (span[0] + span[1]) / 2, levels[1] - levels[0]
    for z in levels:
        gap = min(step, ceiling - z - 0.05)
        found.append(part("box", frame, (wide, deep, 0.03), (middle, deep / 2, z)))
        x = span[0] + 0.1
        while x < span[1] - 0.2:
            size = rng.uniform(0.12, 0.5)
            if rng.uniform() < 0.7:
                box = size, min(size, deep - 0.1), rng.uniform(0.4, 0.9) * gap
                pick = rng.choice([paper(rng), coated(rng, 0.3), wooden(rng)])
                found.append(part("box", pick, box, (x + size / 2, deep / 2, z + 0.03), rng.normal(0, 0.1)))
            elif rng.uniform() < 0.5:
                found += moved(thing(rng, min(size, 0.5 * gap)), pose(x + size / 2, deep / 2, z + 0.03))
            x += size + rng.exponential(0.06)
    return found


def notices(rng: Rng, length: Number, ceiling: Number) -> Parts:
    """Papers on a wall, close together, in rough rows."""
    found: Parts = []
    wide, tall = rng.uniform(0.2, 0.5) * length, rng.uniform(0.3, 0.8)
    x, z = rng.uniform(-0.5, 0.5) * (length - wide), min(rng.uniform(1.2, 1.6), ceiling - tall - 0.1)
    upright = tilted(0, np.pi / 2)
    for _ in range(rng.integers(4, 18)):
        page = moved(sheet(rng), upright) if rng.uniform() < 0.3 else [
            part("box", paper(rng), (rng.uniform(0.12, 0.35), 0.006, rng.uniform(0.12, 0.4)))
        ]  # fmt: skip
        at = pose(x + rng.uniform(-0.5, 0.5) * wide, rng.uniform(0.008, 0.02), z + rng.uniform(0, 1) * tall)
        found += moved(page, at)
    return found


def posts(rng: Rng, width: Number, depth: Number, ceiling: Number) -> Parts:
    """Columns that carry the ceiling, round or square, thin or thick."""
    finish = rng.choice([metal(rng), wooden(rng), coated(rng, 0.3), Material("plain", (bright(rng),) * 3)])
    shape, wide = (
        str(rng.choice(["cylinder", "box"])),
        rng.choice([rng.uniform(0.06, 0.15), rng.uniform(0.2, 0.5)]),
    )
    return [
        part(shape, finish, (wide, wide, ceiling), (*(rng.uniform(-0.42, 0.42, 2) * (width, depth)), 0))
        for _ in range(rng.integers(1, 5))
    ]


def overhead(rng: Rng, width: Number, depth: Number, ceiling: Number) -> Parts:
    """Beams in a row and pipes under a ceiling, or down a wall."""
    found: Parts = []
    if rng.uniform() < 0.5:
        wood, gap, high = wooden(rng), rng.uniform(0.35, 1.2), rng.uniform(0.1, 0.3)
        for x in np.arange(-width / 2 + gap / 2, width / 2, gap):
            found.append(part("box", wood, (rng.uniform(0.05, 0.2), depth, high), (x, 0, ceiling - high)))
    for _ in range(rng.integers(1, 6)):
        finish = metal(rng) if rng.uniform() < 0.6 else coated(rng, 0.3)
        z, thick = ceiling - rng.uniform(0.1, 0.45), rng.choice([0.03, 0.06, 0.12, 0.3])
        if rng.uniform() < 0.5:
            y = rng.uniform(-0.48, 0.48) * depth
            found.append(bar(finish, (-width / 2, y, z), (width / 2, y, z), thick))
        else:
            x = rng.uniform(-0.48, 0.48) * width
            found.append(bar(finish, (x, -depth / 2, z), (x, depth / 2, z), thick))
            end = rng.choice([-0.5, 0.5]) * (depth - 0.1)
            found.append(bar(finish, (x, end, 0), (x, end, z), thick))
    return found


def boiler(rng: Rng) -> Parts:
    """A standing tank with pipes to the ceiling."""
    wide, tall, finish = rng.uniform(0.4, 0.7), rng.uniform(1.0, 1.8), metal(rng)
    case = Material("plain", (bright(rng, 0.4),) * 3, 1.0, 0.4) if rng.uniform() < 0.7 else coated(rng)
    pipes = [
        bar(finish, (x, wide / 2, tall - 0.1), (x, wide / 2 + rng.normal(0, 0.1), tall + 0.6), 0.05)
        for x in (-0.12, 0.12)
    ]
    return [part("cylinder", case, (wide, wide, tall), (0, wide / 2, 0.05)), *pipes]


def closet(rng: Rng, wall: Material, width: Number, depth: Number, ceiling: Number) -> Parts:
    """Part of a room walled off: a corner of it, or a stub of wall that reaches into it."""
    if rng.uniform() < 0.6:
        a, b = rng.uniform(0.15, 0.45, 2) * (width, depth)
    else:
        a, b = (0.15, rng.uniform(0.2, 0.5) * depth)
        if rng.uniform() < 0.5:
            a, b = rng.uniform(0.2, 0.5) * width, 0.15
    i, j = rng.choice([-1, 1], 2)
    along = rng.choice([1.0, rng.uniform(-1, 1)]) if min(a, b) < 0.2 else 1.0
    x, y = i * (width - a) / 2, j * (depth - b) / 2
    x, y = (x, along * y) if b < a else (along * x, y)
    tall = ceiling if rng.uniform() < 0.8 else rng.uniform(0.9, 1.3)
    return [part("box", wall, (a + 0.02, b + 0.02, tall), (x, y, 0))]
