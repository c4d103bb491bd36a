import math

import pytest
import torch
from jaxtyping import TypeCheckError
from torch.testing import assert_close

from render.packed import pack, pack_edges
from render.volume import (
    composite,
    edges_of_points,
    expected_distance,
    midpoints,
    over_background,
    render_dense,
    render_packed,
    weights_from_density,
    weights_from_density_packed,
)
from tests.oracles import published_nerf_weights, weights_loop


def random_edges(rays, samples, start=1.0, length=2.0, seed=0, **options):
    """Sorted edges over [start, start + length], the ends included."""
    generator = torch.Generator().manual_seed(seed)
    inner = torch.rand(rays, samples - 1, generator=generator, dtype=torch.float64).sort(dim=-1).values
    edges = torch.nn.functional.pad(torch.nn.functional.pad(inner, (1, 0)), (0, 1), value=1.0)
    return (start + length * edges).to(**options)


def random_density(*shape, scale=3.0, seed=1, **options):
    generator = torch.Generator().manual_seed(seed)
    return (scale * torch.rand(shape, generator=generator, dtype=torch.float64)).to(**options)


def random_samples(rays=37, samples=23, kept=0.4, seed=2):
    """Density, colour, edges of dense rays and which intervals are kept; some rays keep none."""
    density = random_density(rays, samples)
    values = random_density(rays, samples, 3, scale=1.0, seed=3)
    keep = random_density(rays, samples, scale=1.0, seed=seed) < kept
    keep[::5] = False
    return density * keep, values, random_edges(rays, samples), keep


@pytest.mark.parametrize("samples", [1, 2, 17, 300])
def test_slab_is_beer_lambert_however_it_is_cut(device, samples):
    edges = random_edges(64, samples, length=2.0, device=device, dtype=torch.float32)
    weights = weights_from_density(torch.full((64, samples), 0.7, device=device), edges)
    expected = torch.full((64,), 1 - math.exp(-1.4), device=device)
    assert_close(weights.sum(-1), expected, atol=2e-6, rtol=0)


def test_constant_slab_renders_its_colour_times_its_opacity(device):
    edges = random_edges(8, 40, device=device, dtype=torch.float32)
    colour = torch.tensor([0.2, 0.5, 0.9], device=device)
    seen = render_dense(torch.full((8, 40), 1.3, device=device), colour.expand(8, 40, 3), edges)
    assert_close(seen.values, ((1 - math.exp(-2.6)) * colour).expand(8, 3), atol=1e-4, rtol=0)


def test_constant_sphere_is_beer_lambert_along_each_chord(device):
    """Rays past and through a sphere of constant density, only two intervals of each cut at its surface."""
    offset = torch.linspace(0, 1.2, 25, device=device)
    half_chord = (1 - offset**2).clamp(min=0).sqrt()
    edges = torch.stack((0 * offset + 1, 4 - half_chord, 4 + half_chord, 0 * offset + 7), dim=-1)
    density = torch.tensor([0.0, 2.5, 0.0], device=device).expand(25, 3)
    opacity = weights_from_density(density, edges).sum(-1)
    assert_close(opacity, 1 - torch.exp(-2.5 * 2 * half_chord), atol=1e-5, rtol=0)


def test_splitting_an_interval_changes_nothing():
    edges, density = random_edges(16, 9), random_density(16, 9)
    values = random_density(16, 9, 3, scale=1.0)
    halves = torch.cat((edges, midpoints(edges)), dim=-1).sort(dim=-1).values
    whole = render_dense(density, values, edges)
    split = render_dense(density.repeat_interleave(2, -1), values.repeat_interleave(2, -2), halves)
    assert_close(split.values, whole.values)
    assert_close(split.opacity, whole.opacity)
    assert_close(split.weights.unflatten(-1, (9, 2)).sum(-1), whole.weights)


def test_empty_and_zero_length_intervals_change_nothing():
    edges, density = random_edges(16, 9), random_density(16, 9)
    values = random_density(16, 9, 3, scale=1.0)
    longer = torch.cat((edges[:, :4], edges[:, 3:], edges[:, -1:] + 5), dim=-1)
    one, zero = density.new_full((16, 1), 7.0), density.new_zeros(16, 1)
    padded = torch.cat((density[:, :3], one, density[:, 3:], zero), dim=-1)
    colour = torch.nn.functional.pad(values[:, :, 0], (0, 2))
    colour = torch.cat((colour[:, :3], colour[:, -1:], colour[:, 3:-2], colour[:, -1:]), dim=-1)
    plain, wide = (
        render_dense(density, values[..., :1], edges),
        render_dense(padded, colour[..., None], longer),
    )
    assert_close(wide.values, plain.values)
    assert_close(wide.opacity, plain.opacity)
    assert_close(wide.distance, plain.distance)


def test_matches_the_slow_double_loop():
    edges, density = random_edges(5, 12), random_density(5, 12)
    expected = [weights_loop(d.tolist(), e.diff().tolist()) for d, e in zip(density, edges, strict=True)]
    assert_close(weights_from_density(density, edges), torch.tensor(expected, dtype=torch.float64))


def test_thin_samples_keep_their_precision_in_float32():
    """1 - exp(-1e-9) is 0 in float32; ten thousand such intervals still add up."""
    edges = torch.linspace(0, 1, 10_001)[None]
    weights = weights_from_density(torch.full((1, 10_000), 1e-5), edges)
    assert_close(weights.sum(-1), torch.tensor([1e-5]), rtol=1e-3, atol=0)


def test_opaque_sample_takes_all_that_is_left_and_no_gradient_is_nan():
    density = torch.tensor([[0.5, 1e30, 3.0]], requires_grad=True)
    weights = weights_from_density(density, edges_of_points(torch.tensor([[1.0, 2.0, 3.0]])))
    assert_close(weights.detach().sum(), torch.tensor(1.0))
    assert weights[0, 2] == 0
    weights[0, :2].sum().backward()
    assert density.grad.isfinite().all()


def test_weights_times_values_is_linear_and_takes_any_width():
    weights, values = random_density(7, 11, scale=0.1), random_density(7, 11, 128)
    assert_close(
        composite(weights, 2 * values + 1), 2 * composite(weights, values) + weights.sum(-1)[:, None]
    )


def test_nerfs_published_quadrature_is_ours_with_points_as_edges():
    """Its z along an unnormalised direction is our distance divided by the direction's length."""
    raw = random_density(20, 16, scale=4.0) - 1
    z, lengths = random_edges(20, 15), 1 + random_density(20, scale=0.3)
    distances = z * lengths[:, None]
    seen = render_dense(raw.clamp(min=0), raw[..., None], edges_of_points(distances), distances)
    assert_close(seen.weights, published_nerf_weights(raw, z, lengths), atol=1e-8, rtol=1e-6)


def test_distance_is_that_of_a_thin_wall_and_0_where_nothing_is():
    edges = torch.linspace(0, 4, 4001, dtype=torch.float64).expand(2, -1)
    density = torch.zeros(2, 4000, dtype=torch.float64)
    density[0, 2500] = 0.3
    seen = render_dense(density, density[..., None], edges)
    assert_close(seen.distance, torch.tensor([2.5005, 0.0], dtype=torch.float64))


def test_expected_distance_has_a_finite_gradient_where_nothing_is():
    opacity = torch.tensor([0.0, 0.5], requires_grad=True)
    expected_distance(torch.tensor([0.0, 1.0]), opacity).sum().backward()
    assert_close(opacity.grad, torch.tensor([0.0, -4.0]))


def test_background_shows_by_what_the_ray_leaves_over():
    opacity = torch.tensor([0.0, 0.25, 1.0])
    seen = over_background(torch.zeros(3, 3), opacity, torch.tensor([1.0, 0.5, 0.0]))
    assert_close(seen, torch.outer(1 - opacity, torch.tensor([1.0, 0.5, 0.0])))


def test_dense_and_packed_agree():
    density, values, edges, keep = random_samples()
    dense = render_dense(density, values, edges)
    packed = render_packed(pack(density, keep), pack(values, keep), pack_edges(edges, keep))
    assert_close(packed.values, dense.values)
    assert_close(packed.opacity, dense.opacity)
    assert_close(packed.distance, dense.distance)
    assert_close(packed.weights, pack(dense.weights, keep))


def test_dense_and_packed_have_the_same_gradient():
    density, values, edges, keep = random_samples()
    inputs = [x.clone().requires_grad_() for x in (density, values) for _ in range(2)]
    dense = render_dense(inputs[0] * keep, inputs[2], edges)
    packed = render_packed(pack(inputs[1], keep), pack(inputs[3], keep), pack_edges(edges, keep))
    for seen in (dense, packed):
        (seen.values.square().sum() + seen.distance.sum() + seen.opacity.sin().sum()).backward()
    assert_close(inputs[1].grad, inputs[0].grad)
    assert_close(inputs[3].grad, inputs[2].grad)


def test_packed_weights_of_a_ray_do_not_depend_on_other_rays():
    """A huge optical thickness in one ray may not round away the thin samples of the next."""
    edges = torch.linspace(0, 1, 65).expand(2, -1)
    density = torch.stack((torch.full((64,), 1e9), torch.full((64,), 1e-3)))
    keep = torch.ones(2, 64, dtype=torch.bool)
    packed = weights_from_density_packed(density.flatten(), pack_edges(edges, keep))
    assert_close(packed.view(2, 64)[1], weights_from_density(density[1:], edges[1:])[0], rtol=1e-6, atol=0)


def test_gradient_dense():
    density = random_density(3, 6).requires_grad_()
    values = random_density(3, 6, 2).requires_grad_()
    edges = random_edges(3, 6).requires_grad_()
    assert torch.autograd.gradcheck(render_dense, (density, values, edges))


def test_gradient_packed():
    _, _, edges, keep = random_samples(6, 5)
    samples = pack_edges(edges, keep)
    count = len(samples.ray_index)
    inputs = random_density(count).requires_grad_(), random_density(count, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda d, v: render_packed(d, v, samples), inputs)


def test_a_wrong_shape_is_refused():
    with pytest.raises(TypeCheckError, match="edges"):
        weights_from_density(torch.ones(4, 8), torch.ones(4, 8))
