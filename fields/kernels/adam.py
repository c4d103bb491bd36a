"""Adam over the entries that have a gradient (arXiv:1412.6980, Algorithm 1; instant-ngp section 4).

A batch touches few entries of a hash grid. The others keep value and moments to the bit: no decay of their
moments, no step along a stale direction. Unlike tiny-cuda-nn, which counts steps for each entry, the bias
correction uses the global step. In place and not differentiable: a plain call, not a torch operator.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from fields.kernels.checks import check_array, check_backend, check_range
from fields.kernels.library import library


def sparse_adam_reference(
    value: Float[Tensor, " p"],
    first_moment: Float[Tensor, " p"],
    second_moment: Float[Tensor, " p"],
    gradient: Float[Tensor, " p"],
    features: int,
    *,
    learning_rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    step: int,
) -> None:
    """The definition; see `sparse_adam`."""
    entries = [array.detach().view(-1, features) for array in (value, first_moment, second_moment, gradient)]
    touched = (entries[3] != 0).any(dim=-1).nonzero().flatten()
    _, m, v, g = (array[touched] for array in entries)
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    update = (m / (1 - beta1**step)) / ((v / (1 - beta2**step)).sqrt() + epsilon)
    entries[0].index_add_(0, touched, update, alpha=-learning_rate)
    entries[1].index_copy_(0, touched, m)
    entries[2].index_copy_(0, touched, v)
    entries[3].zero_()


def sparse_adam(
    value: Float[Tensor, " p"],
    first_moment: Float[Tensor, " p"],
    second_moment: Float[Tensor, " p"],
    gradient: Float[Tensor, " p"],
    features: int,
    *,
    learning_rate: float,
    beta1: float = 0.9,
    beta2: float = 0.99,
    epsilon: float = 1e-15,
    step: int,
    backend: str = "reference",
) -> None:
    """One step on every entry (`features` values in a row) that has a gradient; zeroes `gradient`. In place.

    step counts 1, 2, ... over all calls. Dense weights: features=1 steps each value that has a gradient.
    Raises: ValueError if the arrays disagree, are not contiguous (they are written in place) or, for the
    kernels, are not float32 on the CPU.
    """
    check_backend(backend)
    arrays = {
        "value": value, "first_moment": first_moment, "second_moment": second_moment, "gradient": gradient,
    }  # fmt: skip
    check_state(arrays, features)
    if step < 1:
        raise ValueError(f"step is {step}; steps count from 1")
    check_range("beta1", beta1, 0.0, 1 - 1e-7)
    check_range("beta2", beta2, 0.0, 1 - 1e-7)
    if backend == "reference":
        sparse_adam_reference(
            *arrays.values(), features,
            learning_rate=learning_rate, beta1=beta1, beta2=beta2, epsilon=epsilon, step=step,
        )  # fmt: skip
        return
    if features not in (1, 2, 4, 8):
        raise ValueError(f"features is {features}; the kernels take 1, 2, 4 or 8")
    for name, array in arrays.items():
        check_array(name, array, (None,))
    library().call(
        "nr_sparse_adam", *arrays.values(), value.numel() // features, features,
        learning_rate, beta1, beta2, epsilon, step,
    )  # fmt: skip
    # Autograd must know that the storage changed behind its back.
    for array in arrays.values():
        torch.autograd.graph.increment_version(array)


def check_state(arrays: dict[str, Tensor], features: int) -> None:
    """All arrays are alike, can be written in place and hold whole entries."""
    value = arrays["value"]
    for name, array in arrays.items():
        if array.shape != value.shape or array.dtype != value.dtype or not array.is_contiguous():
            raise ValueError(
                f"{name} is {array.dtype} {tuple(array.shape)}, contiguous: {array.is_contiguous()}; "
                f"it must be like value, {value.dtype} {tuple(value.shape)}, and contiguous"
            )
    if features < 1 or value.numel() % features:
        raise ValueError(f"value holds {value.numel()} numbers; they are no multiple of features, {features}")
