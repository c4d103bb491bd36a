"""Fixtures for all tests, and the rule about skips: only causes named here are allowed."""

import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

# As the command does, and for the same reason: torch's idle workers must not spin on cores others need.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import pytest
import torch

from render.cli import main

# A suite that a shell runs in the background ignores Ctrl-C, and so would the programs that it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A test may skip for these reasons only; `pytest.skip` with any other text fails the run.
ALLOWED_SKIPS = (
    "no GPU",
    "the processor lacks",  # "... avx512", "... amx"
    "RENDER_TEST_DATA is not set",
    # CI installs them (.ci/run), so that there a test that drives them cannot be left out unseen.
    *(() if os.environ.get("CI") else ("Chromium is not installed", "Xvfb or xdotool is not installed")),
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, default=0, help="seed of the random inputs")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "device" in metafunc.fixturenames:
        devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
        metafunc.parametrize("device", [torch.device(name) for name in devices], ids=devices)
    if "dtype" in metafunc.fixturenames:
        metafunc.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])


@pytest.fixture
def seed(pytestconfig: pytest.Config) -> int:
    """Seed of a test's random inputs (`pytest --seed N` tries another)."""
    return pytestconfig.getoption("--seed")


@pytest.fixture
def generator(seed: int) -> torch.Generator:
    """A seeded generator on the CPU."""
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def call_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """`render ARGUMENTS` in this process and a folder of its own, or `cwd`: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object, cwd: Path = tmp_path) -> tuple[int, str, str]:
        monkeypatch.chdir(cwd)
        code = main([*map(str, arguments)])
        return code, *capfd.readouterr()

    return run


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Folder of public captures, named by RENDER_TEST_DATA; skips where it is not set."""
    folder = os.environ.get("RENDER_TEST_DATA")
    if not folder:
        pytest.skip("RENDER_TEST_DATA is not set")
    return Path(folder)


@pytest.fixture
def disk() -> Iterator[Path]:
    """An empty folder on a disk; pytest's own can lie in memory."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        yield Path(folder)


def _cause(report: pytest.TestReport) -> str:
    return report.longrepr[2].removeprefix("Skipped: ") if isinstance(report.longrepr, tuple) else ""


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    """Count the skips by cause, and say which are not allowed."""
    causes: dict[str, int] = {}
    for report in terminalreporter.stats.get("skipped", []):
        causes[_cause(report)] = causes.get(_cause(report), 0) + 1
    for cause, count in sorted(causes.items()):
        allowed = cause.startswith(ALLOWED_SKIPS)
        terminalreporter.write_line(f"skipped {count}: {cause}" + ("" if allowed else "  <- NOT ALLOWED"))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """A skip of another kind fails the run: a test that silently never runs proves nothing."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or exitstatus != pytest.ExitCode.OK:
        return
    skipped = reporter.stats.get("skipped", [])
    if any(not _cause(report).startswith(ALLOWED_SKIPS) for report in skipped):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
