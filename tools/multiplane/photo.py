"""A single photograph that can be looked at from beside where it was taken: `render.photo`.

The frame is that of the camera which took it (x right, y down, z forward), and the unit the distance to the
nearest thing: a photograph tells no other. "model" and "input" frame are one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from fields.kernels.library import resolve_backend
from render.film import write_film
from render.input_frame import check_frame
from render.methods.base import Colour, Rendered, check_outputs
from render.multiplane import OUTPUTS, MultiplaneImage
from render.multiplane import render as render_planes
from render.settings import nearest
from scenes.camera_path import read_camera_path
from scenes.cameras import Cameras
from scenes.crop import Crop
from scenes.images import downscaled, on_background
from tools.depth.models import BUILT_IN
from tools.depth.predict import GREY, Depth, image_of
from tools.multiplane import predict
from tools.multiplane.folder import write_planes
from tools.multiplane.page import write_page
from tools.multiplane.paths import PATHS, along

SIZE = (384, 256)
FRAMES, FPS = 90, 30


@dataclass(frozen=True, eq=False)
class Photo:
    """A photograph as planes.

    mpi        the planes, and the camera that took it
    image      the photograph at the size of the planes, sRGB in [0, 1]
    depth      as it was told by a network or a file, at that size (`tools/depth/predict.py`: Depth)
    disparity  what the planes were made of, in [0, 1], 1 / unit
    method     adampi or layers
    name       the photograph's
    backend    what renders: kernels or reference
    """

    mpi: MultiplaneImage
    image: Float[Tensor, "h w 3"]
    depth: Depth
    disparity: Float[Tensor, "h w"]
    method: str
    name: str = "photograph"
    backend: str = "reference"

    @property
    def camera(self) -> Cameras:
        """The one that took the photograph, in the origin."""
        return self.mpi.camera

    def render(
        self,
        camera: Cameras,
        outputs: Sequence[str] = ("rgb",),
        background: Colour | None = None,
        crop: Crop | None = None,
        frame: str = "model",
    ) -> Rendered:
        """What a camera sees, (height, width), or n of one size, (n, height, width); see `Rendered`.

        outputs: of rgb, opacity, z_depth, distance, samples. Beyond the photograph's edge its border goes on.
        background: behind planes that let light through; black if not given. crop: there is none of planes.
        frame: model or input, which are one here.
        Differentiable in cameras that require a gradient, which the reference renders then.
        Raises: ValueError for another output or frame, a crop, cameras of several sizes or none.
        """
        check_frame(frame)
        if crop is not None:
            raise ValueError("crop: planes of a photograph are not cropped; leave it out")
        check_outputs(outputs, OUTPUTS)
        lit = background is not None and "rgb" in outputs
        wanted = dict.fromkeys((*outputs, "opacity") if lit else outputs)
        asked = torch.is_grad_enabled() and camera.requires_grad
        with torch.set_grad_enabled(asked):
            backend = "reference" if asked else self.backend
            seen = render_planes(self.mpi, camera, tuple(wanted), backend=backend)
            if lit:
                behind = torch.tensor(background).to(seen.rgb)
                seen = replace(seen, rgb=seen.rgb + (1 - seen.opacity[..., None]) * behind)
        return Rendered(**{name: getattr(seen, name) for name in outputs})

    def state(self) -> dict[str, Tensor]:
        """What its pictures depend on, beside the camera."""
        return {"rgb": self.mpi.rgb, "opacity": self.mpi.opacity, "z_depth": self.mpi.z_depth}

    def path(self, path: str | Path = "swing", frames: int = FRAMES, amplitude: float | int = 1.0) -> Cameras:
        """The cameras of a film: swing, circle, zoom, dolly-zoom, or of a camera_path.json.

        amplitude: of the way. A file has frames of its own; its frame is the photograph's.
        Raises: ValueError for a path that there is not, SceneError for a file that is none.
        """
        if str(path) in PATHS:
            return PATHS[str(path)](self.camera, frames, amplitude)
        if not Path(path).is_file():
            near = nearest(str(path), PATHS)
            raise ValueError(f"path {str(path)!r}: neither a file nor one of {', '.join(PATHS)}{near}")
        return along(self.camera, read_camera_path(path), amplitude)

    def film(
        self,
        out: str | Path,
        path: str | Path | Cameras = "swing",
        *,
        frames: int = FRAMES,
        fps: float | int = FPS,
        amplitude: float | int = 1.0,
        progress: Callable[[int, int, float], None] = lambda done, total, left: None,
    ) -> None:
        """Write OUT.mp4, OUT.gif, or a folder of pictures, along a path or any cameras.

        Raises: VideoError, and what `path` raises.
        """
        cameras = path if isinstance(path, Cameras) else self.path(path, frames, amplitude)
        write_film(self, cameras, Path(out), fps=fps, progress=progress)

    def export(self, out: str | Path) -> None:
        """Write OUT.html, a page that shows it in a browser, or else a folder of planes.

        Raises: ExportError.
        """
        if Path(out).suffix == ".html":
            write_page(self.mpi, Path(out), self.name)
        else:
            write_planes(self.mpi, Path(out))


def photo(
    image: str | Path | Tensor | np.ndarray,
    *,
    method: str | None = None,
    planes: int | None = None,
    size: tuple[int, int] = SIZE,
    fov: float | int | None = None,
    disparity: str | Path | Tensor | np.ndarray | None = None,
    model: str = BUILT_IN,
    weights: str | Path | None = None,
    adampi_weights: str | Path | None = None,
    device: str = "cpu",
    backend: str = "auto",
) -> Photo:
    """A photograph as planes, to be rendered from beside where it was taken. Prints nothing.

    image: a file, turned as its EXIF says, or uint8 (height, width, 3 or 4) sRGB, straight alpha.
    method: adampi, or layers, which needs no network; None: adampi where its weights are given or installed.
    planes: how many (default: 32 layers, or as the network was trained). size: the photograph is shrunk to
    within a long and a short side, pixels. fov: degrees across its longer side (default: 81.5).
    disparity: inverse depth of any scale, of any size, or a file of it (`read_disparity`); None: it is
    predicted by `model` with `weights`, as `render.depth` does.
    adampi_weights: adampi_32p.pth, adampi_64p.pth, or .safetensors of the small network.
    device: of the networks. backend: what renders, on the CPU: kernels, reference, or auto.
    Raises: ImageError, ValueError, FileNotFoundError, WeightsError that say what to do.
    """
    from render.run import usable_device

    networks = predict.read_networks(
        method,
        adampi_weights=adampi_weights,
        model=model,
        weights=weights,
        depth=disparity is None,
        device=usable_device(device),
    )
    chosen = resolve_backend(backend, "cpu").name
    return photo_of(networks, image, planes=planes, size=size, fov=fov, disparity=disparity, backend=chosen)


def photo_of(
    networks: predict.Networks,
    image: str | Path | Tensor | np.ndarray,
    *,
    planes: int | None = None,
    size: tuple[int, int] = SIZE,
    fov: float | int | None = None,
    disparity: str | Path | Tensor | np.ndarray | None = None,
    backend: str = "reference",
    stage: Callable[[str], None] = lambda name: None,
) -> Photo:
    """The same with networks that were read once for many photographs. stage: told what is begun."""
    stage("decoding")
    pixels = image_of(image)
    width, height = predict.fitted(pixels.shape[1], pixels.shape[0], size)
    planes = networks.usual_planes if planes is None else planes
    predict.check_planes(networks.method, planes, width, height)
    camera = predict.photo_camera(width, height, fov)
    stage("depth")
    if disparity is None:
        depth = predict.predicted_depth(networks, pixels, width, height)
        found = predict.disparity_of(depth)
    else:
        found = predict.resized(_given(disparity), width, height)
        depth = Depth(found, "inverse_relative")
    stage("planes")
    small = downscaled(pixels, width, height)
    colours = on_background(small, GREY if small.shape[-1] == 4 else None)
    mpi = predict.planes_of(networks, colours, found, camera, planes)
    name = Path(image).stem if isinstance(image, str | Path) else "photograph"
    return Photo(mpi, colours, depth, found, networks.method, name, backend)


def _given(disparity: str | Path | Tensor | np.ndarray) -> Float[Tensor, "h w"]:
    if isinstance(disparity, str | Path):
        return predict.read_disparity(disparity)
    values = torch.as_tensor(np.array(disparity) if isinstance(disparity, np.ndarray) else disparity)
    if values.ndim != 2:
        raise ValueError(f"disparity must be height x width, got {tuple(values.shape)}")
    return predict.scaled_disparity(values.float())
