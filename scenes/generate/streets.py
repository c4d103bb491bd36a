"""Made-up streets and open land under a sky: houses, cars, trees, people, hills."""

import numpy as np

from scenes.generate.furniture import (
    Parts,
    bright,
    colour,
    metal,
    paper,
    person,
    shade,
    thing,
    wooden,
)
from scenes.generate.interiors import brickwork
from scenes.generate.lighting import FAR, Lamp, Place, Sky
from scenes.generate.parts import (
    Material,
    Mesh,
    Number,
    Part,
    Rng,
    bar,
    extruded,
    grid_faces,
    leaves,
    lump,
    moved,
    part,
    pose,
    smooth,
    tilted,
)
from scenes.generate.viewpoints import Viewpoint, looking

Array = np.ndarray
REACH = 170.0  # metres, of the street before the camera
NEAR = 25.0  # metres within which trees have loose leaves


def daylight(rng: Rng) -> tuple[tuple[Lamp, ...], Sky, tuple[Array, Array]]:
    """Sun, sky and the ambient light of clear, cloudy and overcast hours."""
    cover, clear = rng.uniform(0.0, 0.8), rng.uniform(0.1, 1.0)
    if rng.uniform() < 0.3:
        clear = 0.0
    blue = np.array([0.25, 0.45, 0.9]) * rng.uniform(0.6, 1.2)
    grey = np.array([0.75, 0.8, 0.88]) * rng.uniform(0.7, 1.5)
    zenith = clear * blue + (1 - clear) * grey
    horizon = 0.35 * zenith + 0.65 * np.array([1.0, 1.0, 1.02]) * rng.uniform(0.45, 1.2)
    sky = Sky(horizon, zenith, cover if clear else 0.9, rng.uniform(0, 6))
    height, around = rng.uniform(0.15, 1.2), rng.uniform(0, 6.3)
    at = FAR * np.array([np.cos(around) * np.cos(height), np.sin(around) * np.cos(height), np.sin(height)])
    warmth = np.array([1.0, 0.75 + 0.2 * min(height, 1.0), 0.45 + 0.4 * min(height, 1.0)])
    sun = (Lamp(at, FAR * rng.uniform(0.005, 0.03), 7.0 * clear * warmth),) if clear > 0.1 else ()
    above = 0.55 * zenith + 0.25 * horizon
    return sun, sky, (above, 0.35 * above * np.array([1.0, 0.95, 0.85]))


def _greenery(rng: Rng) -> Material:
    level = rng.uniform(0.5, 1.4)
    green = (level * rng.uniform(0.05, 0.2), level * rng.uniform(0.1, 0.18), level * rng.uniform(0.015, 0.05))
    return Material("leafy", (green, shade(green, 0.3), shade(green, 1.6)), rng.uniform(0.7, 2.0))


def _crowns(rng: Rng) -> list[tuple[Mesh, Mesh]]:
    """Three kinds of foliage, each a dark core and loose leaves around it."""
    return [(lump(rng, 0.3, 10), leaves(rng, 400, rng.uniform(0.022, 0.04))) for _ in range(3)]


def tree(rng: Rng, crowns: list[tuple[Mesh, Mesh]], height: Number, near: bool) -> Parts:
    """A trunk with branches and a crown of clumps, with loose leaves if it is near; a conifer; a bare one."""
    bark = Material("streaks", ((0.08, 0.06, 0.04), (0.2, 0.16, 0.12), (0.1, 0.1, 0.1)), 0.3)
    leaf, thick = _greenery(rng), height * rng.uniform(0.02, 0.05)
    if rng.uniform() < 0.15:
        layers = [part("cone", leaf, (w * height, w * height, 0.45 * height), (0, 0, z * height))
                  for z, w in ((0.12, 0.42), (0.32, 0.34), (0.55, 0.24))]  # fmt: skip
        return [bar(bark, (0, 0, 0), (0, 0, 0.3 * height), thick), *layers]
    found = [bar(bark, (0, 0, -0.2), (0, 0, 0.6 * height), thick)]
    bare = rng.uniform() < 0.1
    for _ in range(rng.integers(1, 5)):
        low = rng.uniform(0.25, 0.45)
        wide = height * rng.uniform(0.35, 0.65)
        x, y = 0.14 * height * rng.normal(size=2)
        found.append(bar(bark, (0, 0, 0.9 * low * height), (x, y, (low + 0.3) * height), 0.4 * thick))
        if bare:
            continue
        core, loose = crowns[rng.integers(len(crowns))]
        size, at = (wide, wide, height * (1 - low)), (x, y, low * height)
        turn = rng.uniform(0, 6.3)
        found.append(part(core, leaf, tuple((0.8 if near else 1.0) * s for s in size), at, turn))
        if near:
            found.append(part(loose, leaf, size, at, turn))
    return found


def car(rng: Rng) -> Parts:
    """A saloon, hatchback or van along y, on four wheels."""
    paint = Material("plain", (colour(rng, rng.choice([0.05, 0.9])),) * 3, 2.0, 0.9)
    glass = Material("plain", ((0.02, 0.025, 0.03),) * 3, 2.0, 1.0)
    rubber = Material("plain", ((0.02,) * 3,) * 3)
    lamps = Material("plain", ((0.7, 0.65, 0.6),) * 3, 1.0, 0.8)
    red = Material("plain", ((0.5, 0.02, 0.02),) * 3, 1.0, 0.7)
    long, wide, high = rng.uniform(3.6, 4.9), rng.uniform(1.65, 1.9), rng.uniform(1.4, 1.6)
    van = rng.uniform() < 0.2
    high *= 1.35 if van else 1.0
    nose = 0.2 if van else rng.uniform(0.05, 0.15)
    body = np.array([[-0.5, 0.15], [0.5, 0.15], [0.5, 0.5], [0.46, 0.62], [nose + 0.14, 0.72], [-0.46, 0.75],
                     [-0.5, 0.6]]) * (1.0, 0.62 / 0.75)  # fmt: skip
    back = -0.47 if van else rng.choice([-0.2, -0.4])
    cabin = np.array([[back - (0.02 if van else 0.06), 0.55], [nose + 0.16, 0.55], [nose, 1.0], [back, 1.0]])
    roof = np.array([[back - 0.01, 0.94], [nose + 0.02, 0.94], [nose - 0.01, 1.005], [back, 1.005]])
    found = [part(extruded(body), paint, (wide, long, high)),
             part(extruded(cabin), paint if van else glass, (0.88 * wide, long, high)),
             part(extruded(roof), paint, (0.86 * wide, long, high))]  # fmt: skip
    if van:
        at = (0, (nose + 0.02) * long, 0.64 * high)
        found.append(part("box", glass, (0.9 * wide, 0.3, 0.25 * high), at))
    for x in (-1, 1):
        for y in (-0.31, 0.31):
            start = (x * (wide / 2 - 0.19), y * long, 0.31)
            found.append(bar(rubber, start, (x * (wide / 2 + 0.01), y * long, 0.31), 0.62))
            found.append(bar(lamps, (x * (wide / 2), *start[1:]), (x * (wide / 2 + 0.02), *start[1:]), 0.36))
        found.append(part("box", lamps, (0.3, 0.05, 0.14), (x * 0.38 * wide, 0.5 * long, 0.36 * high)))
        found.append(part("box", red, (0.25, 0.05, 0.16), (x * 0.4 * wide, -0.5 * long, 0.42 * high)))
    plate = part("box", lamps, (0.5, 0.03, 0.11), (0, -0.5 * long, 0.28 * high))
    return [*found, plate]


def _facing(rng: Rng) -> Material:
    kind, a = rng.uniform(), bright(rng, 0.25, 0.35)
    if kind < 0.35:
        return brickwork(rng)
    if kind < 0.45:
        return Material("tiled", (a, shade(a, 0.85), shade(a, 0.6)), rng.uniform(0.4, 1.2))
    return Material("mottled", (a, shade(a, rng.uniform(0.7, 0.95)), a), rng.uniform(2, 6))


def house(rng: Rng, width: Number, deep: Number) -> Parts:
    """A facade at y = 0 that looks to -y: storeys of windows, a door, a roof, now and then balconies."""
    storeys, storey = rng.integers(1, 6), rng.uniform(2.7, 3.6)
    height = storeys * storey + 0.4
    wall, trim = _facing(rng), Material("plain", (bright(rng, 0.4),) * 3, 1.0, 0.1)
    glass = Material("mottled", ((0.03, 0.04, 0.05), (0.15, 0.18, 0.22), (0.1,) * 3), 3.0, 0.9)
    found = [part("box", wall, (width, deep, height), (0, deep / 2, 0))]
    columns = max(1, int(width / rng.uniform(1.8, 3.5)))
    wide, tall, pitch = rng.uniform(0.8, 1.5), rng.uniform(1.2, 1.9), width / columns
    wide, balcony, door = min(wide, 0.8 * pitch), rng.uniform() < 0.2, rng.integers(columns)
    for i, j in np.ndindex(columns, int(storeys)):
        x, z = (i + 0.5) * pitch - width / 2, j * storey + 0.9
        if j == 0 and i == door:
            found.append(part("box", wooden(rng), (1.1, 0.06, 2.2), (x, -0.01, 0.1)))
            continue
        found.append(part("box", trim, (wide + 0.16, 0.06, tall + 0.16), (x, -0.01, z - 0.08)))
        found.append(part("box", glass, (wide, 0.02, tall), (x, -0.05, z)))
        found.append(part("box", trim, (0.05, 0.04, tall), (x, -0.05, z)))
        if balcony and j > 0:
            found.append(part("box", trim, (1.6, 1.0, 0.12), (x, -0.5, z - 0.8)))
            found.append(part("box", trim, (1.6, 0.05, 0.9), (x, -1.0, z - 0.7)))
    if rng.uniform() < 0.6:
        tiles = Material("tiled", (colour(rng, 0.3), (0.25, 0.1, 0.06), (0.05,) * 3), 0.3)
        size = width + 0.4, deep, deep * rng.uniform(0.25, 0.5)
        found.append(part("gable", tiles, size, (0, deep / 2, height)))
    else:
        found.append(part("box", trim, (width + 0.3, deep + 0.3, 0.3), (0, deep / 2, height - 0.1)))
    if storeys > 1 and rng.uniform() < 0.25:  # a shop
        found.append(part("box", glass, (0.85 * width, 0.1, 2.2), (0, -0.02, 0.4)))
        found.append(part("box", paper(rng), (0.85 * width, 0.14, 0.6), (0, -0.04, 2.7)))
    return found


def _pole(rng: Rng) -> Parts:
    """A street lamp, a sign or a traffic light, reaching out to +x."""
    iron, kind = metal(rng), rng.uniform()
    high = rng.uniform(5, 9) if kind < 0.5 else rng.uniform(2.2, 3.5)
    found = [bar(iron, (0, 0, 0), (0, 0, high), 0.13 if kind < 0.5 else 0.08)]
    if kind < 0.5:
        found.append(bar(iron, (0, 0, high - 0.1), (1.5, 0, high + 0.2), 0.08))
        return [*found, part("cushion", iron, (0.7, 0.25, 0.15), (1.6, 0, high + 0.1))]
    if kind < 0.85:
        sign = part(str(rng.choice(["box", "cylinder"])), paper(rng), (0.65, 0.65, 0.02))
        return found + moved([sign], pose(0, -0.06, high - 0.35) @ tilted(0, np.pi / 2))
    return [*found, part("box", iron, (0.3, 0.3, 0.9), (0, -0.1, high - 0.5))]


def _roadside(rng: Rng, kerb: Number, crowns: list[tuple[Mesh, Mesh]], eye: Number) -> Parts:
    """One side of the street, at x > kerb, up to y = REACH: houses, trees, cars, people.

    eye: the camera's y, about which trees have leaves of their own
    """
    found: Parts = []
    walk, green = rng.uniform(1.5, 4.0), rng.uniform()
    y = rng.uniform(-25, -5)
    while y < REACH:
        width, back = rng.uniform(6, 22), kerb + walk + rng.choice([0.0, 2.0, 6.0])
        if rng.uniform() < 0.75 - 0.6 * green:
            found += moved(house(rng, width, rng.uniform(7, 12)), pose(back, y + width / 2, 0, -np.pi / 2))
        else:
            for _ in range(rng.integers(1, 5)):
                at = pose(back + rng.uniform(1, 9), y + rng.uniform(0, width))
                found += moved(tree(rng, crowns, rng.uniform(3, 13), bool(abs(y - eye) < NEAR)), at)
            if rng.uniform() < 0.6:
                hedge = rng.choice([_greenery(rng), brickwork(rng), wooden(rng, "wood", 0.15)])
                high = rng.uniform(0.6, 2.2)
                size = rng.uniform(0.15, 0.8), width, high
                found.append(part("box", hedge, size, (back, y + width / 2, 0)))
        y += width + rng.choice([0.0, 0.0, rng.uniform(0, 6)])
    spacing, avenue = rng.uniform(12, 35), rng.uniform() < 0.4
    for y in np.arange(rng.uniform(-5, 10), 110, spacing):
        found += moved(_pole(rng), pose(kerb + 0.5, y, 0, np.pi))
        if avenue:
            near = bool(abs(y - eye) < NEAR)
            found += moved(tree(rng, crowns, rng.uniform(4, 9), near), pose(kerb + 1.0, y + spacing / 2))
    if rng.uniform() < 0.6:
        for y in np.arange(rng.uniform(-6, 6), 90, rng.uniform(5.2, 7)):
            if rng.uniform() < 0.65:
                turn = rng.choice([0, np.pi]) + rng.normal(0, 0.03)
                found += moved(car(rng), pose(kerb - 1.05, y, -0.12, turn))
    for _ in range(rng.poisson(2.5)):
        at = pose(kerb + rng.uniform(0.4, walk), rng.uniform(2, 45), 0, rng.uniform(0, 6.3))
        found += moved(person(rng, rng.uniform(1.5, 1.9)), at)
    return found


def _markings(rng: Rng, half: Number) -> Parts:
    """Dashes along the middle, lines along the edges, now and then a crossing."""
    white = Material("asphalt", ((0.6,) * 3, (0.4,) * 3, (0.5,) * 3), 1.0)
    found: Parts = []
    dash, gap = rng.uniform(1.5, 4), rng.uniform(2, 6)
    if rng.uniform() < 0.75:
        found += [part("box", white, (0.14, dash, 0.004), (0, y, -0.12))
                  for y in np.arange(-15, 120, dash + gap)]  # fmt: skip
    if rng.uniform() < 0.5:
        found += [part("box", white, (0.12, 220, 0.004), (x * (half - 0.3), 80, -0.12)) for x in (-1, 1)]
    if rng.uniform() < 0.25:
        at = rng.uniform(6, 25)
        bars = np.arange(0.5 - half, half, 1.0)
        found += [part("box", white, (0.5, 3.0, 0.005), (x, at, -0.12)) for x in bars]
    return found


def street(rng: Rng) -> tuple[Place, Viewpoint]:
    """A road along +y between houses, trees and parked cars, seen from a car or the pavement."""
    half, crowns = rng.uniform(2.8, 7.0), _crowns(rng)
    tar, slab = rng.uniform(0.05, 0.2), rng.uniform(0.15, 0.4)
    road = Material("asphalt", ((tar,) * 3, (1.5 * tar, 1.45 * tar, 1.4 * tar), (0,) * 3), 1.0, 0.1)
    paving = Material("tiled", ((slab, slab, 0.95 * slab), (0.8 * slab,) * 3, (0.5 * slab,) * 3), 0.5)
    grass = _greenery(rng)
    parts: list[Part] = [
        part("box", road, (2 * half, 440, 0.1), (0, 100, -0.22)),
        part("box", grass, (700, 700, 0.1), (0, 100, -0.25)),
    ]
    beside = paving if rng.uniform() < 0.7 else grass
    parts += [part("box", beside, (40, 440, 0.2), (x * (half + 20), 100, -0.2)) for x in (-1, 1)]
    parts += [part("box", paving, (0.15, 440, 0.21), (x * (half + 0.05), 100, -0.2)) for x in (-1, 1)]
    parts += _markings(rng, half)
    parts += _roadside(rng, half, crowns, 0.0)
    parts += moved(_roadside(rng, half, crowns, 100.0), pose(0, 100, 0, np.pi))
    for _ in range(rng.poisson(1.5)):
        lane = rng.choice([-1, 1])
        turn = (0 if lane > 0 else np.pi) + rng.normal(0, 0.02)
        parts += moved(car(rng), pose(lane * half * 0.4, rng.uniform(9, 70), -0.12, turn))
    if rng.uniform() < 0.6:  # where the road ends, or bends
        end = rng.uniform(60, REACH)
        parts += moved(house(rng, rng.uniform(10, 40), 10.0), pose(rng.normal(0, 6), end))
        for x in rng.uniform(-30, 30, 6):
            parts += moved(tree(rng, crowns, rng.uniform(6, 14), False), pose(x, end - rng.uniform(1, 8)))
    sun, sky, ambient = daylight(rng)
    place = Place(parts, sun, ambient, 2.5, sky, rng.exponential(0.0008))

    def viewpoint(rng: Rng) -> Array:
        driving = rng.uniform() < 0.6
        x = rng.uniform(-0.6, 0.6) * half if driving else rng.choice([-1, 1]) * (half + rng.uniform(0.3, 1.5))
        heading = np.pi / 2 + (rng.normal(0, 0.12) if driving else rng.normal(0, 0.6))
        eye = np.array([x, rng.uniform(-3, 3), rng.uniform(1.3, 1.9)])
        return looking(eye, heading, rng.normal(0.03, 0.08), rng.normal(0, 0.02))

    return place, viewpoint


def land(rng: Rng) -> tuple[Place, Viewpoint]:
    """Hilly ground with trees, bushes, stones and a few things, seen by a walker."""
    waves = rng.normal(size=(5, 2)) * np.array([[0.015, 0.03, 0.06, 0.15, 0.6]]).T
    phases, swell = rng.uniform(0, 6, 5), rng.uniform(0.2, 1.0) * np.array([6.0, 3.0, 1.0, 0.3, 0.04])

    def ground(x: Array | Number, y: Array | Number) -> Array | Number:
        ways = np.stack((np.asarray(x, float), np.asarray(y, float)), -1) @ waves.T + phases
        return (np.sin(ways) * swell).sum(-1) - (np.sin(phases) * swell).sum()

    ticks = np.linspace(-1, 1, 91)
    x, y = np.meshgrid(*[260 * np.sign(ticks) * np.abs(ticks) ** 2.2] * 2)
    points = np.column_stack((x.ravel(), y.ravel(), np.ravel(ground(x, y))))
    level = 10 ** rng.uniform(-1.2, -0.3)
    base = (level, level * rng.uniform(0.7, 0.95), level * rng.uniform(0.4, 0.8))
    earth = Material("mottled", (base, shade(base, 1.7), base), 2.5)
    cover, crowns = (_greenery(rng) if rng.uniform() < 0.65 else earth), _crowns(rng)
    parts = [part(smooth(points, grid_faces(91, 91)), cover, (1.0, 1.0, 1.0))]
    stone = Material("mottled", ((0.3, 0.28, 0.26), (0.12, 0.11, 0.1), (0.2,) * 3), 0.7)
    lumps = [lump(rng, 0.25) for _ in range(3)]
    wood = rng.uniform()
    for _ in range(rng.integers(30, 130)):
        away, around, kind = 3 * 10 ** rng.uniform(0, 1.65), rng.uniform(0, 2 * np.pi), rng.uniform()
        x, y = away * np.cos(around), away * np.sin(around)
        if kind < 0.2 + 0.6 * wood and away > 5:
            found = tree(rng, crowns, rng.uniform(3, 12), away < NEAR)
        elif kind < 0.85:
            wide = rng.uniform(0.3, 2.0)
            stony = rng.uniform() < 0.5
            mesh = lumps[rng.integers(3)] if stony else crowns[rng.integers(3)][away < NEAR]
            surface = stone if stony else _greenery(rng)
            found = [part(mesh, surface, (wide, wide, 0.7 * wide), (0, 0, -0.1))]
        elif kind < 0.93:
            found = person(rng, rng.uniform(1.2, 1.9))
        else:
            found = house(rng, rng.uniform(5, 12), 7.0) if away > 15 else thing(rng, rng.uniform(0.3, 1.2))
        parts += moved(found, pose(x, y, float(ground(x, y)) - 0.05, rng.uniform(0, 6.3)))
    sun, sky, ambient = daylight(rng)
    place = Place(parts, sun, ambient, 2.0, sky, rng.exponential(0.0015))

    def viewpoint(rng: Rng) -> Array:
        at = rng.normal(0, 1.0, 2)
        eye = np.array([*at, float(ground(*at)) + rng.uniform(1.0, 1.8)])
        return looking(eye, rng.uniform(0, 6.3), rng.normal(0.08, 0.12), rng.normal(0, 0.03))

    return place, viewpoint
