"""Networks for tests that are about everything else: one with weights that know nothing, one without any."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tools.depth.small import Small


@pytest.fixture(scope="session")
def random_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file for the built-in model."""
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("weights") / "random.safetensors"
    save_file(Small().state_dict(), file)
    return file


@pytest.fixture
def bright_is_near(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Every model answers with the brightness of what it sees; here are the shapes that it was shown."""
    shown = []

    class Bright(torch.nn.Module):
        def forward(self, image):
            shown.append(tuple(image.shape))
            return image.mean(dim=1, keepdim=True)

    monkeypatch.setattr("tools.depth.models.read_model", lambda name, path: Bright())
    return shown
