"""The compiled CPU kernels: which libraries there are, which one this processor runs, and calls into it.

One shared library for each instruction set stands beside this file (`_cpu_avx2.so`, ...). The best one that
the processor can run is loaded on first use; the environment variable RENDER_CPU_ISA names another. Nothing
here falls back by itself: what cannot be had raises `KernelsUnavailable` with its cause and remedy.
"""

import ctypes
import functools
import os
from ctypes import POINTER, c_char_p, c_float, c_int, c_int32, c_int64, c_uint32, c_void_p
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

ABI_VERSION = 6  # NR_ABI_VERSION in csrc/kernels.h
FOLDER = Path(__file__).parent

# Bits of nr_cpu_features() that a library needs; the best one stands last.
INSTRUCTION_SETS = {"portable": 0b0000, "avx2": 0b0001, "avx512": 0b0011, "avx512bf16": 0b0111, "amx": 0b1111}

BFLOAT16_SETS = ("avx512bf16", "amx")  # those with bfloat16 products

BACKENDS = ("reference", "kernels")


class KernelsUnavailable(RuntimeError):
    """The CPU kernels, or the instruction set asked for, cannot be had here."""

    def __init__(self, cause: str, remedy: str) -> None:
        super().__init__(f"the CPU kernels are not available: {cause}; {remedy}")
        self.cause, self.remedy = cause, remedy


class Grid(ctypes.Structure):
    """nr_grid of csrc/kernels.h."""

    _fields_ = (
        ("levels", c_int32),
        ("features", c_int32),
        ("scale", c_void_p),
        ("resolution", c_void_p),
        ("offset", c_void_p),
    )


class Network(ctypes.Structure):
    """nr_mlp of csrc/kernels.h."""

    _fields_ = (("inputs", c_int32), ("width", c_int32), ("hidden_layers", c_int32), ("outputs", c_int32))


ARRAY = c_void_p
# Arguments of every function that returns a status, without the last one, `int threads`.
SIGNATURES = {
    "nr_hash_grid_forward": (POINTER(Grid), ARRAY, ARRAY, c_int64, ARRAY),
    "nr_hash_grid_backward": (POINTER(Grid), ARRAY, ARRAY, ARRAY, c_int64, ARRAY, ARRAY),
    "nr_mlp_forward": (POINTER(Network), ARRAY, ARRAY, c_int64, ARRAY, c_int),
    "nr_mlp_backward": (POINTER(Network), ARRAY, ARRAY, ARRAY, c_int64, ARRAY, ARRAY, c_int),
    "nr_spherical_harmonics_forward": (ARRAY, c_int64, ARRAY),
    "nr_spherical_harmonics_backward": (ARRAY, ARRAY, c_int64, ARRAY),
    "nr_composite_forward": (ARRAY, ARRAY, ARRAY, ARRAY, c_int64, c_int32, ARRAY, ARRAY, ARRAY),
    "nr_composite_backward": (*(ARRAY,) * 4, c_int64, c_int32, *(ARRAY,) * 5),
    "nr_march": (ARRAY, ARRAY, ARRAY, c_int64, ARRAY, c_int32, c_int32, *(c_float,) * 3, ARRAY, ARRAY),
    "nr_multiplane": (
        *(ARRAY,) * 2,
        *(c_int32,) * 3,
        ARRAY,
        c_int64,
        *(c_int32,) * 2,
        *(c_float,) * 3,
        *(ARRAY,) * 4,
    ),
    "nr_sparse_adam": (*(ARRAY,) * 4, c_int64, c_int32, *(c_float,) * 4, c_int64),
    "nr_occupancy_bits": (ARRAY, c_int32, c_int32, c_float, ARRAY),
    "nr_ngp_train_step": (c_void_p,) * 4,
    "nr_ngp_render": (c_void_p, ARRAY, ARRAY, c_int64, *(c_float,) * 5, *(ARRAY,) * 5, *(c_void_p,) * 3),
    "nr_ngp_density": (c_void_p, ARRAY, c_int64, ARRAY, c_void_p),
    "nr_ngp_update_occupancy": (c_void_p,) * 3,
    "nr_use_huge_pages": (ARRAY, c_int64),
    "nr_table_to_half": (ARRAY, c_int64, ARRAY),
}


class Library:
    """One loaded library. `isa` names its instruction set."""

    def __init__(self, name: str, handle: ctypes.CDLL) -> None:
        self.isa = name
        self.handle = handle
        for function, arguments in SIGNATURES.items():
            if not hasattr(handle, function):
                raise KernelsUnavailable(f"{_path(name).name} lacks {function}", "run `pip install .` again")
            getattr(handle, function).argtypes = (*arguments, c_int)
        handle.nr_error.restype = handle.nr_ngp_stage_name.restype = c_char_p
        handle.nr_ngp_workspace_create.restype = c_void_p
        handle.nr_ngp_workspace_destroy.argtypes = (c_void_p,)

    def call(self, function: str, *arguments: Tensor | ctypes.Structure | int | float | None) -> None:
        """Run one kernel on `torch.get_num_threads()` threads; tensors pass as their data pointers.

        Pointers are not checked here: every operator checks its tensors first (`checks.py`).
        """
        pointers = [a.data_ptr() if isinstance(a, Tensor) else a for a in arguments]
        status = getattr(self.handle, function)(*pointers, torch.get_num_threads())
        if status != 0:
            raise RuntimeError(f"{function} ({self.isa}): {self.handle.nr_error(status).decode()}")


def library(name: str | None = None) -> Library:
    """The library of instruction set `name`; None means RENDER_CPU_ISA or else the best one.

    Raises KernelsUnavailable if it was not built, does not load, or the processor cannot run it.
    """
    return _load(name or os.environ.get("RENDER_CPU_ISA") or _best())


def isa() -> str:
    """Instruction set of the library in use."""
    return library().isa


def kernels_available() -> bool:
    """Whether `backend="kernels"` works. An override in RENDER_CPU_ISA that cannot be honoured raises."""
    if os.environ.get("RENDER_CPU_ISA"):
        library()
        return True
    try:
        library()
    except KernelsUnavailable:
        return False
    return True


class Backend(NamedTuple):
    """A backend that was settled on, and why: for the log and the run's record."""

    name: str
    reason: str


def resolve_backend(backend: str, device: torch.device | str) -> Backend:
    """Settle "auto" once; a backend asked for by name that cannot run on `device` raises its cause."""
    if backend not in (*BACKENDS, "auto"):
        raise ValueError(f"backend {backend!r} is unknown; use reference, kernels or auto")
    if backend == "reference":
        return Backend("reference", "asked for")
    if torch.device(device).type != "cpu":
        if backend == "auto":
            return Backend("reference", f"the kernels run on the CPU, not on {device}")
        raise KernelsUnavailable(f"they run on the CPU, not on {device}", "use backend='reference'")
    if backend == "kernels":
        return Backend("kernels", f"asked for; instruction set {isa()}")
    if kernels_available():
        return Backend("kernels", f"instruction set {isa()}")
    try:
        library()
    except KernelsUnavailable as error:
        return Backend("reference", str(error))
    return Backend("kernels", f"instruction set {isa()}")


def resolve_precision(precision: str, backend: str) -> str:
    """Settle "auto": bfloat16 where the kernels run on a processor that has it. Raises ValueError."""
    if precision not in ("auto", "float32", "bfloat16"):
        raise ValueError(f"precision {precision!r} is unknown; use auto, float32 or bfloat16")
    if precision != "auto":
        return precision
    return "bfloat16" if backend == "kernels" and isa() in BFLOAT16_SETS else "float32"


def supported_instruction_sets() -> tuple[str, ...]:
    """Instruction sets that this processor can run, the best one last (built or not)."""
    features = _cpu_features()
    return tuple(name for name, bits in INSTRUCTION_SETS.items() if features & bits == bits)


def _best() -> str:
    built = [name for name in supported_instruction_sets() if _path(name).exists()]
    return built[-1]  # never empty: the portable one answered nr_cpu_features


@functools.cache
def _cpu_features() -> int:
    """Asks the portable library, which every processor can run."""
    handle = _open("portable")
    handle.nr_cpu_features.restype = c_uint32
    return handle.nr_cpu_features()


@functools.cache
def _load(name: str) -> Library:
    if name not in INSTRUCTION_SETS:
        known = ", ".join(INSTRUCTION_SETS)
        raise KernelsUnavailable(
            f"{name!r} is no instruction set", f"set RENDER_CPU_ISA to one of {known}, or unset it"
        )
    if name not in supported_instruction_sets():
        raise KernelsUnavailable(
            f"this processor cannot run {name}",
            f"set RENDER_CPU_ISA to one of {', '.join(supported_instruction_sets())}, or unset it",
        )
    return Library(name, _open(name))


def _path(name: str) -> Path:
    return FOLDER / f"_cpu_{name}.so"


def _open(name: str) -> ctypes.CDLL:
    path = _path(name)
    remedy = "install a C++ compiler (Debian: apt install g++) and run `pip install .` again"
    if not path.exists():
        raise KernelsUnavailable(f"{path.name} was not built", remedy)
    try:
        handle = ctypes.CDLL(str(path))
    except OSError as error:
        raise KernelsUnavailable(f"{path.name} does not load ({error})", remedy) from error
    if handle.nr_abi_version() != ABI_VERSION:
        raise KernelsUnavailable(
            f"{path.name} is of another version ({handle.nr_abi_version()}, not {ABI_VERSION})",
            "run `pip install .` again",
        )
    return handle
