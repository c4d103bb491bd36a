"""Requests to a watched gate, as browsers and as others send them."""

import contextlib
import socket
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import viser

from tools.viewer.gate import REFUSAL, Gate

HOSTS = ("127.0.0.1", "127.0.0.2")
PAGE = (Path(viser.__file__).parent / "client/build/index.html").read_bytes()
# What a browser sends to open a websocket, besides the fields of every request
UPGRADE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Protocol": f"viser-v{viser.__version__}",
}


@dataclass(frozen=True)
class Watched:
    """A gate, and targets of requests: those that it judged (`arrived`), and of them those that viser saw."""

    gate: Gate
    arrived: list[str] = field(default_factory=list)
    entered: list[str] = field(default_factory=list)

    @property
    def host(self) -> str:
        return urlsplit(self.gate.url).hostname

    @property
    def port(self) -> int:
        return urlsplit(self.gate.url).port

    @property
    def token(self) -> str:
        return urlsplit(self.gate.url).query.removeprefix("token=")


def talk(gate: Watched, sent: bytes, host: str | None = None) -> bytes:
    """All that comes back until the other side closes; of a websocket, the beginning."""
    with socket.create_connection((host or gate.host, gate.port), timeout=10) as line:
        received = b""
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            line.sendall(sent)
            while chunk := line.recv(1 << 16):
                received += chunk
                if received.startswith(b"HTTP/1.1 101"):
                    break
        return received


def head(gate: Watched, target: str = "/", kind: str = "page", **changes: str | None) -> bytes:
    """A request as a browser sends it that has the cookie, but for some fields; None leaves one out."""
    place = f"{gate.host}:{gate.port}"
    fields = {"Host": place, "Cookie": f"render-{gate.port}={gate.token}", "Accept-Encoding": "identity"}
    if kind == "websocket":
        fields |= UPGRADE | {"Origin": f"http://{place}"}
    fields |= {name.replace("_", "-"): value for name, value in changes.items()}
    lines = [f"{name}: {value}" for name, value in fields.items() if value is not None]
    return "\r\n".join((f"GET {target} HTTP/1.1", *lines, "", "")).encode()


def named(gate: Watched, authority: str) -> dict[str, str]:
    """All that a browser would send that believes `authority` to be the gate."""
    port = authority.rpartition(":")[2]
    return {"Host": authority, "Origin": f"http://{authority}", "Cookie": f"render-{port}={gate.token}"}


def is_refused(answer: bytes) -> bool:
    """403, the one line, and nothing that tells of what is behind."""
    lines, _, body = answer.partition(b"\r\n\r\n")
    return lines.startswith(b"HTTP/1.1 403 ") and body == REFUSAL.encode() and b"Set-Cookie" not in lines
