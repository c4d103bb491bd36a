"""What a radiance field is: density and colour at points (NeRF, arXiv:2003.08934, section 3).

Points, not rays, go in, so that any callable of this shape is a field: a trained network, a
closed form in a test, a sum of two fields.
"""

from typing import NamedTuple, Protocol

from jaxtyping import Float
from torch import Tensor


class FieldOutput(NamedTuple):
    """Values at points: `density` in 1 / scene unit, never negative; `rgb` in [0, 1]."""

    density: Float[Tensor, "*n"]
    rgb: Float[Tensor, "*n 3"]


class Field(Protocol):
    """A field over points in the model frame.

    `directions` are the unit viewing directions, from the camera outwards. Their leading shape
    broadcasts against that of the points, so (rays, 1, 3) serves (rays, samples, 3) and is
    encoded once per ray.
    """

    def __call__(self, points: Float[Tensor, "*n 3"], directions: Float[Tensor, "*#n 3"]) -> FieldOutput: ...

    def density(self, points: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n"]:
        """Density alone, where that is cheaper than both."""
        ...
