"""nerfacto (arXiv:2302.04264): a hash-grid field, read where two small density fields have seen something.

Proposal sampling, contraction and the losses along rays are mip-NeRF 360's (arXiv:2111.12077), the grids
instant-ngp's (arXiv:2201.05989). The method in readable torch, over the operators of `fields/kernels`. What
nerfacto has and this has not: a code for the appearance of each picture, and refinement of the cameras.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fields.encodings.hash_grid import HashGridSpec
from fields.kernels.library import resolve_backend
from fields.kernels.march import clip_to_cube
from fields.ngp import NGPField, NGPSpec
from fields.proposal import ProposalField
from render.differentiable import frozen
from render.losses import distortion, interlevel, mse
from render.methods.adam_model import AdamModel
from render.methods.base import Colour, Rendered, check_outputs, differentiable_in_rays
from render.metrics import psnr_of
from render.samplers.proposal import (
    UNIFORM,
    ProposalSamples,
    annealing,
    piecewise,
    points_at,
    proposal_samples,
)
from render.volume import VolumeRendering, over_background, render_dense
from scenes.crop import Crop
from scenes.layout import cube_around
from scenes.pixels import PixelSource
from scenes.rays import Rays
from scenes.scene import Scene


@dataclass(frozen=True)
class Nerfacto:
    """Hyper-parameters. The defaults suit two CPU cores; `paper` is nerfacto's own.

    What differs and why: a quarter of the rays and half to two thirds of the samples, for time; 8 levels of 4
    features in a table a quarter as long, for the caches; a learning rate twice as high that falls further,
    for trainings of thousands of steps instead of ten thousands; random backgrounds, for empty space.

    rays: per step.
    proposal_samples, samples: intervals along a ray that each proposal looks at, and the field.
    levels to finest_resolution: the field's grid (`HashGridSpec`).
    proposal_levels to proposal_width: the grids of the proposals, N_max of each, and their networks.
    density_shift: how far below 1 / side of the box density begins, as a power of e.
    learning_rate: at first; it decays to `final_learning_rate` of that, exponentially. Of all three fields.
    interlevel, distortion: weights of the two losses along rays. The first has no say in the field.
    anneal_share: of the training, before the proposals' weights are taken at their word (`annealing`).
    padding: added to each weight that is sampled from.
    proposal_every: the proposals learn in one step of so many; in each at first, in fewer and fewer until
        step `proposal_warmup`.
    background: trained in front of the scene's own or of random colours, where pictures have alpha.
    background_share: how often certain background is drawn (`scenes.pixels`), 1 as often as the rest.
    """

    rays: int = 1024
    proposal_samples: tuple[int, ...] = (128, 64)
    samples: int = 32
    levels: int = 8  # L
    features: int = 4  # F
    log2_table_size: int = 17  # log2 T
    base_resolution: int = 16  # N_min
    finest_resolution: int = 640  # N_max
    proposal_levels: int = 5
    proposal_features: int = 2
    proposal_log2_table_size: int = 17
    proposal_resolutions: tuple[int, ...] = (128, 256)
    proposal_width: int = 16
    density_shift: float = 1.0
    learning_rate: float = 2e-2
    final_learning_rate: float = 0.05
    beta2: float = 0.99
    interlevel: float = 1.0
    distortion: float = 0.002
    anneal_share: float = 0.1
    padding: float = 0.01
    proposal_every: int = 5
    proposal_warmup: int = 5_000
    background: Literal["scene", "random"] = "random"
    background_share: float = 0.3

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "fast": {"seconds": 60, "steps": 1_000},
        "standard": {"seconds": 300, "steps": 5_000},
        "quality": {
            "seconds": 1_200,
            "steps": 10_000,
            "proposal_samples": (256, 96),
            "samples": 48,
            "log2_table_size": 19,
            "finest_resolution": 1024,
        },
        "paper": {
            "steps": 30_000,
            "rays": 4096,
            "proposal_samples": (256, 96),
            "samples": 48,
            "levels": 16,
            "features": 2,
            "log2_table_size": 19,
            "finest_resolution": 2048,
            "learning_rate": 1e-2,
            "final_learning_rate": 0.01 ** (30 / 200),  # the decay to 1e-4 would take 200,000 steps
            "beta2": 0.999,
            "anneal_share": 1 / 30,
            "background": "scene",
            "background_share": 1.0,
        },
    }
    # Where space has no end, in place of the above: space must not be forgotten before it is seen.
    UNBOUNDED: ClassVar[dict[str, Any]] = {"density_shift": 0.0}

    def __post_init__(self) -> None:
        if len(self.proposal_samples) != len(self.proposal_resolutions):
            raise ValueError(
                f"proposal_samples {self.proposal_samples} and proposal_resolutions "
                f"{self.proposal_resolutions}: give one number a proposal to both"
            )

    def build(
        self, scene: Scene, *, device: torch.device | str = "cpu", backend: str = "auto"
    ) -> "NerfactoModel":
        """A fresh model, drawn from torch's global generator.

        Raises: KernelsUnavailable if the kernels are asked for by name and cannot run here, ValueError.
        """
        return NerfactoModel(self, scene, device=torch.device(device), backend=backend)

    @property
    def field(self) -> NGPSpec:
        grid = HashGridSpec(
            self.levels, self.features, self.log2_table_size, self.base_resolution, self.finest_resolution
        )
        return NGPSpec(grid, density_shift=self.density_shift)

    @property
    def proposal_grids(self) -> list[HashGridSpec]:
        shape = self.proposal_levels, self.proposal_features, self.proposal_log2_table_size
        return [HashGridSpec(*shape, self.base_resolution, finest) for finest in self.proposal_resolutions]

    def proposals_learn_at(self, step: int) -> bool:
        """Whether they do in this step."""
        interval = self.proposal_every * min(step / max(self.proposal_warmup, 1), 1.0)
        return step % max(1, round(interval)) == 0


class NerfactoModel(AdamModel):
    """The field and its proposals; Adam's moments stand in `optimizer`."""

    rays_per_chunk = 4096

    def __init__(self, config: Nerfacto, scene: Scene, *, device: torch.device, backend: str) -> None:
        super().__init__()
        self.config, self.device, self.bounds = config, device, scene.bounds
        self.background, self.has_alpha = scene.background, scene.has_alpha
        self.model_from_input = scene.model_from_input
        self.backend = resolve_backend(backend, device).name
        minimum, side = cube_around(scene.bounds.minimum, scene.bounds.maximum)
        self.spacing = piecewise(side / 2) if scene.bounds.unbounded else UNIFORM
        place = {"contracted": scene.bounds.unbounded, "backend": self.backend}
        self.field = NGPField(config.field, minimum, side, **place)
        look = {"width": config.proposal_width, "density_shift": config.density_shift}
        self.proposals = nn.ModuleList(
            ProposalField(grid, minimum, side, **look, **place) for grid in config.proposal_grids
        )
        self.to(device)
        self.begin(lr=config.learning_rate, betas=(0.9, config.beta2), eps=1e-15)

    def step(self, pixels: PixelSource, schedule: float, generator: torch.Generator) -> dict[str, float]:
        """One update: the field learns from the picture, the proposals from the field."""
        config, step = self.config, int(self.steps)
        batch = pixels.draw(config.rays, generator.initial_seed(), step, config.background_share)
        rays, rgba = batch.rays.to(self.device), batch.rgba.to(self.device)
        behind = self.training_background(len(rays), generator)
        target = over_background(rgba[:, :3] * rgba[:, 3:], rgba[:, 3], behind)

        learning = config.proposals_learn_at(step)
        anneal = annealing(schedule / config.anneal_share) if config.anneal_share else 1.0
        with torch.set_grad_enabled(learning):
            samples = self.sample(rays, anneal, generator)
        seen = self.look(rays, samples, self.field)
        error = mse(over_background(seen.values, seen.opacity, behind), target)
        loss = error + config.distortion * distortion(samples.s, seen.weights)
        for proposal in samples.proposals if learning else ():
            loss = loss + config.interlevel * interlevel(samples.s, seen.weights, *proposal)

        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate * config.final_learning_rate**schedule
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.steps += 1
        count = samples.distances.numel()
        return {"loss": loss.item(), "psnr": psnr_of(error.item()), "rays": len(rays), "samples": count}

    def sample(
        self, rays: Rays, anneal: float = 1.0, generator: torch.Generator | None = None
    ) -> ProposalSamples:
        """Where the field is to be read along rays (n,); even and quantile samples without a generator."""
        near, far = self.near_and_far(rays)
        counts = (*self.config.proposal_samples, self.config.samples)
        return proposal_samples(
            rays, near, far, list(self.proposals), counts, self.spacing,
            anneal=anneal, padding=self.config.padding, generator=generator,
        )  # fmt: skip

    def look(
        self, rays: Rays, samples: ProposalSamples, field: NGPField, crop: Crop | None = None
    ) -> VolumeRendering:
        """What a field, or what of it lies in a crop, shows along rays that are read at these samples."""
        points = points_at(rays, samples.distances)
        density, rgb = field(points, rays.directions[:, None])
        if crop:
            density = density * crop.contains(points)
        return render_dense(density, rgb, samples.edges, samples.distances)

    def near_and_far(self, rays: Rays) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"]]:
        """The part of each ray in the box, both ends 0 where it misses; near and far without an end."""
        if self.bounds.unbounded:
            one = torch.ones_like(rays.directions[:, 0])
            return self.bounds.near * one, self.bounds.far * one
        low, high = (rays.origins.new_tensor(c) for c in (self.bounds.minimum, self.bounds.maximum))
        return clip_to_cube((rays.origins - low) / (high - low), rays.directions / (high - low))

    @differentiable_in_rays
    def render_rays(
        self,
        rays: Rays,
        outputs: Sequence[str],
        background: Colour | None = None,
        crop: Crop | None = None,
    ) -> Rendered:
        """See `RayModel`. The samples of a ray depend on nothing but the ray."""
        check_outputs(outputs, self.ray_outputs)
        with torch.no_grad():
            places = self.sample(rays)
        seen = self.look(rays, places, frozen(self.field), crop)
        rgb = over_background(seen.values, seen.opacity, self.background_colour(background))
        count = sum((*self.config.proposal_samples, self.config.samples))
        samples = torch.full_like(seen.opacity, count, dtype=torch.int32)
        found = {"rgb": rgb, "opacity": seen.opacity, "distance": seen.distance, "samples": samples}
        return Rendered(**{name: found[name] for name in outputs})

    def density_at(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
        """See `RayModel`."""
        density = frozen(self.field).density(points)
        if self.bounds.unbounded:
            return density
        low, high = (points.new_tensor(corner) for corner in (self.bounds.minimum, self.bounds.maximum))
        return torch.where(((points >= low) & (points <= high)).all(dim=-1), density, 0.0)

    def description(self) -> dict[str, Any]:
        """What a run's record says of this model."""
        return {
            "backend": self.backend,
            "precision": "float32",
            "space": "contracted" if self.bounds.unbounded else "box",
            "parameters": sum(p.numel() for p in self.parameters()),
        }
