"""Multiplane images and cameras for tests, and a loop that meets planes with rays one by one."""

import math
from dataclasses import replace

import torch

from render.multiplane import MultiplaneImage
from scenes.cameras import Cameras

WIDTH, HEIGHT = 13, 9
ALL = ("rgb", "opacity", "z_depth", "distance", "samples")


def turn(x=0.0, y=0.0, z=0.0):
    """A rotation by these angles about the axes, one after the other."""
    about = torch.tensor([x, y, z], dtype=torch.float64)
    cross = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)
    return torch.linalg.matrix_exp(cross) if about.any() else torch.eye(3, dtype=torch.float64)


def make_camera(
    width=WIDTH, height=HEIGHT, focal=(11.0, 12.5), middle=None, at=(0.0, 0.0, 0.0), rotation=None, **lens
):
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, 3] = torch.tensor(at, dtype=torch.float64)
    pose[:3, :3] = turn() if rotation is None else rotation
    cx, cy = middle or (width / 2, height / 2)
    K = torch.tensor([[focal[0], 0, cx], [0, focal[1], cy], [0, 0, 1]], dtype=torch.float64)
    return Cameras.from_matrices(K=K, camera_to_world=pose, width=width, height=height, **lens)


def make_image(generator, planes=5, kind="density", camera=None, dtype=torch.float64):
    camera = make_camera() if camera is None else camera
    size = camera.height, camera.width
    rgb = torch.rand(planes, 3, *size, generator=generator, dtype=dtype)
    opacity = torch.rand(planes, *size, generator=generator, dtype=dtype)
    z_depth = 1.5 + torch.rand(planes, generator=generator, dtype=dtype).cumsum(0)
    return MultiplaneImage(rgb, opacity, z_depth, camera, kind)


def single(image):
    """The same numbers in single precision."""
    return replace(image, rgb=image.rgb.float(), opacity=image.opacity.float(), z_depth=image.z_depth.float())


def moved_camera(**changed):
    """One that looks at the planes from elsewhere, of another size and shape of pixel."""
    settings = {"width": 8, "height": 11, "focal": (9.0, 8.0), "middle": (4.3, 5.1),
                "at": (0.12, -0.08, 0.2), "rotation": turn(0.05, -0.08, 0.1)}  # fmt: skip
    return make_camera(**settings | changed)


def bilinear_loop(plane, x, y):
    """One channel of a plane (h, w) at pixel (x, y), middles at +0.5, the border going on."""
    height, width = plane.shape
    value = 0.0
    left, top = math.floor(x - 0.5), math.floor(y - 0.5)
    for row, column in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
        share = (1 - abs(x - 0.5 - column)) * (1 - abs(y - 0.5 - row))
        value += share * float(plane[min(max(row, 0), height - 1), min(max(column, 0), width - 1)])
    return value


def pixel_loop(image, camera, column, row, outside="border"):
    """Colour, opacity, mean distance and mean z_depth of a pixel: its ray met with plane after plane.

    All in world coordinates, from the equation of a plane.
    """
    source, pose = image.camera, camera.camera_to_world
    x, y = (column + 0.5 - camera.cx) / camera.fx, (row + 0.5 - camera.cy) / camera.fy
    direction = pose[:3, :3] @ torch.stack((x, y, torch.ones_like(x)))
    direction = direction / direction.norm()
    normal = source.camera_to_world[:3, 2]
    met = []
    for n, z in enumerate(image.z_depth.tolist()):
        on_plane = source.camera_to_world[:3, 3] + z * normal
        distance = float((on_plane - pose[:3, 3]) @ normal / (direction @ normal))
        point = pose[:3, 3] + distance * direction
        there = source.camera_to_world[:3, :3].T @ (point - source.camera_to_world[:3, 3])
        u = float(source.fx * there[0] / there[2] + source.cx)
        v = float(source.fy * there[1] / there[2] + source.cy)
        channels = [bilinear_loop(plane, u, v) for plane in (*image.rgb[n], image.opacity[n])]
        inside = 0 <= u <= source.width and 0 <= v <= source.height
        seen = distance > 0 and (inside or outside == "border")
        met.append((distance, point, channels[:3], channels[3] if seen else 0.0))
    left, total = 1.0, torch.zeros(5, dtype=torch.float64)  # colour, opacity, distance
    for n, (distance, point, colour, opacity) in enumerate(met):
        gap = float((met[n + 1][1] - point).norm()) if n + 1 < len(met) else 1e3
        alpha = 1 - math.exp(-opacity * gap) if image.opacity_kind == "density" else opacity
        total += left * alpha * torch.tensor([*colour, 1.0, distance], dtype=torch.float64)
        left *= 1 - alpha
    mean = total[4] / total[3] if total[3] > 0 else total[4]
    return total[:3], total[3], mean, mean * (direction @ pose[:3, 2])
