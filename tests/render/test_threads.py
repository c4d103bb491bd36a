"""A model renders for several threads at a time, and each gets the picture that one alone would get."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from fields.kernels.library import kernels_available
from render.methods.ngp import NGP
from scenes.generate.analytic import generate
from scenes.pixels import PixelSource

BACKENDS = ("reference", *(("kernels",) if kernels_available() else ()))


@pytest.mark.parametrize("backend", BACKENDS)
def test_four_threads_get_the_pixels_of_one(backend):
    scene = generate("spheres", width=40, views={"train": 12})["train"]
    torch.manual_seed(0)
    model = NGP(log2_table_size=12, occupancy_resolution=32, first_samples=4000, last_samples=4000).build(
        scene, backend=backend
    )
    pixels, generator = PixelSource.from_scene(scene), torch.Generator().manual_seed(0)
    for step in range(20):
        model.step(pixels, step / 20, generator)
    cameras = list(scene.cameras) * 4
    alone = [model.render(camera, ("rgb", "z_depth")) for camera in cameras[:12]] * 4
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda camera: model.render(camera, ("rgb", "z_depth")), cameras))
    assert len({float(picture.rgb.mean()) for picture in alone}) > 6, "the pictures differ"
    for one, other in zip(alone, together, strict=True):
        assert torch.equal(one.rgb, other.rgb) and torch.equal(one.z_depth, other.z_depth)
