"""A model renders, and is loaded, in several threads at a time, and each gets what one alone would get."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

import render
from scenes.generate.analytic import generate
from scenes.pixels import PixelSource
from tests.render.test_density import BACKENDS, CONFIGS, trained


@pytest.fixture(scope="module")
def scene():
    return generate("spheres", width=40, views={"train": 12})["train"]


@pytest.mark.parametrize(("name", "backend"), BACKENDS)
def test_four_threads_get_the_pixels_of_one(scene, name, backend):
    model = trained(CONFIGS[name], backend, scene, PixelSource.from_scene(scene), steps=20)
    cameras = list(scene.cameras.scaled(1 if backend == "kernels" else 3)) * 3
    alone = [model.render(camera, ("rgb", "z_depth")) for camera in cameras[:12]] * 3
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda camera: model.render(camera, ("rgb", "z_depth")), cameras))
    assert len({float(picture.rgb.mean()) for picture in alone}) > 6, "the pictures differ"
    for one, other in zip(alone, together, strict=True):
        assert torch.equal(one.rgb, other.rgb) and torch.equal(one.z_depth, other.z_depth)


@pytest.mark.parametrize(("name", "backend"), BACKENDS)
def test_a_run_is_loaded_by_four_threads_at_once(scene, name, backend, tmp_path):
    """And what else draws random numbers in the meantime goes on undisturbed."""
    settings = {"log2_table_size": 12, "occupancy_resolution": 32, "first_samples": 4000}
    settings = settings if name == "ngp" else {"rays": 64}
    render.train(scene, name, steps=2, out=tmp_path / "run", backend=backend, **settings)
    camera = scene.cameras[0].scaled(4)
    alone = render.load(tmp_path / "run", backend=backend).render(camera).rgb
    torch.manual_seed(7)
    wanted = torch.rand(1)
    torch.manual_seed(7)
    with ThreadPoolExecutor(4) as threads:
        load = lambda _: render.load(tmp_path / "run", backend=backend).render(camera).rgb  # noqa: E731
        assert all(torch.equal(alone, other) for other in threads.map(load, range(4)))
    assert torch.equal(torch.rand(1), wanted)


def test_densities_and_gradients_of_four_threads_are_those_of_one(scene):
    model = trained(CONFIGS["ngp"], "auto", scene, PixelSource.from_scene(scene), steps=20)
    points = [torch.rand(3000, 3, generator=torch.Generator().manual_seed(i)) - 0.5 for i in range(8)]

    def slopes(where: torch.Tensor) -> torch.Tensor:
        asking = where.clone().requires_grad_()
        return torch.autograd.grad(model.density(asking).sum(), asking)[0]

    alone = [(model.density(where), slopes(where)) for where in points]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda where: (model.density(where), slopes(where)), points))
    for one, other in zip(alone, together, strict=True):
        assert all(torch.equal(mine, yours) for mine, yours in zip(one, other, strict=True))
