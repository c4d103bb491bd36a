"""A picture with depth, as another camera sees it: only what is known, and how much that is."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from scenes.cameras import Cameras
from tools.multiplane.depth_mesh import TEAR, DepthMesh, check_picture, check_pinhole, depth_mesh, unproject
from tools.multiplane.filling import nearest_fill
from tools.multiplane.rasterise import ZBuffer, interpolate, rasterise

NEAREST = 1e-3  # what comes this close is left out, in z_depths of the camera that saw it


class Warped(NamedTuple):
    """A picture of what another camera saw.

    rgb      0 where nothing is known
    z_depth  0 where nothing is known, infinite in the sky
    covered  where something is known
    """

    rgb: Float[Tensor, "h w 3"]
    z_depth: Float[Tensor, "h w"]
    covered: Bool[Tensor, "h w"]


def warp(
    rgb: Float[Tensor, "h w 3"],
    z_depth: Float[Tensor, "h w"],
    camera: Cameras,
    target: Cameras,
    tear: float | int = TEAR,
) -> Warped:
    """What `target` sees of the surface that `camera` saw, and nothing that is made up.

    z_depth and tear: as in `depth_mesh`. The cameras may be anywhere in one world, whose unit is z_depth's.
    Raises: ValueError if a camera bends rays, or `camera` is not of the picture's size.
    """
    return render_mesh(depth_mesh(z_depth, rgb, camera, tear), target)


def render_mesh(mesh: DepthMesh, camera: Cameras) -> Warped:
    """What a camera sees of a mesh's colours from before its surface; float32.

    Between pixels of the picture that the mesh was made of, colours are linear in that picture.
    """
    check_pinhole("target", camera)
    pixels, nearness, disparity = _project(camera, mesh.vertices)
    faces = mesh.faces[(nearness > NEAREST)[mesh.faces].all(dim=-1)]
    fragments = rasterise(pixels, disparity, faces, *camera.largest)
    rgb = interpolate(fragments, faces, mesh.values, nearness)
    z_depth = torch.where(fragments.covered, 1 / fragments.disparity, 0.0)
    return Warped(rgb.float(), z_depth.float(), fragments.covered)


def _project(
    camera: Cameras, vertices: Float[Tensor, "v 4"]
) -> tuple[Float[Tensor, "v 2"], Float[Tensor, " v"], Float[Tensor, " v"]]:
    """Pixels of homogeneous points, z_depth times w, and 1 / z_depth."""
    pose, intrinsics = camera.camera_to_world.double(), camera.intrinsics.double()
    w = vertices[:, 3]
    seen = (vertices[:, :3] - w[:, None] * pose[:3, 3]) @ pose[:3, :3]
    z = seen[:, 2]
    return seen[:, :2] / z[:, None] * intrinsics[:2] + intrinsics[2:], z, w / z


def splat(
    rgb: Float[Tensor, "h w 3"], z_depth: Float[Tensor, "h w"], camera: Cameras, target: Cameras
) -> Warped:
    """The baseline: each pixel colours the one that it lands in, the nearest wins, and pixels that none lands
    in take colour and depth of the nearest one that does. `covered` is where one does.

    z_depth: as in `depth_mesh`.
    Raises: ValueError as `warp` does, or if `target` sees none of the pixels.
    """
    check_picture(z_depth, camera)
    check_pinhole("target", target)
    known = (z_depth > 0).flatten()
    disparity = torch.where(known, 1 / z_depth.double().flatten(), 0.0)
    pixels, z, disparity = _project(target, unproject(camera, camera.pixel_centres().view(-1, 2), disparity))
    width, height = target.largest
    size = pixels.new_tensor([width, height])
    seen = (z > NEAREST) & (pixels >= 0).all(dim=-1) & (pixels < size).all(dim=-1)
    number = (seen & known).nonzero()[:, 0]
    if not len(number):
        raise ValueError("target sees nothing of what camera saw; move it closer, or turn it there")
    x, y = pixels[number].long().unbind(-1)
    buffer = ZBuffer(width * height, rgb.device)
    buffer.offer(y * width + x, disparity[number], number)
    winner = buffer.winners().view(height, width)
    covered = winner >= 0
    found = torch.cat((rgb.flatten(0, 1).double(), 1 / disparity[:, None]), dim=-1)[winner.clamp(min=0)]
    found = nearest_fill(found, ~covered).float()
    return Warped(found[..., :3], found[..., 3], covered)
