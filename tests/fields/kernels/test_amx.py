"""The AMX path with its four instructions emulated: all that stands around them, without the processor."""

import ctypes
import subprocess
from pathlib import Path

import pytest
import torch

from fields.kernels.library import INSTRUCTION_SETS, Network, library, supported_instruction_sets

SOURCES = Path(__file__).parents[3] / "fields" / "kernels" / "csrc"
FLAGS = (
    "-O2 -std=c++17 -shared -fPIC -fvisibility=hidden -fno-math-errno -fno-trapping-math -ffp-contract=fast "
    "-pthread -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -mf16c -mavx512bf16 -DNR_EMULATE_AMX"
)
SHAPES = [(32, 64, 1, 16), (32, 64, 2, 16), (48, 128, 2, 64), (16, 32, 3, 32)]


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    if "avx512bf16" not in supported_instruction_sets():
        pytest.skip("the processor lacks avx512bf16")
    path = tmp_path_factory.mktemp("amx") / "emulated.so"
    sources = [str(SOURCES / name) for name in ("mlp.cpp", "pool.cpp")]
    subprocess.run(["g++", *FLAGS.split(), *sources, "-o", str(path)], check=True)
    return ctypes.CDLL(str(path))


def pointer(array: torch.Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.data_ptr())


def forward_and_backward(handle: ctypes.CDLL, shape: tuple[int, ...], arrays: list[torch.Tensor]) -> list:
    """Outputs, gradient of the weights, gradient of the inputs, from raw calls."""
    weights, x, grad = arrays
    network, n = ctypes.byref(Network(*shape)), ctypes.c_int64(len(x))
    y, grad_weights, grad_x = torch.empty_like(grad), torch.empty_like(weights), torch.empty_like(x)
    given = (network, pointer(weights), pointer(x))
    assert handle.nr_mlp_forward(*given, n, pointer(y), 1, 2) == 0
    assert handle.nr_mlp_backward(*given, pointer(grad), n, pointer(grad_weights), pointer(grad_x), 1, 2) == 0
    return [y, grad_weights, grad_x]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_tiles_give_the_products_of_vectors(emulated, shape, generator):
    """Same bfloat16 operands, float32 sums in another order: 1e-6 of the whole."""
    inputs, width, hidden, outputs = shape
    count = width * inputs + (hidden - 1) * width * width + outputs * width
    arrays = [
        torch.randn(count, generator=generator) * 0.3,
        torch.randn(300, inputs, generator=generator),
        torch.randn(300, outputs, generator=generator),
    ]
    tiles = forward_and_backward(emulated, shape, arrays)
    vectors = forward_and_backward(library("avx512bf16").handle, shape, arrays)
    for one, other in zip(tiles, vectors, strict=True):
        assert (one - other).norm() < 1e-6 * other.norm()


def test_amx_stands_last_among_the_instruction_sets():
    """The best set is the last that the processor supports; AMX implies all others."""
    *others, last = INSTRUCTION_SETS.items()
    assert last[0] == "amx" and all(bits & last[1] == bits for _, bits in others)
