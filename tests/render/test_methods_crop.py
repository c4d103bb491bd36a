"""What a crop means, for every method: as if the scene had no density outside of it."""

import pytest
import torch

from render.methods import METHODS, method
from scenes.crop import Crop

SMALL = {
    "ngp": {"log2_table_size": 12, "occupancy_resolution": 32, "render_march_steps": 128},
    "nerf": {"coarse_samples": 24, "fine_samples": 24, "precision": "float32"},
    "nerfacto": {"log2_table_size": 12, "proposal_log2_table_size": 10},
}


@pytest.mark.parametrize("name", METHODS)
def test_a_crop_cuts_away_what_is_outside_and_nothing_else(name, toy_scene):
    torch.manual_seed(0)
    model = method(name)(**SMALL[name]).build(toy_scene)
    camera, outputs = toy_scene.cameras[0], ("rgb", "opacity", "distance", "samples")
    whole = model.render(camera, outputs)
    middle = torch.tensor([toy_scene.bounds.minimum, toy_scene.bounds.maximum]).mean(dim=0)
    assert float(whole.opacity.max()) > 0.05, "there must be something to cut"
    around = model.render(camera, outputs, crop=Crop(tuple(middle.tolist()), (99.0, 99.0, 99.0)))
    assert torch.equal(around.rgb, whole.rgb) and torch.equal(around.distance, whole.distance)
    beside = model.render(camera, outputs, (0.1, 0.2, 0.3), Crop((80.0, 0.0, 0.0), (1.0, 1.0, 1.0)))
    assert not beside.opacity.any() and not beside.distance.any()
    assert torch.equal(beside.rgb, torch.tensor([0.1, 0.2, 0.3]).expand_as(beside.rgb))
    side = float((torch.tensor(toy_scene.bounds.maximum) - middle)[0])
    small = Crop(tuple(middle.tolist()), (side, side, side))
    seen = model.render(camera, outputs, crop=small)
    # What is met lies in the box, up to half of its diagonal from its middle.
    met = seen.opacity > 1e-3
    points = camera.rays().at(seen.distance)[met]
    assert bool(met.any()) and float((points - middle).norm(dim=-1).max()) < 0.9 * side
    assert bool((seen.opacity <= whole.opacity + 1e-3).all())
    counted = whole.samples[met]
    assert counted.dtype == torch.int32 and bool((counted > 0).all())
