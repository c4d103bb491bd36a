"""What a picture can show of a scene: its colours, or something measured drawn in colours."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from render.methods.base import Colour, Rendered
from scenes.cameras import Cameras
from scenes.crop import Crop
from scenes.images import quantised

# What each needs of `Model.render`; "depth" is z_depth or distance (`depth_output`).
MODES = {
    "rgb": ("rgb",),
    "depth": ("depth", "opacity"),
    "opacity": ("opacity",),
    "normal": ("normal", "opacity"),
    "samples": ("samples",),
}
# Near to far: light yellow, orange, purple, blue, nearly black; each darker than the one before.
DEPTH_COLOURS = (
    (1.0, 0.97, 0.75),
    (0.98, 0.62, 0.32),
    (0.72, 0.24, 0.47),
    (0.25, 0.15, 0.47),
    (0.03, 0.03, 0.10),
)
RANGE_VIEWS, RANGE_WIDTH = 8, 64  # looked at to choose a scale
SEEN = 0.5  # opacity from which a pixel has a depth


@dataclass(frozen=True)
class Scale:
    """What the colours of measured things stand for.

    nearest, farthest  scene units, of "depth"
    most_samples       of a ray, of "samples": white
    """

    nearest: float = 1.0
    farthest: float = 2.0
    most_samples: int = 256


def depth_output(camera: Cameras) -> str:
    """Lenses that see to the side and behind have no useful z_depth: along the ray, there."""
    return "z_depth" if camera.projection == "perspective" else "distance"


def outputs_of(modes: Sequence[str], camera: Cameras) -> tuple[str, ...]:
    """What to ask `Model.render` for."""
    far = depth_output(camera)
    return tuple(dict.fromkeys(far if o == "depth" else o for mode in modes for o in MODES[mode]))


def draw_modes(
    model: Any,
    camera: Cameras,
    modes: Sequence[str],
    scale: Scale,
    background: Colour | None = None,
    crop: Crop | None = None,
) -> UInt8[Tensor, "h w 3"]:
    """What a camera sees in each mode, from left to right."""
    seen = model.render(camera, outputs_of(modes, camera), background, crop)
    return quantised(torch.cat([coloured(seen, mode, camera, scale) for mode in modes], dim=1))


def coloured(seen: Rendered, mode: str, camera: Cameras, scale: Scale) -> Float[Tensor, "h w 3"]:
    """One mode of what was rendered, in [0, 1] but for the rounding of rgb, on the CPU."""
    if mode == "rgb":
        return seen.rgb.cpu()
    if mode == "depth":
        depth = getattr(seen, depth_output(camera))
        return depth_colours(depth.cpu(), seen.opacity.cpu(), scale.nearest, scale.farthest)
    if mode == "normal":
        there = (seen.opacity >= SEEN) & seen.normal.any(dim=-1)
        return torch.where(there[..., None], (seen.normal + 1) / 2, 0.0).cpu()
    if mode == "samples":
        share = seen.samples.cpu().float() / scale.most_samples
        return along_colours(DEPTH_COLOURS[::-1], share.clamp(0, 1))
    return seen.opacity.cpu()[..., None].expand(-1, -1, 3)


def depth_colours(
    depth: Float[Tensor, "h w"], opacity: Float[Tensor, "h w"], nearest: float, farthest: float
) -> Float[Tensor, "h w 3"]:
    """Even steps of 1 / depth from light (near) to dark (far); black where nothing is."""
    there = (opacity >= SEEN) & depth.isfinite()
    inverse = 1 / torch.where(there, depth, farthest).clamp(min=1e-9)
    place = (1 / nearest - inverse) / (1 / nearest - 1 / farthest)
    return torch.where(there[..., None], along_colours(DEPTH_COLOURS, place.clamp(0, 1)), 0.0)


def along_colours(colours: Sequence[Sequence[float]], place: Float[Tensor, "*n"]) -> Float[Tensor, "*n 3"]:
    """The colours between the first (0) and the last (1) of evenly spaced ones."""
    stops = torch.tensor(colours)
    along = place * (len(stops) - 1)
    first = along.floor().long().clamp(max=len(stops) - 2)
    return torch.lerp(stops[first], stops[first + 1], (along - first)[..., None])


def scale_of(model: Any, cameras: Cameras, modes: Sequence[str]) -> Scale:
    """A scale for all that these cameras see: depths but for a hundredth at either end, and samples."""
    wanted = [mode for mode in modes if mode in ("depth", "samples")]
    if not wanted:
        return Scale()
    small = cameras.scaled(max(cameras.largest[0] / RANGE_WIDTH, 1.0))
    depths, counts = [torch.zeros(0)], [torch.ones(1)]
    for index in torch.linspace(0, len(cameras) - 1, min(RANGE_VIEWS, len(cameras))).round().int().tolist():
        view = model.render(small[index], outputs_of(wanted, small))
        if "depth" in wanted:
            depth = getattr(view, depth_output(small))
            depths.append(depth[(view.opacity >= SEEN) & depth.isfinite()].cpu())
        if "samples" in wanted:
            counts.append(view.samples.cpu().float().flatten())
    most = 2 ** math.ceil(math.log2(max(float(torch.cat(counts).quantile(0.99)), 1.0)))
    found = torch.cat(depths)
    if not len(found):
        return Scale(most_samples=most)  # nothing to show
    nearest, farthest = found.quantile(torch.tensor([0.01, 0.99])).tolist()
    return Scale(max(nearest, 1e-6), max(farthest, 1.001 * nearest, 1.1e-6), most)
