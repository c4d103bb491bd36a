"""Cameras learn from what is rendered: gradients are slopes on every backend, and cost no memory."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from render.methods import nerf, nerfacto, ngp_composed
from render.methods.base import RayModel
from render.methods.nerf_space import Space
from scenes.cameras import Cameras
from scenes.generate.analytic import generate
from scenes.layout import frustum_of, unbounded
from scenes.pixels import PixelSource
from scenes.rays import Rays
from tests.render.test_density import BACKENDS, CONFIGS, KERNELS, trained

OUTPUTS = ("rgb", "opacity", "distance", "z_depth")


@pytest.fixture(scope="module")
def scene():
    return generate("spheres", width=40, views={"train": 12})["train"]


@pytest.fixture(scope="module")
def pixels(scene):
    return PixelSource.from_scene(scene)


@pytest.fixture(scope="module", params=BACKENDS, ids="-".join)
def model(request, scene, pixels):
    name, backend = request.param
    return trained(CONFIGS[name], backend, scene, pixels)


@pytest.fixture
def camera(scene) -> Cameras:
    """One with few pixels, to the side of its picture's middle, behind a lens that bends."""
    small = scene.cameras[3].scaled(4)
    return replace(small, cx=small.cx + 0.7, distortion=torch.tensor([-0.1, 0.02, 1e-3, -2e-3, 0, 0, 0, 0]))


def free(camera: Cameras) -> Cameras:
    """The same camera, all of whose numbers ask for a gradient."""
    names = ("camera_to_world", "fx", "fy", "cx", "cy", "distortion")
    given = {name: getattr(camera, name) for name in names}
    return replace(
        camera, **{n: value.clone().requires_grad_() for n, value in given.items() if value is not None}
    )


def numbers(camera: Cameras) -> list[torch.Tensor]:
    return [value for value in camera._arrays().values() if value.requires_grad]


def weighed(seen, seed=5):
    """One number of all that was rendered, in which every pixel counts for another share."""
    generator = torch.Generator().manual_seed(seed)
    values = [getattr(seen, name) for name in OUTPUTS]
    return sum((value * torch.rand(value.shape, generator=generator).to(value)).sum() for value in values)


def gradients(model: RayModel, camera: Cameras, **settings) -> list[torch.Tensor]:
    asking = free(camera)
    return torch.autograd.grad(weighed(model.render(asking, OUTPUTS, **settings)), numbers(asking))


def flat(values) -> torch.Tensor:
    return torch.cat([value.flatten() for value in values])


def test_asking_for_gradients_changes_no_bit_of_a_picture(model, camera):
    plain, asked = (model.render(each, (*OUTPUTS, "samples", "normal")) for each in (camera, free(camera)))
    assert plain.opacity.std() > 0.01
    for name in OUTPUTS:
        value = getattr(asked, name)
        assert value.requires_grad and not getattr(plain, name).requires_grad
        assert torch.equal(value.detach(), getattr(plain, name)), name
    assert torch.equal(asked.samples, plain.samples) and not asked.samples.requires_grad
    with torch.no_grad():
        assert not model.render(free(camera)).rgb.requires_grad


class HeldStill:
    """A function whose first answers are kept, and given again and again in their order."""

    def __init__(self, function):
        self.function, self.kept, self.calls, self.recording = function, [], 0, True

    def __call__(self, *arguments, **settings):
        if self.recording:
            self.kept.append(self.function(*arguments, **settings))
        self.calls += 1
        return self.kept[(self.calls - 1) % len(self.kept)]


SAMPLERS = {
    "ngp": [(ngp_composed, "march")],
    "nerf": [(nerf, "fine_samples"), (Space, "distances")],
    "nerfacto": [(nerfacto, "proposal_samples")],
}


def endless(scene, name):
    """The scene in a box, without an end, or (for nerf) seen by cameras that look all one way."""
    if name == "box":
        return scene
    bounds = unbounded(near=0.5)
    if name == "NDC":
        looking = Cameras.look_at(
            torch.rand(5, 3) + torch.tensor([0.0, -4.0, 0.0]), (0, 30, 0), (0, 0, 1), 8, 8, 50
        )
        bounds = replace(bounds, frustum=frustum_of(looking, 0.5))
    return replace(scene, bounds=bounds)


@pytest.mark.parametrize(
    ("name", "space"),
    [("ngp", "box"), ("ngp", "endless"), ("nerf", "box"), ("nerf", "endless"), ("nerf", "NDC"),
     ("nerfacto", "box"), ("nerfacto", "endless")],
)  # fmt: skip
def test_gradients_of_a_camera_are_slopes(scene, name, space, monkeypatch):
    """In float64, by central differences in every number of pose and intrinsics, with samples held still."""
    scene = endless(scene, space)
    settings = {"render_march_steps": 96, "lowest_weight": -1.0, "render_lowest_transmittance": 0.0}
    config = replace(CONFIGS[name], **(settings if name == "ngp" else {}))
    model = trained(config, "reference", scene, PixelSource.from_scene(scene))
    (model.field if name == "ngp" else model).double()
    camera = scene.cameras[3].scaled(5)
    camera = replace(camera, cx=camera.cx + 0.7).to("cpu", torch.float64)
    if space == "NDC":
        camera = Cameras.look_at((0.1, -4.0, 0.2), (0.0, 30.0, 0.0), (0.0, 0.0, 1.0), 8, 8, 40).to(
            "cpu", torch.float64
        )
    samplers = [HeldStill(getattr(*place)) for place in SAMPLERS[name]]
    for place, sampler in zip(SAMPLERS[name], samplers, strict=True):
        monkeypatch.setattr(*place, lambda *a, still=sampler, **s: still(*a, **s))
    start = model.render(camera, OUTPUTS)
    for sampler in samplers:
        sampler.recording = False
    assert start.rgb.dtype == torch.float64 and start.opacity.std() > 1e-3
    found = gradients(model, camera)
    slopes = []
    for number, value in enumerate(numbers(free(camera))):
        slope = torch.zeros_like(value)
        for place in range(min(value.numel(), 12)):  # the last row of a pose is no number
            ends = []
            for sign in (1, -1):
                nudged = free(camera)
                with torch.no_grad():
                    numbers(nudged)[number].view(-1)[place] += sign * 1e-8
                    ends.append(weighed(model.render(nudged, OUTPUTS)))
            slope.view(-1)[place] = (ends[0] - ends[1]) / 2e-8
        slopes.append(slope)
    for ours, wanted in zip(found, slopes, strict=True):
        assert (ours - wanted).norm() < 1e-4 * wanted.norm()
    assert all(slope.norm() > 0 for slope in slopes)


@pytest.mark.parametrize("backend", KERNELS)
@pytest.mark.parametrize("name", ["ngp", "nerfacto"])
@pytest.mark.parametrize("space", ["box", "endless"])
def test_the_kernels_have_the_gradients_of_the_reference(scene, name, space, backend):
    scene = endless(scene, space)
    model = trained(CONFIGS[name], backend, scene, PixelSource.from_scene(scene))
    reference = CONFIGS[name].build(scene, backend="reference")
    reference.load_state(model.state())
    found, wanted = (gradients(each, scene.cameras[3].scaled(2)) for each in (model, reference))
    for ours, theirs in zip(found, wanted, strict=True):
        assert (ours - theirs).norm() < 1e-2 * theirs.norm()


def test_a_picture_remembers_its_rays_and_no_sample(model, scene):
    """Bytes that autograd holds between the two passes, by pixel; a sample's alone would be hundreds."""
    held = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda value: held.append(value) or value, lambda value: value
    ):
        model.render(free(scene.cameras[0]), OUTPUTS)
    storages = {value.untyped_storage().data_ptr(): value.untyped_storage().nbytes() for value in held}
    assert sum(storages.values()) / 40**2 < 300


def test_chunks_do_not_change_a_gradient(model, camera, monkeypatch):
    whole = gradients(model, camera)
    monkeypatch.setattr(model, "rays_per_gradient", 16)
    for ours, wanted in zip(gradients(model, camera), whole, strict=True):
        assert_close(ours, wanted, rtol=2e-3, atol=1e-4 * float(wanted.abs().max()))


def test_no_parameter_learns_from_a_picture(model, camera):
    for parameter in model.parameters():
        parameter.grad = None
    weighed(model.render(free(camera), OUTPUTS)).backward()
    assert all(parameter.grad is None for parameter in model.parameters())


def test_rays_have_the_gradients_that_cameras_are_made_of(model, scene):
    """A camera that moves takes the origins of all its rays along."""
    camera = scene.cameras[3].scaled(4)
    pose = free(camera)
    (wanted,) = torch.autograd.grad(model.render(pose).rgb.sum(), pose.camera_to_world)
    rays = camera.rays().reshape(-1)
    origins, directions = (v.clone().requires_grad_() for v in (rays.origins, rays.directions))
    seen = model.render_rays(Rays(origins, directions), ("rgb", "opacity"))
    found, _ = torch.autograd.grad(seen.rgb.sum(), (origins, directions))
    assert_close(found.sum(dim=0), wanted[:3, 3], rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))


def test_several_cameras_learn_each_from_its_own_picture(model, scene):
    cameras = scene.cameras[[1, 4]].scaled(4)
    poses = cameras.camera_to_world.clone().requires_grad_()
    seen = model.render(replace(cameras, camera_to_world=poses), ("rgb",)).rgb
    (first,) = torch.autograd.grad(seen[0].sum(), poses, retain_graph=True)
    assert first[0].any() and not first[1].any()


def test_pixels_beyond_the_lens_spoil_no_gradient(model, scene):
    lens = torch.zeros(8)
    lens[0] = -0.3
    small = scene.cameras[3].scaled(2)
    bent = replace(small, fx=small.fx / 2, fy=small.fy / 2, distortion=lens)
    hidden = ~bent.rays().directions.isfinite().all(dim=-1)
    assert 0 < int(hidden.sum()) < 200
    found = gradients(model, bent, background=(0.1, 0.2, 0.3))
    assert all(bool(value.isfinite().all()) and bool(value.any()) for value in found)
