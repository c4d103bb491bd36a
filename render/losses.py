"""Losses between pictures, means over every pixel and channel."""

import torch
from jaxtyping import Float
from torch import Tensor


def mse(prediction: Float[Tensor, "*n"], target: Float[Tensor, "*n"]) -> Float[Tensor, ""]:
    """Mean squared error (NeRF, arXiv:2003.08934, Eq. 6)."""
    return (prediction - target).square().mean()


def huber(
    prediction: Float[Tensor, "*n"],
    target: Float[Tensor, "*n"],
    delta: float = 0.1,
    weight: Float[Tensor, "*#n"] | float = 1.0,
) -> Float[Tensor, ""]:
    """Smooth L1: d^2 / (2 delta) for errors below delta, |d| - delta / 2 above.

    Slope 1 for outliers whatever delta is, as in instant-ngp (arXiv:2201.05989). The mean is over all
    values; `weight` scales each one's share of it.
    """
    error = (prediction - target).abs()
    return (weight * torch.where(error < delta, error.square() / (2 * delta), error - delta / 2)).mean()
