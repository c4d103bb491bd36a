"""NeRF (arXiv:2003.08934): two networks, the coarse one showing the fine one where to look."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from fields.kernels.library import KernelsUnavailable, supported_instruction_sets
from fields.nerf import Activation, NeRFField, load_published
from render.losses import mse
from render.methods.adam_model import AdamModel
from render.methods.base import Colour, Rendered, check_outputs, differentiable_in_rays
from render.methods.nerf_space import Space
from render.samplers.hierarchical import RaySamples, Rule, coarse_samples, fine_samples
from render.samplers.proposal import points_at
from render.volume import VolumeRendering, over_background, render_dense
from scenes.cameras import Cameras
from scenes.crop import Crop
from scenes.pixels import PixelSource
from scenes.rays import Rays
from scenes.scene import Scene

Precision = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True)
class NeRF:
    """Hyper-parameters. The defaults suit two CPU cores and small pictures; `paper` is the paper's.

    rays: per step. coarse_samples, fine_samples: N_c and N_f; 0 fine ones train one network.
    position_frequencies, direction_frequencies: L of the encodings (Eq. 4); 0 leaves them out.
    width, depth: of both networks.
    learning_rate: at first; it decays to `final_learning_rate` of that, exponentially.
    background: trained in front of the scene's own or of random colours, where pictures have alpha.
    background_share: how often certain background is drawn (`scenes.pixels`), 1 as often as the rest.
    precrop: for this share of the training only the middle half of each picture is drawn, against
        networks that see mostly background at first and settle for it.
    rule: what a sample is (`render.samplers.hierarchical`); "published" also measures near and far
        along the optical axis, as NeRF's code does.
    precision: of the networks; "auto" is bfloat16 where the processor multiplies it natively.
    """

    rays: int = 256
    coarse_samples: int = 32
    fine_samples: int = 32
    position_frequencies: int = 10
    direction_frequencies: int = 4
    width: int = 64
    depth: int = 4
    learning_rate: float = 5e-3
    final_learning_rate: float = 0.1
    background: Literal["scene", "random"] = "random"
    background_share: float = 0.3
    precrop: float = 0.0
    rule: Rule = "intervals"
    density_activation: Activation = "softplus"
    precision: Precision = "auto"

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "fast": {"steps": 5_000},
        "standard": {"steps": 25_000},
        "quality": {
            "steps": 100_000,
            "coarse_samples": 64,
            "fine_samples": 64,
            "width": 128,
            "depth": 8,
            "learning_rate": 2e-3,
        },
        "paper": {
            "steps": 500_000,
            "rays": 1024,
            "coarse_samples": 64,
            "fine_samples": 128,
            "width": 256,
            "depth": 8,
            "learning_rate": 5e-4,
            "background": "scene",
            "background_share": 1.0,
            "precrop": 0.001,
            "rule": "published",
            "density_activation": "relu",
            "precision": "float32",
        },
    }

    def build(
        self, scene: Scene, *, device: torch.device | str = "cpu", backend: str = "auto"
    ) -> "NeRFModel":
        """Networks as they stand before the first step, drawn from torch's global generator.

        Raises: ValueError for a backend that this method does not have.
        """
        if backend not in ("auto", "reference"):
            raise ValueError(f"backend {backend!r}: nerf has no kernels; use reference or auto")
        fine = self.network() if self.fine_samples else None
        return NeRFModel(self, scene, torch.device(device), self.network(), fine)

    def network(self) -> NeRFField:
        """A network of these sizes."""
        return NeRFField(
            width=self.width,
            depth=self.depth,
            position_frequencies=self.position_frequencies,
            direction_frequencies=self.direction_frequencies,
            density_activation=self.density_activation,
        )


class NeRFModel(AdamModel):
    """A coarse network and, with fine samples, a fine one; Adam's moments stand in `optimizer`."""

    rays_per_chunk = 1024
    rays_per_gradient = 256
    points_per_chunk = 2**16

    def __init__(
        self, config: NeRF, scene: Scene, device: torch.device, coarse: NeRFField, fine: NeRFField | None
    ) -> None:
        super().__init__()
        self.config, self.device, self.space = config, device, Space(scene.bounds)
        self.background, self.has_alpha = scene.background, scene.has_alpha
        self.model_from_input = scene.model_from_input
        self.precision = resolve_precision(config.precision, device)
        self.coarse, self.fine = coarse, fine
        self.to(device)
        self.begin(lr=config.learning_rate)

    def step(self, pixels: PixelSource, schedule: float, generator: torch.Generator) -> dict[str, float]:
        """One update (section 5.3): both networks see the same random rays, compared with the truth."""
        config = self.config
        rays, rgba, forward = self.draw(pixels, schedule, generator.initial_seed())
        behind = self.training_background(len(rays), generator)
        target = over_background(rgba[:, :3] * rgba[:, 3:], rgba[:, 3], behind)

        near, far = self.near_and_far(rays, forward)
        samples = coarse_samples(near, far, config.coarse_samples, config.rule, generator)
        seen = self.render_samples(self.coarse, rays, samples)
        error = loss = mse(over_background(seen.values, seen.opacity, behind), target)
        count = samples.distances.numel()
        if self.fine is not None:
            samples = fine_samples(samples, seen.weights, config.fine_samples, config.rule, generator)
            seen = self.render_samples(self.fine, rays, samples)
            error = mse(over_background(seen.values, seen.opacity, behind), target)
            loss = loss + error
            count += samples.distances.numel()

        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate * config.final_learning_rate**schedule
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.steps += 1
        psnr = -10 * math.log10(max(error.item(), 1e-12))
        return {"loss": loss.item(), "psnr": psnr, "rays": len(rays), "samples": count}

    def draw(self, pixels: PixelSource, schedule: float, seed: int) -> tuple[Rays, Tensor, Tensor]:
        """Rays of this step, their colours (n, 4) and the optical axes of their cameras (n, 3).

        At first only rays through the middle half of their pictures (`precrop`).
        """
        early = schedule < self.config.precrop
        count = self.config.rays * 8 if early else self.config.rays  # seldom less than half lie outside
        share, step = self.config.background_share, int(self.steps)
        batch = pixels.draw(count, seed, step, share)
        forward = pixels.camera_to_world[batch.image_index, :, 2]
        kept = slice(None)
        if early:
            image, x, y = pixels.draw_pixels(count, seed, step, share)
            width, height = pixels.width[image], pixels.height[image]
            middle = ((2 * x + 1 - width).abs() < width / 2) & ((2 * y + 1 - height).abs() < height / 2)
            kept = middle.nonzero()[: self.config.rays, 0]
        return (
            batch.rays[kept].to(self.device),
            batch.rgba[kept].to(self.device),
            forward[kept].to(self.device),
        )

    def near_and_far(
        self, rays: Rays, forward: Float[Tensor, "*#n 3"]
    ) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"]]:
        """Where each ray begins and ends (`nerf_space`); `forward` is the optical axis of its camera."""
        stretch = torch.ones_like(rays.directions[:, 0])
        if self.config.rule == "published":
            stretch = 1 / (rays.directions * forward).sum(-1)
        return self.space.ends(stretch)

    def render_samples(
        self, field: NeRFField, rays: Rays, samples: RaySamples, crop: Crop | None = None
    ) -> VolumeRendering:
        """What a network, or what of it lies in a crop, shows along rays that are read at these samples."""
        distances = self.space.distances(samples.distances, rays.detach())
        points = self.space.points(points_at(rays, distances))
        reduced = self.precision == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=reduced):
            density, rgb = field(points, rays.directions[:, None])
        if crop:
            density = density * crop.contains(points_at(rays, distances))
        edges = self.space.edges(samples, rays, self.config.rule)
        return render_dense(density.to(edges.dtype), rgb.to(edges.dtype), edges, distances)

    @differentiable_in_rays
    def render_rays(
        self,
        rays: Rays,
        outputs: Sequence[str],
        background: Colour | None = None,
        crop: Crop | None = None,
        forward: Float[Tensor, "*#n 3"] | None = None,
    ) -> Rendered:
        """What is seen along rays (n,), at even samples. `forward`: as in `near_and_far`, else the rays."""
        check_outputs(outputs, self.ray_outputs)
        config = self.config
        still = rays.detach()
        near, far = self.near_and_far(still, still.directions if forward is None else forward.detach())
        samples = coarse_samples(near, far, config.coarse_samples, config.rule)
        # Beside a fine network the coarse one only says where to look, and that is a constant.
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.fine is None):
            seen = self.render_samples(self.coarse, rays, samples, crop)
        if self.fine is not None:
            samples = fine_samples(samples, seen.weights, config.fine_samples, config.rule)
            seen = self.render_samples(self.fine, rays, samples, crop)
        rgb = over_background(seen.values, seen.opacity, self.background_colour(background))
        count = 2 * config.coarse_samples + config.fine_samples if self.fine else config.coarse_samples
        looks = torch.full_like(seen.opacity, count, dtype=torch.int32)
        found = {"rgb": rgb, "opacity": seen.opacity, "distance": seen.distance, "samples": looks}
        return Rendered(**{name: found[name] for name in outputs})

    def render_rays_of(
        self,
        camera: Cameras,
        rays: Rays,
        outputs: Sequence[str],
        background: Colour | None,
        crop: Crop | None,
    ) -> Rendered:
        return self.render_rays(rays, outputs, background, crop, camera.camera_to_world[:3, 2])

    def density_at(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
        """See `RayModel`. Where the networks' space is not the model frame: `Space.scale`."""
        field = self.coarse if self.fine is None else self.fine
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            density = field.density(self.space.points(points))
        return density.to(points.dtype) * self.space.scale(points)

    def description(self) -> dict[str, Any]:
        """What a run's record says of this model."""
        return {
            "backend": "reference",
            "precision": self.precision,
            "space": self.space.name,
            "parameters": sum(p.numel() for p in self.parameters()),
        }


def published_model(
    path: str | Path, scene: Scene, coarse_samples: int = 64, fine_samples: int = 128
) -> NeRFModel:
    """The model of a nerf-pytorch checkpoint, rendered by its own rule: see `fields.nerf.load_published`."""
    published = load_published(path)
    config = NeRF(
        coarse_samples=coarse_samples,
        fine_samples=fine_samples if published.fine else 0,
        rule="published",
        precision="float32",
    )
    return NeRFModel(config, scene, torch.device("cpu"), published.coarse, published.fine)


def resolve_precision(precision: Precision, device: torch.device) -> Precision:
    """Settle "auto": bfloat16 where the device multiplies it natively, else float32."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    try:
        return "bfloat16" if "avx512bf16" in supported_instruction_sets() else "float32"
    except KernelsUnavailable:  # nothing here can ask the processor
        return "float32"
