from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from render.methods.base import RayModel, Rendered, check_outputs
from scenes.cameras import Cameras


class Wall(RayModel):
    """The plane z = 5, whose colour is its place."""

    background = (0.25, 0.5, 0.75)
    device = torch.device("cpu")

    def render_rays(self, rays, outputs, background=None, crop=None):
        distance = (5 - rays.origins[:, 2]) / rays.directions[:, 2]
        seen = {"rgb": rays.at(distance), "opacity": torch.ones_like(distance), "distance": distance}
        seen["rgb"] = seen["rgb"] + self.background_colour(background)
        return Rendered(**{name: seen[name] for name in outputs})


def camera(width=13, height=7):
    return Cameras.from_fov(torch.eye(4), width, height, 60.0)


@pytest.mark.parametrize("chunk", [1, 10, 91, 4096])
def test_picture_does_not_depend_on_the_chunk(chunk):
    wall, whole = Wall(), Wall()
    wall.rays_per_chunk = chunk
    assert torch.equal(wall.render(camera()).rgb, whole.render(camera()).rgb)


def test_every_pixel_is_where_its_camera_projects_it():
    picture = Wall().render(camera(), background=(0.0, 0.0, 0.0)).rgb
    pixels, z_depth = camera().project(picture)
    assert_close(pixels, camera().pixel_centres())
    assert_close(z_depth, torch.full((7, 13), 5.0))


def test_wall_across_the_axis_has_one_z_depth_and_many_distances():
    seen = Wall().render(camera(), outputs=("distance", "z_depth"))
    assert_close(seen.z_depth, torch.full((7, 13), 5.0))
    assert seen.distance[0, 0] > seen.distance[3, 6] + 0.5
    assert seen.rgb is None and seen.opacity is None


def test_the_normal_of_a_wall_is_its_own_and_towards_the_camera():
    normal = Wall().render(camera(), outputs=("normal",)).normal
    assert_close(normal, torch.tensor([0.0, 0.0, -1.0]).expand(7, 13, 3), atol=1e-5, rtol=0)


def test_background_is_the_scenes_unless_given():
    own, white = Wall().render(camera()).rgb, Wall().render(camera(), background=(1.0, 1.0, 1.0)).rgb
    assert_close(white - own, torch.tensor([0.75, 0.5, 0.25]).expand(7, 13, 3), atol=1e-5, rtol=0)


def test_black_may_be_asked_for():
    assert_close(Wall().background_colour((0.0, 0.0, 0.0)), torch.zeros(3))


@pytest.mark.parametrize("name", ["normals", "depth"])
def test_unknown_output_is_refused_with_the_known_ones(name):
    with pytest.raises(
        ValueError, match=f"'{name}' is no output.*rgb, opacity, distance, samples, z_depth, normal"
    ):
        Wall().render(camera(), outputs=(name,))


def test_one_name_is_not_taken_for_a_sequence_of_letters():
    with pytest.raises(ValueError, match=r"\('rgb',\)"):
        check_outputs("rgb", ("rgb",))


def test_several_cameras_give_the_pictures_of_each():
    wall, outputs = Wall(), ("rgb", "z_depth")
    poses = torch.eye(4).repeat(3, 1, 1)
    poses[:, 2, 3] = torch.tensor([0.0, 1.0, 2.0])
    cameras = Cameras.from_fov(poses, 13, 7, 60.0)
    stack = wall.render(cameras, outputs, background=(0.0, 0.0, 0.0))
    assert stack.rgb.shape == (3, 7, 13, 3) and stack.opacity is None
    for index in range(3):
        one = wall.render(cameras[index], outputs, background=(0.0, 0.0, 0.0))
        assert torch.equal(stack.rgb[index], one.rgb) and torch.equal(stack.z_depth[index], one.z_depth)
    assert_close(stack.z_depth[:, 0, 0], torch.tensor([5.0, 4.0, 3.0]))


def test_cameras_that_make_no_stack_are_refused():
    cameras = Cameras.from_fov(torch.eye(4).repeat(2, 1, 1), 13, 7, 60.0)
    with pytest.raises(ValueError, match="cameras of several sizes make no stack"):
        Wall().render(replace(cameras, width=torch.tensor([13, 14])))
    with pytest.raises(ValueError, match=r"one, or a row of them, are rendered; got \(0,\)"):
        Wall().render(cameras[:0])
    with pytest.raises(ValueError, match=r"got \(1, 2\)"):
        Wall().render(cameras[None])


def test_beyond_what_the_lens_sees_is_the_background():
    """A barrel so strong that the corners have no ray: nothing there, and no NaN anywhere."""
    lens = torch.zeros(8)
    lens[0] = -0.6
    bent = replace(camera(40, 40), distortion=lens)
    hidden = ~bent.rays().directions.isfinite().all(dim=-1)
    assert 0 < int(hidden.sum()) < 800
    seen = Wall().render(bent, ("rgb", "opacity", "distance", "z_depth"), background=(0.1, 0.2, 0.3))
    assert_close(seen.rgb[hidden], torch.tensor([0.1, 0.2, 0.3]).expand(int(hidden.sum()), 3))
    assert not seen.opacity[hidden].any() and not seen.z_depth[hidden].any()
    assert_close(seen.z_depth[~hidden], torch.full((int((~hidden).sum()),), 5.0))
    assert all(getattr(seen, name).isfinite().all() for name in ("rgb", "opacity", "distance"))
