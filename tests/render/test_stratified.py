import torch
from torch.testing import assert_close

from render.samplers.stratified import stratified_edges, stratified_points


def test_edges_fill_near_to_far_in_order(generator, device):
    near = torch.linspace(0.5, 2, 9, device=device)
    for draw in (None, generator):
        edges = stratified_edges(near, near + 4, 33, draw)
        assert (edges.diff(dim=-1) >= 0).all()
        assert_close(edges[:, 0], near)
        assert_close(edges[:, -1], near + 4)
        assert edges.shape == (9, 34)


def test_without_a_generator_edges_and_points_are_even():
    near, far = torch.tensor([1.0, 2.0]), torch.tensor([2.0, 6.0])
    for even in (stratified_edges(near, far, 8), stratified_points(near, far, 9)):
        assert_close(even.diff(dim=-1), ((far - near) / 8)[:, None].expand(2, 8))


def test_each_inner_edge_is_uniform_in_its_own_bin(generator):
    edges = stratified_edges(torch.zeros(20_000), torch.full((20_000,), 4.0), 4, generator)
    share = edges[:, 1:-1] - torch.tensor([0.5, 1.5, 2.5])
    assert share.min() >= 0 and share.max() <= 1
    for quantile in (0.1, 0.5, 0.9):
        assert_close(share.quantile(quantile, dim=0), torch.full((3,), quantile), atol=0.015, rtol=0)


def test_points_keep_to_the_half_bins_of_the_published_code(generator):
    """Ends draw from half a bin, all others from a whole one, as nerf-pytorch's render_rays does."""
    points = stratified_points(torch.full((5000,), 2.0), torch.full((5000,), 6.0), 5, generator)
    lower, upper = torch.tensor([2.0, 2.5, 3.5, 4.5, 5.5]), torch.tensor([2.5, 3.5, 4.5, 5.5, 6.0])
    assert (points >= lower).all() and (points <= upper).all()
    assert_close(points.mean(0), (lower + upper) / 2, atol=0.02, rtol=0)


def test_points_in_disparity_are_even_in_inverse_distance():
    points = stratified_points(torch.tensor([2.0]), torch.tensor([6.0]), 7, in_disparity=True)
    assert_close((1 / points).diff(), torch.full((1, 6), (1 / 6 - 1 / 2) / 6))


def test_the_same_generator_state_draws_the_same(generator):
    state, near = generator.get_state(), torch.ones(3)
    first = stratified_edges(near, 2 * near, 8, generator)
    generator.set_state(state)
    assert torch.equal(first, stratified_edges(near, 2 * near, 8, generator))
