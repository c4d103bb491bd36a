"""As a guest in another program, the library says nothing and leaves everything as it found it."""

import subprocess
import sys

import pytest

from render.methods import METHODS

WHAT_A_PROGRAM_OWNS = """
import logging, os, random, signal, sys, threading, warnings
import numpy as np
import torch

def owned():
    return {
        "default dtype": torch.get_default_dtype(),
        "default device": torch.get_default_device(),
        "grad mode": torch.is_grad_enabled(),
        "threads of torch": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "torch's random numbers": torch.get_rng_state().tolist(),
        "numpy's random numbers": str(np.random.get_state()),
        "Python's random numbers": random.getstate(),
        "determinism": (torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark),
        "autocast": torch.is_autocast_enabled("cpu"),
        "products": torch.get_float32_matmul_precision(),
        "denormal numbers": float(torch.tensor(1e-40) * 1),
        "signals": [signal.getsignal(number) for number in signal.valid_signals()],
        # torch's optimisers load torch's compiler, which names its cache, and sympy, which has a filter for
        # warnings of its own.
        "warnings": [f for f in warnings.filters if not f[2].__module__.startswith("sympy")],
        "logging": list(logging.getLogger().handlers),
        "environment": {k: v for k, v in os.environ.items() if k != "TORCHINDUCTOR_CACHE_DIR"},
        "folder": os.getcwd(),
        "hooks": (sys.excepthook, threading.excepthook, sys.displayhook),
        "streams": (sys.stdout, sys.stderr),
        "threads": threading.active_count(),
        "other settings": (sys.getrecursionlimit(), sys.getswitchinterval(), np.geterr()),
    }

torch.set_num_threads(2)
torch.manual_seed(5), np.random.seed(5), random.seed(5)
before = owned()
"""

GUEST = """
import render
from scenes.generate.analytic import generate

scene = generate("spheres", width=24, views={"train": 6}, supersampling=1)["train"]
render.train(scene, METHOD, steps=2, out="run")
model = render.load("run")
picture = model.render(scene.cameras[0], ("rgb", "z_depth", "normal"), frame="input")
model.density(scene.cameras.centres / 4)
for name, value in owned().items():
    assert value == before[name], (name, before[name], value)
"""


@pytest.mark.parametrize("name", METHODS)
def test_nothing_is_printed_and_nothing_of_the_programs_is_changed(name, tmp_path):
    code = WHAT_A_PROGRAM_OWNS + GUEST.replace("METHOD", repr(name))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["run"]


def test_the_check_sees_what_it_must(tmp_path):
    code = WHAT_A_PROGRAM_OWNS + "torch.rand(1)\nassert owned() == before"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 1


def test_importing_render_is_silent_and_loads_nothing_heavy():
    code = (
        "import sys, render; dir(render); heavy = {'torch', 'numpy', 'kornia', 'imageio', 'PIL', 'rich'}; "
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
