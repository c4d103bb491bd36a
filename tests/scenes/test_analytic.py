"""The analytic scenes are exact: their geometry lies on their shapes and agrees between views."""

import pytest
import torch
from torch.nn.functional import grid_sample
from torch.testing import assert_close

from scenes.cameras import Cameras
from scenes.generate import GENERATORS, generator
from scenes.generate.analytic import SCENES, Box, Panel, Sphere, cast, generate, geometry, picture, rig, waves
from scenes.rays import Rays
from scenes.scene import SceneError


def distance_to(shape: Sphere | Box | Panel, points: torch.Tensor) -> torch.Tensor:
    """Unsigned distance of points to a shape's surface, from its definition."""
    new = points.new_tensor
    if isinstance(shape, Sphere):
        return ((points - new(shape.centre)).norm(dim=-1) - shape.radius).abs()
    if isinstance(shape, Box):
        outside = torch.maximum(new(shape.minimum) - points, points - new(shape.maximum))
        return outside.clamp(min=0).norm(dim=-1) - outside.max(dim=-1).values.clamp(max=0)
    edges = torch.stack((new(shape.right), new(shape.up)), dim=-1)
    within = torch.linalg.lstsq(edges, (points - new(shape.centre)).T).solution.clamp(-1, 1)
    return (points - new(shape.centre) - (edges @ within).T).norm(dim=-1)


@pytest.mark.parametrize("name", SCENES)
def test_z_depth_unprojects_onto_the_nearest_surface(name):
    """Points of every view lie on a shape, and nothing lies before them."""
    for camera in rig(5, 40, turn=0.3):
        exact = geometry(SCENES[name], camera)
        seen = exact.z_depth > 0
        points = camera.unproject(camera.pixel_centres(), exact.z_depth)[seen]
        surface = torch.stack([distance_to(shape, points) for shape in SCENES[name]]).min(dim=0).values
        assert float(surface.max()) < 1e-5
        rays = camera.rays()[seen]
        share = torch.rand(len(rays), generator=torch.Generator().manual_seed(0)) * 0.99
        before = rays.at(share * (points - rays.origins).norm(dim=-1))
        for shape in SCENES[name]:
            if isinstance(shape, Sphere):
                assert bool(((before - before.new_tensor(shape.centre)).norm(dim=-1) > shape.radius).all())
        towards = (exact.normal[seen] * rays.directions).sum(-1)
        assert bool((towards < 1e-6).all())
        assert_close(exact.normal[seen].norm(dim=-1), torch.ones(len(rays)))
        assert float(exact.normal[~seen].abs().sum()) == 0


@pytest.mark.parametrize("name", SCENES)
def test_normals_are_those_of_the_surface(name):
    """The cross product of finite differences of the points, where neighbours lie on one face."""
    camera = rig(3, 300, turn=0.1)[1]
    exact = geometry(SCENES[name], camera)
    points = camera.unproject(camera.pixel_centres(), exact.z_depth)
    across, down = points[1:-1, 2:] - points[1:-1, :-2], points[2:, 1:-1] - points[:-2, 1:-1]
    estimate = torch.nn.functional.normalize(torch.linalg.cross(down, across, dim=-1), dim=-1)
    # Away from edges only: all neighbours seen, with normals alike.
    inner = exact.normal[1:-1, 1:-1]
    smooth = torch.ones_like(inner[..., 0], dtype=torch.bool)
    for rows, columns in ((slice(2, None), slice(1, -1)), (slice(0, -2), slice(1, -1)),
                          (slice(1, -1), slice(2, None)), (slice(1, -1), slice(0, -2))):  # fmt: skip
        smooth &= (exact.normal[rows, columns] * inner).sum(-1) > 0.999
        smooth &= (exact.z_depth[rows, columns] - exact.z_depth[1:-1, 1:-1]).abs() < 0.05
    assert int(smooth.sum()) > 3000
    cosine = (estimate * inner).sum(-1)[smooth]
    assert float(cosine.quantile(0.01)) > 0.99 and float(cosine.mean()) > 0.999


def test_a_point_has_one_colour_in_all_views():
    """Matt: a surface point of one view, looked up in another that sees it, has the same colour."""
    cameras = rig(8, 160, turn=0.0)
    shapes = SCENES["spheres"][:1]
    one, other = cameras[4], cameras[7]
    exact, exact_other = geometry(shapes, one), geometry(shapes, other)
    seen = exact.z_depth > 0
    points = one.unproject(one.pixel_centres(), exact.z_depth)[seen]
    pixels, z_depth = other.project(points)
    grid = (pixels / 80 - 1)[None, None]

    def look_up(image: torch.Tensor) -> torch.Tensor:
        return grid_sample(image.movedim(-1, 0)[None].float(), grid, align_corners=False)[0, :, 0].T

    facing = (exact.normal[seen] * torch.nn.functional.normalize(other.centres - points, dim=-1)).sum(-1)
    visible = (look_up(exact_other.z_depth[..., None])[:, 0] - z_depth).abs() < 0.01
    visible &= facing > 0.3
    assert int(visible.sum()) > 500
    there = look_up(picture(shapes, other))[visible, :3] / 255
    here = picture(shapes, one)[seen][visible, :3].float() / 255
    assert float((there - here).abs().mean()) < 0.01


def test_alpha_is_the_covered_share():
    """Alpha summed over the picture is the solid angle's area: a disc under a far, narrow camera."""
    ball = (Sphere((0, 0, 0), 1.0, waves(1.0)),)
    camera = Cameras.look_at((0, 0, 400), (0, 0, 0), (0, 1, 0), 64, 64, 0.4)
    alpha = picture(ball, camera, supersampling=8)[..., 3].float() / 255
    radius = float(camera.fx) / 400
    assert float(alpha.sum()) == pytest.approx(torch.pi * radius**2, rel=2e-3)
    edge = alpha[(alpha > 0) & (alpha < 1)]
    assert len(edge.unique()) > 16


def test_shapes_are_met_from_inside_and_from_behind():
    """From inside, the far wall; behind the origin, nothing; a panel from both sides."""
    texture = waves(1.0)
    origin, ahead = torch.zeros(1, 3), torch.tensor([[0.0, 0.0, 1.0]])
    rays = Rays(origin, ahead)
    for shape, distance in (
        (Sphere((0, 0, 0), 2.0, texture), 2.0),
        (Box((-1, -1, -1), (1, 1, 3), texture), 3.0),
        (Panel((0, 0, 1.5), (1, 0, 0), (0, 1, 0), texture), 1.5),
        (Panel((0, 0, 1.5), (0, 1, 0), (1, 0, 0), texture), 1.5),
    ):
        seen = cast((shape,), rays)
        assert float(seen.distance) == pytest.approx(distance)
        assert_close(seen.normal, -ahead)
    for shape in (
        Sphere((0, 0, -4), 2.0, texture),
        Box((-1, -1, -3), (1, 1, -1), texture),
        Panel((0, 0, -1.5), (1, 0, 0), (0, 1, 0), texture),
        Panel((3, 0, 1.5), (1, 0, 0), (0, 1, 0), texture),
    ):
        assert not bool(cast((shape,), rays).hit)


def test_generating_again_gives_the_same_bytes():
    first, again = (generate("planes", width=12, views={"train": 2})["train"] for _ in range(2))
    assert all(torch.equal(first.images[i], again.images[i]) for i in range(2))


def test_splits_look_from_different_places():
    made = generate("boxes", width=4, supersampling=1)
    centres = torch.cat([scene.cameras.centres for scene in made.values()])
    between = torch.cdist(centres, centres) + 9 * torch.eye(len(centres))
    assert float(between.min()) > 0.15


def test_every_generator_but_the_demo_is_here_and_a_wrong_name_gets_the_nearest():
    for name in set(GENERATORS) - {"lego"}:
        assert generator(name)(width=4, views={"train": 1}, supersampling=1)["train"].name == name
    with pytest.raises(SceneError, match="did you mean spheres"):
        generator("sphere")
    with pytest.raises(SceneError, match="known: lego, spheres"):
        generator("zzz")
    with pytest.raises(ValueError, match="no analytic scene"):
        generate("cones")
