"""What the kernels' thread pool promises the process that it lives in."""

import os
import signal
import threading

import pytest
import torch

from fields.kernels.library import library
from fields.kernels.occupancy import occupancy_bits
from tests.fields.kernels.equality import assert_identical


@pytest.fixture
def density(generator):
    return torch.randn(64, 64, 64, generator=generator)


def test_two_python_threads_may_call_at_once(instruction_set, with_threads, density):
    """Jobs wait for each other; none is lost or mixed."""
    thresholds = [-1.0, -0.5, 0.0, 0.5]
    expected = [occupancy_bits(density, threshold) for threshold in thresholds]
    found: dict[int, list[torch.Tensor]] = {}

    def work(i: int) -> None:
        found[i] = [occupancy_bits(density, thresholds[i], "kernels") for _ in range(20)]

    def run() -> None:
        workers = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    with_threads(2, run)
    for i in range(4):
        assert_identical(found[i], [expected[i]] * 20)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # the point of the test
def test_a_forked_process_has_threads_of_its_own(instruction_set, with_threads, density):
    """As a data loader's workers have: the parent's threads do not exist in the child."""
    expected = with_threads(2, lambda: occupancy_bits(density, 0.0, "kernels"))  # the pool has started

    def in_child() -> int:
        bits = torch.zeros_like(expected)
        library().call("nr_occupancy_bits", density, 64, 1, 0.0, bits)
        return 0 if torch.equal(bits, expected) else 1

    def fork() -> int:
        child = os.fork()
        if child == 0:
            signal.alarm(30)  # a child that waits for threads that are not there ends, and fails
            os._exit(in_child())
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    assert with_threads(2, fork) == 0
    assert_identical([with_threads(2, lambda: occupancy_bits(density, 0.0, "kernels"))], [expected])


def test_loading_a_library_leaves_small_numbers_alone(instruction_set):
    """No start-up code that flushes subnormal numbers to zero for the whole process (-ffast-math has it)."""
    library(instruction_set)
    small = torch.tensor([1e-40])
    assert float(small * 0.5) == pytest.approx(5e-41, rel=1e-3)
    seen = []
    thread = threading.Thread(target=lambda: seen.append(float(small * 0.5)))
    thread.start()
    thread.join()
    assert seen[0] == pytest.approx(5e-41, rel=1e-3)
