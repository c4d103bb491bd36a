"""nerfacto: what teaches what, where it looks, and that a training can be stopped anywhere."""

import dataclasses

import pytest
import torch
from torch.testing import assert_close

from render.losses import interlevel
from render.methods.nerfacto import Nerfacto
from render.volume import midpoints, over_background
from scenes.generate import analytic
from scenes.layout import unbounded
from scenes.pixels import PixelSource
from scenes.rays import Rays
from scenes.scene import Bounds

SMALL = Nerfacto(
    rays=256,
    proposal_samples=(32, 24),
    samples=16,
    levels=4,
    log2_table_size=13,
    finest_resolution=96,
    proposal_levels=3,
    proposal_log2_table_size=12,
    proposal_resolutions=(32, 64),
)


@pytest.fixture(scope="module", params=["box", "unbounded"])
def scene(request):
    """The spheres, within 1.5 of the middle and seen from 4 away: in a box, or as part of all space."""
    plain = analytic.generate("spheres", width=40, views={"train": 12})["train"]
    return plain if request.param == "box" else dataclasses.replace(plain, bounds=unbounded(near=0.2))


@pytest.fixture(scope="module")
def pixels(scene):
    return PixelSource.from_scene(scene)


def built(config, scene, seed=0, backend="auto"):
    torch.manual_seed(seed)
    return config.build(scene, backend=backend)


def train(model, pixels, steps, generator=None, total=100):
    generator = generator or torch.Generator().manual_seed(1)
    first = int(model.steps)
    return [model.step(pixels, i / total, generator)["loss"] for i in range(first, first + steps)]


def copied(module):
    return [p.detach().clone() for p in module.parameters()]


def same(module, before):
    return [torch.equal(p, q) for p, q in zip(module.parameters(), before, strict=True)]


def test_a_little_training_shows_the_spheres_and_its_proposals_bound_them(scene, pixels):
    """Pictures in one grey score about 11 dB. Fresh proposals would leave out more of the field."""
    model, fresh = built(SMALL, scene), built(SMALL, scene).proposals
    generator = torch.Generator().manual_seed(0)
    values = [model.step(pixels, i / 120, generator)["psnr"] for i in range(120)]
    assert sum(values[-10:]) / 10 > 17
    rays = scene.cameras[1].rays().reshape(-1)[400:1200]

    @torch.no_grad()
    def left_out():
        samples = model.sample(rays)
        weights = model.look(rays, samples, model.field).weights
        return [float(interlevel(samples.s, weights, *proposal)) for proposal in samples.proposals]

    learnt = left_out()
    model.proposals = fresh
    for one, other in zip(learnt, left_out(), strict=True):
        assert one < 0.7 * other and other > 0.01


def test_resumed_training_is_the_uninterrupted_one_bit_for_bit(scene, pixels):
    """Through the steps in which proposals begin to learn only now and then."""
    config = dataclasses.replace(SMALL, rays=64, proposal_warmup=10)
    model, generator = built(config, scene), torch.Generator().manual_seed(1)
    train(model, pixels, 5, generator, total=40)
    state = {name: value.clone() for name, value in model.state().items()}
    random = generator.get_state()
    expected = train(model, pixels, 8, generator, total=40)

    other, generator = built(config, scene, seed=9), torch.Generator().manual_seed(1)
    other.load_state(state)
    generator.set_state(random)
    assert train(other, pixels, 8, generator, total=40) == expected
    final = model.state()
    assert all(torch.equal(value, final[name]) for name, value in other.state().items())


def test_the_proposals_learn_from_the_field_and_the_field_only_from_the_picture(scene, pixels):
    """Without their loss proposals stay as they are; with it, however large, the field learns the same."""
    state = built(SMALL, scene).state()
    state["field.grid.table"].mul_(3e4)  # a field with places to find
    before, fields = {name: value for name, value in state.items() if name.startswith("proposals")}, []
    for weight in (0.0, 1.0, 100.0):
        model = built(dataclasses.replace(SMALL, interlevel=weight, distortion=0.0), scene)
        model.load_state(state)
        train(model, pixels, 1)
        still = [torch.equal(model.state()[name], value) for name, value in before.items()]
        assert all(still) if weight == 0 else not any(still)
        fields.append(copied(model.field))
    assert all(map(torch.equal, fields[0], fields[1])) and all(map(torch.equal, fields[0], fields[2]))


def test_distortion_teaches_the_field(scene, pixels):
    one, other = (built(dataclasses.replace(SMALL, distortion=weight), scene) for weight in (0.0, 1.0))
    for model in (one, other):
        train(model, pixels, 2)
    assert not any(same(one.field, copied(other.field))[:2])


def test_proposals_rest_in_most_steps_after_their_warm_up(scene, pixels):
    config = dataclasses.replace(SMALL, proposal_every=3, proposal_warmup=90, rays=64)
    learning = [config.proposals_learn_at(step) for step in range(120)]
    assert all(learning[:40]) and learning[50:58] == [True, False] * 4
    assert learning[90:99] == [True, False, False] * 3
    model = built(config, scene)
    train(model, pixels, 10)
    model.steps.fill_(100)
    before, field = copied(model.proposals), copied(model.field)
    train(model, pixels, 1, total=200)
    assert all(same(model.proposals, before)) and not any(same(model.field, field))


def test_early_samples_stand_evenly_and_late_ones_follow_the_weights(scene, pixels):
    model = built(SMALL, scene)
    train(model, pixels, 20)
    rays = scene.cameras[1].rays().reshape(-1)[600:1000]
    spread = []
    with torch.no_grad():
        for anneal in (0.0, 1.0):
            s = model.sample(rays, anneal).s
            hit = s[:, -1] > 0
            spread.append(s[hit].diff(dim=-1).std(dim=-1).mean())
    assert spread[0] < 1e-6 and spread[1] > 1e-3


def test_same_seed_same_bits_and_the_same_picture(scene, pixels):
    models = [built(SMALL, scene) for _ in range(2)]
    losses = [train(model, pixels, 4, torch.Generator().manual_seed(2)) for model in models]
    assert losses[0] == losses[1]
    pictures = [model.render(scene.cameras[0]).rgb for model in (*models, models[0])]
    assert torch.equal(pictures[0], pictures[1]) and torch.equal(pictures[0], pictures[2])


def test_both_backends_show_the_same_and_learn_the_same(scene, pixels):
    config = dataclasses.replace(SMALL, rays=64)
    one, other = built(config, scene, backend="kernels"), built(config, scene, backend="reference")
    train(one, pixels, 20)
    other.load_state(one.state())
    pictures = [model.render(scene.cameras[0], ("rgb", "distance")) for model in (one, other)]
    assert_close(pictures[0].rgb, pictures[1].rgb, atol=2e-3, rtol=0)
    assert_close(train(one, pixels, 1), train(other, pixels, 1), rtol=1e-3, atol=0)


def test_a_picture_shows_the_given_background_through_what_is_not_opaque(scene):
    model, camera = built(SMALL, scene), scene.cameras[0]
    black = model.render(camera, ("rgb", "opacity"), background=(0.0, 0.0, 0.0))
    blue = model.render(camera, background=(0.0, 0.0, 1.0))
    assert_close(blue.rgb, over_background(black.rgb, black.opacity, torch.tensor([0.0, 0.0, 1.0])))
    assert black.opacity.min() < 0.9


def test_random_backgrounds_are_for_pictures_with_alpha(scene, generator):
    assert built(SMALL, scene).training_background(50, generator).std() > 0.2
    opaque = dataclasses.replace(scene, has_alpha=False, background=None)
    assert_close(built(SMALL, opaque).training_background(50, generator), torch.zeros(1, 3))
    own = dataclasses.replace(SMALL, background="scene")
    assert_close(built(own, scene).training_background(50, generator), torch.ones(1, 3))


def test_in_a_box_rays_are_read_from_face_to_face(scene, generator):
    """Also in a box that is no cube, and from within it; a ray that misses it shows the background."""
    box = Bounds((-1, -0.5, 0), (1, 0.5, 3), near=0.3, far=9.0)
    model = built(SMALL, dataclasses.replace(scene, bounds=box))
    low, high = torch.tensor(box.minimum), torch.tensor(box.maximum)
    directions = torch.nn.functional.normalize(torch.randn(500, 3, generator=generator), dim=-1)
    origins = 2 * torch.randn(500, 3, generator=generator)
    rays = Rays(origins, directions)
    near, far = model.near_and_far(rays)
    hit = far > near
    assert 20 < int(hit.sum()) < 480
    inside = ((origins >= low) & (origins <= high)).all(dim=-1)
    assert (near[inside] == 0).all() and inside.any()

    def beyond(points):  # how far outside of the box, largest axis; 0 on its faces
        return torch.maximum(low - points, points - high).amax(dim=-1)

    entry, leave = beyond(rays.at(near))[hit & ~inside], beyond(rays.at(far))[hit]
    assert_close(entry, torch.zeros_like(entry), atol=1e-5, rtol=0)
    assert_close(leave, torch.zeros_like(leave), atol=1e-5, rtol=0)
    missing = model.render_rays(rays[~hit], ("rgb", "opacity"), background=(0.1, 0.2, 0.3))
    assert (missing.opacity == 0).all()
    assert_close(missing.rgb, torch.tensor([0.1, 0.2, 0.3]).expand_as(missing.rgb))


def test_without_a_box_samples_reach_from_near_to_far_and_most_are_near(scene):
    model = built(SMALL, dataclasses.replace(scene, bounds=unbounded(near=0.2)))
    rays = scene.cameras[0].rays().reshape(-1)[:50]
    with torch.no_grad():
        samples = model.sample(rays, anneal=0.0)
    assert_close(samples.edges[:, 0], torch.full((50,), 0.2))
    assert_close(samples.edges[:, -1], torch.full((50,), 1000.0), rtol=1e-3, atol=0)
    first = midpoints(model.sample(rays, anneal=0.0).proposals[0].s)
    assert_close((first < 0.445).double().mean(), torch.tensor(0.44).double(), atol=0.02, rtol=0)
    assert 0.3 < float((samples.distances < 1).double().mean()) < 0.5, "one box away: half of them, less near"


def test_learning_rate_follows_the_schedule(scene, pixels):
    model = built(dataclasses.replace(SMALL, rays=64, learning_rate=1e-3, final_learning_rate=0.01), scene)
    for schedule, rate in ((0.0, 1e-3), (0.5, 1e-4), (1.0, 1e-5)):
        model.step(pixels, schedule, torch.Generator().manual_seed(1))
        assert model.optimizer.param_groups[0]["lr"] == pytest.approx(rate)


def test_state_has_all_names_from_the_start_and_other_settings_are_refused(scene, pixels):
    model = built(SMALL, scene)
    before = set(model.state())
    train(model, pixels, 1)
    assert set(model.state()) == before
    with pytest.raises(ValueError, match=r"state: field\.grid\.table .* these settings want"):
        model.load_state(built(dataclasses.replace(SMALL, features=2), scene).state())


def test_paper_preset_is_nerfactos():
    """The grid has as many values as the one that tiny-cuda-nn reports for nerfacto."""
    settings = {**Nerfacto.PRESETS["paper"]}
    assert settings.pop("steps") == 30_000
    config = Nerfacto(**settings)
    assert config.field.grid.parameter_count == 12_196_240
    assert (config.rays, config.proposal_samples, config.samples) == (4096, (256, 96), 48)
    assert [grid.finest_resolution for grid in config.proposal_grids] == [128, 256]
    assert config.learning_rate * config.final_learning_rate == pytest.approx(1e-2 * 0.5012, rel=1e-3)


def test_every_preset_fits():
    for preset in Nerfacto.PRESETS.values():
        settings = {name: value for name, value in preset.items() if name not in ("steps", "seconds")}
        Nerfacto(**settings)


def test_samples_for_another_number_of_proposals_are_refused():
    with pytest.raises(ValueError, match=r"proposal_samples \(64,\).*one number a proposal"):
        Nerfacto(proposal_samples=(64,))
