"""Frequency encoding (NeRF, arXiv:2003.08934, Eq. 4)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class FrequencyEncoding(nn.Module):
    """x, sin(x), cos(x), sin(2x), cos(2x), ... sin(2^(L-1) x), cos(2^(L-1) x), each over all inputs.

    The order and the frequencies are those of NeRF's published code, which keeps the input itself
    and leaves out the factor pi of the paper. With L = 0 the input passes unchanged.
    """

    powers: Float[Tensor, "l"]

    def __init__(self, frequencies: int, inputs: int = 3) -> None:
        super().__init__()
        if frequencies < 0:
            raise ValueError(f"frequencies must not be negative, got {frequencies}")
        self.width = inputs * (1 + 2 * frequencies)
        self.register_buffer("powers", 2.0 ** torch.arange(frequencies), persistent=False)

    def forward(self, x: Float[Tensor, "*n inputs"]) -> Float[Tensor, "*n width"]:
        angles = self.powers.to(x.dtype)[:, None, None] * x[..., None, None, :]
        waves = torch.cat((angles.sin(), angles.cos()), dim=-2)
        return torch.cat((x, waves.flatten(-3)), dim=-1)
