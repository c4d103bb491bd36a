import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from fields.kernels.spherical_harmonics import (
    spherical_harmonics,
    spherical_harmonics_backward_op,
    spherical_harmonics_op,
)
from tests.fields.kernels.equality import assert_identical, assert_same, values_and_gradients


def random_directions(count, generator, dtype=torch.float32):
    return F.normalize(torch.randn(count, 3, generator=generator, dtype=dtype), dim=-1)


def tiny_cuda_nn_loop(x, y, z):
    """The sixteen values of one direction with the constants that tiny-cuda-nn prints."""
    return [
        0.28209479177387814,
        -0.48860251190291987 * y, 0.48860251190291987 * z, -0.48860251190291987 * x,
        1.0925484305920792 * x * y, -1.0925484305920792 * y * z,
        0.94617469575755997 * z * z - 0.31539156525251999,
        -1.0925484305920792 * x * z, 0.54627421529603959 * (x * x - y * y),
        0.59004358992664352 * y * (-3 * x * x + y * y), 2.8906114426405538 * x * y * z,
        0.45704579946446572 * y * (1 - 5 * z * z), 0.3731763325901154 * z * (5 * z * z - 3),
        0.45704579946446572 * x * (1 - 5 * z * z), 1.4453057213202769 * z * (x * x - y * y),
        0.59004358992664352 * x * (-x * x + 3 * y * y),
    ]  # fmt: skip


# The reference


def test_the_harmonics_are_orthonormal(device):
    """Exact quadrature of all 16 x 16 products over the sphere: Gauss-Legendre in z, even in angle."""
    nodes, node_weights = np.polynomial.legendre.leggauss(8)
    z = torch.tensor(nodes)[:, None].expand(8, 16)
    angle = (torch.arange(16, dtype=torch.float64) * (2 * math.pi / 16)).expand(8, 16)
    radius = (1 - z * z).sqrt()
    directions = torch.stack([radius * angle.cos(), radius * angle.sin(), z], dim=-1).view(-1, 3).to(device)
    area = (torch.tensor(node_weights)[:, None].expand(8, 16) * (2 * math.pi / 16)).reshape(-1, 1).to(device)
    harmonics = spherical_harmonics(directions)
    assert_close(harmonics.T @ (area * harmonics), torch.eye(16, dtype=torch.float64, device=device))


def test_signs_and_order_are_tiny_cuda_nns(generator):
    directions = random_directions(100, generator, torch.float64)
    expected = [tiny_cuda_nn_loop(*direction) for direction in directions.tolist()]
    assert_close(spherical_harmonics(directions), torch.tensor(expected, dtype=torch.float64))


def test_each_band_keeps_its_size_under_rotation(generator):
    """A rotation mixes the values of a band and changes no band's sum of squares."""
    turn, _ = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))
    directions = random_directions(100, generator, torch.float64)
    for first, last in ((0, 1), (1, 4), (4, 9), (9, 16)):
        sizes = [
            spherical_harmonics(d)[:, first:last].square().sum(-1) for d in (directions, directions @ turn.T)
        ]
        assert_close(sizes[0], torch.full_like(sizes[0], (last - first) / (4 * math.pi)))
        assert_close(*sizes)


def test_gradients_in_double_precision(generator):
    directions = random_directions(7, generator, torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(spherical_harmonics, directions)
    assert torch.autograd.gradgradcheck(spherical_harmonics, directions)


# The kernels against it


def both(directions, backend):
    return values_and_gradients(lambda d: spherical_harmonics(d, backend), directions)


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 1003, 1_000_000])
def test_kernels_equal_the_reference(instruction_set, count, generator):
    directions = random_directions(count, generator)
    assert_same(both(directions, "kernels"), both(directions, "reference"), "spherical_harmonics")


def test_kernels_take_axes_and_lengths_other_than_one(instruction_set):
    """Zeros of every polynomial, and no hidden normalising."""
    axes = torch.cat([torch.eye(3), -torch.eye(3), torch.zeros(1, 3), 3 * torch.eye(3)])
    assert_same(both(axes, "kernels"), both(axes, "reference"), "spherical_harmonics")


def test_kernels_read_arrays_that_are_not_contiguous(instruction_set, generator):
    directions = random_directions(100, generator).T.contiguous().T[::2]
    actual = both(directions, "kernels")
    assert_identical(actual, both(directions.contiguous(), "kernels"))
    leaf = directions.view(5, 10, 3).clone().requires_grad_()
    spherical_harmonics(leaf, "kernels").sum().backward()  # a gradient of stride 0
    other = directions.clone().requires_grad_()
    spherical_harmonics(other).sum().backward()
    assert_same([leaf.grad.view(-1, 3)], [other.grad], "spherical_harmonics")


def test_kernels_give_the_same_bits_on_any_number_of_threads(instruction_set, with_threads, generator):
    directions = random_directions(20_011, generator)
    first = both(directions, "kernels")
    for threads in (1, 2, 3, 7):
        assert_identical(with_threads(threads, lambda: both(directions, "kernels")), first)


def test_torch_accepts_the_operator(generator):
    directions = random_directions(9, generator)
    grad = torch.randn(9, 16, generator=generator)
    torch.library.opcheck(spherical_harmonics_backward_op, (directions.clone(), grad))
    torch.library.opcheck(spherical_harmonics_op, (directions.requires_grad_(),))


def test_second_derivatives_of_the_kernels_are_refused(generator):
    directions = random_directions(4, generator).requires_grad_()
    harmonics = spherical_harmonics(directions, "kernels")
    (gradient,) = torch.autograd.grad(harmonics.square().sum(), directions, create_graph=True)
    with pytest.raises(NotImplementedError, match="second derivatives"):
        gradient.sum().backward()


def test_wrong_arrays_are_named(generator):
    with pytest.raises(ValueError, match=r"directions is torch\.float64"):
        spherical_harmonics(random_directions(3, generator, torch.float64), "kernels")
    with pytest.raises(ValueError, match="backend 'fast' is unknown"):
        spherical_harmonics(random_directions(3, generator), "fast")
