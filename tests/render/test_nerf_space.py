"""Scenes without an end for NeRF: where samples stand, what the networks see, and that it is learnt."""

import dataclasses

import pytest
import torch
from torch.testing import assert_close

from render.methods.nerf import NeRF
from render.methods.nerf_space import Space
from render.samplers.hierarchical import RaySamples, coarse_samples
from render.samplers.proposal import points_at
from scenes.cameras import Cameras
from scenes.generate.analytic import waves
from scenes.images import ImageSequence, quantised
from scenes.layout import frustum_of, unbounded
from scenes.pixels import PixelSource
from scenes.rays import Rays
from scenes.scene import Bounds, Scene

NEAR = 0.5


def cameras(n: int = 9) -> Cameras:
    """Side by side and one before the other, looking along +y, a little apart from each other."""
    across = torch.linspace(-0.4, 0.4, n)
    eyes = torch.stack((across, 0.2 * (7 * across).sin(), 0.3 * (5 * across).cos()), dim=-1)
    targets = eyes + torch.stack((0.1 * across, torch.ones(n), torch.zeros(n)), dim=-1)
    return Cameras.look_at(eyes, targets, (0, 0, 1), 40, 30, 50)


@pytest.fixture
def bounds() -> dict[str, Bounds]:
    endless = unbounded(near=NEAR)
    return {
        "box": Bounds((-1, -1, -1), (1, 1, 1), near=NEAR, far=6),
        "contracted": endless,
        "NDC": dataclasses.replace(endless, frustum=frustum_of(cameras(), NEAR)),
    }


def rays_of(index: int = 4) -> Rays:
    return cameras()[index].rays().reshape(-1)


@pytest.mark.parametrize("name", ["box", "contracted", "NDC"])
def test_samples_fill_the_way_from_near_to_far_in_order(bounds, name):
    space, rays = Space(bounds[name]), rays_of()
    assert space.name == name
    samples = coarse_samples(*space.ends(torch.ones(len(rays))), 64, "intervals")
    t = space.distances(samples.edges, rays)
    assert bool((t.diff(dim=-1) > 0).all())
    first, last = (points_at(rays, t[:, [i]])[:, 0] for i in (0, -1))
    if name == "NDC":  # from plane to plane of the shared view
        frustum = bounds[name].frustum
        forward, centre = torch.tensor(frustum.forward), torch.tensor(frustum.centre)
        assert_close((first - centre) @ forward, torch.full((len(rays),), frustum.near))
        assert_close((last - centre) @ forward, torch.full((len(rays),), 1e3), rtol=1e-4, atol=0)
    else:
        assert_close(t[:, 0], torch.full((len(rays),), NEAR))
        assert_close(t[:, -1], torch.full((len(rays),), float(bounds[name].far)), rtol=1e-4, atol=0)


def test_ndc_samples_are_even_and_of_one_length_along_every_ray(bounds):
    """A ray is a straight line in NDC, and even steps in disparity are even steps on it (appendix C)."""
    space, rays = Space(bounds["NDC"]), rays_of(2)
    samples = coarse_samples(*space.ends(torch.ones(len(rays))), 32, "intervals")
    seen = space.points(points_at(rays, space.distances(samples.edges, rays)).double())
    steps = seen.diff(dim=-2)
    assert_close(steps, steps[:, :1].expand_as(steps), atol=2e-5, rtol=0)
    assert_close(seen[:, 0, 2], torch.full((len(rays),), -1.0).double(), atol=1e-5, rtol=0)
    lengths = space.edges(samples, rays, "intervals")
    assert_close(lengths[:, -1].double(), (seen[:, -1] - seen[:, 0]).norm(dim=-1), atol=1e-4, rtol=0)


def test_ndc_is_the_picture_of_the_shared_view_from_near_to_infinity(bounds, generator):
    """x and y are those of a camera that stands in the frustum, and what it sees fills the cube."""
    space, frustum = Space(bounds["NDC"]), bounds["NDC"].frustum
    pose = torch.eye(4)
    pose[:3] = torch.tensor([frustum.right, frustum.down, frustum.forward, frustum.centre]).T
    focal_x, focal_y = (torch.tensor(1 / slope) for slope in frustum.slope)
    camera = Cameras(pose, focal_x, focal_y, torch.zeros(()), torch.zeros(()), 2, 2)
    depth = frustum.near * 10 ** (4 * torch.rand(500, generator=generator))
    pixels = 3 * torch.rand(500, 2, generator=generator) - 1.5
    seen = space.points(camera.unproject(pixels, depth))
    assert_close(seen[:, :2], pixels, atol=1e-3, rtol=1e-3)
    assert_close(seen[:, 2], 1 - 2 * frustum.near / depth, atol=1e-3, rtol=0)
    inside = (pixels.abs() <= 1).all(dim=-1)
    assert bool((seen[inside].abs() <= 1 + 1e-3).all()) and 100 < int(inside.sum()) < 400


def test_all_space_is_in_the_contracted_cube_and_the_box_stays(bounds):
    space, rays = Space(bounds["contracted"]), rays_of()
    samples = coarse_samples(*space.ends(torch.ones(len(rays))), 64, "intervals")
    points = points_at(rays, space.distances(samples.edges, rays))
    seen = space.points(points)
    assert float(seen.abs().max()) < 2
    near = points.abs().amax(dim=-1) <= 1
    assert torch.equal(seen[near], points[near]) and bool(near.any()) and not bool(near.all())


def test_lengths_are_those_of_the_space_and_the_published_rule_never_ends(bounds):
    space, rays = Space(bounds["contracted"]), rays_of()
    u = torch.linspace(0, 1, 9).expand(len(rays), 9)
    samples = RaySamples(u, (u[:, 1:] + u[:, :-1]) / 2)
    for rule, places in (("intervals", samples.edges), ("published", samples.distances)):
        way = space.points(points_at(rays, space.distances(places, rays)))
        edges = space.edges(samples, rays, rule)
        assert edges.shape == (len(rays), 9)
        for i in range(way.shape[1] - 1):
            step = (way[:, i + 1] - way[:, i]).norm(dim=-1)
            assert_close(edges[:, i + 1] - edges[:, i], step, atol=1e-5, rtol=1e-4)
    assert bool((edges[:, -1] - edges[:, -2] > 1e9).all())
    box = Space(bounds["box"])
    assert box.edges(samples, rays, "intervals") is samples.edges


def captured(shared: Cameras, bounds: Bounds) -> Scene:
    """A wall that ends at x = 0, and a landscape a hundred times as far behind it."""

    def picture(camera: Cameras) -> torch.Tensor:
        rays = camera.rays()
        colours = []
        for depth, size in ((1.2, 1.0), (120.0, 90.0)):
            points = (
                rays.origins + rays.directions * (depth - rays.origins[..., 1:2]) / rays.directions[..., 1:2]
            )
            colours.append((points, waves(size)(points)))
        (wall, near), (_, far) = colours
        return quantised(torch.where(wall[..., :1] < 0, near, far))

    pictures = ImageSequence(tuple(picture(shared[i]) for i in range(len(shared))))
    return Scene("wall", shared, pictures, bounds)


@pytest.mark.parametrize("name", ["contracted", "NDC"])
def test_near_and_far_are_learnt_together(bounds, name, generator):
    """The middle one of nine views, held out, is 6 dB better than its mean colour."""
    everything = captured(cameras(), bounds[name])
    scene, held = everything.subset([0, 1, 2, 3, 5, 6, 7, 8]), everything.subset([4])
    torch.manual_seed(0)
    model = NeRF(rays=192, coarse_samples=24, fine_samples=24, width=48, depth=3, precision="float32").build(
        scene
    )
    assert model.description()["space"] == name
    pixels = PixelSource.from_scene(scene)
    for step in range(400):
        model.step(pixels, step / 400, generator)
    found = model.render(held.cameras[0], ("rgb",))
    truth = held.images[0].float() / 255
    error = (found.rgb - truth).square().mean()
    assert float(error) < (truth - truth.mean(dim=(0, 1))).square().mean() / 4
