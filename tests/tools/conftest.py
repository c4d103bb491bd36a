"""A scene on disk, small enough to train in seconds."""

from pathlib import Path

import pytest

from scenes.generate import analytic


@pytest.fixture(scope="session")
def toy_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """6 training and 3 test views of 32x32."""
    folder = tmp_path_factory.mktemp("scenes") / "toy"
    analytic.generate("spheres", folder, width=32, views={"train": 6, "test": 3}, supersampling=1)
    return folder
