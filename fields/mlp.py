"""Small ReLU networks without biases, as modules over the operator in `fields/kernels/mlp.py`."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from fields.kernels.mlp import MLPSpec, layer_matrices, mlp, padded


class MLP(nn.Module):
    """Hidden layers of `width` with ReLU, then a linear one; owns flat `weights` in tiny-cuda-nn's layout.

    The layout wants multiples of 16: inputs are padded with zeros and surplus outputs dropped, so
    that the weights which pad take no part and no gradient.

    backend, precision: as the operator's, held here.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        width: int = 64,
        hidden_layers: int = 1,
        *,
        backend: str = "reference",
        precision: str = "float32",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.inputs, self.outputs, self.backend, self.precision = inputs, outputs, backend, precision
        self.spec = MLPSpec(padded(inputs), width, hidden_layers, padded(outputs))
        self.weights = nn.Parameter(xavier_uniform(self.spec, generator))

    def forward(self, x: Float[Tensor, "*n inputs"]) -> Float[Tensor, "*n outputs"]:
        """Raises: ValueError if x is not `inputs` wide."""
        if x.shape[-1] != self.inputs:
            raise ValueError(f"x has {x.shape[-1]} columns; this network takes {self.inputs}")
        x = F.pad(x, (0, self.spec.inputs - self.inputs))
        return mlp(x, self.weights, self.spec, self.precision, self.backend)[..., : self.outputs]

    def extra_repr(self) -> str:
        return f"{self.inputs} to {self.outputs}, {self.spec}, {self.precision}, backend={self.backend!r}"


def xavier_uniform(spec: MLPSpec, generator: torch.Generator | None = None) -> Float[Tensor, " p"]:
    """Flat weights, each layer uniform within sqrt(6 / (inputs + outputs)) (Glorot and Bengio, 2010)."""
    weights = torch.empty(spec.parameter_count)
    for matrix in layer_matrices(weights, spec):
        bound = math.sqrt(6 / sum(matrix.shape))
        matrix.uniform_(-bound, bound, generator=generator)
    return weights
