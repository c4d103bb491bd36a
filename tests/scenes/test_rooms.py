"""Made-up RGB-D pictures: depth against closed forms, views against each other, seeds, variety."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import max_pool2d

from scenes.generate import lighting
from scenes.generate.lighting import Caster, Lamp, Place, look, pixel_rays
from scenes.generate.parts import Material, Mesh, part, rounded, shapes
from scenes.generate.rooms import PLACES, neighbours, of_any_material, rgbd, views
from scenes.generate.textures import PATTERNS, Spots, noise
from scenes.generate.viewpoints import across_table, at_furniture, looking

WIDTH, HEIGHT = 96, 72
GREY = Material("plain", ((0.5, 0.5, 0.5),) * 3)
LAMPS = (Lamp((0.0, -3.0, 4.0), 0.2, (9.0, 9.0, 9.0)),)


def z_depth_of(parts: list, camera_to_world: np.ndarray, focal: float = 70.0) -> np.ndarray:
    place = Place(parts, LAMPS, ((0.1,) * 3, (0.1,) * 3))
    rng = np.random.default_rng(0)
    return look(Caster(place), camera_to_world, focal, WIDTH, HEIGHT, rng)[1]


def test_depth_of_a_plane_is_the_closed_form():
    camera_to_world = looking(np.array([0.3, -0.2, 1.6]), 1.1, 0.7, 0.1)
    floor = part("box", GREY, (400.0, 400.0, 0.5), (0.0, 0.0, -0.5))
    x, y = np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5)
    ray = np.stack(((x - WIDTH / 2) / 70, (y - HEIGHT / 2) / 70, np.ones_like(x)), -1)
    falling = (ray @ camera_to_world[:3, :3].T)[..., 2]
    assert (falling < -0.1).all()
    assert np.allclose(z_depth_of([floor], camera_to_world), -1.6 / falling, rtol=1e-5)


def test_depth_of_a_fine_ball_is_that_of_a_sphere():
    fine = rounded(2.0, 301, 600)
    mesh = Mesh(fine.vertices, fine.normals, fine.faces)
    ball = part(mesh, GREY, (2.0, 2.0, 2.0), (0.0, 4.0, -1.0))
    camera_to_world = looking(np.zeros(3), np.pi / 2, 0.0)
    z_depth = z_depth_of([ball], camera_to_world)
    ray = pixel_rays(camera_to_world, 70.0, WIDTH, HEIGHT).astype(np.float64)
    a, b = (ray**2).sum(-1), ray @ np.array([0.0, 4.0, 0.0])
    inside = b**2 - 15 * a
    sphere = (b - np.sqrt(np.maximum(inside, 0))) / a
    assert ((z_depth > 0) == (inside > 0)).mean() > 0.999
    middle = inside > 0.5
    assert np.allclose(z_depth[middle], sphere[middle], atol=3e-4)


def test_two_views_agree_about_depth():
    first, second = views(5, WIDTH, HEIGHT, count=2, kind="room")
    # The second looks from a place of its own: take points of the first that it can see.
    agreed, seen = 0, 0
    for a, b in ((first, second), (second, first)):
        camera, other = a.camera, b.camera
        points = camera.unproject(camera.pixel_centres(), torch.from_numpy(a.z_depth))
        pixels, z_depth = other.project(points.reshape(-1, 3))
        column, row = pixels.floor().long().unbind(-1)
        inside = (z_depth > 0.05) & (column >= 0) & (column < WIDTH) & (row >= 0) & (row < HEIGHT)
        depth = torch.from_numpy(b.z_depth)
        met = depth[row[inside], column[inside]]
        # What one sees does not hang in front of all that the other sees about there.
        nearest = -max_pool2d(-depth[None], 5, stride=1, padding=2)[0]
        assert (z_depth[inside] > 0.95 * nearest[row[inside], column[inside]]).float().mean() > 0.99
        agreed += int(((z_depth[inside] / met - 1).abs() < 0.03).sum())
        seen += int(inside.sum())
    assert agreed > 0.3 * seen > 300


@pytest.mark.parametrize("seed", [3, 11, 12])
def test_a_camera_that_moves_a_little_sees_the_same_place_in_the_same_light(seed: int):
    first, second = neighbours(seed, WIDTH, HEIGHT, [(0.1, -0.02, 0.05)])
    near = np.quantile(first.z_depth[first.z_depth > 0], 0.01)
    moved = first.camera.camera_to_world.inverse() @ second.camera.camera_to_world
    expected = torch.eye(4)
    expected[:3, 3] = float(near) * torch.tensor([0.1, -0.02, 0.05])
    assert torch.allclose(moved, expected, atol=1e-4)
    known = torch.from_numpy(first.z_depth) > 0
    points = first.camera.unproject(first.camera.pixel_centres(), torch.from_numpy(first.z_depth))[known]
    pixels, z_depth = second.camera.project(points)
    column, row = pixels.floor().long().unbind(-1)
    inside = (column >= 0) & (column < WIDTH) & (row >= 0) & (row < HEIGHT)
    there = torch.from_numpy(second.z_depth)[row[inside], column[inside]]
    same = (z_depth[inside] / there - 1).abs() < 0.03
    assert same.float().mean() > 0.6
    here = torch.from_numpy(first.rgb)[known][inside][same].double()
    seen = torch.from_numpy(second.rgb)[row[inside], column[inside]][same].double()
    assert (here - seen).mean(0).abs().max() < 4  # of 255: one exposure, one white balance
    assert (here - seen).abs().mean() < 16


@pytest.mark.parametrize("kind", PLACES)
def test_a_seed_gives_the_same_picture_again_and_others_another(kind: str):
    once, again, other = (views(seed, 64, 48, kind=kind)[0] for seed in (7, 7, 8))
    assert np.array_equal(once.rgb, again.rgb) and np.array_equal(once.z_depth, again.z_depth)
    assert torch.equal(once.camera.camera_to_world, again.camera.camera_to_world)
    assert np.abs(once.rgb.astype(int) - other.rgb).mean() > 5


def test_pictures_differ_and_lie_at_distances_of_real_places():
    made = [rgbd(seed, 64, 48) for seed in range(24)]
    assert len({hashlib.sha256(m.rgb.tobytes()).digest() for m in made}) == len(made)
    depth = np.concatenate([m.z_depth.ravel() for m in made])
    known = depth[depth > 0]
    assert np.isfinite(depth).all() and known.min() > 0.02
    assert 0.02 < (known < 1).mean() < 0.35
    assert 0.3 < ((known > 1) & (known < 6)).mean() < 0.85
    brightness = np.array([m.rgb.mean() for m in made])
    assert 40 < np.median(brightness) < 170 and (brightness < 15).sum() == 0
    # The ground: below is nearer than above.
    lower = [np.median(m.z_depth[30:][m.z_depth[30:] > 0]) for m in made]
    upper = [np.median(m.z_depth[:18][m.z_depth[:18] > 0]) for m in made if (m.z_depth[:18] > 0).any()]
    assert np.median(lower) < np.median(upper)


@pytest.mark.parametrize(
    ("kind", "least", "most", "sky"),
    [("room", 1.2, 4.5, 0.0), ("still_life", 0.5, 2.5, 0.0), ("street", 4, 20, 0.5), ("land", 3, 20, 0.6)],
)
def test_each_kind_of_place_lies_as_far_away_as_such_places_do(
    kind: str, least: float, most: float, sky: float
):
    depth = np.concatenate([views(seed, 48, 36, kind=kind)[0].z_depth.ravel() for seed in range(15)])
    assert least < np.median(depth[depth > 0]) < most
    assert (depth == 0).mean() <= sky


def test_a_lamp_casts_a_shadow_and_light_falls_off():
    floor = part("box", GREY, (40.0, 40.0, 0.5), (0.0, 0.0, -0.5))
    cover = part("box", GREY, (1.0, 1.0, 0.05), (0.0, 0.0, 2.0))
    camera_to_world = looking(np.array([0.0, 0.0, 1.5]), 0.0, np.pi / 2 - 1e-3)
    lamp = (Lamp((0.0, 0.0, 3.0), 0.05, (9.0, 9.0, 9.0)),)

    def middle(parts: list) -> float:
        place = Place(parts, lamp, ((0.0,) * 3, (0.0,) * 3))
        radiance, _ = look(Caster(place), camera_to_world, 70.0, WIDTH, HEIGHT, np.random.default_rng(0))
        return float(radiance[HEIGHT // 2 - 4 : HEIGHT // 2 + 4, WIDTH // 2 - 4 : WIDTH // 2 + 4].mean())

    assert middle([floor]) == pytest.approx(0.5 * 9.0 / 3.0**2, rel=0.1)
    assert middle([floor, cover]) < 1e-6


@pytest.mark.parametrize("name", PATTERNS)
def test_patterns_stay_reflectances_and_fade_far_away(name: str):
    rng = np.random.default_rng(1)
    u, v = rng.uniform(0, 50, (2, 4000))
    colours = [np.tile(c, (4000, 1)) for c in ((0.6, 0.2, 0.1), (0.1, 0.4, 0.2), (0.3, 0.3, 0.8))]
    near, far = (
        PATTERNS[name](Spots(u, v, np.full(4000, footprint), *colours, np.full(4000, 0.3)))
        for footprint in (0.01, 200.0)
    )
    assert np.isfinite(near).all() and near.min() >= 0 and near.max() < 1.5
    if name not in ("printed", "outdoors", "wood", "tiled", "bricks", "spines"):  # toned by piece
        assert far.std(axis=0).max() < 0.06
    assert near.std() > 0.005


def test_noise_repeats_and_has_the_mean_it_says():
    u, v = np.random.default_rng(2).uniform(0, 1, (2, 5000))
    for kind in ("clouds", "rough", "grain", "speckle"):
        value = noise(kind, u, v, np.full(5000, 1e-3))
        assert np.allclose(value, noise(kind, u + 1, v - 2, np.full(5000, 1e-3)), atol=1e-4)
        assert abs(value.mean() - 0.5) < 0.03


@pytest.mark.parametrize("name", shapes())
def test_named_shapes_fill_the_unit_box_with_normals_of_unit_length(name: str):
    mesh = shapes()[name]
    assert np.abs(mesh.vertices[:, :2]).max() == pytest.approx(0.5, abs=0.01)
    assert (mesh.vertices[:, 2].min(), mesh.vertices[:, 2].max()) == pytest.approx((0, 1), abs=1e-9)
    assert np.allclose(np.linalg.norm(mesh.normals, axis=1), 1)


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="seed is -1"):
        rgbd(-1, 64, 48)
    with pytest.raises(ValueError, match="8 x 48"):
        rgbd(0, 8, 48)
    with pytest.raises(ValueError, match="choose one of room"):
        views(0, 64, 48, kind="attic")


def test_without_open3d_the_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "open3d", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "\.\[viewer\]"'):
        lighting.load_open3d()


def test_who_looks_at_furniture_stands_in_the_room_and_has_it_before_him():
    rng, before = np.random.default_rng(0), []
    for _ in range(300):
        width, depth = rng.uniform(2.6, 8.5, 2)
        target = np.array([*(rng.uniform(-0.45, 0.45, 2) * (width, depth)), rng.uniform(0, 1.8)])
        pose = at_furniture(target, width, depth, rng)
        assert (abs(pose[:2, 3]) <= 0.46 * np.array((width, depth)) + 1e-9).all() and 0.5 <= pose[2, 3] <= 2.1
        way = target - pose[:3, 3]
        before.append(way @ pose[:3, 2] / np.linalg.norm(way))
    assert np.mean(np.array(before) > np.cos(0.5)) > 0.85


def test_who_sits_at_a_table_has_it_below_and_before_him_or_leans_over_it():
    rng, below = np.random.default_rng(0), []
    for _ in range(300):
        width, depth = rng.uniform(2.4, 8.0, 2)
        table = np.eye(4)
        table[:2, 3] = rng.normal(0, 0.4, 2)
        pose = across_table(table, 0.4, width, depth, rng)
        assert (abs(pose[:2, 3]) <= 0.46 * np.array((width, depth)) + 1e-9).all() and 1 <= pose[2, 3] <= 1.8
        assert np.linalg.norm(pose[:2, 3] - table[:2, 3]) < 1.25
        way = table[:3, 3] + (0, 0, 0.74) - pose[:3, 3]
        below.append(way @ pose[:3, 2] > 0 and pose[:3, 1] @ way > 0)
    assert np.mean(below) > 0.7


@pytest.mark.parametrize("kind", PLACES)
def test_of_any_material_only_colours_change(kind: str):
    """Depth is the same to the bit; what was of one material is of one again, and what glows stays."""
    place, viewpoint = PLACES[kind][0](np.random.default_rng(4))
    camera_to_world = viewpoint(np.random.default_rng(5))
    dressed = replace(place, parts=of_any_material(place.parts, np.random.default_rng(6)))
    seen, other = (
        look(Caster(each), camera_to_world, 70.0, WIDTH, HEIGHT, np.random.default_rng(7))
        for each in (place, dressed)
    )
    assert np.array_equal(seen[1], other[1]) and not np.allclose(seen[0], other[0], atol=0.1)
    pairs = {(id(a.material), id(b.material)) for a, b in zip(place.parts, dressed.parts, strict=True)}
    assert len(pairs) == len({id(part.material) for part in place.parts})
    for a, b in zip(place.parts, dressed.parts, strict=True):
        assert b.material is a.material or a.material.glow == 0
    stayed = np.mean([a == b for a, b in pairs])
    assert stayed < 0.5
