"""The demo scene: its machine, its cameras, and pictures and geometry that agree with both."""

import math
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from scenes.formats import read
from scenes.formats.nerf_synthetic import Geometry, read_geometry
from scenes.generate import lego, pathtrace
from scenes.scene import Scene, SceneError

FOLDER = Path(__file__).parents[2] / "scenes" / "lego"
COUNTS = {"train": 100, "val": 10, "test": 25}


@cache
def shipped(split: str) -> Scene:
    return read(FOLDER, split)


@cache
def exact(index: int) -> Geometry:
    return read_geometry(shipped("test"), index)


@cache
def triangles() -> np.ndarray:
    """Corners of all triangles of the machine (n, 3, 3), scene units."""
    return np.concatenate([s.vertices[s.faces] for s in lego.surfaces(lego.machine())])


def alpha(scene: Scene, index: int) -> torch.Tensor:
    return scene.images[index][..., 3].double() / 255


def psnr_on_white(one: torch.Tensor, other: torch.Tensor) -> float:
    def laid(image: torch.Tensor) -> torch.Tensor:
        image = image.double() / 255
        return image[..., :3] * image[..., 3:] + 1 - image[..., 3:]

    return -10 * math.log10(float((laid(one) - laid(other)).square().mean()) + 1e-12)


def test_the_machine_is_hundreds_of_parts_inside_the_box():
    assert 500 <= len(lego.machine()) <= 1000
    corners = triangles().reshape(-1, 3)
    assert (np.abs(corners) < 1.5).all()
    size = corners.max(axis=0) - corners.min(axis=0)
    assert 2.0 < size[:2].max() < 2.6


def test_every_part_has_a_known_colour_and_a_rigid_pose():
    for part in lego.machine():
        assert part.colour in lego.COLOURS
        turn = part.pose[:3, :3]
        assert_allclose(turn.T @ turn, np.eye(3), atol=1e-9)
        assert np.linalg.det(turn) > 0


@pytest.mark.parametrize("split", COUNTS)
def test_no_camera_cuts_off_more_than_a_pixel_of_the_machine(split):
    corners = torch.from_numpy(triangles().reshape(-1, 3)[::7]).float()
    for camera in shipped(split).cameras:
        pixels, z_depth = camera.project(corners)
        assert float(z_depth.min()) > 2.0 and float(z_depth.max()) < 6.0
        assert float(pixels.min()) > -1.0 and float(pixels.max()) < 401.0


@pytest.mark.parametrize("split", COUNTS)
def test_cameras_stand_on_the_sphere_upright_and_face_its_centre(split):
    scene = shipped(split)
    assert len(scene) == COUNTS[split]
    poses = scene.cameras.camera_to_world.double()
    position, right, forward = poses[:, :3, 3], poses[:, :3, 0], poses[:, :3, 2]
    assert_allclose(position.norm(dim=-1), 4.0311, atol=1e-4)
    assert_allclose(forward, -position / position.norm(dim=-1, keepdim=True), atol=1e-5)
    assert_allclose(right[:, 2], 0.0, atol=1e-6)
    assert (position[:, 2] > -1e-6).all()
    fov = 2 * torch.atan(0.5 * scene.cameras.width / scene.cameras.fx.double())
    assert_allclose(fov, 0.6911112070083618, rtol=1e-6)


def test_the_first_test_camera_is_that_of_nerf_synthetic():
    """Position of test/r_0 in the published Blender scenes."""
    position = shipped("test").cameras.camera_to_world[0, :3, 3]
    assert_allclose(position, (0.0, 2.737260103225708, 2.959291696548462), atol=1e-5)


@pytest.mark.parametrize("split", COUNTS)
def test_the_shipped_cameras_are_those_of_seed_0(split):
    poses = shipped(split).cameras.camera_to_world.numpy() @ np.diag([1, -1, -1, 1])
    assert_allclose(poses, lego.rig(split, COUNTS[split], 0), atol=1e-6)


def test_another_seed_or_split_stands_elsewhere():
    assert np.abs(lego.rig("train", 10, 0) - lego.rig("train", 10, 1)).max() > 0.1
    assert np.abs(lego.rig("train", 10, 0) - lego.rig("val", 10, 0)).max() > 0.1


def test_z_depth_covers_what_alpha_covers():
    for index in range(COUNTS["test"]):
        seen, cover = exact(index).z_depth > 0, alpha(shipped("test"), index)
        assert abs(float(cover.mean() - seen.double().mean())) < 2e-3
        assert float((cover[seen] > 0.1).double().mean()) > 0.999
        assert float(seen[cover == 1].double().mean()) > 0.999
        assert not seen[cover == 0].any()


def test_normals_are_unit_and_face_the_camera():
    for index in range(0, COUNTS["test"], 4):
        geometry, camera = exact(index), shipped("test").cameras[index]
        seen = geometry.z_depth > 0
        assert_allclose(geometry.normal[seen].norm(dim=-1), 1.0, atol=2e-3)
        assert not geometry.normal[~seen].any()
        facing = (geometry.normal * camera.rays().directions).sum(dim=-1)[seen] < 0.01
        assert float(facing.double().mean()) > 0.999


def test_what_one_view_sees_another_sees_or_has_something_before():
    """Points of view A, projected into view B, never lie in front of what B sees there."""
    cameras, agreeing = shipped("test").cameras, []
    for a, b in ((0, 1), (5, 6), (12, 13), (20, 21), (3, 16)):
        seen = exact(a).z_depth > 0
        points = cameras[a].unproject(cameras[a].pixel_centres(), exact(a).z_depth)[seen]
        pixels, z_depth = cameras[b].project(points)
        x, y = pixels.floor().long().clamp(0, 399).unbind(dim=-1)
        there = torch.where(exact(b).z_depth > 0, exact(b).z_depth, torch.inf)
        nearest = -torch.nn.functional.max_pool2d(-there[None], 3, stride=1, padding=1)[0]
        assert float((nearest[y, x] < z_depth + 0.02).double().mean()) > 0.995
        agreeing.append(float(((there[y, x] - z_depth).abs() < 0.02).double().mean()))
    assert min(agreeing) > 0.2


def nearest_triangle(origin: np.ndarray, direction: np.ndarray) -> tuple[float, np.ndarray]:
    """Distance and unit normal of the first triangle that a ray meets (Moller and Trumbore, 1997)."""
    corner, u_edge, v_edge = triangles()[:, 0], *(triangles()[:, k] - triangles()[:, 0] for k in (1, 2))
    across = np.cross(direction, v_edge)
    determinant = np.einsum("ij,ij->i", u_edge, across)
    determinant = np.where(np.abs(determinant) < 1e-14, np.inf, determinant)
    offset = origin - corner
    u = np.einsum("ij,ij->i", offset, across) / determinant
    sideways = np.cross(offset, u_edge)
    v = sideways @ direction / determinant
    distance = np.einsum("ij,ij->i", v_edge, sideways) / determinant
    hit = (u >= 0) & (v >= 0) & (u + v <= 1) & (distance > 0)
    first = np.argmin(np.where(hit, distance, np.inf))
    normal = np.cross(u_edge[first], v_edge[first])
    return float(distance[first]) if hit.any() else math.inf, normal / np.linalg.norm(normal)


def test_the_shipped_geometry_is_that_of_the_machine():
    """Rays cast by a slow oracle: the data and the list of parts have not drifted apart."""
    rng, right = np.random.default_rng(0), []
    for index in (0, 6, 11, 19):
        camera, geometry = shipped("test").cameras[index], exact(index)
        rows, columns = np.nonzero(geometry.z_depth.numpy() > 0)
        pose = camera.camera_to_world.double().numpy()
        for k in rng.choice(len(rows), 10, replace=False):
            y, x = int(rows[k]), int(columns[k])
            towards = np.array([(x + 0.5 - 200) / float(camera.fx), (y + 0.5 - 200) / float(camera.fx), 1.0])
            z_depth, normal = nearest_triangle(pose[:3, 3], pose[:3, :3] @ towards)
            same = abs(z_depth - float(geometry.z_depth[y, x])) < 1e-4
            right.append(same and float(normal @ geometry.normal[y, x].double().numpy()) > 0.99)
    assert np.mean(right) >= 0.95, "the machine is not that of the pictures: render the scene again"


def test_edges_have_straight_alpha():
    """Colours of half-covered pixels are as bright as covered ones; premultiplied ones would be darker."""
    for index in (0, 12):
        picture = shipped("train").images[index].double()
        cover, brightness = picture[..., 3], picture[..., :3].mean(dim=-1)
        thin = (cover > 25) & (cover < 100)
        assert float(brightness[thin].mean()) > 0.55 * float(brightness[cover == 255].mean())
        assert not picture[cover == 0].any()


def test_the_folder_stays_small():
    assert sum(file.stat().st_size for file in FOLDER.rglob("*") if file.is_file()) < 25_000_000


def test_the_srgb_curve_is_that_of_the_standard():
    encoded = np.linspace(0, 1, 101)
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    assert_allclose(pathtrace.srgb(linear), encoded, atol=2e-5)
    assert_allclose(pathtrace.srgb(np.array([-1.0, 7.0])), [0.0, 1.0])


def test_without_llvm_the_scalar_variant_is_chosen_and_the_debian_package_is_named(monkeypatch):
    monkeypatch.setattr(pathtrace, "LLVM_LIBRARIES", ("libLLVM-of-nowhere.so.0",))
    assert pathtrace.choose_variant() == "scalar_rgb"
    with pytest.raises(ValueError, match="apt-get install libllvm19"):
        pathtrace.load_mitsuba("llvm_ad_rgb")


def test_a_missing_mitsuba_names_the_extra_and_a_wrong_variant_the_right_ones(monkeypatch):
    monkeypatch.setitem(sys.modules, "mitsuba", None)
    with pytest.raises(ModuleNotFoundError, match=r"render-fields\[generate\]"):
        pathtrace.load_mitsuba("scalar_rgb")
    with pytest.raises(ValueError, match="scalar_rgb"):
        pathtrace.load_mitsuba("cuda")


def test_a_folder_that_holds_a_split_is_refused_before_anything_is_rendered(tmp_path, monkeypatch):
    (tmp_path / "transforms_val.json").write_text("{}")
    monkeypatch.setitem(sys.modules, "mitsuba", None)
    with pytest.raises(SceneError, match=r"transforms_val\.json: exists"):
        lego.generate(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("variant", "lowest"), [("llvm_ad_rgb", 60.0), ("scalar_rgb", 45.0)])
def test_regeneration_gives_the_same_picture(variant, lowest):
    """Same seed, full size: all but equal for the variant that made the data, noise apart for the other."""
    mi = pathtrace.load_mitsuba(variant)
    scene = pathtrace.build_scene(mi, lego.surfaces(lego.machine()))
    pose, index = lego.rig("test", COUNTS["test"], 0)[7], 7
    seed = lego.SPLITS.index("test") * 100_003 + index
    again = pathtrace.picture(mi, scene, pose, 400, lego.FIELD_OF_VIEW, pathtrace.SAMPLES[variant], seed)
    assert psnr_on_white(torch.from_numpy(again), shipped("test").images[index]) > lowest
    z_depth, _ = pathtrace.geometry(mi, scene, pose, 400, lego.FIELD_OF_VIEW)
    assert float((torch.from_numpy(z_depth) - exact(index).z_depth).abs().median()) < 1e-5


@pytest.mark.slow
def test_a_small_generation_is_a_scene_that_reads_back(tmp_path):
    made = lego.generate(tmp_path, width=40, train=2, val=1, test=2, spp=16, variant="scalar_rgb")
    for split, scene in made.items():
        there = read(tmp_path, split)
        assert torch.equal(torch.as_tensor(there.images[0]), torch.as_tensor(scene.images[0]))
        assert_allclose(there.cameras.camera_to_world, scene.cameras.camera_to_world, atol=1e-6)
    assert float(read_geometry(read(tmp_path, "test"), 1).z_depth.max()) > 3.0
