"""Meshes and photographs hung in space, met by rays: Open3D's ray casting."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from scenes.cameras import Cameras
from scenes.transforms import transform_points
from tools.viewer.overlays import corners_of

GREY = 200
LIGHT, SHADE = 0.65, 0.35  # of a mesh without colours: from everywhere, and from the camera


class SolidError(ValueError):
    """A file that holds no mesh, or no points; the message names it."""


class Mesh:
    """A triangle mesh with a colour at each vertex, or grey and shaded."""

    def __init__(
        self, vertices: Float[Tensor, "v 3"], faces: Tensor, colours: UInt8[Tensor, "v 3"] | None
    ) -> None:
        """vertices: model frame."""
        self.vertices, self.faces, self.colours = vertices.float().cpu(), faces, colours
        self.rays = _caster(self.vertices, self.faces)

    def seen(self, camera: Cameras) -> tuple[UInt8[Tensor, "h w 3"], Float[Tensor, "h w"]]:
        """Colour and z_depth of each pixel; z_depth is infinite where nothing is met."""
        hit, z_depth = _cast(self.rays, camera)
        met = z_depth.isfinite()
        rgb = torch.zeros(*z_depth.shape, 3, dtype=torch.uint8)
        corners = self.faces[torch.from_numpy(hit["primitive_ids"].numpy().astype(np.int64))[met]]
        if self.colours is None:
            normal = torch.from_numpy(hit["primitive_normals"].numpy())[met]
            facing = (normal * camera.rays().directions[met]).sum(-1).abs()
            rgb[met] = (GREY * (LIGHT + SHADE * facing))[:, None].expand(-1, 3).to(torch.uint8)
            return rgb, z_depth
        u, v = torch.from_numpy(hit["primitive_uvs"].numpy())[met].unbind(-1)
        shares = torch.stack((1 - u - v, u, v), dim=-1)
        rgb[met] = (self.colours[corners].float() * shares[..., None]).sum(1).round().to(torch.uint8)
        return rgb, z_depth


class Hangings:
    """Small photographs across the frusta of their cameras."""

    def __init__(
        self, cameras: Cameras, pictures: Sequence[UInt8[Tensor, "h w 3"]], length: float | int
    ) -> None:
        """length: of the frusta, scene units. A bent lens is taken for one that its corners fit."""
        self.pictures = pictures
        corners, far = corners_of(cameras), torch.full((len(cameras),), float(length))
        around = [cameras.rays(corners[:, i]).at(far) for i in range(4)]
        vertices = torch.stack(around, dim=1)
        # Of those whose lenses see the corners of their pictures.
        self.index = vertices.isfinite().all(dim=-1).all(dim=-1).nonzero()[:, 0].cpu()
        vertices = vertices[self.index]
        first = 4 * torch.arange(len(vertices))[:, None, None]
        faces = (first + torch.tensor([[0, 1, 2], [0, 2, 3]])).reshape(-1, 3)
        self.rays = _caster(vertices.reshape(-1, 3).cpu(), faces)

    def seen(self, camera: Cameras) -> tuple[UInt8[Tensor, "h w 3"], Float[Tensor, "h w"]]:
        """Colour and z_depth of each pixel; z_depth is infinite where nothing is met."""
        hit, z_depth = _cast(self.rays, camera)
        met = z_depth.isfinite()
        face = torch.from_numpy(hit["primitive_ids"].numpy().astype(np.int64))[met]
        u, v = torch.from_numpy(hit["primitive_uvs"].numpy())[met].unbind(-1)
        second = face % 2 == 1  # corners 0, 2, 3; else 0, 1, 2
        x, y = torch.where(second, u, u + v), torch.where(second, u + v, v)
        colours = torch.zeros(len(face), 3, dtype=torch.uint8)
        for index in (face // 2).unique().tolist():
            mine, picture = face // 2 == index, self.pictures[int(self.index[index])]
            row = (y[mine] * picture.shape[0]).long().clamp(0, picture.shape[0] - 1)
            column = (x[mine] * picture.shape[1]).long().clamp(0, picture.shape[1] - 1)
            colours[mine] = picture[row, column]
        rgb = torch.zeros(*z_depth.shape, 3, dtype=torch.uint8)
        rgb[met] = colours
        return rgb, z_depth


def read_solid(path: Path, model_from_input: Float[Tensor, "4 4"]) -> Mesh | tuple[Tensor, Tensor]:
    """A mesh from a file in the input's frame; of a file of points alone, points and colours (uint8).

    Raises: SolidError if neither can be read from it.
    """
    import open3d

    if not path.is_file():
        raise SolidError(f"{path}: there is no such file")
    there = model_from_input.double().cpu()
    model = open3d.io.read_triangle_model(str(path)) if path.suffix.lower() in (".glb", ".gltf") else None
    parts = [part.mesh for part in model.meshes] if model else [open3d.io.read_triangle_mesh(str(path))]
    vertices = [torch.from_numpy(np.asarray(part.vertices)) for part in parts]
    faces = [torch.from_numpy(np.asarray(part.triangles)).long() for part in parts]
    if any(map(len, faces)):
        starts = np.cumsum([0, *map(len, vertices)]).tolist()
        numbered = torch.cat([corners + start for corners, start in zip(faces, starts, strict=False)])
        coloured = all(part.has_vertex_colors() for part in parts)
        colours = torch.cat([_bytes(part.vertex_colors) for part in parts]) if coloured else None
        return Mesh(transform_points(there, torch.cat(vertices)), numbered, colours)
    cloud = open3d.io.read_point_cloud(str(path))
    if not len(cloud.points):
        raise SolidError(f"{path}: holds neither a mesh nor points; .ply, .obj, .glb and .stl can be shown")
    points = transform_points(there, torch.from_numpy(np.asarray(cloud.points))).float()
    colours = _bytes(cloud.colors) if cloud.has_colors() else torch.full_like(points, 255, dtype=torch.uint8)
    return points, colours


def _bytes(colours: Any) -> UInt8[Tensor, "n 3"]:
    return torch.from_numpy((np.asarray(colours) * 255).round().astype(np.uint8))


def _caster(vertices: Float[Tensor, "v 3"], faces: Tensor) -> Any:
    import open3d

    rays = open3d.t.geometry.RaycastingScene()
    corners = vertices.numpy().astype(np.float32), faces.numpy().astype(np.uint32)
    rays.add_triangles(*map(open3d.core.Tensor, corners))
    return rays


def _cast(scene: Any, camera: Cameras) -> tuple[dict[str, Any], Float[Tensor, "h w"]]:
    """What Open3D says of the ray of each pixel, and the z_depth of what it meets, infinite without any."""
    import open3d

    rays = camera.rays()
    packed = torch.cat((rays.origins, rays.directions), dim=-1).float().contiguous()
    hit = scene.cast_rays(open3d.core.Tensor(packed.numpy()))
    distance = torch.from_numpy(hit["t_hit"].numpy())
    forward = camera.camera_to_world[:3, 2]
    return hit, torch.where(distance.isfinite(), distance * (rays.directions * forward).sum(-1), torch.inf)
