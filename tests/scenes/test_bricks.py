"""Brick parts are closed, turned outwards, and as large as their closed forms say."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose

from scenes.generate import bricks as b
from scenes.generate import solids as s

PARTS = {
    "box": s.box((1, 2, 3), (0.5, 0, 0)),
    "chamfered box": s.box((1, 2, 3), (0.5, 0, 0), 0.1),
    "bevelled prism": s.prism([(0, 0), (2, 0), (0, 3)], 0, 1, 0.1),
    "strut": s.strut((0, 0, 0), (1, 2, 3), 0.2, 0.3),
    "stud": b.stud(),
    "brick": b.brick(2, 4),
    "plate": b.plate(1, 3),
    "tile": b.tile(2, 2),
    "jumper": b.jumper(2, 2),
    "grille": b.grille(2),
    "slope": b.slope(2, 2),
    "one-stud slope": b.slope(1, 1),
    "inverted slope": b.inverted_slope(2, 2),
    "curved slope": b.curved_slope(3, 2),
    "round brick": b.round_brick(),
    "cone": b.cone(),
    "dish": b.dish(2.0),
    "disc": b.disc(1.0, 0.5),
    "ring": b.ring(1.0, 0.5, 1.0),
    "beam of 2": b.beam(2),
    "beam of 5": b.beam(5),
    "axle": b.axle(3.0),
    "pin": b.pin(),
    "gear": b.gear(12, 2.0, 1.0),
    "wheel": b.wheel(2.0, 1.0),
    "spoked wheel": b.wheel(2.0, 1.0, 5),
    "pulley": b.pulley(1.0),
    "tyre": b.tyre(2.0, 1.0, 12),
    "chain link": b.chain_link(0.9, 3.3),
    "hinge arm": b.hinge_arm(1.5),
    "ladder": b.ladder(5),
    "fence": b.fence(4.0),
    "window": b.window(3.0, 3.0, 2),
    "tooth": b.bucket_tooth(),
    "barrel of a ram": b.hydraulic((0, 0, 0), (3, 1, 2))[0],
    "rod of a ram": b.hydraulic((0, 0, 0), (3, 1, 2))[1],
    "hose": b.hose((0, 0, 0), (1, 0, 2), (3, 1, 0)),
    "bent sheet": b.arc_panel(3.0, 140, 210, 2.0),
    "cheek": b.sector(2.0, 100, 260),
}


def welded(solid: s.Solid) -> np.ndarray:
    """Faces over vertices that are one where they coincide, slivers left out."""
    _, index = np.unique(np.round(solid.vertices * 1e6).astype(np.int64), axis=0, return_inverse=True)
    faces = index.reshape(-1)[solid.faces]
    return faces[(faces != np.roll(faces, 1, axis=1)).all(axis=1)]


def shells(faces: np.ndarray) -> np.ndarray:
    """Number of the connected shell of each face (the lowest vertex that can be reached)."""
    label = np.arange(faces.max() + 1)
    while True:
        lowest = label.copy()
        for corner in range(3):
            np.minimum.at(lowest, faces[:, corner], label[faces].min(axis=1))
        if (lowest == label).all():
            return label[faces[:, 0]]
        label = lowest


@pytest.mark.parametrize("name", PARTS)
def test_every_edge_is_run_through_as_often_one_way_as_the_other(name):
    """No hole and no flipped triangle: a leak would let light into a part."""
    faces = welded(PARTS[name])
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    size = int(faces.max()) + 1
    there, back = edges[:, 0] * size + edges[:, 1], edges[:, 1] * size + edges[:, 0]
    assert (np.sort(there) == np.sort(back)).all()


@pytest.mark.parametrize("name", PARTS)
def test_every_shell_is_turned_outwards(name):
    """An oriented closed surface whose normals point outwards encloses a positive volume."""
    solid = PARTS[name]
    label = shells(solid.faces)
    for shell in np.unique(label):
        part = s.Solid(solid.vertices - solid.vertices.mean(axis=0), solid.faces[label == shell])
        assert part.volume() > 1e-6, f"shell {shell}"


def chamfered_box_volume(a: float, b: float, c: float, k: float) -> float:
    """Core and six slabs, twelve half-square edges, eight corner simplices."""
    a, b, c = a - 2 * k, b - 2 * k, c - 2 * k
    return a * b * c + 2 * k * (a * b + b * c + c * a) + 2 * k * k * (a + b + c) + 8 * k**3 / 6


def polygon_area(points: np.ndarray) -> float:
    x, y = points.T
    return 0.5 * float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)))


def test_a_box_loses_its_chamfers():
    assert_allclose(s.box((1, 2, 3), (5, -1, 2)).volume(), 6.0)
    assert_allclose(s.box((1, 2, 3), (5, -1, 2), 0.1).volume(), chamfered_box_volume(1, 2, 3, 0.1))


def test_a_brick_is_its_body_and_its_studs():
    turn, r, h, e = polygon_area(s.circle(1.0, 20)), b.STUD_RADIUS, b.STUD_HEIGHT, b.STUD_BEVEL
    cap = turn * e / 3 * (r * r + r * (r - e) + (r - e) ** 2)
    stud = turn * r * r * (h - e) + cap
    assert_allclose(b.stud().volume(), stud)
    sides = (2 - 2 * b.CLEARANCE, 4 - 2 * b.CLEARANCE, b.BRICK)
    assert_allclose(b.brick(2, 4).volume(), chamfered_box_volume(*sides, b.CHAMFER) + 8 * stud)


def test_a_beam_is_its_outline_less_its_holes():
    half_round = polygon_area(s.circle(0.45, 32)) / 2
    outline = 4 * 0.9 + 2 * half_round
    holes = 5 * math.pi * 0.3**2  # of 32 uneven sides, hence the tolerance
    assert_allclose(b.beam(5, 0.7).volume(), 0.7 * (outline - holes), rtol=0.01)


def test_a_bevelled_prism_follows_the_prismatoid_formula():
    """A bevel's cross sections change as a quadratic, so Simpson's rule is exact."""
    a, c, k, h = 2.0, 3.0, 0.2, 1.5
    areas = [(a - 2 * t) * (c - 2 * t) for t in (0.0, k / 2, k)]
    rim = k / 6 * (areas[0] + 4 * areas[1] + areas[2])
    solid = s.prism([(0, 0), (a, 0), (a, c), (0, c)], -1.0, h - 1.0, k)
    assert_allclose(solid.volume(), 2 * rim + areas[0] * (h - 2 * k))


def test_a_straight_tube_and_a_ring_are_prisms_of_their_polygons():
    tube = s.tube([(1, 0, 0), (1, 2, 0), (1, 3, 0)], 0.5, 12)
    assert_allclose(tube.volume(), 3 * polygon_area(s.circle(0.5, 12)))
    ring = s.lathe([(0.5, 0), (1, 0), (1, 2), (0.5, 2)], 16)
    assert_allclose(ring.volume(), 2 * 0.75 * polygon_area(s.circle(1.0, 16)))


def test_rotations_are_right_handed_and_keep_the_volume():
    for axis, start, end in (("x", 1, 2), ("y", 2, 0), ("z", 0, 1)):
        assert_allclose(s.rotation(axis, 90)[:3, :3] @ np.eye(3)[start], np.eye(3)[end], atol=1e-12)
    pose = s.translation(3, -2, 1) @ s.rotation("x", 20) @ s.rotation("z", 70)
    assert_allclose(b.brick(2, 2).moved(pose).volume(), b.brick(2, 2).volume())


@pytest.mark.parametrize("end", [(1.0, 2.0, 3.0), (0.0, 0.0, 2.0), (0.0, 0.0, -2.0), (-1.0, 0.0, 0.0)])
def test_a_frame_along_a_line_is_a_rotation_whose_z_axis_is_the_line(end):
    pose = s.frame_along((0.0, 0.0, 0.0), end)
    assert_allclose(pose[:3, :3].T @ pose[:3, :3], np.eye(3), atol=1e-12)
    assert_allclose(np.linalg.det(pose[:3, :3]), 1.0)
    assert_allclose(pose[:3, 2] * np.linalg.norm(end), end, atol=1e-12)


def test_a_bezier_curve_starts_and_ends_at_its_ends_and_is_a_line_where_they_are():
    curve = s.bezier((0, 0, 0), (5, 1, 2), (3, 3, 3), count=9)
    assert_allclose(curve[[0, -1]], [(0, 0, 0), (3, 3, 3)])
    line = s.bezier((0, 0, 0), (2, 4, 6), count=5)
    assert_allclose(line, np.linspace(0, 1, 5)[:, None] * np.array([2, 4, 6]))
