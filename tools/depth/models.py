"""The depth models: what each is, what its file is called and what it wants to see.

The built-in one comes with its weights. The others are their authors' to give, and none of their files come
with this program. `read_model` reads either.
"""

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from render.settings import nearest
from tools.depth import depth_anything, dpt, swin
from tools.depth import weights as w
from tools.depth.midas import midas_large, midas_levit, midas_nextvit, midas_small, midas_swin
from tools.depth.resize import NORMALISATIONS, Normalisation, Rule
from tools.depth.small import Small
from tools.depth.weights import WeightsError, take_weights

DPT_FILES = "https://github.com/isl-org/DPT/releases/tag/1_0"
MIDAS_FILES = "https://github.com/isl-org/MiDaS/releases"
ANYTHING_FILES = "https://github.com/DepthAnything/Depth-Anything-V2"
BUILT_IN = "small"
BUILT_IN_FILE = Path(__file__).with_name("small.safetensors")


@dataclass(frozen=True)
class Released:
    """A model and its file.

    files      what it is called, at most of two releases; the first eight digits of its SHA-256 are in some
    source     where its authors offer it
    make       the network
    rules      its tensors' names; unused: those that no result needs (tools/depth/weights.py)
    wanted     pixels, width and height, that it was trained at
    rule       how a picture is brought near it, to sides of a `multiple`; without keep_aspect: exactly there
    low_pass   what is too fine for that size is averaged; or else left to alias, as in most trainings
    smooth     its answer is made as large as the picture bicubically; or else bilinearly, corners in place
    mirrored   its answer is the mean of those to the picture and to its mirror image
    metric     scale and shift of a network that was tuned to tell metres; None: inverse depth without a unit
    """

    files: tuple[str, ...]
    source: str
    make: Callable[[], nn.Module]
    rules: Sequence[w.Rule]
    unused: Sequence[str] = w.DPT_UNUSED
    wanted: tuple[int, int] = (384, 384)
    rule: Rule = "minimal"
    multiple: int = 32
    keep_aspect: bool = True
    low_pass: bool = False
    smooth: bool = True
    normalisation: Normalisation = NORMALISATIONS["half"]
    mirrored: bool = False
    metric: tuple[float, float] | None = None
    licence: str = "MIT"

    @property
    def kind(self) -> str:
        return "inverse_relative" if self.metric is None else "metric"


IMAGENET = NORMALISATIONS["imagenet"]


def _dpt(backbone: str) -> Callable[[], nn.Module]:
    return lambda: dpt.depth_network(dpt.BACKBONES[backbone])


def _swin(name: str, file: str, side: int) -> Released:
    def make() -> nn.Module:
        return midas_swin(swin.BACKBONES[name])

    shape = {"wanted": (side, side), "keep_aspect": False}
    return Released((file,), MIDAS_FILES, make, w.MIDAS_SWIN, w.SWIN_UNUSED, **shape)


def _beit(backbone: str, side: int) -> Released:
    file = f"dpt_{backbone}.pt"
    return Released((file,), MIDAS_FILES, _dpt(backbone), w.DPT_BEIT, w.BEIT_UNUSED, wanted=(side, side))


def _anything(size: str, letter: str, licence: str) -> Released:
    def make() -> nn.Module:
        return depth_anything.DepthAnything(depth_anything.BACKBONES[size])

    return Released(
        (f"depth_anything_v2_vit{letter}.pth",),
        ANYTHING_FILES,
        make,
        w.DEPTH_ANYTHING,
        w.DEPTH_ANYTHING_UNUSED,
        wanted=(518, 518),
        rule="lower_bound",
        multiple=depth_anything.PATCH,
        smooth=False,
        normalisation=IMAGENET,
        licence=licence,
    )


RELEASED = {
    BUILT_IN: Released(
        (BUILT_IN_FILE.name,),
        "render-fields itself",
        Small,
        (),
        (),
        wanted=(256, 192),
        low_pass=True,
        licence="Apache-2.0",
        mirrored=True,
    ),
    "dpt-large": Released(
        ("dpt_large-midas-2f21e586.pt", "dpt_large_384.pt"), DPT_FILES, _dpt("large"), w.DPT_DEPTH
    ),
    "dpt-hybrid": Released(
        ("dpt_hybrid-midas-501f0c75.pt", "dpt_hybrid_384.pt"), DPT_FILES, _dpt("hybrid"), w.DPT_DEPTH
    ),
    "dpt-hybrid-kitti": Released(
        ("dpt_hybrid_kitti-cb926ef4.pt",),
        DPT_FILES,
        _dpt("hybrid"),
        w.DPT_DEPTH,
        wanted=(1216, 352),
        metric=(6.016e-5, 5.79e-3),
    ),
    "dpt-hybrid-nyu": Released(
        ("dpt_hybrid_nyu-2ce69ec7.pt",),
        DPT_FILES,
        _dpt("hybrid"),
        w.DPT_DEPTH,
        wanted=(640, 480),
        metric=(3.05e-4, 0.1378),
    ),
    "midas-large": Released(
        ("midas_v21_384.pt", "model-f6b98070.pt"),
        MIDAS_FILES,
        midas_large,
        w.MIDAS_LARGE,
        rule="upper_bound",
        normalisation=IMAGENET,
    ),
    "midas-small": Released(
        ("midas_v21_small_256.pt", "model-small-70d6b9c8.pt"),
        MIDAS_FILES,
        midas_small,
        w.MIDAS_SMALL,
        wanted=(256, 256),
        rule="upper_bound",
        normalisation=IMAGENET,
    ),
    "dpt-beit-large-512": _beit("beit_large_512", 512),
    "dpt-beit-large": _beit("beit_large_384", 384),
    "dpt-beit-base": _beit("beit_base_384", 384),
    "dpt-swin2-large": _swin("swin2-large", "dpt_swin2_large_384.pt", 384),
    "dpt-swin2-base": _swin("swin2-base", "dpt_swin2_base_384.pt", 384),
    "dpt-swin2-tiny": _swin("swin2-tiny", "dpt_swin2_tiny_256.pt", 256),
    "dpt-swin-large": _swin("swin-large", "dpt_swin_large_384.pt", 384),
    "dpt-next-vit-large": Released(
        ("dpt_next_vit_large_384.pt",), MIDAS_FILES, midas_nextvit, w.MIDAS_NEXTVIT, w.NEXTVIT_UNUSED
    ),
    "dpt-levit": Released(
        ("dpt_levit_224.pt",),
        MIDAS_FILES,
        midas_levit,
        w.MIDAS_LEVIT,
        w.LEVIT_UNUSED,
        wanted=(224, 224),
        keep_aspect=False,
    ),
    "depth-anything-small": _anything("small", "s", "Apache-2.0"),
    "depth-anything-base": _anything("base", "b", "CC-BY-NC-4.0"),
    "depth-anything-large": _anything("large", "l", "CC-BY-NC-4.0"),
}


def released(name: str) -> Released:
    """Raises: ValueError for a model that there is not."""
    if name not in RELEASED:
        raise ValueError(f"model {name!r} is unknown; known: {', '.join(RELEASED)}{nearest(name, RELEASED)}")
    return RELEASED[name]


def read_model(name: str = BUILT_IN, path: str | Path | None = None) -> nn.Module:
    """The network of a model, ready to look at pictures.

    path: of its weights; None for those that come with the program, which only the built-in model has.
    Raises: ValueError for an unknown model, or one that needs a path; FileNotFoundError; WeightsError.
    """
    model = released(name)
    if path is None:
        path = _own_file(name, model)
    # Convolutions on a CPU are quicker so: the built-in network takes three fifths of the time.
    return read_released(name, path).to(memory_format=torch.channels_last)


def _own_file(name: str, model: Released) -> Path:
    if name != BUILT_IN:
        raise ValueError(
            f"model {name}: its weights (licence: {model.licence}) do not come with this program; download "
            f"{' or '.join(model.files)} from {model.source} and give the file with --weights, or take the "
            f"built-in model {BUILT_IN}"
        )
    if not BUILT_IN_FILE.is_file():
        raise FileNotFoundError(f"{BUILT_IN_FILE}: not there; install render-fields again")
    return BUILT_IN_FILE


def read_released(name: str, path: str | Path) -> nn.Module:
    """The network of a released model, with the weights of its file, ready to look at pictures.

    Nothing in the file is run: tensors alone are read. If its name tells a checksum, as names of files that
    are offered do, it is compared. path: for the built-in model a training's folder, too.
    Raises: ValueError for an unknown model, FileNotFoundError with where to get the file, WeightsError for
    one that is damaged or of another model.
    """
    model, path = released(name), Path(path)
    if name == BUILT_IN:
        path = weights_file(path, model.files)
    elif not path.is_file():
        raise FileNotFoundError(
            f"{path}: not there; {name} is called {' or '.join(model.files)} and offered at {model.source}"
        )
    else:
        check_sum(path)
    network = model.make()
    take_weights(network, read_tensors(path), model.rules, model.unused, str(path))
    return network.eval().requires_grad_(False)


def weights_file(path: Path, names: Sequence[str]) -> Path:
    """A file of weights, or the one that a training left in its folder, under one of these names.

    Raises: FileNotFoundError.
    """
    if path.is_file():
        return path
    if not path.is_dir():
        raise FileNotFoundError(f"{path}: not there; name a file of weights, or a training's folder")
    for name in names:
        if (path / name).is_file():
            return path / name
    raise FileNotFoundError(
        f"{path}: holds no {' or '.join(names)}; name a file of weights, or a training's folder"
    )


def check_sum(path: Path) -> None:
    """Raises: WeightsError if the file's name ends in eight digits that its SHA-256 does not begin with."""
    told = re.search(r"-([0-9a-f]{8})$", path.stem)
    if told is None:
        return
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(told[1]):
        raise WeightsError(
            f"{path}: its SHA-256 begins with {found[:8]}, its name says {told[1]}; download it again"
        )


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Of a .safetensors file, or of a .pt file that holds them alone or beside an optimiser's.

    Raises: WeightsError for anything else.
    """
    content = read_content(path)
    if isinstance(content, dict) and isinstance(content.get("model"), dict):
        content = content["model"]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise WeightsError(f"{path}: holds something else than tensors by name; give the file of a model")
    return content


def read_content(path: Path) -> Any:
    """Whatever a file of tensors holds; nothing in it is run.

    Raises: WeightsError for a file that is damaged or holds more than tensors and plain data.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of a damaged file, many kinds
        raise WeightsError(f"{path}: no file of tensors ({error!s:.200}); download it again") from error
