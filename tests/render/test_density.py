"""`model.density`: what fields hold per unit of whichever frame, of any number of points, differentiable."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from fields.kernels.library import kernels_available
from render.methods.nerf import NeRF
from render.methods.nerf_space import Space
from render.methods.nerfacto import Nerfacto
from render.methods.ngp import NGP
from scenes.cameras import Cameras
from scenes.generate.analytic import generate
from scenes.layout import frustum_of, unbounded
from scenes.pixels import PixelSource
from scenes.transforms import rotation_between, similarity, transform_points

KERNELS = ("kernels",) if kernels_available() else ()
CONFIGS = {
    "ngp": NGP(log2_table_size=12, occupancy_resolution=32, finest_resolution=128, precision="float32",
               first_samples=4000, last_samples=4000),
    "nerf": NeRF(rays=64, coarse_samples=8, fine_samples=8, width=32, depth=3, precision="float32"),
    "nerfacto": Nerfacto(rays=256, proposal_samples=(16, 16), samples=12, log2_table_size=12,
                         proposal_log2_table_size=12),
}  # fmt: skip
BACKENDS = [(name, "reference") for name in CONFIGS] + [(n, b) for n in ("ngp", "nerfacto") for b in KERNELS]
MOVE = similarity(
    0.3, rotation_between(torch.tensor([0.0, 0, 1]), torch.tensor([0.3, -0.5, 0.4])), torch.ones(3)
)


@pytest.fixture(scope="module")
def scene():
    """The spheres, as if they had been given in another frame and another unit."""
    return replace(generate("spheres", width=32, views={"train": 8})["train"], model_from_input=MOVE)


@pytest.fixture(scope="module")
def pixels(scene):
    return PixelSource.from_scene(scene)


def trained(config, backend, scene, pixels, steps=12):
    torch.manual_seed(0)
    model = config.build(scene, backend=backend)
    generator = torch.Generator().manual_seed(0)
    for step in range(steps):
        model.step(pixels, step / steps, generator)
    return model


@pytest.fixture(scope="module", params=BACKENDS, ids="-".join)
def model(request, scene, pixels):
    name, backend = request.param
    return trained(CONFIGS[name], backend, scene, pixels)


def some_points(generator, n=500, reach=1.4):
    return reach * (2 * torch.rand(n, 3, generator=generator) - 1)


def test_it_is_what_stops_rays(model, generator):
    """The density that pictures are made of, which is not the same everywhere."""
    points = some_points(generator, 4000, reach=0.9)
    density, field = model.density(points), getattr(model, "fine", None) or model.field
    assert bool((density >= 0).all()) and density.std() > 0.05 * density.mean()
    with torch.no_grad():
        assert_close(density, field(points, points).density, rtol=1e-3, atol=1e-4)


def test_any_shape_and_any_chunk_give_the_same(model, generator):
    points = some_points(generator, 60)
    whole = model.density(points)
    model.points_per_chunk = 8
    in_parts = model.density(points.view(3, 4, 5, 3)).flatten()
    del model.points_per_chunk
    assert_close(in_parts, whole, rtol=1e-5, atol=1e-6)
    assert model.density(points[:0]).shape == (0,) and model.density(points[7]).shape == ()
    assert torch.equal(model.density(points.double()), whole.double())


@pytest.mark.parametrize("name", CONFIGS)
def test_gradients_are_slopes(scene, pixels, name, generator):
    """Central differences in float64; a point in a hundred may lie by a kink (a cell, a rectifier)."""
    model = trained(CONFIGS[name], "reference", scene, pixels)
    (model.field if name == "ngp" else model).double()
    points = some_points(generator, 1000, reach=0.9).double().requires_grad_()
    values = model.density(points)
    assert values.dtype == torch.float64 and torch.equal(values.detach(), model.density(points.detach()))
    (gradient,) = torch.autograd.grad(values.sum(), points)
    step = 1e-7 * torch.eye(3).double()
    with torch.no_grad():
        slopes = [(model.density(points + each) - model.density(points - each)) / 2e-7 for each in step]
    errors = (torch.stack(slopes, dim=-1) - gradient).norm(dim=-1).sort().values
    assert errors[:-10].norm() < 1e-5 * gradient.norm() and gradient.norm() > 1


def test_no_parameter_learns_from_a_density_that_is_asked_for(model, generator):
    before = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    model.density(some_points(generator).requires_grad_()).sum().backward()
    for parameter, gradient in zip(model.parameters(), before, strict=True):
        assert parameter.grad is None if gradient is None else torch.equal(parameter.grad, gradient)
    with torch.no_grad():
        assert not model.density(some_points(generator).requires_grad_()).requires_grad


def test_chunks_that_are_computed_again_have_the_gradient_of_the_whole(model, generator):
    points, weights = some_points(generator, 300).requires_grad_(), torch.rand(300, generator=generator)
    (whole,) = torch.autograd.grad((model.density(points) * weights).sum(), points)
    model.points_per_chunk = 64
    (parts,) = torch.autograd.grad((model.density(points) * weights).sum(), points)
    del model.points_per_chunk
    assert_close(parts, whole, rtol=1e-4, atol=1e-6 * float(whole.abs().max()))


def test_the_input_frame_has_its_own_points_and_its_own_unit(model, generator):
    """An input unit is 0.3 model units long, so it holds 0.3 of what a model unit does."""
    points = some_points(generator, reach=0.9)
    there = transform_points(torch.linalg.inv(MOVE.double()), points.double())
    found = model.density(there, frame="input")
    assert_close(found, 0.3 * model.density(points).double(), rtol=1e-3, atol=1e-5)
    with pytest.raises(ValueError, match="frame 'world' is unknown; it is one of model, input"):
        model.density(points, frame="world")


def test_a_point_that_is_no_place_is_refused(model):
    points = torch.zeros(4, 3)
    points[2, 1] = torch.nan
    with pytest.raises(ValueError, match=r"points: \[0.0, nan, 0.0\] is not finite"):
        model.density(points)


def test_outside_of_its_box_a_grid_holds_nothing(scene, pixels):
    for name in ("ngp", "nerfacto"):
        model = trained(CONFIGS[name], "reference", scene, pixels, steps=1)
        outside = torch.tensor([[1.6, 0.0, 0.0], [0.0, -1.7, 0.0], [0.0, 0.0, 30.0]])
        assert not model.density(outside).any() and model.density(outside / 40).all()


@pytest.mark.parametrize("backend", KERNELS)
@pytest.mark.parametrize("name", ["ngp", "nerfacto"])
@pytest.mark.parametrize("endless", [False, True])
def test_the_kernels_find_the_densities_and_slopes_of_the_reference(scene, generator, endless, name, backend):
    bounds = unbounded(near=0.2) if endless else scene.bounds
    scene = replace(scene, bounds=bounds)
    model = trained(CONFIGS[name], backend, scene, PixelSource.from_scene(scene))
    reference = CONFIGS[name].build(scene, backend="reference")
    reference.load_state(model.state())
    points = some_points(generator, 3000, reach=4.0 if endless else 1.4).requires_grad_()
    densities = [each.density(points) for each in (model, reference)]
    assert_close(*densities, rtol=1e-4, atol=1e-5)
    slopes = [torch.autograd.grad(density.sum(), points)[0] for density in densities]
    errors = (slopes[0] - slopes[1]).norm(dim=-1).sort().values  # some lie on the faces of cells
    assert errors[: -len(errors) // 100].norm() < 1e-3 * slopes[1].norm()


def spaces(scene):
    looking = Cameras.look_at(torch.rand(5, 3), (0, 30, 0), (0, 0, 1), 40, 30, 50)
    endless = unbounded(near=0.5)
    return {
        "box": scene.bounds,
        "contracted": endless,
        "NDC": replace(endless, frustum=frustum_of(looking, 0.5)),
    }


@pytest.mark.parametrize("name", ["box", "contracted", "NDC"])
def test_density_per_model_unit_is_the_mean_of_what_rays_meet(scene, name, generator):
    """Rays measure the lengths of nerf's own space (`Space.edges`). Along the three axes into which a short
    step is stretched without turning, what they meet on a model unit has this geometric mean."""
    bounds = spaces(scene)[name]
    model = CONFIGS["nerf"].build(replace(scene, bounds=bounds))
    points = some_points(generator, 50, reach=6.0).double() + torch.tensor([0.0, 9.0 * (name == "NDC"), 0.0])
    space, model = Space(bounds), model.double()
    jacobian = torch.stack([torch.autograd.functional.jacobian(space.points, point) for point in points])
    axes = torch.linalg.svd(jacobian).Vh
    step = 1e-5
    met = torch.stack(
        [
            (space.points(points + step * axes[:, i]) - space.points(points)).norm(dim=-1) / step
            for i in range(3)
        ]
    )
    with torch.no_grad():
        wanted = model.fine.density(space.points(points)) * met.log().mean(dim=0).exp()
    assert_close(model.density(points), wanted, rtol=1e-4, atol=1e-12)
    assert (name == "box") == torch.equal(space.scale(points), torch.ones(50).double())


def test_before_a_frustum_begins_nothing_is_read(scene):
    bounds = spaces(scene)["NDC"]
    model, frustum = CONFIGS["nerf"].build(replace(scene, bounds=bounds)), bounds.frustum
    at = torch.tensor([-3.0, 0.0, 0.9 * frustum.near, 1.1 * frustum.near])
    points = torch.tensor(frustum.centre) + at[:, None] * torch.tensor(frustum.forward)
    assert (model.density(points) > 0).tolist() == [False, False, False, True]
    points.requires_grad_()
    model.density(points).sum().backward()
    assert bool(points.grad.isfinite().all())
