"""Fixtures that run a test on each instruction set and put back what they changed."""

import pytest
import torch

from fields.kernels.library import INSTRUCTION_SETS, library, supported_instruction_sets


@pytest.fixture(params=INSTRUCTION_SETS)
def instruction_set(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each instruction set in turn; one that the processor has and that was not built is a failure."""
    if request.param not in supported_instruction_sets():
        pytest.skip(f"the processor lacks {request.param}")
    monkeypatch.setenv("RENDER_CPU_ISA", request.param)
    assert library().isa == request.param
    return request.param


@pytest.fixture
def with_threads():
    """Calls a function on so many threads."""
    before = torch.get_num_threads()

    def run(threads: int, function):
        torch.set_num_threads(threads)
        return function()

    yield run
    torch.set_num_threads(before)
