"""Depth in colours: near is light and far is dark, in even steps of inverse depth."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from render.modes import DEPTH_COLOURS, along_colours
from scenes.images import quantised


def _shades(*codes: str) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(part / 255 for part in bytes.fromhex(code)) for code in codes)


# From near to far, each darker than the one before. Dusk is the viewer's; inferno and viridis are those of
# van der Walt and Smith (2015, CC0), at nine and ten of their shades.
COLOURS: dict[str, Sequence[Sequence[float]]] = {
    "dusk": DEPTH_COLOURS,
    "inferno": _shades(
        "fcffa4", "f9cb35", "f98e09", "e45a31", "bc3754", "8a226a", "57106e", "210c4a", "000004"
    ),
    "viridis": _shades(
        "fde725", "b5de2b", "6ece58", "35b779", "1f9e89", "26828e", "31688e", "3e4a89", "482878", "440154"
    ),
    "grey": ((1.0, 1.0, 1.0), (0.0, 0.0, 0.0)),
}
SHADES = 256


def coloured(
    nearness: Float[Tensor, "h w"], dark: float | int, light: float | int, colormap: str = "dusk"
) -> UInt8[Tensor, "h w 3"]:
    """A picture of inverse depth: the last colour up to `dark`, the first from `light` on.

    One tone, the middle one, where `dark` is not below `light`. Raises: KeyError for an unknown colormap.
    """
    if dark < light:
        place = ((light - nearness) / (light - dark)).clamp(0, 1)
    else:
        place = torch.full_like(nearness, 0.5)
    shades = quantised(along_colours(COLOURS[colormap], torch.linspace(0, 1, SHADES)))
    # NumPy takes bytes as indices: those of torch would need eight times the memory of the picture.
    return torch.from_numpy(shades.numpy()[quantised(place).numpy()])
