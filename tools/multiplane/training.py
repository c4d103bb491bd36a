"""How the networks that make planes of a picture learn, from pairs of views, in three stages.

Source: AdaMPI, arXiv:2205.11733, sections 3 and 4, and the stages and weights of its published code. First
the planes and masks learn alone; then the colours, on planes that stay where they are; then all. In the
first stage the published code has grey planes, whose colours teach nothing; here the picture itself is on
every plane, and what its masks let through is compared where the picture can tell it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from render.methods.nerf import Precision
from render.metrics import psnr_of
from render.multiplane import MultiplaneImage, blend_source, composite, render
from render.run import GENERATOR_LENT
from render.trainer import PART
from tools.learning import RANGES, Learner, check_names, check_ranges
from tools.multiplane import losses
from tools.multiplane.adampi import CONFIGS, AdaMPI, AdaMPIConfig, picture_planes
from tools.multiplane.inpainting import inpaint, read_inpainter
from tools.multiplane.losses import halved
from tools.multiplane.picture_sets import PictureSet
from tools.multiplane.planes import FAR, in_order
from tools.multiplane.view_pairs import PairBatch
from tools.multiplane.view_sets import DrawnPairs, PairSet
from tools.multiplane.weights import CHOICES, MOST_PLANES, described

SCALES = 4
MULTIPLE = 2 ** (SCALES - 1)  # of pictures' sides: they are halved from scale to scale
COARSEST = 128  # pixels to a cell
# In turn, how many times as many planes a step has, of as many fewer pairs.
CROWDS = (1, 1, 1, 2, 1, 1, 1, 4)
SEEN_BY = 2  # planes that a ray must meet within their pictures for its pixel to count


@dataclass(frozen=True)
class Stage:
    """Until which share of the training, what learns, and whether colours are drawn or the picture's own."""

    until: float
    learns: tuple[str, ...]
    draws: bool


STAGES = (
    Stage(2 / 7, ("adjustment", "feature_masks"), draws=False),
    Stage(6 / 7, ("feature_masks", "colours"), draws=True),
    Stage(1.0, ("adjustment", "feature_masks", "colours"), draws=True),
)

# Of each loss: at the finest scale, and at each of the coarser ones.
WEIGHTS: dict[str, tuple[float, float]] = {
    "absolute": (1, 1),
    "dissimilarity": (1, 1),
    "disparity": (1, 1),
    "hidden_absolute": (5, 1),
    "hidden_dissimilarity": (5, 1),
    "hidden_disparity": (5, 1),
    "frequency": (10, 1),
    "smoothness": (0.01, 0),
    "disorder": (100, 0),
    "misassigned": (10, 0),
    "imitation": (10, 0),
}


@runtime_checkable
class Pairs(Protocol):
    """What a training draws from: the pairs of a step, the same whenever it is asked for."""

    def at(self, seed: int, step: int) -> PairBatch: ...


@dataclass(frozen=True)
class Recipe:
    """Hyper-parameters.

    network: of `tools.multiplane.adampi.CONFIGS`. planes: how many it learns with.
    crowded: in some steps of the small network there are twice or four times as many planes, of as many fewer
        pairs where their number can be divided so; it can be used with other numbers then, and unless told is
        with the most that it has met.
    blends: the picture's own colours where they are seen (`blend_source`), in training as when it is used.
    adjusts_planes, finds_masks, masks_context: as in `AdaMPIConfig`; with blends, what is left out in trials.
    batch: pairs of a step. width, height: of pairs that are made of single pictures, pixels, multiples of 8;
        views that are apart have sizes of their own, which are those of all then.
    inpainter: file of what fills the holes of single pictures that are warped (`render inpaint-train`); none:
        classically.
    clustered: how much planes are drawn to clusters of a picture's disparities, in networks that do not
        begin with fitted ones (`losses.partly_clustered`).
    learning_rate: the highest, after `warm_up` steps; it falls along a cosine to `final_learning_rate` of it.
    weight_decay: of Adam. clip: the longest gradient.
    averaged: what the weights that are kept carry over from step to step; they are a mean of past ones.
    precision: of masks and colours; "auto" is bfloat16 where the processor multiplies it natively.
    """

    network: Literal["small", "official"] = "small"
    planes: int = 8
    crowded: bool = True
    adjusts_planes: bool = True
    finds_masks: bool = True
    masks_context: bool = True
    blends: bool = True
    batch: int = 4
    width: int = 128
    height: int = 128
    inpainter: str = ""
    clustered: float = losses.CLUSTERED
    learning_rate: float = 1e-3
    final_learning_rate: float = 0.02
    warm_up: int = 100
    weight_decay: float = 4e-5
    clip: float = 5.0
    averaged: float = 0.998
    precision: Precision = "auto"

    def __post_init__(self) -> None:
        share = (lambda x: 0 <= x <= 1, "at least 0 and at most 1")
        most = MOST_PLANES // max(CROWDS)
        some = (lambda x: 2 <= x <= most, f"at least 2 and at most {most}")
        check_ranges(self, {**RANGES, "planes": some, "clustered": share})

    @property
    def file(self) -> str:
        """What the network is called in the end."""
        return f"{self.network}.safetensors"

    @property
    def config(self) -> AdaMPIConfig:
        planes = self.planes * max(self.crowd(step) for step in range(len(CROWDS)))
        choices = {name: getattr(self, name) for name in CHOICES}
        return replace(CONFIGS[self.network], planes=planes, **choices)

    def crowd(self, step: int) -> int:
        """How many times `planes` a step has."""
        crowded = self.crowded and self.network == "small"  # norms of the other want more than one picture
        crowd = CROWDS[step % len(CROWDS)] if crowded else 1
        return crowd if self.batch % crowd == 0 else 1

    def build(self, seed: int = 0, device: torch.device | str = "cpu") -> "AdaMPITraining":
        with GENERATOR_LENT, torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = AdaMPI(self.config)
        return AdaMPITraining(self, network, torch.device(device))

    def size_of(self, sets: Sequence[PairSet]) -> tuple[int, int]:
        """Width and height of the pictures of a training."""
        return next((each.size for each in sets if each.size), (self.width, self.height))

    def check(self, sets: Sequence[PairSet]) -> None:
        """Raises ValueError for two sets of one name, or pictures that do not fit together."""
        check_names(sets)
        width, height = size = self.size_of(sets)
        for each in sets:
            if each.size not in (None, size):
                raise ValueError(
                    f"{each.folder}: pictures of {each.size[0]} x {each.size[1]} pixels, others have "
                    f"{width} x {height}; a training wants one size: make one of them again with --size"
                )
        if min(size) < MULTIPLE or width % MULTIPLE or height % MULTIPLE:
            told = next((f"{each.folder}: pictures of" for each in sets if each.size), "--size:")
            raise ValueError(
                f"{told} {width} x {height} pixels; sides must be multiples of {MULTIPLE}: give another "
                "--size, or make the folder again with it"
            )
        cells = math.ceil(width / COARSEST) * math.ceil(height / COARSEST)
        if self.network == "official" and self.batch * cells < 2:
            raise ValueError(
                f"batch={self.batch}: one picture of {width} x {height} pixels has but one value on the "
                "coarsest map of the official network, of which batch norm makes nothing; give 2 at least"
            )

    def batches(self, sets: Sequence[PairSet], workers: int = 2) -> DrawnPairs:
        """What a training with this recipe draws from. Raises: as `check` and `read_inpainter`."""
        self.check(sets)
        if self.inpainter:
            filled = partial(inpaint, how="network", network=read_inpainter(self.inpainter))
            single = (isinstance(each, PictureSet) for each in sets)
            sets = [replace(a, inpainter=filled) if b else a for a, b in zip(sets, single, strict=True)]
        return DrawnPairs(sets, self.batch, self.size_of(sets), workers)


@dataclass(frozen=True, eq=False)
class Stack:
    """Planes of a batch's pictures at one scale: colours (b n 3 h w), densities or alphas (b n h w)."""

    rgb: Tensor
    opacity: Tensor
    kind: str


class AdaMPITraining(Learner):
    """AdaMPI's networks as they learn."""

    optimizer_type = torch.optim.Adam

    def step(self, pixels: Pairs, schedule: float, generator: torch.Generator) -> dict[str, float]:
        """One update. As the trainer counts, rays are pixels of targets and samples those of all planes.

        Beside the sum, each loss stands under its name, and its scale, with "loss/" before it.
        """
        batch = pixels.at(generator.initial_seed(), int(self.steps)).to(self.device)
        crowd = self.recipe.crowd(int(self.steps))
        batch, count = batch.first(max(len(batch.cameras) // crowd, 1)), self.recipe.planes * crowd
        stage = self.stage(schedule)
        self.begin(stage)
        planes = self.network.place(batch.source, batch.disparity[:, None], count)
        told = {"disorder": losses.disorder(planes)}
        if not self.recipe.config.fits_planes:
            model = losses.partly_clustered(batch.disparity, count, self.recipe.clustered)
            told["imitation"] = losses.absolute(planes, model)
        planes = in_order(planes)
        with self.reduced():
            masks = self.network.divide(batch.source, batch.disparity[:, None], planes)
        told["misassigned"] = losses.misassigned(masks, batch.disparity, planes)
        if stage.draws:
            with self.reduced():
                drawn = self.network.draw(batch.source, batch.disparity[:, None], masks)
            stacks = [Stack(rgb, density, "density") for rgb, density in drawn]
        else:
            stacks = [Stack(*picture_planes(batch.source, masks), "alpha")]
        total = sum(WEIGHTS[name][0] * value for name, value in told.items())
        errors = []
        for scale, stack in enumerate(stacks):
            seen, error = self.seen(batch, planes, stack, scale)
            total = total + sum(WEIGHTS[name][scale > 0] * value for name, value in seen.items())
            told.update({f"{name}/{scale}": value for name, value in seen.items()})
            errors.append(float(error.detach()))
        result = {f"{PART}{name}": float(value.detach()) for name, value in told.items()}
        result |= {"loss": float(total.detach()), "psnr": psnr_of(errors[0])}
        result |= {"rays": batch.hidden.numel(), "samples": masks.numel()}
        if math.isfinite(result["loss"]) and not self.update(total, schedule):
            result["loss"] = math.nan
        return result

    def stage(self, schedule: float | int) -> Stage:
        """Which of STAGES it is; one of which the network has no part that learns is left out."""
        parts = {name for name, _ in self.network.named_children()}
        due = (stage for stage in STAGES if schedule < stage.until and parts & set(stage.learns))
        return next(due, STAGES[-1])

    def begin(self, stage: Stage) -> None:
        """Parts that do not learn now are as when the network is used."""
        for name, part in self.network.named_children():
            learns = name in stage.learns
            part.train(learns).requires_grad_(learns)

    def seen(
        self, batch: PairBatch, planes: Float[Tensor, "b n"], stack: Stack, scale: int
    ) -> tuple[dict[str, Tensor], Tensor]:
        """The losses of what the target cameras see of a stack, and the mean squared error of colours."""
        sources = halved(batch.source, scale)
        images, views = [], []
        for k, (camera, target) in enumerate(zip(batch.cameras, batch.targets, strict=True)):
            here, there = (each.scaled(2**scale) for each in (camera, target))
            z_depth = 1 / planes[k].clamp(min=FAR)
            image = MultiplaneImage(stack.rgb[k], stack.opacity[k], z_depth, here, stack.kind)
            if self.recipe.blends and stack.kind == "density":
                image = blend_source(image, sources[k])
            view = render(image, there, ("rgb", "z_depth", "samples"))
            images.append(image)
            views.append((view.rgb.permute(2, 0, 1), inverse(view.z_depth), view.samples >= SEEN_BY))
        rgb, disparity, counts = (torch.stack(part) for part in zip(*views, strict=True))
        truth, hidden = halved(batch.truth, scale), halved(batch.hidden[:, None].float(), scale)[:, 0]
        wanted = halved(batch.truth_disparity.clamp(max=1)[:, None], scale)
        rgb = torch.where(counts[:, None], rgb, truth)
        disparity = torch.where(counts, disparity, wanted[:, 0])
        told = {
            "absolute": losses.absolute(rgb, truth),
            "dissimilarity": losses.dissimilarity(rgb, truth),
            "disparity": losses.absolute(disparity, wanted[:, 0]),
            "hidden_disparity": losses.absolute_in(hidden, disparity[:, None], wanted),
            "frequency": losses.focal_frequency(rgb, truth),
        }
        if stack.kind == "density":  # the picture's own colours are not those that it hides
            told["hidden_absolute"] = losses.absolute_in(hidden, rgb, truth)
            told["hidden_dissimilarity"] = losses.dissimilarity_in(hidden, rgb, truth)
        if scale == 0:
            own = torch.stack([inverse(composite(image).z_depth) for image in images])
            told["smoothness"] = losses.smoothness(disparity, truth) + losses.smoothness(own, sources)
        return told, (rgb - truth).square().mean()

    def note(self) -> dict[str, str]:
        """What network it is, and what is left out of it."""
        return described(self.recipe.network, self.recipe.config)

    def description(self) -> dict[str, Any]:
        """What a run's record says of this model."""
        return super().description() | {"network": self.recipe.network}


def inverse(z_depth: Float[Tensor, "h w"]) -> Float[Tensor, "h w"]:
    """Disparity; 0 where nothing is met."""
    return torch.where(z_depth > 0, 1 / torch.where(z_depth > 0, z_depth, 1.0), 0.0)
