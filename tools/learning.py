"""What networks that learn have in common: a rate, a mean of past weights, a state, a file in the end."""

import copy
import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from render.methods.base import check_state
from render.methods.nerf import resolve_precision
from tools.depth.models import read_tensors, weights_file
from tools.depth.weights import take_weights


@runtime_checkable
class Rates(Protocol):
    """Hyper-parameters that all of them have.

    learning_rate: the highest, after `warm_up` steps; it falls along a cosine to `final_learning_rate` of it.
    weight_decay: of Adam. clip: the longest gradient.
    averaged: what the weights that are kept carry over from step to step; they are a mean of past ones.
    precision: of the network; "auto" is bfloat16 where the processor multiplies it natively.
    """

    learning_rate: float
    final_learning_rate: float
    warm_up: int
    weight_decay: float
    clip: float
    averaged: float
    precision: Any


# What they may be: whether a number is right, and how that is told.
RANGES: Mapping[str, tuple[Callable[[float], bool], str]] = {
    "batch": (lambda x: x >= 1, "at least 1"),
    "warm_up": (lambda x: x >= 1, "at least 1"),
    "learning_rate": (lambda x: 0 < x <= 1, "above 0 and at most 1"),
    "final_learning_rate": (lambda x: 0 <= x <= 1, "at least 0 and at most 1"),
    "weight_decay": (lambda x: 0 <= x < 1, "at least 0 and below 1"),
    "clip": (lambda x: x > 0, "above 0"),
    "averaged": (lambda x: 0 <= x < 1, "at least 0 and below 1"),
}


def check_ranges(recipe: Any, ranges: Mapping[str, tuple[Callable[[float], bool], str]]) -> None:
    """Raises ValueError that names the first hyper-parameter which is not what it may be."""
    for name, (holds, told) in ranges.items():
        if not holds(value := getattr(recipe, name)):
            raise ValueError(f"{name}={value}: must be {told}")


def check_names(sets: Iterable[Any]) -> None:
    """Raises ValueError if two data sets of a training have one name: its records tell them apart by it."""
    names = [each.name for each in sets]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"two data sets are called {twice[0]}; rename a folder, or leave one out")


class Learner:
    """A network that learns, the mean of its past weights, and Adam's moments.

    A model of `render.trainer.Training` but for `step`. What is kept and written is the mean.
    """

    optimizer_type: ClassVar[type[torch.optim.Optimizer]] = torch.optim.AdamW
    betas: ClassVar[tuple[float, float]] = (0.9, 0.999)

    def __init__(self, recipe: Any, network: nn.Module, device: torch.device) -> None:
        self.recipe, self.device = recipe, device
        self.precision = resolve_precision(recipe.precision, device)
        # Convolutions of few channels are quicker so on a CPU.
        self.network = network.to(device, memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.network).eval().requires_grad_(False)
        settings = {"lr": recipe.learning_rate, "weight_decay": recipe.weight_decay, "betas": self.betas}
        self.optimizer = self.optimizer_type(self.network.parameters(), fused=True, **settings)
        begin_moments(self.optimizer, device)
        self.steps = torch.zeros((), dtype=torch.int64)

    def reduced(self) -> AbstractContextManager:
        """Within, the network computes in this training's precision; weights and sums stay float32."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16")

    def update(self, loss: Tensor, schedule: float) -> bool:
        """One step down a loss's gradient. False if that is not finite: no weight is changed then.

        Batch norms have met the batch all the same, and the next step meets it again unless the caller draws
        others, as `render.trainer` does for a loss that is not finite.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(schedule)
        self.optimizer.zero_grad()
        loss.backward()
        length = nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip)
        if not math.isfinite(length):
            return False
        self.optimizer.step()
        self.steps += 1
        self.keep_mean()
        return True

    def learning_rate(self, schedule: float | int) -> float:
        """Up along a line for some steps, and down along half a cosine to the end.

        schedule: the share of the training that is done, in [0, 1].
        """
        rates: Rates = self.recipe
        risen = min((int(self.steps) + 1) / rates.warm_up, 1.0)
        fallen = 0.5 * (1 + math.cos(math.pi * schedule))
        low = rates.final_learning_rate
        return rates.learning_rate * risen * (low + (1 - low) * fallen)

    @torch.no_grad()
    def keep_mean(self) -> None:
        """Carry averaged weights on, over as many steps as there were at first."""
        steps, now = int(self.steps), self.network.state_dict()
        carried = min(self.recipe.averaged, (1 + steps) / (10 + steps))
        for name, mean in self.average.state_dict().items():
            if mean.is_floating_point():
                mean.lerp_(now[name], 1 - carried)
            else:
                mean.copy_(now[name])

    def state(self) -> dict[str, Tensor]:
        """The averaged network under its own names, and what else a resumed training needs."""
        learning = {f"optimizer.network.{name}": value for name, value in self.network.state_dict().items()}
        moments = {
            f"optimizer.{name}.{moment}": value
            for name, p in self.network.named_parameters()
            for moment, value in self.optimizer.state[p].items()
        }
        return {**self.average.state_dict(), **learning, **moments, "optimizer.steps": self.steps}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take over what `state` gave. Raises ValueError for names or shapes that do not fit."""
        own = self.state()
        check_state(own, state)
        for name, value in own.items():
            value.copy_(state[name])

    def start_from(self, path: Path) -> None:
        """Begin with the weights of a file, or of a run's folder, all of them.

        Raises: FileNotFoundError; WeightsError if it is of another network.
        """
        path = weights_file(path, (self.recipe.file,))
        take_weights(self.network, read_tensors(path), (), (), str(path))
        self.average.load_state_dict(self.network.state_dict())

    def write(self, path: Path) -> None:
        """The averaged weights as a .safetensors file: matrices as float16, all else as it is."""
        from safetensors.torch import save

        tensors: dict[str, Any] = {
            name: (value.half() if value.ndim > 1 else value).cpu().contiguous()
            for name, value in self.average.state_dict().items()
        }
        temporary = path.with_name(f".{path.name}.tmp")
        temporary.write_bytes(save(tensors, self.note()))
        temporary.replace(path)

    def note(self) -> dict[str, str] | None:
        """What the file says beside the weights."""
        return None

    def description(self) -> dict[str, Any]:
        """What a run's record says of this model."""
        parameters = sum(p.numel() for p in self.network.parameters())
        return {"backend": "reference", "precision": self.precision, "parameters": parameters}


def begin_moments(optimizer: torch.optim.Optimizer, device: torch.device | str = "cpu") -> None:
    """Adam's moments from the start, so that every state of a training has the same names."""
    for group in optimizer.param_groups:
        for p in group["params"]:
            moments = {"exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}
            optimizer.state[p] = {"step": torch.zeros((), device=device), **moments}
