"""Checks before a pointer leaves Python, in one place so that every message has the same form."""

import torch
from torch import Tensor

from fields.kernels.library import BACKENDS


def check_backend(backend: str) -> None:
    """`backend` is one that an operator takes; "auto" is settled before (`library.resolve_backend`)."""
    if backend not in BACKENDS:
        raise ValueError(f"backend {backend!r} is unknown; use {' or '.join(BACKENDS)}")


def check_array(
    name: str, array: Tensor, shape: tuple[int | None, ...], dtype: torch.dtype = torch.float32
) -> None:
    """`array` is on the CPU, contiguous, of this dtype and shape (None: any length)."""
    if array.device.type != "cpu":
        raise ValueError(
            f"{name} is on {array.device}; the kernels take CPU tensors, use backend='reference'"
        )
    if array.dtype != dtype:
        raise ValueError(
            f"{name} is {array.dtype}; the kernels take {dtype}, convert it or use backend='reference'"
        )
    if array.ndim != len(shape) or any(w not in (None, s) for s, w in zip(array.shape, shape, strict=True)):
        wanted = ", ".join("any" if w is None else str(w) for w in shape)
        raise ValueError(f"{name} has shape {tuple(array.shape)}; it must be ({wanted})")
    if not array.is_contiguous():
        raise ValueError(f"{name} is not contiguous (strides {array.stride()}); call .contiguous() on it")


def check_range(name: str, value: float, low: float, high: float) -> None:
    """low <= value <= high, and a number."""
    if not low <= value <= high:
        raise ValueError(f"{name} is {value}; it must be from {low} to {high}")


def no_second_order(operator: str):
    """Backward of a backward operator: says that there is none, instead of a wrong zero."""

    def backward(ctx, *grads):
        raise NotImplementedError(
            f"{operator}: the kernels have no second derivatives; use backend='reference' for this term"
        )

    return backward
