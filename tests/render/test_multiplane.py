"""Multiplane images: weights by closed forms, gradients, and what must change nothing."""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from render.multiplane import EXACT, PUBLISHED, MultiplaneImage, blend_source, composite, render
from tests.render.multiplane_loop import ALL, HEIGHT, WIDTH, make_camera, make_image, moved_camera


@pytest.mark.parametrize("epsilons", [EXACT, PUBLISHED])
@pytest.mark.parametrize("kind", ["density", "alpha"])
def test_the_source_camera_sees_what_compositing_gives(kind, epsilons, generator):
    """No warp, half a pixel or otherwise."""
    image = make_image(generator, kind=kind, camera=make_camera(middle=(6.1, 5.3)))
    own = composite(image, epsilons)
    seen = render(image, image.camera, ALL, epsilons=epsilons)
    assert_close(seen.rgb, own.rgb, rtol=0, atol=1e-12)
    assert_close(seen.opacity, own.opacity, rtol=0, atol=1e-12)
    assert_close(seen.z_depth, own.z_depth, rtol=0, atol=1e-12)
    assert (seen.samples == 5).all()


def test_in_single_precision_a_position_is_off_by_less_than_a_ten_thousandth_of_a_pixel(generator):
    """White noise, where a position that is off shows most."""
    camera = make_camera(384, 256, (300.0, 300.0))
    image = make_image(generator, 4, "alpha", camera, torch.float32)
    assert_close(render(image, camera).rgb, composite(image).rgb, rtol=0, atol=1e-4)


def test_weights_of_one_pixel_by_hand():
    """Two planes, thickness ln 2 and any: half each; lengths run along the ray, not along the axis."""
    camera = make_camera(1, 1, (1.0, 1.0), middle=(-0.5, 0.5))  # the pixel's ray is (1, 0, 1)
    density = torch.tensor([math.log(2) / math.sqrt(2), 5.0], dtype=torch.float64).view(2, 1, 1)
    rgb = torch.tensor([[1.0, 0, 0], [0, 1, 0]], dtype=torch.float64).view(2, 3, 1, 1)
    own = composite(MultiplaneImage(rgb, density, torch.tensor([1.0, 2.0]).double(), camera))
    assert_close(own.weights.flatten(), torch.tensor([0.5, 0.5]).double())
    assert_close(own.rgb[0, 0], torch.tensor([0.5, 0.5, 0]).double())
    assert_close(own.z_depth[0, 0], torch.tensor(1.5).double())


@pytest.mark.parametrize("epsilons", [EXACT, PUBLISHED])
@pytest.mark.parametrize("scale", [0.0, 1e-3, 1.0, 1e4])
def test_weights_add_up_to_the_opacity_and_to_no_more_than_one(scale, epsilons, generator):
    image = make_image(generator, planes=64, dtype=torch.float32)
    image = replace(image, opacity=image.opacity * scale)
    own = composite(image, epsilons)
    assert_close(own.weights.sum(0), own.opacity)
    assert own.opacity.max() <= 1 + (1e-4 if epsilons == PUBLISHED else 1e-6)
    assert own.weights.min() >= 0
    seen = render(image, moved_camera(), ("opacity",), epsilons=epsilons).opacity
    assert seen.max() <= 1 + (1e-4 if epsilons == PUBLISHED else 1e-6)
    assert seen.min() >= 0


def test_the_published_law_is_the_exact_one_up_to_its_epsilons(generator):
    image = make_image(generator, planes=32)
    exact, published = composite(image), composite(image, PUBLISHED)
    gap = (published.rgb - exact.rgb).abs().max()
    assert 0 < gap < 32e-6
    left = torch.ones(HEIGHT, WIDTH, dtype=torch.float64)
    length = (1 / image.camera.rays().directions[..., 2]).double()
    gaps = [*image.z_depth.diff()[:, None, None] * length, torch.full_like(length, 1e3)]
    for n in range(32):  # the recursion of the paper's code, plane by plane
        through = torch.exp(-image.opacity[n] * gaps[n])
        assert_close(published.weights[n], left * (1 - through))
        left = left * (through + 1e-6)
    mean = (published.weights * image.z_depth[:, None, None]).sum(0) / (published.weights.sum(0) + 1e-5)
    assert_close(published.z_depth, mean)
    alphas = make_image(generator, kind="alpha")  # which have no epsilons there
    assert_close(composite(alphas, PUBLISHED), composite(alphas), rtol=0, atol=0)


def test_gradients_in_double_precision(generator):
    """To colours, opacities, depths and the camera's place, with planes beside the picture and behind."""
    source = make_camera(2, 2, (3.0, 3.5))
    target = moved_camera(width=2, height=1, focal=(2.0, 2.5), middle=(0.9, 0.6), at=(0.1, 0.05, 1.8))
    for kind in ("density", "alpha"):
        image = make_image(generator, 3, kind, source)

        def values(rgb, opacity, z_depth, place, kind=kind):
            pose = torch.cat((target.camera_to_world[:, :3], F.pad(place, (0, 1), value=1.0)[:, None]), 1)
            seen = render(
                MultiplaneImage(rgb, opacity, z_depth, source, kind),
                replace(target, camera_to_world=pose),
                ("rgb", "opacity", "z_depth"),
            )
            own = composite(MultiplaneImage(rgb, opacity, z_depth, source, kind))
            return seen.rgb, seen.opacity, seen.z_depth, own.rgb, own.z_depth

        place = target.centres.clone()
        leaves = [x.requires_grad_() for x in (image.rgb, image.opacity, image.z_depth, place)]
        assert torch.autograd.gradcheck(values, leaves)


def test_gradients_are_finite_at_walls_and_in_the_void(generator):
    for kind, wall in (("density", 1e30), ("alpha", 1.0)):
        image = make_image(generator, kind=kind, dtype=torch.float32)
        opacity = torch.where(image.opacity < 0.4, 0, wall).requires_grad_()
        seen = render(replace(image, opacity=opacity), moved_camera(at=(0.1, 0.0, 2.0)), ("rgb", "z_depth"))
        (seen.rgb.sum() + seen.z_depth.sum()).backward()
        assert opacity.grad.isfinite().all()


@pytest.mark.parametrize("kind", ["density", "alpha"])
def test_the_order_in_which_planes_are_given_does_not_matter(kind, generator):
    image = make_image(generator, kind=kind)
    order = torch.tensor([3, 0, 4, 2, 1])
    mixed = MultiplaneImage.sorted(
        image.rgb[order], image.opacity[order], image.z_depth[order], image.camera, kind
    )
    assert torch.equal(render(mixed, moved_camera()).rgb, render(image, moved_camera()).rgb)


def test_an_empty_plane_changes_nothing(generator):
    """Of alpha planes; of densities it ends the interval before it, unless that plane is empty, too."""
    for kind in ("alpha", "density"):
        image = make_image(generator, kind=kind)
        opacity = image.opacity.clone()
        opacity[2] *= kind == "alpha"
        image = replace(image, opacity=opacity)
        between = (image.z_depth[2:3] + image.z_depth[3:4]) / 2

        def inserted(values, new):
            return torch.cat((values[:3], new, values[3:]))

        more = replace(
            image, rgb=inserted(image.rgb, image.rgb[:1]), z_depth=inserted(image.z_depth, between),
            opacity=inserted(image.opacity, torch.zeros_like(image.opacity[:1])),
        )  # fmt: skip
        few, many = (render(each, moved_camera(), ("rgb", "z_depth")) for each in (image, more))
        assert_close(many.rgb, few.rgb)
        assert_close(many.z_depth, few.z_depth)


def test_splitting_a_slab_of_density_changes_nothing(generator):
    """The plane again, half way to the next."""
    image = make_image(generator)
    between = (image.z_depth[1:2] + image.z_depth[2:3]) / 2
    target = make_camera(at=(0.0, 0.0, 0.4))
    flat = replace(  # without a pattern, which would be read at other pixels there
        image,
        rgb=image.rgb.mean((2, 3), keepdim=True).expand_as(image.rgb),
        opacity=image.opacity.mean((1, 2), keepdim=True).expand_as(image.opacity),
    )
    order = torch.tensor([0, 1, 1, 2, 3, 4])
    z_depth = torch.cat((flat.z_depth[:2], between, flat.z_depth[2:]))
    split = replace(flat, rgb=flat.rgb[order], opacity=flat.opacity[order], z_depth=z_depth)
    assert_close(render(split, target).rgb, render(flat, target).rgb)
    assert_close(composite(split).rgb, composite(flat).rgb)


def test_a_low_transmittance_ends_a_ray(generator):
    """Weights before the end are the same, and what is left out is no more than what was left."""
    image = make_image(generator, planes=12)
    image = replace(image, opacity=image.opacity * 3)
    whole = render(image, moved_camera(), ("rgb", "opacity", "samples"))
    cut = render(image, moved_camera(), ("rgb", "opacity", "samples"), lowest_transmittance=0.05)
    missing = whole.opacity - cut.opacity
    assert missing.max() > 0.01
    assert missing.max() < 0.05 and missing.min() >= 0
    assert ((whole.rgb - cut.rgb) <= missing[..., None] + 1e-12).all()
    assert (cut.samples <= whole.samples).all() and (cut.samples < whole.samples).any()


def test_the_source_blends_in_as_far_as_planes_are_seen(generator):
    """The first plane becomes the picture, and behind a wall nothing changes."""
    image = make_image(generator)
    opacity = image.opacity.clone()
    opacity[2] = 1e9
    image = replace(image, opacity=opacity)
    picture = torch.rand(3, HEIGHT, WIDTH, generator=generator, dtype=torch.float64)
    blended = blend_source(image, picture)
    assert_close(blended.rgb[0], picture)
    assert_close(blended.rgb[3:], image.rgb[3:])
    before = 1 - composite(image).weights[:1].sum(0)
    assert_close(blended.rgb[1], before * picture + (1 - before) * image.rgb[1])
    same = replace(image, rgb=picture.expand_as(image.rgb))
    assert_close(blend_source(same, picture).rgb, same.rgb)


def test_what_is_no_multiplane_image_is_refused(generator):
    image = make_image(generator)
    with pytest.raises(ValueError, match=r"z_depth must rise from plane to plane.*MultiplaneImage\.sorted"):
        replace(image, z_depth=image.z_depth.flip(0))
    for wrong in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="z_depth must be positive and finite"):
            replace(image, z_depth=torch.tensor([wrong, 2.0, 3.0, 4.0, 5.0]).double())
    with pytest.raises(ValueError, match="rgb has no planes"):
        replace(image, rgb=image.rgb[:0], opacity=image.opacity[:0], z_depth=image.z_depth[:0])
    with pytest.raises(ValueError, match=r"opacity must be \(5, 9, 13\)"):
        replace(image, opacity=image.opacity[:, 1:])
    with pytest.raises(ValueError, match="camera takes 12 x 9 pixels, the planes have 13 x 9"):
        replace(image, camera=make_camera(12, 9))
    with pytest.raises(ValueError, match="perspective without distortion"):
        replace(image, camera=make_camera(projection="fisheye"))
    with pytest.raises(ValueError, match="opacity_kind is one of density, alpha, got 'sigma'"):
        MultiplaneImage.sorted(image.rgb, image.opacity, image.z_depth, image.camera, "sigma")
    with pytest.raises(ValueError, match="outputs: 'normal' is no output of this method"):
        render(image, moved_camera(), ("normal",))
    with pytest.raises(ValueError, match="outside is one of border, empty, got 'zeros'"):
        render(image, moved_camera(), outside="zeros")
