"""Packages, and the CPU kernels.

The kernels are plain C++ behind a C ABI: no torch headers, nothing but a C++ compiler. One shared library
for each instruction set stands beside `fields/kernels/library.py`, which picks one when it is loaded. Where
there is no compiler the install succeeds without them, `render doctor` says so, and the torch reference runs.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build import build
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent
CSRC = Path("fields/kernels/csrc")

# One by one, never find_packages: what is installed is what stands here.
PACKAGES = [
    "fields",
    "fields.encodings",
    "fields.kernels",
    "render",
    "render.commands",
    "render.methods",
    "render.samplers",
    "scenes",
    "scenes.formats",
    "scenes.generate",
    "tools",
    "tools.depth",
    "tools.export",
    "tools.multiplane",
    "tools.poses",
    "tools.viewer",
]

INSTRUCTION_SETS = {
    "portable": [],
    "avx2": ["-mavx2", "-mfma", "-mf16c"],
    "avx512": ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma", "-mf16c"],
}
INSTRUCTION_SETS["avx512bf16"] = [*INSTRUCTION_SETS["avx512"], "-mavx512bf16"]
INSTRUCTION_SETS["amx"] = [*INSTRUCTION_SETS["avx512bf16"], "-mamx-tile", "-mamx-bf16"]

# Never -ffast-math: linking with it sets flush-to-zero for the whole process.
COMPILE = [
    "-O3", "-std=c++17", "-fPIC", "-fvisibility=hidden", "-Wall", "-pthread",
    "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast",
]  # fmt: skip
# A compiler newer than the machine's libstdc++ (conda, toolsets) would give a library that does not load.
STATIC_RUNTIME = ["-static-libstdc++", "-static-libgcc"]
EXPORTS = "{ global: nr_*; local: *; };\n"


def instruction_sets() -> dict[str, list[str]]:
    x86_64 = platform.machine().lower() in ("x86_64", "amd64")
    return INSTRUCTION_SETS if x86_64 else {"portable": []}


def find_compiler() -> list[str] | None:
    """$CXX, else the first of g++, c++, clang++ on PATH."""
    named = os.environ.get("CXX", "").split()
    candidates = [named] if named else [["g++"], ["c++"], ["clang++"]]
    return next((command for command in candidates if shutil.which(command[0])), None)


def accepts(compiler: list[str], flags: list[str], build_temp: Path) -> bool:
    """Whether the compiler can make a shared library with these flags."""
    command = [*compiler, *flags, "-shared", "-fPIC", "-x", "c++", "-", "-o", str(build_temp / "probe.so")]
    return subprocess.run(command, input=b"int probe;", capture_output=True).returncode == 0


def run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    sys.stderr.write(done.stderr)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command[:1])} failed on {command[-1]}:\n{done.stderr}")


def compiled_together(sources: list[Path]) -> dict[str, list[Path]]:
    """Half of a small file's time is its headers', and the networks' files share their templates."""
    units = {"unit_networks": [], "unit_operators": []}
    for source in sources:
        networks = source.stem == "mlp" or source.stem.startswith("ngp_")
        units["unit_networks" if networks else "unit_operators"].append(source)
    return units


def compile_once(command: list[str], sources: list[Path], target: Path, headers: bytes) -> None:
    """Compile `sources` as one unit, unless `target` came from the same sources, headers and command."""
    text = b"".join(source.read_bytes() for source in sources)
    key = hashlib.sha256(repr((command, sources)).encode() + headers + text).hexdigest()
    stamp, unit = target.with_suffix(".key"), target.with_suffix(".cpp")
    if target.exists() and stamp.exists() and stamp.read_text() == key:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    stamp.unlink(missing_ok=True)
    unit.write_text("".join(f'#include "{source.name}"\n' for source in sources))
    run([*command, f"-I{CSRC}", "-c", "-o", str(target), str(unit)])
    stamp.write_text(key)


class BuildKernels(build_ext):
    """Builds `fields/kernels/_cpu_<instruction set>.so`, each from its own object folder."""

    def get_ext_filename(self, fullname: str) -> str:
        return str(Path(*fullname.split("."))) + ".so"

    def run(self) -> None:
        # Nothing may be left of an earlier install: a library that could not be rebuilt must not be packed.
        for extension in self.extensions:
            Path(self.get_ext_fullpath(extension.name)).unlink(missing_ok=True)
            if self.editable_mode or self.inplace:
                (ROOT / self.get_ext_filename(extension.name)).unlink(missing_ok=True)
        super().run()

    def build_extensions(self) -> None:
        compiler = find_compiler()
        if compiler is None:
            self.warn("no C++ compiler (g++, clang++ or $CXX): the CPU kernels are left out, "
                      "the torch reference runs in their place; install g++ and install again")  # fmt: skip
            return
        # Not build_temp: an editable install would throw that away, and compile everything every time.
        temp = Path("build") / f"kernels-{self.plat_name}"
        temp.mkdir(parents=True, exist_ok=True)
        wanted = []
        for extension in self.extensions:
            if accepts(compiler, extension.extra_compile_args, temp):
                wanted.append(extension)
            else:
                self.warn(f"{extension.name} is left out: {compiler[0]} does not know "
                          f"{' '.join(extension.extra_compile_args)}")  # fmt: skip
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            self.build_all(pool, compiler, wanted, temp)

    def build_all(self, pool: ThreadPoolExecutor, compiler: list[str], wanted: list, temp: Path) -> None:
        headers = b"".join(path.read_bytes() for path in sorted(CSRC.glob("*.h")))
        link = [*compiler, "-shared", "-pthread"]
        if sys.platform == "linux":
            (temp / "exports.map").write_text(EXPORTS)
            link += [f"-Wl,--version-script={temp / 'exports.map'}"]
            link += STATIC_RUNTIME if accepts(compiler, STATIC_RUNTIME, temp) else []
        # The longest first, so that no core waits for the last one: networks, and of these the widest.
        jobs = [
            (unit, extension, sources)
            for extension in reversed(wanted)
            for unit, sources in compiled_together([Path(source) for source in extension.sources]).items()
        ]
        jobs.sort(key=lambda job: job[0])
        compiled = {}
        for unit, extension, sources in jobs:
            command = [*compiler, *COMPILE, *extension.extra_compile_args]
            target = temp / extension.name.rpartition(".")[2] / f"{unit}.o"
            done = pool.submit(compile_once, command, sources, target, headers)
            compiled.setdefault(extension.name, []).append((done, target))
        for name, objects in compiled.items():
            library = Path(self.get_ext_fullpath(name))
            library.parent.mkdir(parents=True, exist_ok=True)
            try:
                for done, _ in objects:
                    done.result()
                run([*link, *(str(target) for _, target in objects), "-o", str(library)])
            except RuntimeError as error:
                self.warn(f"{name} is left out: {error}")


class FreshBuild(build):
    """Packs what stands in the tree today, not what an earlier build left; object files are kept."""

    def run(self) -> None:
        shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()


class PlatformWheel(bdist_wheel):
    """py3-none-<platform>: the kernels know nothing of Python; py3-none-any where none was built."""

    def get_tag(self) -> tuple[str, str, str]:
        built = any(Path(self.bdist_dir).rglob("_cpu_*.so"))
        return "py3", "none", super().get_tag()[2] if built else "any"


setup(
    packages=PACKAGES,
    package_data={
        **{name: ["py.typed"] for name in ("fields", "render", "scenes", "tools")},
        "tools.depth": ["*.safetensors"],
        "tools.multiplane": ["page.html", "*.safetensors"],
    },
    include_package_data=False,
    ext_modules=[
        Extension(
            f"fields.kernels._cpu_{name}",
            sources=sorted(map(str, CSRC.glob("*.cpp"))),
            depends=sorted(map(str, CSRC.glob("*.h"))),
            extra_compile_args=flags,
            optional=True,
        )
        for name, flags in instruction_sets().items()
    ],
    cmdclass={"build": FreshBuild, "build_ext": BuildKernels, "bdist_wheel": PlatformWheel},
)
