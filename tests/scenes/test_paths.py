"""Camera paths go where they say."""

import math
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from scenes.cameras import Cameras
from scenes.generate.analytic import generate, generate_spheres
from scenes.paths import interpolate, orbit, scene_orbit, spiral
from scenes.scene import Bounds, Orbit


def test_an_orbit_looks_at_its_centre_from_its_elevation():
    centre, up = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.0, 1.0, 0.0])
    cameras = orbit((1.0, 2.0, 3.0), 2.5, 30, 12, 80, 60, 45, up=(0.0, 1.0, 0.0))
    arms = cameras.centres - centre
    assert_close(arms.norm(dim=-1), torch.full((12,), 2.5))
    assert_close(arms @ up, torch.full((12,), 2.5 * math.sin(math.radians(30))))
    assert_close(cameras.project(centre)[0], torch.tensor([40.0, 30.0]).expand(12, 2), atol=1e-3, rtol=0)


def test_an_orbit_closes_evenly_and_counter_clockwise():
    """The step from the last frame to the first is like every other, so a loop does not stutter."""
    cameras = orbit((0, 0, 0), 2, 0, 10, 8, 8, 45)
    assert_close(cameras.centres[0], torch.tensor([2.0, 0.0, 0.0]), atol=1e-6, rtol=0)
    assert cameras.centres[1, 1] > 0
    steps = (cameras.centres.roll(-1, dims=0) - cameras.centres).norm(dim=-1)
    assert_close(steps, steps[:1].expand(10), atol=1e-5, rtol=0)


def test_a_scene_orbit_shows_the_scene_from_where_it_was_taken():
    scene = generate_spheres(width=8, views={"train": 6})["train"]
    cameras = scene_orbit(scene, 4, width=20, height=10)
    assert (cameras.width, cameras.height) == (20, 10)
    assert_close(cameras.centres.norm(dim=-1), torch.full((4,), scene.orbit.radius), atol=1e-4, rtol=0)
    assert_close(cameras.fov, torch.full((4,), scene.orbit.fov), atol=1e-3, rtol=0)


def test_a_spiral_keeps_its_point_in_the_middle():
    camera = Cameras.look_at((0, -4, 1), (0, 0, 0), (0, 0, 1), 60, 40, 50)
    path = spiral(camera, focus=4.0, radii=(0.3, 0.2, 0.1), frames=16)
    focus = camera.unproject(torch.tensor([30.0, 20.0]), torch.tensor(4.0))
    assert_close(path.project(focus)[0], torch.tensor([30.0, 20.0]).expand(16, 2), atol=1e-3, rtol=0)
    away = (path.centres - camera.centres).norm(dim=-1)
    assert float(away.max()) < 0.4 and float(away.min()) > 0.15


@pytest.mark.parametrize("closed", [False, True])
def test_an_interpolated_path_passes_its_keys_as_rotations(closed):
    keys = orbit((0, 0, 0), 2, 20, 6, 8, 8, 45)
    frames = 24 if closed else 21
    path = interpolate(keys, frames, closed=closed)
    assert_close(path.camera_to_world[::4], keys.camera_to_world, atol=1e-5, rtol=0)
    axes = path.camera_to_world[:, :3, :3]
    assert_close(axes.mT @ axes, torch.eye(3).expand(frames, 3, 3), atol=1e-5, rtol=0)
    assert bool((torch.linalg.det(axes) > 0).all())
    # Between keys it bends with the orbit: a straight chord would come 13 per cent nearer.
    assert float(path.centres.norm(dim=-1)[8:13].min()) > 1.93


def test_a_path_through_one_camera_stays_there():
    key = orbit((0, 0, 0), 2, 20, 1, 8, 8, 45)
    assert_close(interpolate(key, 3).camera_to_world, key.camera_to_world.expand(3, 4, 4))


def test_opposite_keys_are_refused():
    """Half-way between two opposite views there is no nearest rotation."""
    keys = Cameras.look_at(
        torch.tensor([[2.0, 0, 0], [-2.0, 0, 0]]), (0, 0, 0), (0, 0, 1), 8, 8, 45
    )  # fmt: skip
    with pytest.raises(ValueError, match="half a turn"):
        interpolate(keys, 5)


@pytest.mark.parametrize(("elevation", "frames", "message"), [(90, 4, "elevation"), (0, 0, "frames")])
def test_impossible_orbits_are_refused(elevation, frames, message):
    with pytest.raises(ValueError, match=message):
        orbit((0, 0, 0), 1, elevation, frames, 8, 8, 45)


def test_a_path_stays_where_cameras_were(generator):
    """Fifteen cameras across 140 degrees, over the seam of azimuths: swept forth and back, never behind."""
    turn = orbit((0.5, 0, 0), 2, 20, 36, 20, 10, 45)  # every ten degrees
    seen = turn[[i % 36 for i in range(30, 45)]]
    scene = replace(
        generate("spheres", width=16, views={"train": 15})["train"], cameras=seen, default_orbit=None
    )
    assert scene.orbit.extent == pytest.approx(140, abs=0.1) and scene.orbit.azimuth == pytest.approx(
        10, abs=0.1
    )
    path = scene_orbit(scene, 40)
    arms = path.centres - torch.tensor([0.5, 0, 0])
    azimuths = torch.atan2(arms[:, 1], arms[:, 0]).rad2deg()
    assert azimuths.max() == pytest.approx(80, abs=0.2) and azimuths.min() == pytest.approx(-60, abs=0.2)
    steps = azimuths.roll(-1) - azimuths
    assert steps.abs().max() < 12, "it closes, and nowhere jumps"


@pytest.mark.parametrize(
    ("azimuths", "extent"),
    [(range(0, 360, 10), 360), (range(0, 360, 72), 360), ((0, 100, 200, 300), 260), ((45,), 10)],
)
def test_only_a_wide_gap_ends_the_turn(azimuths, extent):
    """Evenly spread cameras, however few, are a turn; a single one is moved a little."""
    angle = torch.tensor(list(azimuths), dtype=torch.float64).deg2rad()
    eyes = 2 * torch.stack((angle.cos(), angle.sin(), 0 * angle + 0.3), dim=-1)
    up, middle = torch.tensor([0.0, 0, 1]).double(), torch.zeros(3).double()
    cameras = Cameras.look_at(eyes, middle, up, 8, 8, 45)
    found = Orbit.around(cameras, (0.0, 0.0, 1.0), Bounds((-1.0,) * 3, (1.0,) * 3, near=0.1, far=9.0))
    assert found.extent == pytest.approx(extent, abs=0.01)
