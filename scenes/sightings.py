"""Where pictures show points whose place is known: pixels, and how far what they show is.

Structure from motion finds these points, and which pictures show each. It knows nothing of what lies between.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float32, Int32, Int64
from torch import Tensor

from scenes.blocks import BLOCK
from scenes.scene import Scene

FARTHEST = 1.0  # pixels, from the middle of a pixel to the point in it: a corner is 0.71 away


class Sightings(NamedTuple):
    """Pixels, and the points in them.

    pixel     picture, column, row
    distance  along the pixel's ray to the point, model frame
    point     its number
    """

    pixel: Int32[Tensor, "s 3"]
    distance: Float32[Tensor, "s"]
    point: Int64[Tensor, "s"]


def sightings_in(scene: Scene, index: int, seen: Int64[Tensor, "rows columns"] | None) -> Sightings:
    """Those of one picture, in the order of the points.

    seen: which pixels of its blocks may be drawn (scenes/blocks.py); None: all.
    """
    number, camera = scene.shown[index], scene.cameras[index]
    points = scene.points[number]
    pixels, _ = camera.project(points)
    inside = ((pixels >= 0) & (pixels < torch.tensor([camera.width, camera.height]))).all(dim=-1)
    points, number, place = points[inside], number[inside], pixels[inside].long()
    rays = camera.rays(place + 0.5)
    distance = ((points - rays.origins) * rays.directions).sum(dim=-1)
    # Behind the camera, or where a lens folds over, the point is not on the ray.
    beside = (points - rays.origins - distance[:, None] * rays.directions).norm(dim=-1)
    pixel_size = distance / torch.minimum(camera.fx, camera.fy)
    good = (distance > 0) & (beside <= FARTHEST * pixel_size)
    if seen is not None:
        x, y = place.unbind(-1)
        bit = BLOCK * (y % BLOCK) + x % BLOCK
        good &= (seen[y // BLOCK, x // BLOCK] >> bit & 1).bool()
    place = place[good]
    pixel = torch.cat((torch.full((len(place), 1), index), place), dim=-1).to(torch.int32)
    return Sightings(pixel, distance[good].float(), number[good])
