"""Sizes that networks see against those of MiDaS's published class, and pixels against OpenCV's."""

import random
from fractions import Fraction

import pytest
import torch
from torch.testing import assert_close

from tools.depth.resize import LONGEST, NORMALISATIONS, bounded_size, network_size, resize

# Rule, width, height, wanted size, multiple, aspect kept, and the size that DPT's dpt/transforms.py gives.
PUBLISHED = [
    ("lower_bound", 640, 480, (384, 384), 32, True, (512, 384)),
    ("lower_bound", 480, 640, (384, 384), 32, True, (384, 512)),
    ("lower_bound", 1242, 375, (1216, 352), 32, True, (1216, 352)),
    ("lower_bound", 1242, 375, (384, 384), 32, True, (1280, 384)),
    ("lower_bound", 1920, 1080, (384, 384), 32, True, (672, 384)),
    ("lower_bound", 1920, 1080, (518, 518), 14, True, (924, 518)),
    ("lower_bound", 441, 384, (400, 400), 32, True, (448, 416)),
    ("lower_bound", 640, 480, (384, 384), 32, False, (384, 384)),
    ("lower_bound", 641, 479, (400, 390), 32, False, (416, 416)),
    ("lower_bound", 590, 2371, (384, 384), 32, True, (384, 1536)),
    ("lower_bound", 522, 2069, (640, 480), 32, True, (640, 2528)),
    ("lower_bound", 2708, 1594, (256, 256), 14, True, (434, 266)),
    ("lower_bound", 2038, 156, (640, 480), 32, True, (6272, 480)),
    ("lower_bound", 2995, 977, (384, 384), 32, True, (1184, 384)),
    ("lower_bound", 165, 131, (384, 384), 14, True, (490, 392)),
    ("upper_bound", 640, 480, (384, 384), 32, True, (384, 288)),
    ("upper_bound", 480, 640, (384, 384), 32, True, (288, 384)),
    ("upper_bound", 1242, 375, (1216, 352), 32, True, (1152, 352)),
    ("upper_bound", 1242, 375, (384, 384), 32, True, (384, 128)),
    ("upper_bound", 1920, 1080, (384, 384), 32, True, (384, 224)),
    ("upper_bound", 1920, 1080, (518, 518), 14, True, (518, 294)),
    ("upper_bound", 441, 384, (400, 400), 32, True, (384, 352)),
    ("upper_bound", 640, 480, (384, 384), 32, False, (384, 384)),
    ("upper_bound", 641, 479, (400, 390), 32, False, (384, 384)),
    ("upper_bound", 1601, 2851, (256, 256), 32, True, (128, 256)),
    ("upper_bound", 158, 2201, (256, 256), 32, True, (32, 256)),
    ("upper_bound", 2070, 2304, (256, 256), 32, True, (224, 256)),
    ("upper_bound", 985, 2812, (256, 256), 32, True, (96, 256)),
    ("upper_bound", 1226, 128, (640, 480), 14, True, (630, 70)),
    ("upper_bound", 801, 2617, (518, 518), 14, True, (154, 518)),
    ("upper_bound", 1402, 2995, (640, 480), 14, True, (224, 476)),
    ("minimal", 640, 480, (384, 384), 32, True, (512, 384)),
    ("minimal", 480, 640, (384, 384), 32, True, (384, 512)),
    ("minimal", 1242, 375, (1216, 352), 32, True, (1216, 352)),
    ("minimal", 1242, 375, (384, 384), 32, True, (1280, 384)),
    ("minimal", 1920, 1080, (384, 384), 32, True, (672, 384)),
    ("minimal", 1920, 1080, (518, 518), 14, True, (924, 518)),
    ("minimal", 441, 384, (400, 400), 32, True, (448, 384)),
    ("minimal", 640, 480, (384, 384), 32, False, (384, 384)),
    ("minimal", 641, 479, (400, 390), 32, False, (384, 384)),
    ("minimal", 1282, 1203, (640, 480), 32, True, (640, 608)),
    ("minimal", 2452, 181, (640, 480), 14, True, (644, 42)),
    ("minimal", 1695, 1737, (256, 256), 32, True, (256, 256)),
    ("minimal", 2287, 2919, (518, 518), 14, True, (518, 658)),
    ("minimal", 1837, 2758, (384, 384), 14, True, (378, 574)),
    ("minimal", 2173, 1650, (518, 518), 32, True, (672, 512)),
    ("minimal", 161, 1962, (384, 384), 32, True, (32, 384)),
]

# cv2.resize(picture, (4, 9), interpolation=cv2.INTER_CUBIC) of `small_picture`, opencv 5.0.0.
OPENCV = [
    [-0.0169557, 0.4381080, 0.5412180, 0.2393735],
    [0.1002062, 0.5965604, 0.6629006, 0.4450485],
    [0.2919972, 0.8295779, 0.7881666, 0.7260888],
    [0.5408038, 0.9983394, 0.4497724, 0.7454611],
    [0.7015137, 0.9715332, 0.0585938, 0.5756836],
    [0.7464727, 0.6807252, 0.1321581, 0.4251091],
    [0.5825262, 0.4383988, 0.3969875, 0.3313430],
    [0.2757125, 0.5128255, 0.5791658, 0.3599573],
    [0.0640021, 0.5896370, 0.6927471, 0.3912717],
]


@pytest.mark.parametrize(("rule", "width", "height", "wanted", "multiple", "keep", "published"), PUBLISHED)
def test_sizes_are_those_of_the_published_class(rule, width, height, wanted, multiple, keep, published):
    size = network_size(width, height, wanted, multiple=multiple, rule=rule, keep_aspect=keep)
    assert size == published


def size_in_fractions(width, height, wanted, multiple, rule, keep):
    """The rule in exact arithmetic; None where a side lies so near a step or a half that rounding decides."""
    factors = [Fraction(wanted[0], width), Fraction(wanted[1], height)]
    if keep:
        pick = {"lower_bound": max, "upper_bound": min, "minimal": lambda f: min(f, key=lambda s: abs(1 - s))}
        factors = [pick[rule](factors)] * 2
    size = []
    for length, factor, bound in zip((width, height), factors, wanted, strict=True):
        steps = length * factor / multiple
        if steps != int(steps) and abs(2 * steps - round(2 * steps)) < Fraction(1, 10**9):
            return None
        allowed = [n for n in range(1, int(steps) + 3) if rule != "lower_bound" or n * multiple >= bound]
        allowed = [n for n in allowed if rule != "upper_bound" or n * multiple <= bound]
        size.append(min(allowed, key=lambda n: abs(n - steps)) * multiple)
    return tuple(size)


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("rule", ["lower_bound", "upper_bound", "minimal"])
def test_sizes_are_the_nearest_multiples_that_the_rule_allows(rule, keep, seed):
    """Every multiple tried in exact arithmetic; halves, where even decides, are among the recorded sizes."""
    draw, compared = random.Random(seed), 0
    for _ in range(500):
        width, height = draw.randint(8, 4000), draw.randint(8, 4000)
        wanted, multiple = (draw.randint(64, 900), draw.randint(64, 900)), draw.choice((1, 14, 32))
        exact = size_in_fractions(width, height, wanted, multiple, rule, keep)
        if exact is not None:
            size = network_size(width, height, wanted, multiple=multiple, rule=rule, keep_aspect=keep)
            assert size == exact, (width, height, wanted, multiple)
            compared += 1
    assert compared > 400


def test_a_side_never_vanishes():
    assert network_size(4000, 20, (384, 384), rule="upper_bound") == (384, 32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 0}, "width must be at least 1 pixel, got 0"),
        ({"wanted": (384, 0)}, "wanted must be at least 1 pixel, got 0"),
        ({"multiple": 0}, "multiple must be at least 1 pixel, got 0"),
        ({"wanted": (384, 16), "rule": "upper_bound"}, "no multiple of 32 is within 384 x 16"),
    ],
)
def test_sizes_that_cannot_be_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        network_size(**{"width": 640, "height": 480, "wanted": (384, 384), **change})


def small_picture():
    y, x = torch.meshgrid(torch.arange(5), torch.arange(7), indexing="ij")
    return ((x * x + 3 * y + (x * y) % 4) % 11 / 10).float()


def test_pixels_are_those_of_opencv():
    assert_close(resize(small_picture()[None, None], 4, 9)[0, 0], torch.tensor(OPENCV), atol=2e-6, rtol=0)


def cubic_loop(values, count):
    """One line of samples, resized: Keys' kernel with a = -0.75, ends repeated."""
    a, resized = -0.75, []
    for i in range(count):
        place = (i + 0.5) * len(values) / count - 0.5
        total, first = 0.0, int(place // 1) - 1
        for j in range(first, first + 4):
            t = abs(place - j)
            near = (a + 2) * t**3 - (a + 3) * t**2 + 1
            far = a * (t**3 - 5 * t**2 + 8 * t - 4)
            total += values[min(max(j, 0), len(values) - 1)] * (near if t <= 1 else far)
        resized.append(total)
    return resized


@pytest.mark.parametrize(("width", "height"), [(19, 11), (5, 4), (13, 9)])
def test_pixels_are_sums_with_the_cubic_kernel(width, height, generator):
    image = torch.rand(9, 13, generator=generator, dtype=torch.float64)
    rows = torch.tensor([cubic_loop(row, width) for row in image.tolist()])
    slow = torch.tensor([cubic_loop(column, height) for column in rows.T.tolist()]).T
    assert_close(resize(image[None, None], width, height)[0, 0], slow.double(), atol=1e-6, rtol=0)


def test_a_normalised_picture_has_mean_0_and_deviation_1():
    """Where its own mean and deviation are those that the network was trained with."""
    for normalisation in NORMALISATIONS.values():
        mean, deviation = torch.tensor(normalisation.mean), torch.tensor(normalisation.deviation)
        images = torch.stack((mean - deviation, mean + deviation))[None, :, :, None].transpose(1, 2)
        assert_close(normalisation(images)[0, :, :, 0], torch.tensor([[-1.0, 1.0]]).expand(3, 2))


@pytest.mark.parametrize("rule", ["lower_bound", "minimal"])
@pytest.mark.parametrize(("width", "height"), [(20000, 20), (20, 20000), (300, 20000), (40000, 400), (1, 9)])
@pytest.mark.parametrize(("wanted", "multiple"), [((384, 384), 32), ((518, 518), 14), ((1216, 352), 32)])
def test_a_thin_picture_does_not_make_a_vast_one(rule, width, height, wanted, multiple):
    """Its shape is kept as far as multiples allow."""
    size = network_size(width, height, wanted, rule=rule, multiple=multiple)
    found = bounded_size(size, wanted, multiple)
    assert max(found) <= LONGEST * max(wanted)
    assert all(side >= multiple and side % multiple == 0 for side in found)
    if max(size) <= LONGEST * max(wanted):
        assert found == size
    else:
        longer = max(range(2), key=size.__getitem__)
        assert found[longer] > LONGEST * max(wanted) - multiple
        exact = size[1 - longer] * LONGEST * max(wanted) / size[longer]
        assert abs(found[1 - longer] - exact) < multiple


def test_a_low_pass_averages_what_is_too_fine_and_stays_in_range():
    """Stripes one pixel wide become grey; without the low pass they stay stripes."""
    stripes = torch.zeros(1, 3, 64, 256)
    stripes[..., ::2] = 1.0
    soft, hard = (resize(stripes, 37, 32, low_pass=low_pass) for low_pass in (True, False))
    assert (soft[..., 2:-2] - 0.5).abs().max() < 0.05 and (hard - 0.5).abs().max() > 0.4
    edge = torch.zeros(1, 3, 8, 8)
    edge[..., 4:] = 1.0
    assert float(resize(edge, 32, 32, low_pass=True).min()) == 0.0
    assert float(resize(edge, 32, 32).min()) < 0.0
