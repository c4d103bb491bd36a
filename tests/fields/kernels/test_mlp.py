import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from fields.kernels.mlp import MLPSpec, layer_matrices, mlp, mlp_backward_op, mlp_op, product
from tests.fields.kernels.equality import assert_identical, assert_same, values_and_gradients

SPECS = {
    "density": MLPSpec(32, 64, 1, 16),
    "colour": MLPSpec(32, 64, 2, 16),
    "narrow": MLPSpec(16, 16, 3, 32),
    "wide": MLPSpec(48, 128, 1, 128),
    "odd": MLPSpec(112, 48, 4, 80),
}
SMALL = MLPSpec(16, 32, 2, 16)


def random_weights(spec, generator, dtype=torch.float32):
    """Scaled so that activations keep their size through the layers."""
    layers = [torch.randn(s, generator=generator, dtype=dtype) * (2 / s[1]) ** 0.5 for s in spec.shapes]
    return torch.cat([layer.flatten() for layer in layers])


def rounded(x):
    return x.bfloat16().float()


# How far sums of hidden units may lie apart (of size one): float32's last bits; one rounding of an input.
BAND = {"float32": 1e-5, "bfloat16": 2e-3}


def away_from_corners(x, weights, spec, precision):
    """Rows in which no hidden unit is so close to its ReLU's corner that the order of a sum decides.

    A unit that is exactly 0 counts as away: nothing is summed there.
    """
    away = torch.ones(len(x), dtype=torch.bool)
    for matrix in layer_matrices(weights, spec)[:-1]:
        x = product(x, matrix, precision)
        away &= ((x.abs() > BAND[precision]) | (x == 0)).all(dim=1)
        x = x.relu()
    return away


# The reference


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_it_is_the_chain_of_linear_layers(spec, device, generator):
    weights = random_weights(spec, generator).to(device)
    x = torch.randn(50, spec.inputs, generator=generator).to(device)
    y, position = x, 0
    for i, (rows, columns) in enumerate(spec.shapes):
        matrix = weights[position : position + rows * columns].reshape(rows, columns)
        position += rows * columns
        y = F.linear(y if i == 0 else F.relu(y), matrix)
    assert position == spec.parameter_count
    assert_close(mlp(x, weights, spec), y)


def test_gradients_in_double_precision(generator):
    spec = MLPSpec(16, 16, 2, 16)
    x = torch.randn(3, 16, generator=generator, dtype=torch.float64, requires_grad=True)
    weights = random_weights(spec, generator, torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, w: mlp(x, w, spec), (x, weights))


def test_bfloat16_rounds_what_enters_each_product_and_nothing_else(generator):
    """Forward and backward of one hidden layer, written out."""
    spec = MLPSpec(16, 32, 1, 16)
    first, last = layer_matrices(random_weights(spec, generator), spec)
    x, grad = torch.randn(40, 16, generator=generator), torch.randn(40, 16, generator=generator)
    before = rounded(x) @ rounded(first).T
    hidden = rounded(before.relu())
    y = hidden @ rounded(last).T
    grad_last = rounded(grad).T @ hidden
    grad_hidden = rounded(rounded(grad) @ rounded(last) * (before > 0))
    grad_first = grad_hidden.T @ rounded(x)
    grad_x = grad_hidden @ rounded(first)

    weights = torch.cat([first.flatten(), last.flatten()]).requires_grad_()
    leaf = x.clone().requires_grad_()
    out = mlp(leaf, weights, spec, "bfloat16")
    out.backward(grad)
    assert_close(out, y, rtol=1e-6, atol=1e-6)
    assert_close(weights.grad, torch.cat([grad_first.flatten(), grad_last.flatten()]), rtol=1e-5, atol=1e-5)
    assert_close(leaf.grad, grad_x, rtol=1e-5, atol=1e-5)
    assert not torch.equal(y, rounded(y))  # the output is not rounded
    assert not torch.equal(leaf.grad, rounded(leaf.grad))


def test_bfloat16_changes_nothing_where_numbers_are_short(generator):
    """Small integers and powers of two are bfloat16 numbers already."""
    weights = torch.randint(-1, 2, (SMALL.parameter_count,), generator=generator).float()
    x = torch.randint(-3, 4, (20, 16), generator=generator).float()
    hidden = layer_matrices(weights, SMALL)[1] @ (layer_matrices(weights, SMALL)[0] @ x.T).relu()
    few = (hidden.abs().amax(0) < 256) & ((layer_matrices(weights, SMALL)[0] @ x.T).abs().amax(0) < 256)
    assert few.sum() > 5
    assert torch.equal(mlp(x[few], weights, SMALL, "bfloat16"), mlp(x[few], weights, SMALL))


# The kernels against it


def both(x, weights, spec, precision, backend):
    return values_and_gradients(lambda x, w: mlp(x, w, spec, precision, backend), x, weights)


def compare(x, weights, spec, precision):
    x = x[away_from_corners(x, weights, spec, precision)]
    actual = both(x, weights, spec, precision, "kernels")
    assert_same(actual, both(x, weights, spec, precision, "reference"), "mlp", precision)


PRECISIONS = pytest.mark.parametrize("precision", ["float32", "bfloat16"])


@PRECISIONS
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_kernels_equal_the_reference(instruction_set, spec, precision, generator):
    x, weights = torch.randn(1003, spec.inputs, generator=generator), random_weights(spec, generator)
    compare(x, weights, spec, precision)
    assert away_from_corners(x, weights, spec, precision).float().mean() > 0.5


@PRECISIONS
@pytest.mark.parametrize("count", [0, 1, 15, 33, 64])
def test_kernels_take_any_number_of_rows(instruction_set, count, precision, generator):
    x = torch.randn(count, 16, generator=generator)
    compare(x, random_weights(SMALL, generator), SMALL, precision)


@PRECISIONS
def test_kernels_take_dead_and_huge_activations(instruction_set, precision, generator):
    """Rows of zeros (every ReLU at its corner), rows that silence every unit, and very large ones."""
    weights = random_weights(SMALL, generator)
    layer_matrices(weights, SMALL)[1][:16] = -layer_matrices(weights, SMALL)[1][:16].abs()
    x = torch.randn(200, 16, generator=generator)
    x = x[away_from_corners(x, weights, SMALL, precision)][:96]
    x[:32] = 0
    x[32:64] *= 1e18
    actual, expected = (both(x, weights, SMALL, precision, b) for b in ("kernels", "reference"))
    huge = torch.arange(96) // 32 == 1
    for rows in (huge, ~huge):
        assert_same(
            [actual[0][rows], actual[1][rows]], [expected[0][rows], expected[1][rows]], "mlp", precision
        )
    assert_same(actual[2:], expected[2:], "mlp", precision)


@PRECISIONS
def test_kernels_do_not_mix_rows(instruction_set, precision, generator):
    """A row that is no number spoils its own output only."""
    x = torch.randn(70, 16, generator=generator)
    weights = random_weights(SMALL, generator)
    clean = mlp(x, weights, SMALL, precision, "kernels")
    x[33] = torch.nan
    spoilt = mlp(x, weights, SMALL, precision, "kernels")
    rows = torch.arange(70) != 33
    assert_identical([spoilt[rows]], [clean[rows]])


@pytest.fixture(scope="module")
def million():
    """A million rows, and what the reference makes of them, for each precision."""
    generator = torch.Generator().manual_seed(6)
    spec = MLPSpec(16, 16, 1, 16)
    x, weights = torch.randn(1_100_000, 16, generator=generator), random_weights(spec, generator)
    x = x[away_from_corners(x, weights, spec, "bfloat16")][:1_000_000]
    assert len(x) == 1_000_000
    return x, weights, spec, {p: to_weights(x, weights, spec, p, "reference") for p in BAND}


def to_weights(x, weights, spec, precision, backend):
    """Outputs, and the gradient to the weights alone."""
    return values_and_gradients(lambda x, w: mlp(x, w, spec, precision, backend), x, weights, constant=(0,))


@PRECISIONS
def test_kernels_equal_the_reference_on_a_million_rows(instruction_set, precision, million):
    x, weights, spec, expected = million
    actual = to_weights(x, weights, spec, precision, "kernels")
    assert_same(actual, expected[precision], "mlp", precision)


@PRECISIONS
def test_kernels_read_arrays_that_are_not_contiguous(instruction_set, precision, generator):
    x = torch.randn(16, 2 * 50, generator=generator).T[::2]
    weights = random_weights(SMALL, generator).repeat_interleave(2)[::2]
    actual = both(x, weights, SMALL, precision, "kernels")
    assert_identical(actual, both(x.contiguous(), weights.contiguous(), SMALL, precision, "kernels"))
    leaf = weights.clone().requires_grad_()
    mlp(x.view(5, 10, 16), leaf, SMALL, precision, "kernels").sum().backward()  # a gradient of stride 0
    other = weights.clone().requires_grad_()
    mlp(x, other, SMALL, precision, "reference").sum().backward()
    assert_same([leaf.grad], [other.grad], "mlp", precision)


@PRECISIONS
def test_kernels_give_the_same_bits_on_any_number_of_threads(
    instruction_set, precision, with_threads, generator
):
    spec = SPECS["colour"]
    x, weights = torch.randn(5003, 32, generator=generator), random_weights(spec, generator)
    first = both(x, weights, spec, precision, "kernels")
    for threads in (1, 2, 3, 7):
        again = with_threads(threads, lambda: both(x, weights, spec, precision, "kernels"))
        assert_identical(again, first)


def test_weights_alone_may_ask_for_a_gradient(instruction_set, generator):
    """As in training behind frozen inputs."""
    x, weights = torch.randn(40, 16, generator=generator), random_weights(SMALL, generator)
    y, _, gradient = both(x, weights, SMALL, "float32", "kernels")
    assert_identical(to_weights(x, weights, SMALL, "float32", "kernels"), [y, gradient])


def test_torch_accepts_the_operator(generator):
    x, weights = torch.randn(9, 16, generator=generator), random_weights(SMALL, generator)
    grad = torch.randn(9, 16, generator=generator)
    torch.library.opcheck(mlp_op, (x.requires_grad_(), weights.requires_grad_(), 16, 32, 2, 16, True))
    torch.library.opcheck(mlp_backward_op, (x.detach(), weights.detach(), 16, 32, 2, 16, False, grad, True))


def test_second_derivatives_of_the_kernels_are_refused(generator):
    x = torch.randn(4, 16, generator=generator, requires_grad=True)
    y = mlp(x, random_weights(SMALL, generator), SMALL, "float32", "kernels")
    (gradient,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match="second derivatives"):
        gradient.sum().backward()


def test_wrong_arrays_are_named(generator):
    x, weights = torch.randn(4, 16), random_weights(SMALL, generator)
    with pytest.raises(ValueError, match=r"inputs is 20; .* multiple of 16 \(pad it: 32"):
        MLPSpec(20, 32, 1, 16)
    with pytest.raises(ValueError, match="x has 15 columns; the network takes 16"):
        mlp(x[:, :15], weights, SMALL)
    with pytest.raises(ValueError, match="weights has shape"):
        mlp(x, weights[1:], SMALL)
    with pytest.raises(ValueError, match="precision 'float16' is unknown"):
        mlp(x, weights, SMALL, "float16")
    with pytest.raises(ValueError, match=r"weights is torch\.float64"):
        mlp(x, weights.double(), SMALL, "float32", "kernels")
    wide = MLPSpec(16, 144, 1, 16)
    with pytest.raises(ValueError, match="beyond the kernels' 128 wide"):
        mlp(x, torch.zeros(wide.parameter_count), wide, "float32", "kernels")
