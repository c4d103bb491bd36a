"""Path tracing of coloured solids with mitsuba: straight-alpha pictures, z-depth and normals.

Cameras here are OpenGL (x right, y up, z back), as the files of NeRF-synthetic have them; +Z of the
scene is up. Light is an analytic sky: a smooth dome with three soft boxes, invisible to the camera,
so alpha is the coverage of the objects alone.
"""

import ctypes
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

Array = np.ndarray

# Libraries that mitsuba's vectorised variant was tried with, newest first. An older one (LLVM 15,
# Debian's default beside others) aborts the process while compiling, so none is searched for.
LLVM_LIBRARIES = ("libLLVM.so.19.1",)
VARIANTS = ("llvm_ad_rgb", "scalar_rgb")
# A pixel's samples, a square. The shipped pictures are LLVM's; the scalar variant draws other ones, and takes
# more, so that its pictures and theirs agree to 45 dB.
SAMPLES = {"llvm_ad_rgb": 144, "scalar_rgb": 256}
EXPOSURE = 1.2
NEAR, FAR = 0.01, 100.0  # clipping planes, scene units
MAX_DEPTH = 5  # vertices of a path: four bounces
PIXEL_FILTER = {"type": "gaussian", "stddev": 0.5}  # pixels; a box needs three times the samples


@dataclass(frozen=True)
class Surface:
    """Triangles that share a finish; colours are linear RGB reflectances, equal at the corners of a face."""

    finish: str
    vertices: Float[Array, "v 3"]
    faces: Int[Array, "f 3"]
    colours: Float[Array, "v 3"]


# Names of finishes -> mitsuba material and the name of its colour, which the surface fills in.
FINISHES: Mapping[str, tuple[dict[str, Any], str]] = {
    "plastic": ({"type": "roughplastic", "distribution": "ggx", "alpha": 0.12}, "diffuse_reflectance"),
    "rubber": ({"type": "roughplastic", "distribution": "ggx", "alpha": 0.4}, "diffuse_reflectance"),
    "metal": ({"type": "principled", "metallic": 0.75, "roughness": 0.3}, "base_color"),
}


def _library_loads(name: str) -> bool:
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def choose_variant() -> str:
    """The fastest mitsuba variant that runs here: `llvm_ad_rgb` with a known LLVM, else `scalar_rgb`."""
    return VARIANTS[0] if any(_library_loads(name) for name in LLVM_LIBRARIES) else VARIANTS[1]


def load_mitsuba(variant: str = "auto") -> ModuleType:
    """Mitsuba with its variant set ("auto": the fastest that runs here).

    Raises:
        ValueError: unknown variant, or `llvm_ad_rgb` without its shared library.
        ModuleNotFoundError: mitsuba is not installed; names the extra.
    """
    variant = choose_variant() if variant == "auto" else variant
    if variant not in VARIANTS:
        raise ValueError(f"variant {variant!r} is unknown: choose one of {', '.join(VARIANTS)} or auto")
    if variant == "llvm_ad_rgb":
        found = [name for name in LLVM_LIBRARIES if _library_loads(name)]
        if not found:
            raise ValueError(
                f"variant llvm_ad_rgb needs {LLVM_LIBRARIES[0]}: install it (Debian: apt-get install "
                "libllvm19) or choose scalar_rgb"
            )
        os.environ.setdefault("DRJIT_LIBLLVM_PATH", found[0])
    try:
        import mitsuba
    except ModuleNotFoundError as error:
        if error.name != "mitsuba":
            raise
        raise ModuleNotFoundError(
            'mitsuba is missing: pip install "render-fields[generate]" (or pip install "mitsuba>=3.9")',
            name="mitsuba",
        ) from error
    mitsuba.set_variant(variant)
    return mitsuba


def sky(height: int = 256) -> Float[Array, "h w 3"]:
    """Radiance of the sky, latitude-longitude, top row up: a dome and three soft boxes."""
    row, column = np.mgrid[0:height, 0 : 2 * height] + 0.5
    polar, azimuth = np.pi * row / height, np.pi * column / height
    direction = np.stack(
        [np.sin(polar) * np.sin(azimuth), np.cos(polar), -np.sin(polar) * np.cos(azimuth)], -1
    )
    up = direction[..., 1:2]
    horizon, zenith, ground = (
        np.array(c) for c in ((0.34, 0.35, 0.38), (0.42, 0.46, 0.54), (0.22, 0.20, 0.18))
    )
    dome = np.where(
        up > 0, horizon + (zenith - horizon) * up, horizon + (ground - horizon) * np.minimum(1, -4 * up)
    )
    boxes = (  # direction (x, y up, z), half angle in degrees, radiance
        ((0.55, 0.75, 0.50), 16.0, (11.8, 10.8, 9.2)),
        ((-0.80, 0.45, 0.35), 22.0, (1.3, 1.5, 1.9)),
        ((-0.10, 0.50, -0.90), 18.0, (1.6, 1.5, 1.4)),
    )
    for towards, half_angle, radiance in boxes:
        axis = np.array(towards) / np.linalg.norm(towards)
        angle = np.degrees(np.arccos(np.clip(direction @ axis, -1, 1)))
        edge = np.clip((half_angle + 1.5 - angle) / 3.0, 0, 1)[..., None]
        dome = dome + edge * edge * (3 - 2 * edge) * np.array(radiance)
    return (EXPOSURE * dome).astype(np.float32)


def _mesh(mi: ModuleType, surface: Surface) -> Any:
    """Mitsuba's mesh; the colours are a palette in one row, since its plastics want a texture."""
    palette, index = np.unique(surface.colours, axis=0, return_inverse=True)
    texture = {
        "type": "bitmap",
        "bitmap": mi.Bitmap(palette[None].astype(np.float32)),
        "raw": True,
        "filter_type": "nearest",
    }
    material, colour = FINISHES[surface.finish]
    properties = mi.Properties()
    properties["bsdf"] = mi.load_dict({**material, colour: texture})
    mesh = mi.Mesh(
        surface.finish, len(surface.vertices), len(surface.faces), has_vertex_texcoords=True, props=properties
    )
    coordinates = np.stack([(index.ravel() + 0.5) / len(palette), np.full(index.size, 0.5)], axis=-1)
    parameters = mi.traverse(mesh)
    parameters["vertex_positions"] = surface.vertices.astype(np.float32).ravel()
    parameters["vertex_texcoords"] = coordinates.astype(np.float32).ravel()
    parameters["faces"] = surface.faces.astype(np.uint32).ravel()
    parameters.update()
    return mesh


def build_scene(mi: ModuleType, surfaces: Iterable[Surface]) -> Any:
    """The mitsuba scene of the surfaces under the sky, without a camera."""
    upright = mi.ScalarTransform4f().rotate([1, 0, 0], 90)
    light = {"type": "envmap", "bitmap": mi.Bitmap(sky()), "to_world": upright}
    meshes = {surface.finish: _mesh(mi, surface) for surface in surfaces}
    return mi.load_dict({"type": "scene", "sky": light, **meshes})


def _sensor(
    mi: ModuleType, camera_to_world: Float[Array, "4 4"], width: int, fov: float, sampler: dict, rfilter: dict
) -> Any:
    pose = camera_to_world @ np.diag([-1.0, 1.0, -1.0, 1.0])  # mitsuba: x left, y up, z forward
    film = {
        "type": "hdrfilm",
        "width": width,
        "height": width,
        "pixel_format": "rgba",
        "component_format": "float32",
        "rfilter": rfilter,
    }
    return mi.load_dict(
        {
            "type": "perspective",
            "fov": float(np.degrees(fov)),
            "fov_axis": "x",
            "film": film,
            "to_world": mi.ScalarTransform4f(pose),
            "near_clip": NEAR,
            "far_clip": FAR,
            "sampler": sampler,
        }
    )


def srgb(linear: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """The sRGB transfer curve (IEC 61966-2-1) of linear values clipped to [0, 1]."""
    linear = np.clip(linear, 0.0, 1.0)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def picture(
    mi: ModuleType,
    scene: Any,
    camera_to_world: Float[Array, "4 4"],
    width: int,
    fov: float,
    spp: int,
    seed: int,
) -> UInt8[Array, "h w 4"]:
    """Straight-alpha sRGB picture of a square view, the colour un-premultiplied before it is encoded."""
    sensor = _sensor(
        mi, camera_to_world, width, fov, {"type": "multijitter", "sample_count": spp}, PIXEL_FILTER
    )
    integrator = mi.load_dict({"type": "path", "max_depth": MAX_DEPTH, "hide_emitters": True})
    linear = np.array(mi.render(scene, sensor=sensor, integrator=integrator, spp=spp, seed=seed))
    alpha = np.clip(linear[..., 3:], 0.0, 1.0)
    straight = srgb(linear[..., :3] / np.maximum(alpha, 1e-6))
    rgba = np.concatenate([straight, alpha], axis=-1)
    rgba[rgba[..., 3] < 0.5 / 255] = 0.0
    return np.round(255 * rgba).astype(np.uint8)


def geometry(
    mi: ModuleType, scene: Any, camera_to_world: Float[Array, "4 4"], width: int, fov: float
) -> tuple[Float[Array, "h w"], Float[Array, "h w 3"]]:
    """z-depth (scene units, 0 where nothing) and unit world normal through the centre of each pixel."""
    centre = {"type": "stratified", "sample_count": 1, "jitter": False}
    sensor = _sensor(mi, camera_to_world, width, fov, centre, {"type": "box"})
    integrator = mi.load_dict({"type": "aov", "aovs": "distance:depth,normal:geo_normal"})
    layers = np.array(mi.render(scene, sensor=sensor, integrator=integrator, spp=1, seed=0))
    distance, normal = layers[..., -4], layers[..., -3:]
    offset = (np.arange(width) + 0.5 - width / 2) * 2 * np.tan(fov / 2) / width
    lengthening = np.sqrt(1 + offset[:, None] ** 2 + offset[None, :] ** 2)
    z_depth = np.where(distance > 0, NEAR + distance / lengthening, 0.0)  # its rays start on the near plane
    return z_depth.astype(np.float32), normal.astype(np.float16)
