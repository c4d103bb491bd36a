import pytest
import torch
from torch.testing import assert_close

from fields.encodings.hash_grid import HashGrid, HashGridSpec
from fields.kernels.mlp import MLPSpec


@pytest.mark.parametrize(
    "growth, parameters", [(1.51572, 13_074_912), (1.66248, 13_623_184)], ids=["instant-ngp#917", "#264"]
)
def test_parameter_counts_that_instant_ngp_logged(growth, parameters):
    spec = HashGridSpec(levels=16, features=2, log2_table_size=19, growth=growth)
    assert spec.parameter_count == parameters


@pytest.mark.parametrize("finest, parameters", [(1024, 11_445_040), (2048, 12_196_240), (4096, 12_599_920)])
def test_parameter_counts_that_follow_from_the_finest_resolution(finest, parameters):
    """2048 is nerfacto's tensor in tiny-cuda-nn#338; 4096 is nerfacc's."""
    spec = HashGridSpec(levels=16, features=2, log2_table_size=19, finest_resolution=finest)
    assert spec.parameter_count == parameters


def test_instant_ngps_eight_levels_of_four_features():
    spec = HashGridSpec(levels=8, features=4, log2_table_size=19, finest_resolution=2048)
    assert spec.per_level_scale == pytest.approx(2.0, abs=1e-12)
    assert spec.parameter_count == 11_681_792


def test_networks_that_published_models_put_behind_the_grid():
    density, head = MLPSpec(32, 64, 1, 16), MLPSpec(32, 64, 2, 16)
    assert density.parameter_count == 3072
    assert head.parameter_count == 7168
    assert density.parameter_count + head.parameter_count == 10_240


def test_resolutions_run_from_the_base_to_the_finest():
    scale, resolution, offset = HashGridSpec().level_tables()
    assert resolution[0] == 16
    assert abs(int(resolution[-1]) - 1024) <= 1  # ceil of a rounded power
    assert_close(scale[1:] + 1, (scale[:-1] + 1) * 64 ** (1 / 7), rtol=1e-6, atol=0)
    assert offset[1] == 16**3
    assert (offset.diff() <= 2**17).all()


def test_the_module_starts_small_and_repeatable():
    def table():
        return HashGrid(HashGridSpec(levels=2), generator=torch.Generator().manual_seed(3)).table

    assert torch.equal(table(), table())
    assert 0.9e-4 < float(table().detach().abs().max()) <= 1e-4


def test_the_module_learns_by_its_table_alone():
    """A checkpoint holds the table; what follows from the spec is made again."""
    grid = HashGrid(HashGridSpec(levels=2, features=2, log2_table_size=8))
    assert list(grid.state_dict()) == ["table"]
    grid(torch.rand(5, 7, 3)).square().sum().backward()
    assert grid.table.grad.count_nonzero() > 0


@pytest.mark.parametrize(
    "wrong", [{"features": 3}, {"levels": 0}, {"log2_table_size": 40}, {"finest_resolution": 8}]
)
def test_a_wrong_hyper_parameter_is_named(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong)).split("_")[0]):
        HashGridSpec(**wrong)
