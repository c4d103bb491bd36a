"""Rays: where they start and where they go."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Rays:
    """A batch of rays of any shape; the point at `distance` t is origin + t * direction.

    origins     (*rays, 3)  scene units
    directions  (*rays, 3)  unit length, so that t is a distance in scene units
    """

    origins: Float[Tensor, "*rays 3"]
    directions: Float[Tensor, "*rays 3"]

    def __post_init__(self) -> None:
        if self.origins.shape != self.directions.shape or self.origins.shape[-1:] != (3,):
            raise ValueError(
                f"origins {tuple(self.origins.shape)} and directions {tuple(self.directions.shape)} "
                "must have one shape that ends in 3"
            )

    @property
    def shape(self) -> torch.Size:
        """Shape of the batch, without the last axis of 3."""
        return self.origins.shape[:-1]

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("this is one ray, not a batch of them")
        return len(self.origins)

    def __getitem__(self, index: Any) -> "Rays":
        if not self.shape:
            raise IndexError("this is one ray, not a batch of them")
        return Rays(self.origins[index], self.directions[index])

    def reshape(self, *shape: int) -> "Rays":
        """The same rays in another batch shape: `rays.reshape(-1)`."""
        return Rays(self.origins.reshape(*shape, 3), self.directions.reshape(*shape, 3))

    def at(self, distance: Float[Tensor, "*rays"]) -> Float[Tensor, "*rays 3"]:
        """The points at `distance` along the rays."""
        return self.origins + distance[..., None] * self.directions

    def detach(self) -> "Rays":
        """The same rays as constants."""
        return Rays(self.origins.detach(), self.directions.detach())

    def to(self, device: torch.device | str) -> "Rays":
        """The same rays on another device."""
        return Rays(self.origins.to(device), self.directions.to(device))
