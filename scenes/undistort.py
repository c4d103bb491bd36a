"""Pictures as a pinhole camera would have taken them, for programs and formats that know no other."""

from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from scenes.cameras import Cameras
from scenes.images import ImageSequence, quantised, write_png
from scenes.scene import Scene, SceneError

MOST_ENLARGED = 8.0  # times: beyond it a lens sees too wide for a flat picture


def pinhole_for(camera: Cameras) -> Cameras:
    """A pinhole camera in the same place whose picture the lens's picture fills: it is enlarged as need be.

    Raises: ValueError for a lens that sees too wide.
    """
    plain = replace(camera, distortion=None, projection="perspective")

    def enlarged(times: float) -> Cameras:
        return replace(plain, fx=plain.fx * times, fy=plain.fy * times)

    def filled(times: float) -> bool:
        centres = enlarged(times).pixel_centres()
        edges = torch.cat((centres[0], centres[-1], centres[:, 0], centres[:, -1]))
        pixels, z_depth = camera.project(enlarged(times).unproject(edges, torch.ones(len(edges))))
        size = torch.tensor([camera.width, camera.height])
        return bool(((pixels >= 0) & (pixels <= size)).all()) and bool((z_depth > 0).all())

    low, high = 1.0, MOST_ENLARGED
    if filled(low):
        return enlarged(low)
    if not filled(high):
        raise ValueError("the lens sees too wide for one flat picture")
    while high - low > 1e-4:
        middle = (low + high) / 2
        low, high = (low, middle) if filled(middle) else (middle, high)
    return enlarged(high)


def undistort_image(
    image: UInt8[Tensor, "h w c"], camera: Cameras, pinhole: Cameras
) -> UInt8[Tensor, "height width c"]:
    """The picture that the pinhole camera sees, read bilinearly from the one that the lens took."""
    points = pinhole.centres + pinhole.rays().directions
    pixels, _ = camera.project(points)
    size = torch.tensor([camera.width, camera.height])
    values = image.permute(2, 0, 1)[None].to(torch.float32) / 255
    seen = torch.nn.functional.grid_sample(
        values, (2 * pixels / size - 1)[None], padding_mode="border", align_corners=False
    )
    return quantised(seen[0].permute(1, 2, 0))


def undistorted(scene: Scene, folder: Path) -> Scene:
    """The scene behind pinhole cameras, its pictures written to `folder` as PNG; without masks and depths.

    Raises: SceneError for a lens that sees too wide.
    """
    cameras, files = [], []
    for index in range(len(scene)):
        camera = scene.cameras[index]
        try:
            pinhole = pinhole_for(camera)
        except ValueError as error:
            raise SceneError(f"{scene.images.name(index)}: {error}; leave it out") from error
        files.append(folder / f"{index:05d}" / Path(scene.frame_names[index]).with_suffix(".png").name)
        files[-1].parent.mkdir(parents=True)
        write_png(files[-1], undistort_image(scene.images[index], camera, pinhole))
        cameras.append(pinhole)
    numbers = {name: torch.stack([getattr(c, name) for c in cameras]) for name in ("fx", "fy", "cx", "cy")}
    straight = replace(scene.cameras, distortion=None, projection="perspective", **numbers)
    return replace(scene, cameras=straight, images=ImageSequence(tuple(files)), masks=(), depths=None)
