"""Measures a model on held-out views, and says by which protocol.

Numbers from different protocols must not be compared: the background alone is worth a decibel on some scenes,
more if the training never saw it. Every result therefore carries its protocol.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from render.appearance import fitted
from render.metrics import psnr, ssim
from render.posing import posed_on_left_half
from scenes.cameras import Cameras
from scenes.images import downscaled, on_background, quantised, read_mask, shrunk_mask, write_png
from scenes.scene import Scene

SHEET_VIEWS = 5
SHEET_WIDTH = 400  # pixels of one cell, at most
ERROR_GAIN = 5  # of the contact sheet's error pictures


@dataclass(frozen=True)
class Protocol:
    """How pictures are compared; see PROTOCOLS."""

    background: tuple[float, float, float] | None = None  # None: the scene's own
    quantised: bool = False
    # Set by the left half of a picture; the right half is measured.
    fitted: bool = False  # exposure and white balance
    posed: bool = False  # where the camera stands


PROTOCOLS = {
    # The prediction as it is, clipped to [0, 1].
    "float": Protocol(),
    # NerfBaselines: white behind synthetic scenes, truth and prediction rounded to 8 bits.
    "nerfbaselines": Protocol(background=(1.0, 1.0, 1.0), quantised=True),
    # instant-ngp's scripts/run.py evaluates on black (its 8 samples a pixel are not imitated).
    "ngp-black": Protocol(background=(0.0, 0.0, 0.0)),
    # NeRF-W (arXiv:2008.02268, section 5): what a camera's settings do to a picture is not what is measured.
    "half-fitted": Protocol(fitted=True),
    # Of refined cameras, to whose places those of held-out views were not taken along (render/posing.py).
    "half-posed": Protocol(posed=True),
}


@dataclass(frozen=True)
class View:
    """One measured view."""

    name: str
    psnr: float  # dB
    ssim: float
    seconds: float  # to render it


def evaluate(
    model: Any,
    scene: Scene,
    split: str,
    protocol: str = "float",
    *,
    out: Path | None = None,
    progress: Callable[[int, int, View], None] = lambda done, total, view: None,
) -> dict[str, Any]:
    """Render every view of `scene` and compare it with the picture there; one picture in memory at a time.

    Args:
        split: the name of the views, for the record.
        protocol: one of PROTOCOLS.
        out: a folder for the rendered pictures and `contact_sheet.png`; None writes nothing.
    Returns: psnr (dB, mean over views), ssim, views, seconds_per_frame (median), protocol, per_view.
    Raises: ValueError for an unknown protocol, or one that needs alpha where the pictures have none.
    """
    rule = _rule(protocol, scene)
    background = scene.background if rule.background is None else rule.background
    names = _file_names(scene)
    sheet = _sheet_rows(len(names))
    views, rows = [], []
    for index, name in enumerate(names):
        truth, picture, seen, seconds = _drawn(model, scene, index, rule, background)
        view = View(name, *compared(picture, truth, seen, right_half=rule.fitted or rule.posed), seconds)
        views.append(view)
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            write_png(out / f"{name}.png", quantised(picture))
            if index in sheet:
                rows.append(_sheet_row(truth, picture))
        progress(len(views), len(names), view)
    if rows:
        write_png(out / "contact_sheet.png", torch.cat(rows))
    return {
        "psnr": statistics.fmean(view.psnr for view in views),
        "ssim": statistics.fmean(view.ssim for view in views),
        "views": len(views),
        "seconds_per_frame": statistics.median(view.seconds for view in views),
        "protocol": _stated(protocol, rule, scene, split, background),
        "per_view": [{"name": view.name, "psnr": view.psnr, "ssim": view.ssim} for view in views],
    }


def _drawn(
    model: Any, scene: Scene, index: int, rule: Protocol, background: tuple[float, ...] | None
) -> tuple[Float[Tensor, "h w 3"], Float[Tensor, "h w 3"], Bool[Tensor, "h w"] | None, float]:
    """A view's picture, the model's, which pixels count, and the seconds that the model took."""

    def drawn(camera: Cameras) -> Float[Tensor, "h w 3"]:
        return model.render(camera, background=background).rgb

    truth, seen = on_background(scene.images[index], background), seen_pixels(scene, index)
    camera = scene.cameras[index]
    if rule.posed:
        camera = posed_on_left_half(drawn, camera, truth, seen, scene.bounds)
    began = time.perf_counter()
    picture = drawn(camera).cpu().clamp(0, 1)
    seconds = time.perf_counter() - began
    if rule.fitted:
        picture = fitted_on_left_half(picture, truth, seen)
    if rule.quantised:
        truth, picture = (quantised(image).float() / 255 for image in (truth, picture))
    return truth, picture, seen, seconds


def seen_pixels(scene: Scene, index: int) -> Bool[Tensor, "h w"] | None:
    """Those of a picture that count: what neither a mask nor the lens hides. None: all."""
    camera = scene.cameras[index]
    seen = None
    if camera.distortion is not None or camera.projection != "perspective":
        seen = camera.rays().directions.isfinite().all(dim=-1).cpu()
    mask = scene.masks[index] if scene.masks else None
    if mask is not None:
        shown = shrunk_mask(
            mask if isinstance(mask, Tensor) else read_mask(mask), camera.width, camera.height
        )
        seen = shown if seen is None else seen & shown
    return None if seen is None or bool(seen.all()) else seen


def fitted_on_left_half(
    picture: Float[Tensor, "h w 3"], truth: Float[Tensor, "h w 3"], seen: Bool[Tensor, "h w"] | None
) -> Float[Tensor, "h w 3"]:
    """The picture with the gain and bias of each channel that bring its left half nearest to the truth's."""
    left = slice(0, picture.shape[1] // 2)
    counted = torch.ones(picture.shape[:2], dtype=torch.bool) if seen is None else seen
    gain, bias = fitted(*(image[:, left][counted[:, left]] for image in (truth, picture)))
    return (picture * gain + bias).clamp(0, 1)


def compared(
    picture: Float[Tensor, "h w 3"],
    truth: Float[Tensor, "h w 3"],
    seen: Bool[Tensor, "h w"] | None,
    right_half: bool,
) -> tuple[float, float]:
    """PSNR (dB) and SSIM; hidden pixels are left out of the one, and taken from the truth for the other."""
    part = slice(picture.shape[1] // 2 if right_half else 0, None)
    picture, truth = picture[:, part], truth[:, part]
    if seen is not None:
        seen = seen[:, part]
        picture = torch.where(seen[..., None], picture, truth)
    return float(psnr(picture, truth, seen=seen)), float(ssim(picture, truth))


def _rule(protocol: str, scene: Scene) -> Protocol:
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol {protocol!r} is unknown; known: {', '.join(PROTOCOLS)}")
    if not len(scene.images):
        raise ValueError(f"{scene.name}: has no views to evaluate")
    if protocol == "ngp-black" and not scene.has_alpha:
        raise ValueError(f"protocol ngp-black needs pictures with alpha, those of {scene.name} have none")
    return PROTOCOLS[protocol]


def _stated(
    name: str, rule: Protocol, scene: Scene, split: str, background: tuple[float, ...] | None
) -> dict[str, Any]:
    return {
        "name": name,
        "split": split,
        "views": len(scene.images),
        "width": scene.cameras.largest[0],
        "height": scene.cameras.largest[1],
        "background": list(background) if scene.has_alpha and background is not None else None,
        "space": "srgb",
        "quantised": rule.quantised,
        "psnr": "mean of per-image PSNR, prediction clipped to [0, 1]",
        "ssim": "11x11 gaussian, sigma 1.5, valid windows, mean over channels",
        "fitted": "gain and bias of each channel on the left half; the right half is measured"
        if rule.fitted
        else None,
        "posed": "the camera by the left half; the right half is measured" if rule.posed else None,
        "masked": "hidden pixels are left out of psnr, and taken from the truth for ssim"
        if scene.masks
        else None,
    }


def _file_names(scene: Scene) -> list[str]:
    """A file name for each frame: its own last part, or its number where those are not unique."""
    names = {Path(name).stem for name in scene.frame_names}
    if len(names) == len(scene.images):
        return [Path(name).stem for name in scene.frame_names]
    return [f"{index:04d}" for index in range(len(scene.images))]


def _sheet_rows(views: int) -> set[int]:
    """Up to SHEET_VIEWS views, evenly spread."""
    count = min(SHEET_VIEWS, views)
    return {round(row * (views - 1) / max(count - 1, 1)) for row in range(count)}


def _sheet_row(
    truth: Float[Tensor, "h w 3"], picture: Float[Tensor, "h w 3"]
) -> UInt8[Tensor, "row width3 3"]:
    """Truth, picture and their difference (ERROR_GAIN times, dark where they agree), side by side."""
    error = ((truth - picture).abs() * ERROR_GAIN).clamp(0, 1)
    height, width = truth.shape[:2]
    factor = max(width / SHEET_WIDTH, 1.0)
    size = max(round(width / factor), 1), max(round(height / factor), 1)
    return torch.cat([downscaled(quantised(image), *size) for image in (truth, picture, error)], dim=1)
