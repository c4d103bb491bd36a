"""tiny-cuda-nn's parameters, and tiny-cuda-nn itself where it is installed.

Its flat parameters are [network][grid]: our `weights` (`mlp.py`) and `table` (`hash_grid.py`) one after the
other, so converting is cutting and joining; a network whose widths are no multiples of 16 is padded.
tiny-cuda-nn pads the inputs of a bare network with ones and those behind a grid with zeros; padded outputs
are ignored. The layout is tested against published parameter counts. The adapter below needs an NVIDIA GPU
and has not been run: it is never required, and nothing chooses it.
"""

import importlib
from types import ModuleType

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from fields.encodings.hash_grid import HashGridSpec
from fields.kernels.mlp import MLPSpec, padded


class TinyCudaUnavailable(RuntimeError):
    """tiny-cuda-nn cannot be imported here."""


def join_parameters(weights: Float[Tensor, " w"], table: Float[Tensor, " t"]) -> Float[Tensor, " p"]:
    """Flat parameters of tiny-cuda-nn's NetworkWithInputEncoding."""
    return torch.cat([weights, table])


def split_parameters(
    parameters: Float[Tensor, " p"], network: MLPSpec, grid: HashGridSpec
) -> tuple[Float[Tensor, " w"], Float[Tensor, " t"]]:
    """Weights and table from the flat parameters of a NetworkWithInputEncoding."""
    counts = network.parameter_count, grid.parameter_count
    if parameters.shape != (sum(counts),):
        raise ValueError(
            f"parameters holds {parameters.numel()} values; network and grid have {counts[0]} + {counts[1]}"
        )
    return parameters.split(counts)


def pad_matrices(matrices: list[Float[Tensor, "_ _"]]) -> tuple[Float[Tensor, " w"], MLPSpec]:
    """Flat weights, and their spec, from one (out, in) matrix a layer; widths are padded with zeros."""
    flat = []
    for matrix in matrices:
        rows, columns = matrix.shape
        flat.append(F.pad(matrix, (0, padded(columns) - columns, 0, padded(rows) - rows)))
    spec = MLPSpec(flat[0].shape[1], flat[0].shape[0], len(flat) - 1, flat[-1].shape[0])
    if [tuple(matrix.shape) for matrix in flat] != spec.shapes:
        raise ValueError(
            f"matrices are {[tuple(m.shape) for m in matrices]}; hidden layers must be equally wide"
        )
    return torch.cat([matrix.flatten() for matrix in flat]), spec


def grid_config(spec: HashGridSpec) -> dict:
    """tiny-cuda-nn's encoding configuration of the same grid."""
    return {
        "otype": "Grid", "type": "Hash", "n_levels": spec.levels, "n_features_per_level": spec.features,
        "log2_hashmap_size": spec.log2_table_size, "base_resolution": spec.base_resolution,
        "per_level_scale": spec.per_level_scale, "interpolation": "Linear",
    }  # fmt: skip


def network_config(spec: MLPSpec) -> dict:
    """tiny-cuda-nn's network configuration of the same network."""
    return {
        "otype": "FullyFusedMLP", "activation": "ReLU", "output_activation": "None",
        "n_neurons": spec.width, "n_hidden_layers": spec.hidden_layers,
    }  # fmt: skip


def import_tinycudann() -> ModuleType:
    """The module tinycudann; raises TinyCudaUnavailable with the cause.

    It raises other than ModuleNotFoundError at import where torch has no CUDA (EnvironmentError) or the
    extension was not built for this GPU (ImportError).
    """
    try:
        return importlib.import_module("tinycudann")
    except ModuleNotFoundError as error:
        raise TinyCudaUnavailable(f"tiny-cuda-nn is not installed ({error})") from error
    except (ImportError, OSError) as error:
        raise TinyCudaUnavailable(f"tiny-cuda-nn is installed but does not load ({error})") from error


def tinycudann_module(
    network: MLPSpec, grid: HashGridSpec, parameters: Float[Tensor, " p"]
) -> torch.nn.Module:
    """A tinycudann.NetworkWithInputEncoding holding `parameters`. Needs a GPU; not run by our tests.

    Its outputs are half precision: expect differences of about 1e-3 to ours.
    """
    split_parameters(parameters, network, grid)  # the lengths agree
    module = import_tinycudann().NetworkWithInputEncoding(
        n_input_dims=3, n_output_dims=network.outputs,
        encoding_config=grid_config(grid), network_config=network_config(network),
    )  # fmt: skip
    with torch.no_grad():
        module.params.copy_(parameters)
    return module
