"""Held-out cameras are set by the left half of their picture, by nothing else, and to the right place."""

from dataclasses import replace

import pytest
import torch

from render.evaluate import evaluate
from render.methods.base import Rendered
from render.posing import gauss_newton_step, posed_on_left_half, with_pose
from render.refinement import moved
from scenes.generate.analytic import SCENES, generate, picture
from scenes.images import on_background

WHITE = (1.0, 1.0, 1.0)


def drawn(camera):
    return on_background(picture(SCENES["planes"], camera), WHITE)


class Exact:
    """A model that sees the analytic scene as it is, from wherever it is asked to look."""

    def render(self, camera, outputs=("rgb",), background=None):
        return Rendered(rgb=drawn(camera))


@pytest.fixture(scope="module")
def views():
    return generate("planes", width=64, views={"test": 3})["test"]


def beside(camera, generator, degrees=1.0, way=0.06):
    """The camera, turned and moved at random."""
    motion = torch.nn.functional.normalize(torch.randn(2, 3, generator=generator), dim=-1)
    motion = (
        motion * torch.tensor([[degrees], [0.0]]).deg2rad() + motion * torch.tensor([[0.0], [way]])
    ).view(1, 6)
    return with_pose(camera, moved(camera.camera_to_world[None, :3], motion, 1.0)[0])


def pixels_off(camera, truth):
    """How far apart two cameras see places of the scene, pixels."""
    places = torch.cartesian_prod(*[torch.linspace(-0.6, 0.6, 4)] * 3)
    x, y, z = torch.stack([(places - c.centres) @ c.camera_to_world[:3, :3] for c in (camera, truth)]).unbind(
        -1
    )
    seen = torch.stack((x / z, y / z), dim=-1) * truth.fx
    return float((seen[0] - seen[1]).norm(dim=-1).mean())


def test_a_camera_goes_back_to_where_its_picture_was_taken(views, generator):
    for camera in views.cameras:
        wrong = beside(camera, generator)
        assert pixels_off(wrong, camera) > 0.2
        found = posed_on_left_half(drawn, wrong, drawn(camera), None, views.bounds)
        assert pixels_off(found, camera) < 0.05


def test_the_right_half_and_what_is_hidden_have_no_say(views, generator):
    camera, truth = views.cameras[0], drawn(views.cameras[0])
    wrong, seen = beside(camera, generator), torch.ones(64, 64, dtype=torch.bool)
    seen[:20, 10:20] = False
    poses = []
    for noise in (0.0, 1.0):
        other = torch.rand(truth.shape, generator=generator) * noise
        unlike = torch.where(seen[..., None], truth, other)
        unlike[:, 32:] = other[:, 32:]
        poses.append(posed_on_left_half(drawn, wrong, unlike, seen, views.bounds).camera_to_world)
    assert torch.equal(*poses) and not torch.equal(poses[0], wrong.camera_to_world)


def test_a_camera_that_sees_nothing_stays(views):
    """Where no motion changes the picture, or none for the better, none is made."""
    for value in (0.2, 0.5):
        still = posed_on_left_half(
            lambda camera: torch.full((64, 64, 3), 0.5),
            views.cameras[1],
            torch.full((64, 64, 3), value),
            None,
            views.bounds,
        )
        assert torch.equal(still.camera_to_world, views.cameras[1].camera_to_world)


def test_a_linear_picture_is_met_in_one_step(generator):
    slope, wanted = torch.randn(50, 6, generator=generator).double(), torch.randn(6, generator=generator)
    step = gauss_newton_step(slope, -(slope @ wanted.double()), 1e-9)
    torch.testing.assert_close(step, wanted, atol=1e-5, rtol=1e-5)


def test_views_are_measured_from_where_the_left_half_puts_them(views, generator):
    """Right of the middle too they agree then; and what is wrong there alone still counts."""
    shaken = torch.stack([beside(camera, generator).camera_to_world for camera in views.cameras])
    wrong = replace(views, cameras=replace(views.cameras, camera_to_world=shaken))
    given, posed = (evaluate(Exact(), wrong, "test", protocol) for protocol in ("float", "half-posed"))
    assert posed["psnr"] > given["psnr"] + 10
    assert "left half" in posed["protocol"]["posed"] and given["protocol"]["posed"] is None

    class Wrong(Exact):
        def render(self, camera, outputs=("rgb",), background=None):
            rgb = drawn(camera)
            rgb[:, 32:] = 1 - rgb[:, 32:]
            return Rendered(rgb=rgb)

    assert evaluate(Wrong(), wrong, "test", "half-posed")["psnr"] < 12
