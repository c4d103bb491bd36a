"""A folder of planes gives the same picture back, and a page shows it as the renderer does."""

import json
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from render.metrics import psnr
from render.multiplane import MultiplaneImage, composite, render
from scenes.cameras import Cameras
from scenes.images import read_image, write_png
from tests.browser import chromium
from tools.export.folder import RECORD, ExportError
from tools.multiplane.folder import PlanesError, plane_pictures, read_planes, with_alpha, write_planes
from tools.multiplane.layers import layered
from tools.multiplane.page import middle_disparity, page, write_page

WIDTH, HEIGHT = 96, 64
CAMERA = Cameras.look_at((1.0, -2.0, 0.5), (0.2, 0.3, 0.1), (0, 0, 1), WIDTH, HEIGHT, 50)


def aside(camera: Cameras, x=0.0, y=0.0, z=0.0) -> Cameras:
    move = torch.eye(4)
    move[:3, 3] = torch.tensor([x, y, z])
    return replace(camera, camera_to_world=camera.camera_to_world @ move)


def smooth(channels: int, generator: torch.Generator) -> torch.Tensor:
    small = torch.rand(1, channels, 5, 7, generator=generator)
    size = (HEIGHT, WIDTH)
    return torch.nn.functional.interpolate(small, size=size, mode="bilinear", align_corners=True)[0]


@pytest.fixture
def layers(generator) -> MultiplaneImage:
    picture, disparity = smooth(3, generator).permute(1, 2, 0), 0.2 + 0.6 * smooth(1, generator)[0]
    disparity[20:40, 30:60] = 0.9
    return layered(picture, disparity, CAMERA, 9)


@pytest.fixture
def fog(generator) -> MultiplaneImage:
    """Densities, through which one sees."""
    density = torch.stack([smooth(1, generator)[0] for _ in range(5)]) * 2
    rgb = torch.stack([smooth(3, generator) for _ in range(5)])
    z_depth = torch.tensor([1.0, 1.2, 2.0, 3.0, 8.0])
    return MultiplaneImage(rgb, density, z_depth, CAMERA)


@pytest.mark.parametrize("kind", ["layers", "fog"])
def test_what_is_read_back_looks_the_same(kind, tmp_path, request):
    """Up to the rounding to 8 bits; and a second round trip changes nothing at all."""
    image = request.getfixturevalue(kind)
    files = write_planes(image, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {RECORD, *(path.name for path in files)}
    back = read_planes(tmp_path / "out")
    assert_close(back.z_depth, image.z_depth)
    assert_close(back.camera.camera_to_world, CAMERA.camera_to_world)
    assert_close(back.camera.intrinsics, CAMERA.intrinsics)
    flat = with_alpha(image)
    for camera in (CAMERA, aside(CAMERA, 0.1, -0.05, 0.1)):
        there, here = (render(each, camera, ("rgb", "z_depth")) for each in (back, flat))
        assert float(psnr(there.rgb, here.rgb)) > 50
        assert_close(there.z_depth, here.z_depth, atol=0.05, rtol=0.01)
    write_planes(back, tmp_path / "again")
    again = read_planes(tmp_path / "again")
    assert torch.equal(again.rgb, back.rgb) and torch.equal(again.opacity, back.opacity)


def test_alpha_is_exact_for_its_own_camera_and_near_for_one_beside_it(fog):
    flat = with_alpha(fog)
    for thick, thin in zip(composite(fog), composite(flat), strict=True):
        assert_close(thin, thick, atol=1e-5, rtol=1e-5)
    beside = aside(CAMERA, 0.14)
    thick, thin = (render(image, beside).rgb for image in (fog, flat))
    assert float((thick - thin).abs().max()) > 1e-3, "what is said to be lost is not"
    assert float(psnr(thin, thick)) > 35


def test_planes_that_stop_all_light_or_none_lose_nothing(fog):
    walls = torch.tensor([0.0, 1e4, 0.0, 0.0, 1e4])[:, None, None].expand(5, HEIGHT, WIDTH)
    solid, there = replace(fog, opacity=walls), aside(CAMERA, 0.1, 0.1)
    assert_close(render(with_alpha(solid), there).rgb, render(solid, there).rgb)


def test_colours_that_nobody_sees_are_left_out_and_change_no_view(layers):
    pictures = plane_pictures(layers)
    hidden = (pictures == 0).all(dim=-1)
    assert float(hidden.float().mean()) > 0.3
    everything = (torch.cat((layers.rgb, layers.opacity[:, None]), dim=1) * 255).round() / 255
    kept = pictures.permute(0, 3, 1, 2).float() / 255
    there = aside(CAMERA, 0.1, 0.1, 0.2)
    full, less = (
        render(replace(layers, rgb=each[:, :3], opacity=each[:, 3]), there).rgb for each in (everything, kept)
    )
    assert_close(less, full, atol=1e-5, rtol=0)


def test_a_folder_of_something_else_is_left_alone(layers, tmp_path):
    (tmp_path / "letters.txt").write_text("mine")
    with pytest.raises(ExportError, match=r"holds letters\.txt"):
        write_planes(layers, tmp_path)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"version": 2}, "version 2, this program reads render multiplane image 1"),
        ({"z_depth": [1.0]}, "9 planes at 1 depths"),
        ({"z_depth": [2.0] * 8 + [1.0]}, "z_depth must rise"),
        ({"planes": ["../plane-000.png"] * 9}, "is not a file of the folder"),
        ({"planes": ["none.png"] * 9}, r"none\.png: no such picture"),
        ({"width": 95}, "its camera sees 95 x 64"),
        ({"width": "96"}, "width and height"),
        ({"fx": 0}, "fx, fy, cx, cy"),
        ({"camera_to_world": [[1, 0], [0, 1]]}, "cut or altered"),
    ],
)
def test_a_damaged_table_is_refused_with_its_name(layers, change, message, tmp_path):
    write_planes(layers, tmp_path / "out")
    table = tmp_path / "out" / "planes.json"
    table.write_text(json.dumps(json.loads(table.read_text()) | change))
    with pytest.raises(PlanesError, match=message):
        read_planes(tmp_path / "out")


def test_a_folder_without_a_table_and_a_plane_without_alpha_are_refused(layers, tmp_path):
    with pytest.raises(PlanesError, match=r"planes\.json: no table of planes"):
        read_planes(tmp_path)
    write_planes(layers, tmp_path / "out")
    plane = tmp_path / "out" / "plane-003.png"
    write_png(plane, read_image(plane)[..., :3].contiguous())
    with pytest.raises(PlanesError, match=r"plane-003\.png: 96 x 64 with 3 channels"):
        read_planes(tmp_path / "out")


def test_a_page_holds_all_and_a_title_is_only_text(layers):
    text = page(layers, "</title><script>alert(1)</script> {{image}}")
    assert "<script>alert" not in text and "{{image}}" in text
    assert text.count("data:image/png;base64,") == 9
    assert not [word for word in ("http:", "https:", 'src="', "import(") if word in text]


@pytest.mark.browser
@pytest.mark.parametrize("kind", ["layers", "fog"])
def test_a_browser_shows_what_the_renderer_shows(kind, tmp_path, request):
    """From the photograph's place, from beside it and from ahead; and it asks nothing of the network."""
    image = request.getfixturevalue(kind)
    write_page(image, tmp_path / "page.html", "planes")
    with chromium(tmp_path / "browser", WIDTH, HEIGHT) as browser:
        tab = browser.open((tmp_path / "page.html").as_uri())
        tab.wait_for("places")
        tab.evaluate("standAt(0, 0, 0)")
        tab.wait_for("getComputedStyle(hint).opacity === '0'")
        for place in ((0.0, 0.0, 0.0), (0.12, -0.07, 0.0), (0.0, 0.1, 0.3)):
            tab.evaluate("standAt({}, {}, {})".format(*place))
            shown = tab.screenshot().float() / 255
            found = float(psnr(shown, seen_by_page(image, place)))
            assert found > 40, f"{place}: {found:.1f} dB, {tab.console()}"
        own = composite(with_alpha(image)).rgb
        tab.evaluate("standAt(0, 0, 0)")
        assert float(psnr(tab.screenshot().float() / 255, own)) > 45
        assert tab.requests() == [(tmp_path / "page.html").as_uri()] and not tab.console()


@pytest.mark.browser
def test_a_page_that_cannot_show_it_goes_on_saying_why(layers, tmp_path):
    """The mouse takes the hint away, but not the reason."""
    write_page(layers, tmp_path / "page.html", "planes")
    text = (tmp_path / "page.html").read_text()
    (tmp_path / "page.html").write_text(text.replace("base64,iVBOR", "base64,AAAAA"))
    with chromium(tmp_path / "browser", WIDTH, HEIGHT) as browser:
        tab = browser.open((tmp_path / "page.html").as_uri())
        tab.wait_for("failed && hint.textContent.includes('Error')")
        tab.evaluate("dispatchEvent(new PointerEvent('pointermove', {clientX: 5, clientY: 5}))")
        assert tab.evaluate("hint.style.opacity") != "0"


def seen_by_page(image: MultiplaneImage, place: tuple[float, float, float]) -> torch.Tensor:
    """The renderer's picture from there, the lens shifted as the page shifts it."""
    camera, focus = aside(image.camera, *place), middle_disparity(image)
    cx, cy = camera.cx + camera.fx * place[0] * focus, camera.cy + camera.fy * place[1] * focus
    return render(with_alpha(image), replace(camera, cx=cx, cy=cy)).rgb.clamp(0, 1)


@pytest.mark.browser
def test_the_mouse_is_the_camera(layers, tmp_path):
    write_page(layers, tmp_path / "page.html")
    with chromium(tmp_path / "browser", WIDTH, HEIGHT) as browser:
        tab = browser.open((tmp_path / "page.html").as_uri())
        tab.wait_for("places")
        tab.call("Input.dispatchMouseEvent", type="mouseMoved", x=WIDTH - 1, y=HEIGHT // 2)
        tab.wait_for("eye.x > 0.9 * image.reach && Math.abs(eye.y) < 0.1 * image.reach")
        right = tab.screenshot().float() / 255
        place = (tab.evaluate("eye.x"), tab.evaluate("eye.y"), 0.0)
        assert float(psnr(right, seen_by_page(layers, place))) > 30
        tab.call(
            "Input.dispatchMouseEvent", type="mouseWheel", x=WIDTH - 1, y=HEIGHT // 2, deltaX=0, deltaY=-900
        )
        tab.wait_for("eye.z > 0.5 * image.ahead")
