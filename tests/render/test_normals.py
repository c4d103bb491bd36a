import math

import torch
from torch.testing import assert_close

from render.normals import surface_normals
from scenes.cameras import Cameras


def ball(radius=1.0, width=80):
    """Rays, distances (0 beside it) and true normals of a ball seen from 4 away."""
    camera = Cameras.look_at((0, -4, 0), (0, 0, 0), (0, 0, 1), width, width, 40.0)
    rays = camera.rays()
    along = -(rays.origins * rays.directions).sum(-1)
    miss = along.square() - 16 + radius**2
    distance = torch.where(miss > 0, along - miss.clamp(min=0).sqrt(), 0.0)
    return rays, distance, torch.where((distance > 0)[..., None], rays.at(distance) / radius, 0.0)


def test_normals_of_a_ball_are_its_radii():
    rays, distance, truth = ball()
    found = surface_normals(rays.at(distance), distance, rays.directions)
    inner = (truth * rays.directions).sum(-1) < -0.5  # not where it turns away
    assert inner.sum() > 1000
    assert ((found - truth)[inner].norm(dim=-1)).max() < math.radians(4)
    assert not found[distance == 0].any()
    assert_close(found[distance > 0].norm(dim=-1), torch.ones(int((distance > 0).sum())))
    assert ((found * rays.directions).sum(-1) <= 0).all()


def test_no_normal_leans_over_the_edge_of_what_stands_in_front():
    """Half of a picture at 1, the other half at 3: both are walls that face the camera, up to the edge."""
    rays = Cameras.from_fov(torch.eye(4), 20, 20, 50.0).rays()
    z = torch.where(torch.arange(20) < 10, 1.0, 3.0).expand(20, 20)
    distance = z / rays.directions[..., 2]
    found = surface_normals(rays.at(distance), distance, rays.directions)
    assert_close(found, torch.tensor([0.0, 0.0, -1.0]).expand(20, 20, 3), atol=1e-5, rtol=0)


def test_one_pixel_alone_has_no_surface():
    rays = Cameras.from_fov(torch.eye(4), 1, 1, 50.0).rays()
    assert not surface_normals(rays.directions, torch.ones(1, 1), rays.directions).any()
