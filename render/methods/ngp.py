"""instant-ngp (arXiv:2201.05989), with the schedules that suit a CPU.

One step draws pixels, marches their rays through the occupied cells, looks up density and colour, and
descends on the Huber loss of the composited colour. On the kernels the whole step is one call;
`ngp_composed.py` is its definition in readable parts, and what the reference backend runs.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from fields.encodings.hash_grid import HashGridSpec
from fields.kernels.library import resolve_backend, resolve_precision
from fields.kernels.ngp import AdamArrays, FusedNGP, Limits, StepRays, StepSettings
from fields.ngp import NGPField, NGPSpec
from render.appearance import Appearance
from render.differentiable import frozen
from render.methods.base import Colour, RayModel, Rendered, check_state, differentiable_in_rays
from render.methods.ngp_composed import composed_step, look
from render.metrics import psnr_of
from render.refinement import RefinedCameras, places_between
from render.samplers.occupancy import OccupancyGrid
from render.volume import expected_distance, over_background
from scenes.crop import Crop
from scenes.layout import cube_around
from scenes.pixels import PixelSource
from scenes.rays import Rays
from scenes.scene import Scene
from scenes.transforms import similarity

PARAMETERS = ("table", "density_weights", "color_weights")
RAYS_UNIT = 64
MOST_RAYS = 2**18


@dataclass(frozen=True)
class NGP:
    """Hyper-parameters. The paper's, but where a CPU does better with others (docs/benchmarks.md)."""

    levels: int = 8  # L
    features: int = 4  # F
    log2_table_size: int = 17  # log2 T
    base_resolution: int = 16  # N_min
    finest_resolution: int = 640  # N_max
    density_shift: float = 1.0  # space begins at a density of exp(-1) in the box
    learning_rate: float = 2e-2
    final_learning_rate: float = 0.02  # share of the first that is left at the end
    constant_share: float = 0.75  # of the training, before the rate falls
    beta1: float = 0.9
    beta2: float = 0.99
    epsilon: float = 1e-15
    weight_decay: float = 1e-6  # of the networks
    huber_delta: float = 0.1
    distortion: float = 0.0  # weight of the distortion loss (arXiv:2111.12077)
    opacity: float = 0.0  # weight of 1 - opacity, where pictures have no alpha
    depth: float = 0.1  # weight of the depth loss, where the scene tells depths
    sighting_share: float = 0.2  # else: of the rays, through points of structure from motion, and
    sighting_depth: float = 1.0  # the weight of that loss then
    first_samples: int = 24_000  # evaluated in a step, growing geometrically
    last_samples: int = 64_000
    first_march_steps: int = 384  # along the diagonal of the box; doubled half-way
    render_march_steps: int = 1024
    march_growth: float = 1 / 128  # of the step with the distance, where space has no end; halved half-way
    render_march_growth: float = 1 / 256
    near_fade: float = 0.1  # sides of the box: gradients of nearer samples fade (arXiv:2305.02756)
    lowest_transmittance: float = 1e-4
    render_lowest_transmittance: float = 1e-3
    lowest_weight: float = 1e-4
    background_share: float = 0.15  # how often certain background is drawn
    background_weight: float = 3.0  # and how much it then counts: specks in empty space are taught away
    random_background: bool = True  # where pictures have alpha
    appearance: bool = False  # give each picture an exposure and white balance of its own
    appearance_rate: float = 5e-3
    refine_poses: bool = False  # train poses and focal lengths along
    pose_rate: float = 1e-3  # radians by which a step moves the picture
    focal_rate: float = 1e-4  # relative
    # Shares of the training: when these three rates begin to rise, and begin to fall. A scene that is half
    # formed pulls cameras astray.
    picture_warm_up: tuple[float, float] = (0.05, 0.1)
    final_picture_rate: float = 0.003  # share of them that is left at the end
    coarse_share: float = 0.3  # of a training that refines poses, until the finest level learns
    occupancy_resolution: int = 128
    occupancy_levels: int = 6  # nested grids where space has no end, each twice as large as the one before
    occupancy_interval: int = 16  # steps between updates
    occupancy_decay: float = 0.9  # of a cell's density, each time it is looked at again
    occupancy_thinnest: float = 0.005  # optical thickness of a step in the thinnest occupied cell
    precision: str = "auto"  # float32, bfloat16, or what the processor is fast at

    # steps: as many as two cores take in `seconds`, the length that the preset was tuned for.
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "fast": {"seconds": 30, "steps": 4_500},
        "standard": {
            "seconds": 90,
            "steps": 9_000,
            "first_samples": 32_000,
            "last_samples": 96_000,
            "log2_table_size": 18,
        },
        "quality": {
            "seconds": 300,
            "steps": 20_000,
            "first_samples": 32_000,
            "last_samples": 128_000,
            "log2_table_size": 19,
            "finest_resolution": 768,
        },
    }
    # Where space has no end, in place of the above: the scene fills half of the grid in each direction, or
    # less, and space must not be forgotten before it is seen from several sides. The fog that this leaves is
    # drawn together by the distortion loss.
    UNBOUNDED: ClassVar[dict[str, Any]] = {
        "density_shift": 0.0,
        "finest_resolution": 1280,
        "distortion": 0.01,
    }

    def build(self, scene: Scene, *, device: torch.device | str = "cpu", backend: str = "auto") -> "NGPModel":
        """A fresh model of the scene's box, drawn from torch's global generator.

        Raises: KernelsUnavailable if the kernels are asked for by name and cannot run here, ValueError.
        """
        return NGPModel(self, scene, device=torch.device(device), backend=backend)

    @property
    def field(self) -> NGPSpec:
        return NGPSpec(
            HashGridSpec(
                self.levels,
                self.features,
                self.log2_table_size,
                self.base_resolution,
                self.finest_resolution,
            ),
            density_shift=self.density_shift,
        )

    def learning_rate_at(self, schedule: float) -> float:
        """Constant, then linear to the end of the training."""
        if schedule <= self.constant_share:
            return self.learning_rate
        falling = (schedule - self.constant_share) / (1 - self.constant_share)
        return self.learning_rate * (1 - falling * (1 - self.final_learning_rate))

    def picture_rate_at(self, schedule: float) -> float:
        """Share of the rates of appearances and cameras: they wait until there is something to see."""
        begin, full = self.picture_warm_up
        rising = min(max((schedule - begin) / (full - begin), 0.0), 1.0)
        return rising * self.final_picture_rate ** (max(schedule - full, 0.0) / (1 - full))

    def samples_at(self, schedule: float) -> int:
        """How many samples a step should look at."""
        return round(self.first_samples * (self.last_samples / self.first_samples) ** schedule)

    def active_levels_at(self, schedule: float) -> int:
        """Fine detail waits until the poses can bear it (BARF, arXiv:2104.06405, section 3.3)."""
        if not self.refine_poses or schedule >= self.coarse_share:
            return self.levels
        first = self.levels // 2
        return first + int((self.levels - first) * schedule / self.coarse_share)

    def march_step_at(self, schedule: float) -> float:
        """Distance between samples, sides of the box."""
        return math.sqrt(3) / (self.first_march_steps * (1 if schedule < 0.5 else 2))

    def limits_at(self, schedule: float) -> Limits:
        """In a box; `NGPModel.without_end` adds what space without an end needs."""
        return Limits(self.march_step_at(schedule), self.lowest_transmittance, self.lowest_weight)


class NGPModel(RayModel):
    """The field, where it is occupied, and the optimiser, for one scene."""

    rays_per_chunk = 2**20  # the fused call cuts rays by itself

    def __init__(self, config: NGP, scene: Scene, *, device: torch.device, backend: str) -> None:
        self.config, self.device, self.background = config, device, scene.background
        self.model_from_input = scene.model_from_input
        self.random_background = config.random_background and scene.has_alpha
        self.backend = resolve_backend(backend, device)
        self.precision = resolve_precision(config.precision, self.backend.name)
        minimum, side = cube_around(scene.bounds.minimum, scene.bounds.maximum)
        self.unbounded, self.near = scene.bounds.unbounded, scene.bounds.near / side
        self.field = NGPField(
            config.field, minimum, side,
            contracted=self.unbounded, backend=self.backend.name, precision=self.precision,
        ).to(device)  # fmt: skip
        self.occupancy = OccupancyGrid(
            config.occupancy_resolution,
            config.occupancy_decay,
            config.occupancy_thinnest,
            config.occupancy_levels if self.unbounded else 1,
        ).to(device)
        self.adam = {n: AdamArrays.of(p.data) for n, p in zip(PARAMETERS, self.parameters(), strict=True)}
        self.steps, self.rays = 0, 1024
        self.appearance: Appearance | None = None  # both made when the first pixels come
        self.cameras: RefinedCameras | None = None
        self.of_pictures: dict[str, Tensor] = {}  # their state, as it was loaded
        self.fused = FusedNGP(self.field, self.occupancy.bits) if self.backend.name == "kernels" else None
        if self.fused:
            self.adam["table"].use_huge_pages()
        else:
            self.rays_per_chunk = 4096

    def step(self, pixels: PixelSource, schedule: float, generator: torch.Generator) -> dict[str, float]:
        """Draw rays, march, evaluate, composite, descend; now and then look again at what is occupied."""
        config, limits = self.config, self.limits_at(schedule)
        if self.steps % config.occupancy_interval == 0:
            self.update_occupancy(limits.march_step, generator.initial_seed())
        depth, sighting_share = self.depth_terms(pixels)
        settings = StepSettings(
            seed=generator.initial_seed(),
            step=self.steps,
            rays=self.rays,
            background=None if self.random_background else (self.background or (0.0, 0.0, 0.0)),
            background_share=config.background_share,
            background_weight=config.background_weight,
            huber_delta=config.huber_delta,
            learning_rate=config.learning_rate_at(schedule),
            beta1=config.beta1,
            beta2=config.beta2,
            epsilon=config.epsilon,
            weight_decay=config.weight_decay,
            distortion=config.distortion,
            depth=depth,
            opacity=config.opacity if self.background is None else 0.0,
            sighting_share=sighting_share,
            active_levels=config.active_levels_at(schedule),
        )
        pixels = self.as_it_looks_now(pixels)
        looks = self.appearance.transforms() if self.appearance else None
        asked = {"appearance": looks, "ray_gradients": self.cameras is not None}
        if self.fused:
            result = self.fused.train_step(pixels, settings, limits, list(self.adam.values()), **asked)
        else:
            result = composed_step(self, pixels, settings, limits, **asked)
        self.steps += 1
        self.adapt_pictures(result.rays, schedule)
        self.adapt_rays(config.samples_at(schedule), result.evaluated)
        return {
            "loss": result.loss,
            "psnr": psnr_of(result.squared_error),
            "rays": settings.rays,
            "samples": result.evaluated,
        }

    def depth_terms(self, pixels: PixelSource) -> tuple[float, float]:
        """Weight of the depth loss, and how many rays go through points; depths of pixels know more."""
        config = self.config
        if pixels.distances is not None or pixels.sighted is None:
            return config.depth, 0.0
        return config.sighting_depth, config.sighting_share

    def as_it_looks_now(self, pixels: PixelSource) -> PixelSource:
        """The pixels behind cameras as they are refined so far."""
        if self.config.appearance and self.appearance is None:
            self.appearance = Appearance(len(pixels))
            self._recall(self.appearance, "appearance.")
        if self.config.refine_poses and self.cameras is None:
            low, side = self.field.box_minimum.cpu(), self.field.box_side
            self.cameras = RefinedCameras(pixels, side, places_between(low, low + side))
            self._recall(self.cameras, "cameras.")
        return self.cameras.pixels if self.cameras else pixels

    def _recall(self, part: Appearance | RefinedCameras, name: str) -> None:
        """What a loaded state says of the pictures waits until they come: their number is in no setting."""
        earlier = {key: value for key, value in self.of_pictures.items() if name in key}
        if earlier:
            part.load_state(earlier)

    def adapt_pictures(self, rays: StepRays | None, schedule: float) -> None:
        """Looks and cameras of the pictures follow what a step told of its rays."""
        config = self.config
        left = config.picture_rate_at(schedule)
        if self.appearance:
            self.appearance.update(rays, config.appearance_rate * left, self.steps)
        if self.cameras:
            # A scene without detail is as well seen through a longer lens: focal lengths wait for it.
            focal = config.focal_rate * left if schedule >= config.coarse_share else 0.0
            self.cameras.update(rays, config.pose_rate * left, focal, self.steps)

    def limits_at(self, schedule: float) -> Limits:
        """Of a training step."""
        growth = self.config.march_growth / (1 if schedule < 0.5 else 2)
        return self.without_end(self.config.limits_at(schedule), growth, self.config.near_fade)

    def without_end(self, limits: Limits, growth: float, fade: float = 0.0) -> Limits:
        """What the limits become where space has no end: steps grow, and rays begin a little way off."""
        if not self.unbounded:
            return limits
        return replace(limits, march_growth=growth, march_near=self.near, fade=fade)

    def adapt_rays(self, wanted_samples: int, evaluated: int) -> None:
        """As many rays next time as should meet `wanted_samples`, at most twice or half as many as now."""
        wanted = self.rays * wanted_samples / max(evaluated, 1)
        wanted = min(max(wanted, self.rays / 2), self.rays * 2, MOST_RAYS)
        self.rays = max(RAYS_UNIT, round(wanted / RAYS_UNIT) * RAYS_UNIT)

    def update_occupancy(self, march_step: float, seed: int) -> None:
        """Look at some cells again; densities there are per side of the box."""
        grid, side, corner = self.occupancy, self.field.box_side, self.field.box_minimum
        if self.fused:
            self.fused.update_occupancy(
                grid.density,
                seed=seed,
                step=self.steps,
                updates=int(grid.updates),
                stride=grid.stride(self.steps),
                march_step=march_step,
                decay=grid.decay,
                thinnest=grid.thinnest,
            )
            grid.updates += 1
        else:

            def density_at(unit: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
                reach = (2 * unit - 1).abs().amax(dim=-1).clamp(min=1) if self.unbounded else 1.0
                return self.field.density(unit * side + corner) * side * reach

            grid.update(density_at, march_step, seed=seed, step=self.steps)

    @differentiable_in_rays
    def render_rays(
        self, rays: Rays, outputs: Sequence[str], background: Colour | None = None, crop: Crop | None = None
    ) -> Rendered:
        """See `RayModel`. Samples stand in the middle of their steps."""
        config, side = self.config, self.field.box_side
        step = math.sqrt(3) / config.render_march_steps
        limits = Limits(step, config.render_lowest_transmittance, config.lowest_weight)
        limits = self.without_end(limits, config.render_march_growth)
        if crop:
            cube = similarity(1 / side, torch.eye(3), -self.field.box_minimum.cpu() / side)
            limits = replace(limits, crop=crop.moved(cube).matrix().to(self.device, torch.float32))
        if self.fused and not torch.is_grad_enabled():
            origins, directions = rays.origins.contiguous(), rays.directions.contiguous()
            count = "samples" in outputs
            rgb, opacity, weighted, samples = self.fused.render(origins, directions, limits, count=count)
        else:
            rgb, opacity, weighted, samples, *_ = look(self, rays, limits)
        found = {
            "rgb": over_background(rgb, opacity, self.background_colour(background)),
            "opacity": opacity,
            "distance": expected_distance(weighted, opacity),
            "samples": samples,
        }
        return Rendered(**{name: found[name] for name in outputs})

    def density_at(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
        """See `RayModel`."""
        if self.fused and not torch.is_grad_enabled():
            return self.fused.density(points.contiguous())
        return frozen(self.field).density(points)

    dtype = property(lambda self: self.field.grid.table.dtype)

    def parameters(self) -> list[Tensor]:
        """Table, density weights, colour weights: in the order of `PARAMETERS`."""
        return [self.field.grid.table, self.field.density_weights, self.field.color_weights]

    def state(self) -> dict[str, Tensor]:
        """Everything that a resumed training needs; bit-exact."""
        state = {f"field.{name}": adam.value for name, adam in self.adam.items()}
        state |= {f"occupancy.{name}": value for name, value in self.occupancy.state_dict().items()}
        for name, adam in self.adam.items():
            state[f"optimizer.{name}.first_moment"] = adam.first_moment
            state[f"optimizer.{name}.second_moment"] = adam.second_moment
        counters = {"optimizer.steps": self.steps, "optimizer.rays": self.rays}
        parts = [part.state() for part in (self.appearance, self.cameras) if part]
        for of_pictures in parts or [self.of_pictures]:
            state |= of_pictures
        return state | {name: torch.tensor(value) for name, value in counters.items()}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take over what `state` gave. Raises ValueError for names or shapes that do not fit."""
        self.appearance = self.cameras = None
        names = [name for name in state if ".appearance." in f".{name}" or ".cameras." in f".{name}"]
        self.of_pictures = {name: state[name].clone() for name in names}
        own = self.state()
        check_state(own, state)
        for name, value in own.items():
            value.copy_(state[name])
        self.steps, self.rays = int(state["optimizer.steps"]), int(state["optimizer.rays"])
        if self.fused:
            self.fused.refresh()

    def description(self) -> dict[str, Any]:
        """What a run's record says of this model."""
        cameras = {"cameras": self.cameras.summary()} if self.cameras else {}
        return cameras | {
            "backend": self.backend.name,
            "precision": self.precision,
            "space": "nested boxes, contracted" if self.unbounded else "box",
            "parameters": sum(p.numel() for p in self.parameters()),
        }
