"""Parametric brick parts as closed triangle meshes.

Unit: one stud pitch. A plate is PLATE high, a brick three plates. A part m x n stands on z = 0 over
[0, m] x [0, n] with CLEARANCE taken off its sides; parts that turn (wheels, gears, pulleys) have
their axis on z and their middle at the origin. Shapes and proportions are those of building bricks
in general; nothing carries a name or a mark.
"""

from collections.abc import Iterable
from functools import cache
from itertools import pairwise

import numpy as np

from scenes.generate.solids import (
    Number,
    Solid,
    bezier,
    box,
    circle,
    frame_along,
    join,
    lathe,
    pierced,
    prism,
    rotation,
    strut,
    tube,
)

PLATE = 0.4
BRICK = 3 * PLATE
CLEARANCE = 0.02
CHAMFER = 0.035
STUD_RADIUS, STUD_HEIGHT, STUD_BEVEL, STUD_SEGMENTS = 0.3, 0.2, 0.03, 20


@cache
def stud(radius: Number = STUD_RADIUS, height: Number = STUD_HEIGHT) -> Solid:
    """The plain stud, standing on z = 0 at the origin."""
    rim = [(radius, 0), (radius, height - STUD_BEVEL), (radius - STUD_BEVEL, height)]
    return lathe([(0, 0), *rim, (0, height)], STUD_SEGMENTS)


def studs(places: Iterable[tuple[Number, Number]], z: Number) -> list[Solid]:
    """A stud on the middle of each cell (x, y)."""
    return [stud().shifted(x + 0.5, y + 0.5, z) for x, y in places]


def _body(m: Number, n: Number, height: Number) -> Solid:
    size = (m - 2 * CLEARANCE, n - 2 * CLEARANCE, height)
    return box(size, (CLEARANCE, CLEARANCE, 0.0), CHAMFER)


@cache
def brick(m: int, n: int, plates: int = 3) -> Solid:
    """Brick m x n with its studs; `plates` high."""
    cells = [(x, y) for x in range(m) for y in range(n)]
    return join(_body(m, n, plates * PLATE), *studs(cells, plates * PLATE))


def plate(m: int, n: int) -> Solid:
    return brick(m, n, 1)


@cache
def tile(m: int, n: int, plates: int = 1) -> Solid:
    """Smooth-topped plate, with the small groove round its foot."""
    foot = box((m - 0.16, n - 0.16, 0.1), (0.08, 0.08, 0.0))
    return join(foot, _body(m, n, plates * PLATE - 0.08).shifted(z=0.08))


@cache
def jumper(m: int, n: int) -> Solid:
    """Plate m x n with one stud, in its middle."""
    return join(_body(m, n, PLATE), stud().shifted(m / 2, n / 2, PLATE))


@cache
def grille(m: int) -> Solid:
    """Tile m x 1 of slats with gaps between them."""
    slats = [box((m - 0.06, 0.13, 0.24), (0.03, 0.05 + 0.19 * k, 0.16)) for k in range(5)]
    return join(box((m - 0.04, 0.96, 0.18), (0.02, 0.02, 0.0)), *slats)


def _profile(outline: list[tuple[Number, Number]], width: Number) -> Solid:
    """Prism of an (x, z) outline, counter-clockwise seen from -y, over y in [0, width]."""
    upright = prism(outline, -width + CLEARANCE, -CLEARANCE, bevel=CHAMFER)
    return upright.moved(rotation("x", 90))


@cache
def slope(m: int, n: int, plates: int = 3, lip: Number = 0.25) -> Solid:
    """Roof brick m long: studs over x < 1, then falling to a lip at x = m."""
    a, b, top = CLEARANCE, m - CLEARANCE, plates * PLATE
    if m == 1:
        return _profile([(a, 0), (b, 0), (b, lip), (0.25, top), (a, top)], n)
    body = _profile([(a, 0), (b, 0), (b, lip), (1 - CLEARANCE, top), (a, top)], n)
    return join(body, *studs([(0, y) for y in range(n)], top))


@cache
def inverted_slope(m: int, n: int, plates: int = 3) -> Solid:
    """Brick whose underside rises from x = 1 to x = m; studs all over its top."""
    a, b, top = CLEARANCE, m - CLEARANCE, plates * PLATE
    body = _profile([(a, 0), (1, 0), (b, top - 0.25), (b, top), (a, top)], n)
    return join(body, *studs([(x, y) for x in range(m) for y in range(n)], top))


@cache
def curved_slope(m: int, n: int, plates: int = 3) -> Solid:
    """Smooth brick whose top falls in a quarter of an ellipse from x = 0 to x = m."""
    a, b, low, top = CLEARANCE, m - CLEARANCE, 0.25, plates * PLATE
    arc = [(a + (b - a) * np.cos(t), low + (top - low) * np.sin(t)) for t in np.linspace(0, np.pi / 2, 13)]
    return _profile([(a, 0), (b, 0), *arc], n)


@cache
def round_brick(plates: int = 3, radius: Number = 0.5, studded: bool = True) -> Solid:
    """Round brick, its axis at x = y = radius, waisted at the foot, one stud on top."""
    r, top, foot = radius - CLEARANCE, plates * PLATE, 0.12 if plates > 1 else 0.08
    profile = [
        (0, 0),
        (0.8 * r, 0),
        (0.8 * r, foot),
        (r, foot),
        (r, top - CHAMFER),
        (r - CHAMFER, top),
        (0, top),
    ]
    parts = [lathe(profile, 28)] + ([stud().shifted(z=top)] if studded else [])
    return join(*parts).shifted(radius, radius)


@cache
def cone(radius: Number = 0.46, tip: Number = 0.2, height: Number = 1.2) -> Solid:
    """Cone on a round foot, its axis on z."""
    return lathe([(0, 0), (radius, 0), (radius, 0.2), (tip, height), (0, height)], 28)


@cache
def dish(radius: Number, height: Number = 0.35) -> Solid:
    """Shallow bowl, open upwards, axis on z."""
    t = np.linspace(0, 1, 7)
    under = [(radius * s, height * s**2) for s in t]
    over = [(0.93 * radius * s, 0.08 + (height - 0.05) * s**2) for s in t[::-1]]
    return lathe([*under, *over], 32)


@cache
def disc(radius: Number, height: Number, bevel: Number = 0.04, segments: int = 32) -> Solid:
    """Solid disc or drum, bevelled, standing on z = 0, axis on z."""
    rim = [(radius - bevel, 0), (radius, bevel), (radius, height - bevel), (radius - bevel, height)]
    return lathe([(0, 0), *rim, (0, height)], segments)


@cache
def ring(outer: Number, inner: Number, height: Number, bevel: Number = 0.04, segments: int = 32) -> Solid:
    """Flat ring about z, standing on z = 0."""
    rim = [(outer - bevel, 0), (outer, bevel), (outer, height - bevel), (outer - bevel, height)]
    return lathe([(inner, 0), *rim, (inner, height)], segments)


def _hole_cell(outline: np.ndarray) -> np.ndarray:
    """The points of a round hole that face the points of the outline around it."""
    return 0.3 * outline / np.linalg.norm(outline, axis=1, keepdims=True)


@cache
def beam(holes: int, thickness: Number = 0.9) -> Solid:
    """Bar with round ends and a row of holes along x (the first at the origin), axis of holes on z."""
    half, count = 0.45, 32
    sides = np.linspace(-1, 1, 9)
    right = [(0.5, half * s) for s in sides[:-1]]
    top = [(-0.5 * s, half) for s in sides[:-1]]
    square = np.array(right + top + [(-x, -y) for x, y in right + top])
    arc = [(half * np.cos(t), half * np.sin(t)) for t in np.linspace(np.pi / 2, 1.5 * np.pi, 17)]
    bottom = [(0.125 * k, -half) for k in (1, 2, 3)]
    first = np.array([*right, *top[:4], *arc, *bottom])
    cells = [first, *[square] * (holes - 2), -first]
    i = np.arange(count)
    j = (i + 1) % count
    vertices, faces = [], []
    for index, outer in enumerate(cells):
        rows = [(outer, 0), (outer, thickness), (_hole_cell(outer), thickness), (_hole_cell(outer), 0)]
        vertices += [np.c_[p + np.array([index, 0]), np.full(count, z - thickness / 2)] for p, z in rows]
        inside = np.abs(outer[:, 0] + outer[j, 0]) == 1.0  # the sides that two cells share
        for row in range(4):
            a, b = (4 * index + row) * count, (4 * index + (row + 1) % 4) * count
            keep = ~inside if row == 0 else np.full(count, True)
            quads = [np.stack([a + i, a + j, b + j], -1), np.stack([a + i, b + j, b + i], -1)]
            faces += [quad[keep] for quad in quads]
    return Solid(np.concatenate(vertices), np.concatenate(faces))


@cache
def axle(length: Number) -> Solid:
    """Axle of cross section along z, its middle at the origin."""
    a, b = 0.27, 0.1
    quarter = np.array([(a, -b), (a, b), (b, b)])
    turned = [quarter @ rotation("z", 90 * k)[:2, :2].T for k in range(4)]
    return prism(np.concatenate(turned), -length / 2, length / 2)


@cache
def pin(length: Number = 1.0) -> Solid:
    """Round pin with a collar, along z, its middle at the origin."""
    h = length / 2
    profile = [(0, -h), (0.24, -h), (0.28, 0.06 - h), (0.28, h - 0.12), (0.36, h - 0.12), (0.36, h), (0, h)]
    return lathe(profile, 20)


@cache
def gear(teeth: int, radius: Number, width: Number, hole: Number = 0.35) -> Solid:
    """Toothed wheel about z, its middle at the origin; `radius` to the tips."""
    root = radius - 0.3
    shape = ((-0.5, root), (-0.25, root), (-0.14, radius), (0.14, radius), (0.25, root), (0.4, root))
    polar = [(2 * np.pi * (k + s) / teeth, r) for k in range(teeth) for s, r in shape]
    outer = np.array([(r * np.cos(t), r * np.sin(t)) for t, r in polar])
    angles = np.arctan2(outer[:, 1], outer[:, 0])
    inner = hole * np.stack([np.cos(angles), np.sin(angles)], -1)
    return pierced(outer, inner, -width / 2, width / 2)


@cache
def wheel(radius: Number, width: Number, spokes: int = 0) -> Solid:
    """Wheel about z: rim, hub, and spokes or a recessed disc; its middle at the origin."""
    w, r = width / 2, radius
    profile = [(0.82 * r, -w), (r - 0.05, -w), (r, 0.05 - w), (r, w - 0.05), (r - 0.05, w), (0.82 * r, w)]
    hub = ring(0.38 * r, 0.16 * r, width + 0.1).shifted(z=-w - 0.05)
    if spokes == 0:
        return join(lathe(profile, 32), hub, disc(0.85 * r, 0.5 * width, 0.0).shifted(z=-w / 2))
    arms = [
        strut((0.3 * r * x, 0.3 * r * y, 0), (0.9 * r * x, 0.9 * r * y, 0), 0.2 * r, 0.7 * width)
        for x, y in circle(1.0, spokes)
    ]
    return join(lathe(profile, 32), hub, *arms)


@cache
def pulley(radius: Number, width: Number = 0.5) -> Solid:
    """Grooved wheel about z with holes left between its spokes."""
    w, r = width / 2, radius
    profile = [(0.75 * r, -w), (r, -w), (r, -0.6 * w), (0.86 * r, 0), (r, 0.6 * w), (r, w), (0.75 * r, w)]
    arms = [
        strut((0.0, 0.0, 0.0), (0.8 * r * x, 0.8 * r * y, 0), 0.2 * r, 0.6 * width) for x, y in circle(1.0, 5)
    ]
    return join(lathe(profile, 28), disc(0.3 * r, width + 0.1).shifted(z=-w - 0.05), *arms)


@cache
def tyre(radius: Number, width: Number, lugs: int) -> Solid:
    """Tyre about z with two staggered rows of slanted lugs; the hole is 0.6 of the radius."""
    r, w = radius - 0.14, width / 2
    profile = [(0.6 * r, -w), (0.92 * r, -w), (r, -0.7 * w), (r, 0.7 * w), (0.92 * r, w), (0.6 * r, w)]
    parts = [lathe(profile, 40)]
    for row, side in enumerate((-1, 1)):
        lug = box((0.3, 0.22, 0.55 * width), (r - 0.16, -0.11, -0.275 * width))
        lug = lug.moved(rotation("x", side * 18)).shifted(z=side * 0.23 * width)
        parts += [lug.moved(rotation("z", 360 * (k + row / 2) / lugs)) for k in range(lugs)]
    return join(*parts)


@cache
def chain_link(pitch: Number, width: Number) -> Solid:
    """One shoe of a track: travel along x, outside up (+z), width along y, pin at the origin."""
    shoe = box((0.86 * pitch, width, 0.16), (-0.43 * pitch, -width / 2, 0.1), 0.03)
    bar = box((0.16, width, 0.2), (-0.3 * pitch, -width / 2, 0.24), 0.03)
    rails = [box((0.62 * pitch, 0.2, 0.34), (-0.31 * pitch, y - 0.1, -0.2), 0.03) for y in (-0.55, 0.55)]
    pins = [
        tube([(0.45 * pitch, y - 0.28, 0), (0.45 * pitch, y + 0.28, 0)], 0.13, 12) for y in (-0.9, 0, 0.9)
    ]
    bolts = [box((0.14, 0.14, 0.1), (0.1, y - 0.07, 0.24)) for y in (-0.36 * width, 0.36 * width)]
    return join(shoe, bar, *rails, *pins, *bolts)


@cache
def hinge_arm(length: Number) -> Solid:
    """Two-finger hinge: a block at the origin, fingers along x with an eye at `length`."""
    fingers = []
    for y in (-0.3, 0.3):
        eye = ring(0.28, 0.12, 0.22, segments=20).moved(rotation("x", 90)).shifted(length, y + 0.11, 0.3)
        fingers += [eye, box((length - 0.2, 0.22, 0.3), (0.0, y - 0.11, 0.15))]
    return join(box((0.5, 0.94, 0.5), (-0.25, -0.47, 0.0), CHAMFER), *fingers)


@cache
def ladder(rungs: int, width: Number = 1.2, pitch: Number = 0.55) -> Solid:
    """Ladder standing on z = 0 at x = 0, rungs along y."""
    height = rungs * pitch
    rails = [box((0.14, 0.14, height), (-0.07, y - 0.07, 0)) for y in (-width / 2, width / 2)]
    steps = [
        tube([(0, -width / 2, (k + 0.5) * pitch), (0, width / 2, (k + 0.5) * pitch)], 0.09)
        for k in range(rungs)
    ]
    return join(*rails, *steps)


@cache
def fence(m: Number, height: Number = 1.2, posts: int = 3) -> Solid:
    """Handrail along x: posts, a rail on top and one at half height."""
    places = np.linspace(0.1, m - 0.1, posts)
    bars = [tube([(x, 0, 0), (x, 0, height)], 0.08, 8) for x in places]
    rails = [tube([(0.02, 0, z), (m - 0.02, 0, z)], 0.08, 8) for z in (height, 0.55 * height)]
    return join(*bars, *rails)


@cache
def window(m: Number, height: Number, bars: int = 0) -> Solid:
    """Open window frame along x, thin, standing on z = 0, with upright bars."""
    t = 0.18
    frame = [
        box((m, t, t)),
        box((m, t, t), (0, 0, height - t)),
        box((t, t, height)),
        box((t, t, height), (m - t, 0, 0)),
    ]
    places = np.linspace(0, m, bars + 2)[1:-1]
    return join(*frame, *[box((0.12, 0.1, height), (x - 0.06, 0.04, 0)) for x in places])


@cache
def bucket_tooth(length: Number = 0.8) -> Solid:
    """Wedge pointing along +x, 0.5 wide."""
    outline = [(0, 0.0), (length, 0.02), (length, 0.08), (0.2, 0.34), (0, 0.34)]
    return prism(outline, -0.25, 0.25).moved(rotation("x", 90))


def hydraulic(start: tuple, end: tuple, stroke: Number = 0.55, radius: Number = 0.3) -> tuple[Solid, Solid]:
    """Cylinder (barrel with rings and eyes) and rod of a ram between two points; two parts."""
    length = float(np.linalg.norm(np.subtract(end, start)))
    pose, split = frame_along(start, end), stroke * length
    eye = ring(0.3, 0.13, 0.5, segments=20).moved(rotation("x", 90)).shifted(y=0.25)
    barrel = join(
        disc(radius, split - 0.2).shifted(z=0.2),
        eye,
        *[ring(radius + 0.06, radius - 0.05, 0.18).shifted(z=z) for z in (0.25, split - 0.2)],
    )
    rod = join(disc(0.55 * radius, length - split, 0.02, 16).shifted(z=split - 0.1), eye.shifted(z=length))
    return barrel.moved(pose), rod.moved(pose)


def hose(*points: tuple, radius: Number = 0.1, count: int = 24) -> Solid:
    """Flexible hose along the Bezier curve of the points."""
    return tube(bezier(*points, count=count), radius, 8)


@cache
def arc_panel(radius: Number, start: Number, stop: Number, width: Number, thickness: Number = 0.22) -> Solid:
    """Bent sheet: an arc about the origin of the (x, z) plane, angles in degrees, y in [0, width]."""
    angles = np.radians(np.linspace(start, stop, 11))
    shells = []
    for a, b in pairwise(angles):
        r, s = radius, radius - thickness
        corners = [
            (s * np.cos(a), s * np.sin(a)),
            (r * np.cos(a), r * np.sin(a)),
            (r * np.cos(b), r * np.sin(b)),
            (s * np.cos(b), s * np.sin(b)),
        ]
        shells.append(prism(corners, -width + CLEARANCE, -CLEARANCE).moved(rotation("x", 90)))
    return join(*shells)


@cache
def sector(radius: Number, start: Number, stop: Number, thickness: Number = 0.2) -> Solid:
    """Flat cheek of a bucket: a sector in the (x, z) plane about the origin, y in [0, thickness]."""
    angles = np.radians(np.linspace(start, stop, 11))
    outline = [(0.0, 0.0), *[(radius * np.cos(a), radius * np.sin(a)) for a in angles]]
    return prism(outline, -thickness, 0).moved(rotation("x", 90))
