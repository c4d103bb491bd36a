import pytest
import torch
from torch.testing import assert_close

from render.samplers.hierarchical import coarse_samples, fine_samples
from render.volume import render_dense

NEAR, FAR = torch.full((1000,), 2.0), torch.full((1000,), 6.0)


def wall(distances):
    """Density of a wall of thickness 0.02 at distance 4.321."""
    return 200.0 * ((distances - 4.331).abs() < 0.01)


def weights_of(samples):
    density = 3.0 * ((samples.distances - 4.321).abs() < 0.2)
    return render_dense(density, density[..., None], *samples).weights


def test_intervals_fill_near_to_far_before_and_after_refining(generator):
    coarse = coarse_samples(NEAR, FAR, 16, "intervals", generator)
    fine = fine_samples(coarse, weights_of(coarse), 24, "intervals", generator)
    for samples in (coarse, fine):
        assert_close(samples.edges[:, 0], NEAR)
        assert_close(samples.edges[:, -1], FAR)
        assert (samples.distances >= samples.edges[:, :-1]).all()
        assert (samples.distances <= samples.edges[:, 1:]).all()
    assert fine.distances.shape[-1] == 16 + 24


def test_published_points_stand_at_the_start_of_their_intervals(generator):
    coarse = coarse_samples(NEAR, FAR, 16, "published", generator)
    fine = fine_samples(coarse, weights_of(coarse), 24, "published", generator)
    for samples in (coarse, fine):
        assert torch.equal(samples.edges[:, :-1], samples.distances)
        assert (samples.edges[:, -1] > 1e9).all()


@pytest.mark.parametrize("rule", ["intervals", "published"])
def test_fine_samples_go_where_the_coarse_saw_something(rule, generator):
    coarse = coarse_samples(NEAR, FAR, 32, rule, generator)
    fine = fine_samples(coarse, weights_of(coarse), 32, rule, generator)
    near_the_wall = ((fine.distances - 4.321).abs() < 0.4).float().mean()
    assert near_the_wall > 0.5  # of even samples, one in five


@pytest.mark.parametrize("rule", ["intervals", "published"])
def test_refining_finds_a_thin_wall_that_even_samples_often_miss(rule, generator):
    coarse = coarse_samples(NEAR, FAR, 32, rule, generator)
    fine = fine_samples(coarse, weights_of(coarse), 64, rule, generator)
    even = coarse_samples(NEAR, FAR, 96, rule, generator)
    found = [
        (render_dense(wall(s.distances), wall(s.distances)[..., None], *s).opacity > 0.5).float().mean()
        for s in (fine, even)
    ]
    assert found[0] > 0.8 and found[1] < 0.65
