"""`render doctor`: what is installed, what is missing, what for, and how to get it."""

import importlib.util
import json
import os
import platform
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from render import __version__
from render.arguments import Parser

# Package -> what it is for, what installs it.
OPTIONAL = {
    "mitsuba": ("path-traces the demo scene", "generate"),
    "beartype": ("runs the tests", "test"),
}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `remedy` is set where something is missing."""

    subject: str
    state: str
    remedy: str | None = None


def main(arguments: list[str]) -> int:
    parser = Parser("doctor", "Say what is installed, what is missing and what it is for.")
    parser.add_argument("--json", action="store_true", help="print JSON, and nothing else")
    options = parser.parse_args(arguments)
    findings = examine()
    if options.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
        return 0
    width = max(len(finding.subject) for finding in findings)
    for finding in findings:
        print(f"{finding.subject:<{width}}  {finding.state}")
        if finding.remedy:
            print(f"{'':<{width}}  -> {finding.remedy}")
    return 0


def examine() -> list[Finding]:
    """Everything, most important first. Nothing here changes the machine."""
    import numpy
    import torch

    from render.provenance import processor

    return [
        Finding("render", f"{__version__}, in {Path(__file__).resolve().parent.parent}"),
        Finding("python", f"{platform.python_version()}, {sys.executable}"),
        Finding("torch", f"{torch.__version__}, numpy {numpy.__version__}"),
        Finding("processor", f"{processor()}, {torch.get_num_threads()} threads in use"),
        *kernels(),
        compiler(),
        cuda(torch),
        video(),
        *(optional(name, *rest) for name, rest in OPTIONAL.items()),
    ]


def kernels() -> list[Finding]:
    """Which libraries are built, which one is used, and why."""
    from fields.kernels import library

    remedy = "install a C++ compiler (Debian: apt install g++), then `pip install .` again"
    built = [name for name in library.INSTRUCTION_SETS if (library.FOLDER / f"_cpu_{name}.so").exists()]
    if not built:
        return [Finding("kernels", "none built: the torch reference runs in their place, far slower", remedy)]
    try:
        chosen, supported = library.isa(), library.supported_instruction_sets()
    except library.KernelsUnavailable as error:
        return [Finding("kernels", f"built: {', '.join(built)}; {error.cause}", error.remedy)]
    why = "the best that is built and that this processor runs"
    if os.environ.get("RENDER_CPU_ISA"):
        why = "named by RENDER_CPU_ISA"
    missing = [name for name in supported if name not in built]
    return [
        Finding("kernels", f"built: {', '.join(built)}; in use: {chosen} ({why})"),
        Finding(
            "processor runs",
            ", ".join(supported),
            f"{', '.join(missing)} not built: with g++ 12 or later, `pip install .` again"
            if missing
            else None,
        ),
    ]


def compiler() -> Finding:
    """The C++ compiler that an install would use."""
    found = os.environ.get("CXX") or next(filter(None, map(shutil.which, ("g++", "c++", "clang++"))), None)
    if found:
        return Finding("compiler", found)
    return Finding("compiler", "none: only needed to install", "Debian: apt install g++")


def cuda(torch: Any) -> Finding:
    """Whether there is a GPU, and what of this program uses it today."""
    if not torch.cuda.is_available():
        return Finding("gpu", "none that torch can use (not needed)")
    return Finding("gpu", f"{torch.cuda.get_device_name()}: --device cuda runs the torch reference there")


def video() -> Finding:
    """The encoder that `render video` uses."""
    import imageio_ffmpeg

    try:
        return Finding("video", imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        return Finding("video", str(error), "Debian: apt install ffmpeg")


def optional(name: str, purpose: str, extra: str) -> Finding:
    if importlib.util.find_spec(name):
        return Finding(name, f"installed ({purpose})")
    return Finding(name, f"not installed ({purpose})", f'pip install ".[{extra}]"')
