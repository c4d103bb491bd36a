"""The photographs that a scene was trained on, beside what is rendered: how far off that is."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from render.methods.base import Colour
from render.modes import DEPTH_COLOURS, SEEN, along_colours
from scenes.cameras import Cameras
from scenes.crop import Crop
from scenes.images import downscaled, on_background
from scenes.scene import Scene

LONGEST_SIDE = 800  # pixels of a photograph that is compared
AGREEING = 0.03  # of the depth: what is farther behind what the photograph shows is hidden from it
WORST = 0.25  # of the range of colours: an error as large as this has the last colour
UNSEEN = 0.5  # grey


@dataclass(frozen=True, eq=False)
class Photographs:
    """Those of a scene, in the model frame, read when they are needed."""

    scene: Scene

    def nearest(self, camera: Cameras) -> int:
        """The one whose camera stands and looks most alike; a radian counts like the cameras' spread."""
        poses = self.scene.cameras.camera_to_world.double().cpu()
        pose = camera.camera_to_world.double().cpu()
        spread = (poses[:, :3, 3] - poses[:, :3, 3].mean(dim=0)).norm(dim=-1).mean().clamp(min=1e-9)
        away = (poses[:, :3, 3] - pose[:3, 3]).norm(dim=-1) / spread
        turned = torch.acos((poses[:, :3, 2] @ pose[:3, 2]).clamp(-1, 1))
        return int((away + turned).argmin())

    @lru_cache(maxsize=8)  # noqa: B019 (one object a session)
    def picture(self, index: int, longest: int = LONGEST_SIDE) -> tuple[Float[Tensor, "h w 3"], Cameras]:
        """A photograph on the scene's background, its longest side at most `longest`, and its camera."""
        camera = self.scene.cameras[index]
        camera = camera.scaled(max(max(camera.width, camera.height) / longest, 1.0))
        small = downscaled(self.scene.images[index], camera.width, camera.height)
        return on_background(small, self.scene.background), camera


def error_picture(
    model: Any,
    photographs: Photographs,
    camera: Cameras,
    background: Colour | None = None,
    crop: Crop | None = None,
) -> tuple[Float[Tensor, "h w 3"], Float[Tensor, "h w"]]:
    """Each pixel's difference from the nearest photograph there, light to dark; grey where that does not see.

    And the z_depth of what is rendered, 0 where nothing is.
    What a pixel shows is looked up in the photograph by its place in space; the photograph sees it unless
    something stands in front of it there.
    """
    photograph, taken_by = photographs.picture(photographs.nearest(camera))
    seen = model.render(camera, ("rgb", "z_depth", "opacity"), background, crop)
    points = camera.unproject(camera.pixel_centres(), seen.z_depth)
    pixels, z_depth = taken_by.project(points)
    there = _looked_up(photograph, pixels)
    small = taken_by.scaled(4)
    front = model.render(small, ("z_depth",), background, crop).z_depth
    hides = _looked_up(front[..., None], pixels / 4)[..., 0]
    inside = (pixels > 0).all(-1) & (pixels[..., 0] < taken_by.width) & (pixels[..., 1] < taken_by.height)
    known = (z_depth > 0) & inside & (seen.opacity >= SEEN) & (z_depth < (1 + AGREEING) * hides)
    error = (seen.rgb - there).abs().mean(dim=-1) / WORST
    shown = torch.where(known[..., None], along_colours(DEPTH_COLOURS[::-1], error.clamp(0, 1)), UNSEEN)
    return shown, torch.where(seen.opacity >= SEEN, seen.z_depth, 0.0)


def _looked_up(picture: Float[Tensor, "h w c"], pixels: Float[Tensor, "a b 2"]) -> Float[Tensor, "a b c"]:
    """Bilinear values of a picture at pixels; those of its border beyond it."""
    height, width = picture.shape[:2]
    grid = 2 * pixels / pixels.new_tensor([width, height]) - 1
    grid = torch.nan_to_num(grid, nan=-2.0).clamp(-2, 2)
    planes = picture.movedim(-1, 0)[None]
    found = F.grid_sample(planes, grid[None], padding_mode="border", align_corners=False)
    return found[0].movedim(0, -1)
