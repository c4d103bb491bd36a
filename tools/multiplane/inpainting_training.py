"""How the inpainter learns, from what warp-back loses of pictures that are known.

Losses are differences: of colours and disparity in the holes, of their steps from pixel to pixel, so that no
seam shows, and of what is beside the holes. EdgeConnect, the released choice of AdaMPI, learns against
discriminators and a classifier's features as well, which makes texture up; so small a network does without.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import max_pool2d

from render.methods.nerf import Precision
from render.metrics import psnr_of
from render.run import GENERATOR_LENT
from tools.depth.batches import Labels
from tools.learning import RANGES, Learner, check_names, check_ranges
from tools.multiplane.inpainting import FILES, SIZES, Inpainter
from tools.multiplane.inpainting_pairs import DrawnHoles, Holes

BESIDE = 4  # pixels around a hole

WEIGHTS = {"colour": 1.0, "disparity": 1.0, "steps": 0.5, "beside": 0.2}

Maps = Float[Tensor, "b 4 h w"]
Masks = Bool[Tensor, "b h w"]


@runtime_checkable
class Pairs(Protocol):
    """What a training draws from: pictures with holes, the same whenever a step is asked for."""

    def at(self, seed: int, step: int) -> Holes: ...


@dataclass(frozen=True)
class Recipe:
    """Hyper-parameters.

    network: of `tools.multiplane.inpainting.SIZES`.
    batch: pictures of a step, of all sets together. width, height: theirs, pixels.
    variants: of each picture, in other parts, colours and motions.
    learning_rate: the highest, after `warm_up` steps; it falls along a cosine to `final_learning_rate` of it.
    weight_decay: of AdamW. clip: the longest gradient.
    averaged: what the weights that are kept carry over from step to step; they are a mean of past ones.
    precision: of the network; "auto" is bfloat16 where the processor multiplies it natively.
    """

    network: Literal["small", "tiny"] = "small"
    batch: int = 8
    width: int = 128
    height: int = 96
    variants: int = 8
    learning_rate: float = 2e-3
    final_learning_rate: float = 0.02
    warm_up: int = 20
    weight_decay: float = 1e-3
    clip: float = 1.0
    averaged: float = 0.99
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        counts = dict.fromkeys(("width", "height", "variants"), (lambda x: x >= 1, "at least 1"))
        check_ranges(self, {**RANGES, **counts})

    @property
    def file(self) -> str:
        """What the network is called in the end."""
        return FILES[self.network]

    def check(self, sets: Sequence[Labels]) -> None:
        """Raises ValueError for no set, or two of one name."""
        if not sets:
            raise ValueError("no data set of pictures with depth is given; name at least one")
        check_names(sets)

    def pairs(self, sets: Sequence[Labels], memory: float | int = 0) -> DrawnHoles:
        """What a training with this recipe learns from; memory: bytes of pictures with holes to keep.

        Raises: as `check`.
        """
        self.check(sets)
        size = (self.width, self.height)
        return DrawnHoles(sets, self.batch, size, variants=self.variants, memory=memory)

    def build(self, seed: int = 0, device: torch.device | str = "cpu") -> "InpainterTraining":
        """The network as it stands before its first step."""
        with GENERATOR_LENT, torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = Inpainter(SIZES[self.network])
        return InpainterTraining(self, network, torch.device(device))


class InpainterTraining(Learner):
    """An inpainter that learns."""

    def step(self, pixels: Pairs, schedule: float, generator: torch.Generator) -> dict[str, float]:
        """One update. As the trainer counts, rays are pixels in holes and samples are all; so is `psnr`."""
        drawn = pixels.at(generator.initial_seed(), int(self.steps))
        holes = Holes(*(part.to(self.device) for part in drawn))
        with self.reduced():
            found = self.network(
                holes.guess.contiguous(memory_format=torch.channels_last), holes.mask
            ).float()
        told = losses(found, holes)
        total = sum(WEIGHTS[name] * value for name, value in told.items())
        error = found[:, :3].detach().clamp(0, 1) - holes.truth[:, :3]
        squared = mean_in(holes.mask, error.square())
        result = {f"loss/{name}": float(value.detach()) for name, value in told.items()}
        result |= {"loss": float(total.detach()), "psnr": psnr_of(float(squared))}
        result |= {"rays": int(holes.mask.sum()), "samples": holes.mask.numel()}
        if math.isfinite(result["loss"]) and not self.update(total, schedule):
            result["loss"] = math.nan
        return result

    def description(self) -> dict[str, Any]:
        """What a run's record says of this model."""
        return super().description() | {"network": self.recipe.network}


def losses(found: Maps, holes: Holes) -> dict[str, Tensor]:
    """Mean |differences| in the holes of a batch, and beside them; 0 where there are none."""
    truth, mask = holes.truth, holes.mask
    around = max_pool2d(mask[:, None].float(), 2 * BESIDE + 1, 1, BESIDE)[:, 0] > 0
    return {
        "colour": mean_in(mask, (found - truth)[:, :3].abs()),
        "disparity": mean_in(mask, (found - truth)[:, 3:].abs()),
        "steps": step_difference(torch.where(mask[:, None], found, truth), truth, mask),
        "beside": mean_in(around & ~mask, (found - truth).abs()),
    }


def mean_in(mask: Masks, errors: Float[Tensor, "b c h w"]) -> Float[Tensor, ""]:
    """Over the masked pixels of all pictures alike."""
    return (mask[:, None] * errors).sum() / (mask.sum() * errors.shape[1]).clamp(min=1)


def step_difference(found: Maps, truth: Maps, mask: Masks) -> Float[Tensor, ""]:
    """Mean |difference| of steps from a pixel to its neighbours to the right and below.

    Those count of which at least one pixel is masked: seams too.
    """
    total, count = found.new_zeros(()), 0
    for dim in (1, 2):
        length = mask.shape[dim] - 1
        touched = mask.narrow(dim, 0, length) | mask.narrow(dim, 1, length)
        off = (found - truth).diff(dim=dim + 1).abs()
        total = total + torch.where(touched[:, None], off, 0.0).sum()
        count = count + touched.sum() * found.shape[1]
    return total / count.clamp(min=1)
