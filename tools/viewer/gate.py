"""viser's server with a gate before it: only who holds a token gets in, and only from the gate's own page.

viser asks nobody who they are, nor which page made their browser come: whoever reaches its port sees and
steers all, and every web site can reach the ports of the machine that its visitor's browser runs on. So each
request, for a page or for a websocket, is judged before viser sees it. What has to be right:

Host    is a name of this gate: localhost, 127.0.0.1, [::1] or what it listens on. A name that an attacker has
        pointed at this address (DNS rebinding) is none. The port does not matter: through
        `ssh -L 9000:127.0.0.1:8080` the browser asks for localhost:9000.
Origin  where there is one, is http:// and that very Host; for a websocket there must be one. The browser
        writes both and no page can forge them: Host is where the request goes, Origin the page that it comes
        from. If they are equal, that page came from the name and port under which the browser reaches this
        gate, so from this gate. That is why any port may pass.
Sec-Fetch-Site  where there is one, says that the request comes from the same origin or from no page.
token   stands in a cookie. The address that `open_gate` gives holds it once: the answer to that is the cookie
        (HttpOnly, SameSite=Strict) and a redirection to an address without it. Programs, which can write any
        Host and Origin, do not know the token; those on this machine neither.

Everybody else is told 403 and one line, and who does not write HTTP as it has to be is told nothing.

The gate stands in the opening handshake (`process_request`) of the server that viser runs; it is no proxy. So
there is one port, and none behind it by which to go around the gate; and one parser of requests, which takes
one request a connection and no body, where two could be set at odds about the end of a request. viser has no
argument for this: while it starts, `websockets.asyncio.server.serve`, which it calls, is wrapped. A viser
that no longer calls it is stopped at once and refused.

Not guarded against: cookies know no ports, so another server under the same name that is visited with the
same browser is shown the token; and beyond the loopback anybody on the way can read http. An SSH tunnel mends
the second.
"""

import hmac
import ipaddress
import logging
import os
import re
import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from viser import ViserServer
    from websockets.datastructures import Headers

TOKEN_BYTES = 32
CONNECTIONS = 64  # at one time; a page holds one
HEAD_SECONDS = 10  # for a request to be there, and its answer sent
REFUSAL = "render: open the address that the viewer printed\n"
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
FIELDS = ("Host", "Origin", "Sec-Fetch-Site", "Upgrade", "Cookie")  # that are judged by
AUTHORITY = re.compile(r"([a-z0-9.-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?", re.ASCII)

_opening = threading.Lock()  # one at a time: see _wrapped


class Verdict(Enum):
    REFUSED = "refused"
    TOKEN = "token"  # brings the right token: is given the cookie
    ENTERS = "enters"


@dataclass(frozen=True)
class Door:
    """What a request is measured by: the token, and the names that it may ask for.

    any_address: every number will do as well, where the gate listens everywhere. Nobody can point a number
    elsewhere, so that there need be no list of them.
    """

    token: str
    names: frozenset[str]
    any_address: bool = False

    @staticmethod
    def of(host: str, address: str, token: str) -> "Door":
        """The door of a gate that was to listen on `host`, and does on `address`."""
        if everywhere := ipaddress.ip_address(address).is_unspecified:
            host = socket.gethostname()
        return Door(token, frozenset((*LOOPBACK, host.lower(), bracketed(address))), everywhere)

    def judge(self, path: str, headers: "Headers") -> Verdict:
        """What becomes of a request. `path` is its target, with the query; no header may stand twice."""
        fields = [headers.get_all(name) for name in FIELDS]
        if any(len(values) > 1 for values in fields):
            return Verdict.REFUSED
        host, origin, site, upgrade, cookies = (values[0] if values else None for values in fields)
        authority = AUTHORITY.fullmatch((host or "").lower())
        if authority is None or not self._answers_to(authority[1]):
            return Verdict.REFUSED
        if origin is None and upgrade is not None:
            return Verdict.REFUSED
        if origin is not None and origin.lower() != f"http://{authority[0]}":
            return Verdict.REFUSED
        if site not in (None, "same-origin", "none") or not path.startswith("/"):
            return Verdict.REFUSED
        if path.startswith("/?token="):
            right = upgrade is None and self._is_token(path.removeprefix("/?token="))
            return Verdict.TOKEN if right else Verdict.REFUSED
        if not any(self._is_token(value) for value in values_of(cookie_name(host), cookies)):
            return Verdict.REFUSED
        return Verdict.ENTERS

    def _answers_to(self, name: str) -> bool:
        return name in self.names or (self.any_address and is_address(name))

    def _is_token(self, text: str) -> bool:
        """In a time that does not depend on how much of it is right."""
        return hmac.compare_digest(text.encode(errors="surrogateescape"), self.token.encode())


@dataclass(frozen=True)
class Gate:
    """A viser server that only holders of the token get in to.

    server  to show things with
    url     what to open in a browser; holds the token
    """

    server: "ViserServer"
    url: str

    def close(self) -> None:
        """Stop the server and close its port. Twice is the same as once."""
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
    try:
        with _opening, _silenced(), _wrapped(door, listening) as used:
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
    return Gate(server, f"http://{name}:{port}/?token={door.token}")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens on `host`."""
    if is_address(bracketed(host)):
        return ipaddress.ip_address(host).is_loopback
    return host.lower() == "localhost"


def is_address(name: str) -> bool:
    """Whether the name in a Host header is a number: 192.168.0.7 or [fe80::1]."""
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return (":" in name) == name.startswith("[")


def bracketed(host: str) -> str:
    """A host as addresses of pages have it: [::1] for ::1."""
    return f"[{host}]" if ":" in host else host


def cookie_name(host: str) -> str:
    """Of the port that the browser asks for: viewers behind one name do not take each other's cookie."""
    return f"render-{host.rpartition(']')[2].partition(':')[2] or '80'}"


def values_of(name: str, cookies: str | None) -> list[str]:
    """Values of the cookies of that name in a Cookie header."""
    pairs = (cookie.strip().partition("=") for cookie in (cookies or "").split(";"))
    return [value for found, _, value in pairs if found == name]


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


@contextmanager
def _wrapped(door: Door, listening: socket.socket) -> Iterator[list[bool]]:
    """While this lasts, a server that viser starts listens on `listening`, behind `door`; others are let be.

    Yields a list that is not empty once that has happened. viser starts its server in a thread of its own, so
    the function that it calls is exchanged for all of the process, by one thread at a time.
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
            "create_connection": _limited(),
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


def _limited() -> type:
    """A class of connections that are dropped when there are too many: open files are limited."""
    from websockets.asyncio.server import ServerConnection

    class Limited(ServerConnection):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if len(self.server.handlers) > CONNECTIONS:
                transport.abort()

    return Limited


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


@contextmanager
def _silenced() -> Iterator[None]:
    """viser prints, through rich, an address that lacks the token, and that it has stopped."""
    import rich

    console = rich.get_console()
    quiet, console.quiet = console.quiet, True
    try:
        yield
    finally:
        console.quiet = quiet
