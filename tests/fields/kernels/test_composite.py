import math

import pytest
import torch
from torch.testing import assert_close

from fields.kernels.composite import check_packed, composite, composite_backward_op, composite_op
from tests.fields.kernels.equality import assert_identical, assert_same, values_and_gradients
from tests.oracles import weights_loop


def packed(lengths, generator, channels=3, thickness=0.3, dtype=torch.float32):
    """Random samples of rays that hold these many."""
    ray_start = torch.tensor([0, *lengths]).cumsum(0)
    n = int(ray_start[-1])
    delta = 0.01 + 0.02 * torch.rand(n, generator=generator, dtype=dtype)
    density = thickness / delta * torch.rand(n, generator=generator, dtype=dtype)
    return density, torch.randn(n, channels, generator=generator, dtype=dtype), delta, ray_start


RAGGED = {
    "no rays": [],
    "only empty rays": [0, 0, 0],
    "one sample": [1],
    "empty rays between": [0, 3, 0, 0, 17, 1, 0],
    "many": [5, 64, 63, 65, 1, 0, 200] * 40,
}


# The reference


def test_slab_is_beer_lambert(device, generator):
    """Constant density over length L has opacity 1 - exp(-sigma L), however it is cut."""
    lengths = [1, 2, 17, 200]
    _, values, _, ray_start = packed(lengths, generator)
    cuts = [torch.rand(count, generator=generator) + 0.1 for count in lengths]
    delta = torch.cat([2.0 * cut / cut.sum() for cut in cuts]).to(device)
    out = composite(
        torch.full_like(delta, 0.7), torch.ones_like(values).to(device), delta, ray_start.to(device)
    )
    expected = torch.full((4,), 1 - math.exp(-1.4), device=device)
    assert_close(out.opacity, expected)
    assert_close(out.values, expected[:, None].expand(4, 3))


def test_a_ray_of_a_million_samples_is_as_exact_as_one_of_ten(instruction_set):
    """A running float32 product of a million factors would be off by 4e-3."""
    n = 1_000_000
    delta = torch.full((n,), 2.0 / n)
    out = composite(torch.full((n,), 0.7), torch.ones(n, 1), delta, torch.tensor([0, n]), "kernels")
    assert_close(out.opacity, torch.tensor([1 - math.exp(-1.4)]), rtol=0, atol=2e-6)


def test_it_matches_the_slow_double_loop(device, generator):
    density, values, delta, ray_start = packed([0, 5, 1, 0, 9], generator, dtype=torch.float64)
    out = composite(*(x.to(device) for x in (density, values, delta, ray_start)))
    for ray, (first, last) in enumerate(zip(ray_start[:-1].tolist(), ray_start[1:].tolist(), strict=True)):
        weights = torch.tensor(
            weights_loop(density[first:last].tolist(), delta[first:last].tolist())
        ).double()
        assert_close(out.weights[first:last].cpu(), weights)
        assert_close(out.opacity[ray].cpu(), weights.sum())
        assert_close(out.values[ray].cpu(), (weights[:, None] * values[first:last]).sum(0))


def test_it_agrees_with_dense_rays(generator):
    """Rays of equal length, composited by a cumulative sum along the second axis."""
    density, values, delta, ray_start = packed([40] * 30, generator, dtype=torch.float64)
    thickness = (density * delta).view(30, 40)
    weights = torch.exp(-(thickness.cumsum(1) - thickness)) * -torch.expm1(-thickness)
    out = composite(density, values, delta, ray_start)
    assert_close(out.weights, weights.flatten())
    assert_close(out.values, (weights[..., None] * values.view(30, 40, 3)).sum(1))


def test_weights_sum_to_opacity_and_splitting_a_sample_changes_nothing(generator):
    density, values, delta, ray_start = packed([7, 0, 12], generator, dtype=torch.float64)
    whole = composite(density, values, delta, ray_start)
    halves = [x.repeat_interleave(2, dim=0) for x in (density, values, delta / 2)]
    split = composite(*halves, ray_start * 2)
    assert_close(split.values, whole.values)
    assert_close(split.opacity, whole.opacity)
    assert_close(split.weights.view(-1, 2).sum(1), whole.weights)
    assert_close(whole.opacity, torch.stack([part.sum() for part in whole.weights.split([7, 0, 12])]))


def test_what_is_behind_an_opaque_sample_is_not_seen(generator):
    """Infinitely thick: weight one, then zeros, and no infinity minus infinity."""
    density, values, delta, ray_start = packed([6, 6], generator)
    density[2] = torch.inf
    out = composite(density, values, delta, ray_start)
    assert torch.equal(out.weights[3:6], torch.zeros(3))
    assert_close(out.opacity[0], torch.tensor(1.0))
    assert out.weights[6:].gt(0).all()


def test_gradients_in_double_precision(generator):
    density, values, delta, ray_start = packed([0, 4, 1, 7], generator, channels=2, dtype=torch.float64)
    leaves = [x.requires_grad_() for x in (density, values, delta)]
    assert torch.autograd.gradcheck(lambda *x: tuple(composite(*x, ray_start)), leaves)
    assert torch.autograd.gradgradcheck(lambda *x: tuple(composite(*x, ray_start)), leaves)


# The kernels against it


def both(samples, backend):
    """Values, opacity and weights, then gradients to density and values."""
    return values_and_gradients(lambda *x: composite(*x, backend), *samples, constant=(2,))


def compare(samples):
    actual = both(samples, "kernels")
    assert_same(actual, both(samples, "reference"), "composite")
    return actual


@pytest.mark.parametrize("channels", [1, 3, 4, 16, 33])
@pytest.mark.parametrize("lengths", RAGGED.values(), ids=RAGGED)
def test_kernels_equal_the_reference(instruction_set, lengths, channels, generator):
    compare(packed(lengths, generator, channels))


@pytest.mark.parametrize("density", [0.0, 1e-7, 50.0, 1e4, 1e12, 1e30, 3e38])
def test_kernels_take_any_density(instruction_set, density, generator):
    """Empty, nearly empty, and so dense that the first sample takes all."""
    _, values, delta, ray_start = packed([0, 5, 64, 1], generator)
    actual = compare((torch.full_like(delta, density), values, delta, ray_start))
    assert all(x.isfinite().all() for x in actual)


def test_kernels_take_walls_among_empty_samples(instruction_set, generator):
    density, values, delta, ray_start = packed([50] * 20, generator)
    density[torch.rand(1000, generator=generator) < 0.7] = 0
    density[torch.rand(1000, generator=generator) < 0.02] = 1e9
    delta[::7] = 0
    compare((density, values, delta, ray_start))


@pytest.fixture(scope="module")
def million():
    """A million samples on rays of 0 to 200, and what the reference makes of them."""
    generator = torch.Generator().manual_seed(7)
    lengths = torch.randint(0, 201, (10_000,), generator=generator)
    lengths[-1] += 1_000_000 - lengths.sum() if lengths.sum() < 1_000_000 else 0
    samples = packed(lengths.tolist(), generator, thickness=0.05)
    return samples, both(samples, "reference")


def test_kernels_equal_the_reference_on_a_million_samples(instruction_set, million):
    samples, expected = million
    assert len(samples[0]) >= 1_000_000
    assert_same(both(samples, "kernels"), expected, "composite")


def test_kernels_read_arrays_that_are_not_contiguous(instruction_set, generator):
    density, values, delta, ray_start = packed([5, 0, 9, 40], generator)
    spread = (
        density.repeat_interleave(2)[::2], values.T.contiguous().T,
        delta.repeat_interleave(3)[::3], ray_start.repeat_interleave(2)[::2],
    )  # fmt: skip
    expected = both((density, values, delta, ray_start), "kernels")
    assert_identical(both(spread, "kernels"), expected)
    leaf, other = density.clone().requires_grad_(), density.clone().requires_grad_()
    composite(leaf, values, delta, ray_start, "kernels").values.sum().backward()  # stride 0, others missing
    composite(other, values, delta, ray_start, "reference").values.sum().backward()
    assert_same([leaf.grad], [other.grad], "composite")


def test_kernels_give_the_same_bits_on_any_number_of_threads(instruction_set, with_threads, generator):
    samples = packed(RAGGED["many"] * 3, generator)
    first = both(samples, "kernels")
    for threads in (1, 2, 3, 7):
        assert_identical(with_threads(threads, lambda: both(samples, "kernels")), first)


def test_torch_accepts_the_operator(generator):
    density, values, delta, ray_start = packed([0, 4, 3], generator)
    grads = [torch.randn(s, generator=generator) for s in ((3, 3), (3,), (7,))]
    torch.library.opcheck(composite_backward_op, (density.clone(), values.clone(), delta, ray_start, *grads))
    torch.library.opcheck(composite_op, (density.requires_grad_(), values.requires_grad_(), delta, ray_start))


def test_second_derivatives_of_the_kernels_are_refused(generator):
    density, values, delta, ray_start = packed([4], generator)
    out = composite(density.requires_grad_(), values, delta, ray_start, "kernels")
    (gradient,) = torch.autograd.grad(out.opacity.sum(), density, create_graph=True)
    with pytest.raises(NotImplementedError, match="second derivatives"):
        gradient.sum().backward()


def test_a_gradient_to_delta_is_refused_not_dropped(generator):
    density, values, delta, ray_start = packed([4], generator)
    with pytest.raises(ValueError, match="delta asks for a gradient"):
        composite(density, values, delta.requires_grad_(), ray_start, "kernels")
    with torch.no_grad():
        composite(density, values, delta, ray_start, "kernels")


@pytest.mark.parametrize("ray_start", [[0, 4], [1, 7], [0, 5, 3, 7], [0, -1, 7], [0, 9, 7]], ids=str)
@pytest.mark.parametrize("backend", ["reference", "kernels"])
def test_ray_starts_that_leave_the_arrays_are_refused(ray_start, backend, generator):
    density, values, delta, _ = packed([7], generator)
    with pytest.raises(ValueError, match="ray_start must rise from 0 to the number of samples, 7"):
        composite(density, values, delta, torch.tensor(ray_start), backend)


def test_wrong_arrays_are_named(generator):
    density, values, delta, ray_start = packed([7], generator)
    with pytest.raises(ValueError, match=r"ray_start is torch\.int32"):
        composite(density, values, delta, ray_start.int(), "kernels")
    with pytest.raises(ValueError, match=r"density is torch\.float64"):
        composite(density.double(), values, delta, ray_start, "kernels")
    with pytest.raises(ValueError, match="hold 7, 6, 7 samples"):
        check_packed(density, values[:6], delta, ray_start)
    with pytest.raises(ValueError, match=r"values has shape \(6, 3\); it must be \(7, any\)"):
        composite_op(density, values[:6].clone(), delta, ray_start)
