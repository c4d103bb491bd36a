"""Requests that are damaged, slow, many, or made up: none goes where it should not."""

import contextlib
import socket
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.http11 import Request
from websockets.server import ServerProtocol

from tests.tools.viewer.visits import PAGE, head, is_refused, talk
from tools.viewer import gate as module
from tools.viewer.door import Door, Verdict
from tools.viewer.gate import CONNECTIONS

# Two parsers of these might not agree on where a request ends; the one that there is closes the connection.
MALFORMED = {
    "a body": lambda good: good[:-2] + b"Content-Length: 3\r\n\r\nabc",
    "two lengths": lambda good: good[:-2] + b"Content-Length: 0\r\nContent-Length: 5\r\n\r\n",
    "a length and chunks": lambda good: (
        good[:-2] + b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "chunks": lambda good: good[:-2] + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a folded line": lambda good: good[:-2] + b"X: a\r\n b\r\n\r\n",
    "bare line feeds": lambda good: good.replace(b"\r\n", b"\n"),
    "a bare carriage return": lambda good: good[:-2] + b"X: a\rb\r\n\r\n",
    "a space before the colon": lambda good: good[:-2] + b"Origin : http://attacker.example\r\n\r\n",
    "a zero byte": lambda good: good[:-2] + b"X: a\0b\r\n\r\n",
    "a zero byte in a name": lambda good: good[:-2] + b"X\0: a\r\n\r\n",
    "no colon": lambda good: good[:-2] + b"X\r\n\r\n",
    "an older HTTP": lambda good: good.replace(b"HTTP/1.1", b"HTTP/1.0"),
    "another method": lambda good: good.replace(b"GET", b"POST"),
    "HTTP/2": lambda good: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a long target": lambda good: good.replace(b"GET /", b"GET /" + b"a" * 20_000),
    "a long field": lambda good: good[:-2] + b"X: " + b"a" * 20_000 + b"\r\n\r\n",
    "many fields": lambda good: good[:-2] + b"X: a\r\n" * 200 + b"\r\n",
    "no end": lambda good: b"a" * 100_000,
    "TLS": lambda good: bytes.fromhex("160301006d0100006903030000") + bytes(100) + b"\n",
}


@pytest.mark.parametrize("kind", ["page", "websocket"])
def test_what_is_not_http_as_it_is_written_gets_no_answer(gate, kind, capfd, caplog):
    for name, spoil in MALFORMED.items():
        assert talk(gate, spoil(head(gate, "/", kind))) == b"", name
    assert not gate.arrived
    assert capfd.readouterr() == ("", "") and not caplog.records, "strangers write nothing into the terminal"


@pytest.mark.parametrize("target", ["http://{}:{}/", "http://attacker.example/", "*", "", "?", "{}:{}"])
def test_targets_of_other_forms_do_not_enter(gate, target):
    answer = talk(gate, head(gate, target.format(gate.host, gate.port)))
    assert answer == b"" or is_refused(answer)
    assert not gate.entered


@pytest.mark.parametrize("first", [{"Cookie": None}, {}])
@pytest.mark.parametrize("pause", [0, 0.2])
def test_a_connection_takes_one_request(gate, first, pause, capfd):
    """What is sent behind it, with it or later, is never read as another."""
    follower = head(gate, "/second")
    with socket.create_connection((gate.host, gate.port), timeout=10) as line:
        line.sendall(head(gate, "/first", **first) + (b"" if pause else follower * 2))
        time.sleep(pause)
        answer = b""
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            line.sendall(follower)
            while chunk := line.recv(1 << 16):
                answer += chunk
    assert answer.count(b"HTTP/1.1") == (1 if pause else answer.startswith(b"HTTP/1.1"))
    # What comes with it may have the connection closed before it is judged.
    assert gate.arrived == ["/first"] or (gate.arrived == [] and not pause)
    assert gate.entered == ([] if first else gate.arrived)
    assert capfd.readouterr() == ("", "")


def test_who_is_slow_or_says_nothing_is_dropped(watched_gate, monkeypatch, capfd):
    monkeypatch.setattr(module, "HEAD_SECONDS", 0.3)
    gate = watched_gate()
    for said in (b"", b"GET / HTTP/1.1\r\nHost: localhost\r\n"):
        assert talk(gate, said) == b""
    with socket.create_connection((gate.host, gate.port)) as line:
        line.sendall(b"GET / HT")
    assert not gate.arrived and capfd.readouterr() == ("", "")


def test_connections_are_limited_and_freed(watched_gate):
    gate = watched_gate()
    with contextlib.ExitStack() as stack:
        lines = [
            stack.enter_context(socket.create_connection((gate.host, gate.port), timeout=5))
            for _ in range(CONNECTIONS)
        ]
        assert talk(gate, head(gate)) == b"", "one too many"
        assert not gate.arrived
        lines[0].sendall(head(gate))
        assert lines[0].recv(15) == b"HTTP/1.1 200 OK"
    deadline = time.monotonic() + 5
    while not talk(gate, head(gate)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert talk(gate, head(gate)).endswith(PAGE)


def test_many_are_served_and_many_refused_at_once(gate):
    def visit(index: int) -> bool:
        if index % 2:
            return is_refused(talk(gate, head(gate, Cookie=None)))
        return talk(gate, head(gate)).endswith(b"\r\n\r\n" + PAGE)

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(visit, range(120)))
    assert len(gate.entered) == 60


TOKEN = "t0ken-of_the-gate"
DOOR = Door.of("127.0.0.1", "127.0.0.1", TOKEN)
NEAR = ["", TOKEN[:-1], TOKEN + "0", TOKEN.upper(), TOKEN[::-1], f"{TOKEN},{TOKEN}", f'"{TOKEN}"']
GUESSES = st.sampled_from(NEAR) | st.text(st.characters(codec="ascii", categories=("L", "N", "P", "S")))
PLACES = st.builds(
    "{}{}".format,
    st.sampled_from(["localhost", "[::1]", "attacker.example", "x@localhost"]),
    st.sampled_from(["", ":8080", ":9000", ":", ":x"]),
)
ORIGINS = st.just("null") | st.builds("{}{}".format, st.sampled_from(["http://", "https://"]), PLACES)
COOKIES = ["render-80", "render-8080", "render-9000", "other"]


def some_fields(tokens: st.SearchStrategy[str]) -> st.SearchStrategy[list[tuple[str, str]]]:
    """A request's fields: Host, Cookie, and up to three more, names in any letters, some twice."""
    cookie = st.builds("{}={}".format, st.sampled_from(COOKIES), tokens)
    cookies = st.lists(cookie, min_size=1, max_size=3).map("; ".join)
    values = {
        "Host": PLACES,
        "Origin": ORIGINS,
        "Sec-Fetch-Site": st.sampled_from(["none", "same-origin", "same-site", "cross-site", ""]),
        "Upgrade": st.sampled_from(["websocket", "h2c", ""]),
        "Cookie": cookies,
        "X-Forwarded-Host": PLACES,
    }
    pairs = {name: st.tuples(st.sampled_from([name, name.upper()]), value) for name, value in values.items()}
    more = st.lists(st.one_of(*pairs.values()), max_size=3)
    return st.builds(lambda *fields: [*fields[:2], *fields[2]], pairs["Host"], pairs["Cookie"], more)


def sent(target: str, fields) -> bytes:
    lines = [f"GET {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields), "", ""]
    return "\r\n".join(lines).encode(errors="surrogateescape")


def verdicts(data: bytes) -> list[Verdict]:
    """What the parser that viser's server uses makes of bytes, and the door of that."""
    protocol = ServerProtocol()
    protocol.receive_data(data)
    requests = [event for event in protocol.events_received() if isinstance(event, Request)]
    return [DOOR.judge(request.path, request.headers) for request in requests]


def test_examples_of_the_made_up_requests_enter():
    """What is changed below would get in as it is."""
    usual = [("Host", "localhost:8080"), ("Cookie", f"a=b; render-8080={TOKEN}")]
    browser = [("Origin", "http://localhost:8080"), ("Upgrade", "websocket")]
    assert verdicts(sent("/", usual)) == verdicts(sent("/", usual + browser)) == [Verdict.ENTERS]
    assert verdicts(sent(f"/?token={TOKEN}", usual[:1])) == [Verdict.TOKEN]


@settings(deadline=None, max_examples=500)
@given(some_fields(GUESSES), st.sampled_from(["/", "/x", "/?token="]), GUESSES)
def test_without_the_token_nothing_enters(fields, target, guess):
    data = sent(target + guess if target.endswith("=") else target, fields)
    assert set(verdicts(data)) <= {Verdict.REFUSED}


@settings(deadline=None, max_examples=1000)
@given(some_fields(st.just(TOKEN)))
def test_with_the_token_only_the_gates_own_page_enters(fields):
    """By another reading of the same rules, with the standard library's view of addresses."""
    value = {name.lower(): value for name, value in fields}
    if verdicts(sent("/", fields)) != [Verdict.ENTERS]:
        return
    counts = Counter(name.lower() for name, _ in fields)
    assert all(counts[name] <= 1 for name in ("host", "origin", "cookie", "upgrade", "sec-fetch-site"))
    host = urlsplit(f"http://{value['host']}")
    assert host.hostname in ("localhost", "127.0.0.1", "::1") and host.username is None
    origin = urlsplit(value.get("origin", ""))
    assert (origin.scheme, origin.netloc) == ("http", host.netloc) or not {"origin", "upgrade"} & set(value)
    assert value.get("sec-fetch-site", "none") in ("none", "same-origin")
    assert f"render-{host.port or 80}={TOKEN}" in value["cookie"].split("; ")


DAMAGE = [b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b";", b"\r\n\r\n", b"\x80", b"x"]


@settings(deadline=None, max_examples=500)
@given(
    st.sampled_from([{"Host": "attacker.example:8080"}, {"Cookie": f"render-8080={TOKEN[:-1]}"}]),
    st.lists(st.tuples(st.floats(0, 1), st.sampled_from(DAMAGE)), min_size=1, max_size=6),
)
def test_damage_does_not_open_the_door(bad, damage):
    """Bytes put anywhere into a request that is refused for one field only."""
    good = {"Host": "localhost:8080", "Origin": "http://localhost:8080", "Cookie": f"render-8080={TOKEN}"}
    whole = sent("/", (good | bad).items())
    for share, piece in damage:
        place = round(share * len(whole))
        whole = whole[:place] + piece + whole[place:]
    assert Verdict.ENTERS not in verdicts(whole)
