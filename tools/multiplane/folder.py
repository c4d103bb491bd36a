"""A multiplane image as a folder of pictures, for other programs, and read back.

    OUT/plane-000.png ...   (height, width) RGBA, 8 bits, straight alpha, sRGB; the first is the nearest
    OUT/planes.json         {"format": "render multiplane image", "version": 1, "opacity": "alpha",
                             "width": ..., "height": ..., "fx": ..., "fy": ..., "cx": ..., "cy": ...,
                             "camera_to_world": 4 rows, "z_depth": [...], "planes": [file names]}

The planes stand across the optical axis of the camera, each at its z_depth, and cover what the camera sees
there. OpenCV axes, pixel centres at +0.5; colours are laid over each other in sRGB, the nearest last. Colours
are read between pixels as they are, not multiplied by alpha.
"""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.nn.functional import max_pool2d

from fields.kernels.multiplane import intervals
from render.multiplane import MultiplaneImage
from scenes.cameras import Cameras
from scenes.images import ImageError, quantised, read_image, write_png
from tools.export.folder import begin, put

TABLE = "planes.json"
FORMAT, VERSION = "render multiplane image", 1
INTRINSICS = ("fx", "fy", "cx", "cy")
MOST_PLANES = 1024


class PlanesError(ValueError):
    """A folder that holds no planes which can be read; the message names the file and what is wrong."""


def with_alpha(image: MultiplaneImage) -> MultiplaneImage:
    """Planes of alpha that look the same to their own camera.

    A density is met over the distance from its plane to the next along a ray of that camera. To other cameras
    the planes look a little different then: a ray that crosses them at a flatter angle passes more matter,
    of which alpha knows nothing, and between two pixels, one dense and one empty, the middle of densities
    stops nearly all light, that of alphas half of it.
    """
    if image.opacity_kind == "alpha":
        return image
    upright = replace(image.camera, camera_to_world=torch.eye(4)).to(image.rgb.device, torch.float64)
    slope = (1 / upright.rays().directions[..., 2]).to(image.rgb.dtype)
    alpha = -torch.expm1(-image.opacity * intervals(image.z_depth.to(slope), slope, "density"))
    return replace(image, opacity=alpha, opacity_kind="alpha")


def plane_pictures(image: MultiplaneImage) -> UInt8[Tensor, "planes h w 4"]:
    """Each plane with straight alpha, 8 bits; black where no view between its pixels can show it."""
    flat = with_alpha(image)
    straight = torch.cat((flat.rgb, flat.opacity[:, None]), dim=1).permute(0, 2, 3, 1)
    pictures = quantised(straight.detach().cpu())
    shown = max_pool2d((pictures[..., 3:] > 0).float().permute(0, 3, 1, 2), 3, 1, 1) > 0
    return pictures * shown.permute(0, 2, 3, 1)


def write_planes(image: MultiplaneImage, out: Path) -> list[Path]:
    """Write a folder of its own; returns its files. Densities become alpha: see `with_alpha`.

    Raises: ExportError if the folder holds anything but an earlier export.
    """
    pictures, camera = plane_pictures(image), image.camera
    names = [f"plane-{index:03d}.png" for index in range(len(pictures))]
    table = {
        "format": FORMAT,
        "version": VERSION,
        "opacity": "alpha",
        "width": camera.width,
        "height": camera.height,
        **{name: float(getattr(camera, name)) for name in INTRINSICS},
        "camera_to_world": camera.camera_to_world.tolist(),
        "z_depth": image.z_depth.tolist(),
        "planes": names,
    }
    begin(out, [*names, TABLE])
    for name, picture in zip(names, pictures, strict=True):
        put(out, name, lambda path, shown=picture: write_png(path, shown))
    text = json.dumps(table, indent=2) + "\n"
    put(out, TABLE, lambda path: path.write_text(text, encoding="utf-8"))
    return [out / name for name in (*names, TABLE)]


def read_planes(folder: str | Path) -> MultiplaneImage:
    """What `write_planes` wrote. Raises: PlanesError."""
    path = Path(folder) / TABLE
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        stated = table["format"], table["version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PlanesError(f"{path}: no table of planes ({error}); give a folder of an export") from None
    if stated != (FORMAT, VERSION):
        raise PlanesError(f"{path}: {stated[0]} version {stated[1]}, this program reads {FORMAT} {VERSION}")
    try:
        camera, z_depth, names = _camera(table), _depths(table), _names(table)
    except (KeyError, TypeError, ValueError) as error:
        raise PlanesError(f"{path}: cut or altered ({error}); export again") from None
    pictures = torch.stack([_picture(path.with_name(name), camera) for name in names])
    values = pictures.permute(0, 3, 1, 2).float() / 255
    try:
        return MultiplaneImage(values[:, :3].contiguous(), values[:, 3], z_depth, camera, "alpha")
    except ValueError as error:
        raise PlanesError(f"{path}: {error}") from None


def _camera(table: dict[str, Any]) -> Cameras:
    focal = [float(table[name]) for name in INTRINSICS]
    if not all(map(math.isfinite, focal)) or min(focal[:2]) <= 0:
        raise ValueError(f"fx, fy, cx, cy are {focal}")
    K = [[focal[0], 0, focal[2]], [0, focal[1], focal[3]], [0, 0, 1]]
    sizes = {side: table[side] for side in ("width", "height")}
    if not all(isinstance(side, int) for side in sizes.values()):
        raise ValueError(f"width and height are {list(sizes.values())}")
    pose = torch.tensor(table["camera_to_world"], dtype=torch.float32)
    return Cameras.from_matrices(K=torch.tensor(K), camera_to_world=pose, **sizes)


def _depths(table: dict[str, Any]) -> Tensor:
    z_depth, names = table["z_depth"], table["planes"]
    if not 1 <= len(names) <= MOST_PLANES or len(z_depth) != len(names):
        raise ValueError(f"{len(names)} planes at {len(z_depth)} depths; 1 to {MOST_PLANES} of each")
    return torch.tensor([float(each) for each in z_depth], dtype=torch.float32)


def _names(table: dict[str, Any]) -> list[str]:
    for name in table["planes"]:
        if not isinstance(name, str) or Path(name).name != name:
            raise ValueError(f"plane {name!r} is not a file of the folder")
    return table["planes"]


def _picture(path: Path, camera: Cameras) -> UInt8[Tensor, "h w 4"]:
    try:
        picture = read_image(path, upright=False)
    except ImageError as error:
        raise PlanesError(str(error)) from None
    if tuple(picture.shape) != (camera.height, camera.width, 4):
        height, width, channels = picture.shape
        raise PlanesError(
            f"{path}: {width} x {height} with {channels} channels; its camera sees "
            f"{camera.width} x {camera.height}, in 4 channels"
        )
    return picture
