import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from fields.nerf import (
    NeRFField,
    PublishedNeRF,
    linear_of_both,
    load_keras_weights,
    load_published,
    save_published,
)
from tests.oracles import frequency_loop

# Names and shapes of a state dict that nerf-pytorch saves, at its own settings for synthetic scenes.
PUBLISHED = {
    "pts_linears.0": (256, 63),
    **{f"pts_linears.{i}": (256, 256) for i in (1, 2, 3, 4, 6, 7)},
    "pts_linears.5": (256, 319),
    "views_linears.0": (128, 283),
    "feature_linear": (256, 256),
    "alpha_linear": (1, 256),
    "rgb_linear": (3, 128),
}


def published_state(shapes, seed=0):
    """A synthetic checkpoint of these layers, as large as trained ones are."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, (out, inputs) in shapes.items():
        state[f"{name}.weight"] = torch.randn(out, inputs, generator=generator) * (2 / inputs) ** 0.5
        state[f"{name}.bias"] = torch.randn(out, generator=generator) * 0.1
    return state


def published_forward(state, points, directions, depth=8):
    """The published network by its formula: encode, concatenate after layer 4, heads. Raw colour, density."""
    encoded, view = (
        torch.tensor([frequency_loop(row.tolist(), frequencies) for row in x])
        for x, frequencies in ((points, 10), (directions, 4))
    )

    def layer(name, x):
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    h = encoded
    for i in range(depth):
        h = layer(f"pts_linears.{i}", h).clamp(min=0)
        h = torch.cat((encoded, h), -1) if i == 4 else h
    branch = torch.cat((layer("feature_linear", h), view), -1)
    branch = layer("views_linears.0", branch).clamp(min=0)
    return layer("rgb_linear", branch), layer("alpha_linear", h)[:, 0]


def unit(*shape, generator):
    return F.normalize(torch.randn(*shape, 3, generator=generator), dim=-1)


def test_has_the_papers_layers_and_parameter_count():
    state = NeRFField().state_dict()
    assert {name: tuple(value.shape) for name, value in state.items()} == {
        name: tuple(value.shape) for name, value in published_state(PUBLISHED).items()
    }
    assert sum(value.numel() for value in state.values()) == 595_844


def test_computes_what_the_published_network_computes(generator):
    state, field = published_state(PUBLISHED), NeRFField()
    field.load_state_dict(state)
    points, directions = torch.randn(20, 3, generator=generator), unit(20, generator=generator)
    density, rgb = field(points, directions)
    raw_rgb, raw_density = published_forward(state, points, directions)
    assert_close(rgb, raw_rgb.sigmoid(), atol=1e-4, rtol=0)
    assert_close(density, raw_density.relu(), atol=1e-3, rtol=1e-4)


def test_published_checkpoint_passes_through_unchanged(tmp_path):
    coarse, fine = published_state(PUBLISHED, 1), published_state(PUBLISHED, 2)
    path = tmp_path / "200000.tar"
    content = {"global_step": 200000, "network_fn_state_dict": coarse, "network_fine_state_dict": fine}
    torch.save({**content, "optimizer_state_dict": {"state": {}, "param_groups": []}}, path)
    published = load_published(path)
    assert published.step == 200000
    save_published(path, published)
    again = torch.load(path, weights_only=True)
    for name, states in (("network_fn_state_dict", coarse), ("network_fine_state_dict", fine)):
        assert list(again[name]) == list(published.coarse.state_dict())
        assert all(torch.equal(again[name][key], states[key]) for key in states)


@pytest.mark.parametrize(
    ("width", "depth", "points", "views"), [(64, 4, 10, 4), (32, 7, 6, 0), (48, 1, 0, 2)]
)
def test_size_of_a_checkpoint_follows_from_its_shapes(tmp_path, width, depth, points, views):
    field = NeRFField(width, depth, points, views)
    save_published(tmp_path / "x.tar", PublishedNeRF(field, None, 7))
    loaded = load_published(tmp_path / "x.tar")
    assert loaded.fine is None and loaded.step == 7
    x, d = torch.rand(5, 3), torch.rand(5, 3)
    assert all(torch.equal(a, b) for a, b in zip(loaded.coarse(x, d), field(x, d), strict=True))


def test_checkpoint_without_view_directions_loads_with_its_fifth_output(tmp_path):
    """nerf-pytorch gives such networks five outputs where there is a fine one, and a branch it never runs."""
    shapes = {name: shape for name, shape in PUBLISHED.items() if name.startswith("pts")}
    state = published_state({**shapes, "views_linears.0": (128, 256), "output_linear": (5, 256)})
    torch.save({"global_step": 1, "network_fn_state_dict": state}, tmp_path / "x.tar")
    field = load_published(tmp_path / "x.tar").coarse
    points = torch.rand(4, 3)
    density, rgb = field(points, torch.rand(4, 3))
    raw = field.output_linear(field.trunk(points))
    assert_close(density, raw[:, 3].relu())
    assert_close(rgb, raw[:, :3].sigmoid())
    assert_close(field.density(points), density)


def test_keras_order_is_trunk_feature_views_rgb_alpha(generator):
    state, field = published_state(PUBLISHED, 3), NeRFField()
    names = [f"pts_linears.{i}" for i in range(8)]
    names += ["feature_linear", "views_linears.0", "rgb_linear", "alpha_linear"]
    arrays = []
    for name in names:
        arrays += [state[f"{name}.weight"].T.numpy(), state[f"{name}.bias"].numpy()]
    load_keras_weights(field, arrays)
    assert all(torch.equal(value, state[name]) for name, value in field.state_dict().items())


def test_keras_weights_of_another_size_are_refused():
    with pytest.raises(ValueError, match="expected 24 arrays for this field, got 3"):
        load_keras_weights(NeRFField(), [torch.zeros(1).numpy()] * 3)
    arrays = [p.detach().numpy().T for p in NeRFField(width=64).parameters()]
    with pytest.raises(ValueError, match=r"array 0 is \(63, 64\), the field wants \(63, 256\)"):
        load_keras_weights(NeRFField(), arrays)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no zip", b"no tensors"])
def test_other_files_are_refused_by_name(tmp_path, content):
    path = tmp_path / "foreign.tar"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"foreign\.tar: not a checkpoint of nerf-pytorch"):
        load_published(path)


def test_one_direction_a_ray_is_that_direction_at_each_sample(generator):
    field = NeRFField(width=16, depth=6, skip=2)
    points, directions = torch.randn(5, 9, 3, generator=generator), unit(5, 1, generator=generator)
    per_ray, per_sample = field(points, directions), field(points, directions.expand(5, 9, 3))
    assert_close(per_ray.density, per_sample.density)
    assert_close(per_ray.rgb, per_sample.rgb)


def test_density_alone_is_that_of_both_and_does_not_see_the_direction(generator):
    field = NeRFField(width=16, depth=3)
    points, directions = torch.randn(50, 3, generator=generator), unit(50, generator=generator)
    assert_close(field.density(points), field(points, directions).density)
    assert_close(field(points, -directions).density, field(points, directions).density)
    assert not torch.allclose(field(points, -directions).rgb, field(points, directions).rgb)


@pytest.mark.parametrize("activation", ["relu", "softplus"])
def test_density_is_never_negative(activation, generator):
    field = NeRFField(width=8, depth=2, density_activation=activation)
    assert (field.activate(20 * torch.randn(1000, generator=generator)) >= 0).all()


def test_linear_of_both_is_linear_of_the_two_side_by_side(generator):
    linear = nn.Linear(7, 4).double()
    first = torch.randn(6, 3, generator=generator, dtype=torch.float64)
    second = torch.randn(6, 4, generator=generator, dtype=torch.float64)
    assert_close(linear_of_both(linear, first, second), linear(torch.cat((first, second), -1)))
