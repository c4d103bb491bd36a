"""Who may enter the web viewer: holders of its token, through its own page.

viser asks nobody who they are, nor which page made their browser come: whoever reaches its port sees and
steers all, and every web site can reach the ports of the machine that its visitor's browser runs on. What has
to be right in every request, for a page or for a websocket:

Host    is a name of this viewer: localhost, 127.0.0.1, [::1] or what it listens on. A name that an attacker
        has pointed at this address (DNS rebinding) is none. The port does not matter: through
        `ssh -L 9000:127.0.0.1:8080` the browser asks for localhost:9000.
Origin  where there is one, is http:// and that very Host; for a websocket there must be one. The browser
        writes both and no page can forge them: Host is where the request goes, Origin the page that it comes
        from. If they are equal, that page came from the name and port under which the browser reaches this
        viewer, so from this viewer. That is why any port may pass.
Sec-Fetch-Site  where there is one, says that the request comes from the same origin or from no page.
token   stands in a cookie. The address that the viewer is opened by holds it once: the answer to that is the
        cookie (HttpOnly, SameSite=Strict) and a redirection to an address without it. Programs, which can
        write any Host and Origin, do not know the token; those on this machine neither.

Not guarded against: cookies know no ports, so another server under the same name that is visited with the
same browser is shown the token; and beyond the loopback anybody on the way can read http. An SSH tunnel mends
the second.
"""

import hmac
import ipaddress
import re
import socket
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from websockets.datastructures import Headers

FIELDS = ("Host", "Origin", "Sec-Fetch-Site", "Upgrade", "Cookie")  # that are judged by
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
AUTHORITY = re.compile(r"([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?", re.ASCII)


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
