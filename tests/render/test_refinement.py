"""Refined cameras: gradients of poses and focal lengths, what is held fast, and poses recovered."""

import math
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from fields.kernels.ngp import Limits
from render.methods.ngp_composed import composed_loss
from render.refinement import RefinedCameras, common_motions, orthonormal, skew
from scenes.generate import analytic
from scenes.pixels import PixelSource
from scenes.transforms import transform_poses
from tests.render.test_ngp import built, settings_for, small, trained
from tools.poses.report import similarity_between

PLACES = torch.cartesian_prod(*[torch.linspace(-0.8, 0.8, 4)] * 3)


@pytest.fixture(scope="module")
def scene():
    return analytic.generate_spheres(width=48, views={"train": 12, "val": 1, "test": 1})["train"]


@pytest.fixture(scope="module")
def pixels(scene) -> PixelSource:
    return PixelSource.from_scene(scene)


def turned(poses, turn, way):
    rotation = torch.linalg.matrix_exp(skew(turn)) @ poses[:, :, :3]
    return torch.cat((rotation, poses[:, :, 3:] + way[..., None]), dim=-1)


def shaken(pixels, degrees, way, seed=5) -> PixelSource:
    generator = torch.Generator().manual_seed(seed)
    turn, shift = torch.nn.functional.normalize(torch.randn(2, len(pixels), 3, generator=generator), dim=-1)
    return replace(
        pixels, camera_to_world=turned(pixels.camera_to_world, math.radians(degrees) * turn, way * shift)
    )


def seen(poses):
    """Where cameras see the places: tangents of angles."""
    x, y, z = ((PLACES.double() - poses[:, None, :, 3]) @ poses[:, :, :3]).unbind(-1)
    return torch.stack((x / z, y / z), dim=-1)


def misplaced(source, truth):
    """By how many pixels each camera sees the places beside where it should, after the best similarity."""
    found, true = source.camera_to_world.double(), truth.camera_to_world.double()
    align = torch.from_numpy(similarity_between(found[:, :, 3].numpy(), true[:, :, 3].numpy()))
    last = torch.tensor([0.0, 0.0, 0.0, 1.0]).double().expand(len(found), 1, 4)
    aligned = transform_poses(align, torch.cat((found, last), dim=1))[:, :3]
    apart = seen(aligned) * source.intrinsics[0, 0] - seen(true) * truth.intrinsics[0, 0]
    return apart.norm(dim=-1).mean(dim=-1)


@pytest.mark.parametrize("lens", [False, True])
def test_gradients_are_those_of_the_loss_by_turns_ways_and_focal_length(scene, pixels, lens):
    """Through the drawing of rays itself, by automatic differentiation."""
    if lens:
        distortion = torch.tensor((-0.2, 0.05, 2e-3, -1e-3, 0.01, 0.0, 0.0, 0.0)).expand(len(pixels), 8)
        pixels = replace(pixels, distortion=distortion.contiguous())
    config = small(precision="float32")
    model = built(config, scene, "reference")
    model.load_state(trained(built(config, scene), pixels, 30).state())
    settings, limits = settings_for(model), Limits(math.sqrt(3) / 256)
    cameras = RefinedCameras(pixels, 2.0, PLACES)
    _, told = composed_loss(model, pixels, settings, limits, None, True).differentiate([], False, True)
    of_poses, of_focal = cameras.gradients(told)
    turn, way = (
        torch.zeros(len(pixels), 3, requires_grad=True),
        torch.zeros(len(pixels), 3, requires_grad=True),
    )
    longer = torch.zeros(1, requires_grad=True)
    intrinsics = torch.cat((pixels.intrinsics[:, :2] * longer.exp(), pixels.intrinsics[:, 2:]), dim=-1)
    poses = turned(pixels.camera_to_world, turn, 2.0 * way)
    moving = replace(pixels, camera_to_world=poses, intrinsics=intrinsics)
    wanted = torch.autograd.grad(composed_loss(model, moving, settings, limits).loss, (turn, way, longer))
    assert (of_poses - torch.cat(wanted[:2], dim=-1)).norm() < 1e-3 * of_poses.norm()
    assert_close(of_focal, wanted[2], rtol=1e-3, atol=1e-8)


def test_what_all_cameras_do_together_is_taken_out(pixels, generator):
    """A similarity moves every pose, and no step may contain any of it."""
    cameras = RefinedCameras(pixels, 2.0, PLACES)
    axis, way, growth = 1e-3 * torch.randn(3, generator=generator), torch.randn(3, generator=generator), 0.3
    centres = pixels.camera_to_world[:, :, 3] / 2.0
    middle = centres.mean(dim=0)
    moved = torch.linalg.cross(1e3 * axis.expand_as(centres), centres - middle) + way
    together = torch.cat((1e3 * axis.expand_as(centres), moved + growth * (centres - middle)), dim=-1)
    assert cameras.not_together(together).abs().max() < 1e-5 * together.abs().max()
    alone = torch.zeros_like(together)
    alone[3, 0] = 1.0
    assert cameras.not_together(alone)[3, 0] > 0.5
    once = cameras.not_together(torch.randn(together.shape, generator=generator))
    assert_close(cameras.not_together(once), once, msg="a projection", rtol=1e-4, atol=1e-5)


def test_whitened_motions_move_the_picture_alike_and_independently(pixels, generator):
    """Independent numbers of one size, drawn often: places move by about that size, whatever the camera."""
    cameras = RefinedCameras(pixels, 2.0, PLACES)
    drawn = 1e-4 * torch.randn(2000, len(pixels), 6, generator=generator, dtype=torch.float64)
    motions = (cameras.whitening.double() @ drawn[..., None])[..., 0]
    poses = pixels.camera_to_world.double()
    moved = torch.stack([seen(turned(poses, m[:, :3], 2.0 * m[:, 3:])) for m in motions]) - seen(poses)
    power = moved.square().sum(dim=-1).mean(dim=(0, 2))  # six numbers, each of power 1 but for the damping
    assert ((power > 3 * 1e-8) & (power < 6 * 1e-8)).all()
    assert cameras.whitening.isfinite().all()


def test_cameras_in_one_place_have_no_growth_in_common(generator):
    assert common_motions(torch.randn(5, 3, generator=generator)).shape == (30, 7)
    assert common_motions(torch.ones(5, 3)).shape == (30, 6)


def test_thousands_of_small_turns_stay_rotations():
    turn = torch.linalg.matrix_exp(skew(torch.tensor([[1e-3, -2e-3, 5e-4]])))
    rotation = torch.eye(3)[None]
    for _ in range(3000):
        rotation = orthonormal(turn @ rotation)
    assert (rotation @ rotation.transpose(1, 2) - torch.eye(3)).abs().max() < 1e-6


@pytest.fixture(scope="module")
def boxes():
    """A scene that shows where its cameras are, as spheres do not."""
    scene = analytic.generate("boxes", width=64, views={"train": 16})["train"]
    return scene, PixelSource.from_scene(scene)


def refined(boxes, start, seed=0, **rates) -> RefinedCameras:
    model, generator = (
        built(small(precision="float32", refine_poses=True, first_samples=8000, **rates), boxes[0]),
        torch.Generator(),
    )
    for step in range(800):
        model.step(start, step / 800, generator.manual_seed(seed))
    return model.cameras


def test_shaken_cameras_come_back(boxes):
    """Poses off by two degrees and 2 % of their distance. Short trainings vary: 0.27 to 0.66 of it
    is left after one; so the median of three."""
    truth, wrong = boxes[1], shaken(boxes[1], 2.0, 0.08)
    found = [refined(boxes, wrong, seed, pose_rate=1e-3, focal_rate=0.0).pixels for seed in range(3)]
    before, after = misplaced(wrong, truth).mean(), sorted(float(misplaced(f, truth).mean()) for f in found)
    assert before > 2.5, "pixels"
    assert after[1] < 0.6 * before
    assert all(torch.equal(each.intrinsics, truth.intrinsics) for each in found)


def test_focal_lengths_wait_until_all_levels_learn(scene, pixels, generator):
    model = built(small(refine_poses=True), scene)
    for schedule, moves in ((0.2, False), (0.4, True)):
        model.step(pixels, schedule, generator)
        assert bool(model.cameras.log_focal.any()) == moves
        assert not torch.equal(model.cameras.pixels.camera_to_world, pixels.camera_to_world)


def test_it_is_told_how_far_the_cameras_moved(pixels):
    """Every camera turned by half a degree, and moved by a hundredth of its distance from their middle."""
    cameras = RefinedCameras(pixels, 2.0, PLACES)
    centres = pixels.camera_to_world[:, :, 3]
    spread = float((centres - centres.mean(dim=0)).norm(dim=-1).mean())
    cameras.pixels = shaken(pixels, 0.5, 0.01 * spread)
    cameras.log_focal += math.log(1.02)
    turn, way = cameras.moved()
    assert turn == pytest.approx(0.5, rel=1e-3) and way == pytest.approx(0.01, rel=1e-3)
    told = "turned by 0.500 degrees, moved by 1.000% of their spread, focal length +2.000%"
    assert cameras.summary() == told


@pytest.mark.parametrize(
    "settings", [{"refine_poses": True}, {"appearance": True}, {"refine_poses": True, "appearance": True}]
)
def test_a_resume_gives_the_same_bits(scene, pixels, settings):
    config = small(**settings)
    straight = trained(built(config, scene), pixels, 20).state()
    half = trained(built(config, scene), pixels, 10)
    resumed = built(config, scene, seed=9)
    resumed.load_state({name: value.clone() for name, value in half.state().items()})
    for name, value in half.state().items():
        assert torch.equal(value, resumed.state()[name]), f"{name}: kept before the first step"
    trained(resumed, pixels, 10)
    assert len(straight) == len(resumed.state())
    for name, value in straight.items():
        assert torch.equal(value, resumed.state()[name]), name
    with pytest.raises(ValueError, match=r"state: .* is \(12"):
        other = analytic.generate_spheres(width=16, views={"train": 5, "val": 1, "test": 1})["train"]
        resumed.load_state(straight)
        trained(resumed, PixelSource.from_scene(other), 1)
