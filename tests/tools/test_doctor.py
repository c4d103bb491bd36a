"""The doctor tells what is there, and what to do about what is not."""

import sys

import pytest

from fields.kernels import library
from tools import doctor


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


@pytest.mark.parametrize("name", list(doctor.OPTIONAL))
def test_a_missing_package_names_its_extra(monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda wanted: None)
    assert find(name).remedy == f'pip install ".[{doctor.OPTIONAL[name][1]}]"'


def test_the_doctor_prints_a_remedy_under_its_finding(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(library, "FOLDER", tmp_path)
    assert doctor.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    index = next(i for i, line in enumerate(lines) if line.startswith("kernels"))
    assert lines[index + 1].strip().startswith("-> install a C++ compiler")
