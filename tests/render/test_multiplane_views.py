"""What other cameras see of multiplane images: a loop without homographies, closed forms, and the kernel."""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from render.multiplane import PUBLISHED, MultiplaneImage, composite, render
from scenes.cameras import Cameras
from tests.render.multiplane_loop import (
    ALL,
    HEIGHT,
    WIDTH,
    make_camera,
    make_image,
    moved_camera,
    pixel_loop,
    single,
    turn,
)


@pytest.mark.parametrize("outside", ["border", "empty"])
@pytest.mark.parametrize("kind", ["density", "alpha"])
@pytest.mark.parametrize(
    "camera",
    [
        moved_camera(),
        make_camera(),
        moved_camera(at=(0.1, 0.0, 1.9)),  # it has walked through the first plane
        moved_camera(at=(0.0, 0.1, -3.0), rotation=turn(0.3, 0.2, 1.4)),  # sees much beside the picture
    ],
    ids=["moved", "itself", "within", "far"],
)
def test_it_equals_rays_that_meet_planes_one_by_one(camera, kind, outside, generator):
    placed = make_camera(at=(0.3, -0.2, 0.1), rotation=turn(-0.1, 0.2, 0.3), middle=(6.1, 5.3))
    image = make_image(generator, kind=kind, camera=placed)
    # The same cameras about the source, so that it does not stand at the world's origin.
    camera = replace(camera, camera_to_world=placed.camera_to_world @ camera.camera_to_world)
    seen = render(image, camera, ALL, outside=outside)
    for row in range(camera.height):
        for column in range(camera.width):
            rgb, opacity, distance, z_depth = pixel_loop(image, camera, column, row, outside)
            assert_close(seen.rgb[row, column], rgb)
            assert_close(seen.opacity[row, column], opacity)
            assert_close(seen.distance[row, column], distance)
            assert_close(seen.z_depth[row, column], z_depth)


def test_a_plane_far_away_is_seen_through_the_homography_of_the_rotation(generator):
    """K_t R K_s^-1, whatever the translation; pixel middles at +0.5."""
    source = make_camera(middle=(6.1, 5.3))
    target = moved_camera(at=(3.0, -5.0, 2.0), rotation=turn(0.02, 0.03, -0.2), focal=(14.0, 15.0))
    image = make_image(generator, planes=1, kind="alpha", camera=source)
    image = replace(image, z_depth=torch.tensor([1e12]).double(), opacity=torch.ones_like(image.opacity))
    K_source, K_target = (
        torch.tensor([[c.fx, 0, c.cx], [0, c.fy, c.cy], [0, 0, 1]]).double() for c in (source, target)
    )
    source_from_target = K_source @ target.camera_to_world[:3, :3] @ K_target.inverse()
    pixels = target.pixel_centres()
    there = torch.cat((pixels, torch.ones_like(pixels[..., :1])), dim=-1) @ source_from_target.T
    there = there[..., :2] / there[..., 2:]
    grid = 2 * there / torch.tensor([WIDTH, HEIGHT]) - 1
    expected = F.grid_sample(image.rgb, grid[None], padding_mode="border", align_corners=False)[0]
    assert_close(render(image, target).rgb, expected.permute(1, 2, 0), rtol=0, atol=1e-9)


@pytest.mark.parametrize("shift", [-3, 1, 4])
@pytest.mark.parametrize("axis", ["x", "y"])
def test_a_plane_moves_by_focal_times_translation_over_depth(shift, axis, generator):
    """Whole pixels, so that what is seen is the picture itself, moved; its border goes on, or is empty."""
    camera, depth = make_camera(), 2.5
    image = make_image(generator, planes=1, kind="alpha", camera=camera)
    image = replace(image, z_depth=torch.tensor([depth]).double(), opacity=torch.ones_like(image.opacity))
    focal, along, size = (camera.fx, 0, WIDTH) if axis == "x" else (camera.fy, 1, HEIGHT)
    step = [0.0, 0.0, 0.0]
    step[along] = float(shift * depth / focal)  # the camera goes right, what it sees goes left
    target = make_camera(at=tuple(step))
    picture = image.rgb[0].permute(1, 2, 0)
    columns = torch.arange(size) + shift
    expected = picture.index_select(1 - along, columns.clamp(0, size - 1))
    assert_close(render(image, target).rgb, expected, rtol=0, atol=1e-12)
    seen = render(image, target, ("rgb", "opacity", "samples"), outside="empty")
    inside = (columns >= 0) & (columns < size)
    inside = inside.expand(HEIGHT, WIDTH) if axis == "x" else inside[:, None].expand(HEIGHT, WIDTH)
    assert_close(seen.opacity, inside.double())
    assert_close(seen.rgb, expected * inside[..., None], rtol=0, atol=1e-12)
    assert torch.equal(seen.samples, inside.int())


def test_many_cameras_are_seen_as_each_alone(generator):
    image = make_image(generator)
    each = [moved_camera(at=(0.1 * i, 0.0, 0.05 * i)) for i in range(3)]
    poses = torch.stack([camera.camera_to_world for camera in each])
    numbers = (torch.stack([getattr(c, name) for c in each]) for name in ("fx", "fy", "cx", "cy"))
    together = render(image, Cameras(poses, *numbers, each[0].width, each[0].height), ALL)
    for i, camera in enumerate(each):
        alone = render(image, camera, ALL)
        for name in ALL:
            assert_close(getattr(together, name)[i], getattr(alone, name))


def test_pictures_in_pieces_are_the_same(generator, monkeypatch):
    image = make_image(generator)
    whole = render(image, moved_camera(), ALL)
    monkeypatch.setattr("render.multiplane.SAMPLES_PER_CHUNK", 35)
    pieces = render(image, moved_camera(), ALL)
    for name in ALL:
        assert_close(getattr(pieces, name), getattr(whole, name))


@pytest.mark.parametrize("at, rotation", [((0, 0, 99.0), turn()), ((0, 0, 0), turn(0, math.pi, 0)),
                                          ((0, 0, 99.0), turn(0, math.pi, 0))])  # fmt: skip
def test_nothing_is_seen_of_planes_that_are_behind_or_from_behind(at, rotation, generator):
    image = make_image(generator)
    seen = render(image, make_camera(at=at, rotation=rotation), ALL)
    assert all(not getattr(seen, name).any() for name in ALL)


def test_a_lens_sees_the_planes_where_its_rays_go(generator):
    """A distorted fisheye: the colour of a pixel is that of a pinhole pixel with the same ray."""
    image = make_image(generator)
    bent = torch.tensor([0.1, -0.02, 0.01, 0.003, 0, 0, 0, 0], dtype=torch.float64)
    fisheye = moved_camera(distortion=bent, projection="fisheye")
    seen = render(image, fisheye, ("rgb", "distance"))
    ray = fisheye.rays()[4, 3].directions
    axis = fisheye.camera_to_world[:3, :3].T @ ray
    x, y = float(axis[0] / axis[2]), float(axis[1] / axis[2])
    pinhole = moved_camera(width=1, height=1, focal=(1.0, 1.0), middle=(0.5 - x, 0.5 - y))
    alone = render(image, pinhole, ("rgb", "distance"))
    assert_close(seen.rgb[4, 3], alone.rgb[0, 0])
    assert_close(seen.distance[4, 3], alone.distance[0, 0])


def test_pixels_beyond_a_lens_see_nothing(generator):
    image = make_image(generator)
    wide = make_camera(width=24, height=24, focal=(3.0, 3.0), projection="fisheye")
    unseen = ~wide.rays().directions.isfinite().all(-1)
    assert unseen[0, 0] and not unseen[12, 12]
    seen = render(image, wide, ALL)
    assert not seen.opacity[unseen].any()
    assert all(getattr(seen, name).isfinite().all() for name in ALL)


def test_the_world_and_its_unit_may_be_others(generator):
    """Cameras moved and scaled together: lengths scale, densities inversely, colours stay."""
    image = make_image(generator)
    image = replace(image, opacity=image.opacity.index_fill(0, torch.tensor([4]), 1e6))  # no end at 1e3
    motion, scale = torch.eye(4, dtype=torch.float64), 3.0
    motion[:3, :3], motion[:3, 3] = turn(0.5, 1.0, -2.0), torch.tensor([5.0, 2.0, 7.0])

    def elsewhere(camera):
        pose = camera.camera_to_world.clone()
        pose[:3, 3] *= scale
        return replace(camera, camera_to_world=motion @ pose)

    moved = MultiplaneImage(
        image.rgb, image.opacity / scale, image.z_depth * scale, elsewhere(image.camera), "density"
    )
    here, there = (
        render(image, moved_camera(), ALL), render(moved, elsewhere(moved_camera()), ALL),
    )  # fmt: skip
    assert_close(there.rgb, here.rgb)
    assert_close(there.distance, here.distance * scale)
    assert_close(there.z_depth, here.z_depth * scale)


# The kernel


def test_the_kernel_sees_what_the_reference_sees(generator):
    """Of several cameras, with a lens, from elsewhere in the world."""
    placed = make_camera(at=(0.3, -0.2, 0.1), rotation=turn(-0.1, 0.2, 0.3), middle=(6.1, 5.3))
    exact = make_image(generator, 7, camera=placed)
    image = single(exact)
    each = [moved_camera(at=(0.3 + 0.1 * i, -0.2, 0.1), projection="fisheye") for i in range(3)]
    poses = torch.stack([placed.camera_to_world @ camera.camera_to_world for camera in each])
    numbers = [torch.stack([getattr(c, name) for c in each]) for name in ("fx", "fy", "cx", "cy")]
    cameras = Cameras(poses, *numbers, 8, 11, projection="fisheye")
    for outside in ("border", "empty"):
        seen = render(image, cameras, ALL, outside=outside, epsilons=PUBLISHED, backend="kernels")
        expected = render(exact, cameras, ALL, outside=outside, epsilons=PUBLISHED)
        for name in ALL:
            values = getattr(expected, name)
            assert_close(getattr(seen, name), values.to(getattr(seen, name)), rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("kind", ["density", "alpha"])
def test_the_kernel_sees_the_source_view_as_it_is(kind, generator):
    """White noise, single precision, sides that are no powers of two."""
    image = make_image(generator, 4, kind, make_camera(384, 255, (300.0, 301.0)), torch.float32)
    seen = render(image, image.camera, ("rgb", "opacity", "z_depth"), backend="kernels")
    own = composite(image)
    for name in ("rgb", "opacity", "z_depth"):
        assert_close(getattr(seen, name), getattr(own, name), rtol=1e-6, atol=1e-6)


def test_the_kernel_gives_no_gradients_and_says_so(generator):
    image = single(make_image(generator))
    learnt = replace(image, rgb=image.rgb.requires_grad_())
    with pytest.raises(ValueError, match=r"asks for a gradient.*torch\.no_grad"):
        render(learnt, moved_camera(), backend="kernels")
    with torch.no_grad():
        seen = render(learnt, moved_camera(), backend="kernels").rgb
        assert_close(seen, render(learnt, moved_camera()).rgb, rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="asks for a gradient"):  # also of what was interleaved before
        render(learnt, moved_camera(), backend="kernels")
