"""COLMAP's camera models as lenses, and lenses as the simplest model that holds them."""

import math
from pathlib import Path

import numpy as np

from scenes.formats.capture import Lens, finite, pixels
from scenes.formats.colmap_model import Camera
from scenes.formats.colmap_records import CAMERA_MODELS
from scenes.scene import SceneError

# The models that scenes/lenses.py can express, for each projection the simplest first; their coefficients
# stand in its order.
MODELS = {
    "perspective": ("SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "FULL_OPENCV"),
    "fisheye": ("SIMPLE_FISHEYE", "FISHEYE", "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE", "OPENCV_FISHEYE"),
    "equirectangular": ("EQUIRECTANGULAR",),
}
PROJECTIONS = {model: projection for projection, models in MODELS.items() for model in models}
INTRINSICS = ("f", "fx", "fy", "cx", "cy")
LENGTHS = ("f", "fx", "fy", "w", "h")  # parameters that are lengths in pixels
LENGTH = (1e-6, 1e12)  # between these; beyond them float32 fails


def lens_of(file: Path, camera: Camera) -> Lens:
    """The lens of a camera. Raises: SceneError, also for a model that scenes/lenses.py cannot express."""
    label = f"{file.with_stem('cameras')}: camera {camera.id} ({camera.model})"
    if camera.model not in PROJECTIONS:
        raise SceneError(
            f"{label}: this camera model is not supported. Undistort with COLMAP (colmap image_undistorter) "
            f"and give what it makes; supported are {', '.join(PROJECTIONS)}"
        )
    width, height = pixels(label, "width", camera.width), pixels(label, "height", camera.height)
    named = zip(CAMERA_MODELS[camera.model], camera.parameters, strict=True)
    values = {name: finite(label, name, value, *(LENGTH if name in LENGTHS else ())) for name, value in named}
    projection = PROJECTIONS[camera.model]
    if projection == "equirectangular":
        w, h = values["w"], values["h"]
        return Lens(w / (2 * math.pi), h / math.pi, w / 2, h / 2, width, height, projection=projection)
    fx, fy = (values["f"], values["f"]) if "f" in values else (values["fx"], values["fy"])
    coefficients = tuple(value for name, value in values.items() if name not in INTRINSICS)
    return Lens(fx, fy, values["cx"], values["cy"], width, height, coefficients, projection)


def camera_of(lens: Lens, number: int = 1) -> Camera:
    """The simplest COLMAP camera that a lens is. Raises: SceneError if there is none."""
    size = lens.width, lens.height
    if lens.projection == "equirectangular":
        full = lens.width / (2 * math.pi), lens.height / math.pi, lens.width / 2, lens.height / 2
        if not np.allclose((lens.fx, lens.fy, lens.cx, lens.cy), full, rtol=1e-6, atol=0):
            raise SceneError(
                "equirectangular pictures that do not show the whole sphere have no camera model in COLMAP; "
                "write another format"
            )
        return Camera(number, "EQUIRECTANGULAR", *size, (float(lens.width), float(lens.height)))
    for model in MODELS.get(lens.projection, ()):
        names = CAMERA_MODELS[model]
        held = sum(name not in INTRINSICS for name in names)
        used = 4 if lens.projection == "fisheye" else len(lens.coefficients)
        if ("fx" in names or lens.fx == lens.fy) and not any(lens.coefficients[held:used]):
            focal = (lens.fx, lens.fy) if "fx" in names else (lens.fx,)
            coefficients = (*lens.coefficients, *[0.0] * held)[:held]
            return Camera(number, model, *size, (*focal, lens.cx, lens.cy, *coefficients))
    raise SceneError(f"{lens.projection} pictures have no camera model in COLMAP; write another format")
