"""The public names. Whoever removes one, or adds one, edits this list and knows it."""

import inspect

import pytest

import render
from fields.base import FieldOutput
from render.methods import METHODS, method
from render.methods.base import Rendered
from scenes.cameras import Cameras
from scenes.rays import Rays
from scenes.scene import Bounds, Scene


def test_render_offers_exactly_these_names():
    assert render.__all__ == ["__version__", "load", "train"]
    assert dir(render) == sorted(render.__all__)
    for name in render.__all__:
        assert getattr(render, name)
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        _ = render.lode


def parameters(function) -> list[str]:
    return list(inspect.signature(function).parameters)


def test_the_library_calls_keep_their_arguments():
    assert parameters(render.load) == ["path", "device", "backend"]
    assert parameters(render.train) == [
        "scene", "method", "preset", "steps", "budget", "seed", "device", "backend", "downscale",
        "bounds", "hold_out", "memory", "out", "overwrite", "report", "settings",
    ]  # fmt: skip
    assert parameters(Cameras.look_at) == ["eye", "target", "up", "width", "height", "fov"]


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (Cameras, ["camera_to_world", "fx", "fy", "cx", "cy", "width", "height", "distortion", "projection"]),
        (Rays, ["origins", "directions"]),
        (Bounds, ["minimum", "maximum", "near", "far", "unbounded", "frustum"]),
        (Rendered, ["rgb", "opacity", "distance", "z_depth", "normal", "samples"]),
        (FieldOutput, ["density", "rgb"]),
    ],
)
def test_the_types_that_travel_keep_their_fields(kind, names):
    assert parameters(kind) == names


def test_a_scene_keeps_what_methods_read():
    read = {"name", "cameras", "images", "bounds", "background", "has_alpha", "source", "model_from_input"}
    assert read <= set(parameters(Scene))


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_presets_of_its_own_settings_and_a_length(name):
    kind = method(name)
    fields = set(parameters(kind))
    for preset in kind.PRESETS.values():
        assert preset["steps"] > 0 and set(preset) - {"steps", "seconds"} <= fields


@pytest.mark.parametrize("name", METHODS)
def test_every_model_does_what_the_trainer_asks(name):
    kind = method(name)
    assert parameters(kind.build)[:2] == ["self", "scene"] and {"device", "backend"} <= set(
        parameters(kind.build)
    )
