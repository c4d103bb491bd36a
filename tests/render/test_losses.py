import torch
from torch.nn import functional as F
from torch.testing import assert_close

from render.losses import huber, mse


def test_mse_of_a_constant_error_is_its_square():
    assert_close(mse(torch.full((5, 3), 0.7), torch.full((5, 3), 0.4)), torch.tensor(0.09))


def test_huber_is_torchs_smooth_l1(generator):
    a, b = torch.randn(2, 400, 3, generator=generator)
    for delta in (0.01, 0.1, 1.0):
        assert_close(huber(a, b, delta), F.smooth_l1_loss(a, b, beta=delta))


def test_huber_has_one_value_and_slope_on_both_sides_of_delta():
    below = torch.tensor(0.1 - 1e-9, dtype=torch.float64, requires_grad=True)
    above = torch.tensor(0.1 + 1e-9, dtype=torch.float64, requires_grad=True)
    zero = torch.zeros((), dtype=torch.float64)
    one, two = huber(below, zero), huber(above, zero)
    (one + two).backward()
    assert_close(one, two, atol=1e-8, rtol=0)
    assert_close(below.grad, above.grad, atol=1e-7, rtol=0)


def test_weights_scale_the_share_of_each_ray_in_a_hubers_mean(generator):
    """Weight 3 on a ray is that ray three times in the sum; the mean still counts it once."""
    a, b = torch.randn(4, 3, generator=generator), torch.randn(4, 3, generator=generator)
    weight = torch.tensor([1.0, 3.0, 1.0, 1.0])[:, None]
    thrice = torch.cat((a, a[1:2], a[1:2])), torch.cat((b, b[1:2], b[1:2]))
    assert_close(huber(a, b, 0.1, weight), huber(*thrice, 0.1) * 6 / 4)
