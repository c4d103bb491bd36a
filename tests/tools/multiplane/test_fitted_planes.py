"""Where planes are fitted to a picture: the exact optimum of what it promises to make least."""

from itertools import combinations

import pytest
import torch

from tools.multiplane.planes import LEVELS, SPREAD, colour_steps, fitted_planes

LEVEL = 1 / LEVELS


def cost(image: torch.Tensor, disparity: torch.Tensor, planes: torch.Tensor) -> float:
    """Of planes: squared distances from the nearest, of pixels by steps of colour, and of all levels."""
    weight = colour_steps(image[None])[0].double()
    middles = (torch.arange(LEVELS, dtype=torch.float64) + 0.5) * LEVEL
    stored = middles[(disparity.double() * LEVELS).long().clamp(max=LEVELS - 1)]

    def squared(values: torch.Tensor) -> torch.Tensor:
        return (values[..., None] - planes.double()).abs().amin(dim=-1).square()

    return float((weight * squared(stored)).sum() / weight.sum() + SPREAD * squared(middles).mean())


@pytest.fixture
def picture(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    image = torch.rand(3, 24, 32, generator=generator)
    return image, torch.rand(1, 24, 32, generator=generator) ** 3


def fitted(image: torch.Tensor, disparity: torch.Tensor, count: int) -> torch.Tensor:
    return fitted_planes(image[None], disparity[None], count)[0]


@pytest.mark.parametrize("count", [1, 2, 3, 8, 40])
def test_no_planes_near_to_the_fitted_ones_are_better(picture, generator, count):
    image, disparity = picture
    planes = fitted(image, disparity, count)
    least = cost(image, disparity[0], planes)
    assert planes.shape == (count,) and bool((planes.diff() < 0).all())
    for size in (0.5 * LEVEL, 5 * LEVEL, 0.2):
        for _ in range(10):
            moved = planes + size * torch.randn(count, generator=generator)
            assert cost(image, disparity[0], moved) >= least - 1e-12


def test_they_are_the_best_of_all_that_there_are(generator):
    """Of three planes: levels are cut in three in many ways, each part has its mean."""
    image = torch.rand(3, 12, 12, generator=generator)
    disparity = torch.rand(1, 12, 12, generator=generator).round(decimals=1)
    planes = fitted(image, disparity, 3)
    weight = colour_steps(image[None])[0].double().flatten()
    level = (disparity.flatten() * LEVELS).long().clamp(max=LEVELS - 1)
    share = torch.full((LEVELS,), SPREAD / LEVELS, dtype=torch.float64)
    share.scatter_add_(0, level, weight / weight.sum())
    middles = (torch.arange(LEVELS, dtype=torch.float64) + 0.5) * LEVEL
    for first, second in combinations(range(16, LEVELS, 16), 2):
        parts = [slice(None, first), slice(first, second), slice(second, None)]
        means = torch.stack([(share * middles)[part].sum() / share[part].sum() for part in parts])
        assert cost(image, disparity[0], planes) <= cost(image, disparity[0], means) + 1e-12


def test_pictures_of_a_batch_are_fitted_each_alone(generator):
    images, disparity = (
        torch.rand(3, 3, 16, 16, generator=generator),
        torch.rand(3, 1, 16, 16, generator=generator),
    )
    together = fitted_planes(images, disparity, 5)
    for k in range(3):
        assert torch.equal(together[k], fitted(images[k], disparity[k], 5))


def test_planes_gather_where_colours_change():
    """Two walls, at 0.2 and 0.8; of the near one, which is bare, nothing is gained."""
    disparity = torch.full((1, 32, 32), 0.2)
    disparity[:, :, 16:] = 0.8
    image = torch.full((3, 32, 32), 0.5)
    image[:, ::2, :15] = 0.9
    planes = fitted(image, disparity, 4)
    assert float((planes - 0.2).abs().min()) < 0.02 < float((planes - 0.8).abs().min())


def test_a_picture_of_one_colour_and_one_depth_has_planes_too():
    planes = fitted(torch.full((3, 16, 16), 0.5), torch.full((1, 16, 16), 0.3), 8)
    assert bool(planes.isfinite().all()) and bool((planes.diff() < 0).all())
    assert float((planes - 0.3).abs().min()) < 0.02
    assert 0 < float(planes[-1]) and float(planes[0]) < 1


def test_more_planes_than_levels_are_told_apart(picture):
    planes = fitted(*picture, LEVELS + 44)
    assert bool((planes.diff() < 0).all())


def test_steps_of_colour_are_those_to_four_neighbours():
    image = torch.zeros(1, 3, 3, 4)
    image[0, 0, 1, 1] = 0.5
    expected = torch.tensor([[0, 1, 0, 0], [1, 4, 1, 0], [0, 1, 0, 0]]) * 0.25
    assert torch.equal(colour_steps(image)[0], expected)
