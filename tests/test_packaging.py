"""What is installed is the four packages, whole, and nothing else."""

import ast
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NAMES = ("fields", "render", "scenes", "tools")


@pytest.fixture(scope="session")
def source(tmp_path_factory) -> Path:
    """A copy of what an installation reads, without kernel sources: compiling is not what is tested."""
    copy = tmp_path_factory.mktemp("source")
    for name in NAMES:
        ignored = shutil.ignore_patterns("__pycache__", "*.so", "*.cpp", "*.cu", "lego")
        shutil.copytree(ROOT / name, copy / name, ignore=ignored)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    return copy


def build_wheel(source: Path, out: Path, **environment: str) -> Path:
    """Offline and in this environment. Returns the wheel."""
    options = ["--no-deps", "--no-build-isolation", "-q", "-w", str(out)]
    command = [sys.executable, "-m", "pip", "wheel", ".", *options]
    subprocess.run(command, cwd=source, check=True, env={**os.environ, **environment})
    (wheel,) = out.iterdir()
    return wheel


@pytest.fixture(scope="session")
def wheel(source, tmp_path_factory) -> Path:
    return build_wheel(source, tmp_path_factory.mktemp("wheel"))


def packages_in_tree() -> set[str]:
    """Every folder of ours that holds Python files, as a dotted name."""
    folders = {path.parent for name in NAMES for path in (ROOT / name).rglob("*.py")}
    return {".".join(folder.relative_to(ROOT).parts) for folder in folders}


def packages_in_setup() -> list[str]:
    tree = ast.parse((ROOT / "setup.py").read_text())
    (value,) = (
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "PACKAGES"
    )
    return ast.literal_eval(value)


def test_every_package_is_listed_once_by_name():
    listed = packages_in_setup()
    assert listed == sorted(set(listed))
    assert set(listed) == packages_in_tree()


def test_every_folder_of_python_files_is_a_regular_package():
    for package in packages_in_tree():
        assert ROOT.joinpath(*package.split("."), "__init__.py").is_file(), package


def test_the_wheel_holds_the_four_packages_and_nothing_else(wheel):
    files = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in files}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(NAMES)
    for name in NAMES:
        assert f"{name}/py.typed" in files
    modules = {name for name in files if name.endswith(".py")}
    in_tree = {str(path.relative_to(ROOT)) for name in NAMES for path in (ROOT / name).rglob("*.py")}
    assert modules == in_tree
    others = {name for name in files if ".dist-info/" not in name} - modules
    weights = {str(path.relative_to(ROOT)) for path in (ROOT / "tools").rglob("*.safetensors")}
    assert weights <= others
    others -= weights
    assert "tools/multiplane/page.html" in others
    others -= {"tools/multiplane/page.html"}
    assert all(name.endswith(("/py.typed", ".so")) for name in others), others


def test_a_wheel_without_kernels_serves_every_platform(source, tmp_path):
    """No compiler: the build succeeds, and says py3-none-any."""
    (source / "fields/kernels/csrc/one.cpp").write_text('extern "C" int nr_one() { return 1; }\n')
    try:
        without = build_wheel(source, tmp_path / "without", PATH="/nonexistent", CXX="")
    finally:
        (source / "fields/kernels/csrc/one.cpp").unlink()
    assert without.name.endswith("-py3-none-any.whl")
    assert not [name for name in zipfile.ZipFile(without).namelist() if name.endswith(".so")]


def test_a_wheel_with_kernels_serves_every_python(source, tmp_path):
    if not shutil.which("g++"):
        return  # the test before this one is about such machines
    csrc = source / "fields/kernels/csrc/one.cpp"
    csrc.write_text('extern "C" __attribute__((visibility("default"))) int nr_one() { return 1; }\n')
    try:
        first = build_wheel(source, tmp_path / "first")
        csrc.write_text("this is not C++\n")
        broken = build_wheel(source, tmp_path / "broken")
    finally:
        csrc.unlink()
    assert "-py3-none-linux" in first.name or "-py3-none-macosx" in first.name
    assert "fields/kernels/_cpu_portable.so" in zipfile.ZipFile(first).namelist()
    # What an earlier build left behind is not packed again.
    assert broken.name.endswith("-py3-none-any.whl")


def test_the_version_is_the_same_everywhere(wheel):
    import render

    assert wheel.name.startswith(f"render_fields-{render.__version__}-")


def test_the_licence_travels_with_the_wheel(wheel):
    files = zipfile.ZipFile(wheel)
    (licence,) = (name for name in files.namelist() if name.endswith("licenses/LICENSE"))
    assert b"Apache License" in files.read(licence)
    (metadata,) = (name for name in files.namelist() if name.endswith("METADATA"))
    assert b"License-Expression: Apache-2.0" in files.read(metadata)
