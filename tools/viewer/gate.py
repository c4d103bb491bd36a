"""viser's server, with a gate before it that lets in whom the door says (tools/viewer/door.py).

Everybody else is told 403 and one line, and who does not write HTTP as it has to be is told nothing.

The gate stands in the opening handshake (`process_request`) of the server that viser runs; it is no proxy. So
there is one port, and none behind it by which to go around the gate; and one parser of requests, which takes
one request a connection and no body, where two could be set at odds about the end of a request. viser has no
argument for this: while it starts, `websockets.asyncio.server.serve`, which it calls, is wrapped. A viser
that no longer calls it is stopped at once and refused.
"""

import contextlib
import logging
import os
import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from tools.viewer.door import Door, Verdict, bracketed, cookie_name

if TYPE_CHECKING:
    from viser import ViserServer

TOKEN_BYTES = 32
CONNECTIONS = 64  # at one time; a page holds one
HEAD_SECONDS = 10  # for a request to be there, and its answer sent
REFUSAL = "render: open the address that the viewer printed\n"

_opening = threading.Lock()  # one at a time: see _wrapped


class Connections:
    """Those that are open: not too many, because open files are limited, and none once they are closed."""

    def __init__(self) -> None:
        self._open: set[Any] = set()
        self._closed = False

    def made(self, connection: Any) -> None:
        self._open.add(connection)
        if self._closed or len(self._open) > CONNECTIONS:
            connection.transport.abort()

    def lost(self, connection: Any) -> None:
        self._open.discard(connection)

    def close(self) -> None:
        """In the thread of the server's event loop."""
        self._closed = True
        for connection in list(self._open):
            connection.transport.abort()


@dataclass(frozen=True)
class Gate:
    """A viser server that only holders of the token get in to.

    server  to show things with
    url     what to open in a browser; holds the token
    """

    server: "ViserServer"
    url: str
    connections: Connections = field(repr=False)

    def close(self) -> None:
        """Stop the server and close its port. Twice is the same as once."""
        # The server would wait for those that have not said what they want; browsers open some in advance.
        with contextlib.suppress(RuntimeError):  # the loop has ended before
            self.server.get_event_loop().call_soon_threadsafe(self.connections.close)
        with _silenced():
            self.server.stop()


def open_gate(host: str = "127.0.0.1", port: int = 8080) -> Gate:
    """Start a viser server behind a gate. Port 0 is any free one. From any thread; returns when it answers.

    Raises: OSError if the port is not to be had, ValueError if there is none of that number; ImportError if
    viser is missing; RuntimeError if this viser cannot be guarded.
    """
    try:
        import viser
    except ImportError as error:
        raise ImportError('the web viewer needs viser: pip install "render-fields[web]"') from error
    listening = _listen(host, port)
    address, port = listening.getsockname()[:2]
    door = Door.of(host, address, secrets.token_urlsafe(TOKEN_BYTES))
    connections = Connections()
    try:
        with _opening, _silenced(), _wrapped(door, listening, connections) as used:
            # What it would listen on by itself, were it not to take the socket that it is given.
            server = viser.ViserServer(host="127.0.0.1", port=0, verbose=False)
            if not used:
                server.stop()
    except BaseException:
        listening.close()
        raise
    if not used:
        listening.close()
        raise RuntimeError(
            f"viser {viser.__version__} starts its server in a way that cannot be guarded; "
            'pip install "render-fields[web]" installs one that can'
        )
    # By its number: of a name that has two, another program could have the other, and be shown the token.
    name = socket.gethostname() if door.any_address else bracketed(address)
    return Gate(server, f"http://{name}:{port}/?token={door.token}", connections)


def _listen(host: str, port: int) -> socket.socket:
    if not 0 <= port < 1 << 16:
        raise ValueError(f"--port {port}: is not one of 1 to 65535, or 0 for any free one")
    try:
        family, *_, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server(address, family=family)
    except OSError as error:
        place = f"port {port} of {host or 'every address'}"
        cause = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno)
        raise OSError(f"{place}: {cause}; give another --port, or 0 for any free one") from error


@contextlib.contextmanager
def _wrapped(door: Door, listening: socket.socket, connections: Connections) -> Iterator[list[bool]]:
    """While this lasts, a server that viser starts listens on `listening`, behind `door`; others are let be.

    `connections` always holds those of that server. Yields a list that is not empty once it has started.
    viser starts it in a thread of its own, so the function that it calls is exchanged for all of the process,
    by one thread at a time.
    """
    import websockets.asyncio.server as library

    serve, used = library.serve, []

    def guarded(handler: Callable[..., Any], *place: Any, **options: Any) -> Any:
        if not str(getattr(handler, "__module__", "")).startswith("viser."):
            return serve(handler, *place, **options)
        used.append(True)
        options |= {
            "process_request": _judging(door, options.get("process_request")),
            "process_response": _finish,
            "create_connection": _connection_class(connections),
            "open_timeout": HEAD_SECONDS,
            "server_header": None,
            "logger": _logger(),
        }
        return serve(handler, sock=listening, **options)

    library.serve = guarded
    try:
        yield used
    finally:
        library.serve = serve


def _judging(door: Door, enter: Callable[..., Any] | None) -> Callable[..., Any]:
    """A `process_request` that hands on to `enter` who enters."""

    def process_request(connection: Any, request: Any) -> Any:
        verdict = door.judge(request.path, request.headers)
        if verdict is Verdict.ENTERS:
            return enter(connection, request) if enter else None
        if verdict is Verdict.REFUSED:
            return connection.respond(HTTPStatus.FORBIDDEN, REFUSAL)
        response = connection.respond(HTTPStatus.SEE_OTHER, "")
        name = cookie_name(request.headers["Host"])
        response.headers["Set-Cookie"] = f"{name}={door.token}; Path=/; HttpOnly; SameSite=Strict"
        response.headers["Location"] = "/"
        return response

    return process_request


def _finish(connection: Any, request: Any, response: Any) -> None:
    """A `process_response`: what every answer says besides, viser's too."""
    if response.status_code == HTTPStatus.SWITCHING_PROTOCOLS:
        return
    response.headers.pop("Connection", None)
    response.headers.update(
        {
            "Connection": "close",
            "Cache-Control": "no-store",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
        }
    )
    if response.status_code == HTTPStatus.OK:
        # The page holds its scripts, styles and pictures itself, and talks to this server and no other.
        own = "'self' data: blob:"
        response.headers["Content-Security-Policy"] = (
            f"default-src {own} 'unsafe-inline' 'unsafe-eval'; "
            f"connect-src {own} ws://{request.headers['Host']}; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )


def _connection_class(connections: Connections) -> type:
    """Of websockets' server, with a list kept."""
    from websockets.asyncio.server import ServerConnection

    class Listed(ServerConnection):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            connections.made(self)

        def connection_lost(self, error: Exception | None) -> None:
            connections.lost(self)
            super().connection_lost(error)

    return Listed


def _logger() -> logging.Logger:
    """Reports what goes wrong in viser's handlers and ours, and not what strangers send or leave unsaid.

    An AssertionError is the library's own, at bytes behind a request that has not been answered.
    """
    from websockets.exceptions import WebSocketException

    def is_ours(record: logging.LogRecord) -> bool:
        strange = (WebSocketException, AssertionError)
        return not (record.exc_info and isinstance(record.exc_info[1], strange))

    logger = logging.Logger("tools.viewer.gate", logging.WARNING)
    logger.addFilter(is_ours)
    return logger


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """viser prints, through rich, an address that lacks the token, and that it has stopped."""
    import rich

    console = rich.get_console()
    quiet, console.quiet = console.quiet, True
    try:
        yield
    finally:
        console.quiet = quiet
