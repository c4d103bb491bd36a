"""The instant-ngp radiance field (arXiv:2201.05989, section 5.4): hash grid, density network, colour network.

    unit     = (point - box_minimum) / box_side                 the grid covers the unit cube
    latent   = density network(hash grid(unit))                 16 values
    density  = exp(latent[0] - density_shift) / box_side        1 / model unit, 0 outside the box
    rgb      = sigmoid(colour network([latent, harmonics(direction)]))

A contracted field knows all of space: the box is the inner half of the grid's cube, all beyond is contracted
into the outer half (`fields/contraction.py`), and density is divided by how far out a point is, too, so that
the same raw value stands for the same opacity in proportion.

Parameters lie in tiny-cuda-nn's layout (`fields/kernels/tcnn.py` converts whole models).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from fields.base import FieldOutput
from fields.contraction import contract
from fields.encodings.hash_grid import HashGrid, HashGridSpec
from fields.kernels.hash_grid import HashGridLevels, hash_grid
from fields.kernels.mlp import MLPSpec, mlp, padded
from fields.kernels.spherical_harmonics import spherical_harmonics
from fields.mlp import xavier_uniform

LATENT, HARMONICS = 16, 16
LARGEST_RAW = 15.0  # exp(15) is opaque at any step, and its gradient is still finite


class TruncatedExponential(torch.autograd.Function):
    """exp(min(x, 15)), with the gradient exp(clamp(x, -15, 15)) (instant-ngp)."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(max=LARGEST_RAW).exp()

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return grad * x.clamp(-LARGEST_RAW, LARGEST_RAW).exp()


class RoundToHalf(torch.autograd.Function):
    """The nearest half-precision number; the gradient passes through."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return x.half().to(x.dtype)

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        return grad


@dataclass(frozen=True)
class NGPSpec:
    """Shape of the field. Widths are multiples of 16.

    density_shift: how far below 1 / box_side space begins, as a power of e. Space that few rays cross keeps
        a little of what it began with.
    """

    grid: HashGridSpec
    density_width: int = 64
    density_layers: int = 1  # hidden
    color_width: int = 64
    color_layers: int = 2
    density_shift: float = 1.0

    @property
    def density_network(self) -> MLPSpec:
        return MLPSpec(padded(self.grid.outputs), self.density_width, self.density_layers, LATENT)

    @property
    def color_network(self) -> MLPSpec:
        return MLPSpec(LATENT + HARMONICS, self.color_width, self.color_layers, padded(3))


class NGPField(nn.Module):
    """Density and colour in the box [box_minimum, box_minimum + box_side]^3 of the model frame.

    contracted: everywhere, with the box as the part of space that is not contracted.
    precision: "float32", or "bfloat16": networks compute in bfloat16 (`fields/kernels/mlp.py`) and the grid
    is read in half precision.
    active_levels: the levels of the grid beyond so many have no gradient, neither to the table nor to points.
    """

    def __init__(
        self,
        spec: NGPSpec,
        box_minimum: tuple[float, float, float],
        box_side: float,
        *,
        contracted: bool = False,
        backend: str = "reference",
        precision: str = "float32",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.spec, self.box_side, self.contracted = spec, box_side, contracted
        self.backend, self.precision = backend, precision
        self.active_levels = spec.grid.levels
        self.register_buffer("box_minimum", torch.tensor(box_minimum), persistent=False)
        self.grid = HashGrid(spec.grid, backend=backend, generator=generator)
        self.density_weights = nn.Parameter(xavier_uniform(spec.density_network, generator))
        self.color_weights = nn.Parameter(xavier_uniform(spec.color_network, generator))

    def forward(self, points: Float[Tensor, "*n 3"], directions: Float[Tensor, "*#n 3"]) -> FieldOutput:
        """Density (1 / model unit) and colour at points of the model frame, seen along unit directions."""
        latent, density = self._latent(points)
        harmonics = spherical_harmonics(directions, self.backend).expand(*latent.shape[:-1], HARMONICS)
        raw = mlp(
            torch.cat((latent, harmonics), dim=-1),
            self.color_weights,
            self.spec.color_network,
            self.precision,
            self.backend,
        )
        return FieldOutput(density, torch.sigmoid(raw[..., :3]))

    def density(self, points: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n"]:
        """Density alone (1 / model unit)."""
        return self._latent(points)[1]

    def _latent(self, points: Float[Tensor, "*n 3"]) -> tuple[Float[Tensor, "*n 16"], Float[Tensor, "*n"]]:
        unit, side = (points - self.box_minimum) / self.box_side, self.box_side
        if self.contracted:
            inner = 2 * unit - 1  # the box is [-1, 1]^3
            unit, side = contract(inner) / 4 + 0.5, side * inner.abs().amax(dim=-1).clamp(min=1)
        network = self.spec.density_network
        levels = HashGridLevels(self.grid.scale, self.grid.resolution, self.grid.offset)
        table = RoundToHalf.apply(self.grid.table) if self.precision == "bfloat16" else self.grid.table
        encoding = hash_grid(unit, table, levels, self.spec.grid.features, self.backend)
        if self.active_levels < self.spec.grid.levels:
            split = self.active_levels * self.spec.grid.features
            encoding = torch.cat((encoding[..., :split], encoding[..., split:].detach()), dim=-1)
        encoding = nn.functional.pad(encoding, (0, network.inputs - encoding.shape[-1]))
        latent = mlp(encoding, self.density_weights, network, self.precision, self.backend)
        density = TruncatedExponential.apply(latent[..., 0] - self.spec.density_shift) / side
        return latent, density if self.contracted else torch.where(inside_cube(unit), density, 0.0)


def inside_cube(unit: Float[Tensor, "*n 3"]) -> Bool[Tensor, "*n"]:
    """Whether points lie in [0, 1]^3."""
    return ((unit >= 0) & (unit <= 1)).all(dim=-1)
