"""Pictures and depths stay together through whatever they go through, and a seed says what that is."""

import math

import pytest
import torch

from tools.depth.augmentation import (
    FRAME,
    MIRRORED,
    MULTIPLE,
    USUAL,
    Shares,
    augmented,
    cut_out,
    framed,
    shapes_like,
)

PLAIN = Shares(blurred=0, recoloured=0, noisy=0, framed=0)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def example(height: int = 60, width: int = 90) -> tuple[torch.Tensor, torch.Tensor]:
    """A picture whose red tells the column and whose green tells the row; the depth tells both."""
    row, column = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    rgb = torch.stack((2 * column, 3 * row, torch.full_like(row, 128)), dim=2).to(torch.uint8)
    return rgb, (1000 * row + column).float()


@pytest.mark.parametrize("size", [(96, 64), (32, 32), (64, 128)])
def test_depth_stays_with_its_colour(size):
    """Cut out, resized and mirrored, a pixel's depth is that of the place its colour is from."""
    rgb, values = example()
    for seed in range(40):
        image, found = augmented(rgb, values, size, seeded(seed), PLAIN)
        assert image.shape[1:] == found.shape == (size[1], size[0])
        row, column = found.div(1000, rounding_mode="floor"), found % 1000
        inside = (slice(2, -2), slice(2, -2))  # at its border a picture is held, not extended
        far = 0.5 + max(90 / size[0], 60 / size[1], 1.0)  # of pixels, by nearest and by averages
        assert (255 * image[0] / 2 - column)[inside].abs().max() < far
        assert (255 * image[1] / 3 - row)[inside].abs().max() < far


def test_depths_are_picked_never_averaged():
    """Between a near and a far surface there is none; what is unknown stays so and spreads nowhere."""
    near, far = torch.full((40, 15), 1.0), torch.full((40, 15), 9.0)
    values = torch.cat((near, torch.full((40, 10), torch.nan), far), dim=1)
    rgb = torch.zeros(40, 40, 3, dtype=torch.uint8)
    unknown = 0
    for seed in range(20):
        _, found = augmented(rgb, values, (64, 32), seeded(seed))
        assert set(found[found.isfinite()].tolist()) <= {1.0, 9.0}
        unknown += int(found.isnan().sum())
    assert unknown > 0


def test_a_seed_gives_a_picture_and_nothing_else_is_drawn_from():
    rgb, values = example()
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    first = augmented(rgb, values, (64, 64), seeded(1))
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(6)
    again, other = (augmented(rgb, values, (64, 64), seeded(seed)) for seed in (1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0]) and not torch.equal(first[1], other[1])


def test_what_is_cut_out_lies_inside_and_has_the_aspect_that_was_asked_for():
    for seed in range(200):
        rows, columns = cut_out(200, 300, 1.5, USUAL, seeded(seed))
        assert 0 <= rows.start < rows.stop <= 200 and 0 <= columns.start < columns.stop <= 300
        height, width = rows.stop - rows.start, columns.stop - columns.start
        assert abs(math.log(width / height / 1.5)) <= USUAL.stretch + 0.02  # whole pixels
        assert max(height / 200, width / 300) > USUAL.least_side - 0.02


def test_both_mirror_images_and_every_place_come():
    rgb, values = example()
    mirrored, left = 0, set()
    for seed in range(60):
        _, found = augmented(rgb, values, (32, 32), seeded(seed), PLAIN)
        mirrored += bool(found[0, 0] > found[0, -1])
        left.add(int(found[0].min() % 1000))
    assert 15 < mirrored < 45 and len(left) > 20


def test_colours_stay_colours_and_grey_is_grey():
    rgb, values = example()
    grey = Shares(recoloured=1, grey=1, noisy=0, framed=0)
    for seed in range(20):
        image, _ = augmented(rgb, values, (64, 32), seeded(seed), grey)
        assert image.min() >= 0 and image.max() <= 1
        inside = (image > 0) & (image < 1)
        assert (image - image[:1])[inside & inside[:1]].abs().max() < 1e-5


@pytest.mark.parametrize("size", [(256, 192), (96, 64), (32, 32), (384, 384)])
def test_shapes_have_about_as_many_pixels_and_sides_that_networks_take(size):
    for width, height in shapes_like(*size):
        assert width % MULTIPLE == height % MULTIPLE == 0
        assert 0.6 <= width * height / (size[0] * size[1]) <= 1.6


def test_mirrored_only_is_the_picture_or_its_mirror_image():
    rgb, values = example()
    whole = rgb.permute(2, 0, 1).float() / 255
    for seed in range(20):
        image, found = augmented(rgb, values, (90, 60), seeded(seed), MIRRORED)
        same = torch.equal(image, whole) and torch.equal(found, values)
        assert same or (torch.equal(image.flip(2), whole) and torch.equal(found.flip(1), values))


def test_a_frame_has_one_colour_and_nothing_is_known_of_it():
    rgb, values = example()
    whole = rgb.permute(2, 0, 1).float() / 255
    colours = set()
    for seed in range(60):
        image, found = framed(whole, values, seeded(seed))
        known = ~found.isnan()
        assert torch.equal(known, known.any(dim=1)[:, None] & known.any(dim=0))
        assert torch.equal(image[:, known], whole[:, known]) and torch.equal(found[known], values[known])
        hidden = (~known).sum(dim=(0, 1)).item()
        most = 2 * (round(FRAME * max(values.shape)) + 1)
        assert hidden <= most * sum(values.shape)
        of_frame = image[:, ~known].unique(dim=1)
        assert of_frame.shape[1] == (hidden > 0)
        colours.add(tuple(of_frame.flatten().tolist()))
    assert {(0.0, 0.0, 0.0), (1.0, 1.0, 1.0)} < colours and len(colours) > 8
