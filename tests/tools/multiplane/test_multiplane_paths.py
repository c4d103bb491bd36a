"""Paths start and end at the photograph, go where they say, and tell what lies beyond its edge."""

import math

import pytest
import torch
from torch.testing import assert_close

from scenes.camera_path import CameraPath, read_camera_path, write_camera_path
from scenes.cameras import Cameras
from tools.multiplane.paths import PATHS, along, beyond_edge, circle, dolly_zoom, swing, zoom

SOURCE = Cameras.from_fov(torch.eye(4), 48, 32, 50)
ELSEWHERE = Cameras.look_at((1.0, -2.0, 0.5), (0.2, 0.3, 0.1), (0, 0, 1), 48, 32, 50)


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("source", [SOURCE, ELSEWHERE])
def test_every_path_starts_and_ends_at_the_photograph(name, source):
    cameras = PATHS[name](source, 9)
    for end in (0, -1):
        assert_close(cameras.camera_to_world[end], source.camera_to_world, atol=1e-6, rtol=0)
        assert_close(cameras.intrinsics[end], source.intrinsics, atol=1e-4, rtol=0)
    assert float((cameras.centres[4] - source.centres).norm()) > 0.05


@pytest.mark.parametrize("name", PATHS)
def test_a_path_is_told_in_the_frame_of_its_source(name):
    """Seen from the source, the way is the same wherever the source stands and looks."""
    here, there = PATHS[name](SOURCE, 7), PATHS[name](ELSEWHERE, 7)
    back = torch.linalg.inv(ELSEWHERE.camera_to_world)
    assert_close(back @ there.camera_to_world, here.camera_to_world, atol=1e-6, rtol=0)
    assert_close(here.camera_to_world[:, :3, :3], torch.eye(3).expand(7, 3, 3))


@pytest.mark.parametrize("name", PATHS)
def test_amplitude_scales_the_way(name):
    whole, half = PATHS[name](SOURCE, 7), PATHS[name](SOURCE, 7, 0.5)
    assert_close(half.centres, whole.centres / 2)
    assert_close(PATHS[name](SOURCE, 7, 0).camera_to_world, torch.eye(4).expand(7, 4, 4))


def test_the_swing_is_that_of_the_paper():
    """A quarter of the way: 0.14 to the right and 0.10 ahead; half of it: 0.20 ahead of the start."""
    places = swing(SOURCE, 5).centres
    expected = [[0, 0, 0], [0.14, 0, 0.1], [0, 0, 0.2], [-0.14, 0, 0.1], [0, 0, 0]]
    assert_close(places, torch.tensor(expected), atol=1e-6, rtol=0)


def test_a_circle_is_one():
    places = circle(SOURCE, 17).centres
    middle = torch.tensor([0.0, -0.07, 0.0])
    assert_close((places - middle).norm(dim=-1), torch.full((17,), 0.07), atol=1e-6, rtol=0)
    assert float(places[:, 1].max()) < 1e-6, "y runs downwards: the way is above its start"


def test_one_frame_is_the_photograph_and_none_is_no_film():
    assert_close(swing(SOURCE, 1).camera_to_world[0], torch.eye(4))
    with pytest.raises(ValueError, match="frames must be at least 1, got 0"):
        swing(SOURCE, 0)
    with pytest.raises(ValueError, match="one camera, got 3"):
        swing(swing(SOURCE, 3), 3)


def test_what_is_one_away_keeps_its_size_in_a_dolly_zoom_and_what_is_behind_it_swells():
    cameras = dolly_zoom(SOURCE, 9)
    near, far = torch.tensor([0.1, 0.05, 1.0]), torch.tensor([1.0, 0.5, 10.0])
    still, _ = cameras.project(near)
    assert_close(still, still[:1].expand(9, 2), atol=1e-3, rtol=0)
    moves, _ = cameras.project(far)
    middle = torch.tensor([24.0, 16.0])
    away = (moves - middle).norm(dim=-1)
    assert (away[:5].diff() > 0).all() and float(away[4] / away[0]) == pytest.approx(2 * 10 / 11, rel=1e-4)


@pytest.mark.parametrize("path", [zoom, dolly_zoom])
@pytest.mark.parametrize("z_depth", [1.0, 3.0, 1000.0])
def test_zooms_never_look_past_the_edge(path, z_depth):
    assert float(beyond_edge(SOURCE, path(SOURCE, 8, 2.0), z_depth).max()) == 0


def test_what_lies_beyond_the_edge_is_a_strip_as_wide_as_the_way_aside():
    """A camera that stands s aside of the source sees, z away, s / z past the edge: fx s / z pixels."""
    pose = torch.eye(4).repeat(3, 1, 1)
    pose[:, 0, 3] = torch.tensor([0.0, 0.1, -0.3])
    wide = Cameras.from_fov(torch.eye(4), 400, 300, 50)
    views = Cameras.from_fov(pose, 400, 300, 50)
    for z_depth in (1.0, 2.5):
        strip = float(wide.fx) * torch.tensor([0.0, 0.1, 0.3], dtype=torch.float64) / z_depth / 400
        assert_close(beyond_edge(wide, views, z_depth), strip, atol=1 / 96, rtol=0)


def test_a_camera_that_looks_back_sees_nothing_of_the_photograph():
    turned = torch.diag(torch.tensor([-1.0, 1.0, -1.0, 1.0]))[None]
    assert_close(beyond_edge(SOURCE, Cameras.from_fov(turned, 48, 32, 50), 2.0), torch.ones(1).double())


def test_a_file_of_cameras_is_the_way_it_was_written(tmp_path):
    """What `render video` takes: written in the source's frame, it comes back about any source."""
    turns = torch.arange(5) / 5
    eyes = torch.stack((0.1 * turns.sin(), 0.05 * turns, -0.1 * turns), dim=-1)
    way = Cameras.look_at(eyes, (0.0, 0.0, 4.0), (0, -1, 0), 60, 40, 45)
    write_camera_path(tmp_path / "way.json", CameraPath(way, 12))
    film = read_camera_path(tmp_path / "way.json")
    here, there = along(SOURCE, film), along(ELSEWHERE, film)
    assert_close(here.camera_to_world, way.camera_to_world, atol=1e-5, rtol=0)
    assert (here.width, here.height) == (60, 40)
    assert_close(there.camera_to_world, ELSEWHERE.camera_to_world @ here.camera_to_world, atol=1e-5, rtol=0)
    half = along(SOURCE, film, 0.5)
    assert_close(half.centres, here.centres / 2)
    assert_close(half.camera_to_world[:, :3, :3], here.camera_to_world[:, :3, :3])
    again = along(SOURCE, film)
    assert_close(again.camera_to_world, here.camera_to_world, msg="the film was changed")


def test_all_of_the_way_counts_for_the_edge():
    """A swing's widest place is a quarter of the way along."""
    views = swing(SOURCE, 5)
    shares = beyond_edge(SOURCE, views, 1.0)
    assert float(shares[0]) == 0 and float(shares[1]) > 0 and math.isclose(shares[1], shares[3], abs_tol=0.02)
