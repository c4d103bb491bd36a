"""From radiance to a photograph: exposure, white balance, vignetting, blur, noise, tone curve, JPEG."""

import io

import numpy as np
from jaxtyping import Float, UInt8

from scenes.generate.pathtrace import srgb

Array = np.ndarray
Number = float | int


def _blurred(image: Float[Array, "h w 3"], side: Number) -> Float[Array, "h w 3"]:
    """Convolved with (side, 1 - 2 side, side) along both axes."""
    for axis in (0, 1):
        margin = [(1, 1) if i == axis else (0, 0) for i in range(3)]
        wide, count = np.pad(image, margin, mode="edge"), image.shape[axis]
        before, here, after = (wide.take(np.arange(k, k + count), axis) for k in range(3))
        image = (1 - 2 * side) * here + side * (before + after)
    return image


def _glare(image: Float[Array, "h w 3"]) -> Float[Array, "h w 3"]:
    """Light that spreads around what is overexposed, in blocks of 16 pixels, interpolated."""
    height, width, _ = image.shape
    rows, columns = -(-height // 16), -(-width // 16)
    bright = np.clip(image - 1.0, 0.0, 4.0)
    bright = np.pad(bright, ((0, 16 * rows - height), (0, 16 * columns - width), (0, 0)))
    coarse = bright.reshape(rows, 16, columns, 16, 3).mean(axis=(1, 3))
    for _ in range(3):
        coarse = _blurred(coarse, 0.25)
    y = np.clip((np.arange(height) + 0.5) / 16 - 0.5, 0, rows - 1)
    x = np.clip((np.arange(width) + 0.5) / 16 - 0.5, 0, columns - 1)
    top, left = np.floor(y).astype(int), np.floor(x).astype(int)
    s, t = (y - top)[:, None, None], (x - left)[None, :, None]
    below, right = np.minimum(top + 1, rows - 1), np.minimum(left + 1, columns - 1)
    upper = coarse[top][:, left] * (1 - t) + coarse[top][:, right] * t
    lower = coarse[below][:, left] * (1 - t) + coarse[below][:, right] * t
    return upper * (1 - s) + lower * s


def _jpeg(picture: UInt8[Array, "h w 3"], quality: int) -> UInt8[Array, "h w 3"]:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=quality)
    return np.array(Image.open(stream))


def develop(
    radiance: Float[Array, "h w 3"],
    rng: np.random.Generator,
    metered: Float[Array, "_ _ 3"] | None = None,
) -> UInt8[Array, "h w 3"]:
    """An 8-bit sRGB picture as a camera of random quality and settings would store it.

    metered: what exposure and white balance are set by, if it is not the picture itself.
    """
    height, width, _ = radiance.shape
    metered = radiance if metered is None else metered
    cast = metered.reshape(-1, 3).mean(axis=0)
    grey = metered.mean(axis=-1)
    exposure = rng.uniform(0.14, 0.34) / max(float(0.6 * grey.mean() + 0.4 * np.median(grey)), 1e-6)
    image = radiance * exposure
    # A white balance that corrects part of the cast, and then errs a little.
    cast = exposure * cast
    image = image * (cast.mean() / np.maximum(cast, 1e-6)) ** rng.uniform(0.0, 0.5)
    image = image * np.exp(rng.normal(0.0, 0.04, 3))
    image = image + rng.uniform(0.0, 0.25) * _glare(image)
    y, x = np.mgrid[:height, :width]
    off_axis = ((x - width / 2) ** 2 + (y - height / 2) ** 2) / ((width / 2) ** 2 + (height / 2) ** 2)
    image = image / (1 + rng.uniform(0.0, 0.5) * off_axis[..., None]) ** 2
    image = _blurred(image, rng.uniform(0.0, 0.16))
    shot, read = rng.uniform(0.0, 0.03), rng.uniform(0.0, 0.008)
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    image = image + noise * np.sqrt(shot**2 * np.maximum(image, 0.0) + read**2)
    # A shoulder instead of a hard end: highlights keep some of their colour.
    knee = rng.uniform(0.6, 0.95)
    over = np.maximum(image - knee, 0.0)
    image = np.where(image > knee, knee + (1 - knee) * (1 - np.exp(-over / (1 - knee))), image)
    image = srgb(np.maximum(image, 0.0))
    grey = image.mean(axis=-1, keepdims=True)
    image = grey + (image - grey) * rng.uniform(0.7, 1.25)
    contrast = rng.uniform(-0.15, 0.5)  # towards a curve like an S, which keeps black, grey and white
    image = image + contrast * (image - 0.5) * image * (1 - image) * 4
    picture = np.round(255 * np.clip(image, 0.0, 1.0)).astype(np.uint8)
    return _jpeg(picture, int(rng.integers(55, 96))) if rng.uniform() < 0.7 else picture
