"""A scene and a method small enough to train in milliseconds."""

from pathlib import Path

import pytest

from render.methods import METHODS
from scenes.generate import analytic
from scenes.scene import Scene


@pytest.fixture(scope="session")
def toy_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scene on disk: 6 training and 3 test views of 24x24."""
    folder = tmp_path_factory.mktemp("scenes") / "toy"
    analytic.generate("spheres", folder, width=24, views={"train": 6, "test": 3}, supersampling=1)
    return folder


@pytest.fixture(scope="session")
def toy_scene() -> Scene:
    """The training views of the same scene, in memory."""
    return analytic.generate("spheres", width=24, views={"train": 6}, supersampling=1)["train"]


@pytest.fixture
def mean_method(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a method that learns one colour."""
    monkeypatch.setitem(METHODS, "mean", "tests.render.mean_colour:MeanColour")
    return "mean"
