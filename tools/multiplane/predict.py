"""From a photograph to its planes: how far things are in it, and what stands on which plane.

Disparity here lies in [0, 1]: 1 is the nearest, 0 endlessly far, so that depths are told in units of the
distance to the nearest thing. A photograph tells no other unit.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn.functional import interpolate

from render.multiplane import MultiplaneImage, blend_source
from scenes.cameras import Cameras
from tools.depth.models import BUILT_IN, Released, read_model, released, weights_file
from tools.depth.outputs import LOOKED_AT, SHOWN, read_written
from tools.depth.predict import Depth, enlarged, seen_by
from tools.multiplane.adampi import CONFIGS, AdaMPI
from tools.multiplane.layers import LEAST_DISPARITY, layered
from tools.multiplane.weights import read_adampi, read_trained

METHODS = ("adampi", "layers")
SMALL_FILE = Path(__file__).with_name("small.safetensors")
FOCAL = 0.58  # of the longer side: what AdaMPI assumes of a photograph's lens
# Planes times pixels: layers take a gigabyte then, and four while they are made; networks take 6 to 10.
MOST_SAMPLES = {"layers": 2**26, "adampi": 2**24}
LAYERS = 32  # planes, unless told


@dataclass(frozen=True, eq=False)
class Networks:
    """What looks at photographs: for depth (None: it is given), and for planes (None: layers)."""

    seen: Released
    depth: nn.Module | None
    planes: AdaMPI | None

    @property
    def method(self) -> str:
        return "layers" if self.planes is None else "adampi"

    @property
    def usual_planes(self) -> int:
        """How many planes there are unless one asks for another number."""
        return LAYERS if self.planes is None else self.planes.config.planes


def default_method() -> str:
    """AdaMPI where its small network is installed, else layers."""
    return "adampi" if SMALL_FILE.is_file() else "layers"


def read_networks(
    method: str | None = None,
    *,
    adampi_weights: str | Path | None = None,
    model: str = BUILT_IN,
    weights: str | Path | None = None,
    depth: bool = True,
    device: torch.device | str = "cpu",
) -> Networks:
    """The networks of a method, ready to look at photographs.

    method: adampi or layers; None: adampi where weights are given or installed. adampi_weights: the released
    program's file, or .safetensors of the small network. model, weights: of depth, as `render.depth` takes
    them; depth: whether it is wanted.
    Raises: ValueError, FileNotFoundError, WeightsError that say what to do.
    """
    method = method or ("adampi" if adampi_weights else default_method())
    if method not in METHODS:
        raise ValueError(f"method {method!r} is unknown; known: {', '.join(METHODS)}")
    if method == "layers" and adampi_weights:
        raise ValueError(f"adampi_weights {adampi_weights}: layers have no weights; leave out one of them")
    planes = read_planes_network(adampi_weights).to(device) if method == "adampi" else None
    network = read_model(model, weights).to(device) if depth else None
    return Networks(released(model), network, planes)


def read_planes_network(path: str | Path | None = None) -> AdaMPI:
    """AdaMPI with the weights of a file, or of a training's folder; None: those of the small network that
    comes with the program.

    Raises: FileNotFoundError, WeightsError.
    """
    path = SMALL_FILE if path is None else Path(path)
    if path.is_dir():
        path = weights_file(path, [f"{name}.safetensors" for name in CONFIGS])
    if path.suffix != ".safetensors":
        return read_adampi(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: not there; take --method layers, or name a file of weights")
    return read_trained(path)


def fitted(width: int, height: int, size: tuple[int, int]) -> tuple[int, int]:
    """The width and height that a picture is seen at: its shape, within a long and a short side.

    size: both, in any order; the longer one is for the longer side of the picture. It is never enlarged.
    Raises: ValueError for a side below 1.
    """
    longer, shorter = max(size), min(size)
    if shorter < 1:
        raise ValueError(f"size {size[0]} x {size[1]}: both sides must be at least 1 pixel")
    scale = min(longer / max(width, height), shorter / min(width, height), 1.0)
    return max(round(width * scale), 1), max(round(height * scale), 1)


def photo_camera(width: int, height: int, fov: float | int | None = None) -> Cameras:
    """A centred camera with square pixels in the origin; fov: degrees across the longer side.

    Raises: ValueError for one that is not between 0 and 180.
    """
    if fov is not None and not 0 < fov < 180:
        raise ValueError(f"fov {fov:g}: must lie between 0 and 180 degrees")
    share = FOCAL if fov is None else 0.5 / math.tan(math.radians(fov) / 2)
    focal = share * max(width, height)
    K = torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    return Cameras.from_matrices(K=K, camera_to_world=torch.eye(4), width=width, height=height)


@torch.no_grad()
def predicted_depth(
    networks: Networks, image: UInt8[Tensor, "rows columns c"], width: int, height: int
) -> Depth:
    """The depth of a picture, at another size: the network's answer is brought there at once."""
    if networks.depth is None:
        raise ValueError("no network for depth was read; give the disparity of the picture")
    return enlarged(seen_by(networks.depth, networks.seen, image), networks.seen, width, height)


def disparity_of(depth: Depth) -> Float[Tensor, "h w"]:
    """Disparity in [0, 1] of depth of either kind.

    Inverse relative depth has no zero of its own: but for half a hundredth of the pixels at either end it is
    stretched from 0 to 1. Metric depth keeps its zero, and the nearest half a hundredth becomes 1.
    Raises: ValueError if a value is not finite.
    """
    nearness = depth.nearness()
    if not bool(nearness.isfinite().all()):
        raise ValueError("the depth is not finite everywhere; its weights are damaged, take others")
    some = nearness.flatten()[:: max(nearness.numel() // LOOKED_AT, 1)]
    low, high = some.quantile(torch.tensor(SHOWN, dtype=nearness.dtype)).tolist()
    low = 0.0 if depth.kind == "metric" else low
    if high - low < 1e-12:
        return torch.full_like(nearness, 0.5)
    return ((nearness - low) / (high - low)).clamp(0, 1)


def read_disparity(path: str | Path) -> Float[Tensor, "h w"]:
    """Disparity of a picture from a file, in [0, 1]: a grey PNG, or .npy.

    Files that `render depth` wrote say what they hold. Any other is taken for inverse depth from 0, which
    is endlessly far, and divided by its largest value, which becomes 1.
    Raises: FileNotFoundError; ValueError that says what is wrong with the file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; --depth takes a grey PNG or .npy of inverse depth")
    return scaled_disparity(read_written(path), str(path))


def scaled_disparity(values: Float[Tensor, "h w"] | Depth, name: str = "disparity") -> Float[Tensor, "h w"]:
    """Given inverse depth over its largest value. Raises: ValueError for what cannot be one."""
    if isinstance(values, Depth):
        return disparity_of(values)
    if not bool(values.isfinite().all()) or bool((values < 0).any()):
        raise ValueError(f"{name}: inverse depth is finite and at least 0 everywhere, this is not")
    largest = float(values.max())
    if largest == 0:
        raise ValueError(f"{name}: 0 everywhere, so that everything is endlessly far; give another")
    return values / largest


def resized(disparity: Float[Tensor, "rows columns"], width: int, height: int) -> Float[Tensor, "h w"]:
    """At another size. Where that is smaller, pixels are left out: means of near and far are no depth."""
    rows, columns = disparity.shape
    mode = {"mode": "bilinear", "align_corners": False}
    if width < columns or height < rows:
        mode = {"mode": "nearest-exact"}
    return interpolate(disparity[None, None], size=(height, width), **mode)[0, 0]


def check_planes(method: str, planes: int, width: int, height: int) -> None:
    """Raises ValueError for fewer than 2 planes, or more pixels in all than MOST_SAMPLES."""
    if planes < 2:
        raise ValueError(f"planes must be at least 2, got {planes}")
    if planes * height * width > MOST_SAMPLES[method]:
        most = math.isqrt(MOST_SAMPLES[method] // planes)
        raise ValueError(
            f"{planes} planes of {width} x {height} pixels are too many for {method}; about {most} x {most} "
            "can be: lower the size or the number of planes"
        )


@torch.no_grad()
def planes_of(
    networks: Networks,
    image: Float[Tensor, "h w 3"],
    disparity: Float[Tensor, "h w"],
    camera: Cameras,
    planes: int,
) -> MultiplaneImage:
    """The multiplane image of a picture, as the networks' method makes it, on the CPU.

    Raises: as `check_planes`.
    """
    check_planes(networks.method, planes, disparity.shape[1], disparity.shape[0])
    if networks.planes is None:
        return layered(image, disparity, camera, planes)
    where = next(networks.planes.parameters()).device
    colours = image.permute(2, 0, 1)
    found = networks.planes(colours[None].to(where), disparity[None, None].to(where), planes=planes)
    z_depth = 1 / found.disparities[0].cpu().clamp(min=LEAST_DISPARITY)
    made = MultiplaneImage(found.rgb[0].cpu(), found.density[0].cpu(), z_depth, camera)
    return blend_source(made, colours) if networks.planes.config.blends else made
