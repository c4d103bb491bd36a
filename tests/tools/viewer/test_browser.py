"""viser behind the gate, in a browser: its own page works whole, and no other page gets anything."""

import contextlib
import http.server
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import torch
import viser

from tests.browser import Browser, chromium
from tests.tools.viewer.visits import HOSTS, Watched
from tools.viewer.gate import REFUSAL

pytestmark = pytest.mark.browser
WIDTH, HEIGHT = 640, 480
IS_SHOWN = "document.querySelectorAll('canvas').length == 2"  # viser's, and one that it measures with
PANEL = 240  # rows from the top that viser's panel and notices may cover


@pytest.fixture(scope="module")
def one_browser(tmp_path_factory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("browser"), WIDTH, HEIGHT) as browser:
        yield browser


@pytest.fixture
def browser(one_browser) -> Iterator[Browser]:
    yield one_browser
    one_browser.close_pages()


def until(is_so: Callable[[], object], seconds: float | int = 30) -> bool:
    """Whether it came true in that time."""
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def root(gate: Watched) -> str:
    return f"http://{gate.host}:{gate.port}/"


def visit(browser: Browser, gate: Watched):
    """viser's page, and the client that its server has of it."""
    page = browser.open("about:blank")
    page.call("Network.setCookie", name=f"render-{gate.port}", value=gate.token, url=root(gate))
    # Without fixedDpr, viser draws fewer pixels where drawing is slow.
    page.go(f"{root(gate)}?fixedDpr=1")
    page.wait_for(IS_SHOWN)
    clients = gate.gate.server.get_clients
    assert until(clients), page.console()
    return page, next(iter(clients().values()))


def test_the_page_loads_and_keeps_the_token_to_itself(browser, watched_gate):
    gate = watched_gate()
    page = browser.open(gate.gate.url)
    page.wait_for(IS_SHOWN)
    assert until(lambda: gate.gate.server.get_clients()), page.console()
    assert page.evaluate("location.href") == root(gate)
    assert page.evaluate("document.cookie + document.referrer") == ""
    assert page.requests() == [gate.gate.url, root(gate)], "it asks nobody else, for fonts or anything"
    assert not [line for line in page.console() if "Content Security Policy" in line]
    assert "TypeError" in page.evaluate("fetch('http://127.0.0.1:9/').catch(String)"), "nor could it"

    page.evaluate("void location.reload()")
    again = browser.open(root(gate))
    again.wait_for(IS_SHOWN)
    page.wait_for(IS_SHOWN)


def test_without_the_token_there_is_one_line(browser, watched_gate):
    gate = watched_gate()
    page = browser.open(root(gate))
    assert page.evaluate("document.body.innerText") == REFUSAL
    assert not gate.entered


def test_two_viewers_under_one_name_both_stay_open(browser, watched_gate):
    """A browser sends the cookies of one to the other; neither takes the other's."""
    gates = watched_gate(), watched_gate()
    pages = [browser.open(gate.gate.url) for gate in gates]
    for page, gate in zip(pages, gates, strict=True):
        page.go(root(gate))
        page.wait_for(IS_SHOWN)


def test_a_background_picture_arrives_as_it_is(browser, watched_gate, generator):
    """A PNG of the canvas's size bit for bit; a JPEG closely; a smaller one is stretched."""
    gate = watched_gate()
    gate.gate.server.gui.configure_theme(show_logo=False)  # which would cover a corner
    page, client = visit(browser, gate)
    assert (client.camera.image_width, client.camera.image_height) == (WIDTH, HEIGHT)

    def shown(picture: torch.Tensor, **options) -> Callable[[int], bool]:
        client.scene.set_background_image(picture.numpy(), **options)
        whole = picture.repeat_interleave(HEIGHT // len(picture), 0).repeat_interleave(
            WIDTH // picture.shape[1], 1
        )
        return lambda most: bool((page.screenshot()[PANEL:].int() - whole[PANEL:].int()).abs().max() <= most)

    noise = torch.randint(0, 256, (HEIGHT, WIDTH, 3), dtype=torch.uint8, generator=generator)
    is_shown = shown(noise, format="png")
    assert until(lambda: is_shown(0)), page.console()
    column, row = torch.meshgrid(torch.arange(WIDTH), torch.arange(HEIGHT), indexing="xy")
    smooth = torch.stack([column * 255 // WIDTH, row * 255 // HEIGHT, 255 - column * 255 // WIDTH], -1).byte()
    is_shown = shown(smooth, format="jpeg", jpeg_quality=90)
    assert until(lambda: is_shown(8)), page.console()
    flat = torch.tensor([[[200, 30, 90]]], dtype=torch.uint8).expand(2, 2, 3).contiguous()
    is_shown = shown(flat, format="png")
    assert until(lambda: is_shown(0)), page.console()


def test_a_drag_turns_the_camera_about_what_it_looks_at(browser, watched_gate):
    page, client = visit(browser, watched_gate())
    before, centre = client.camera.position.copy(), client.camera.look_at.copy()
    heard = threading.Event()
    client.camera.on_update(lambda camera: heard.set())
    page.drag((200, 400), (320, 400))
    assert heard.wait(10) and until(lambda: abs(client.camera.position - before).max() > 0.1)
    after = torch.from_numpy(client.camera.position - client.camera.look_at)
    torch.testing.assert_close(after.norm(), torch.from_numpy(before - centre).norm())
    torch.testing.assert_close(after[2].item(), (before - centre)[2], atol=1e-6, rtol=0)


def test_a_camera_set_by_the_server_comes_back_the_same(browser, watched_gate):
    """OpenCV's axes, camera to world, and the vertical angle of view in radians, both ways."""
    from viser.transforms import SO3

    page, client = visit(browser, watched_gate())
    turn = SO3.from_matrix(torch.tensor([[0, 0, 1], [-1, 0, 0], [0, -1, 0.0]]).numpy())
    position = (-3.0, 0.5, 0.25)
    heard = []
    client.camera.on_update(lambda camera: heard.append((camera.position, camera.wxyz, camera.fov)))
    with client.atomic():
        client.camera.wxyz, client.camera.position, client.camera.fov = turn.wxyz, position, 0.8
    # What the page said before it heard of this may come first.
    assert until(lambda: heard and abs(heard[-1][0] - position).max() < 1e-6), page.console()
    assert abs(SO3(heard[-1][1]).as_matrix() - turn.as_matrix()).max() < 1e-6
    assert abs(heard[-1][2] - 0.8) < 1e-6


def test_a_file_is_downloaded_byte_for_byte(browser, watched_gate):
    page, client = visit(browser, watched_gate())
    content = secrets.token_bytes(5_000_000)
    client.send_file_download("made here.bin", content, save_immediately=True)
    assert page.wait_for_download("made here.bin").read_bytes() == content


@contextlib.contextmanager
def other_site(host: str) -> Iterator[str]:
    """The address of an empty page of a server of its own."""

    class Empty(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>another site</title>")

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer((host, 0), Empty) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://{host}:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


# Promises that are kept if the page gets something, be it an event; '' says that there is nothing in it.
ATTEMPTS = {
    "read it": "fetch(url).then(r => r.text())",
    "read it with the cookie": "fetch(url, {credentials: 'include'}).then(r => r.text())",
    "ask without reading": "fetch(url, {credentials: 'include', mode: 'no-cors'}).then(r => r.text())",
    "run it": """new Promise((yes, no) => { const tag = document.createElement('script');
        tag.src = url; tag.onload = yes; tag.onerror = no; document.head.append(tag) })""",
    "show it": """new Promise((yes, no) => { const picture = new Image();
        picture.src = url; picture.onload = yes; picture.onerror = no })""",
    "frame it": """new Promise(yes => { const frame = document.createElement('iframe');
        frame.src = url; frame.onload = () => yes(''); document.body.append(frame) })""",
    "open a websocket": """new Promise((yes, no) => { const line = new WebSocket(
        url.replace('http', 'ws'), 'viser-v' + version); line.onopen = yes; line.onerror = no })""",
}


@pytest.mark.parametrize("host", HOSTS)
def test_a_page_of_another_origin_gets_nothing(browser, watched_gate, host):
    """In a browser that has the cookie; from another port of the host, which is sent it, and another host."""
    gate = watched_gate()
    own, _ = visit(browser, gate)
    given = json.dumps([root(gate), viser.__version__])
    tries = {
        name: f"(([url, version]) => {attempt})({given}).then(String, () => '')"
        for name, attempt in ATTEMPTS.items()
    }
    for name in ("read it", "open a websocket"):
        assert own.evaluate(tries[name]), "its own page does"
    with other_site(host) as address:
        page = browser.open(address)
        for name, script in tries.items():
            arrived, entered = len(gate.arrived), len(gate.entered)
            assert page.evaluate(script) == "", name
            assert len(gate.arrived) > arrived, f"{name}: the gate refuses, not the browser"
            assert len(gate.entered) == entered, name
        page.evaluate(f"void(location.href = {root(gate)!r})")
        page.wait_for(f"location.href == {root(gate)!r}")
        page.wait_for("document.body && document.body.innerText")
        assert page.evaluate("document.body.innerText") == REFUSAL
