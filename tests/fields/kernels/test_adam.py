import pytest
import torch
from torch.testing import assert_close

from fields.kernels.adam import sparse_adam
from tests.fields.kernels.equality import assert_identical, assert_same

SETTINGS = {"learning_rate": 1e-2, "beta1": 0.9, "beta2": 0.99, "epsilon": 1e-15}


def random_state(entries, features, generator, touched=0.3, dtype=torch.float32):
    """Value, moments and a gradient that touches a part of the entries."""
    shape = entries, features
    value, first, gradient = (torch.randn(shape, generator=generator, dtype=dtype) for _ in range(3))
    second = torch.rand(shape, generator=generator, dtype=dtype)
    gradient[torch.rand(entries, generator=generator) >= touched] = 0
    return [x.flatten() for x in (value, first, second, gradient)]


def stepped(state, features, backend="reference", step=3, **settings):
    """A copy of the state after one step."""
    state = [x.clone() for x in state]
    sparse_adam(*state, features, step=step, backend=backend, **{**SETTINGS, **settings})
    return state


# The reference


def test_with_every_entry_touched_it_is_torchs_adam(generator):
    value = torch.randn(64, generator=generator, dtype=torch.float64)
    ours, m, v = value.clone(), torch.zeros_like(value), torch.zeros_like(value)
    theirs = value.clone().requires_grad_()
    optimizer = torch.optim.Adam([theirs], lr=1e-2, betas=(0.9, 0.99), eps=1e-15)
    for step in range(1, 8):
        gradient = torch.randn(64, generator=generator, dtype=torch.float64)
        theirs.grad = gradient.clone()
        optimizer.step()
        sparse_adam(ours, m, v, gradient, 4, step=step, **SETTINGS)
        assert_close(ours, theirs.detach())


@pytest.mark.parametrize("features", [1, 2, 4, 8])
def test_an_entry_without_gradient_keeps_its_bits(device, features, generator):
    state = [x.to(device) for x in random_state(500, features, generator)]
    after = stepped(state, features)
    untouched = (state[3].view(-1, features) == 0).all(-1).repeat_interleave(features)
    assert_identical([x[untouched].cpu() for x in after[:3]], [x[untouched].cpu() for x in state[:3]])
    assert (after[0] != state[0])[~untouched].float().mean() > 0.99


def test_an_entry_steps_whole_if_any_of_its_values_has_a_gradient():
    """The others decay their moments and follow them."""
    value, m, v, gradient = torch.zeros(8), torch.ones(8), torch.ones(8), torch.zeros(8)
    gradient[5] = 1.0
    sparse_adam(value, m, v, gradient, 4, step=1, **SETTINGS)
    assert (m[4:] != 1).tolist() == [True, False, True, True]  # 0.9 + 0.1 stays 1
    assert (value[4:] != 0).all() and (value[:4] == 0).all()


def test_the_gradient_is_spent(device, generator):
    assert stepped([x.to(device) for x in random_state(50, 2, generator)], 2)[3].count_nonzero() == 0


# The kernels against it


@pytest.mark.parametrize("features", [1, 2, 4, 8])
@pytest.mark.parametrize("entries", [0, 1, 3, 16, 33, 5003])
def test_kernels_equal_the_reference(instruction_set, entries, features, generator):
    state = random_state(entries, features, generator)
    for step in (1, 2, 1000, 10**7):
        actual, expected = (stepped(state, features, backend, step) for backend in ("kernels", "reference"))
        assert_same(actual, expected, "adam")
        untouched = (state[3].view(-1, features) == 0).all(-1).repeat_interleave(features)
        assert_identical([x[untouched] for x in actual[:3]], [x[untouched] for x in state[:3]])


@pytest.mark.parametrize("touched", [0.0, 1.0])
def test_kernels_take_no_gradient_and_all_gradients(instruction_set, touched, generator):
    state = random_state(1000, 4, generator, touched)
    assert_same(stepped(state, 4, "kernels"), stepped(state, 4), "adam")


@pytest.mark.parametrize("size", [1e-30, 1e-14, 1e-4, 1e10])
def test_kernels_take_tiny_and_huge_gradients(instruction_set, size, generator):
    """A square that underflows leaves no second moment; one that is large is still a number."""
    value, _, _, gradient = random_state(400, 2, generator)
    state = [value, torch.zeros_like(value), torch.zeros_like(value), gradient * size]
    assert_same(stepped(state, 2, "kernels", step=1), stepped(state, 2, step=1), "adam")


def test_kernels_take_entries_of_which_one_value_has_a_gradient(instruction_set, generator):
    value, m, v, gradient = random_state(4000, 8, generator, touched=1.0)
    gradient *= torch.rand(gradient.shape, generator=generator) < 0.05
    state = [value, m, v, gradient]
    assert_same(stepped(state, 8, "kernels"), stepped(state, 8), "adam")


def test_kernels_equal_the_reference_on_a_million_values(instruction_set, generator):
    state = random_state(250_001, 4, generator)
    assert_same(stepped(state, 4, "kernels"), stepped(state, 4), "adam")


def test_kernels_give_the_same_bits_on_any_number_of_threads(instruction_set, with_threads, generator):
    state = random_state(50_003, 4, generator)
    first = stepped(state, 4, "kernels")
    for threads in (1, 2, 3, 7):
        assert_identical(with_threads(threads, lambda: stepped(state, 4, "kernels")), first)


def test_autograd_notices_that_the_kernels_changed_a_parameter(generator):
    value, m, v, gradient = random_state(10, 2, generator)
    parameter = torch.nn.Parameter(value)
    loss = parameter.square().sum()
    sparse_adam(parameter, m, v, gradient, 2, step=1, backend="kernels", **SETTINGS)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize("backend", ["reference", "kernels"])
def test_wrong_arrays_are_named(backend, generator):
    state = random_state(10, 4, generator)
    with pytest.raises(ValueError, match=r"second_moment is .* it must be like value"):
        sparse_adam(*state[:2], state[2].repeat(2)[::2], state[3], 4, step=1, backend=backend, **SETTINGS)
    with pytest.raises(ValueError, match="no multiple of features, 3"):
        sparse_adam(*state, 3, step=1, backend=backend, **SETTINGS)
    with pytest.raises(ValueError, match="step is 0; steps count from 1"):
        sparse_adam(*state, 4, step=0, backend=backend, **SETTINGS)
    with pytest.raises(ValueError, match=r"beta2 is 1\.0"):
        sparse_adam(*state, 4, step=1, backend=backend, **{**SETTINGS, "beta2": 1.0})
    if backend == "kernels":
        with pytest.raises(ValueError, match="the kernels take 1, 2, 4 or 8"):
            sparse_adam(*state, 5, step=1, backend=backend, **SETTINGS)
        with pytest.raises(ValueError, match=r"value is torch\.float64"):
            sparse_adam(*[x.double() for x in state], 4, step=1, backend=backend, **SETTINGS)
