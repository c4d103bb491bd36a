"""Random numbers from a counter: the same in torch, in C, and for any number of threads.

A number is a pure function of (seed, step, stream, index), so a training step can be drawn in any
order, on any backend, and resumed from `seed` and `step` alone. All arithmetic is modulo 2^64:

    mix(z)                            the finaliser of splitmix64 (Steele, Lea, Flood 2014, Fig. 13)
    key(seed, step, stream)         = mix(mix(seed + GOLDEN) ^ (step * STEP + stream * GOLDEN))
    bits(seed, step, stream, index) = mix(key + (index + 1) * GOLDEN)
    uniform                         = (bits >>> 40) / 2^24, exact in float32
"""

import torch
from jaxtyping import Float32, Int64
from torch import Tensor

GOLDEN = 0x9E3779B97F4A7C15  # 2^64 / golden ratio, odd: splitmix64's increment
STEP = 0xD1342543DE82EF95  # another odd constant, so that steps and streams do not collide
FIRST_FACTOR = 0xBF58476D1CE4E5B9
SECOND_FACTOR = 0x94D049BB133111EB


def _signed(value: int) -> int:
    """The int64 with the 64 low bits of `value`: torch multiplies int64, which wraps as uint64 does."""
    return ((value + 2**63) % 2**64) - 2**63


def _shift_right(z: Int64[Tensor, "*n"], places: int) -> Int64[Tensor, "*n"]:
    """Logical shift; `>>` on int64 would drag the sign bit along."""
    return (z >> places) & (2 ** (64 - places) - 1)


def mix(z: Int64[Tensor, "*n"]) -> Int64[Tensor, "*n"]:
    """Scramble 64-bit words, one to one: every output bit depends on every input bit."""
    z = (z ^ _shift_right(z, 30)) * _signed(FIRST_FACTOR)
    z = (z ^ _shift_right(z, 27)) * _signed(SECOND_FACTOR)
    return z ^ _shift_right(z, 31)


def key(seed: int, step: int, stream: int) -> int:
    """The int64 that stands for one stream of one step; add (index + 1) * GOLDEN and mix to use it."""
    start = int(mix(torch.tensor(_signed(seed + GOLDEN))))
    return int(mix(torch.tensor(_signed(start ^ _signed(step * STEP + stream * GOLDEN)))))


def bits(seed: int, step: int, stream: int, index: Int64[Tensor, "*n"]) -> Int64[Tensor, "*n"]:
    """64 random bits for each index, as int64."""
    return mix((index + 1) * _signed(GOLDEN) + key(seed, step, stream))


def uniform(seed: int, step: int, stream: int, index: Int64[Tensor, "*n"]) -> Float32[Tensor, "*n"]:
    """Uniform numbers in [0, 1): multiples of 2^-24, on the device of `index`."""
    return _shift_right(bits(seed, step, stream, index), 40).to(torch.float32) * 2.0**-24
