"""The instant-ngp field in fused calls: a training step, a picture, densities.

What they compute is defined by the readable parts: `render/methods/ngp_composed.py` for the step's loss
and gradients, `fields.kernels.adam` for its update, `fields.ngp.NGPField` for the field. Only the rounds in
which rays are marched, and the order of sums, are their own.
"""

import ctypes
import weakref
from collections.abc import Callable, Sequence
from ctypes import c_float, c_int64
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fields.kernels.checks import check_array
from fields.kernels.library import Grid, Library, library
from fields.kernels.ngp_structs import (
    AdamStruct,
    FieldStruct,
    OccupancyStruct,
    PixelsStruct,
    StepRaysStruct,
    StepStruct,
    pixels_struct,
)
from fields.ngp import NGPField
from scenes.pixels import PixelSource

FEATURES = (2, 4, 8)  # a level of the kernels' grid
WIDEST_ENCODING = 64


@dataclass(frozen=True)
class Limits:
    """Where a ray stops, and which samples count.

    march_step            distance between samples, sides of the box
    march_growth          of that distance with t, and
    march_near            where rays begin, sides of the box: `Spacing` of fields/kernels/march.py
    fade                  gradients of samples nearer than this are scaled by (t / fade)^2; sides of the box
    lowest_transmittance  samples behind less than this are dropped
    lowest_weight         samples that weigh no more than this have no colour and no gradient
    crop                  (3, 4) map of the unit cube, or None: samples that it sends out of [-1, 1]^3 are
                          left out; only rendering has it
    """

    march_step: float
    lowest_transmittance: float = 1e-4
    lowest_weight: float = 1e-4
    march_growth: float = 0.0
    march_near: float = 0.0
    fade: float = 0.0
    crop: Float[Tensor, "3 4"] | None = None

    @property
    def cut_nothing(self) -> bool:
        return self.lowest_transmittance <= 0 and self.lowest_weight < 0


@dataclass(frozen=True)
class StepSettings:
    """One training step: its place in the run, its rays, and Adam's numbers.

    background: the colour behind the rays, or None for a random one for each ray.
    background_share, background_weight: how often certain background is drawn, and how much it then counts.
    distortion: weight of the distortion loss (arXiv:2111.12077), which draws a ray's samples together.
    depth: weight of the depth loss, for rays whose distance is known.
    opacity: weight of a loss that wants every ray to end on something.
    sighting_share: of the rays, through points of structure from motion, if these are known.
    active_levels: how many levels of the grid learn, and move rays; None: all.
    weight_decay: L2 term of the networks' gradients (the grid has none).
    """

    seed: int
    step: int  # 0, 1, ...
    rays: int
    background: tuple[float, float, float] | None
    background_share: float
    background_weight: float
    huber_delta: float
    learning_rate: float
    beta1: float
    beta2: float
    epsilon: float
    weight_decay: float
    distortion: float = 0.0
    depth: float = 0.0
    opacity: float = 0.0
    sighting_share: float = 0.0
    active_levels: int | None = None


@dataclass
class AdamArrays:
    """One parameter's flat Adam state. The gradient is all zeros between steps, for the grid."""

    value: Float[Tensor, " p"]
    first_moment: Float[Tensor, " p"]
    second_moment: Float[Tensor, " p"]
    gradient: Float[Tensor, " p"]

    @classmethod
    def of(cls, value: Float[Tensor, " p"]) -> "AdamArrays":
        return cls(value, *(torch.zeros_like(value) for _ in range(3)))

    @property
    def arrays(self) -> tuple[Tensor, ...]:
        return self.value, self.first_moment, self.second_moment, self.gradient

    def use_huge_pages(self) -> None:
        use_huge_pages(*self.arrays)

    def struct(self) -> AdamStruct:
        for array in self.arrays:
            check_array("Adam state", array, self.value.shape)
        return AdamStruct(*(array.data_ptr() for array in self.arrays))


class StepRays(NamedTuple):
    """What a step tells of its rays, for what lies in front of the field: cameras and pictures.

    pixel               (n, 3) int32, picture, column, row
    color               (n, 3) composited, before the picture's appearance
    color_gradient      (n, 3) of the loss, by the colour behind it
    origin_gradient     (n, 3) of the loss, model frame, or None
    direction_gradient  (n, 3) likewise, as if directions were free to change their length
    """

    pixel: Int[Tensor, "n 3"]
    color: Float[Tensor, "n 3"]
    color_gradient: Float[Tensor, "n 3"]
    origin_gradient: Float[Tensor, "n 3"] | None
    direction_gradient: Float[Tensor, "n 3"] | None

    @classmethod
    def empty(cls, rays: int, gradients: bool) -> "StepRays":
        pixel = torch.empty(rays, 3, dtype=torch.int32)
        others = (torch.empty(rays, 3) if i < 2 or gradients else None for i in range(4))
        return cls(pixel, *others)

    def struct(self) -> StepRaysStruct:
        return StepRaysStruct(*(None if array is None else array.data_ptr() for array in self))


@dataclass(frozen=True)
class StepResult:
    """Means over rays and channels, and how many samples were looked at and how many taught.

    stages: thread seconds by stage, empty unless asked for.
    rays: only if asked for.
    """

    loss: float
    squared_error: float
    evaluated: int
    selected: int
    stages: dict[str, float]
    rays: StepRays | None = None


class FusedNGP:
    """A field's fused calls: its half-precision copy of the table, and the working memory they keep.

    The field is used where it stands: its parameters change in place. After changing them by other means,
    call `refresh`. Not for two threads at once.
    """

    def __init__(self, field: NGPField, bits: Int[Tensor, "v w w"]) -> None:
        """bits: the occupancy words (`render/samplers/occupancy.py`), read anew by every call.

        Raises: KernelsUnavailable, or ValueError for a field that the kernels do not cover.
        """
        spec = field.spec.grid
        if (bits.shape[0] > bits.shape[1]) != field.contracted:
            raise ValueError("nested occupancy goes with a contracted field, one grid with one that is not")
        if spec.features not in FEATURES or spec.outputs > WIDEST_ENCODING:
            raise ValueError(
                f"the kernels take {FEATURES} features a level and {WIDEST_ENCODING} in all, not "
                f"{spec.features} x {spec.levels}; use backend='reference'"
            )
        self.library: Library = library()
        self.field, self.bits = field, bits
        self.structs: dict[int | str, tuple[tuple, ctypes.Structure]] = {}
        self.pixels: tuple[weakref.ref, PixelsStruct] | None = None
        self.half = torch.empty_like(field.grid.table, dtype=torch.float16)
        use_huge_pages(field.grid.table.detach(), self.half)
        self.refresh()
        handle = self.library.handle
        self.workspace = handle.nr_ngp_workspace_create()
        if not self.workspace:
            raise MemoryError("no memory for the kernels' workspace")
        weakref.finalize(self, handle.nr_ngp_workspace_destroy, self.workspace)

    def refresh(self) -> None:
        """Follow the table after it was changed from outside."""
        if self.field.precision == "bfloat16":
            table = self.field.grid.table.detach()
            self.library.call("nr_table_to_half", table, table.numel(), self.half)

    def train_step(
        self,
        pixels: PixelSource,
        settings: StepSettings,
        limits: Limits,
        states: Sequence[AdamArrays],
        *,
        appearance: Float[Tensor, "images 3 4"] | None = None,
        ray_gradients: bool = False,
        gradients_only: bool = False,
        profile: bool = False,
    ) -> StepResult:
        """One step on rays drawn from `pixels`; `states` are those of table, density and colour weights.

        appearance: of each picture A, b: the composited colour c is compared as A c + b.
        ray_gradients: those of `StepRays`, which comes with `appearance` too.
        gradients_only: leave the gradients in the states and change no parameter.
        """
        field, source = self._struct(), self._pixels_struct(pixels)
        if appearance is not None:
            check_array("appearance", appearance, (len(pixels), 3, 4))
        source.appearance = None if appearance is None else appearance.data_ptr()
        told = None
        if ray_gradients or appearance is not None:
            told = StepRays.empty(settings.rays, ray_gradients)
        told_struct = told and told.struct()
        shares = settings.background_share, settings.sighting_share
        source.foreground_rate = pixels.foreground_rate(*shares)
        source.sighting_rate = pixels.sighting_rate(settings.sighting_share)
        step = StepStruct(
            seed=settings.seed % 2**64,
            step=settings.step,
            rays=settings.rays,
            march_step=limits.march_step,
            march_growth=limits.march_growth,
            march_near=limits.march_near,
            lowest_transmittance=limits.lowest_transmittance,
            lowest_weight=limits.lowest_weight,
            fade=limits.fade,
            distortion=settings.distortion,
            depth=settings.depth,
            opacity=settings.opacity,
            active_levels=settings.active_levels or self.field.spec.grid.levels,
            huber_delta=settings.huber_delta,
            background_weight=settings.background_weight,
            random_background=settings.background is None,
            background=(c_float * 3)(*(settings.background or (0, 0, 0))),
            learning_rate=settings.learning_rate,
            beta1=settings.beta1,
            beta2=settings.beta2,
            epsilon=settings.epsilon,
            weight_decay=settings.weight_decay,
            rays_told=told and ctypes.addressof(told_struct),
            gradients_only=gradients_only,
            profile=profile,
        )
        step.table, step.density_weights, step.color_weights = (
            self._kept(i, state.arrays, state.struct) for i, state in enumerate(states)
        )
        pointers = (ctypes.addressof(struct) for struct in (field, source, step))
        self.library.call("nr_ngp_train_step", *pointers, self.workspace)
        names = (self.library.handle.nr_ngp_stage_name(i).decode() for i in range(10)) if profile else ()
        stages = dict(zip(names, step.stage_seconds, strict=False))
        return StepResult(step.loss, step.squared_error, step.evaluated, step.selected, stages, told)

    def render(
        self,
        origins: Float[Tensor, "n 3"],
        directions: Float[Tensor, "n 3"],
        limits: Limits,
        *,
        count: bool = False,
    ) -> tuple[Float[Tensor, "n 3"], Float[Tensor, " n"], Float[Tensor, " n"], Int[Tensor, " n"] | None]:
        """rgb without a background, opacity, and sum of weight x distance, of rays in the model frame.

        count: also how many samples of each ray were seen, int32; else None.
        """
        rays = len(origins)
        check_array("origins", origins, (None, 3))
        check_array("directions", directions, (rays, 3))
        rgb, opacity, distance = torch.empty(rays, 3), torch.empty(rays), torch.empty(rays)
        samples = torch.empty(rays, dtype=torch.int32) if count else None
        crop = None if limits.crop is None else limits.crop.float().contiguous()
        field, evaluated, selected = self._struct(), c_int64(), c_int64()
        self.library.call(
            "nr_ngp_render", ctypes.addressof(field), origins, directions, rays,
            limits.march_step, limits.march_growth, limits.march_near,
            limits.lowest_transmittance, limits.lowest_weight, crop, rgb, opacity, distance, samples,
            ctypes.addressof(evaluated), ctypes.addressof(selected), self.workspace,
        )  # fmt: skip
        return rgb, opacity, distance, samples

    def density(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
        """Density (1 / model unit) at points of the model frame."""
        check_array("points", points, (None, 3))
        density, field = torch.empty(len(points)), self._struct()
        self.library.call(
            "nr_ngp_density", ctypes.addressof(field), points, len(points), density, self.workspace
        )
        return density

    def update_occupancy(
        self,
        density: Float[Tensor, "z r r"],
        *,
        seed: int,
        step: int,
        updates: int,
        stride: int,
        march_step: float,
        decay: float,
        thinnest: float,
    ) -> None:
        """Bring cell densities (1 / box side) and bits up to date, as `OccupancyGrid.update` defines it."""
        check_array("density", density, tuple(4 * side for side in self.bits.shape))
        field = self._struct()
        update = OccupancyStruct(
            density.data_ptr(), self.bits.data_ptr(), seed % 2**64, step, updates, stride,
            march_step, decay, thinnest,
        )  # fmt: skip
        pointers = ctypes.addressof(field), ctypes.addressof(update)
        self.library.call("nr_ngp_update_occupancy", *pointers, self.workspace)

    def _kept(self, name: int | str, arrays: Sequence[Tensor], build: Callable[[], Any]) -> Any:
        """What `build` makes of the arrays, made and checked again only when one of them has moved."""
        places = tuple((array.data_ptr(), array.shape) for array in arrays)
        if name not in self.structs or self.structs[name][0] != places:
            self.structs[name] = places, build()
        return self.structs[name][1]

    def _pixels_struct(self, pixels: PixelSource) -> PixelsStruct:
        if self.pixels is None or self.pixels[0]() is not pixels:
            self.pixels = weakref.ref(pixels), pixels_struct(pixels)
        return self.pixels[1]

    def _struct(self) -> FieldStruct:
        field = self.field
        arrays = (field.grid.table, field.density_weights, field.color_weights, self.bits, self.half)
        arrays += (field.grid.scale, field.grid.resolution, field.grid.offset)
        return self._kept("field", arrays, self._field_struct)

    def _field_struct(self) -> FieldStruct:
        field, spec = self.field, self.field.spec
        check_array("table", field.grid.table, (spec.grid.parameter_count,))
        check_array("density_weights", field.density_weights, (spec.density_network.parameter_count,))
        check_array("color_weights", field.color_weights, (spec.color_network.parameter_count,))
        check_array("bits", self.bits, (None, None, None), torch.int64)
        levels = (field.grid.scale, field.grid.resolution, field.grid.offset)
        return FieldStruct(
            grid=Grid(spec.grid.levels, spec.grid.features, *(array.data_ptr() for array in levels)),
            table=field.grid.table.data_ptr(),
            table_half=self.half.data_ptr(),
            density_weights=field.density_weights.data_ptr(),
            color_weights=field.color_weights.data_ptr(),
            density_width=spec.density_width,
            density_hidden_layers=spec.density_layers,
            color_width=spec.color_width,
            color_hidden_layers=spec.color_layers,
            bits=self.bits.data_ptr(),
            resolution=4 * self.bits.shape[1],
            levels=self.bits.shape[0] // self.bits.shape[1],
            bfloat16=field.precision == "bfloat16",
            box_minimum=(c_float * 3)(*field.box_minimum.tolist()),
            box_side=field.box_side,
            density_shift=spec.density_shift,
        )


def use_huge_pages(*arrays: Tensor) -> None:
    """Ask the system for huge pages under arrays that are read at random: fewer address look-ups miss."""
    for array in arrays:
        library().call("nr_use_huge_pages", array, array.numel() * array.element_size())
