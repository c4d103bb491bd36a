"""Depth pictures are read as they were stored, never averaged, and never trusted."""

import io
import os
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from scenes.cameras import Cameras
from scenes.depths import DepthSequence, distances_along_rays, read_depth
from scenes.images import MAX_PIXELS, ImageError

STEPS = np.array([[0, 1, 1000], [65534, 65535, 40000]], np.uint16)


def png(file: Path, values: np.ndarray, size: tuple[int, int] | None = None) -> Path:
    """A PNG of 8 or 16 bits, grey (height, width) or RGB (height, width, 3), written out by hand."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    width, height = size or (values.shape[1], values.shape[0])
    kind = 2 if values.ndim == 3 else 0
    header = struct.pack(">IIBBBBB", width, height, 8 * values.itemsize, kind, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(values.dtype.newbyteorder(">")).tobytes() for row in values)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return file


def npy(file: Path, shape: str, descr: str = "'<f4'", data: bytes = b"") -> Path:
    """A .npy whose header says what it is told to."""
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    file.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data)
    return file


def test_sixteen_bit_steps_times_the_unit_are_z_depth(tmp_path):
    """Would catch a cut to 8 bits, a sign, a unit applied twice, and unknown values taken for far ones."""
    file = png(tmp_path / "tiefe mit Ö.png", STEPS)
    z_depth = DepthSequence((file,), unit=1e-3, unknown=(65535,))[0]
    assert_close(z_depth, torch.tensor([[0, 0.001, 1], [65.534, 0, 40]]))
    assert z_depth.dtype == torch.float32
    assert float(DepthSequence((file,), unit=1e-3)[0][1, 1]) == pytest.approx(65.535)


def test_eight_bits_are_steps_too(tmp_path):
    file = png(tmp_path / "d.png", np.array([[0, 7, 255]], np.uint8))
    assert_close(DepthSequence((file,), unit=0.5)[0], torch.tensor([[0, 3.5, 127.5]]))


@pytest.mark.parametrize("kind", ["<f4", ">f4", "<f8", "<f2", "<u2", ">u2", "<i4"])
def test_arrays_of_all_numbers_are_read_alike(kind, tmp_path):
    """Byte order, width, sign and the order of memory change nothing."""
    values = np.array([[0, 1, 2], [300, 4, 5]])
    for order in ("C", "F"):
        np.save(tmp_path / "d.npy", np.array(values.astype(kind), order=order))
        assert torch.equal(read_depth(tmp_path / "d.npy"), torch.from_numpy(values).float())


@pytest.mark.parametrize("numbers", [np.uint8, np.uint16, np.float32])
def test_tiff_is_read_through_pil(numbers, tmp_path):
    values = np.array([[0, 1, 2], [250, 4, 5]], numbers)
    Image.fromarray(values).save(tmp_path / "d.tiff")
    assert torch.equal(read_depth(tmp_path / "d.tiff"), torch.from_numpy(values.astype(np.float32)))


def test_what_is_no_distance_is_unknown(tmp_path):
    """NaN, infinities, negative numbers and what overflows a float are 0, as an unknown pixel is."""
    np.save(tmp_path / "d.npy", np.array([[np.nan, np.inf, -np.inf, -1.0, 1e300, -0.0, 2.0]]))
    expected = torch.tensor([[0, 0, 0, 0, 0, 0, 2.0]])
    assert torch.equal(DepthSequence((tmp_path / "d.npy",), unit=1)[0], expected)
    assert not DepthSequence((torch.full((2, 2), 1e30),), unit=1e30)[0].any()


@pytest.mark.parametrize("new", [(1, 1), (3, 2), (7, 5), (8, 6), (4, 9), (20, 13), (21, 15)])
def test_resizing_takes_the_pixel_below_each_new_centre(new, generator):
    """Against a slow loop; nothing is averaged, so that no depth arises between two surfaces."""
    stored = torch.rand(5, 7, generator=generator) + 1
    width, height = new
    resized = DepthSequence((stored,), unit=1).resized([new])[0]
    slow = torch.zeros(height, width)
    for y in range(height):
        for x in range(width):
            slow[y, x] = stored[int((y + 0.5) * 5 / height), int((x + 0.5) * 7 / width)]
    assert torch.equal(resized, slow)


def test_shrinking_by_three_keeps_the_points(generator):
    """The middle of a 3x3 block is the middle of the new pixel: its point in space is the same exactly."""
    pose, focal, centre = torch.eye(4), torch.tensor(10.0), torch.tensor(4.5)
    camera = Cameras(pose, focal, focal, centre, centre, 9, 9)
    stored = torch.rand(9, 9, generator=generator) + 1
    points = camera.unproject(camera.pixel_centres(), stored)
    small = camera.scaled(3)
    resized = DepthSequence((stored,), unit=1).resized([(3, 3)])[0]
    assert_close(small.unproject(small.pixel_centres(), resized), points[1::3, 1::3])


def test_a_subset_keeps_order_sizes_and_unit(tmp_path):
    depths = DepthSequence(tuple(torch.full((2, 2), float(i + 1)) for i in range(3)), unit=0.5, unknown=(2,))
    some = depths.resized([(1, 2), (2, 1), (3, 1)]).subset([2, 1])
    assert len(some) == 2
    assert torch.equal(some[0], torch.full((1, 3), 1.5)) and torch.equal(some[1], torch.zeros(1, 2))


def test_units_change_with_a_similarity():
    """Steps stay what they are, so unknown values are still known to be unknown."""
    depths = DepthSequence((torch.tensor([[10.0, 255.0]]),), unit=0.1, unknown=(255,)).scaled(4)
    assert_close(depths[0], torch.tensor([[4.0, 0.0]]))
    with pytest.raises(ValueError, match="unit of depth"):
        depths.scaled(0)


def test_resizing_twice_starts_from_what_is_stored():
    """A second size does not see the first one's loss."""
    stored = torch.arange(1.0, 17).reshape(4, 4)
    depths = DepthSequence((stored,), unit=1)
    assert torch.equal(depths.resized([(1, 1)]).resized([(4, 4)])[0], stored)


def test_frames_without_depth_know_nothing():
    depths = DepthSequence((None, torch.ones(1, 1)), unit=1)
    with pytest.raises(ImageError, match=r"depth picture 0: .* resized"):
        depths[0]
    sized = depths.resized([(3, 2), (1, 1)])
    assert torch.equal(sized[0], torch.zeros(2, 3)) and float(sized[1]) == 1


def test_nothing_is_opened_before_it_is_asked_for(tmp_path):
    depths = DepthSequence((tmp_path / "absent.png", torch.ones(1, 1)), unit=1)
    assert float(depths.subset([1]).scaled(2)[0]) == 2
    with pytest.raises(ImageError, match=r"absent\.png: no such depth picture"):
        depths[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"unit": 0},
        {"unit": -1.0},
        {"unit": float("nan")},
        {"sizes": ()},
        {"sizes": ((0, 3),)},
        {"sizes": ((MAX_PIXELS, 2),)},
    ],
)
def test_senseless_sequences_are_refused_at_once(changes):
    with pytest.raises(ValueError, match=r"unit of depth|must be as many|no size of a picture"):
        DepthSequence(**{"items": (torch.ones(2, 2),), "unit": 1, **changes})


def test_tensors_that_are_no_picture_are_refused():
    with pytest.raises(ImageError, match="depth picture 0: is "):
        DepthSequence((torch.ones(2, 2, 3),), unit=1)[0]


def test_pictures_with_colours_are_no_depth(tmp_path):
    """Of 8 and of 16 bits, with a palette and with alpha: a channel must not be taken for a distance."""
    files = [png(tmp_path / f"{dtype}.png", np.zeros((2, 2, 3), dtype)) for dtype in ("uint8", "uint16")]
    for mode in ("P", "LA", "RGBA", "1"):
        files.append(tmp_path / f"{mode}.png")
        Image.new(mode, (2, 2)).save(files[-1])
    for file in files:
        with pytest.raises(ImageError, match=rf"{file.name}: is no depth picture .*16 bits"):
            read_depth(file)


@pytest.mark.parametrize("name", ["d.exr", "d.jpg", "d.hdr", "d", "d.png.gz"])
def test_kinds_that_are_not_read_are_refused_by_name(name, tmp_path):
    (tmp_path / name).write_bytes(b"v/1\x01")
    with pytest.raises(ImageError, match=r"are not read; save it as one of \.png, .*, \.npy"):
        read_depth(tmp_path / name)


def test_a_picture_under_a_false_name_is_not_decoded(tmp_path):
    """Only the decoder that the name promises runs."""
    Image.new("L", (2, 2)).save(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").rename(tmp_path / "a.png")
    with pytest.raises(ImageError, match=r"a\.png: is no PNG picture"):
        read_depth(tmp_path / "a.png")


@pytest.mark.parametrize("size", [(8193, 8192), (9999, 10001), (2**16, 2**12), (2**31 - 1, 2**31 - 1)])
def test_absurd_sizes_are_refused_from_the_header(size, tmp_path):
    file = png(tmp_path / "d.png", STEPS, size)
    with pytest.raises(ImageError, match=r"d\.png: .*pixels; shrink it first"):
        read_depth(file)


def test_broken_pictures_are_named(tmp_path):
    """Cut at any place, of PNG, TIFF and .npy; a whole file is read as a check of the loop."""
    Image.fromarray(STEPS).save(tmp_path / "d.tiff")
    np.save(tmp_path / "d.npy", STEPS)
    for file in (png(tmp_path / "d.png", STEPS), tmp_path / "d.tiff", tmp_path / "d.npy"):
        whole, expected = file.read_bytes(), read_depth(file)
        for length in range(0, len(whole), 3):
            file.write_bytes(whole[:length])
            try:
                assert torch.equal(read_depth(file), expected)  # the cut took nothing that matters
            except ImageError as error:
                assert str(error).startswith(f"{file}: ")
                assert length < len(whole)


@pytest.mark.parametrize("shape", ["(8000, 8000)", "(1, 60000000)", "(100, 100)"])
def test_arrays_may_not_claim_more_than_the_file_holds(shape, tmp_path):
    """And nothing is allocated for the claim."""
    file = npy(tmp_path / "d.npy", shape, data=bytes(64))
    tracemalloc.start()
    with pytest.raises(ImageError, match=r"d\.npy: claims \d+ bytes of numbers and holds 64"):
        read_depth(file)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


@pytest.mark.parametrize(
    ("shape", "descr", "message"),
    [
        ("(2, 2, 1)", "'<f4'", "height x width"),
        ("(4,)", "'<f4'", "height x width"),
        ("()", "'<f4'", "height x width"),
        ("(2, 2)", "'<c8'", "height x width"),
        ("(2, 2)", "'|O'", "height x width"),
        ("(2, 2)", "'<U1'", "height x width"),
        ("(2, 2)", "[('a', '<f4')]", "height x width"),
        ("(-2, -2)", "'<f4'", "pixels"),
        ("(0, 3)", "'<f4'", "pixels"),
        ("(100000, 100000)", "'<f4'", "pixels"),
        ("(10**400, 2)", "'<f4'", "is no .npy file"),
        ("(2, 'x')", "'<f4'", "is no .npy file"),
        ("(2, 2", "'<f4'", "is no .npy file"),
        ("-" * 9000 + "1", "'<f4'", "is no .npy file"),
        ("(" * 9000, "'<f4'", "is no .npy file"),
        ("(2, 2)", "'nonsense'", "is no .npy file"),
        ("(2, 2)" + " " * 20_000, "'<f4'", "is no .npy file"),
    ],
)
def test_headers_of_arrays_are_checked(shape, descr, message, tmp_path):
    with pytest.raises(ImageError, match=rf"d\.npy: .*{message}") as raised:
        read_depth(npy(tmp_path / "d.npy", shape, descr, bytes(64)))
    assert "\n" not in str(raised.value)


def test_objects_are_not_unpickled(tmp_path):
    """A pickle that would write a file does not."""

    class Bomb:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "boom"),))

    stream = io.BytesIO()
    np.save(stream, np.array([[Bomb()]], dtype=object), allow_pickle=True)
    (tmp_path / "d.npy").write_bytes(stream.getvalue())
    with pytest.raises(ImageError, match="height x width numbers"):
        read_depth(tmp_path / "d.npy")
    assert not (tmp_path / "boom").exists()


def test_pipes_and_folders_are_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    for name in ("pipe.png", "folder.png", "x" * 300 + ".png"):
        with pytest.raises(ImageError):
            read_depth(tmp_path / name)


def test_the_kinects_depth_is_read(test_data):
    """480 x 640 in millimetres: a room of a few metres, with the unknown pixels of the sensor."""
    file = test_data / "rgbd" / "frame-000000.depth.png"
    z_depth = DepthSequence((file,), unit=1e-3, unknown=(65535,))[0]
    stored = np.array(Image.open(file))
    assert z_depth.shape == (480, 640)
    assert int((z_depth == 0).sum()) == int(((stored == 65535) | (stored == 0)).sum())
    assert 0.3 < float(z_depth[z_depth > 0].min()) and float(z_depth.max()) < 5


def test_distances_run_along_the_rays(generator):
    """Points at their distances lie on the planes that z_depth names; what is unknown stays unknown."""
    pose = torch.eye(4)
    pose[:3, 3] = torch.tensor([0.3, -0.2, 0.5])
    lens = torch.tensor([[-0.1, 0.02, 0, 0, 0, 0, 0, 0]]).expand(2, 8)
    focal, middle = torch.full((2,), 9.0), torch.full((2,), 4.0)
    cameras = Cameras(pose.expand(2, 4, 4), focal, focal, middle, middle, 8, 8, lens)
    z_depth = 1 + torch.rand(2, 8, 8, generator=generator)
    z_depth[1, 2, 3] = 0
    depths = DepthSequence(tuple(z_depth), 1.0)
    distances = distances_along_rays(depths, cameras).view(2, 8, 8)
    for index in range(2):
        rays = cameras[index].rays()
        points = rays.origins + distances[index][..., None] * rays.directions
        assert_close(cameras[index].project(points)[1], z_depth[index])
    assert distances[1, 2, 3] == 0 and (distances > 0).sum() == 127
