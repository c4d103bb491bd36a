"""A box of any direction: the part of a scene that somebody wants to see, or to take away."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from scenes.scene import Vector
from scenes.transforms import similarity_scale, transform_points

UPRIGHT = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


@dataclass(frozen=True)
class Crop:
    """What lies outside is not there.

    centre  in the frame of the points
    size    length along each of its axes, scene units, above 0
    axes    its three directions, orthonormal
    """

    centre: Vector
    size: Vector
    axes: tuple[Vector, Vector, Vector] = UPRIGHT

    def __post_init__(self) -> None:
        if not all(0 < side < float("inf") for side in self.size):
            raise ValueError(f"crop: its size is {tuple(self.size)}; every side must be above 0")
        axes = torch.tensor(self.axes, dtype=torch.float64)
        if not bool((axes @ axes.T - torch.eye(3, dtype=torch.float64)).abs().max() < 1e-4):
            raise ValueError(f"crop: its axes {self.axes} must be of length 1 and square to each other")

    @classmethod
    def between(cls, minimum: Sequence[float | int], maximum: Sequence[float | int]) -> "Crop":
        """The upright box with these corners. Raises: ValueError unless the first lies below the second."""
        corners = torch.tensor([list(minimum), list(maximum)], dtype=torch.float64)
        return cls(tuple(corners.mean(dim=0).tolist()), tuple(corners.diff(dim=0)[0].tolist()))

    def matrix(self) -> Float[Tensor, "3 4"]:
        """The map, float64, that takes the box to [-1, 1]^3."""
        axes, size = (torch.tensor(value, dtype=torch.float64) for value in (self.axes, self.size))
        turn = axes * (2 / size)[:, None]
        return torch.cat((turn, -(turn @ torch.tensor(self.centre, dtype=torch.float64))[:, None]), dim=1)

    def contains(self, points: Float[Tensor, "*n 3"]) -> Bool[Tensor, "*n"]:
        """Whether points lie in the box."""
        matrix = self.matrix().to(points)
        return ((points @ matrix[:, :3].T + matrix[:, 3]).abs() <= 1).all(dim=-1)

    def moved(self, similarity: Float[Tensor, "4 4"]) -> "Crop":
        """The same box in another frame (`scenes/transforms.py`)."""
        matrix = similarity.double().cpu()
        scale = float(similarity_scale(matrix))
        centre = transform_points(matrix, torch.tensor([self.centre], dtype=torch.float64))[0]
        axes = torch.tensor(self.axes, dtype=torch.float64) @ matrix[:3, :3].T / scale
        x, y, z = (tuple(axis) for axis in axes.tolist())
        return Crop(tuple(centre.tolist()), tuple(scale * side for side in self.size), (x, y, z))
