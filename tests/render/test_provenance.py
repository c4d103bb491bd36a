"""Whether a resume elsewhere can change bits is said exactly when it can."""

import copy

from render.provenance import differences

START = {
    "versions": {"torch": "2.13.0"},
    "machine": {"processor": "A", "threads": 2},
    "backend": {"name": "kernels", "instruction_set": "avx512"},
}


def changed(start, folder, key, value):
    other = copy.deepcopy(start)
    other[folder][key] = value
    return other


def test_the_same_machine_gives_the_same_bits():
    assert differences(START, copy.deepcopy(START)) == []


def test_threads_and_processor_do_not_matter_to_the_kernels():
    assert differences(START, changed(START, "machine", "threads", 1)) == []
    assert differences(START, changed(START, "machine", "processor", "B")) == []


def test_instruction_set_torch_and_backend_do():
    assert differences(START, changed(START, "backend", "instruction_set", "avx2")) == [
        "instruction set avx512 -> avx2"
    ]
    assert differences(START, changed(START, "versions", "torch", "2.14.0")) == ["torch 2.13.0 -> 2.14.0"]
    assert "backend kernels -> reference" in differences(
        START, changed(START, "backend", "name", "reference")
    )


def test_threads_and_processor_matter_to_the_reference():
    reference = changed(START, "backend", "name", "reference")
    assert differences(reference, changed(reference, "machine", "threads", 1)) == ["threads 2 -> 1"]
    assert differences(reference, changed(reference, "machine", "processor", "B")) == ["processor A -> B"]
