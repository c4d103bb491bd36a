"""The smallest method there is: it learns one colour. Stands in for a real one in tests of the shell."""

import time
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from render.methods.base import Colour, RayModel, Rendered
from scenes.crop import Crop
from scenes.pixels import PixelSource
from scenes.rays import Rays
from scenes.scene import Scene


@dataclass(frozen=True)
class MeanColour:
    """Momentum descent on the mean colour of random pixels."""

    rays: int = 64
    learning_rate: float = 0.05
    seconds_per_step: float = 0.0  # for tests that interrupt
    fails_at: int = -1  # from this step on the loss is NaN, while the seed is `fails_with_seed`
    fails_with_seed: int = 0
    fails_always: bool = False

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "standard": {"steps": 50},
        "fast": {"steps": 10, "rays": 16},
    }

    def build(self, scene: Scene, *, device: torch.device, backend: str) -> "MeanColourModel":
        return MeanColourModel(self, scene, device, backend)


class MeanColourModel(RayModel):
    ray_outputs = ("rgb", "opacity", "distance")

    def __init__(self, config: MeanColour, scene: Scene, device: torch.device, backend: str) -> None:
        self.config, self.background, self.device, self.backend = config, scene.background, device, backend
        self.colour = torch.rand(3)
        self.velocity = torch.zeros(3)
        self.count = 0

    def step(self, pixels: PixelSource, schedule: float, generator: torch.Generator) -> dict[str, float]:
        time.sleep(self.config.seconds_per_step)
        batch = pixels.draw(self.config.rays, generator.initial_seed(), self.count)
        noise = torch.rand(3, generator=generator) * 0.01
        error = self.colour + noise - batch.rgba[:, :3]
        self.velocity = 0.9 * self.velocity + error.mean(0)
        self.colour = self.colour - self.config.learning_rate * (1 - schedule) * self.velocity
        loss = error.square().mean()
        seed_fails = self.config.fails_always or generator.initial_seed() == self.config.fails_with_seed
        if self.count == self.config.fails_at and seed_fails:
            loss, self.colour = loss * torch.nan, self.colour * torch.nan
        self.count += 1
        values = {"loss": float(loss), "psnr": float(-10 * torch.log10(loss))}
        return {**values, "rays": len(error), "samples": len(error)}

    def render_rays(
        self, rays: Rays, outputs: Any, background: Colour | None = None, crop: Crop | None = None
    ) -> Rendered:
        found = {
            "rgb": self.colour.clamp(0, 1).expand(len(rays), 3).contiguous(),
            "opacity": torch.ones(len(rays)),
            "distance": torch.ones(len(rays)),
        }
        return Rendered(**{name: found[name] for name in outputs})

    def state(self) -> dict[str, Tensor]:
        return {
            "colour": self.colour,
            "count": torch.tensor(self.count),
            "optimizer.velocity": self.velocity,
        }

    def load_state(self, state: dict[str, Tensor]) -> None:
        self.colour, self.velocity = state["colour"].clone(), state["optimizer.velocity"].clone()
        self.count = int(state["count"])

    def description(self) -> dict[str, Any]:
        return {"backend": self.backend, "precision": "float32", "parameters": 3}
