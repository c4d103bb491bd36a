"""The server behind a gate: one port, nothing printed, and a viser that has changed is refused."""

import asyncio
import contextlib
import os
import socket
import threading
import types
from pathlib import Path

import pytest
import viser
import viser.infra._infra
import websockets

from tests.tools.viewer.visits import head, is_refused, talk
from tools.viewer.gate import open_gate


def listening_ports() -> set[tuple[str, int]]:
    """Where this process listens, as Linux tells it."""
    own = set()
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            own.add(os.readlink(link))
    tables = "".join(Path(f"/proc/net/{table}").read_text() for table in ("tcp", "tcp6"))
    rows = [line.split() for line in tables.splitlines()]
    heard = [row[1].split(":") for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in own]
    return {(address, int(port, 16)) for address, port in heard}


def test_there_is_one_port_and_none_when_it_is_closed(watched_gate):
    """Nothing listens behind the gate, so that nothing can be reached past it."""
    if not Path("/proc/net/tcp").exists():
        return  # only Linux tells
    before = listening_ports()
    gate = watched_gate()
    assert listening_ports() - before == {("0100007F", gate.port)}
    threads = threading.active_count()
    gate.gate.close()
    gate.gate.close()
    assert listening_ports() == before and threading.active_count() < threads
    again = open_gate(gate.host, gate.port)
    again.close()


def test_closing_waits_for_nobody(watched_gate):
    """Not for a page, not for a browser's connection in advance, not for half a request."""
    before = set(threading.enumerate())
    gate = watched_gate()
    with contextlib.ExitStack() as stack:
        for begun in (head(gate, "/", "websocket"), b"", b"GET / HTTP/1.1\r\n"):
            line = stack.enter_context(socket.create_connection((gate.host, gate.port)))
            line.sendall(begun)
            if begun.endswith(b"\r\n\r\n"):
                line.recv(12)
        gate.gate.close()
    # In vain it waits for six seconds, and leaves its thread behind.
    assert all(thread.name.startswith("ThreadPool") for thread in set(threading.enumerate()) - before)


def test_a_viser_that_cannot_be_guarded_is_stopped(monkeypatch):
    """An update that starts its server otherwise must not open a port that nobody guards."""
    real = websockets.asyncio.server.serve
    unreachable = types.SimpleNamespace(server=types.SimpleNamespace(serve=real, ServerConnection=None))
    other = types.SimpleNamespace(**{**vars(websockets), "asyncio": unreachable})
    monkeypatch.setattr(viser.infra._infra, "websockets", other)
    before = listening_ports() if Path("/proc/net/tcp").exists() else None
    with pytest.raises(RuntimeError, match="cannot be guarded"):
        open_gate(port=0)
    assert websockets.asyncio.server.serve is real
    if before is not None:
        assert listening_ports() == before


def test_only_visers_server_gets_the_gate(watched_gate, monkeypatch):
    """A websockets server that other code starts in the same moment is let alone."""
    started = viser.ViserServer.__init__

    def start_both(self, *arguments, **options):
        async def handler(connection):
            await connection.send("hello")

        async def hear() -> str:
            async with websockets.asyncio.server.serve(handler, "127.0.0.1", 0) as server:
                address = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
                async with websockets.connect(address, proxy=None) as line:
                    return await line.recv()

        assert asyncio.run(hear()) == "hello"
        started(self, *arguments, **options)

    monkeypatch.setattr(viser.ViserServer, "__init__", start_both)
    gate = watched_gate()
    assert is_refused(talk(gate, head(gate, Cookie=None)))


def test_a_port_that_is_taken_is_named(watched_gate):
    gate = watched_gate()
    with pytest.raises(OSError, match=rf"port {gate.port} of 127\.0\.0\.1[^(]*--port"):
        open_gate(gate.host, gate.port)
    with pytest.raises(ValueError, match="--port 70000"):
        open_gate(gate.host, 70000)


def test_nothing_is_printed(watched_gate, capfd):
    """viser would print an address that lacks the token."""
    watched_gate().gate.close()
    assert capfd.readouterr() == ("", "")
