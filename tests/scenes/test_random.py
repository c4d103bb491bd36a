"""The counter's numbers are those of the definition, on every machine and in any order."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from scenes import random

WORD = 2**64


def mix_in_integers(z: int) -> int:
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % WORD
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % WORD
    return z ^ (z >> 31)


def bits_in_integers(seed: int, step: int, stream: int, index: int) -> int:
    golden = 0x9E3779B97F4A7C15
    start = mix_in_integers((seed + golden) % WORD)
    key = mix_in_integers(start ^ ((step * 0xD1342543DE82EF95 + stream * golden) % WORD))
    return mix_in_integers((key + (index + 1) * golden) % WORD)


@settings(deadline=None)
@given(
    seed=st.integers(0, WORD - 1),
    step=st.integers(0, 2**40),
    stream=st.integers(0, 63),
    index=st.lists(st.integers(0, 2**62), min_size=1, max_size=8),
)
def test_bits_are_those_of_unsigned_integer_arithmetic(seed, step, stream, index):
    """Signed wraparound and the logical shift give what C's uint64_t gives, bit for bit."""
    found = random.bits(seed, step, stream, torch.tensor(index))
    assert [b % WORD for b in found.tolist()] == [bits_in_integers(seed, step, stream, i) for i in index]
    numbers = random.uniform(seed, step, stream, torch.tensor(index))
    assert numbers.tolist() == [(bits_in_integers(seed, step, stream, i) >> 40) / 2**24 for i in index]


def test_mix_is_splitmix64():
    """The first outputs of splitmix64 from state 0, as its authors publish them."""
    state = torch.arange(1, 4) * random._signed(random.GOLDEN)
    published = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert [z % WORD for z in random.mix(state).tolist()] == published


def test_numbers_do_not_depend_on_how_the_indices_are_cut(device):
    index = torch.arange(1000, device=device)
    parts = [random.uniform(5, 7, 1, part) for part in index.split(33)]
    assert torch.equal(torch.cat(parts), random.uniform(5, 7, 1, index))


def test_uniform_fills_its_range_evenly_in_every_stream(device):
    """Mean, variance, range and independence of neighbours, streams and steps."""
    index = torch.arange(200_000, device=device)
    draws = torch.stack(
        [random.uniform(3, step, stream, index) for step in (0, 1, 2) for stream in (0, 1)]
    ).double()
    assert bool((draws >= 0).all()) and bool((draws < 1).all())
    expected = torch.full((6,), 0.5, dtype=torch.float64, device=device)
    assert_close(draws.mean(dim=1), expected, atol=0.003, rtol=0)
    assert_close(draws.var(dim=1), expected / 6, atol=0.001, rtol=0)
    together = torch.cat((draws, draws.roll(1, dims=1)))
    correlation = torch.corrcoef(together) - torch.eye(12, dtype=torch.float64, device=device)
    assert float(correlation.abs().max()) < 0.012
