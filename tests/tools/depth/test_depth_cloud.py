"""Points lie where their pixels look, and what is assumed of them is only that."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from scenes.cameras import Cameras
from tools.depth.cloud import assumed_line, lens_of, points_of, z_depth_of
from tools.depth.predict import Depth


def noise(height, width, generator, channels=3):
    return torch.randint(256, (height, width, channels), generator=generator).to(torch.uint8)


def smooth(height, width):
    y, x = torch.meshgrid(torch.arange(height) / height, torch.arange(width) / width, indexing="ij")
    return 3 + torch.sin(2 * x + y) + 0.3 * torch.cos(5 * y)


@pytest.mark.parametrize(("width", "height", "most"), [(40, 30, 10**6), (41, 27, 300), (1, 9, 10**6)])
def test_points_project_back_to_the_pixels_whose_colours_they_have(width, height, most, generator):
    z_depth, image = smooth(height, width), noise(height, width, generator)
    focal = 1.1 * width
    points = points_of(z_depth, image, focal, most)
    assert 0 < len(points.positions) <= most
    one = torch.ones(())
    middle = (one * focal, one * focal, one * width / 2, one * height / 2)
    camera = Cameras(torch.eye(4), *middle, width, height)
    pixels, back = camera.project(torch.from_numpy(points.positions).float())
    assert float((pixels - pixels.floor() - 0.5).abs().max()) < 1e-3
    x, y = pixels.long().unbind(-1)
    assert np.array_equal(image[y, x].numpy(), points.colours)
    assert torch.allclose(back, z_depth[y, x], rtol=1e-5)
    if most > width * height:
        assert len(points.positions) == width * height


def test_the_middle_lies_ahead_and_right_is_x_and_down_is_y():
    z_depth = torch.full((3, 5), 2.0)
    found = points_of(z_depth, torch.zeros(3, 5, 3, dtype=torch.uint8), 4.0).positions.reshape(3, 5, 3)
    assert found[1, 2].tolist() == [0.0, 0.0, 2.0]
    assert found[1, 4].tolist() == [1.0, 0.0, 2.0] and found[2, 2].tolist() == [0.0, 0.5, 2.0]


def test_between_two_things_there_is_nothing(generator):
    """A box before a wall, with the ramp between them that an enlarged map has."""
    row = torch.cat([torch.full((20,), 1.0), torch.linspace(1, 4, 8)[1:-1], torch.full((20,), 4.0)])
    z_depth = row.expand(30, -1)
    found = points_of(z_depth, noise(30, 46, generator), 400.0).positions[:, 2]
    assert set(found.tolist()) == {1.0, 4.0} and len(found) > 0.8 * 40 * 30


def test_a_floor_is_no_edge(generator):
    """Seen from 1.5 m, out to where it is seen at six degrees."""
    focal, height = 200.0, 150
    below = torch.arange(height) + 0.5
    z_depth = (1.5 * focal / (below + 20))[:, None].expand(-1, 40)
    assert len(points_of(z_depth, noise(height, 40, generator), focal).positions) == height * 40


def test_what_is_transparent_has_no_points(generator):
    image = noise(10, 10, generator, channels=4)
    image[..., 3] = 255
    image[:, :4, 3] = 0
    assert len(points_of(torch.ones(10, 10), image, 10.0).positions) == 60


def test_the_assumed_scene_is_the_same_whatever_scale_and_shift_the_depth_had(generator):
    values = torch.rand(12, 9, generator=generator, dtype=torch.float64)
    found = []
    for scale, shift in ((1.0, 0.0), (40.0, -7.0), (1e-3, 5.0)):
        depth = Depth(scale * values + shift, "inverse_relative")
        line = assumed_line(float(depth.values.min()), float(depth.values.max()), 8.0)
        found.append(z_depth_of(depth, line))
    assert float(found[0].min()) == pytest.approx(1.0) and float(found[0].max()) == pytest.approx(8.0)
    assert torch.equal(found[0].flatten().argsort(), values.flatten().argsort(descending=True)), (
        "near is near"
    )
    for other in found[1:]:
        assert torch.allclose(other, found[0], rtol=1e-9)


def test_a_wall_is_a_wall_and_metres_stay_metres():
    wall = Depth(torch.full((2, 2), 5.0), "inverse_relative")
    assert z_depth_of(wall, assumed_line(5.0, 5.0)).tolist() == [[1.0, 1.0], [1.0, 1.0]]
    metric = Depth(torch.tensor([[2.0, 3.0]]), "metric")
    assert torch.equal(z_depth_of(metric, assumed_line(2.0, 3.0)), metric.values)


def test_a_lens_is_what_is_told_else_what_the_file_tells_else_assumed(tmp_path):
    file = tmp_path / "a.jpg"
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA405] = 18  # mm, before 36 mm x 24 mm of film: 90 degrees across
    Image.new("RGB", (36, 24)).save(file, exif=exif)
    seen = lens_of(3600, 2400, file=file)
    assert seen.known == "exif" and seen.focal == pytest.approx(1800)
    turned = lens_of(2400, 3600, file=file)
    assert turned.focal == pytest.approx(seen.focal)
    assert lens_of(3600, 2400, focal=77, file=file).focal == 77
    given = lens_of(400, 3600, fov=90, file=file)
    assert given.known == "given" and given.focal == pytest.approx(1800)
    Image.new("RGB", (36, 24)).save(file)
    assumed = lens_of(1000, 500, file=file)
    assert assumed.known == "assumed" and assumed.focal == pytest.approx(500 * math.sqrt(3))
