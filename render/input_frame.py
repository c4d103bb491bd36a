"""The frame of a scene's input, for what comes from there and for what goes back.

    frame="model"   that of `Scene`: z is up, the box of the scene about the origin
    frame="input"   axes, origin and unit of what the scene was made of: a COLMAP model, say

`model_from_input` (4, 4) float64 is the similarity between the two.
"""

from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from scenes.cameras import Cameras
from scenes.transforms import similarity_scale, transform_points, transform_poses

FRAMES = ("model", "input")


def check_frame(frame: str) -> None:
    """Raises: ValueError for a frame that is none of FRAMES."""
    if frame not in FRAMES:
        raise ValueError(f"frame {frame!r} is unknown; it is one of {', '.join(FRAMES)}")


def points_in_model(
    points: Float[Tensor, "*n 3"], model_from_input: Float[Tensor, "4 4"]
) -> Float[Tensor, "*n 3"]:
    """Points of the input frame, moved."""
    return transform_points(model_from_input.to(points.device), points)


def cameras_in_model(cameras: Cameras, model_from_input: Float[Tensor, "4 4"]) -> Cameras:
    """Cameras of the input frame, moved."""
    poses = cameras.camera_to_world
    return replace(cameras, camera_to_world=transform_poses(model_from_input.to(poses.device), poses))


def in_input_units(
    distance: Float[Tensor, "*n"], model_from_input: Float[Tensor, "4 4"]
) -> Float[Tensor, "*n"]:
    """A distance or depth of the model frame in the input's unit."""
    return distance / float(similarity_scale(model_from_input))


def in_input_axes(
    directions: Float[Tensor, "*n 3"], model_from_input: Float[Tensor, "4 4"]
) -> Float[Tensor, "*n 3"]:
    """Directions of the model frame along the input's axes."""
    return directions @ (model_from_input[:3, :3] / similarity_scale(model_from_input)).to(directions)
