"""The public names. Whoever removes one, or adds one, edits this list and knows it."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import render
from fields.base import FieldOutput
from render.methods import METHODS, method
from render.methods.base import Model, RayModel, Rendered
from scenes.cameras import Cameras
from scenes.crop import Crop
from scenes.formats.colmap_cameras import NamedCameras
from scenes.generate.analytic import generate
from scenes.rays import Rays
from scenes.scene import Bounds, Scene
from tools.multiplane.photo import Photo

RECORD = Path(__file__).parent / "public_api.txt"
PUBLIC = (Cameras, NamedCameras, Rays, Scene, Bounds, Crop, Model, RayModel, Rendered, FieldOutput, Photo)
OPERATORS = ("__len__", "__getitem__")


def test_render_offers_exactly_these_names():
    assert render.__all__ == ["__version__", "depth", "load", "photo", "train"]
    assert dir(render) == sorted(render.__all__)
    for name in render.__all__:
        assert getattr(render, name)
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        _ = render.lode


def parameters(function) -> list[str]:
    return list(inspect.signature(function).parameters)


def written(function: Callable[..., Any]) -> str:
    """A signature: names, kinds and defaults, without types; a function as a default is `...`."""
    signature = inspect.signature(function)
    plain = []
    for parameter in signature.parameters.values():
        default = parameter.default
        named = inspect.isfunction(default) or inspect.isclass(default)
        default = ... if named and default is not parameter.empty else default
        plain.append(parameter.replace(annotation=parameter.empty, default=default))
    text = str(signature.replace(parameters=plain, return_annotation=signature.empty))
    return text.replace("Ellipsis", "...")


def surface() -> list[str]:
    """What others may build upon, one line each: calls, types, and what these can be asked for."""
    lines = [f"render.{name}{written(getattr(render, name))}" for name in ("depth", "load", "photo", "train")]
    for kind in PUBLIC:
        lines.append(f"{kind.__name__}{'' if kind is Model else written(kind)}")
        for name, value in vars(kind).items():
            if isinstance(value, property):
                lines.append(f"{kind.__name__}.{name}")
            elif inspect.isroutine(getattr(kind, name)) and (not name.startswith("_") or name in OPERATORS):
                lines.append(f"{kind.__name__}.{name}{written(getattr(kind, name))}")
    return lines


def test_names_arguments_and_defaults_are_those_on_record():
    """After a change that is meant: python -m tests.test_api > tests/public_api.txt, and look at the diff."""
    assert surface() == RECORD.read_text().splitlines()


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


@pytest.mark.parametrize("name", METHODS)
def test_every_model_does_what_a_model_promises(name):
    """All of the protocol, with the same arguments and defaults."""
    model = method(name)().build(generate("planes", width=8, views={"train": 1})["train"])
    for asked, promise in vars(Model).items():
        if inspect.isfunction(promise) and not asked.startswith("_"):
            assert written(getattr(model, asked)) == written(promise).replace("(self, ", "(").replace(
                "(self)", "()"
            )


if __name__ == "__main__":
    print("\n".join(surface()))
