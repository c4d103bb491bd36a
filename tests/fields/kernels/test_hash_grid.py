import pytest
import torch
from torch.testing import assert_close

from fields.encodings.hash_grid import HashGridSpec
from fields.kernels.hash_grid import entry_index, hash_grid, hash_grid_backward_op, hash_grid_op
from tests.fields.kernels.equality import assert_identical, assert_same, values_and_gradients

SMALL = HashGridSpec(levels=3, features=2, log2_table_size=9, base_resolution=4, finest_resolution=16)
SPECS = {
    "L8F4": HashGridSpec(log2_table_size=14),
    "L16F2": HashGridSpec(levels=16, features=2, log2_table_size=12, finest_resolution=2048),
    "L3F1": HashGridSpec(levels=3, features=1, log2_table_size=12),
    "L2F8": HashGridSpec(levels=2, features=8, log2_table_size=12, finest_resolution=64),
    "one level": HashGridSpec(levels=1, features=4),
}


def random_table(spec, generator, dtype=torch.float32):
    return torch.randn(spec.parameter_count, generator=generator, dtype=dtype)


def away_from_faces(points, spec, margin):
    """Points whose position on every level is further than `margin` cells from a face."""
    positions = points.clamp(0, 1)[:, None].double() * spec.level_tables().scale[:, None].double() + 0.5
    return ((positions - positions.round()).abs() > margin).flatten(1).all(1)


# The reference


def test_a_vertex_has_its_own_entry(device, generator):
    """At the vertex of a dense level the encoding is the table's row, exactly."""
    spec = HashGridSpec(
        levels=1, features=4, log2_table_size=12, base_resolution=9
    )  # scale 8: exact in float
    table = random_table(spec, generator).to(device)
    vertices = torch.cartesian_prod(*[torch.arange(1, 9)] * 3).to(device)
    points = (vertices - 0.5) / 8
    encoded = hash_grid(points, table, spec.level_tables(), 4)
    index = vertices[:, 0] + 9 * vertices[:, 1] + 81 * vertices[:, 2]
    assert torch.equal(encoded, table.view(-1, 4)[index])


def test_a_vertex_of_a_hashed_level_has_the_entry_of_equation_4(generator):
    """Against uint32 arithmetic written out in Python integers."""
    vertices = torch.randint(0, 4096, (200, 3), generator=generator)
    index = entry_index(vertices, resolution=4096, entries=2**19)
    for (x, y, z), found in zip(vertices.tolist(), index.tolist(), strict=True):
        hashed = x ^ (y * 2654435761 % 2**32) ^ (z * 805459861 % 2**32)
        assert found == hashed % 2**19


def test_between_vertices_the_encoding_is_linear_along_each_axis(generator):
    """Second differences inside one cell vanish."""
    table, levels = random_table(SMALL, generator, torch.float64), SMALL.level_tables()
    start = torch.rand(100, 3, generator=generator, dtype=torch.float64) * 0.98
    for axis in range(3):
        step = torch.zeros(3, dtype=torch.float64)
        step[axis] = 1e-3
        inside = away_from_faces(start, SMALL, 0.05)  # 2 steps are 0.03 of the finest cell
        a, b, c = (hash_grid(start[inside] + i * step, table, levels, 2) for i in range(3))
        assert inside.sum() > 20
        assert_close(a + c, 2 * b)


def test_a_table_of_ones_encodes_to_one_everywhere(device, generator):
    """The eight shares of a point sum to one."""
    points = (torch.rand(500, 3, generator=generator) * 2 - 0.5).to(device)
    table = torch.ones(SMALL.parameter_count, device=device)
    assert_close(hash_grid(points, table, SMALL.level_tables(), 2), torch.ones(500, 6, device=device))


def test_a_point_outside_takes_the_value_of_the_nearest_point_inside(generator):
    points = torch.rand(200, 3, generator=generator) * 4 - 1.5
    table, levels = random_table(SMALL, generator), SMALL.level_tables()
    assert torch.equal(hash_grid(points, table, levels, 2), hash_grid(points.clamp(0, 1), table, levels, 2))


def test_gradients_in_double_precision(generator):
    spec = HashGridSpec(levels=2, features=2, log2_table_size=6, base_resolution=3, finest_resolution=7)
    points = torch.rand(60, 3, generator=generator, dtype=torch.float64)
    points = points[away_from_faces(points, spec, 0.02)][:12].requires_grad_()
    table = random_table(spec, generator, torch.float64).requires_grad_()
    levels = spec.level_tables()
    assert len(points) == 12
    assert torch.autograd.gradcheck(lambda p, t: hash_grid(p, t, levels, 2), (points, table))
    assert torch.autograd.gradgradcheck(lambda p, t: hash_grid(p, t, levels, 2), (points, table))


def test_a_clamped_coordinate_has_no_gradient(generator):
    points = torch.tensor([[-0.1, 0.5, 1.2]], requires_grad=True)
    hash_grid(points, random_table(SMALL, generator), SMALL.level_tables(), 2).square().sum().backward()
    assert (points.grad[0] != 0).tolist() == [False, True, False]


# The kernels against it


def both(points, table, spec, backend):
    levels = spec.level_tables()
    return values_and_gradients(lambda p, t: hash_grid(p, t, levels, spec.features, backend), points, table)


def compare(points, table, spec):
    """Gradients to points jump at the faces of cells: there, the two may stand on different sides."""
    actual, expected = both(points, table, spec, "kernels"), both(points, table, spec, "reference")
    inside = away_from_faces(points, spec, 1e-3)
    assert_same(actual[::2], expected[::2], "hash_grid")  # values and gradient to the table
    assert_same([actual[1][inside]], [expected[1][inside]], "hash_grid")
    return inside


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_kernels_equal_the_reference(instruction_set, spec, generator):
    points = torch.rand(3001, 3, generator=generator)
    assert compare(points, random_table(spec, generator), spec).float().mean() > 0.85


@pytest.mark.parametrize("count", [0, 1, 2, 15, 16, 17])
def test_kernels_take_any_number_of_points(instruction_set, count, generator):
    compare(torch.rand(count, 3, generator=generator), random_table(SMALL, generator), SMALL)


def test_kernels_take_points_outside_and_on_the_border(instruction_set, generator):
    """Corners of the cube, its faces, far away, and vertices of the grid."""
    corners = torch.cartesian_prod(
        *[torch.tensor([-1e30, -0.5, -0.0, 0.0, 0.5, 1.0, 1.0000001, torch.inf])] * 3
    )
    vertices = (torch.randint(1, 16, (300, 3), generator=generator) - 0.5) / 15
    points = torch.cat([corners, vertices, torch.rand(300, 3, generator=generator) * 3 - 1])
    compare(points, random_table(SMALL, generator), SMALL)


def test_kernels_stay_inside_the_table_for_a_point_that_is_no_number(instruction_set, generator):
    points = torch.full((40, 3), torch.nan)
    points[::2] = 0.3
    encoded, _, grad_table = both(points, random_table(SMALL, generator), SMALL, "kernels")
    assert encoded[::2].isfinite().all()
    assert grad_table.shape == (SMALL.parameter_count,)


def test_kernels_add_up_many_points_on_one_entry(instruction_set, generator):
    """All samples in one cell: the largest sums a table gradient can hold."""
    points = 0.4 + 1e-4 * torch.rand(20_000, 3, generator=generator)
    compare(points, random_table(SMALL, generator), SMALL)


MILLION = HashGridSpec(levels=1, features=2, log2_table_size=14, base_resolution=64, finest_resolution=64)


@pytest.fixture(scope="module")
def million():
    """A million points on a hashed level, and what the reference makes of them."""
    generator = torch.Generator().manual_seed(5)
    points = torch.rand(1_000_000, 3, generator=generator)
    table = random_table(MILLION, generator)
    return points, table, both(points, table, MILLION, "reference")


def test_kernels_equal_the_reference_on_a_million_points(instruction_set, million):
    points, table, expected = million
    actual = both(points, table, MILLION, "kernels")
    inside = away_from_faces(points, MILLION, 1e-3)
    assert_same(actual[::2], expected[::2], "hash_grid")
    assert_same([actual[1][inside]], [expected[1][inside]], "hash_grid")


def test_kernels_read_arrays_that_are_not_contiguous(instruction_set, generator):
    spec = SMALL
    points = torch.rand(3, 2 * 70, generator=generator).T[::2]
    table = random_table(spec, generator).repeat_interleave(2)[::2]
    actual = both(points, table, spec, "kernels")
    assert_identical(actual, both(points.contiguous(), table.contiguous(), spec, "kernels"))
    levels = spec.level_tables()
    expanded = hash_grid(points.view(7, 10, 3), table.requires_grad_(), levels, 2, "kernels").sum()
    expanded.backward()  # a gradient of stride 0
    assert_close(table.grad.sum(), torch.tensor(70.0 * 6))


def test_kernels_give_the_same_bits_on_any_number_of_threads(instruction_set, with_threads, generator):
    spec = SPECS["L8F4"]
    points, table = torch.rand(20_011, 3, generator=generator), random_table(spec, generator)
    first = both(points, table, spec, "kernels")
    for threads in (1, 2, 3, 7):
        assert_identical(with_threads(threads, lambda: both(points, table, spec, "kernels")), first)


def test_a_gradient_that_nobody_asks_for_is_not_computed(instruction_set, generator):
    points, table = torch.rand(50, 3, generator=generator), random_table(SMALL, generator)
    levels = SMALL.level_tables()
    encoded, to_points, to_table = both(points, table, SMALL, "kernels")
    for constant, wanted in ((0, to_table), (1, to_points)):
        alone = values_and_gradients(
            lambda p, t: hash_grid(p, t, levels, 2, "kernels"), points, table, constant=(constant,)
        )
        assert_identical(alone, [encoded, wanted])


def test_torch_accepts_the_operator(generator):
    points, table = torch.rand(9, 3, generator=generator), random_table(SMALL, generator)
    levels = SMALL.level_tables()
    grad = torch.randn(9, 6, generator=generator)
    torch.library.opcheck(hash_grid_op, (points.requires_grad_(), table.requires_grad_(), *levels, 2))
    torch.library.opcheck(
        hash_grid_backward_op, (points.detach(), table.detach(), *levels, 2, grad, True, True)
    )


def test_second_derivatives_of_the_kernels_are_refused(generator):
    points = torch.rand(4, 3, generator=generator, requires_grad=True)
    encoded = hash_grid(points, random_table(SMALL, generator), SMALL.level_tables(), 2, "kernels")
    (gradient,) = torch.autograd.grad(encoded.sum(), points, create_graph=True)
    with pytest.raises(NotImplementedError, match="second derivatives"):
        gradient.sum().backward()


def test_wrong_arrays_are_named(generator):
    points, table, levels = torch.rand(4, 3), random_table(SMALL, generator), SMALL.level_tables()
    with pytest.raises(ValueError, match=r"table has shape .* these levels need"):
        hash_grid(points, table[:-1], levels, 2)
    with pytest.raises(ValueError, match=r"points is torch\.float64"):
        hash_grid(points.double(), table, levels, 2, "kernels")
    with pytest.raises(ValueError, match="backend 'cuda' is unknown"):
        hash_grid(points, table, levels, 2, "cuda")
    with pytest.raises(ValueError, match="points is not contiguous"):
        hash_grid_op(torch.rand(3, 4).T, table, *levels, 2)
    many = HashGridSpec(levels=33, features=1, log2_table_size=4)
    with pytest.raises(ValueError, match="the kernels take 1 to 32"):
        hash_grid(points, torch.zeros(many.parameter_count), many.level_tables(), 1, "kernels")
