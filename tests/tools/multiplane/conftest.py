"""Networks for tests that are about everything else."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tools.multiplane.adampi import CONFIGS, AdaMPI


@pytest.fixture
def bright_is_near(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every model of depth answers with the brightness of what it sees."""

    class Bright(torch.nn.Module):
        def forward(self, image):
            return image.mean(dim=1, keepdim=True)

    monkeypatch.setattr("tools.multiplane.predict.read_model", lambda name, path: Bright())


@pytest.fixture(scope="session")
def random_planes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file for the small AdaMPI, of weights that know nothing."""
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("weights") / "random.safetensors"
    save_file(AdaMPI(CONFIGS["small"]).state_dict(), file)
    return file
