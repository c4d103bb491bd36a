"""Pictures come in upright, whole and with the colours that can be seen."""

import struct
import sys
import threading
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor
from torch.testing import assert_close

from scenes.images import (
    ORIENTATION,
    ImageError,
    ImageSequence,
    decode_all,
    downscaled,
    for_each_image,
    on_background,
    quantised,
    read_header,
    read_image,
    read_mask,
    shrunk_mask,
    write_png,
)

# How an upright picture lies in the file, by EXIF 2.32, 4.6.4.A: where its row 0 and column 0 show.
STORED = {
    1: lambda upright: upright,  # top, left
    2: lambda upright: upright[:, ::-1],  # top, right
    3: lambda upright: upright[::-1, ::-1],  # bottom, right
    4: lambda upright: upright[::-1],  # bottom, left
    5: lambda upright: upright.swapaxes(0, 1),  # left, top
    6: lambda upright: upright[:, ::-1].swapaxes(0, 1),  # right, top
    7: lambda upright: upright[::-1, ::-1].swapaxes(0, 1),  # right, bottom
    8: lambda upright: upright[::-1].swapaxes(0, 1),  # left, bottom
}


def noise(height: int, width: int, channels: int, generator: torch.Generator) -> Tensor:
    return torch.randint(0, 256, (height, width, channels), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("orientation", STORED)
def test_exif_orientation_is_applied(orientation, tmp_path, generator):
    """Each of the eight values gives the upright picture, and the header tells its upright size."""
    upright = noise(5, 8, 3, generator)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stored = np.ascontiguousarray(STORED[orientation](upright.numpy()))
    Image.fromarray(stored).save(tmp_path / "turned.png", exif=exif)
    assert torch.equal(read_image(tmp_path / "turned.png"), upright)
    assert read_header(tmp_path / "turned.png") == (8, 5, False)
    Image.fromarray(stored).save(tmp_path / "turned.jpg", exif=exif)
    assert read_header(tmp_path / "turned.jpg") == (8, 5, False)
    assert tuple(read_image(tmp_path / "turned.jpg").shape) == (5, 8, 3)


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("name", ["phone.HEIC", "sent as.jpg"])
def test_heif_comes_in_upright_as_a_jpeg_does_whatever_its_name(orientation, name, tmp_path):
    """Each of the eight values, and once only; the header tells the upright size without decoding."""
    import pillow_heif

    pillow_heif.register_heif_opener()
    upright = np.zeros((64, 96, 3), np.uint8)
    upright[:32, :48], upright[32:, 48:], upright[:32, 48:] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](upright)))
    file = tmp_path / name
    stored.save(file, format="HEIF", exif=exif.tobytes(), quality=90)
    assert file.read_bytes()[4:12] == b"ftypheic"
    assert read_header(file) == (96, 64, False)
    read = read_image(file)
    assert read.shape == upright.shape
    assert float((read.float() - torch.from_numpy(upright).float()).abs().mean()) < 8


def test_heif_without_pillow_heif_names_what_to_install(tmp_path, monkeypatch):
    """And a file that only calls itself HEIC is no HEIF."""
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    file = tmp_path / "IMG_1.HEIC"
    file.write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    Image.init()  # all kinds that Pillow knows; an earlier test may have made it know this one
    monkeypatch.setattr(Image, "ID", [kind for kind in Image.ID if kind != "HEIF"])
    for read in (read_header, read_image):
        with pytest.raises(ImageError, match=r'HEIC: is HEIF, .*pip install "render-fields\[poses\]"'):
            read(file)
    file.write_bytes(b"plain text, and long enough")
    with pytest.raises(ImageError, match="not a picture of a known kind"):
        read_image(file)


@pytest.mark.parametrize("channels", [3, 4])
def test_png_round_trip_is_exact(channels, tmp_path, generator):
    """Also the colour of transparent pixels: alpha is straight."""
    image = noise(7, 9, channels, generator)
    write_png(tmp_path / "a.png", image)
    assert torch.equal(read_image(tmp_path / "a.png"), image)
    assert read_header(tmp_path / "a.png") == (9, 7, channels == 4)


def test_grey_palette_and_keyed_pictures_become_colour(tmp_path):
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
    Image.fromarray(grey).save(tmp_path / "grey.png")
    assert_close(read_image(tmp_path / "grey.png"), torch.from_numpy(grey)[..., None].expand(3, 4, 3))
    Image.fromarray(grey).convert("P").save(tmp_path / "palette.png")
    assert_close(read_image(tmp_path / "palette.png"), read_image(tmp_path / "grey.png"))
    colour = np.stack((grey, grey, grey), axis=-1)
    Image.fromarray(colour).save(tmp_path / "keyed.png", transparency=(40, 40, 40))
    assert read_header(tmp_path / "keyed.png").has_alpha
    assert torch.equal(read_image(tmp_path / "keyed.png")[..., 3] == 0, torch.from_numpy(grey == 40))


def claimed_png(width: int, height: int) -> bytes:
    """A PNG that claims a size, and ends where its pixels would begin."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    header = struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return b"\x89PNG\r\n\x1a\n" + header + struct.pack(">I", 2**20) + b"IDAT"


@pytest.mark.parametrize("size", [(60_000, 60_000), (8200, 8200)])
def test_the_size_is_checked_before_decoding(size, tmp_path):
    """A header of a few bytes cannot make the reader ask for gigabytes."""
    (tmp_path / "bomb.png").write_bytes(claimed_png(*size))
    for read in (read_header, read_image):
        with pytest.raises(ImageError, match=r"bomb\.png.*pixels; shrink it first"):
            read(tmp_path / "bomb.png")


def test_broken_pictures_are_named(tmp_path, generator):
    write_png(tmp_path / "good.png", noise(40, 40, 3, generator))
    whole = (tmp_path / "good.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "flipped.png").write_bytes(whole[:600] + bytes(40) + whole[640:])
    (tmp_path / "text.png").write_text("not a picture")
    Image.fromarray(np.zeros((4, 4), dtype=np.uint16)).save(tmp_path / "deep.png")
    for name in ("cut.png", "flipped.png", "text.png", "deep.png", "absent.png"):
        with pytest.raises(ImageError, match=name):
            read_image(tmp_path / name)


def test_a_transparent_colour_does_not_bleed():
    """White grass behind a black silhouette: what cannot be seen must not lighten the edge."""
    image = torch.zeros(4, 4, 4, dtype=torch.uint8)
    image[..., :3] = 255
    image[:, :1, :3] = 0
    image[:, :1, 3] = 255
    small = downscaled(image, 2, 2)
    assert small[:, 0].tolist() == [[0, 0, 0, 128]] * 2
    assert small[:, 1, 3].tolist() == [0, 0]


@settings(max_examples=25, deadline=None)
@given(height=st.integers(1, 13), width=st.integers(1, 13), data=st.data())
def test_downscaling_is_the_slow_average_over_areas(height, width, data):
    """Every new pixel is the mean over its rectangle, edge pixels by the part inside, colours by alpha."""
    new_height, new_width = data.draw(st.integers(1, height)), data.draw(st.integers(1, width))
    image = noise(height, width, 4, torch.Generator().manual_seed(height * 17 + width))
    found = downscaled(image, new_width, new_height)
    if (new_height, new_width) == (height, width):
        assert torch.equal(found, image)
        return
    values = image.double().numpy() / 255
    for row in range(new_height):
        for column in range(new_width):
            top, bottom = row * height / new_height, (row + 1) * height / new_height
            left, right = column * width / new_width, (column + 1) * width / new_width
            colour, alpha, area = np.zeros(3), 0.0, 0.0
            for y in range(height):
                for x in range(width):
                    inside_y = max(0.0, min(bottom, y + 1) - max(top, y))
                    part = inside_y * max(0.0, min(right, x + 1) - max(left, x))
                    colour += part * values[y, x, :3] * values[y, x, 3]
                    alpha += part * values[y, x, 3]
                    area += part
            expected = np.append(colour / alpha if alpha else colour, alpha / area) * 255
            assert np.abs(found[row, column].double().numpy() - expected).max() < 0.51


def test_downscaling_commutes_with_the_background(generator):
    """Shrunk and then laid on white, or laid on white and then shrunk: the same, to rounding."""
    image = noise(12, 16, 4, generator)
    white = (1.0, 1.0, 1.0)
    small_first = on_background(downscaled(image, 8, 6), white)
    small_last = downscaled(quantised(on_background(image, white)), 8, 6).float() / 255
    assert_close(small_first, small_last, atol=2.1 / 255, rtol=0)


def test_downscaling_never_enlarges(generator):
    with pytest.raises(ValueError, match="only shrinks"):
        downscaled(noise(4, 4, 3, generator), 5, 4)


def test_quantised_is_the_nearest_byte_and_undoes_division():
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(quantised(levels.float() / 255), levels)
    assert quantised(torch.tensor([-0.5, 1.7, 0.4999 / 255, 0.5001 / 255])).tolist() == [0, 255, 0, 1]


def test_alpha_needs_a_background(generator):
    with pytest.raises(ValueError, match="background"):
        on_background(noise(2, 2, 4, generator), None)


def test_a_sequence_decodes_lazily_and_in_order(tmp_path, generator):
    pictures = [noise(6, 8, 3, generator) for _ in range(9)]
    for i, picture in enumerate(pictures):
        write_png(tmp_path / f"{i}.png", picture)
    paths = tuple(tmp_path / f"{i}.png" for i in range(9))
    images = ImageSequence((*paths, tmp_path / "absent.png"))  # nothing is opened yet
    counts = []
    decoded = decode_all(images.subset(range(9)), workers=3, progress=lambda *c: counts.append(c))
    assert all(map(torch.equal, decoded, pictures))
    assert counts == [(i, 9) for i in range(1, 10)]
    assert torch.equal(images.subset([4, 2])[1], pictures[2])
    assert torch.equal(images.resized([(4, 3)] * 7)[5], downscaled(pictures[5], 4, 3))
    with pytest.raises(ImageError, match=r"absent\.png"):
        decode_all(images)


def test_no_more_pictures_than_workers_are_held():
    """Decoding is bounded in memory: a picture is handed over before its worker takes the next."""
    lock, held = threading.Lock(), {"now": 0, "most": 0}

    class Counted(ImageSequence):
        def __getitem__(self, index: int) -> Tensor:
            with lock:
                held["now"] += 1
                held["most"] = max(held["most"], held["now"])
            return super().__getitem__(index)

    def take(index: int, image: Tensor) -> None:
        with lock:
            held["now"] -= 1

    for_each_image(
        Counted(tuple(torch.zeros(4, 4, 3, dtype=torch.uint8) for _ in range(40))), take, workers=2
    )
    assert held["now"] == 0 and held["most"] <= 2


def test_a_failure_stops_the_others():
    """A broken picture among many is reported at once, not after all are decoded."""
    taken = []

    def take(index: int, image: Tensor) -> None:
        taken.append(index)
        time.sleep(0.001)  # a picture takes its time: who waits can be told before all are through
        raise ImageError("broken")

    many = ImageSequence(tuple(torch.zeros(2, 2, 3, dtype=torch.uint8) for _ in range(5000)))
    with pytest.raises(ImageError, match="broken"):
        for_each_image(many, take, workers=2)
    assert len(taken) < 5000


def test_paths_may_be_strings(tmp_path: Path, generator):
    write_png(str(tmp_path / "a.png"), noise(2, 2, 3, generator))
    assert read_image(str(tmp_path / "a.png")).shape == (2, 2, 3)


def test_a_shrunk_mask_counts_only_what_is_seen_whole():
    """A pixel that covers anything hidden is hidden; enlarged, a pixel is what lies under its middle."""
    mask = torch.ones(6, 8, dtype=torch.bool)
    mask[3, 5] = False
    small = shrunk_mask(mask, 4, 3)
    assert not small[1, 2] and int(small.sum()) == 11
    assert torch.equal(shrunk_mask(mask, 8, 6), mask)
    large = shrunk_mask(mask, 16, 12)
    assert not large[6:8, 10:12].any() and int((~large).sum()) == 4


def test_a_mask_is_what_is_not_black(tmp_path):
    picture = torch.zeros(3, 4, 4, dtype=torch.uint8)
    picture[..., 3] = 255
    picture[1, 2, 1] = 1
    write_png(tmp_path / "mask.png", picture)
    mask = read_mask(tmp_path / "mask.png")
    assert mask[1, 2] and int(mask.sum()) == 1
