"""The kernel for multiplane images against its reference; tests/render/test_multiplane.py tests that one."""

import pytest
import torch

from fields.kernels.multiplane import epipolar_lines, multiplane, multiplane_op
from tests.fields.kernels.equality import assert_identical, assert_same

SIZES = {  # planes, height, width, rays
    "one pixel": (1, 1, 1, 1),
    "one column": (3, 7, 1, 40),
    "one row": (3, 1, 6, 40),
    "two by two": (2, 2, 2, 100),
    "more than a task": (5, 20, 31, 1500),
    "no rays": (4, 3, 3, 0),
}


def make_planes(planes, height, width, generator, dense=3.0):
    """White noise; a third of it empty."""
    values = torch.rand(planes, height, width, 4, generator=generator)
    values[..., 3] = dense * (values[..., 3] - 0.3).clamp(min=0)
    z_depth = 1 + torch.rand(planes, generator=generator).cumsum(0)
    return values.contiguous(), z_depth


def make_lines(rays, height, width, generator):
    """From about the source's place to its picture and beside it; some past planes, some turned away."""
    origins = torch.randn(rays, 3, generator=generator, dtype=torch.float64) * torch.tensor([0.3, 0.3, 1.0])
    directions = torch.randn(rays, 3, generator=generator, dtype=torch.float64)
    directions[:, 2] = directions[:, 2].abs() + 0.5
    directions[::7] *= -1
    directions = directions / directions.norm(dim=-1, keepdim=True)
    intrinsics = torch.tensor([1.2 * width, 1.1 * width, 0.47 * width, 0.55 * height])
    return epipolar_lines(origins, directions, intrinsics)


def compare(planes, z_depth, lines, *settings):
    """The kernel against the reference in double precision, whose own positions are exact."""
    actual = multiplane(planes, z_depth, lines, *settings, backend="kernels")
    expected = multiplane(planes.double(), z_depth.double(), lines, *settings)
    assert torch.equal(actual.samples, expected.samples)
    assert_same(list(actual[:3]), [x.float() for x in expected[:3]], "multiplane")
    return actual


@pytest.mark.parametrize("outside", ["border", "empty"])
@pytest.mark.parametrize("kind", ["density", "alpha"])
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_kernels_equal_the_reference(instruction_set, size, kind, outside, generator):
    *shape, rays = size
    planes, z_depth = make_planes(*shape, generator, dense=3.0 if kind == "density" else 1.4)
    lines = make_lines(rays, shape[1], shape[2], generator)
    seen = compare(planes, z_depth, lines, kind, outside)
    if rays >= 1500:  # that all of it happens
        assert seen.samples.unique().tolist() == [0, 1, 2, 3, 4, 5]
        assert seen.opacity.min() == 0 and seen.opacity.max() > 0.9


@pytest.mark.parametrize("kind, dense", [("density", 6.0), ("alpha", 1.4)])
@pytest.mark.parametrize("epsilon", [0.0, 1e-3])
@pytest.mark.parametrize("lowest", [0.0, 1e-4, 0.1, 0.9, 1.0])
def test_kernels_stop_where_the_reference_does(instruction_set, lowest, epsilon, kind, dense, generator):
    planes, z_depth = make_planes(12, 9, 14, generator, dense)
    compare(planes, z_depth, make_lines(700, 9, 14, generator), kind, "border", lowest, epsilon)


def test_kernels_give_the_same_bits_on_any_number_of_threads(instruction_set, with_threads, generator):
    planes, z_depth = make_planes(6, 40, 50, generator)
    lines = make_lines(9001, 40, 50, generator)

    def run():
        return list(multiplane(planes, z_depth, lines, backend="kernels"))

    first = run()
    for threads in (1, 2, 3, 7):
        again = with_threads(threads, run)
        assert_identical(again[:3], first[:3])
        assert torch.equal(again[3], first[3])


def test_what_a_ray_sees_does_not_depend_on_its_neighbours(instruction_set, generator):
    """Rays end together with those of their vector; alone they see the same bits."""
    planes, z_depth = make_planes(8, 10, 10, generator, dense=20.0)
    lines = make_lines(600, 10, 10, generator)
    together = multiplane(planes, z_depth, lines, lowest_transmittance=0.01, backend="kernels")
    for i in (0, 3, 511, 512, 599):
        alone = multiplane(planes, z_depth, lines[i : i + 1], lowest_transmittance=0.01, backend="kernels")
        for a, b in zip(alone, together, strict=True):
            assert torch.equal(a[0], b[i])


def test_a_position_is_exact_up_to_its_parallax(instruction_set, generator):
    """A picture as wide as pictures get, white noise: whole pixels are read as they stand."""
    planes = torch.rand(1, 2, 8192, 4, generator=generator)
    planes[..., 3] = 1
    there = torch.arange(8192, dtype=torch.float64) + 0.5
    lines = torch.stack((there, 3 + 0 * there, 0.5 + 0 * there, *[0 * there] * 2, 1 + 0 * there), dim=-1)
    seen = multiplane(planes, torch.tensor([1.5]), lines, "alpha", backend="kernels")
    moved = torch.arange(8192).add(2).clamp(max=8191)  # 3 / 1.5 pixels to the right
    assert torch.equal(seen.rgb, planes[0, 0, moved, :3])


def test_rays_far_beside_the_picture_read_its_border(instruction_set, generator):
    planes, z_depth = make_planes(2, 4, 5, generator)
    for far in (1e4, 1e7, 1e12, 1e30):
        lines = torch.tensor([[far, 0, 1.5, 0, 0, 1], [-far, 0, -far, 0, 0, 1], [0, far, 0, -far, 0, 1]])
        compare(planes, z_depth, lines.double(), "density", "border")
        assert not compare(planes, z_depth, lines.double(), "density", "empty").opacity.any()


def test_numbers_that_are_none_stay_within_the_picture(instruction_set, generator):
    """What comes back means nothing, but the process lives, and other rays see what they see."""
    planes, z_depth = make_planes(3, 4, 5, generator)
    lines = make_lines(64, 4, 5, generator)
    expected = multiplane(planes, z_depth, lines, backend="kernels")
    broken = lines.clone()
    for i, wrong in enumerate((torch.nan, torch.inf, -torch.inf)):
        broken[6 * i : 6 * i + 6] = torch.where(torch.eye(6, dtype=torch.bool), wrong, lines[:6])
    seen = multiplane(planes, z_depth, broken, backend="kernels")
    assert torch.equal(seen.rgb[18:], expected.rgb[18:])
    for depth in (0.0, -1.0, torch.nan, torch.inf):
        multiplane(planes, torch.tensor([1.0, depth, 2.0]), lines, backend="kernels")


@pytest.mark.parametrize("density", [0.0, 1e-9, 1e4, 1e30, 3e38])
def test_kernels_take_any_density(instruction_set, density, generator):
    planes, z_depth = make_planes(4, 6, 6, generator)
    planes[..., 3] = density
    seen = compare(planes, z_depth, make_lines(100, 6, 6, generator))
    assert seen.rgb.isfinite().all()


def test_torch_accepts_the_operator(generator):
    planes, z_depth = make_planes(3, 4, 5, generator)
    lines = make_lines(20, 4, 5, generator)
    torch.library.opcheck(multiplane_op, (planes, z_depth, lines, False, True, 1e-4, 0.0))


def test_what_the_kernels_do_not_take_is_named(generator):
    planes, z_depth = make_planes(3, 4, 5, generator)
    lines = make_lines(20, 4, 5, generator)
    with pytest.raises(ValueError, match=r"planes is torch\.float64"):
        multiplane(planes.double(), z_depth, lines, backend="kernels")
    with pytest.raises(ValueError, match=r"lines is torch\.float32"):
        multiplane(planes, z_depth, lines.float(), backend="kernels")
    with pytest.raises(ValueError, match="planes is not contiguous"):
        multiplane(planes.transpose(1, 2), z_depth, lines, backend="kernels")
    with pytest.raises(ValueError, match=r"z_depth has shape \(2,\); it must be \(3\)"):
        multiplane_op(planes, z_depth[:2].clone(), lines, False, False, 0.0, 0.0)
    with pytest.raises(ValueError, match="ask for a gradient"):
        multiplane(planes.requires_grad_(), z_depth, lines, backend="kernels")
    with pytest.raises(ValueError, match="kind is one of density, alpha, got 'sigma'"):
        multiplane(planes, z_depth, lines, "sigma")
    with pytest.raises(ValueError, match=r"lowest_transmittance is 2\.0; it must be from 0\.0 to 1\.0"):
        multiplane(planes, z_depth, lines, lowest_transmittance=2)
    with pytest.raises(ValueError, match="backend 'cuda' is unknown"):
        multiplane(planes, z_depth, lines, backend="cuda")
