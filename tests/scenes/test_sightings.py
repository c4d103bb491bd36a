"""Points of structure from motion: which pixels show them, how far they are, how often they are drawn."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from scenes.cameras import Cameras
from scenes.formats.colmap_points import NO_POINTS, Points, trusted_sightings
from scenes.images import ImageSequence
from scenes.pixels import PixelSource
from scenes.random import uniform
from scenes.scene import Bounds, Scene
from scenes.sightings import sightings_in

WIDTH, HEIGHT, N = 40, 28, 5
LENSES = {
    "perspective": ("perspective", None),
    "barrel": ("perspective", [-0.25, 0.02, 0.003, -0.002, 0, 0, 0, 0]),
    "folding": ("perspective", [-0.45, 0, 0, 0, 0, 0, 0, 0]),
    "fisheye": ("fisheye", [0.02, -0.01, 0, 0, 0, 0, 0, 0]),
    "equirectangular": ("equirectangular", None),
}


def a_scene(lens: str = "perspective", points: int = 300) -> Scene:
    """Cameras around a cloud of points, some of which lie beside and behind them."""
    generator = torch.Generator().manual_seed(3)
    angle = torch.arange(N).float()
    eyes = 3 * torch.stack((angle.cos(), angle.sin(), 0.2 * angle), dim=-1)
    cameras = Cameras.look_at(eyes, (0, 0, 0), (0, 0, 1), WIDTH, HEIGHT, 70)
    projection, k = LENSES[lens]
    focal = torch.full((N,), WIDTH / (2 * math.pi) if projection == "equirectangular" else 15.0)
    coefficients = None if k is None else torch.tensor(k).float().expand(N, -1).contiguous()
    cameras = replace(cameras, fx=focal, fy=focal, distortion=coefficients, projection=projection)
    pictures = torch.randint(256, (N, HEIGHT, WIDTH, 3), generator=generator, dtype=torch.uint8)
    cloud = 4 * torch.randn(points, 3, generator=generator)
    shown = tuple((torch.rand(points, generator=generator) < 0.6).nonzero().flatten() for _ in range(N))
    bounds = Bounds((-1, -1, -1), (1, 1, 1), 0.1, 9)
    return Scene("cloud", cameras, ImageSequence(tuple(pictures)), bounds, points=cloud, shown=shown)


@pytest.mark.parametrize("lens", LENSES)
def test_sightings_are_the_pixels_that_points_fall_on_and_their_distances(lens):
    """One by one: a point is told of exactly if it lies in front of the lens and falls into the picture."""
    scene, count = a_scene(lens), 0
    for index, camera in enumerate(scene.cameras[i] for i in range(N)):
        found = sightings_in(scene, index, None)
        told = {}
        for (picture, x, y), distance in zip(found.pixel.tolist(), found.distance.tolist(), strict=True):
            assert picture == index
            told.setdefault((x, y), []).append(distance)
        for point in scene.points[scene.shown[index]]:
            way = point - camera.centres
            (x, y), _ = camera.project(point)
            place = (math.floor(x), math.floor(y))
            ray = camera.rays(torch.tensor([place[0] + 0.5, place[1] + 0.5])).directions
            is_near = float(ray @ way / way.norm()) > math.cos(math.atan(1 / float(camera.fx)))
            inside = 0 <= place[0] < WIDTH and 0 <= place[1] < HEIGHT
            if inside and is_near:
                distances = told[place]
                distances.remove(min(distances, key=lambda d: abs(d - float(way.norm()))))
                count += 1
            if inside and float(ray @ way / way.norm()) < 0.9:
                assert all(abs(d - float(way.norm())) > 1e-3 for d in told.get(place, ()))
        assert not any(told.values()), "what no point accounts for"
    assert count > 100


def test_the_distance_is_that_along_the_pixels_own_ray():
    scene = a_scene()
    found = sightings_in(scene, 2, None)
    rays = scene.cameras[2].rays(found.pixel[:, 1:] + 0.5)
    ends = rays.origins + found.distance[:, None] * rays.directions
    gaps = torch.cdist(ends, scene.points[scene.shown[2]]).amin(dim=-1)
    assert bool((gaps < 0.72 * found.distance / 15).all()), "within half of a pixel's diagonal"


def test_hidden_sightings_are_left_out():
    """By a mask of noise: those that stay are exactly those on pixels that it leaves, in their order."""
    scene = a_scene()
    masks = tuple(
        torch.rand(HEIGHT, WIDTH, generator=torch.Generator().manual_seed(i)) > 0.5 for i in range(N)
    )
    free = PixelSource.from_scene(scene)
    image, x, y = free.sighted.long().T
    kept = torch.stack(masks)[image, y, x]
    hidden = PixelSource.from_scene(replace(scene, masks=masks))
    assert torch.equal(hidden.sighted, free.sighted[kept])
    assert torch.equal(hidden.sighted_distance, free.sighted_distance[kept])
    assert 0 < int(kept.sum()) < len(kept)


def test_a_draw_takes_sightings_as_it_is_defined(device):
    """Kind and choice one by one from streams 0 and 1; the rest are the draws of blocks."""
    scene = a_scene()
    source = PixelSource.from_scene(scene).to(device)
    batch = source.draw(400, 5, 6, sighting_share=0.3)
    u = [uniform(5, 6, stream, torch.arange(400)).tolist() for stream in (0, 1)]
    plain = source.draw(400, 5, 6)
    sighted = 0
    for i in range(400):
        if u[0][i] < 0.3:
            chosen = math.floor(u[1][i] * len(source.sighted))
            image, x, y = source.sighted[chosen].tolist()
            assert float(batch.distance[i]) == float(source.sighted_distance[chosen])
            sighted += 1
        else:
            image, (x, y) = int(plain.image_index[i]), plain.xy[i].tolist()
            assert float(batch.distance[i]) == 0
        assert (int(batch.image_index[i]), *batch.xy[i].tolist()) == (image, x, y)
        colour = scene.images[image][y, x].to(device).float() / 255
        assert torch.equal(batch.rgba[i, :3], colour)
    assert sighted > 80
    assert bool(source.draws_foreground(400, 5, 6, sighting_share=0.3).all())


def test_a_share_of_none_or_no_sightings_is_a_draw_as_ever():
    scene = a_scene()
    source, without = PixelSource.from_scene(scene), PixelSource.from_scene(replace(scene, shown=()))
    draws = (source.draw(200, 1, 2), without.draw(200, 1, 2, sighting_share=0.5))
    assert torch.equal(draws[0].xy, draws[1].xy) and torch.equal(draws[0].rgba, draws[1].rgba)
    assert without.sighted is None and without.sighting_rate(0.5) == 0
    with pytest.raises(ValueError, match=r"sighting_share must lie in \[0, 1\], got 2"):
        source.draw(2, 0, 0, sighting_share=2)


def test_subsets_and_smaller_pictures_keep_their_sightings():
    """Half as large pictures show the points in half as many pixels; a subset takes its own along."""
    scene = a_scene()
    some = PixelSource.from_scene(scene.subset([4, 1]))
    everything = PixelSource.from_scene(scene)
    for new, old in ((0, 4), (1, 1)):
        mine, theirs = some.sighted[:, 0] == new, everything.sighted[:, 0] == old
        assert torch.equal(some.sighted[mine, 1:], everything.sighted[theirs, 1:])
    small = PixelSource.from_scene(scene.downscaled(2))
    assert torch.equal(small.sighted[:, 1:], everything.sighted[:, 1:] // 2)


def test_points_that_are_little_known_are_not_trusted():
    """Few pictures, one picture twice, a large error, a place that is not finite: each alone is enough."""
    tracks = [(p, image) for p in range(6) for image in (10, 11, 12)]
    tracks.remove((1, 12))
    tracks[tracks.index((2, 12))] = (2, 11)
    errors = np.array([0.5, 0.5, 0.5, 2.5, 0.5, -1.0])
    points = Points(np.zeros((6, 3)), np.zeros((6, 3), np.uint8), errors, np.array(tracks))
    kept = np.array([True, True, True, True, False, True])
    shown = trusted_sightings(points, kept)
    assert {image: numbers.tolist() for image, numbers in shown.items()} == {i: [0, 4] for i in (10, 11, 12)}
    assert trusted_sightings(NO_POINTS, np.zeros(0, bool)) == {}
