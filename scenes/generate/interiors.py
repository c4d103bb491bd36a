"""Made-up rooms and table tops: walls with windows and doors, furniture along them, lamps and daylight."""

import numpy as np
from jaxtyping import Float

from scenes.generate import fitted
from scenes.generate.furniture import (
    ALONG_WALL,
    Parts,
    bed,
    bright,
    chair,
    clutter,
    coated,
    colour,
    metal,
    paper,
    person,
    screen,
    shade,
    table,
    thing,
    wooden,
)  # fmt: skip
from scenes.generate.lighting import Lamp, Place
from scenes.generate.parts import Material, Number, Rng, bar, moved, part, pose
from scenes.generate.viewpoints import REACH, Viewpoint, across_table, at_furniture, looking

Array = np.ndarray
Hole = tuple[Number, Number, Number, Number]  # left, right, bottom, top on a wall, metres
THICK = 0.2  # metres, of walls
# What a room is for, with how often it is drawn, and its least and greatest sides in metres.
ROOMS = {"living": (0.6, 2.6, 8.0), "kitchen": (0.25, 2.2, 6.0), "cellar": (0.15, 2.4, 8.0)}
TABLES = {"living": 0.5, "kitchen": 0.8, "cellar": 0.3}  # how often one stands in the middle
SILLS = {"living": (0.3, 1.0), "kitchen": (0.8, 1.3), "cellar": (0.9, 1.6)}  # metres up, of windows
FITTED = {"living": 0.0, "kitchen": 0.65, "cellar": 0.45}  # share of their walls that are built along
# Shares of views of a room: across a table where there is one, and of the others those of furniture; the
# rest look across the room.
ACROSS_TABLE, AT_FURNITURE = 0.35, 0.5


def light(rng: Rng, level: Number) -> Array:
    """Linear RGB of a lamp or of the day, from orange to blue."""
    tint = rng.normal(0.1, 0.15)
    return level * np.array([1 + tint, 1.0, np.clip(1 - 1.5 * tint, 0.35, 1.6)])


def brickwork(rng: Rng) -> Material:
    """Bricks, red, brown or yellow."""
    level, green = rng.choice([0.2, 0.4]), rng.uniform(0.4, 0.75)
    base = (level, green * level, 0.7 * green * level)
    return Material("bricks", (base, shade(base, 0.6), (0.4, 0.38, 0.35)), rng.uniform(0.06, 0.09))


def _walling(rng: Rng) -> Material:
    """Paint, paper, tiles, bricks, wood."""
    a = bright(rng, 0.4, 0.3) if rng.uniform() < 0.75 else colour(rng, 0.6)
    kind = rng.uniform()
    if kind < 0.6:
        return Material("plain", (a, a, a), 1.5, rng.uniform(0, 0.3))
    if kind < 0.72:
        return Material("mottled", (a, shade(a, rng.uniform(0.6, 0.95)), a), rng.uniform(0.8, 2.5))
    if kind < 0.8:
        return Material("flowers", (a, shade(a, rng.uniform(0.6, 1.3)), bright(rng)), rng.uniform(0.12, 0.4))
    if kind < 0.86:
        return Material("stripes", (a, shade(a, 0.8), bright(rng)), rng.uniform(0.1, 0.4))
    if kind < 0.92:
        return Material("tiled", (a, shade(a, 0.85), bright(rng, 0.3)), rng.uniform(0.1, 0.3), 0.6)
    if kind < 0.96:
        return brickwork(rng)
    return wooden(rng, "wood", rng.uniform(0.08, 0.2))


def _flooring(rng: Rng) -> Material:
    kind, a = rng.uniform(), colour(rng, 0.25)
    if kind < 0.4:
        return wooden(rng, "wood", rng.uniform(0.07, 0.2))
    if kind < 0.55:
        return Material("cloth", (a, shade(a, rng.uniform(0.6, 1.5)), a), rng.uniform(0.1, 0.5))
    if kind < 0.75:
        return Material(
            "tiled", (a, shade(a, 0.8), shade(a, 0.4)), rng.uniform(0.2, 0.6), rng.uniform(0.2, 0.9)
        )
    if kind < 0.82:
        return Material("streaks", (a, shade(a, 2.5), a), rng.uniform(0.1, 0.4))
    if kind < 0.88:
        return Material("checks", (a, bright(rng), a), rng.uniform(0.15, 0.4), rng.uniform(0, 0.6))
    return Material("mottled", (a, shade(a, 1.5), a), rng.uniform(0.8, 3), rng.uniform(0, 0.5))


def _wall(length: Number, height: Number, hole: Hole | None, material: Material) -> Parts:
    """A wall along x with its face at y = 0, looking towards +y."""
    if hole is None:
        return [part("box", material, (length + 2 * THICK, THICK, height), (0, -THICK / 2, 0))]
    left, right, bottom, top = hole
    ends = -length / 2 - THICK, length / 2 + THICK
    found = [part("box", material, (b - a, THICK, height), ((a + b) / 2, -THICK / 2, 0))
             for a, b in ((ends[0], left), (right, ends[1]))]  # fmt: skip
    for low, high in ((0.0, bottom), (top, height)):
        if high > low:
            size = right - left, THICK, high - low
            found.append(part("box", material, size, ((left + right) / 2, -THICK / 2, low)))
    return found


def _window(rng: Rng, hole: Hole, day: Number) -> Parts:
    """Pane, frame and sill, often with curtains; the pane shows the day."""
    left, right, bottom, top = hole
    middle, wide, tall = (left + right) / 2, right - left, top - bottom
    sky = (0.55, 0.7, 0.85) if rng.uniform() < 0.5 else (0.8, 0.82, 0.85)
    view = Material("outdoors", (sky, (0.1, 0.14, 0.06), (0.3, 0.3, 0.25)), 1.0, 0.6, day)
    frame = Material("plain", (bright(rng, 0.6) if rng.uniform() < 0.7 else colour(rng),) * 3, 1.0, 0.4)
    found = [part("box", view, (wide, 0.02, tall), (middle, -0.15, bottom))]
    for x in np.linspace(left, right, rng.integers(2, 5)):
        found.append(part("box", frame, (0.06, 0.06, tall), (x, -0.12, bottom)))
    for z in np.linspace(bottom, top - 0.06, rng.integers(2, 4)):
        found.append(part("box", frame, (wide, 0.06, 0.06), (middle, -0.12, z)))
    found.append(part("box", frame, (wide + 0.1, 0.25, 0.03), (middle, 0.0, bottom - 0.03)))
    found += moved(clutter(rng, wide, 0.2, 4), pose(middle, -0.02, bottom))
    if rng.uniform() < 0.55:
        cloth, hem = coated(rng), rng.choice([0.1, bottom - 0.1])
        found.append(bar(metal(rng), (left - 0.4, 0.08, top + 0.1), (right + 0.4, 0.08, top + 0.1), 0.03))
        for side, edge in ((-1, left), (1, right)):
            drawn = rng.uniform(0.15, 0.6) * wide
            for k in range(folds := int(drawn / 0.09) + 2):
                x = edge - side * (drawn * k / folds - 0.25)
                found.append(part("cylinder", cloth, (0.11, 0.09, top + 0.1 - hem), (x, 0.08, hem)))
    return found


def _doorway(rng: Rng, hole: Hole, room: Material, floor: Material) -> Parts:
    """A closed door, or the next room seen through its frame."""
    left, right, _, top = hole
    middle, wide = (left + right) / 2, right - left
    frame = Material("plain", (bright(rng, 0.4) if rng.uniform() < 0.6 else colour(rng, 0.3),) * 3, 1.0, 0.4)
    found = [part("box", frame, (0.08, THICK + 0.04, top), (x, -THICK / 2, 0)) for x in (left, right)]
    found.append(part("box", frame, (wide + 0.16, THICK + 0.04, 0.08), (middle, -THICK / 2, top)))
    leaf = wooden(rng)
    door = [part("box", leaf, (wide - 0.06, 0.04, top), (wide / 2, 0, 0))]
    door += [part("box", leaf, (0.7 * wide, 0.06, 0.35 * top), (wide / 2, 0, z * top)) for z in (0.08, 0.52)]
    door.append(part("ball", metal(rng), (0.06, 0.16, 0.06), (0.9 * wide, 0, 1.0)))
    if rng.uniform() < 0.5:
        return found + moved(door, pose(left, -0.05))
    deep, side = rng.uniform(1.2, 4.5), rng.uniform(0.5, 2)
    far = -THICK - deep
    found += moved(door, pose(left + 0.04, 0.0, 0.0, rng.uniform(0.6, 2.2)))
    found.append(part("box", room, (wide + 2 * side, 0.1, 2.6), (middle, far, 0)))
    inner = deep + THICK / 2  # its walls reach into ours, or rays slip between them
    found.append(part("box", room, (wide + 2 * side, inner, 0.1), (middle, far + inner / 2, 2.5)))
    found += [
        part("box", room, (0.1, inner, 2.6), (middle + i * (wide / 2 + side), far + inner / 2, 0))
        for i in (-1, 1)
    ]
    found.append(part("box", floor, (wide + 2 * side, deep + THICK, 0.1), (middle, far + deep / 2, -0.1)))
    maker = ALONG_WALL[rng.integers(3)][0]
    return found + moved(maker(rng, 1.2), pose(middle + rng.normal(0, 0.4), far + 0.1))


def _on_wall(rng: Rng, length: Number, height: Number) -> Parts:
    """Pictures, a clock, a board, sockets."""
    found: Parts = []
    for _ in range(rng.integers(0, 5)):
        wide, tall = rng.uniform(0.15, 1.0, 2)
        x, z = rng.uniform(-0.45, 0.45) * length, min(rng.uniform(1.1, 1.9), height - tall - 0.1)
        if rng.uniform() < 0.75:
            found.append(part("box", wooden(rng), (wide + 0.06, 0.025, tall + 0.06), (x, 0.012, z)))
        found.append(part("box", paper(rng), (wide, 0.03, tall), (x, 0.015, z + 0.03)))
    if rng.uniform() < 0.12:
        found += moved(screen(rng, rng.uniform(0.8, 1.4)), pose(rng.uniform(-0.3, 0.3) * length, 0.05, 1.0))
    if rng.uniform() < 0.15:
        found += fitted.notices(rng, length, height)
    for _ in range(rng.choice([0, 0, 0, 1, 2])):
        wide = rng.uniform(0.5, min(2.0, 0.9 * length))
        board = fitted.wall_shelf(rng, wooden(rng), wide, rng.uniform(1.2, height - 0.4))
        found += moved(board, pose(rng.uniform(-0.5, 0.5) * (length - wide)))
    white = Material("plain", ((0.7, 0.7, 0.68),) * 3, 1.0, 0.4)
    if rng.uniform() < 0.8:
        found.append(part("box", white, (length, 0.02, rng.uniform(0.05, 0.15)), (0, 0.01, 0)))
    at = (rng.uniform(-0.4, 0.4) * length, 0.01, rng.choice([0.3, 1.1]))
    return [*found, part("box", white, (0.09, 0.02, 0.09), at)]


def _furnished(rng: Rng, length: Number, hole: Hole | None, corner: Number) -> Parts:
    """Furniture side by side along a wall, nothing before a door."""
    weights = np.array([w for _, w in ALONG_WALL])
    found, x = [], corner - length / 2
    while x < length / 2 - corner - 0.4:
        width = min(rng.uniform(0.5, 2.4), length / 2 - corner - x)
        if hole is not None and hole[2] == 0.0 and x + width > hole[0] - 0.1 and x < hole[1] + 0.1:
            x = hole[1] + 0.1
            continue
        if rng.uniform() < 0.75:
            maker = ALONG_WALL[rng.choice(len(ALONG_WALL), p=weights / weights.sum())][0]
            found += moved(maker(rng, width), pose(x + width / 2, 0.02, 0.0, rng.normal(0, 0.02)))
        x += width + rng.exponential(0.12)
    return found


def _along_wall(
    rng: Rng,
    use: str,
    style: fitted.Kitchen,
    length: Number,
    hole: Hole | None,
    height: Number,
    corner: Number,
) -> Parts:
    """What is built along a wall, or the furniture that stands there."""
    if rng.uniform() >= FITTED[use]:
        if rng.uniform() >= 0.1:
            return _furnished(rng, length, hole, corner)
        spans = fitted.spans_of_wall(length, hole, 0.8)
        return [each for span in spans for each in fitted.wardrobe(rng, span, height)]
    if use == "kitchen":
        spans = fitted.spans_of_wall(length, hole, 0.6, style.high)
        return [each for span in spans for each in fitted.kitchen_run(rng, style, span)]
    spans = fitted.spans_of_wall(length, hole, 0.6)
    return [each for span in spans for each in fitted.rack(rng, span, height)]


def _built_in(rng: Rng, use: str, walling: Material, width: Number, depth: Number, height: Number) -> Parts:
    """What stands free and reaches the ceiling."""
    found: Parts = []
    if rng.uniform() < 0.3:
        found += fitted.closet(rng, walling, width, depth, height)
    if rng.uniform() < (0.6 if use == "cellar" else 0.1):
        found += fitted.posts(rng, width, depth, height)
    if rng.uniform() < (0.8 if use == "cellar" else 0.07):
        found += fitted.overhead(rng, width, depth, height)
    if use == "cellar" and rng.uniform() < 0.5:
        at = rng.uniform(-0.45, 0.45, 2) * (width, depth)
        found += moved(fitted.boiler(rng), pose(*at, 0, rng.uniform(0, 6.3)))
    return found


def _dining(rng: Rng) -> tuple[Parts, Number]:
    """A table about the origin with chairs around it, and how far its edge is from its middle."""
    long, deep, high = rng.uniform(0.8, 1.9), rng.uniform(0.6, 1.0), rng.choice([0.45, 0.74, 0.74])
    found = moved(table(rng, long, deep, high, rng.uniform(1, 12)), pose(0, -deep / 2))
    for k in range(rng.integers(1, 6) if high > 0.6 else rng.integers(2)):
        side = 1 if k % 2 else -1
        at = pose(rng.uniform(-0.4, 0.4) * long, side * (deep / 2 + rng.uniform(0.1, 0.5)), 0.0)
        found += moved(chair(rng), at @ pose(turn=(np.pi if side > 0 else 0) + rng.normal(0, 0.4)))
    return found, deep / 2


def _in_the_middle(
    rng: Rng, use: str, width: Number, depth: Number
) -> tuple[Parts, tuple[Float[Array, "4 4"], Number] | None]:
    """What stands free: a table with chairs, a bed, people, things on the floor; and where the table is."""
    found: Parts = []
    if rng.uniform() < 0.45:
        weave = str(rng.choice(["cloth", "flowers", "stripes", "checks"]))
        threads = colour(rng, 0.7), colour(rng, 0.7), colour(rng)
        thread = Material(weave, threads, rng.uniform(0.1, 0.5))
        found.append(part("box", thread, (0.5 * width, 0.45 * depth, 0.012), (0, 0, 0)))
    kind, turn = rng.uniform(), rng.choice([0, np.pi / 2]) + rng.normal(0, 0.1)
    spot = None
    if kind < TABLES[use]:
        dining, reach = _dining(rng)
        spot = pose(*rng.normal(0, 0.4, 2), 0.0, turn), reach
        found += moved(dining, spot[0])
    elif kind < TABLES[use] + 0.15:
        found += moved(bed(rng), pose(0, -1.0, 0.0, turn))
    for _ in range(rng.poisson(2.0)):
        at = rng.uniform(-0.45, 0.45, 2) * (width, depth)
        found += moved(thing(rng, rng.uniform(0.1, 0.45)), pose(*at, 0.0, rng.uniform(0, 6.3)))
    for _ in range(rng.choice([0, 0, 0, 1, 1, 2])):
        at = rng.uniform(-0.4, 0.4, 2) * (width, depth)
        found += moved(person(rng, rng.uniform(1.2, 1.9)), pose(*at, 0.0, rng.uniform(0, 6.3)))
    return found, spot


def _hole(rng: Rng, length: Number, height: Number, window: bool, sill: tuple[Number, Number]) -> Hole:
    wide = rng.uniform(0.7, 0.6 * length) if window else rng.uniform(0.75, 1.0)
    x = rng.uniform(-0.5, 0.5) * (length - wide - 0.3)
    low, high = (rng.uniform(*sill), rng.uniform(1.8, height - 0.15)) if window else (0.0, 2.05)
    return (x - wide / 2, x + wide / 2, low, high)


def _ceiling_lamps(rng: Rng, width: Number, depth: Number, height: Number) -> tuple[Parts, list[Lamp]]:
    """One or two lamps, on or off to the eye, that hang or sit under the ceiling."""
    bulb = Material("plain", ((0.9, 0.88, 0.8),) * 3, 1.0, 0.2, rng.choice([0.3, 6.0]))
    parts, lamps = [], []
    for _ in range(rng.integers(1, 3)):
        x, y = rng.uniform(-0.3, 0.3, 2) * (width, depth)
        z = height - rng.choice([0.08, rng.uniform(0.3, 0.8)])
        shape = str(rng.choice(["ball", "shade", "bowl", "box"]))
        parts.append(part(shape, bulb, (0.35, 0.35, 0.14), (x, y, z - 0.08)))
        lamps.append(Lamp((x, y, z - 0.15), rng.uniform(0.05, 0.3), light(rng, rng.uniform(1, 6))))
    return parts, lamps


def room(rng: Rng) -> tuple[Place, Viewpoint]:
    """A furnished room with its middle at the origin, and views from about eye height."""
    shares = np.array([share for share, *_ in ROOMS.values()])
    use = str(rng.choice(list(ROOMS), p=shares / shares.sum()))
    (width, depth), height = rng.uniform(*ROOMS[use][1:], 2), rng.uniform(2.1, 3.2)
    style = fitted.Kitchen.drawn(rng, height)
    walling, floor, day = _walling(rng), _flooring(rng), rng.choice([0.05, 1.5, 3.0, 6.0])
    ceiling = (bright(rng, 0.6, 0.06),) * 3
    parts = [
        part("box", floor, (width + 2 * THICK, depth + 2 * THICK, 0.1), (0, 0, -0.1)),
        part("box", Material("plain", ceiling, 2.0), (width + 0.4, depth + 0.4, 0.1), (0, 0, height - 0.01)),
    ]
    lamps, (furniture, spot) = [], _in_the_middle(rng, use, width, depth)
    for side, (length, away) in enumerate(((width, depth), (depth, width)) * 2):
        frame = pose(turn=side * np.pi / 2) @ pose(0, -away / 2)
        kind, hole = rng.uniform(), None
        if kind < 0.7:
            hole = _hole(rng, length, height, kind < 0.45, SILLS[use])
        own = walling if rng.uniform() < 0.85 else _walling(rng)
        wall = _wall(length, height, hole, own)
        corner = 0.1 if side % 2 else 0.75
        furniture += moved(_along_wall(rng, use, style, length, hole, height, corner), frame)
        if hole is None:
            wall += _on_wall(rng, length, height)
        elif hole[2] > 0:
            wall += _window(rng, hole, day)
            at = frame @ [(hole[0] + hole[1]) / 2, 0.3, (hole[2] + hole[3]) / 2, 1.0]
            lamps.append(Lamp(at[:3], 0.5, light(rng, 1.2 * day)))
        else:
            wall += _doorway(rng, hole, own, floor)
        parts += moved(wall, frame)
    furniture += _built_in(rng, use, walling, width, depth, height)
    parts += furniture
    fittings, ceiling_lamps = _ceiling_lamps(rng, width, depth, height)
    parts += fittings
    lamps += ceiling_lamps
    strongest = sorted(lamps, key=lambda lamp: -float(np.sum(lamp.power)))[:2]
    total = sum(float(np.mean(lamp.power)) for lamp in strongest)
    above = light(rng, 0.06 * total + 0.1)
    place = Place(parts, strongest, (above, 0.8 * above), rng.uniform(0.5, 1.2))

    def viewpoint(rng: Rng) -> Array:
        if spot and rng.uniform() < ACROSS_TABLE:
            return across_table(*spot, width, depth, rng)
        if furniture and rng.uniform() < AT_FURNITURE:
            return at_furniture(furniture[rng.integers(len(furniture))].pose[:3, 3], width, depth, rng)
        x, y = rng.uniform(-REACH, REACH, 2) * (width, depth)
        inwards = np.arctan2(-y, -x) + rng.normal(0, 0.6)
        eye = np.array([x, y, np.clip(rng.normal(1.4, 0.3), 0.5, 2.1)])
        return looking(eye, inwards, rng.normal(0.3, 0.27), rng.normal(0, 0.09))

    return place, viewpoint


def still_life(rng: Rng) -> tuple[Place, Viewpoint]:
    """Things on a table or the floor, seen from near, with a wall or a dim room behind."""
    wide, deep, high = rng.uniform(0.8, 2.0), rng.uniform(0.6, 1.2), rng.choice([0.0, 0.74])
    behind = deep / 2 + rng.choice([0.05, rng.uniform(0.3, 3.0)])
    walling = _walling(rng)
    parts = [
        part("box", _flooring(rng), (14, 14, 0.1), (0, 0, -0.1)),
        part("box", Material("plain", (bright(rng),) * 3, 2.0), (13, 13, 3.5), (0, 0, -0.2)),  # from inside
        part("box", walling, (10, 0.2, 3), (0, behind + 0.1, 0)),
        part("box", walling, (0.2, 12, 3), (rng.choice([-1, 1]) * rng.uniform(1.5, 4), 0, 0)),
    ]
    if high:
        top = rng.choice([wooden(rng), coated(rng)])
        parts.append(part("box", top, (wide, deep, 0.04), (0, 0, high - 0.04)))
        parts += [part("box", top, (0.06, 0.06, high), (i * (wide / 2 - 0.05), j * (deep / 2 - 0.05), 0))
                  for i in (-1, 1) for j in (-1, 1)]  # fmt: skip
    spread, size = rng.uniform(0.25, 0.6), rng.uniform(0.05, 0.25)
    for _ in range(rng.integers(2, 14)):
        at = rng.uniform(-0.5, 0.5, 2) * spread * (wide, deep)
        parts += moved(thing(rng, size * rng.uniform(0.5, 1.6)), pose(*at, high, rng.uniform(0, 6.3)))
    parts += moved(clutter(rng, wide, deep, rng.uniform(0, 6)), pose(0, 0, high))
    if rng.uniform() < 0.6 and behind > 0.6:
        back = moved(_furnished(rng, 4.0, None, 0.0), pose(0, behind, 0.0, np.pi))
        parts += back + moved(_on_wall(rng, 4.0, 2.8), pose(0, behind, 0, np.pi))
    lamps = []
    for _ in range(rng.integers(1, 3)):
        at = rng.uniform((-2, -2.5, high + 0.8), (2, -0.2, high + 2))
        lamps.append(Lamp(at, rng.uniform(0.05, 0.5), light(rng, rng.uniform(1, 4))))
    above = light(rng, rng.uniform(0.15, 0.6))
    place = Place(parts, lamps, (above, 0.7 * above), rng.uniform(0.15, 0.5))

    def viewpoint(rng: Rng) -> Array:
        target = np.array([*(rng.uniform(-0.3, 0.3, 2) * spread), high + 0.5 * size])
        heading, pitch = np.pi / 2 + rng.normal(0, 0.45), rng.uniform(0.1, 0.95)
        away = rng.uniform(0.35, 1.2) + size
        aim = looking(np.zeros(3), heading, pitch, rng.normal(0, 0.08))
        aim[:3, 3] = target - away * aim[:3, 2]
        return aim

    return place, viewpoint
