"""Unbounded space in a box: nothing is lost, nothing overlaps, and the maps are the papers'."""

import torch
from torch.testing import assert_close

from fields.contraction import contract, contraction_scale, from_ndc, ndc_scale, to_ndc, uncontract


def some_points(generator: torch.Generator, n: int = 2000) -> torch.Tensor:
    """Points of every size from 1e-3 to 1e4, in all directions."""
    direction = torch.randn(n, 3, generator=generator, dtype=torch.float64)
    size = 10 ** (7 * torch.rand(n, 1, generator=generator, dtype=torch.float64) - 3)
    return direction / direction.norm(dim=-1, keepdim=True) * size


def test_the_inner_cube_stays_and_all_else_comes_within_two(generator):
    points = some_points(generator)
    inner = points.abs().amax(dim=-1) <= 1
    contracted = contract(points)
    assert 0.2 < float(inner.double().mean()) < 0.8
    assert torch.equal(contracted[inner], points[inner])
    size = contracted[~inner].abs().amax(dim=-1)
    assert bool((size > 1).all()) and bool((size < 2).all())


def test_uncontract_undoes_contract(generator):
    points = some_points(generator)
    assert_close(uncontract(contract(points)), points, rtol=1e-8, atol=0)


def test_a_point_moves_along_its_own_ray_to_two_minus_one_over_its_size():
    """(8, -4, 2) has size 8: it comes to size 2 - 1/8."""
    point = torch.tensor([8.0, -4.0, 2.0])
    assert_close(contract(point), point * (2 - 1 / 8) / 8)


def test_cubes_become_cubes():
    """All points of the surface of a cube land on the surface of one cube: grids of cells stay grids."""
    face = torch.rand(500, 3) * 2 - 1
    face[:, 1] = 1.0
    for size in (2.0, 5.0, 100.0):
        assert_close(contract(size * face).abs().amax(dim=-1), torch.full((500,), 2 - 1 / size))


def test_it_is_continuous_and_its_gradient_is_true(generator):
    edge = torch.tensor([1.0, 0.3, -0.2], dtype=torch.float64)
    assert_close(contract(edge * (1 + 1e-9)), contract(edge), atol=1e-8, rtol=0)
    points = some_points(generator, 20).requires_grad_()
    assert torch.autograd.gradcheck(contract, (points,))


def ndc_arguments() -> tuple[torch.Tensor, torch.Tensor, float]:
    return torch.tensor([500.0, 480.0]).double(), torch.tensor([320.0, 240.0]).double(), 0.5


def test_ndc_spans_the_view_from_near_to_infinity():
    """The corners of the picture at the near plane and at infinity are corners of the cube."""
    focal, half, near = ndc_arguments()
    for z, w in ((near, -1.0), (1e12, 1.0)):
        corner = torch.tensor([half[0] / focal[0] * z, -half[1] / focal[1] * z, z]).double()
        expected = torch.tensor([1.0, -1.0, w], dtype=torch.float64)
        assert_close(to_ndc(corner, focal, half, near), expected, atol=1e-9, rtol=0)


def test_ndc_keeps_straight_lines_straight_and_can_be_undone(generator):
    focal, half, near = ndc_arguments()
    a, b = torch.rand(2, 50, 3, generator=generator, dtype=torch.float64) + torch.tensor([0.0, 0.0, near])
    first, middle, last = (to_ndc(a + t * (b - a), focal, half, near) for t in (0.0, 0.4, 1.0))
    assert_close(torch.linalg.cross(middle - first, last - first), torch.zeros_like(a), atol=1e-9, rtol=0)
    assert_close(from_ndc(middle, focal, half, near), a + 0.4 * (b - a))


def test_scales_are_the_cube_roots_of_how_volumes_change(generator):
    """By the determinant of the derivative that autograd finds."""
    points = some_points(generator, 40)
    focal, half, near = ndc_arguments()
    before = points * torch.tensor([1.0, 1.0, 0.0]) + points[:, 2:].abs() * torch.tensor([0.0, 0.0, 1.0])
    for stretch, scale, where in (
        (contract, contraction_scale, points),
        (lambda x: to_ndc(x, focal, half, near), lambda x: ndc_scale(x, focal, half, near), before),
    ):
        jacobians = torch.stack([torch.autograd.functional.jacobian(stretch, point) for point in where])
        volumes = torch.linalg.det(jacobians).abs()
        assert_close(scale(where), volumes ** (1 / 3), rtol=1e-6, atol=0)
