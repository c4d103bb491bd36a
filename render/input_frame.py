"""The frame of a scene's input, for what comes from there and for what goes back.

    frame="model"   that of `Scene`: z is up, the box of the scene about the origin
    frame="input"   axes, origin and unit of what the scene was made of: a COLMAP model, say

`model_from_input` (4, 4) is the similarity between the two. Things are moved in float64: a user's origin can
be far.
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
    """Points of the input frame, moved; float64."""
    return transform_points(model_from_input.double().to(points.device), points.double())


def cameras_in_model(cameras: Cameras, model_from_input: Float[Tensor, "4 4"]) -> Cameras:
    """Cameras of the input frame, moved; poses in float64."""
    poses = cameras.camera_to_world.double()
    moved = transform_poses(model_from_input.double().to(poses.device), poses)
    return replace(cameras, camera_to_world=moved)


def in_input_units(
    distance: Float[Tensor, "*n"], model_from_input: Float[Tensor, "4 4"]
) -> Float[Tensor, "*n"]:
    """A distance or depth of the model frame in the input's unit."""
    return distance / float(similarity_scale(model_from_input.double()))


def in_input_axes(
    directions: Float[Tensor, "*n 3"], model_from_input: Float[Tensor, "4 4"]
) -> Float[Tensor, "*n 3"]:
    """Directions of the model frame along the input's axes."""
    matrix = model_from_input.double()
    return directions @ (matrix[:3, :3] / similarity_scale(matrix)).to(directions)
