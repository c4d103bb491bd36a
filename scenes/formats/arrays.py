"""A scene of what is in memory already: pictures, the cameras that took them, and what else is known."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from scenes.cameras import Cameras
from scenes.depths import DepthSequence
from scenes.formats import check_bounds
from scenes.formats.placing import Corners, place
from scenes.images import ImageSequence, quantised, read_header
from scenes.matrices import Array, as_floats
from scenes.scene import Scene, SceneError, Vector
from scenes.transforms import similarity_scale

WHITE = (1.0, 1.0, 1.0)
Picture = Tensor | np.ndarray | str | os.PathLike


def scene_of_images(
    images: Sequence[Picture] | Tensor | np.ndarray,
    cameras: Cameras,
    *,
    names: Sequence[str] = (),
    masks: Sequence[Picture | None] = (),
    depths: Sequence[Array | None] = (),
    points: Array | None = None,
    shown: Sequence[Array] = (),
    bounds: str = "auto",
    box: Corners | None = None,
    up: tuple[float | int, ...] | None = None,
    background: Vector | None = None,
    name: str = "images",
) -> Scene:
    """See `Scene.from_images`."""
    n = _count(cameras)
    check_bounds(bounds)
    given = {"images": images, "names": names, "masks": masks, "depths": depths, "shown": shown}
    for what, values in given.items():
        if len(values) != n and not (what != "images" and len(values) == 0):
            raise SceneError(f"{n} cameras and {len(values)} {what}: give as many")
    pictures = tuple(_picture(f"image {i}", image) for i, image in enumerate(images))
    sizes = cameras.sizes.tolist()
    for i, picture in enumerate(pictures):
        _check_size(f"image {i}", _size(picture), sizes[i])
    has_alpha = any(_has_alpha(picture) for picture in pictures)
    if background is not None and not has_alpha:
        raise SceneError("background: the pictures have no alpha, so nothing is behind them; leave it out")
    known = _points(points)
    there = cameras.to("cpu", torch.float64)
    placed = place(there, known, has_alpha=has_alpha, bounds=bounds, up=up, box=box)
    scale = float(similarity_scale(placed.model_from_input))
    return Scene(
        name=name,
        cameras=placed.cameras,
        images=ImageSequence(pictures),
        bounds=placed.bounds,
        background=(background or WHITE) if has_alpha else None,
        has_alpha=has_alpha,
        model_from_input=placed.model_from_input,
        frame_names=tuple(names),
        placing=placed.why,
        masks=tuple(_mask(f"mask {i}", mask, sizes[i]) for i, mask in enumerate(masks)),
        depths=_depths(depths, scale, sizes) if len(depths) else None,
        points=placed.points,
        shown=tuple(_shown(f"shown {i}", indices, len(known)) for i, indices in enumerate(shown)),
    )


def _count(cameras: Cameras) -> int:
    if len(cameras.shape) != 1 or len(cameras) == 0:
        raise SceneError(f"cameras: a row of at least one is wanted, got {tuple(cameras.shape)}")
    if not bool(cameras.camera_to_world.isfinite().all()):
        raise SceneError("cameras: a pose is not finite; leave it out with its image")
    return len(cameras)


def _points(points: Array | None) -> Float[Tensor, "m 3"]:
    known = torch.zeros(0, 3, dtype=torch.float64) if points is None else as_floats(points).double().cpu()
    if known.ndim != 2 or known.shape[1] != 3 or not bool(known.isfinite().all()):
        raise SceneError(f"points are {tuple(known.shape)}; they must be (m, 3), all of them finite")
    return known


def _shown(label: str, indices: Array, count: int) -> Int64[Tensor, "k"]:
    numbers = torch.as_tensor(np.array(indices, dtype=np.int64))
    if numbers.numel() and not 0 <= int(numbers.min()) <= int(numbers.max()) < count:
        raise SceneError(f"{label} goes to {int(numbers.max())}; there are {count} points")
    return numbers


def _picture(label: str, image: Picture) -> Path | UInt8[Tensor, "h w c"]:
    """A file, or 8 bits a channel, copied only where they must be changed."""
    if isinstance(image, str | os.PathLike):
        return Path(image)
    values = image.detach().cpu() if isinstance(image, Tensor) else torch.from_numpy(_writable(image))
    if values.ndim != 3 or values.shape[-1] not in (3, 4):
        raise SceneError(f"{label} is {tuple(values.shape)}; it must be (height, width, 3 or 4)")
    if values.is_floating_point():
        low, high = float(values.min()), float(values.max())
        if not (low >= 0 and high <= 1):
            raise SceneError(f"{label} goes from {low:g} to {high:g}; floats are in [0, 1], bytes are uint8")
        return quantised(values)
    if values.dtype != torch.uint8:
        raise SceneError(f"{label} is {values.dtype}; give uint8, or floats in [0, 1]")
    return values.contiguous()


def _writable(array: np.ndarray) -> np.ndarray:
    """The array, or a copy of what torch would warn of."""
    fit = array.flags.writeable and all(stride >= 0 for stride in array.strides)
    return array if fit else np.array(array, order="C")


def _size(picture: Path | Tensor) -> tuple[int, int]:
    if isinstance(picture, Tensor):
        return picture.shape[1], picture.shape[0]
    header = read_header(picture)
    return header.width, header.height


def _has_alpha(picture: Path | Tensor) -> bool:
    return picture.shape[-1] == 4 if isinstance(picture, Tensor) else read_header(picture).has_alpha


def _check_size(label: str, size: tuple[int, int], wanted: Sequence[int]) -> None:
    if tuple(size) != tuple(wanted):
        raise SceneError(
            f"{label} is {size[0]} x {size[1]}, its camera is for {wanted[0]} x {wanted[1]} pixels; "
            "cameras.scaled(factor) fits them to pictures that were reduced"
        )


def _mask(label: str, mask: Picture | None, size: Sequence[int]) -> Path | Tensor | None:
    """Where it is not 0 is learnt from."""
    if mask is None or isinstance(mask, str | os.PathLike):
        return None if mask is None else Path(mask)
    values = mask.cpu() if isinstance(mask, Tensor) else torch.from_numpy(_writable(mask))
    if values.ndim != 2:
        raise SceneError(f"{label} is {tuple(values.shape)}; it must be (height, width)")
    _check_size(label, (values.shape[1], values.shape[0]), size)
    return values != 0


def _depths(depths: Sequence[Array | None], scale: float, sizes: Sequence[Sequence[int]]) -> DepthSequence:
    """z_depth in input units, 0 where it is unknown."""
    items: list[Float[Tensor, "h w"] | None] = []
    for i, depth in enumerate(depths):
        items.append(None if depth is None else as_floats(depth).detach().cpu().float())
        if depth is not None and items[-1].ndim != 2:
            raise SceneError(f"depth {i} is {tuple(items[-1].shape)}; it must be (height, width)")
    return DepthSequence(tuple(items), scale).resized(sizes)
