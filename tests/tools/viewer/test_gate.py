"""Nobody gets in without a token, or from another page: viser itself, sockets, two loopback addresses."""

import socket

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.tools.viewer.visits import HOSTS, PAGE, UPGRADE, head, is_refused, named, talk
from tools.viewer.door import bracketed, is_loopback


def test_the_address_gives_a_cookie_and_the_cookie_the_page(gate):
    path = gate.gate.url.partition(f":{gate.port}")[2]
    answer = talk(gate, head(gate, path, Cookie=None)).decode()
    assert answer.startswith("HTTP/1.1 303 ") and "\r\nLocation: /\r\n" in answer
    cookie = f"render-{gate.port}={gate.token}"
    assert f"\r\nSet-Cookie: {cookie}; Path=/; HttpOnly; SameSite=Strict\r\n" in answer
    assert not gate.entered
    lines, _, body = talk(gate, head(gate, Cookie=f"other=1; {cookie}; render-1=x")).partition(b"\r\n\r\n")
    assert lines.startswith(b"HTTP/1.1 200 ") and body == PAGE
    assert b"Server:" not in lines
    for field in (b"Cache-Control: no-store", b"Referrer-Policy: no-referrer", b"X-Frame-Options: DENY"):
        assert field in lines


def test_the_websocket_is_visers_own(gate):
    """Opened with the cookie, viser sends what its page shows, and hears the page's camera."""
    place = f"http://{gate.host}:{gate.port}"
    gate.gate.server.gui.add_markdown("x" * 3_000_000)
    with connect(
        place.replace("http", "ws"),
        origin=place,
        subprotocols=[UPGRADE["Sec-WebSocket-Protocol"]],
        additional_headers={"Cookie": f"render-{gate.port}={gate.token}"},
        compression=None,
        max_size=None,
        proxy=None,
    ) as line:
        assert isinstance(line.recv(timeout=10), bytes)
        assert line.ping().wait(10)
    assert gate.entered == ["/"]


# Each turns a good request into one that must not get in.
CHANGES = {
    "no cookie": lambda gate: {"Cookie": None},
    "an empty token": lambda gate: {"Cookie": f"render-{gate.port}="},
    "a token one letter short": lambda gate: {"Cookie": f"render-{gate.port}={gate.token[:-1]}"},
    "a token with another case": lambda gate: {"Cookie": f"render-{gate.port}={gate.token.swapcase()}"},
    "bytes beyond ASCII": lambda gate: {"Cookie": f"render-{gate.port}=\u00e9"},
    "the cookie of another port": lambda gate: {"Cookie": f"render-{gate.port + 1}={gate.token}"},
    "two cookie fields": lambda gate: {"Cookie": f"a=b\r\nCookie: render-{gate.port}={gate.token}"},
    "no Host": lambda gate: {"Host": None},
    "two Hosts": lambda gate: {"Host": f"{gate.host}:{gate.port}\r\nHost: {gate.host}:{gate.port}"},
    "a name that points here": lambda gate: named(gate, f"attacker.example:{gate.port}"),
    "a name that begins as ours": lambda gate: named(gate, f"localhost.attacker.example:{gate.port}"),
    "a name and ours as its user": lambda gate: named(gate, f"localhost@attacker.example:{gate.port}"),
    "the same without an Origin": lambda gate: {"Host": f"localhost:{gate.port}@attacker.example"},
    "another of this machine's addresses": lambda gate: named(gate, f"127.0.0.3:{gate.port}"),
    "no Origin's host": lambda gate: {"Origin": "http://"},
    "Origin null": lambda gate: {"Origin": "null"},
    "another site": lambda gate: {"Origin": "http://attacker.example"},
    "another port here": lambda gate: {"Origin": f"http://{gate.host}:{gate.port + 1}"},
    "another loopback address": lambda gate: {"Origin": f"http://127.0.0.3:{gate.port}"},
    "another scheme": lambda gate: {"Origin": f"https://{gate.host}:{gate.port}"},
    "two Origins": lambda gate: {"Origin": "\r\nOrigin: ".join([f"http://{gate.host}:{gate.port}"] * 2)},
    "a page of the same site": lambda gate: {"Sec_Fetch_Site": "same-site"},
    "a page of another site": lambda gate: {"Sec_Fetch_Site": "cross-site"},
}


@pytest.mark.parametrize("kind", ["page", "websocket"])
def test_without_the_token_or_from_another_page_nobody_enters(gate, kind):
    for name, changes in CHANGES.items():
        assert is_refused(talk(gate, head(gate, "/", kind, **changes(gate)))), name
        if kind == "page":
            login = f"/?token={gate.token}"
            if "Cookie" not in changes(gate):
                assert is_refused(talk(gate, head(gate, login, **{"Cookie": None, **changes(gate)}))), name
    assert not gate.entered


def test_a_websocket_needs_an_origin_and_the_cookie(gate):
    """Browsers always say where a page is from that opens one; the token in the address does not do."""
    assert is_refused(talk(gate, head(gate, "/", "websocket", Origin=None)))
    assert is_refused(talk(gate, head(gate, f"/?token={gate.token}", "websocket", Cookie=None)))
    with pytest.raises(InvalidStatus, match="403"):
        connect(f"ws://{gate.host}:{gate.port}", proxy=None)
    assert not gate.entered
    assert talk(gate, head(gate, "/", "websocket")).startswith(b"HTTP/1.1 101 ")


@pytest.mark.parametrize(
    "target",
    ["/?token=", "/?token=x", "/?token=%00", "/x?token={}", "//attacker.example?token={}", "/?a&token={}"],
)
def test_the_token_opens_only_where_the_address_has_it(gate, target):
    assert is_refused(talk(gate, head(gate, target.format(gate.token), Cookie=None)))
    assert not gate.entered


def test_through_a_tunnel_the_gate_is_known_by_the_tunnels_port(gate):
    """ssh -L 9000:127.0.0.1:PORT: the browser asks for localhost:9000, has a cookie for that, and gets in."""
    login = talk(gate, head(gate, f"/?token={gate.token}", Host="localhost:9000", Cookie=None))
    assert f"Set-Cookie: render-9000={gate.token};".encode() in login
    for name in ("localhost:9000", "127.0.0.1:9000", "[::1]:9000", "LOCALHOST:9000"):
        fields = {"Host": name, "Cookie": f"render-9000={gate.token}", "Origin": f"http://{name}"}
        assert talk(gate, head(gate, "/", "websocket", **fields)).startswith(b"HTTP/1.1 101 ")
        wrong = fields | {"Origin": f"http://{name[:-4]}{gate.port}"}
        assert is_refused(talk(gate, head(gate, "/", "websocket", **wrong)))


def test_a_gate_does_not_know_anothers_token(watched_gate):
    first, second = (watched_gate(host) for host in HOSTS)
    assert first.token != second.token and len(first.token) >= 43
    for here, there in ((first, second), (second, first)):
        assert is_refused(talk(here, head(here, Cookie=f"render-{here.port}={there.token}")))
        assert is_refused(talk(here, head(here, f"/?token={there.token}", Cookie=None)))
        assert not here.entered


ALONE = ("127.0.0.1", "127.3.4.5", "::1", "localhost", "LOCALHOST")
SEEN = ("0.0.0.0", "::", "", "192.168.0.7", "localhost.example")


@pytest.mark.parametrize("host", [*ALONE, *SEEN])
def test_loopback_is_told_from_what_others_reach(host):
    assert is_loopback(host) is (host in ALONE)


def test_a_gate_that_listens_everywhere_is_asked_for_by_any_number_and_its_own_name(watched_gate):
    """A number is not pointed elsewhere by anybody; other names still do not do."""
    gate = watched_gate("0.0.0.0")
    own = socket.gethostname()
    assert gate.host == own.lower()
    for name, enters in (
        (own, True),
        ("192.168.0.7", True),
        ("[fe80::1]", True),
        ("attacker.example", False),
    ):
        answer = talk(gate, head(gate, **named(gate, f"{name}:{gate.port}")), host="127.0.0.1")
        assert answer.endswith(PAGE) is enters and is_refused(answer) is not enters


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("host", ["localhost", "::1"] if has_ipv6() else ["localhost"])
def test_the_address_is_a_number(watched_gate, host):
    """The name localhost has two; who listens on the other one must not be shown the token."""
    gate = watched_gate(host)
    assert gate.host in ("127.0.0.1", "::1")
    assert talk(gate, head(gate, **named(gate, f"{bracketed(gate.host)}:{gate.port}"))).endswith(PAGE)
