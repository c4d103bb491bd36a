"""What methods of torch modules share: one Adam over all parameters, its state, and what lies behind rays."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from render.methods.base import RayModel, check_state


class AdamModel(RayModel, nn.Module):
    """A subclass has `config.background` (scene or random) and `has_alpha`, and calls `begin` when built."""

    has_alpha: bool
    config: Any
    optimizer: torch.optim.Adam
    steps: Tensor

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

    def begin(self, **settings: Any) -> None:
        """Adam as it stands before the first step; settings: those of torch.optim.Adam."""
        self.optimizer = torch.optim.Adam(self.parameters(), fused=True, **settings)
        for p in self.parameters():  # from the start, so that every state has the same names
            moments = {"exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}
            self.optimizer.state[p] = {"step": torch.zeros((), device=self.device), **moments}
        self.steps = torch.zeros((), dtype=torch.int64)

    def training_background(self, count: int, generator: torch.Generator) -> Float[Tensor, "#count 3"]:
        """What stands behind the rays of a step."""
        if self.config.background == "random" and self.has_alpha:
            return torch.rand(count, 3, generator=generator).to(self.device)
        return self.background_colour(None)[None]

    def state(self) -> dict[str, Tensor]:
        """Parameters under the modules' own names; moments and step count."""
        moments = {
            f"optimizer.{name}.{moment}": value
            for name, p in self.named_parameters()
            for moment, value in self.optimizer.state[p].items()
        }
        return {**self.state_dict(), **moments, "optimizer.steps": self.steps}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take over what `state` gave. Raises ValueError for names or shapes that do not fit."""
        own = self.state()
        check_state(own, state)
        for name, value in own.items():
            value.copy_(state[name])
