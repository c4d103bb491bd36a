"""The rasteriser against exact fractions, pixel by pixel, and the laws of edges that triangles share."""

import math
from fractions import Fraction

import pytest
import torch
from torch.testing import assert_close

from tools.multiplane import rasterise as module
from tools.multiplane.rasterise import STEPS, ZBuffer, interpolate, rasterise


def side(a, b, p):
    """Twice the area of a, b, p; of a p on the line, what moving it right, or else down, makes of it."""
    area = (b[0] - a[0]) * (p[1] - a[1]) - (b[1] - a[1]) * (p[0] - a[0])
    return area, area or (a[1] - b[1]) or (b[0] - a[0])


def rasterise_slowly(pixels, disparity, faces, width, height):
    """Face and disparity of every pixel: all triangles are asked, in exact fractions."""
    places = [[Fraction(round(v * STEPS), STEPS) for v in p] for p in pixels.tolist()]
    depths = [Fraction(d) for d in disparity.tolist()]
    face, found = torch.full((height, width), -1), torch.zeros(height, width, dtype=torch.float64)
    for y in range(height):
        for x in range(width):
            nearest = -1
            centre = x + Fraction(1, 2), y + Fraction(1, 2)
            for number, (i, j, k) in enumerate(faces.tolist()):
                a, b, c = places[i], places[j], places[k]
                sides = [side(*ends, centre) for ends in ((b, c), (c, a), (a, b))]
                if side(a, b, c)[0] <= 0 or any(inside <= 0 for _, inside in sides):
                    continue
                depth = sum(s * depths[v] for (s, _), v in zip(sides, (i, j, k), strict=True))
                depth /= side(a, b, c)[0]
                if depth > nearest:
                    nearest, face[y, x], found[y, x] = depth, number, float(depth)
    return face, found


def soup(generator, triangles, size, grid):
    """Triangles that overlap; corners on a grid of 1 / grid pixels, many of them on pixels' centres."""
    pixels = torch.randint(-2 * grid, (size + 2) * grid, (3 * triangles, 2), generator=generator) / grid
    disparity = torch.rand(3 * triangles, generator=generator)
    return pixels.double(), disparity.double(), torch.arange(3 * triangles).view(-1, 3)


@pytest.mark.parametrize("grid", [1, 2, 4, 1000])
def test_every_pixel_shows_what_exact_fractions_say(generator, grid):
    """Back faces, triangles without area, edges through centres and corners outside are all among them."""
    pixels, disparity, faces = soup(generator, 60, 9, grid)
    fragments = rasterise(pixels, disparity, faces, 9, 7)
    face, found = rasterise_slowly(pixels, disparity, faces, 9, 7)
    assert torch.equal(fragments.face, face) and 20 < int((face >= 0).sum())
    assert_close(fragments.disparity, found, rtol=0, atol=1e-12)


def fan(corners, generator):
    """A polygon around (4.5, 4.5), a pixel's centre, as triangles that all meet there."""
    angle = torch.linspace(0, 2 * torch.pi, corners + 1, dtype=torch.float64)[:-1]
    reach = 2 + 6 * torch.rand(corners, generator=generator, dtype=torch.float64)
    rim = 4.5 + (reach * torch.stack((angle.cos(), angle.sin()))).T
    pixels = torch.cat((torch.full((1, 2), 4.5, dtype=torch.float64), rim))
    numbers = torch.arange(corners)
    return pixels, torch.stack((torch.zeros_like(numbers), numbers + 1, (numbers + 1) % corners + 1), dim=-1)


@pytest.mark.parametrize("corners", [3, 4, 7, 40])
def test_triangles_around_a_centre_cover_it_once_and_leave_no_gap(generator, corners):
    """Each is drawn alone: where two cover a pixel, or none within, the fill rule is broken."""
    pixels, faces = fan(corners, generator)
    depth = torch.ones(len(pixels), dtype=torch.float64)
    times = sum(rasterise(pixels, depth, faces[k : k + 1], 10, 10).covered.int() for k in range(corners))
    away = (torch.arange(10.0) - 4).square()
    assert times[away[:, None] + away < (2 * math.cos(math.pi / corners)) ** 2].eq(1).all()
    assert times.max() == 1
    together = rasterise(pixels, depth, faces, 10, 10)
    assert torch.equal(together.covered, times == 1)


def test_a_square_covers_the_pixels_whose_left_and_top_edges_it_holds():
    """From centre to centre: the first row and column are inside, the last ones are the next square's."""
    pixels = torch.tensor([[1.5, 2.5], [4.5, 2.5], [1.5, 5.5], [4.5, 5.5]])
    covered = rasterise(pixels, torch.ones(4), torch.tensor([[0, 1, 2], [1, 3, 2]]), 7, 7).covered
    expected = torch.zeros(7, 7, dtype=torch.bool)
    expected[2:5, 1:4] = True
    assert torch.equal(covered, expected)


def test_values_are_linear_on_the_surface_not_in_the_picture():
    """A slanted rectangle whose values are its own points: unprojected pixels must come out again."""
    points = torch.tensor([[-1, -1, 1.2], [2, -1, 4], [-1, 1.5, 1.2], [2, 1.5, 4]], dtype=torch.float64)
    focal, size = 16.0, 32
    pixels = focal * points[:, :2] / points[:, 2:] + size / 2
    # The rounding of corners, undone: values at the rounded places.
    pixels = (pixels * STEPS).round() / STEPS
    points = torch.cat(((pixels - size / 2) / focal * points[:, 2:], points[:, 2:]), dim=-1)
    faces = torch.tensor([[0, 1, 2], [1, 3, 2]])
    fragments = rasterise(pixels, 1 / points[:, 2], faces, size, size)
    found = interpolate(fragments, faces, points, points[:, 2])
    covered = fragments.covered
    assert covered.sum() > 200
    assert_close(found[..., 2][covered], 1 / fragments.disparity[covered], rtol=1e-12, atol=0)
    y, x = covered.nonzero().double().T + 0.5
    seen = torch.stack((x, y), dim=-1)
    assert_close(found[covered][:, :2] / found[covered][:, 2:] * focal + size / 2, seen, rtol=0, atol=1e-9)
    assert found[~covered].eq(0).all()


def test_large_triangles_are_looked_at_in_portions(monkeypatch, generator):
    pixels, disparity, faces = soup(generator, 50, 30, 8)
    whole = rasterise(pixels, disparity, faces, 30, 30)
    monkeypatch.setattr(module, "CANDIDATES", 100)
    portions = rasterise(pixels, disparity, faces, 30, 30)
    assert torch.equal(whole.face, portions.face) and torch.equal(whole.disparity, portions.disparity)


def test_of_equals_the_first_stays_in_whatever_order_they_come(generator):
    order = torch.randperm(20, generator=generator)
    buffer = ZBuffer(3, torch.device("cpu"))
    for part in order.split(7):
        buffer.offer(torch.ones_like(part), torch.full_like(part, 0.25, dtype=torch.float64), part)
    assert buffer.winners().tolist() == [-1, 0, -1]
    buffer.offer(torch.tensor([1, 2]), torch.tensor([0.26, 0.0]), torch.tensor([50, 60]))
    assert buffer.winners().tolist() == [-1, 50, 60]


def test_nothing_to_draw_covers_nothing():
    none = rasterise(torch.zeros(0, 2), torch.zeros(0), torch.zeros(0, 3, dtype=torch.int64), 4, 3)
    assert not none.covered.any() and none.face.shape == (3, 4)
    away = rasterise(100 + torch.rand(3, 2), torch.ones(3), torch.tensor([[0, 1, 2]]), 4, 3)
    assert not away.covered.any()
