"""Camera paths go where they say."""

import math
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from scenes.cameras import Cameras
from scenes.generate.analytic import generate, generate_spheres
from scenes.paths import (
    MOST_KEYS,
    interpolate,
    mean_camera,
    orbit,
    scene_orbit,
    scene_spiral,
    spiral,
    through,
)
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


def row(xs, tilt=0.0):
    """Cameras along x at z = -5, all looking along z, or up and down by `tilt` in turn."""
    eyes = torch.tensor([[float(x), 0.0, -5.0] for x in xs])
    ahead = torch.tensor([[0.0, tilt * (-1) ** i, 1.0] for i in range(len(xs))])
    return Cameras.look_at(eyes, eyes + ahead, (0.0, -1.0, 0.0), 40, 30, 60)


def test_the_mean_camera_stands_in_the_middle_and_looks_along():
    camera = mean_camera(row([-3, -1, 1, 3], tilt=0.2), 20, 10, 45)
    assert_close(camera.centres, torch.tensor([0.0, 0.0, -5.0]), atol=1e-6, rtol=0)
    assert_close(camera.camera_to_world[:3, :3], torch.eye(3), atol=1e-6, rtol=0)
    around = orbit((0.0, 0.0, 0.0), 2, 0, 8, 8, 8, 45)
    with pytest.raises(ValueError, match="look all ways: no spiral suits them; take the path orbit"):
        mean_camera(around, 8, 8, 45)


def test_a_scene_s_spiral_stays_among_its_cameras_and_looks_at_its_middle():
    cameras = row(torch.linspace(-1, 1, 21).tolist())
    made = generate_spheres(width=8, views={"train": 2})["train"]
    shown = Orbit((0.0, 0.0, 0.0), (0.0, -1.0, 0.0), 5.0, 0.0, 50.0)
    path = scene_spiral(replace(made, default_orbit=shown), cameras, 60, 40, 30)
    assert_close(path.centres[:, 0].abs().max(), torch.tensor(0.9), atol=0.03, rtol=0)
    assert float(path.centres[:, 1].abs().max()) < 0.06 and (path.width, path.height) == (40, 30)
    seen, _ = path.project(torch.zeros(3))
    assert_close(seen, torch.tensor([20.0, 15.0]).expand(60, 2), atol=1e-3, rtol=0)


def test_a_way_through_cameras_meets_each_and_takes_the_nearest_next():
    """Along a line in a muddled order: it goes from the first to one end, without jumps."""
    cameras = row([0, 4, 1, 3, 2])
    path = through(cameras, 41, 80, 60)
    assert_close(path.centres[::10, 0], torch.arange(5.0), atol=1e-5, rtol=0)
    assert float(path.centres[:, 0].diff().max()) < 0.2
    assert_close(path.fov, cameras.fov[:1].expand(41), atol=1e-3, rtol=0)
    assert (path.width, path.height) == (80, 60)


def test_a_way_through_many_cameras_takes_some_evenly():
    cameras = row(range(200))
    path = through(cameras, MOST_KEYS, 8, 6)
    assert_close(path.centres[:, 0], torch.linspace(0, 199, MOST_KEYS).round(), atol=1e-3, rtol=0)
    assert len(through(cameras[:1], 3, 8, 6)) == 3


@pytest.mark.parametrize("seed", range(8))
def test_a_way_past_cameras_that_look_all_ways_turns_gently(seed):
    """Random turns, a half one among them: at most 0.2 radians from frame to frame, past every camera."""
    generator = torch.Generator().manual_seed(seed)
    turns = torch.linalg.qr(torch.randn(12, 3, 3, generator=generator, dtype=torch.float64))[0]
    turns = turns * torch.linalg.det(turns)[:, None, None]
    turns[1] = turns[0] @ torch.diag(torch.tensor([1.0, -1.0, -1.0]).double())
    poses = torch.eye(4).repeat(12, 1, 1)
    poses[:, :3, :3], poses[:, :3, 3] = turns.float(), torch.randn(12, 3, generator=generator)
    cameras = Cameras.from_fov(poses, 8, 6, 50.0)
    path = through(cameras, 600, 8, 6).camera_to_world[:, :3, :3]
    assert_close(path @ path.mT, torch.eye(3).expand(600, 3, 3), atol=1e-4, rtol=0)
    assert float(torch.linalg.det(path).min()) > 0
    cosine = ((path[1:] * path[:-1]).sum(dim=(1, 2)) - 1) / 2
    assert float(cosine.clamp(-1, 1).acos().max()) < 0.2
    for turn in cameras.camera_to_world[:, :3, :3]:
        assert float((path - turn).norm(dim=(1, 2)).min()) < 0.2


def test_between_unlike_fields_of_view_the_focal_length_stays_above_zero():
    """Wide, then narrow ones: a curve through the focal lengths themselves would swing below zero."""
    poses = torch.eye(4).repeat(4, 1, 1)
    poses[:, 0, 3] = torch.arange(4.0)
    each = [Cameras.from_fov(pose, 80, 60, fov) for pose, fov in zip(poses, (10, 120, 120, 120), strict=True)]
    focal = torch.stack([camera.fx for camera in each])
    middle = torch.full((4,), 40.0)
    way = interpolate(Cameras(poses, focal, focal, middle, middle * 0.75, 80, 60), 50)
    assert float(way.fx.min()) > 5 and float(way.fov.max()) < 160
    assert float(way.fx[0]) == pytest.approx(float(focal[0]), rel=1e-5)
