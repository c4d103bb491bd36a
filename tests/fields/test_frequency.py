import pytest
import torch
from torch.testing import assert_close

from fields.encodings.frequency import FrequencyEncoding
from tests.oracles import frequency_loop


@pytest.mark.parametrize(("frequencies", "width"), [(0, 3), (1, 9), (4, 27), (10, 63)])
def test_matches_the_slow_loop_in_the_published_order(frequencies, width, generator, device):
    x = torch.randn(5, 3, generator=generator, dtype=torch.float64).to(device)
    encode = FrequencyEncoding(frequencies).to(device)
    expected = torch.tensor([frequency_loop(row.tolist(), frequencies) for row in x], dtype=torch.float64)
    assert encode.width == width
    assert_close(encode(x).cpu(), expected)


def test_no_frequencies_pass_the_input_unchanged(generator):
    x = torch.randn(7, 2, 3, generator=generator)
    assert torch.equal(FrequencyEncoding(0)(x), x)


def test_wave_k_repeats_every_2_pi_over_2_to_the_k(generator):
    x = torch.randn(6, 3, generator=generator, dtype=torch.float64)
    encode = FrequencyEncoding(5)
    for k in range(5):
        there = slice(3 + 6 * k, 9 + 6 * k)
        assert_close(encode(x)[:, there], encode(x + 2 * torch.pi / 2**k)[:, there])


def test_gradient(generator):
    x = torch.randn(3, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(FrequencyEncoding(3), x)


def test_holds_no_state_so_that_published_weights_load():
    assert not FrequencyEncoding(10).state_dict()
