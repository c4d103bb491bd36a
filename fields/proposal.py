"""A small density field that says where to read a larger one (mip-NeRF 360, arXiv:2111.12077, section 3).

As nerfacto's (arXiv:2302.04264): a coarse hash grid and one small network, no colour.

    density = exp(network(hash grid(point in the unit cube)) - density_shift) / side
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fields.contraction import into_unit_cube
from fields.encodings.hash_grid import HashGrid, HashGridSpec
from fields.mlp import MLP
from fields.ngp import TruncatedExponential, inside_cube


class ProposalField(nn.Module):
    """Density in the box [box_minimum, box_minimum + box_side]^3 of the model frame, 0 outside of it.

    contracted: everywhere, as in `fields.ngp.NGPField`.
    width: of the network's one hidden layer.
    precision: of the network, "float32" or "bfloat16".
    """

    def __init__(
        self,
        spec: HashGridSpec,
        box_minimum: tuple[float, float, float],
        box_side: float,
        *,
        width: int = 64,
        density_shift: float = 1.0,
        contracted: bool = False,
        backend: str = "reference",
        precision: str = "float32",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.box_side, self.contracted, self.density_shift = box_side, contracted, density_shift
        self.register_buffer("box_minimum", torch.tensor(box_minimum), persistent=False)
        self.grid = HashGrid(spec, backend=backend, generator=generator)
        self.network = MLP(spec.outputs, 1, width, backend=backend, precision=precision, generator=generator)

    def forward(self, points: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n"]:
        """Density (1 / model unit) at points of the model frame."""
        unit, side = into_unit_cube(points, self.box_minimum, self.box_side, self.contracted)
        raw = self.network(self.grid(unit))[..., 0]
        density = TruncatedExponential.apply(raw - self.density_shift) / side
        return density if self.contracted else torch.where(inside_cube(unit), density, 0.0)
