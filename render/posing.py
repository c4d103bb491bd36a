"""The camera of a held-out view, set by its picture before it is measured.

Refinement moves the cameras that are trained, by a fraction of a pixel at least, and those of held-out views
stay where they were given: what is drawn from there is drawn from beside the place. BARF (arXiv:2104.06405,
section 4.2) sets a held-out camera by its picture. Here the left half of the picture sets it and the right
half is measured, so that nothing is measured that was looked at.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from render.refinement import moved, places_between, whitening
from scenes.cameras import Cameras
from scenes.images import downscaled, quantised, shrunk_mask
from scenes.scene import Bounds

LONGEST_SIDE = 240  # pixels of the pictures that are compared
PROBE = 0.5  # pixels by which the camera is moved to see what changes
ROUNDS = 8
SETTLED = 0.01  # pixels
DAMPINGS = (1e-3, 1e-1, 10.0)  # of a step of Gauss-Newton's, tried in turn until one helps


def posed_on_left_half(
    render: Callable[[Cameras], Float[Tensor, "h w 3"]],
    camera: Cameras,
    truth: Float[Tensor, "h w 3"],
    seen: Bool[Tensor, "h w"] | None,
    bounds: Bounds,
) -> Cameras:
    """The camera turned and moved to where the left half of what it sees agrees best with the truth's.

    Gauss-Newton on small pictures, its derivatives by differences: for cameras that are off by a few pixels.
    A step is taken only if the halves agree better after it.
    """
    small = camera.scaled(max(max(camera.width, camera.height) / LONGEST_SIDE, 1.0))
    size = small.width, small.height
    left = (torch.arange(camera.width) < camera.width // 2).expand(camera.height, -1)
    counted = shrunk_mask(left if seen is None else left & seen, *size)
    wanted = downscaled(quantised(truth), *size)[counted].float() / 255
    minimum, maximum = torch.tensor(bounds.minimum), torch.tensor(bounds.maximum)
    unit = float((maximum - minimum).max())
    pose = small.camera_to_world[None, :3].cpu()
    motions = whitening(pose, places_between(minimum, maximum), unit)[0].T / float(small.fx)  # a pixel each

    def off(pose: Float[Tensor, "1 3 4"]) -> Float[Tensor, " values"]:
        picture = render(with_pose(small, pose[0])).cpu().clamp(0, 1)
        return (picture[counted] - wanted).flatten().double()

    def probed(pixels: float) -> Float[Tensor, "values 6"]:
        return torch.stack([off(moved(pose, pixels * motion[None], unit)) for motion in motions], dim=1)

    now = off(pose)
    for _ in range(ROUNDS):
        slope = (probed(PROBE) - probed(-PROBE)) / (2 * PROBE)
        for damping in DAMPINGS:
            pixels = gauss_newton_step(slope, now, damping)
            further = moved(pose, pixels[None] @ motions, unit)
            then = off(further)
            if better := bool(then.square().sum() < now.square().sum()):
                pose, now = further, then
                break
        if not better or float(pixels.norm()) < SETTLED:
            break
    return with_pose(camera, pose[0])


def gauss_newton_step(
    slope: Float[Tensor, "values p"], off: Float[Tensor, " values"], damping: float
) -> Float[Tensor, " p"]:
    """What brings `off + slope @ step` nearest to zero; damped by a share of the diagonal (Marquardt)."""
    square = slope.T @ slope
    damped = square + torch.diag(damping * square.diagonal() + 1e-12)
    return -torch.linalg.solve(damped, slope.T @ off).float()


def with_pose(camera: Cameras, pose: Float[Tensor, "3 4"]) -> Cameras:
    """The same camera in another place."""
    matrix = camera.camera_to_world.clone()
    matrix[:3] = pose.to(matrix)
    return replace(camera, camera_to_world=matrix)
