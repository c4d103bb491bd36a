import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from fields.kernels.mlp import layer_matrices
from fields.mlp import MLP


@pytest.mark.parametrize(("inputs", "outputs", "hidden_layers"), [(3, 1, 1), (32, 16, 2), (20, 3, 4)])
def test_is_its_layers_one_after_the_other_without_the_padding(inputs, outputs, hidden_layers, generator):
    network = MLP(inputs, outputs, width=32, hidden_layers=hidden_layers, generator=generator)
    x = torch.randn(5, 7, inputs, generator=generator)
    first, *others = layer_matrices(network.weights, network.spec)
    *hidden, last = [first[:, :inputs], *others]
    expected = x
    for matrix in hidden:
        expected = F.linear(expected, matrix).relu()
    assert_close(network(x), F.linear(expected, last[:outputs]))


def test_weights_that_pad_take_no_gradient(generator):
    network = MLP(20, 3, generator=generator)
    network(torch.randn(50, 20, generator=generator)).square().sum().backward()
    first, last = layer_matrices(network.weights.grad, network.spec)
    assert (first[:, 20:] == 0).all() and (last[3:] == 0).all()
    assert (first[:, :20] != 0).any() and (last[:3] != 0).any()


def test_initial_weights_keep_within_glorots_bound_and_fill_it(generator):
    network = MLP(32, 16, width=64, generator=generator)
    for matrix in layer_matrices(network.weights, network.spec):
        bound = (6 / sum(matrix.shape)) ** 0.5
        assert 0.98 * bound < matrix.abs().max() <= bound


def test_another_number_of_inputs_is_refused():
    with pytest.raises(ValueError, match="x has 16 columns; this network takes 12"):
        MLP(12, 3)(torch.zeros(4, 16))
