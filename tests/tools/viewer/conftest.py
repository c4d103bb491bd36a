"""A viser server behind a gate, watched from both sides."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.tools.viewer.visits import HOSTS, Watched
from tools.viewer import gate as module
from tools.viewer.gate import open_gate


@pytest.fixture
def watched_gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Watched]]:
    """Opens gates on a host of this machine; they are closed in the end."""
    opened: list[Watched] = []
    judging = module._judging

    def open_watched(host: str = "127.0.0.1") -> Watched:
        arrived: list[str] = []
        entered: list[str] = []

        def watched_judging(door: Any, enter: Callable[..., Any]) -> Callable[..., Any]:
            def see(connection: Any, request: Any) -> Any:
                entered.append(request.path)
                return enter(connection, request)

            process = judging(door, see)

            def arrive(connection: Any, request: Any) -> Any:
                arrived.append(request.path)
                return process(connection, request)

            return arrive

        monkeypatch.setattr(module, "_judging", watched_judging)
        opened.append(Watched(open_gate(host, port=0), arrived, entered))
        return opened[-1]

    yield open_watched
    for watched in opened:
        watched.gate.close()


@pytest.fixture(params=HOSTS)
def gate(request: pytest.FixtureRequest, watched_gate: Callable[..., Watched]) -> Watched:
    """One that listens on a loopback address, and one on another."""
    return watched_gate(request.param)
