"""The program as people run it: in a process of its own, or in this one (the fixture `call_here`)."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROGRAM = "import sys; from render.cli import main; sys.exit(main())"


def start(*arguments: object, cwd: Path, program: str = PROGRAM, **environment: str) -> subprocess.Popen[str]:
    """A running `render ARGUMENTS`, of one thread; `program` is Python that calls it."""
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(*arguments: object, cwd: Path, program: str = PROGRAM, **environment: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `render ARGUMENTS`."""
    process = start(*arguments, cwd=cwd, program=program, **environment)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def wait_for(condition: Callable[[], object], seconds: float | int = 120) -> None:
    """Until it is true; fails if that takes longer than this."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.01)
