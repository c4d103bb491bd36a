import ctypes
import importlib.util
import platform
import shutil
from pathlib import Path

import pytest
import torch

from fields.kernels import library as kernels
from fields.kernels.library import (
    INSTRUCTION_SETS,
    KernelsUnavailable,
    isa,
    kernels_available,
    library,
    resolve_backend,
    supported_instruction_sets,
)


@pytest.fixture
def fresh(monkeypatch):
    """Forgets what was loaded, before and after; no override."""

    def forget():
        kernels._cpu_features.cache_clear()
        kernels._load.cache_clear()

    monkeypatch.delenv("RENDER_CPU_ISA", raising=False)
    forget()
    yield monkeypatch
    monkeypatch.undo()
    forget()


def test_the_kernels_are_built_and_load(instruction_set):
    """A missing library is a failure where the processor can run it: the engine would be slow in silence."""
    assert library(instruction_set).isa == instruction_set
    reported = library(instruction_set).handle.nr_isa
    reported.restype = ctypes.c_char_p
    assert reported().decode() == instruction_set


def test_the_best_library_of_the_processor_is_chosen(fresh):
    assert isa() == supported_instruction_sets()[-1]
    assert next(iter(INSTRUCTION_SETS)) == supported_instruction_sets()[0] == "portable"
    if platform.machine() == "x86_64" and Path("/proc/cpuinfo").exists():
        flags = Path("/proc/cpuinfo").read_text()
        assert ("avx2" in supported_instruction_sets()) == ("avx2" in flags)
        assert ("avx512bf16" in supported_instruction_sets()) == ("avx512_bf16" in flags)


def test_the_environment_overrides_the_choice(fresh):
    fresh.setenv("RENDER_CPU_ISA", "portable")
    assert isa() == "portable"
    assert kernels_available()
    fresh.setenv("RENDER_CPU_ISA", "")
    assert isa() == supported_instruction_sets()[-1]


def test_an_unknown_instruction_set_names_those_there_are(fresh):
    fresh.setenv("RENDER_CPU_ISA", "avx3")
    for ask in (library, isa, kernels_available, lambda: resolve_backend("auto", "cpu")):
        with pytest.raises(
            KernelsUnavailable, match=r"'avx3' is no instruction set; .* portable, avx2, avx512"
        ):
            ask()


def test_an_instruction_set_that_the_processor_lacks_is_refused(fresh):
    """And is not chosen."""
    fresh.setattr(kernels, "_cpu_features", lambda: 0b0001)
    assert supported_instruction_sets() == ("portable", "avx2")
    with pytest.raises(
        KernelsUnavailable, match="cannot run amx; set RENDER_CPU_ISA to one of portable, avx2,"
    ):
        library("amx")


def test_a_library_that_was_not_built_says_what_to_install(fresh, tmp_path):
    fresh.setattr(kernels, "FOLDER", tmp_path)
    assert not kernels_available()
    with pytest.raises(
        KernelsUnavailable, match=r"_cpu_portable\.so was not built; .* apt install g\+\+"
    ) as error:
        library()
    assert error.value.cause and error.value.remedy
    chosen = resolve_backend("auto", "cpu")
    assert chosen.name == "reference" and "was not built" in chosen.reason
    with pytest.raises(KernelsUnavailable):
        resolve_backend("kernels", "cpu")


def test_the_best_library_that_was_built_is_taken(fresh, tmp_path):
    """As with a compiler too old for the newest instruction set."""
    shutil.copy(kernels.FOLDER / "_cpu_portable.so", tmp_path)
    fresh.setattr(kernels, "FOLDER", tmp_path)
    assert isa() == "portable"


def test_a_stale_library_is_an_error_not_a_fallback(fresh):
    fresh.setattr(kernels, "ABI_VERSION", 10**6)
    with pytest.raises(KernelsUnavailable, match=r"is of another version .* install \.` again"):
        library()


def test_a_library_without_a_function_is_an_error_before_any_call(fresh):
    fresh.setitem(kernels.SIGNATURES, "nr_of_tomorrow", ())
    with pytest.raises(KernelsUnavailable, match=r"lacks nr_of_tomorrow; .* install \.` again"):
        library()


def test_a_broken_file_is_an_error_not_a_fallback(fresh, tmp_path):
    (tmp_path / "_cpu_portable.so").write_bytes(b"not a library")
    fresh.setattr(kernels, "FOLDER", tmp_path)
    with pytest.raises(KernelsUnavailable, match=r"_cpu_portable\.so does not load"):
        library()


def test_a_backend_is_settled_with_its_reason(fresh):
    assert resolve_backend("reference", "cpu") == ("reference", "asked for")
    chosen = resolve_backend("auto", torch.device("cpu"))
    assert chosen.name == "kernels" and isa() in chosen.reason
    assert resolve_backend("auto", "cuda").name == "reference"
    with pytest.raises(KernelsUnavailable, match="run on the CPU, not on cuda"):
        resolve_backend("kernels", "cuda:0")
    with pytest.raises(ValueError, match="backend 'gpu' is unknown; use reference, kernels or auto"):
        resolve_backend("gpu", "cpu")


def test_a_status_becomes_an_error_with_the_kernels_words(instruction_set):
    """Past the operator's own checks."""
    with pytest.raises(
        RuntimeError, match=rf"nr_occupancy_bits \({instruction_set}\): an argument is outside"
    ):
        library().call("nr_occupancy_bits", torch.zeros(27), 3, 1, 0.0, torch.zeros(1, dtype=torch.int64))


def test_nothing_is_loaded_when_the_package_is_imported():
    """A machine without kernels imports everything."""
    spec = importlib.util.spec_from_file_location("library_again", kernels.__file__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module._load.cache_info().currsize == 0
    assert module._cpu_features.cache_info().currsize == 0
