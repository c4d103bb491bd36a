import importlib

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from fields.encodings.hash_grid import HashGridSpec
from fields.kernels import tcnn
from fields.kernels.mlp import MLPSpec, mlp

GRID = HashGridSpec(levels=2, features=2, log2_table_size=6, base_resolution=4, finest_resolution=8)
DENSITY = MLPSpec(32, 64, 1, 16)


def test_the_network_stands_before_the_grid():
    weights = torch.arange(float(DENSITY.parameter_count))
    table = -torch.arange(float(GRID.parameter_count))
    parameters = tcnn.join_parameters(weights, table)
    assert parameters[0] == 0 and parameters[3072 - 1] == 3071 and parameters[3072 + 1] == -1
    for whole, part in zip((weights, table), tcnn.split_parameters(parameters, DENSITY, GRID), strict=True):
        assert torch.equal(whole, part)


def test_nerfaccs_model_has_its_published_sizes():
    """3072 + 12,599,920 in one tensor."""
    grid = HashGridSpec(levels=16, features=2, log2_table_size=19, finest_resolution=4096)
    weights, table = tcnn.split_parameters(torch.zeros(3072 + 12_599_920), DENSITY, grid)
    assert (len(weights), len(table)) == (3072, 12_599_920)


def test_parameters_of_another_model_are_refused():
    with pytest.raises(ValueError, match=r"holds 100 values; network and grid have 3072 \+"):
        tcnn.split_parameters(torch.zeros(100), DENSITY, GRID)


def test_padding_a_network_changes_none_of_its_outputs(generator):
    """Rows and columns of zeros, whatever stands in the padded inputs."""
    matrices = [torch.randn(shape, generator=generator) for shape in ((20, 27), (20, 20), (3, 20))]
    weights, spec = tcnn.pad_matrices(matrices)
    assert spec == MLPSpec(32, 32, 2, 16)
    x = torch.randn(10, 32, generator=generator)
    expected = F.linear(F.relu(F.linear(F.relu(F.linear(x[:, :27], matrices[0])), matrices[1])), matrices[2])
    y = mlp(x, weights, spec)
    assert_close(y[:, :3], expected)
    assert torch.equal(y[:, 3:], torch.zeros(10, 13))


def test_hidden_layers_of_unequal_width_are_refused():
    with pytest.raises(ValueError, match="hidden layers must be equally wide"):
        tcnn.pad_matrices([torch.zeros(16, 16), torch.zeros(48, 16), torch.zeros(16, 48)])


def test_the_configuration_describes_the_same_grid_and_network():
    config = tcnn.grid_config(HashGridSpec())
    assert config["per_level_scale"] == pytest.approx(64 ** (1 / 7))
    assert (config["n_levels"], config["n_features_per_level"], config["log2_hashmap_size"]) == (8, 4, 17)
    network = tcnn.network_config(DENSITY)
    assert (network["n_neurons"], network["n_hidden_layers"], network["otype"]) == (64, 1, "FullyFusedMLP")


@pytest.mark.parametrize(
    "raised, said",
    [
        (ModuleNotFoundError("No module named 'tinycudann'"), "is not installed"),
        (ImportError("undefined symbol"), "does not load .undefined symbol"),
        (OSError("Unknown compute capability"), "does not load .Unknown compute capability"),
    ],
    ids=["absent", "broken", "no GPU"],
)
def test_a_missing_tiny_cuda_nn_says_why(monkeypatch, raised, said):
    def fail(name):
        raise raised

    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(tcnn.TinyCudaUnavailable, match=said):
        tcnn.import_tinycudann()
