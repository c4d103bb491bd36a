"""A scene that was given in another frame and unit is rendered from there: same pixels, its own lengths."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

import render
from scenes.crop import Crop
from scenes.generate.analytic import generate
from scenes.pixels import PixelSource
from scenes.transforms import rotation_between, similarity, transform_points, transform_poses
from tests.render.test_density import CONFIGS, trained

SCALE = 0.3
TURN = rotation_between(torch.tensor([0.0, 0.0, 1.0]), torch.tensor([0.3, -0.5, 0.4]))
MOVE = similarity(SCALE, TURN, torch.tensor([5.0, -2.0, 1.0]))  # model from input
BACK = torch.linalg.inv(MOVE.double())


@pytest.fixture(scope="module")
def scene():
    return replace(generate("spheres", width=32, views={"train": 8})["train"], model_from_input=MOVE)


@pytest.fixture(scope="module", params=CONFIGS)
def model(request, scene):
    return trained(CONFIGS[request.param], "auto", scene, PixelSource.from_scene(scene), steps=40)


def as_given(cameras):
    """The cameras as the user has them: the input's frame, unit and precision."""
    return replace(cameras, camera_to_world=transform_poses(BACK, cameras.camera_to_world.double()))


def assert_nearly_all_close(ours, wanted, tolerance):
    """But for one value in a hundred: where a pose is rounded, samples change their cells."""
    errors = (ours - wanted).abs().flatten().sort().values
    assert float(errors[: len(errors) * 99 // 100].max()) < tolerance


def test_the_pixels_are_the_same_and_lengths_are_the_inputs(model, scene):
    outputs = ("rgb", "opacity", "distance", "z_depth", "normal")
    ours = model.render(as_given(scene.cameras), outputs, frame="input")
    wanted = model.render(scene.cameras, outputs)
    for name in ("rgb", "opacity"):
        assert_nearly_all_close(getattr(ours, name), getattr(wanted, name), 1e-3)
    for name in ("distance", "z_depth"):
        assert_nearly_all_close(SCALE * getattr(ours, name), getattr(wanted, name), 1e-2)
    assert_nearly_all_close(ours.normal @ TURN.T, wanted.normal, 0.2)
    assert ours.rgb.dtype == torch.float32


def test_lengths_are_scaled_and_nothing_else(scene):
    """With a move that float32 holds exactly, to the bit."""
    turn = torch.tensor([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    move = similarity(0.25, turn, torch.zeros(3))
    model = CONFIGS["nerf"].build(replace(scene, model_from_input=move))
    camera, outputs = scene.cameras[2], ("rgb", "distance", "z_depth", "normal")
    given = replace(camera, camera_to_world=transform_poses(torch.linalg.inv(move), camera.camera_to_world))
    ours, wanted = model.render(given, outputs, frame="input"), model.render(camera, outputs)
    assert torch.equal(ours.rgb, wanted.rgb)
    assert torch.equal(ours.distance, 4 * wanted.distance)
    assert torch.equal(ours.z_depth, 4 * wanted.z_depth)
    assert torch.equal(ours.normal, wanted.normal @ turn)


def test_what_is_seen_lies_where_the_user_has_it(model, scene):
    """A pixel's point, found in the input frame, is the same point moved back from the model frame."""
    camera = scene.cameras[1]
    seen = model.render(camera, ("z_depth", "opacity"))
    given = as_given(camera)
    told = model.render(given, ("z_depth",), frame="input").z_depth.double()
    there = transform_points(MOVE.double(), given.unproject(given.pixel_centres(), told))
    wanted = camera.unproject(camera.pixel_centres(), seen.z_depth)
    assert_nearly_all_close(there.float()[seen.opacity > 0.1], wanted[seen.opacity > 0.1], 1e-2)


def test_a_crop_is_given_in_the_same_frame(model, scene):
    crop = Crop((0.1, 0.0, 0.1), (1.0, 0.8, 1.2))
    ours = model.render(as_given(scene.cameras[1]), crop=crop.moved(BACK), frame="input")
    assert_nearly_all_close(ours.rgb, model.render(scene.cameras[1], crop=crop).rgb, 1e-3)


def test_gradients_are_those_of_the_users_own_pose(model, scene):
    """A step of an input unit moves the camera by 0.3 model units, turned."""
    poses, found = [as_given(scene.cameras[1]), scene.cameras[1]], []
    for camera, frame in zip(poses, ("input", "model"), strict=True):
        pose = camera.camera_to_world.clone().requires_grad_()
        seen = model.render(replace(camera, camera_to_world=pose), frame=frame).rgb
        found.append(torch.autograd.grad(seen.square().sum(), pose)[0][:3, 3].double())
    assert_close(found[0], SCALE * found[1] @ TURN.double(), rtol=0.05, atol=0.02 * float(found[0].norm()))


def test_a_run_keeps_the_frame_of_its_scene(scene, tmp_path):
    settings = {"log2_table_size": 12, "occupancy_resolution": 32, "first_samples": 4000}
    trained = render.train(scene, steps=2, out=tmp_path / "run", **settings)
    model = render.load(tmp_path / "run")
    given = as_given(scene.cameras[0])
    assert torch.equal(model.model_from_input, MOVE.double())
    assert torch.equal(model.render(given, frame="input").rgb, trained.render(given, frame="input").rgb)


def test_another_frame_is_refused(model, scene):
    with pytest.raises(ValueError, match="frame 'colmap' is unknown; it is one of model, input"):
        model.render(scene.cameras[0], frame="colmap")
