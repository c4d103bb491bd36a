"""What is nearer is never darker, and only the order and the ends of the scale count."""

import pytest
import torch

from tools.depth.colours import COLOURS, coloured


def lightness(colours):
    """CIE 1976 L*, of sRGB bytes (..., 3)."""
    values = colours.double() / 255
    linear = torch.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    luminance = linear @ torch.tensor([0.2126, 0.7152, 0.0722], dtype=torch.float64)
    return torch.where(
        luminance > 0.008856, 116 * luminance.clamp(min=1e-9) ** (1 / 3) - 16, 903.3 * luminance
    )


@pytest.mark.parametrize("name", COLOURS)
def test_near_is_light_and_no_step_goes_back(name):
    ramp = torch.linspace(0, 1, 2001)[None]
    light = lightness(coloured(ramp, 0.0, 1.0, name))[0]
    assert bool((light.diff() >= -0.25).all()), "but for the rounding to bytes"
    assert float(light[-1]) > 85 and float(light[0]) < 20
    steps = light[::100].diff()
    assert bool((steps > 1).all()), "every twentieth can be told from the next"


def test_scale_and_shift_of_inverse_depth_change_no_colour(generator):
    nearness = torch.rand(40, 50, generator=generator)
    same = coloured(nearness * 8 - 3, -2.5, 4.5)
    assert torch.equal(coloured(nearness, 0.0625, 0.9375), same)


def test_what_lies_beyond_the_ends_has_the_colours_of_the_ends():
    found = coloured(torch.tensor([[-5.0, 0.0, 1.0, 7.0]]), 0.0, 1.0)
    assert torch.equal(found[0, 0], found[0, 1]) and torch.equal(found[0, 2], found[0, 3])


def test_a_wall_has_one_tone():
    assert len(coloured(torch.full((3, 4), 2.0), 2.0, 2.0).flatten(0, 1).unique(dim=0)) == 1
