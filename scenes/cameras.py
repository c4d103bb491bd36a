"""Pinhole cameras: points to pixels, pixels to rays.

OpenCV axes: x right, y down, z forward. Pixel coordinates (x, y) put the centre of the first pixel at
(0.5, 0.5), so the picture covers [0, width] x [0, height] and a centred camera has cx = width / 2.
`z_depth` is measured along the optical axis; distances along rays are called `distance`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize, pad

from scenes.rays import Rays

Vectors = Float[Tensor, "*#n 3"] | Sequence[float | int]


def rays_through(
    camera_to_world: Float[Tensor, "*n rows 4"],
    intrinsics: Float[Tensor, "*n 4"],
    pixels: Float[Tensor, "*p 2"],
) -> Rays:
    """Rays from the camera centres through `pixels`; `intrinsics` are fx, fy, cx, cy in pixels.

    Cameras and pixels broadcast against each other: one camera takes any number of pixels, n cameras
    take one pixel each.
    """
    fx, fy, cx, cy = intrinsics.unbind(-1)
    x, y = pixels.unbind(-1)
    x, y = torch.broadcast_tensors((x - cx) / fx, (y - cy) / fy)
    directions = normalize(torch.stack((x, y, torch.ones_like(x)), dim=-1), dim=-1)
    rotation, centre = camera_to_world[..., :3, :3], camera_to_world[..., :3, 3]
    directions = (rotation * directions[..., None, :]).sum(-1)
    return Rays(centre.expand_as(directions), directions)


@dataclass(frozen=True, eq=False)
class Cameras:
    """A batch of cameras of one image size.

    camera_to_world  (*n, 4, 4)  rigid, OpenCV axes, scene units
    fx, fy, cx, cy   (*n,)       focal lengths and principal point, pixels
    width, height                image size, pixels
    """

    camera_to_world: Float[Tensor, "*n 4 4"]
    fx: Float[Tensor, "*n"]
    fy: Float[Tensor, "*n"]
    cx: Float[Tensor, "*n"]
    cy: Float[Tensor, "*n"]
    width: int
    height: int

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise ValueError(f"image size must be at least 1 x 1, got {self.width} x {self.height}")
        if self.camera_to_world.shape[-2:] != (4, 4):
            raise ValueError(f"camera_to_world must end in 4 4, got {tuple(self.camera_to_world.shape)}")
        for name in ("fx", "fy", "cx", "cy"):
            if (shape := getattr(self, name).shape) != self.shape:
                raise ValueError(f"{name} is {tuple(shape)}, camera_to_world has {tuple(self.shape)} cameras")

    @classmethod
    def from_fov(
        cls, camera_to_world: Float[Tensor, "*n 4 4"], width: int, height: int, fov: float | int
    ) -> "Cameras":
        """Centred cameras with square pixels; `fov` is the vertical field of view in degrees."""
        if not 0 < fov < 180:
            raise ValueError(f"fov must lie between 0 and 180 degrees, got {fov}")
        n = camera_to_world.shape[:-2]
        focal = camera_to_world.new_full(n, 0.5 * height / math.tan(math.radians(fov) / 2))
        cx, cy = camera_to_world.new_full(n, width / 2), camera_to_world.new_full(n, height / 2)
        return cls(camera_to_world, focal, focal, cx, cy, width, height)

    @classmethod
    def look_at(
        cls, eye: Vectors, target: Vectors, up: Vectors, width: int, height: int, fov: float | int
    ) -> "Cameras":
        """Cameras at `eye` that see `target` in the middle of the picture and `up` upwards.

        eye, target, up: (*n, 3), broadcast against each other; fov: vertical, degrees.
        Raises: ValueError where eye is target, or where up runs along the view.
        """
        eye, target, up = torch.broadcast_tensors(
            *(torch.as_tensor(v, dtype=torch.float64) for v in (eye, target, up))
        )
        forward = normalize(target - eye, dim=-1)
        right = torch.linalg.cross(forward, normalize(up, dim=-1))
        if not bool((forward.norm(dim=-1) > 0.5).all()):
            raise ValueError("eye and target are the same point; move one of them")
        if not bool((right.norm(dim=-1) > 1e-6).all()):
            raise ValueError("up runs along the view direction; choose another up")
        right = normalize(right, dim=-1)
        down = torch.linalg.cross(forward, right)
        pose = pad(torch.stack((right, down, forward, eye), dim=-1), (0, 0, 0, 1))
        pose[..., 3, 3] = 1
        return cls.from_fov(pose.to(torch.float32), width, height, fov)

    @property
    def shape(self) -> torch.Size:
        """Shape of the batch: () for one camera."""
        return self.camera_to_world.shape[:-2]

    @property
    def intrinsics(self) -> Float[Tensor, "*n 4"]:
        """fx, fy, cx, cy in pixels."""
        return torch.stack((self.fx, self.fy, self.cx, self.cy), dim=-1)

    @property
    def centres(self) -> Float[Tensor, "*n 3"]:
        """Where the cameras stand, scene units."""
        return self.camera_to_world[..., :3, 3]

    @property
    def fov(self) -> Float[Tensor, "*n"]:
        """Vertical field of view, degrees (of a centred camera)."""
        return torch.rad2deg(2 * torch.atan(0.5 * self.height / self.fy))

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("this is one camera, not a batch of them")
        return len(self.camera_to_world)

    def __getitem__(self, index: Any) -> "Cameras":
        if not self.shape:
            raise IndexError("this is one camera, not a batch of them")
        arrays = {
            f.name: getattr(self, f.name)[index] for f in fields(self) if f.name not in ("width", "height")
        }
        return replace(self, **arrays)

    def to(self, device: torch.device | str) -> "Cameras":
        """The same cameras on another device."""
        arrays = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{k: v.to(device) for k, v in arrays.items() if isinstance(v, Tensor)})

    def scaled(self, factor: float | int) -> "Cameras":
        """Cameras for pictures reduced `factor` times (2 = half the width); sides are rounded.

        The focal lengths follow the rounded sides, so the field of view does not change.
        """
        if not (math.isfinite(factor) and factor > 0):
            raise ValueError(f"factor must be a positive number, got {factor}")
        width, height = (max(1, round(side / factor)) for side in (self.width, self.height))
        x, y = width / self.width, height / self.height
        return Cameras(
            self.camera_to_world, self.fx * x, self.fy * y, self.cx * x, self.cy * y, width, height
        )

    def pixel_centres(self) -> Float[Tensor, "height width 2"]:
        """(x, y) of the middle of every pixel, rows from the top."""
        x = torch.arange(self.width, device=self.fx.device, dtype=self.fx.dtype) + 0.5
        y = torch.arange(self.height, device=self.fx.device, dtype=self.fx.dtype) + 0.5
        return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)

    def rays(self, pixels: Float[Tensor, "*p 2"] | None = None) -> Rays:
        """Rays through `pixels`; without them, through every pixel centre of one camera: (height, width).

        One camera takes any number of pixels, n cameras take one pixel each.
        """
        if pixels is None:
            if self.shape:
                raise ValueError(f"all pixels are taken of one camera, got {len(self)}; index one first")
            pixels = self.pixel_centres()
        return rays_through(self.camera_to_world, self.intrinsics, pixels)

    def project(self, points: Float[Tensor, "*p 3"]) -> tuple[Float[Tensor, "*q 2"], Float[Tensor, "*q"]]:
        """Pixels and z_depth of world points; points and cameras broadcast.

        A point is in front of the camera only where z_depth > 0; elsewhere its pixel means nothing.
        """
        from_centre = points - self.centres
        seen = (from_centre[..., :, None] * self.camera_to_world[..., :3, :3]).sum(-2)
        x, y, z_depth = seen.unbind(-1)
        pixels = torch.stack((self.fx * x / z_depth + self.cx, self.fy * y / z_depth + self.cy), dim=-1)
        return pixels, z_depth

    def unproject(self, pixels: Float[Tensor, "*p 2"], z_depth: Float[Tensor, "*p"]) -> Float[Tensor, "*q 3"]:
        """World points that `project` sends to these pixels at this z_depth."""
        x = (pixels[..., 0] - self.cx) / self.fx
        y = (pixels[..., 1] - self.cy) / self.fy
        seen = torch.stack((x, y, torch.ones_like(x)), dim=-1) * z_depth[..., None]
        return (self.camera_to_world[..., :3, :3] * seen[..., None, :]).sum(-1) + self.centres
