"""Cameras from matrices: every way of writing a pose gives the same rays, and what is no pose is named."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from scenes.cameras import Cameras
from scenes.lenses import COEFFICIENTS

FLIP = np.diag([1.0, -1.0, -1.0, 1.0])  # OpenCV's axes in OpenGL's


@pytest.fixture
def cameras(generator) -> Cameras:
    """Five, no two alike, at no special place; float64."""
    eyes = torch.randn(5, 3, generator=generator) + torch.tensor([0.0, 6.0, 0.0])
    posed = Cameras.look_at(eyes, (0.0, 0.0, 0.0), (0.1, 0.2, 1.0), 40, 30, 50).to("cpu", torch.float64)
    u, _, v = torch.linalg.svd(posed.camera_to_world[:, :3, :3])
    pose = posed.camera_to_world.clone()
    pose[:, :3, :3] = u @ v
    spread = torch.linspace(0, 1, 5, dtype=torch.float64)
    return replace(posed, camera_to_world=pose, fx=posed.fx + spread, cx=posed.cx - 2 * spread)


def matrices(cameras: Cameras) -> tuple[np.ndarray, np.ndarray]:
    """Poses, camera to world, and K, as somebody else would hold them."""
    k = np.zeros((5, 3, 3))
    k[:, 0, 0], k[:, 1, 1], k[:, 0, 2], k[:, 1, 2] = cameras.intrinsics.T.numpy()
    k[:, 2, 2] = 1
    return cameras.camera_to_world.numpy(), k


def assert_same(ours: Cameras, wanted: Cameras) -> None:
    pixels = torch.rand(5, 2, dtype=torch.float64) * 30
    for one, other in zip(vars(ours.rays(pixels)).values(), vars(wanted.rays(pixels)).values(), strict=True):
        assert_close(one, other, atol=1e-12, rtol=0)
    assert (ours.width, ours.height) == (wanted.width, wanted.height)


@pytest.mark.parametrize("rows", [3, 4])
@pytest.mark.parametrize("kind", [np.asarray, torch.tensor, np.ndarray.tolist])
@pytest.mark.parametrize("convention", ["opencv", "opengl"])
@pytest.mark.parametrize("way", ["camera_to_world", "world_to_camera"])
def test_however_a_pose_is_written_it_is_the_same_camera(cameras, way, convention, kind, rows):
    pose, k = matrices(cameras)
    pose = pose @ FLIP if convention == "opengl" else pose
    pose = np.linalg.inv(pose) if way == "world_to_camera" else pose
    given = {way: kind(np.ascontiguousarray(pose[:, :rows])), "K": kind(k)}
    assert_same(Cameras.from_matrices(**given, width=40, height=30, convention=convention), cameras)


def test_one_camera_one_k_for_all_and_a_lens(cameras):
    pose, k = matrices(cameras)
    one = Cameras.from_matrices(K=k[2], camera_to_world=pose[2], width=40, height=30)
    assert one.shape == () and torch.equal(one.fx, cameras.fx[2])
    shared = Cameras.from_matrices(K=k[2], camera_to_world=pose, width=40, height=30, distortion=[0.1, -0.02])
    assert torch.equal(shared.fx, cameras.fx[2].expand(5))
    assert shared.distortion.shape == (5, COEFFICIENTS)
    assert shared.distortion[3].tolist() == [0.1, -0.02, *[0.0] * 6]
    single = Cameras.from_matrices(
        K=k.astype(np.float32), camera_to_world=pose.astype(np.float32), width=40, height=30
    )
    assert single.fx.dtype == single.camera_to_world.dtype == torch.float32
    sizes = torch.tensor([40, 41, 42, 43, 44])
    assert torch.equal(Cameras.from_matrices(K=k, camera_to_world=pose, width=sizes, height=30).width, sizes)


def test_gradients_pass(cameras):
    pose, k = (torch.tensor(value, requires_grad=True) for value in matrices(cameras))
    made = Cameras.from_matrices(K=k, world_to_camera=pose, width=40, height=30, convention="opengl")
    made.rays(torch.rand(5, 2).double()).origins.square().sum().backward()
    assert pose.grad.abs().sum() > 1
    made = Cameras.from_matrices(K=k, camera_to_world=pose, width=40, height=30)
    made.rays(torch.rand(5, 2).double()).directions[:, 0].sum().backward()
    assert k.grad[:, 0, 0].all() and k.grad[:, 0, 2].all() and not k.grad[:, 2].any()


def test_others_memory_is_not_kept(cameras):
    """Nor need it be writable: torch warns of arrays that are not."""
    pose, k = (value.copy() for value in matrices(cameras))
    pose.flags.writeable = k.flags.writeable = False
    made = Cameras.from_matrices(K=k, camera_to_world=pose, width=40, height=30)
    pose.flags.writeable = k.flags.writeable = True
    pose[:], k[:] = 7, 7
    assert bool((made.camera_to_world != 7).any()) and bool((made.fx != 7).all())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda p, k: p[3, :3, :3].__imul__(1.1), r"camera_to_world\[3\] is no rotation.*determinant 1.33"),
        (lambda p, k: p[2, :3, 0].__imul__(-1), r"camera_to_world\[2\].*determinant -1.*not mirrored"),
        (lambda p, k: p.__setitem__((1, 2, 3), np.nan), r"camera_to_world\[1\] holds nan in row 2, column 3"),
        (lambda p, k: p.__setitem__((4, 3, 0), 0.5), r"camera_to_world\[4\] ends in the row 0.5 0 0 1"),
        (lambda p, k: k.__setitem__((4, 0, 0), -9.0), r"K\[4\] has fx -9, fy .*above 0"),
        (lambda p, k: k.__setitem__((0, 0, 1), 3.0), r"K\[0\] has skew 3; .* set it to 0"),
        (lambda p, k: k.__setitem__((2, 2, 2), 2.0), r"K\[2\] is not fx 0 cx, 0 fy cy, 0 0 1 but .*, 0 0 2$"),
        (lambda p, k: k.__setitem__((2, 1, 2), np.inf), r"K\[2\] holds inf in row 1, column 2"),
    ],
)
def test_what_is_no_camera_is_refused_with_its_place_and_its_fault(cameras, change, said):
    pose, k = (value.copy() for value in matrices(cameras))
    change(pose, k)
    with pytest.raises(ValueError, match=said):
        Cameras.from_matrices(K=k, camera_to_world=pose, width=40, height=30)


def test_arguments_that_do_not_fit_are_refused(cameras):
    pose, k = matrices(cameras)
    size = {"width": 40, "height": 30}
    for given, said in [
        ({"K": k}, "one of the two"),
        ({"K": k, "camera_to_world": pose, "world_to_camera": pose}, "one of the two"),
        ({"K": k[:2], "camera_to_world": pose}, r"K is for \(2,\) cameras, camera_to_world for \(5,\)"),
        ({"K": k, "camera_to_world": pose[:, :3, :3]}, r"camera_to_world has shape \(5, 3, 3\)"),
        ({"K": pose, "camera_to_world": pose}, r"K has shape \(5, 4, 4\)"),
        ({"K": k, "camera_to_world": pose, "convention": "blender"}, "it is one of opencv, opengl"),
        ({"K": k, "camera_to_world": pose, "distortion": [0.0] * 12}, r"shape \(12,\); it ends in at most 8"),
        ({"K": k[0], "camera_to_world": pose[0] * np.nan}, "camera_to_world holds nan in row 0, column 0"),
    ]:
        with pytest.raises(ValueError, match=said):
            Cameras.from_matrices(**given, **size)
