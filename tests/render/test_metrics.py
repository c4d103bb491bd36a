import math

import pytest
import torch
from torch.testing import assert_close

from render.metrics import STRIP, WINDOW, psnr, ssim
from tests.oracles import ssim_loop


def pictures(generator, *shape):
    truth = torch.rand(shape, generator=generator, dtype=torch.float64)
    return (truth + 0.1 * torch.randn(shape, generator=generator, dtype=torch.float64)).clamp(0, 1), truth


def test_psnr_of_a_constant_error(generator):
    truth = torch.rand(2, 12, 15, 3, generator=generator)
    assert_close(psnr(truth + 0.1, truth), torch.full((2,), 20.0))
    assert_close(psnr(255 * truth + 25.5, 255 * truth, data_range=255.0), torch.full((2,), 20.0))


def test_psnr_of_a_picture_with_itself_is_infinite():
    picture = torch.rand(12, 15, 3)
    assert psnr(picture, picture) == math.inf


def test_ssim_matches_a_loop_over_windows(generator):
    picture, truth = pictures(generator, 15, 18, 3)
    expected = sum(ssim_loop(picture[..., c], truth[..., c]) for c in range(3)) / 3
    assert_close(ssim(picture, truth), torch.tensor(expected, dtype=torch.float64))


def test_ssim_matches_kornia(generator):
    from kornia.metrics import ssim as kornia_ssim

    picture, truth = pictures(generator, 2, 24, 20, 3)
    maps = kornia_ssim(picture.movedim(-1, 1), truth.movedim(-1, 1), 11, padding="valid")
    assert_close(ssim(picture, truth), maps.mean(dim=(1, 2, 3)), atol=1e-6, rtol=0)


@pytest.mark.parametrize("height", [STRIP - 1, STRIP + WINDOW - 1, STRIP + WINDOW, 2 * STRIP + 30])
def test_ssim_of_a_tall_picture_is_the_mean_over_all_of_its_windows(generator, height):
    """It is taken strip by strip; no window may be left out or counted twice where they meet."""
    from kornia.metrics import ssim as kornia_ssim

    picture, truth = pictures(generator, height, 13, 2)
    maps = kornia_ssim(picture.movedim(-1, 0)[None], truth.movedim(-1, 0)[None], 11, padding="valid")
    assert_close(ssim(picture, truth), maps.mean(), atol=1e-7, rtol=0)


def test_ssim_of_a_picture_with_itself_is_1_and_is_symmetric(generator):
    picture, truth = pictures(generator, 20, 20, 3)
    assert_close(ssim(truth, truth), torch.ones((), dtype=torch.float64))
    assert_close(ssim(picture, truth), ssim(truth, picture))


def test_ssim_does_not_depend_on_the_unit_of_the_data(generator):
    picture, truth = pictures(generator, 20, 20, 3)
    assert_close(ssim(255 * picture, 255 * truth, data_range=255.0), ssim(picture, truth))


def test_ssim_refuses_a_picture_smaller_than_its_window():
    with pytest.raises(ValueError, match="11x11 pixels, got 40x10"):
        ssim(torch.zeros(10, 40, 3), torch.zeros(10, 40, 3))
