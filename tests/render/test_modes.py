"""What pictures show besides colours."""

import math
from dataclasses import replace

import pytest
import torch

from render.methods.base import Rendered
from render.modes import DEPTH_COLOURS, Scale, coloured, depth_colours, draw_modes, scale_of
from scenes.generate.analytic import rig


class Slab:
    """Grey everywhere, at a depth that grows from 2 on the left to 4 on the right; nothing in the top row."""

    def render(self, camera, outputs=("rgb",), background=None, crop=None):
        height, width = camera.height, camera.width
        opacity = torch.ones(height, width)
        opacity[0] = 0
        depth = torch.linspace(2, 4, width).expand(height, -1) * opacity
        return Rendered(rgb=torch.full((height, width, 3), 0.5), opacity=opacity, z_depth=depth)

    def state(self):
        return {"w": torch.ones(3), "optimizer.m": torch.zeros(3)}


def test_modes_stand_side_by_side():
    picture = draw_modes(Slab(), rig(2, 8, 0.0)[0], ("rgb", "opacity", "depth"), Scale(2.0, 4.0))
    assert picture.shape == (8, 24, 3)
    assert (picture[:, :8] == 128).all()
    assert (picture[0, 8:16] == 0).all() and (picture[1:, 8:16] == 255).all()
    assert (picture[0, 16:] == 0).all(), "no depth where nothing is"
    near, far = (torch.tensor(colour) for colour in (DEPTH_COLOURS[0], DEPTH_COLOURS[-1]))
    torch.testing.assert_close(picture[3, 16] / 255, near, atol=2e-3, rtol=0)
    torch.testing.assert_close(picture[3, 23] / 255, far, atol=2e-3, rtol=0)


def test_what_is_farther_is_darker():
    depth = torch.linspace(1, 9, 200)[None]
    shown = depth_colours(depth, torch.ones_like(depth), 1.0, 9.0)[0]
    light = shown @ torch.tensor([0.2126, 0.7152, 0.0722])
    assert (light.diff() < 0).all()
    beyond = depth_colours(torch.tensor([[0.5, 20.0]]), torch.ones(1, 2), 1.0, 9.0)[0]
    torch.testing.assert_close(beyond, shown[[0, -1]])


def test_the_range_of_depths_leaves_the_outermost_out():

    class Specks(Slab):
        def render(self, camera, outputs=("rgb",), background=None, crop=None):
            seen = super().render(camera, outputs)
            seen.z_depth[1, :2] = torch.tensor([0.01, 900.0])
            return seen

    scale = scale_of(Specks(), rig(20, 128, 0.0), ("depth",))
    assert scale.nearest == pytest.approx(2.02, abs=0.03)
    assert scale.farthest == pytest.approx(3.98, abs=0.03)

    class Empty(Slab):
        def render(self, camera, outputs=("rgb",), background=None, crop=None):
            return Rendered(opacity=torch.zeros(4, 4), z_depth=torch.zeros(4, 4))

    assert scale_of(Empty(), rig(2, 8, 0.0), ("depth",)) == Scale(1.0, 2.0, 1)


def test_what_a_lens_does_not_see_has_no_depth():
    depth, opacity = torch.tensor([[2.0, math.nan, math.inf]]), torch.tensor([[1.0, 1.0, math.nan]])
    shown = depth_colours(depth, opacity, 2.0, 4.0)[0]
    torch.testing.assert_close(shown[0], torch.tensor(DEPTH_COLOURS[0]))
    assert (shown[1:] == 0).all()


def test_a_camera_that_sees_all_around_shows_distances():
    """Behind it z_depth is negative; what is as far away has one colour."""

    class Around(Slab):
        def render(self, camera, outputs=("rgb",), background=None, crop=None):
            shape = (camera.height, camera.width)
            return Rendered(opacity=torch.ones(shape), distance=torch.full(shape, 3.0))

    cameras = replace(rig(2, 8, 0.0), projection="equirectangular")
    scale = scale_of(Around(), cameras, ("depth",))
    assert scale.nearest == pytest.approx(3.0) and scale.farthest == pytest.approx(3.003, abs=1e-3)
    picture = draw_modes(Around(), cameras[0], ("depth",), Scale(2.0, 4.0))
    assert len(picture.flatten(0, 1).unique(dim=0)) == 1


def test_normals_and_samples_are_drawn_in_their_colours():
    camera = rig(2, 8, 0.0)[0]
    normal = torch.tensor([[[0.0, 0.0, 1.0], [0.0, -1.0, 0.0], [0.0, 0.0, 0.0], [1.0, 0.0, 0.0]]])
    opacity = torch.tensor([[1.0, 0.9, 1.0, 0.2]])
    shown = coloured(Rendered(normal=normal, opacity=opacity), "normal", camera, Scale())[0]
    wanted = torch.tensor([[0.5, 0.5, 1.0], [0.5, 0.0, 0.5], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(shown, wanted)
    counts = torch.tensor([[0, 32, 64, 999]], dtype=torch.int32)
    shown = coloured(Rendered(samples=counts), "samples", camera, Scale(most_samples=64))[0]
    light = shown @ torch.tensor([0.2126, 0.7152, 0.0722])
    assert light[0] < light[1] < light[2] == light[3]


def test_the_scale_of_samples_holds_nearly_all_counts():

    class Counting(Slab):
        def render(self, camera, outputs=("rgb",), background=None, crop=None):
            counts = torch.arange(camera.width * camera.height, dtype=torch.int32) % 100
            return Rendered(samples=counts.view(camera.height, camera.width))

    assert scale_of(Counting(), rig(2, 64, 0.0), ("samples",)).most_samples == 128


def test_where_rays_look_nowhere_the_scale_of_samples_is_one():
    class Nothing(Slab):
        def render(self, camera, outputs=("rgb",), background=None, crop=None):
            shape = (camera.height, camera.width)
            zero = torch.zeros(shape)
            return Rendered(opacity=zero, z_depth=zero, samples=torch.zeros(shape, dtype=torch.int32))

    assert scale_of(Nothing(), rig(2, 64, 0.0), ("depth", "samples")) == Scale(1.0, 2.0, 1)
