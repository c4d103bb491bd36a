"""What networks that learn have in common: a rate, a mean of past weights, a state, a file in the end."""

import math
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from render.methods.base import check_state


@runtime_checkable
class Rates(Protocol):
    """Hyper-parameters of a learning rate.

    learning_rate: the highest, after `warm_up` steps; it falls along a cosine to `final_learning_rate` of it.
    """

    learning_rate: float
    final_learning_rate: float
    warm_up: int


def learning_rate(rates: Rates, steps: int, schedule: float | int) -> float:
    """Up along a line for some steps, and down along half a cosine to the end.

    steps: those that are done; schedule: the share of the training that is, in [0, 1].
    """
    risen = min((steps + 1) / rates.warm_up, 1.0)
    fallen = 0.5 * (1 + math.cos(math.pi * schedule))
    low = rates.final_learning_rate
    return rates.learning_rate * risen * (low + (1 - low) * fallen)


@torch.no_grad()
def keep_mean(average: nn.Module, network: nn.Module, averaged: float | int, steps: int) -> None:
    """Carry averaged weights on, over as many steps as there were at first.

    averaged: what the mean carries over from step to step; steps: those that are done.
    """
    carried = min(averaged, (1 + steps) / (10 + steps))
    now = network.state_dict()
    for name, mean in average.state_dict().items():
        if mean.is_floating_point():
            mean.lerp_(now[name], 1 - carried)
        else:
            mean.copy_(now[name])


def reduced(precision: str, device: torch.device) -> AbstractContextManager:
    """Within, networks compute in this precision; their weights and what is added up stay float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def begin_moments(optimizer: torch.optim.Optimizer, device: torch.device | str = "cpu") -> None:
    """Adam's moments from the start, so that every state of a training has the same names."""
    for group in optimizer.param_groups:
        for p in group["params"]:
            moments = {"exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}
            optimizer.state[p] = {"step": torch.zeros((), device=device), **moments}


def state_of(
    average: nn.Module, network: nn.Module, optimizer: torch.optim.Optimizer, steps: Tensor
) -> dict[str, Tensor]:
    """The averaged network under its own names; what else a resumed training needs."""
    learning = {f"optimizer.network.{name}": value for name, value in network.state_dict().items()}
    moments = {
        f"optimizer.{name}.{moment}": value
        for name, p in network.named_parameters()
        for moment, value in optimizer.state[p].items()
    }
    return {**average.state_dict(), **learning, **moments, "optimizer.steps": steps}


def take_state(own: dict[str, Tensor], state: dict[str, Tensor]) -> None:
    """Copy a state into one's own. Raises ValueError for names or shapes that do not fit."""
    check_state(own, state)
    for name, value in own.items():
        value.copy_(state[name])


def write_weights(network: nn.Module, path: Path, metadata: dict[str, str] | None = None) -> None:
    """A network as a .safetensors file: matrices as float16, all else as it is."""
    from safetensors.torch import save

    tensors: dict[str, Any] = {
        name: (value.half() if value.ndim > 1 else value).cpu().contiguous()
        for name, value in network.state_dict().items()
    }
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(save(tensors, metadata))
    temporary.replace(path)
