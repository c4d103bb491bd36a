"""What "backend equals reference" means: tolerances, and how values and gradients are brought together."""

from collections.abc import Callable

import torch
from torch import Tensor

# Largest allowed difference: (relative to the value, relative to the largest magnitude in the array, and
# absolute, for arrays so short that all their sums may cancel).
# Sums are taken in another order and products are contracted, so float32 differs in the last bits. Hash
# grid: a position of 1024 cells carries 2^-14 of a cell. bfloat16: where a sum lies on the border of two
# bfloat16 numbers, one hidden activation may round the other way (2^-8 of it).
TOLERANCES = {
    ("hash_grid", "float32"): (1e-4, 1e-4, 1e-5),
    ("mlp", "float32"): (1e-5, 1e-5, 1e-6),
    ("mlp", "bfloat16"): (4e-3, 4e-3, 1e-3),
    ("spherical_harmonics", "float32"): (1e-6, 1e-6, 1e-6),
    ("composite", "float32"): (2e-5, 2e-5, 1e-8),
    # The last interval is a thousand units thick: it multiplies the last bit of its density.
    ("multiplane", "float32"): (1e-5, 5e-5, 1e-6),
    ("march", "float32"): (1e-6, 1e-6, 0.0),
    ("adam", "float32"): (1e-5, 1e-6, 0.0),
}


def values_and_gradients(function: Callable, *inputs: Tensor, constant: tuple[int, ...] = ()) -> list[Tensor]:
    """Outputs of `function`, then the gradients of a random weighting of them to its float inputs.

    constant: inputs that ask for no gradient.
    """
    leaves = [
        x.detach().requires_grad_(x.is_floating_point() and i not in constant) for i, x in enumerate(inputs)
    ]
    outputs = function(*leaves)
    outputs = (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)
    generator = torch.Generator().manual_seed(1)
    weights = [torch.randn(o.shape, generator=generator) for o in outputs]
    wanted = [x for x in leaves if x.requires_grad]
    return [*(o.detach() for o in outputs), *torch.autograd.grad(outputs, wanted, weights)]


def assert_same(
    actual: list[Tensor], expected: list[Tensor], operator: str, precision: str = "float32"
) -> None:
    """All arrays agree within the operator's tolerance."""
    relative, of_largest, absolute = TOLERANCES[operator, precision]
    assert len(actual) == len(expected)
    for a, e in zip(actual, expected, strict=True):
        allowed = absolute + of_largest * float(e.abs().max() if e.numel() else 0)
        if not torch.isclose(a, e, relative, allowed).all():  # the quick look first
            torch.testing.assert_close(a, e, rtol=relative, atol=allowed)


def assert_identical(actual: list[Tensor], expected: list[Tensor]) -> None:
    """All arrays agree to the bit."""
    assert len(actual) == len(expected)
    for a, e in zip(actual, expected, strict=True):
        assert a.dtype == e.dtype
        integers = {torch.float32: torch.int32, torch.int64: torch.int64}[a.dtype]
        assert torch.equal(a.view(integers), e.view(integers))
