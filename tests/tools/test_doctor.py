"""The doctor tells what is there, and what to do about what is not."""

import json
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

from fields.kernels import library
from tools import doctor

ROOT = Path(__file__).parent.parent.parent


def find(subject):
    return {finding.subject: finding for finding in doctor.examine()}[subject]


def test_without_kernels_the_doctor_says_what_runs_and_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(library, "FOLDER", tmp_path)
    finding = find("kernels")
    assert "none built" in finding.state and "g++" in finding.remedy and "pip install" in finding.remedy


def test_without_a_compiler_the_doctor_names_the_package(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    assert find("compiler").remedy == "Debian: apt install g++"


@pytest.mark.parametrize("name", list(doctor.PACKAGES))
def test_a_missing_package_names_its_extra(monkeypatch, name):
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda wanted: None)
    monkeypatch.setattr(doctor, "version_of", lambda names: None)
    finding, extra = doctor.package(name), doctor.PACKAGES[name].extra
    assert finding.state.startswith("not installed")
    assert finding.remedy == (f'pip install ".[{extra}]"' if extra else None)


def test_everything_that_an_extra_installs_is_looked_at_under_that_extra():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for extra in ("poses", "mesh", "viewer", "web", "generate"):
        for requirement in extras[extra]:
            name = re.match(r"[\w-]+", requirement).group().replace("open3d-cpu", "open3d")
            assert doctor.PACKAGES[name].extra == extra


def test_what_is_installed_is_told_with_its_version_and_without_importing_it():
    code = (
        "import sys; from tools import doctor; found = doctor.examine(); "
        "heavy = {package.module for package in doctor.PACKAGES.values()} & set(sys.modules); "
        "assert not heavy, heavy; print(next(f.state for f in found if f.subject == 'pycolmap'))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.startswith(metadata.version("pycolmap"))
    assert f"kornia {metadata.version('kornia')}" in find("libraries").state


def test_a_package_whose_files_are_gone_is_to_be_installed_again(monkeypatch):
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda wanted: None)
    finding = doctor.package("pycolmap")
    assert "its files are gone" in finding.state
    assert finding.remedy == "pip install --force-reinstall pycolmap"


def test_a_library_that_does_not_load_is_named_with_its_debian_package(monkeypatch, tmp_path):
    """One that is missing, and one that is there and broken."""
    broken = tmp_path / "libbroken.so.1"
    broken.write_bytes(b"not a library")
    wanted = {"libnothere.so.7": "libnothere7", str(broken): "libbroken1"}
    assert doctor.not_loadable({"libc.so.6": "libc6", **wanted}) == wanted
    monkeypatch.setattr(doctor, "SHARED", wanted)
    monkeypatch.setattr(doctor.sys, "platform", "linux")
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(doctor, "version_of", lambda names: "0.20.0")
    finding = doctor.package("open3d")
    assert finding.state.startswith("0.20.0, cannot be imported without libnothere.so.7")
    assert finding.remedy == "Debian: apt install libnothere7 libbroken1"
    assert "libnothere7 libbroken1" in doctor.windows().remedy


def test_without_a_vulkan_driver_windows_name_the_package(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "VULKAN_DRIVERS", (str(tmp_path), "/nowhere"))
    assert "mesa-vulkan-drivers" in doctor.windows().remedy
    (tmp_path / "lvp_icd.json").write_text("{}")
    assert "mesa-vulkan-drivers" not in (doctor.windows().remedy or "")


def test_a_display_is_told_and_whether_it_answers(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    finding = doctor.display()
    assert finding.state == "none: DISPLAY is not set" and "--web" in finding.remedy
    monkeypatch.setenv("DISPLAY", ":9753")
    monkeypatch.setattr("tools.viewer.display.answers", lambda: False)
    assert doctor.display().state == "DISPLAY=:9753, does not answer"


def test_a_gpu_that_this_torch_cannot_use_is_told(monkeypatch):
    """The driver is there, and torch is the CPU build: the commonest way to train slowly."""
    monkeypatch.setattr(doctor.Path, "exists", lambda path: True)
    torch = SimpleNamespace(
        cuda=SimpleNamespace(is_available=lambda: False), version=SimpleNamespace(cuda=None)
    )
    finding = doctor.cuda(torch)
    assert "the CPU build" in finding.state and "CUDA build of torch" in finding.remedy


def test_json_is_one_document_of_every_finding(capsys):
    assert doctor.main(["--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [entry["subject"] for entry in told] == [finding.subject for finding in doctor.examine()]
    assert all(set(entry) == {"subject", "state", "remedy"} for entry in told)


def test_the_doctor_prints_a_remedy_under_its_finding(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(library, "FOLDER", tmp_path)
    assert doctor.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    index = next(i for i, line in enumerate(lines) if line.startswith("kernels"))
    assert lines[index + 1].strip().startswith("-> install a C++ compiler")
