"""Cameras: points to pixels, pixels to rays.

OpenCV axes: x right, y down, z forward. Pixel coordinates (x, y) put the centre of the first pixel at
(0.5, 0.5), so the picture covers [0, width] x [0, height] and a centred camera has cx = width / 2.
`z_depth` is measured along the optical axis; distances along rays are called `distance`. What the lens does
between the two is in `scenes/lenses.py`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import normalize, pad

from scenes.lenses import COEFFICIENTS, PROJECTIONS, distort, undistort
from scenes.matrices import Array, checked_intrinsics, checked_lens, checked_pose
from scenes.rays import Rays

Vectors = Float[Tensor, "*#n 3"] | Sequence[float | int]


def rays_through(
    camera_to_world: Float[Tensor, "*n rows 4"],
    intrinsics: Float[Tensor, "*n 4"],
    pixels: Float[Tensor, "*p 2"],
    distortion: Float[Tensor, "*n 8"] | None = None,
    projection: str = "perspective",
) -> Rays:
    """Rays from the camera centres through `pixels`; `intrinsics` are fx, fy, cx, cy in pixels.

    Cameras and pixels broadcast against each other: one camera takes any number of pixels, n cameras
    take one pixel each. The lens is `distort` of scenes/lenses.py; pixels beyond its field give NaN.
    """
    fx, fy, cx, cy = intrinsics.unbind(-1)
    x, y = pixels.unbind(-1)
    x, y = torch.broadcast_tensors((x - cx) / fx, (y - cy) / fy)
    if distortion is None and projection == "perspective":
        directions = normalize(torch.stack((x, y, torch.ones_like(x)), dim=-1), dim=-1)
    else:
        none = intrinsics.new_zeros(COEFFICIENTS)
        plane = torch.stack((x, y), dim=-1)
        directions = undistort(projection, plane, none if distortion is None else distortion)
    rotation, centre = camera_to_world[..., :3, :3], camera_to_world[..., :3, 3]
    directions = (rotation * directions[..., None, :]).sum(-1)
    return Rays(centre.expand_as(directions), directions)


@dataclass(frozen=True, eq=False)
class Cameras:
    """A batch of cameras behind one kind of lens.

    camera_to_world  (*n, 4, 4)  rigid, OpenCV axes, scene units
    fx, fy, cx, cy   (*n,)       focal lengths and principal point, pixels
    width, height                image size, pixels; a tensor (*n,) where the sizes of a batch differ
    distortion       (*n, 8)     coefficients of the lens, or None: there is no distortion
    projection                   of scenes/lenses.py: perspective, fisheye or equirectangular
    """

    camera_to_world: Float[Tensor, "*n 4 4"]
    fx: Float[Tensor, "*n"]
    fy: Float[Tensor, "*n"]
    cx: Float[Tensor, "*n"]
    cy: Float[Tensor, "*n"]
    width: int | Int64[Tensor, "*n"]
    height: int | Int64[Tensor, "*n"]
    distortion: Float[Tensor, "*n 8"] | None = None
    projection: str = "perspective"

    def __post_init__(self) -> None:
        for name in ("width", "height"):
            object.__setattr__(self, name, _one_if_alike(getattr(self, name)))
        if bool((self.sizes < 1).any()):
            raise ValueError(f"image size must be at least 1 x 1, got {self.width} x {self.height}")
        if self.projection not in PROJECTIONS:
            raise ValueError(f"projection is one of {', '.join(PROJECTIONS)}, got {self.projection!r}")
        if self.distortion is not None and self.distortion.shape != (*self.shape, COEFFICIENTS):
            raise ValueError(
                f"distortion is {tuple(self.distortion.shape)}, it must be {(*self.shape, COEFFICIENTS)}"
            )
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
    def from_matrices(
        cls,
        *,
        K: Array,
        width: int | Int64[Tensor, "*n"],
        height: int | Int64[Tensor, "*n"],
        camera_to_world: Array | None = None,
        world_to_camera: Array | None = None,
        distortion: Array | None = None,
        projection: str = "perspective",
        convention: str = "opencv",
    ) -> "Cameras":
        """Cameras from arrays or tensors, in their precision; gradients pass.

        K: (3, 3) of all, or (*n, 3, 3), pixels, pixel centres at +0.5.
        camera_to_world or world_to_camera: one of the two, (*n, 4, 4) or (*n, 3, 4), rigid.
        distortion: (k,) or (*n, k), k up to 8, in OpenCV's order (scenes/lenses.py).
        convention: of the poses: opencv, or opengl (x right, y up, z back), as Blender and NeRF's files have.
        Raises: ValueError that names the first matrix at fault, what is wrong and what to do.
        """
        given = {"camera_to_world": camera_to_world, "world_to_camera": world_to_camera}
        given = {name: poses for name, poses in given.items() if poses is not None}
        if len(given) != 1:
            raise ValueError("give the poses as camera_to_world or as world_to_camera: one of the two")
        ((name, poses),) = given.items()
        pose = checked_pose(name, poses, convention)
        n, numbers = pose.shape[:-2], checked_intrinsics(K).to(pose)
        if numbers.shape[:-1] not in (n, ()):
            raise ValueError(f"K is for {tuple(numbers.shape[:-1])} cameras, {name} for {tuple(n)}")
        lens = None if distortion is None else checked_lens(distortion).to(pose).expand(*n, COEFFICIENTS)
        return cls(pose, *numbers.expand(*n, 4).unbind(-1), width, height, lens, projection)

    @classmethod
    def from_colmap(cls, source: Any) -> "Cameras":
        """Cameras of a COLMAP model's images, sorted by name, in its own frame and units, float64.

        source: a folder with sparse/0/cameras.bin or .txt, one of these files, or a pycolmap.Reconstruction.
            `scenes.formats.colmap_cameras.read_cameras` also tells the names.
        Raises: SceneError for what is no such model, a lens that is not known, or lenses of several kinds.
        """
        from scenes.formats.colmap_cameras import read_cameras

        return read_cameras(source).cameras

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
    def sizes(self) -> Int64[Tensor, "*n 2"]:
        """Width and height of every picture, pixels."""
        sides = (torch.as_tensor(side).expand(self.shape) for side in (self.width, self.height))
        return torch.stack(tuple(sides), dim=-1)

    @property
    def largest(self) -> tuple[int, int]:
        """Width and height that no picture exceeds, pixels."""
        width, height = (s if isinstance(s, int) else int(s.max()) for s in (self.width, self.height))
        return width, height

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
        """Vertical field of view, degrees, of a centred perspective camera without distortion."""
        return torch.rad2deg(2 * torch.atan(0.5 * self.height / self.fy))

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("this is one camera, not a batch of them")
        return len(self.camera_to_world)

    def __getitem__(self, index: Any) -> "Cameras":
        if not self.shape:
            raise IndexError("this is one camera, not a batch of them")
        return replace(self, **{name: array[index] for name, array in self._arrays().items()})

    @property
    def requires_grad(self) -> bool:
        """Whether autograd follows any of the numbers."""
        return any(array.requires_grad for array in self._arrays().values())

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> "Cameras":
        """The same cameras on another device and, if `dtype` is given, in another precision."""

        def moved(array: Tensor) -> Tensor:
            return array.to(device, dtype if array.is_floating_point() else None)

        return replace(self, **{name: moved(array) for name, array in self._arrays().items()})

    def _arrays(self) -> dict[str, Tensor]:
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, Tensor)}

    def scaled(self, factor: float | int) -> "Cameras":
        """Cameras for pictures reduced `factor` times (2 = half the width); sides are rounded.

        The focal lengths follow the rounded sides, so the field of view does not change.
        """
        if not (math.isfinite(factor) and factor > 0):
            raise ValueError(f"factor must be a positive number, got {factor}")
        width, height = (_shrunk(side, factor) for side in (self.width, self.height))
        x, y = width / self.width, height / self.height
        return replace(
            self, fx=self.fx * x, fy=self.fy * y, cx=self.cx * x, cy=self.cy * y, width=width, height=height
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
        lens = self.distortion, self.projection
        return rays_through(self.camera_to_world, self.intrinsics, pixels, *lens)

    def project(self, points: Float[Tensor, "*p 3"]) -> tuple[Float[Tensor, "*q 2"], Float[Tensor, "*q"]]:
        """Pixels and z_depth of world points; points and cameras broadcast.

        A point is in front of the camera only where z_depth > 0; elsewhere the pixel of a perspective lens
        means nothing.
        """
        from_centre = points - self.centres
        seen = (from_centre[..., :, None] * self.camera_to_world[..., :3, :3]).sum(-2)
        x, y, z_depth = seen.unbind(-1)
        if self.distortion is None and self.projection == "perspective":
            x, y = x / z_depth, y / z_depth
        else:
            x, y = distort(self.projection, seen, self._coefficients()).unbind(-1)
        return torch.stack((self.fx * x + self.cx, self.fy * y + self.cy), dim=-1), z_depth

    def unproject(self, pixels: Float[Tensor, "*p 2"], z_depth: Float[Tensor, "*p"]) -> Float[Tensor, "*q 3"]:
        """World points that `project` sends to these pixels at this z_depth; NaN beyond the lens's field."""
        x = (pixels[..., 0] - self.cx) / self.fx
        y = (pixels[..., 1] - self.cy) / self.fy
        if self.distortion is None and self.projection == "perspective":
            seen = torch.stack((x, y, torch.ones_like(x)), dim=-1)
        else:
            seen = undistort(self.projection, torch.stack((x, y), dim=-1), self._coefficients())
            seen = seen / seen[..., 2:]
        seen = seen * z_depth[..., None]
        return (self.camera_to_world[..., :3, :3] * seen[..., None, :]).sum(-1) + self.centres

    def _coefficients(self) -> Float[Tensor, "*n 8"]:
        return self.fx.new_zeros(COEFFICIENTS) if self.distortion is None else self.distortion


def _one_if_alike(side: int | Int64[Tensor, "*n"]) -> int | Int64[Tensor, "*n"]:
    """A side of many pictures as one number, where it is the same for all."""
    if isinstance(side, Tensor) and side.numel() and bool((side == side.flatten()[0]).all()):
        return int(side.flatten()[0])
    return side


def _shrunk(side: int | Int64[Tensor, "*n"], factor: float | int) -> int | Int64[Tensor, "*n"]:
    if isinstance(side, int):
        return max(1, round(side / factor))
    return (side / factor).round().clamp(min=1).long()
