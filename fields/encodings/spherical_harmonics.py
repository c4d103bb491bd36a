"""Spherical-harmonics encoding of directions, for small fields whose colour changes with the view."""

from jaxtyping import Float
from torch import Tensor, nn

from fields.kernels.spherical_harmonics import COUNT, spherical_harmonics


class SphericalHarmonics(nn.Module):
    """The real harmonics of degree 0 to 3 of unit directions, 16 values (instant-ngp calls this degree 4).

    Owns no parameters. `backend`: "reference" or "kernels", held here.
    """

    width = COUNT

    def __init__(self, *, backend: str = "reference") -> None:
        super().__init__()
        self.backend = backend

    def forward(self, directions: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 16"]:
        return spherical_harmonics(directions, self.backend)

    def extra_repr(self) -> str:
        return f"backend={self.backend!r}"
