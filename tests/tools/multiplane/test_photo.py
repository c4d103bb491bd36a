"""A photograph is rendered as a run is, whatever its planes and its depth were made of."""

import shutil
import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

import render
from fields.kernels.library import kernels_available
from render.film import film_key
from render.metrics import psnr
from scenes.camera_path import CameraPath, write_camera_path
from scenes.cameras import Cameras
from scenes.crop import Crop
from scenes.images import downscaled, quantised, read_image, write_png
from tests.tools.test_poses_frames import texture
from tools.depth.outputs import Wanted, places, write_picture, write_table
from tools.depth.predict import Depth
from tools.multiplane import predict
from tools.multiplane.folder import read_planes
from tools.multiplane.photo import photo_of
from tools.multiplane.predict import disparity_of, fitted, photo_camera, read_disparity, read_networks

WIDTH, HEIGHT = 60, 40


def colours(seed: int = 0) -> torch.Tensor:
    grey = torch.from_numpy(texture(HEIGHT, WIDTH, seed)[:HEIGHT, :WIDTH])
    return torch.stack((grey, 255 - grey, grey), dim=-1).contiguous()


def slope() -> torch.Tensor:
    """Inverse depth, of some scale, that rises downwards."""
    return torch.linspace(2, 8, HEIGHT)[:, None].expand(HEIGHT, WIDTH).contiguous()


@pytest.fixture
def photo():
    return render.photo(colours(), method="layers", disparity=slope())


def aside(camera: Cameras, *places: tuple[float, float, float]) -> Cameras:
    poses = torch.eye(4).repeat(len(places), 1, 1)
    poses[:, :3, 3] = torch.tensor(places)
    numbers = {name: getattr(camera, name).expand(len(places)) for name in ("fx", "fy", "cx", "cy")}
    return replace(camera, camera_to_world=poses, **numbers)


def test_its_own_camera_sees_the_photograph_and_how_far_it_is(photo):
    seen = photo.render(photo.camera, ("rgb", "opacity", "z_depth", "distance"))
    assert_close(seen.rgb, colours().float() / 255, atol=1e-4, rtol=0)
    assert_close(seen.opacity, torch.ones(HEIGHT, WIDTH), atol=1e-5, rtol=0)
    assert_close(1 / seen.z_depth, slope() / 8, atol=0.01, rtol=0)
    cosine = photo.camera.rays().directions[..., 2]
    assert_close(seen.distance * cosine, seen.z_depth, atol=1e-4, rtol=1e-4)
    assert seen.samples is None


def test_it_renders_as_a_run_does(photo):
    """One camera or several, in either frame, with a background; what it has not is refused."""
    cameras = aside(photo.camera, (0, 0, 0), (0.1, 0, 0), (0, -0.1, 0.2))
    stack = photo.render(cameras, ("rgb", "z_depth"))
    assert stack.rgb.shape == (3, HEIGHT, WIDTH, 3)
    assert torch.equal(stack.rgb[1], photo.render(cameras[1], frame="input").rgb)
    with pytest.raises(ValueError, match="frame 'world' is unknown"):
        photo.render(cameras[0], frame="world")
    with pytest.raises(ValueError, match="'normal' is no output of this method"):
        photo.render(cameras[0], ("normal",))
    with pytest.raises(ValueError, match="not cropped"):
        photo.render(cameras[0], crop=Crop.between((-1, -1, 0), (1, 1, 2)))


def test_a_background_stands_behind_what_lets_light_through(photo):
    half = replace(photo, mpi=replace(photo.mpi, opacity=photo.mpi.opacity * 0.5))
    seen = half.render(photo.camera, ("rgb", "opacity"))
    assert float(seen.opacity.max()) < 0.99
    on_red = half.render(photo.camera, background=(1.0, 0.0, 0.0))
    assert on_red.opacity is None
    red = (1 - seen.opacity[..., None]) * torch.tensor([1.0, 0.0, 0.0])
    assert_close(on_red.rgb, seen.rgb + red)


def test_the_kernels_render_what_the_reference_renders(photo):
    """Where they are built; elsewhere `auto` is the reference."""
    there = aside(photo.camera, (0.1, -0.05, 0.1), (-0.2, 0, 0))
    slow = replace(photo, backend="reference").render(there, ("rgb", "z_depth"))
    fast = photo.render(there, ("rgb", "z_depth"))
    assert photo.backend == ("kernels" if kernels_available() else "reference")
    assert_close(fast.rgb, slow.rgb, atol=1e-4, rtol=0)
    assert_close(fast.z_depth, slow.z_depth, atol=1e-3, rtol=1e-3)


def test_gradients_reach_the_camera_and_nothing_else(photo):
    pose = torch.eye(4).requires_grad_()
    photo.render(replace(photo.camera, camera_to_world=pose)).rgb.mean().backward()
    assert bool(pose.grad.isfinite().all()) and float(pose.grad.abs().sum()) > 0
    assert not photo.render(photo.camera).rgb.requires_grad


def test_a_file_is_what_it_holds_upright(tmp_path):
    """A photograph that lies on its side, and one whose colours lie on grey."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(colours().numpy()).save(tmp_path / "side.png", exif=exif)
    photo = render.photo(tmp_path / "side.png", method="layers", disparity=slope().T.contiguous())
    assert (photo.camera.width, photo.camera.height, photo.name) == (HEIGHT, WIDTH, "side")
    assert_close(photo.image, read_image(tmp_path / "side.png").float() / 255)
    clear = torch.cat((colours(), torch.zeros(HEIGHT, WIDTH, 1, dtype=torch.uint8)), dim=-1)
    photo = render.photo(clear, method="layers", disparity=slope())
    assert_close(photo.image, torch.full((HEIGHT, WIDTH, 3), 0.5))


@pytest.mark.parametrize(
    "shape, size, found",
    [
        ((60, 40), (384, 256), (60, 40)),
        ((6000, 4000), (384, 256), (384, 256)),
        ((4000, 6000), (384, 256), (256, 384)),
        ((4000, 3000), (384, 256), (341, 256)),
        ((1000, 100), (384, 256), (384, 38)),
        ((20000, 20), (384, 256), (384, 1)),
        ((300, 200), (100, 100), (100, 67)),
    ],
)
def test_a_photograph_is_shrunk_in_its_shape_and_never_enlarged(shape, size, found):
    assert fitted(*shape, size) == fitted(*shape, size[::-1]) == found


def test_it_is_seen_at_the_size_that_is_asked_for():
    photo = render.photo(colours(), method="layers", disparity=slope(), size=(30, 20))
    assert (photo.camera.width, photo.camera.height) == (30, 20) and photo.mpi.rgb.shape[2:] == (20, 30)
    assert_close(photo.image, downscaled(colours(), 30, 20).float() / 255)
    with pytest.raises(ValueError, match="9999999 planes of 60 x 40 pixels are too many"):
        render.photo(colours(), method="layers", disparity=slope(), planes=9999999)


@pytest.mark.parametrize("width, height", [(60, 40), (40, 60)])
def test_a_lens_is_told_across_the_longer_side(width, height):
    usual, told = photo_camera(width, height), photo_camera(width, height, 90)
    assert float(usual.fx) == float(usual.fy) == pytest.approx(0.58 * 60)
    assert float(told.fx) == pytest.approx(30)
    with pytest.raises(ValueError, match="fov 180: must lie between 0 and 180"):
        photo_camera(60, 40, 180)


def test_inverse_relative_depth_has_no_scale_and_no_zero(generator):
    values = torch.rand(50, 40, generator=generator)
    found = disparity_of(Depth(values, "inverse_relative"))
    assert float(found.min()) == 0 and float(found.max()) == 1
    assert_close(disparity_of(Depth(7 * values - 3, "inverse_relative")), found, atol=1e-5, rtol=0)
    assert bool((found[values > 0.5] > 0.4).all()), "near is large"
    flat = disparity_of(Depth(torch.full((3, 3), 9.0), "inverse_relative"))
    assert_close(flat, torch.full((3, 3), 0.5))


def test_metric_depth_has_no_scale_but_its_zero(generator):
    """A thing that is twice as far as the nearest has half its disparity."""
    metres = 2 + 6 * torch.rand(50, 40, generator=generator)
    found = disparity_of(Depth(metres, "metric"))
    assert_close(disparity_of(Depth(1000 * metres, "metric")), found, atol=1e-5, rtol=0)
    inner = found < 1
    product = (found * metres)[inner]
    assert_close(product, product[:1].expand_as(product))
    with pytest.raises(ValueError, match="not finite"):
        disparity_of(Depth(torch.tensor([[1.0, np.nan]]), "metric"))


def test_disparity_is_the_same_from_an_array_and_from_every_kind_of_file(tmp_path, photo):
    np.save(tmp_path / "d.npy", slope().numpy())
    stored = (slope() / 8 * 65535).round().numpy().astype(np.uint16)
    Image.fromarray(stored).save(tmp_path / "d16.png")
    Image.fromarray((stored >> 8).astype(np.uint8)).save(tmp_path / "d8.png")
    wanted = slope() / 8
    for name, error in (("d.npy", 1e-6), ("d16.png", 1e-4), ("d8.png", 5e-3)):
        assert_close(read_disparity(tmp_path / name), wanted, atol=error, rtol=0)
        made = render.photo(colours(), method="layers", disparity=tmp_path / name)
        assert_close(made.disparity, photo.disparity, atol=error, rtol=0)


@pytest.mark.parametrize("kind", ["metric", "inverse_relative"])
def test_what_render_depth_wrote_is_the_same_disparity_in_every_format(tmp_path, kind):
    """An array says nothing of itself: the table beside it does, and that of a film beside its folder."""
    depth = Depth(8 / slope() if kind == "metric" else slope() + 3, kind)
    files = places(tmp_path, "a", ("png16", "npy"), video=False)
    table = files.pop("table")
    write_table(table, write_picture(files, depth, colours(), Wanted(("png16", "npy"))))
    (tmp_path / "film-depth").mkdir()
    for name in ("film-depth.json", "film-depth/frame_000000.npy"):
        shutil.copy(table if name.endswith("json") else files["npy"], tmp_path / name)
    for file in (*files.values(), tmp_path / "film-depth" / "frame_000000.npy"):
        assert_close(read_disparity(file), disparity_of(depth), atol=1e-3, rtol=0)
    table.unlink()  # then they are numbers, and from 0
    assert_close(read_disparity(files["npy"]), depth.values / depth.values.max())


def test_a_picture_that_claims_too_many_pixels_is_refused_before_it_is_decoded(tmp_path):
    def chunk(name: bytes, held: bytes) -> bytes:
        return struct.pack(">I", len(held)) + name + held + struct.pack(">I", zlib.crc32(name + held))

    head = chunk(b"IHDR", struct.pack(">II5B", 60_000, 60_000, 16, 0, 0, 0, 0))
    (tmp_path / "d.png").write_bytes(b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", b""))
    with pytest.raises(ValueError, match=r"d\.png: .*pixels; shrink it first"):
        read_disparity(tmp_path / "d.png")


def test_disparity_of_another_size_is_brought_to_that_of_the_photograph(photo):
    fine = slope().repeat_interleave(3, dim=0).repeat_interleave(3, dim=1)
    made = render.photo(colours(), method="layers", disparity=fine)
    assert_close(made.disparity, photo.disparity, atol=0.02, rtol=0)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda path: np.save(path, np.zeros((4, 4, 3))), r"holds \(4, 4, 3\) of float64"),
        (lambda path: np.save(path, np.zeros((4, 4))), "0 everywhere"),
        (lambda path: np.save(path, -np.ones((4, 4))), "at least 0 everywhere"),
        (lambda path: np.save(path, np.full((4, 4), np.nan)), "is finite"),
        (lambda path: np.save(path, np.array([[{}]]), allow_pickle=True), "of object; save depth as"),
        (lambda path: path.write_bytes(b"no array"), "is no .npy file"),
        (lambda path: None, "no such file"),
    ],
)
def test_what_is_no_disparity_is_refused(tmp_path, make, message):
    make(tmp_path / "d.npy")
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        read_disparity(tmp_path / "d.npy")


def test_a_picture_in_colours_or_of_another_kind_is_no_disparity(tmp_path):
    write_png(tmp_path / "c.png", colours())
    with pytest.raises(ValueError, match="no depth picture but one of mode RGB"):
        read_disparity(tmp_path / "c.png")
    (tmp_path / "t.png").write_text("a letter")
    with pytest.raises(ValueError, match="is no PNG picture"):
        read_disparity(tmp_path / "t.png")
    with pytest.raises(ValueError, match="uint8 of height x width x 3 or 4"):
        render.photo(torch.rand(4, 4, 3), method="layers", disparity=slope())


def test_an_array_may_be_read_only_or_run_backwards(photo):
    """As numpy makes them of PIL's pictures and of OpenCV's."""
    backwards = colours().numpy()[..., ::-1].copy()[..., ::-1]
    backwards.flags.writeable = False
    shape = slope().numpy()[::-1].copy()[::-1]
    made = render.photo(backwards, method="layers", disparity=shape)
    assert torch.equal(made.image, photo.image) and torch.equal(made.disparity, photo.disparity)


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"planes": 0}, "planes must be at least 2, got 0"),
        ({"size": (0, 10)}, "size 0 x 10: both sides must be at least 1 pixel"),
        ({"size": (-5, 10)}, "size -5 x 10: both sides"),
    ],
)
def test_numbers_that_make_no_planes_are_refused(told, message):
    with pytest.raises(ValueError, match=message):
        render.photo(colours(), method="layers", disparity=slope(), **told)


def test_too_many_planes_are_refused_before_the_network_looks(monkeypatch):
    monkeypatch.setitem(predict.MOST_SAMPLES, "layers", 20_000)
    monkeypatch.setattr(predict, "predicted_depth", lambda *told: pytest.fail("looked"))
    networks = replace(read_networks("layers", depth=False), depth=torch.nn.Identity())
    with pytest.raises(ValueError, match=r"32 planes of 60 x 40 .* too many for layers; about 25 x 25"):
        photo_of(networks, colours())


def test_disparity_of_more_pixels_than_a_quantile_takes(monkeypatch):
    """Half a hundredth of the pixels is told by a part of them: torch takes no more than 2^24."""
    ramp = torch.linspace(0, 1, 4200 * 4200).view(4200, 4200)
    found = disparity_of(Depth(ramp, "inverse_relative"))
    low, high = (found == 0).double().mean(), (found == 1).double().mean()
    assert float(low) == pytest.approx(0.005, abs=1e-4) == float(high)


def test_depth_is_asked_of_a_network_where_none_is_given(bright_is_near):
    """Of one that takes bright for near, the depth is the brightness, stretched."""
    photo = render.photo(colours(), method="layers")
    assert photo.depth.kind == "inverse_relative"
    bright = colours().float().mean(dim=-1)
    seen = torch.corrcoef(torch.stack((photo.disparity.flatten(), bright.flatten())))
    assert float(seen[0, 1]) > 0.95
    assert float(photo.disparity.min()) == 0 and float(photo.disparity.max()) == 1


def test_a_network_makes_planes_of_density_that_begin_with_the_photograph(random_planes):
    """All light reaches the first plane: of what is seen of it, the colours are the photograph's own."""
    photo = render.photo(colours(), adampi_weights=random_planes, disparity=slope(), planes=5)
    assert (photo.method, len(photo.mpi.z_depth), photo.mpi.opacity_kind) == ("adampi", 5, "density")
    assert_close(photo.mpi.rgb[0], photo.image.permute(2, 0, 1), atol=1e-5, rtol=0)
    assert bool(photo.render(aside(photo.camera, (0.1, 0, 0))).rgb.isfinite().all())
    usual = render.photo(colours(), adampi_weights=random_planes, disparity=slope())
    assert len(usual.mpi.z_depth) == 8, "as the small network was trained"


def test_the_method_is_adampi_where_its_weights_are_and_layers_elsewhere(
    random_planes, tmp_path, monkeypatch
):
    monkeypatch.setattr(predict, "SMALL_FILE", tmp_path / "none.safetensors")
    assert read_networks(depth=False).method == "layers"
    with pytest.raises(FileNotFoundError, match="take --method layers"):
        read_networks("adampi", depth=False)
    monkeypatch.setattr(predict, "SMALL_FILE", random_planes)
    assert read_networks(depth=False).method == "adampi"
    assert read_networks("layers", depth=False).method == "layers"
    with pytest.raises(ValueError, match="layers have no weights"):
        read_networks("layers", adampi_weights=random_planes)
    with pytest.raises(ValueError, match="method 'ngp' is unknown; known: adampi, layers"):
        read_networks("ngp")


@pytest.mark.parametrize("path", ["swing", "file"])
def test_a_film_is_what_its_cameras_see(photo, path, tmp_path):
    cameras = photo.path("swing", 3, 0.5)
    if path == "file":
        write_camera_path(tmp_path / "way.json", CameraPath(cameras, 10))
        path = tmp_path / "way.json"
    photo.film(tmp_path / "film", path, frames=3, amplitude=1.0 if path != "swing" else 0.5)
    for index in range(3):
        kept = read_image(tmp_path / "film" / f"frame-{index:05d}.png")
        assert float(psnr(kept / 255, quantised(photo.render(cameras[index]).rgb) / 255)) > 50
    with pytest.raises(ValueError, match="path 'swig': neither a file nor one of swing"):
        photo.path("swig")


def test_films_of_two_photographs_are_told_apart(photo):
    other = render.photo(colours(1), method="layers", disparity=slope())
    cameras = photo.path("swing", 2)
    keys = [film_key(each, cameras, ("rgb",)) for each in (photo, other, photo)]
    assert keys[0] == keys[2] != keys[1]


def test_it_is_exported_as_a_page_or_as_a_folder(photo, tmp_path):
    photo.export(tmp_path / "page.html")
    assert "<title>photograph</title>" in (tmp_path / "page.html").read_text()
    photo.export(tmp_path / "planes")
    back = replace(photo, mpi=read_planes(tmp_path / "planes"))
    there = aside(photo.camera, (0.1, 0.05, 0.1))
    assert float(psnr(back.render(there).rgb, photo.render(there).rgb)) > 50
