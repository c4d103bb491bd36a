"""How the depth network of this program learns, from data sets that tell depth in several ways.

Each set gives as many pictures to a step. What is compared is inverse depth up to scale and shift, which all
of them tell (tools/depth/losses.py); how much each set counts is the mixing's to say (tools/depth/mixing.py).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from render.methods.nerf import Precision
from render.run import GENERATOR_LENT
from tools.depth.augmentation import MIRRORED, MULTIPLE, USUAL, shapes_like
from tools.depth.batches import Batches, Labels
from tools.depth.losses import (
    Kind,
    Maps,
    Masks,
    gradient_matching,
    half_mean_absolute,
    inverse_depth_target,
    mean_over_images,
    scale_and_shift_invariant,
)
from tools.depth.mixing import pareto_weights, task_gradients
from tools.depth.resize import NORMALISATIONS
from tools.depth.small import SIZES, Small
from tools.learning import RANGES, Learner, check_names, check_ranges

NORMALISATION = NORMALISATIONS["half"]


@dataclass(frozen=True)
class Recipe:
    """Hyper-parameters.

    model: of `tools.depth.small.SIZES`.
    loss: up to scale and shift; or l1, |d - d*| of inverse depth as the labels have it, scale and all.
    mixing: equal, the mean of the sets' losses; or pareto, weighted so that a step makes none worse.
    shared: what pareto looks at gradients of: the encoder's maps, which is cheap and bounds the truth, or all
        parameters, for a pass through the network a set.
    batch: pictures of a step, of all sets together. width, height: theirs, multiples of 32.
    varied_shapes: batches of other shapes too, upright, square and wide, of about as many pixels.
    augmentation: parts of pictures, mirrored and in other colours; or whole ones, mirrored only.
    edges: share of gradient matching beside the data term.
    anchor: share of |d - d*| with d* from 0 to 1 in each picture: whatever scale and shift labels have, what
        the network gives has one range. Without it the invariant losses let its scale drift.
    learning_rate: the highest, after `warm_up` steps; it falls along a cosine to `final_learning_rate` of it.
    weight_decay: of AdamW. clip: the longest gradient.
    averaged: what the weights that are kept carry over from step to step; they are a mean of past ones.
    precision: of the network; "auto" is bfloat16 where the processor multiplies it natively.
    """

    model: Literal["small", "tiny"] = "small"
    loss: Literal["ssimse", "ssimae", "ssitrim", "l1"] = "ssimae"
    mixing: Literal["equal", "pareto"] = "equal"
    shared: Literal["features", "parameters"] = "features"
    batch: int = 16
    width: int = 256
    height: int = 192
    varied_shapes: bool = True
    augmentation: Literal["full", "mirrored"] = "full"
    edges: float = 0.5
    anchor: float = 1.0
    learning_rate: float = 1e-3
    final_learning_rate: float = 0.01
    warm_up: int = 300
    weight_decay: float = 0.02
    clip: float = 1.0
    averaged: float = 0.998
    precision: Precision = "auto"

    def __post_init__(self) -> None:
        for name in ("width", "height"):
            if getattr(self, name) < MULTIPLE or getattr(self, name) % MULTIPLE:
                raise ValueError(f"{name}={getattr(self, name)}: must be a multiple of {MULTIPLE}")
        not_negative = (lambda x: 0 <= x < math.inf, "at least 0")
        check_ranges(self, {**RANGES, "edges": not_negative, "anchor": not_negative})

    @property
    def file(self) -> str:
        """What the network is called in the end."""
        return f"{self.model}.safetensors"

    def build(self, seed: int = 0, device: torch.device | str = "cpu") -> "DepthTraining":
        """The network as it stands before its first step."""
        with GENERATOR_LENT, torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = Small(SIZES[self.model])
        return DepthTraining(self, network, torch.device(device))

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """Widths and heights of batches."""
        size = (self.width, self.height)
        return shapes_like(*size) if self.varied_shapes else (size,)

    def check(self, sets: Sequence[Labels]) -> None:
        """Raises ValueError for fewer pictures than sets, two of one name, or labels that tell too little."""
        check_names(sets)
        if len(sets) > self.batch:
            raise ValueError(f"batch={self.batch}: {len(sets)} data sets need at least one picture each")
        least = min(width * height for width, height in self.shapes) // MULTIPLE**2
        if least * (self.batch // len(sets)) * len(sets) < 2:
            raise ValueError(
                f"batch={self.batch}: one picture of {MULTIPLE}x{MULTIPLE} has but one value on the coarsest "
                "map, of which batch norm makes nothing; give a larger batch or size"
            )
        for each in sets:
            if self.loss == "l1" and each.kind == "relative_inverse":
                raise ValueError(
                    f"{each.name}: tells inverse depth up to scale and shift, and loss l1 asks for both; "
                    "use ssimae, ssitrim or ssimse"
                )

    def batches(self, sets: Sequence[Labels], memory: float | int = 0, workers: int = 2) -> Batches:
        """What a training with this recipe reads; memory: bytes of pictures to keep. Raises as `check`."""
        self.check(sets)
        shares = USUAL if self.augmentation == "full" else MIRRORED
        return Batches(sets, self.batch // len(sets), self.shapes, shares, memory=memory, workers=workers)


class DepthTraining(Learner):
    """A depth network that learns."""

    betas = (0.9, 0.99)

    def step(self, pixels: Batches, schedule: float, generator: torch.Generator) -> dict[str, float]:
        """One update. As the trainer counts, rays are pixels and samples are pictures; `psnr` says nothing.

        Beside the mean loss, each set's own stands under its name with "loss/" before it.
        """
        batch = pixels.at(generator.initial_seed(), int(self.steps)).to(self.device)
        images = NORMALISATION(batch.images).contiguous(memory_format=torch.channels_last)
        self.network.train()
        with self.reduced():
            features = self.network.encode(images)
            found = self.network.decode(features)[:, 0].float()
        parts = list(zip(batch.parts, batch.kinds, strict=True))
        losses = [self.loss(found[part], batch.values[part], kind) for part, kind in parts]
        told = {f"loss/{name}": loss.item() for name, loss in zip(batch.names, losses, strict=True)}
        weights = self.weights(losses, features)
        # A prediction that is no number has no spread, and a loss takes it for a flat one.
        sound = bool(found.isfinite().all() & weights.isfinite().all())
        mean = sum(told.values()) / len(told) if sound else math.nan
        result = {"loss": mean, "psnr": math.nan, "rays": found.numel(), "samples": len(images), **told}
        if math.isfinite(mean) and not self.update((weights * torch.stack(losses)).sum(), schedule):
            result["loss"] = math.nan
        return result

    def loss(self, found: Maps, values: Maps, kind: Kind) -> Float[Tensor, ""]:
        """Mean over the pictures of one set. values: NaN where nothing is known."""
        known = values.isfinite()
        values = values.nan_to_num(0.0)
        if self.recipe.loss != "l1":
            target, known = inverse_depth_target(values, known, kind)
            edges = self.recipe.edges
            each = scale_and_shift_invariant(found, target, known, self.recipe.loss, alpha=edges)
            off = torch.where(known, found - target, 0.0)
            return mean_over_images(each + 2 * self.recipe.anchor * half_mean_absolute(off, known), known)
        residual, known = residual_as_told(found, values, known, kind)
        each = half_mean_absolute(residual, known) + self.recipe.edges * gradient_matching(residual, known)
        return mean_over_images(each, known)

    def weights(self, losses: Sequence[Tensor], features: Sequence[Tensor]) -> Float[Tensor, "sets"]:
        """How much each set's loss counts, of sum 1; NaN where a gradient is no number."""
        if self.recipe.mixing == "equal" or len(losses) == 1:
            return torch.full((len(losses),), 1 / len(losses), device=self.device)
        shared = features if self.recipe.shared == "features" else list(self.network.parameters())
        gradients = task_gradients(losses, shared).float()
        if not gradients.isfinite().all():
            return torch.full((len(losses),), math.nan, device=self.device)
        return pareto_weights(gradients)

    def description(self) -> dict[str, Any]:
        """What a run's record says of this model."""
        return super().description() | {"network": self.recipe.model}


def residual_as_told(found: Maps, values: Maps, known: Masks, kind: Kind) -> tuple[Maps, Masks]:
    """Prediction less inverse depth, in the labels' own unit, and where both mean something."""
    inverse = values.reciprocal() if kind == "z_depth" else values
    known = known & inverse.isfinite()
    return torch.where(known, found - torch.where(known, inverse, 0.0), 0.0), known
