import dataclasses

import pytest
import torch
from torch.testing import assert_close

from fields.nerf import NeRFField, PublishedNeRF, save_published
from render.methods.nerf import NeRF, published_model, resolve_precision
from render.volume import over_background
from scenes.cameras import Cameras
from scenes.generate.analytic import generate
from scenes.pixels import PixelSource
from tests.oracles import published_nerf_picture

SMALL = NeRF(rays=64, coarse_samples=8, fine_samples=8, width=16, depth=2, precision="float32")


@pytest.fixture(scope="module")
def scene():
    return generate("spheres", width=32, views={"train": 6})["train"]


@pytest.fixture(scope="module")
def pixels(scene):
    return PixelSource.from_scene(scene)


def build(config, scene, seed=0):
    torch.manual_seed(seed)
    return config.build(scene)


def train(model, pixels, steps, generator):
    return [model.step(pixels, i / 100, generator)["loss"] for i in range(steps)]


def test_published_weights_render_as_published(scene, tmp_path):
    """Against the published procedure written out in its own z, its own rays and its own order."""
    torch.manual_seed(3)
    coarse, fine = NeRFField(width=32, depth=6), NeRFField(width=32, depth=6)
    for field in (coarse, fine):
        field.alpha_linear.bias.data += 0.3  # neither empty nor opaque
    save_published(tmp_path / "x.tar", PublishedNeRF(coarse, fine, 1))
    model = published_model(tmp_path / "x.tar", scene, coarse_samples=12, fine_samples=9).double()

    width = height = 7
    pose = scene.cameras[1].camera_to_world.double()
    left, _, right = torch.linalg.svd(pose[:3, :3])
    pose[:3, :3] = left @ right  # a rotation in float64 too
    focal, centre = (torch.tensor(value, dtype=torch.float64) for value in (9.7, width / 2 + 0.5))
    camera = Cameras(pose, focal, focal, centre, centre, width, height)
    picture = model.render(camera).rgb

    y, x = torch.meshgrid(torch.arange(7.0).double(), torch.arange(7.0).double(), indexing="ij")
    local = torch.stack(((x - width / 2) / focal, (y - height / 2) / focal, torch.ones_like(x)), dim=-1)
    directions = local.reshape(-1, 3) @ camera.camera_to_world[:3, :3].T

    def raw_field(field):
        return lambda p, d: (field.alpha_linear(field.trunk(p))[..., 0], field(p, d).rgb)

    fields = raw_field(model.coarse), raw_field(model.fine)
    origins = camera.camera_to_world[:3, 3].expand_as(directions)
    with torch.no_grad():
        expected = published_nerf_picture(*fields, origins, directions, 2.0, 6.0, (12, 9))
    assert_close(picture.reshape(-1, 3), expected, atol=1e-7, rtol=0)
    assert picture.std() > 0.01


def test_steps_reduce_the_loss(scene, pixels, generator):
    losses = train(build(dataclasses.replace(SMALL, learning_rate=5e-3), scene), pixels, 100, generator)
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10])


@pytest.mark.parametrize("changes", [{}, {"fine_samples": 0}, {"rule": "published", "precrop": 0.02}])
def test_resumed_training_is_the_uninterrupted_one_bit_for_bit(scene, pixels, changes):
    config, generator = dataclasses.replace(SMALL, **changes), torch.Generator().manual_seed(1)
    model = build(config, scene)
    train(model, pixels, 3, generator)
    state = {name: value.clone() for name, value in model.state().items()}
    random = generator.get_state()
    expected = train(model, pixels, 3, generator)

    other, generator = build(config, scene, seed=9), torch.Generator()
    other.load_state(state)
    generator.set_state(random)
    assert train(other, pixels, 3, generator) == expected
    final = model.state()
    assert all(torch.equal(value, final[name]) for name, value in other.state().items())


def test_state_of_an_untrained_model_has_all_names(scene, pixels, generator):
    model = build(SMALL, scene)
    before = set(model.state())
    train(model, pixels, 1, generator)
    assert set(model.state()) == before
    published = {name for name in before if not name.startswith("optimizer.")}
    layers = NeRFField(width=16, depth=2).state_dict()
    assert published == {f"{network}.{name}" for network in ("coarse", "fine") for name in layers}


def test_state_of_other_settings_is_refused(scene):
    model = build(SMALL, scene)
    with pytest.raises(ValueError, match=r"state: coarse\..* these settings want"):
        model.load_state(build(dataclasses.replace(SMALL, width=8), scene).state())
    with pytest.raises(ValueError, match=r"state: fine\..* is missing"):
        model.load_state(build(dataclasses.replace(SMALL, fine_samples=0), scene).state())


def test_same_seed_same_bits(scene, pixels):
    runs = [train(build(SMALL, scene), pixels, 4, torch.Generator().manual_seed(2)) for _ in range(2)]
    assert runs[0] == runs[1]


def test_learning_rate_follows_the_schedule(scene, pixels, generator):
    model = build(dataclasses.replace(SMALL, learning_rate=1e-3, final_learning_rate=0.01), scene)
    for schedule, rate in ((0.0, 1e-3), (0.5, 1e-4), (1.0, 1e-5)):
        model.step(pixels, schedule, generator)
        assert model.optimizer.param_groups[0]["lr"] == pytest.approx(rate)


def test_precrop_draws_the_middle_half_of_the_pictures(scene, pixels):
    model = build(dataclasses.replace(SMALL, precrop=0.1), scene)
    rays, _, _ = model.draw(pixels, 0.05, seed=4)
    assert len(rays) == 64
    cameras = scene.cameras
    nearest = (rays.origins[:, None] - cameras.centres).norm(dim=-1).argmin(-1)
    seen, _ = cameras[nearest].project(rays.at(torch.ones(64)))
    assert ((seen - 16).abs() < 8).all()
    rays, _, _ = model.draw(pixels, 0.1, seed=4)
    nearest = (rays.origins[:, None] - cameras.centres).norm(dim=-1).argmin(-1)
    seen, _ = cameras[nearest].project(rays.at(torch.ones(64)))
    assert ((seen - 16).abs() > 8).any()


def test_random_backgrounds_are_for_pictures_with_alpha(scene, generator):
    config = dataclasses.replace(SMALL, background="random")
    assert build(config, scene).training_background(50, generator).std() > 0.2
    opaque = dataclasses.replace(scene, has_alpha=False, background=None)
    assert_close(build(config, opaque).training_background(50, generator), torch.zeros(1, 3))
    own = dataclasses.replace(config, background="scene")
    assert_close(build(own, scene).training_background(50, generator), torch.ones(1, 3))


def test_picture_shows_the_given_background_through_what_is_not_opaque(scene):
    model, camera = build(SMALL, scene), scene.cameras[0]
    black = model.render(camera, ("rgb", "opacity"), background=(0.0, 0.0, 0.0))
    blue = model.render(camera, background=(0.0, 0.0, 1.0))
    assert_close(blue.rgb, over_background(black.rgb, black.opacity, torch.tensor([0.0, 0.0, 1.0])))


def test_without_positional_encoding_the_networks_see_three_numbers(scene):
    model = build(dataclasses.replace(SMALL, position_frequencies=0, direction_frequencies=0), scene)
    assert model.coarse.pts_linears[0].in_features == 3
    assert model.coarse.views_linears[0].in_features == 16 + 3


def test_published_rule_measures_near_and_far_along_the_axis(scene):
    camera = scene.cameras[0]
    rays, forward = camera.rays().reshape(-1), camera.camera_to_world[:3, 2]
    along_axis = build(dataclasses.replace(SMALL, rule="published"), scene).near_and_far(rays, forward)
    for distance, z_depth in zip(along_axis, (2.0, 6.0), strict=True):
        assert_close(camera.project(rays.at(distance))[1], torch.full((len(rays),), z_depth))
    near, far = build(SMALL, scene).near_and_far(rays, forward)
    assert (near == 2).all() and (far == 6).all()


def test_paper_preset_is_the_papers():
    paper = {**NeRF.PRESETS["paper"]}
    assert paper.pop("steps") == 500_000
    config = NeRF(**paper)
    assert (config.coarse_samples, config.fine_samples, config.rays) == (64, 128, 1024)
    assert sum(p.numel() for p in config.network().parameters()) == 595_844
    assert (config.learning_rate, config.final_learning_rate) == (5e-4, 0.1)


def test_every_preset_names_its_steps_and_fits():
    for preset in NeRF.PRESETS.values():
        settings = dict(preset)
        assert settings.pop("steps") > 0
        NeRF(**settings)


def test_backend_that_it_does_not_have_is_refused(scene):
    with pytest.raises(ValueError, match=r"'kernels'.*reference or auto"):
        SMALL.build(scene, backend="kernels")


def test_precision_is_settled_once_and_told(scene):
    assert resolve_precision("float32", torch.device("cpu")) == "float32"
    assert resolve_precision("auto", torch.device("cpu")) in ("float32", "bfloat16")
    description = build(SMALL, scene).description()
    assert description["precision"] == "float32"
    assert description["parameters"] == 2 * sum(p.numel() for p in SMALL.network().parameters())


def test_bfloat16_networks_show_nearly_the_same(scene):
    full = build(SMALL, scene)
    reduced = build(dataclasses.replace(SMALL, precision="bfloat16"), scene)
    pictures = [model.render(scene.cameras[0]).rgb for model in (full, reduced)]
    difference = (pictures[1] - pictures[0]).abs()
    assert difference.max() < 0.05 and difference.mean() < 0.005
