"""AdaMPI's losses against slow oracles and closed forms."""

import numpy as np
import torch
from torch.testing import assert_close

from render.metrics import ssim
from tools.multiplane import losses
from tools.multiplane.planes import even_planes


def test_focal_frequency_is_what_a_slow_transform_says(generator):
    rgb, truth = torch.rand(2, 2, 3, 6, 5, generator=generator, dtype=torch.float64)
    total, count = 0.0, 0
    rows, columns = (np.exp(-2j * np.pi * np.outer(np.arange(n), np.arange(n)) / n) for n in (6, 5))
    for difference in (rgb - truth).flatten(0, 1).numpy():
        spectrum = np.abs(rows @ difference @ columns) / np.sqrt(30)
        weight = spectrum**3 / (spectrum**3).max()
        total, count = total + (weight * spectrum**2).sum(), count + 30
    assert_close(losses.focal_frequency(rgb, truth), torch.tensor(total / count, dtype=torch.float64))


def test_focal_frequency_of_one_wave_is_its_energy_and_knows_no_place():
    # All of it is in two frequencies alike, so that both have the weight 1.
    wave = 0.2 * torch.cos(2 * torch.pi * 3 * torch.arange(16) / 16).expand(1, 3, 8, 16).double()
    zero = torch.zeros_like(wave)
    assert_close(losses.focal_frequency(wave, zero), wave.square().mean())
    assert_close(losses.focal_frequency(wave.roll(5, -1), zero), wave.square().mean())
    assert losses.focal_frequency(wave, wave) == 0


def test_losses_by_weight_are_means_of_each_picture_and_see_nothing_else(generator):
    found, truth = torch.rand(2, 3, 3, 20, 20, generator=generator)
    weight = torch.zeros(3, 20, 20)  # the third picture has none
    weight[0, 6:9, 8:11], weight[1, 7, 7], weight[1, 8, 12] = 1.0, 1.0, 0.25
    error = (found - truth).abs().mean(dim=1)
    means = error[0, 6:9, 8:11].mean(), (error[1, 7, 7] + 0.25 * error[1, 8, 12]) / 1.25
    assert_close(losses.absolute_in(weight, found, truth), sum(means) / 3)
    assert_close(
        losses.absolute_in(weight > 0, found, truth), losses.absolute_in((weight > 0) * 1.0, found, truth)
    )
    elsewhere = torch.where(weight[:, None] > 0, found, torch.rand(3, 3, 20, 20, generator=generator))
    for loss in (losses.absolute_in, losses.dissimilarity_in):
        assert_close(loss(weight, found, truth), loss(weight, elsewhere, truth))
        assert loss(torch.zeros_like(weight), found, truth) == 0


def test_a_small_hole_is_as_dissimilar_as_what_is_in_it(generator):
    """Not the less the smaller it is: its windows alone are counted."""
    truth = torch.rand(1, 3, 40, 40, generator=generator)
    found = torch.rand(1, 3, 40, 40, generator=generator)
    weight = torch.zeros(1, 40, 40)
    weight[:, 19:21, 19:21] = 1
    only = torch.where(weight[:, None] > 0, found, truth)
    windows = [
        1 - ssim(*(each[0, :, top : top + 11, left : left + 11].permute(1, 2, 0) for each in (only, truth)))
        for top in (14, 15) for left in (14, 15)
    ]  # fmt: skip
    assert_close(losses.dissimilarity_in(weight, found, truth), torch.stack(windows).mean())
    assert_close(
        losses.dissimilarity_in(torch.ones_like(weight), found, truth), losses.dissimilarity(found, truth)
    )


def test_smoothness_forgives_steps_at_edges_and_does_not_depend_on_the_unit(generator):
    disparity = torch.ones(1, 8, 8)
    assert losses.smoothness(disparity, torch.rand(1, 3, 8, 8, generator=generator)) == 0
    disparity[:, :, 4:] = 3.0
    plain, edged = torch.zeros(2, 1, 3, 8, 8)
    edged[..., 4:] = 1.0
    assert_close(losses.smoothness(disparity, plain), torch.tensor(1 / 7))  # one of seven steps, 2 / mean 2
    assert_close(losses.smoothness(disparity, edged), torch.tensor(float(np.exp(-1)) / 7))
    assert_close(losses.smoothness(7 * disparity, edged), losses.smoothness(disparity, edged))


def test_planes_in_order_cost_nothing_and_others_what_they_are_off():
    assert losses.disorder(even_planes(8)[None]) == 0
    assert_close(losses.disorder(torch.tensor([[0.5, 0.7, 0.2]])), torch.tensor(0.1))  # one of two gaps
    assert_close(losses.disorder(torch.tensor([[1.3, 0.5, -0.099]])), torch.tensor(0.1 + 0.1 / 3))


def test_pixels_given_to_their_planes_cost_nothing():
    planes = torch.tensor([[0.8, 0.4]])
    disparity = torch.full((1, 2, 2), 0.8)
    disparity[:, 1] = 0.4
    own = torch.stack((disparity == 0.8, disparity == 0.4), dim=1).float()
    assert losses.misassigned(own, disparity, planes) == 0
    assert_close(losses.misassigned(own.flip(1), disparity, planes), torch.tensor(0.4 / 2))  # of two planes
    half = torch.full_like(own, 0.5)
    assert_close(losses.misassigned(half, disparity, planes), torch.tensor(0.2 / 2))


def test_clusters_stand_in_the_middle_of_what_is_nearest_to_them(generator):
    disparity = torch.rand(3, 40, 48, generator=generator) ** 3
    middles = losses.clustered(disparity, 4)
    assert (middles.diff(dim=1) < 0).all()
    values = disparity[:, ::4, ::4].flatten(1)
    for middle, value in zip(middles, values, strict=True):
        nearest = (value[:, None] - middle).abs().argmin(dim=1)
        means = torch.stack([value[nearest == k].mean() for k in range(4)])
        assert_close(means, middle, rtol=0, atol=0.02)  # ten rounds come near to the fixed point
        even = even_planes(4)
        error = (value[:, None] - middle).abs().amin(dim=1).square().sum()
        assert error < 0.7 * (value[:, None] - even).abs().amin(dim=1).square().sum()


def test_clusters_of_few_disparities_are_these_and_the_rest_stays(generator):
    disparity = torch.where(torch.rand(1, 32, 32, generator=generator) < 0.5, 0.9, 0.1)
    middles = losses.clustered(disparity, 4)
    assert_close(middles, torch.tensor([[0.9, even_planes(4)[1], even_planes(4)[2], 0.1]]))


def test_planes_are_asked_for_between_clusters_and_even_places():
    disparity = torch.full((1, 16, 16), 0.1)
    even = even_planes(3)[None]
    for share in (losses.CLUSTERED, 1):
        target = share * losses.clustered(disparity, 3) + (1 - share) * even
        assert_close(losses.partly_clustered(disparity, 3, share), target)
