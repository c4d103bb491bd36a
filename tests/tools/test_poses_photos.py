"""Photographs are found, checked and turned upright before any pose is looked for."""

import os
from pathlib import Path

import numpy as np
import pillow_heif
import pycolmap
import pytest
from PIL import Image

from scenes.images import read_image
from tools.poses import photos
from tools.poses.photos import Photo, PosesError, Position, collect, lenses, place

ORIENTATION, MAKE, FOCAL, EXIF, GPS = 0x0112, 0x010F, 0x920A, 0x8769, 0x8825


def pixels(height=6, width=8, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def write(path, array=None, orientation=None, make=None, focal=None, gps=None, **options):
    """A picture with EXIF. gps: the raw tags."""
    exif = Image.Exif()
    if orientation:
        exif[ORIENTATION] = orientation
    if make:
        exif[MAKE] = make
    if focal:
        exif.get_ifd(EXIF)[FOCAL] = focal
    if gps:
        exif.get_ifd(GPS).update(gps)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels() if array is None else array).save(path, exif=exif, **options)
    return path


def names(found):
    return [photo.name for photo in found.photos]


def test_only_pictures_are_taken_whatever_their_case_and_other_files_are_counted(tmp_path):
    for name in ("b.JPG", "a.png", "c d ü.tiff"):
        write(tmp_path / name)
    write(tmp_path / "._a.png")  # what macOS leaves beside a file
    (tmp_path / "Readme.txt").write_text("about")
    (tmp_path / "K.txt").write_text("1 0 0")
    (tmp_path / "below").mkdir()
    found = collect(tmp_path)
    assert names(found) == ["a.png", "b.JPG", "c d ü.tiff"]
    assert found.ignored == 2 and not found.refused


def test_a_folder_without_pictures_lends_its_images_folder(tmp_path):
    for name in ("a.png", "b.png"):
        write(tmp_path / "images" / name)
    assert collect(tmp_path).folder == tmp_path / "images"


def test_an_empty_folder_names_the_folder_below_that_holds_pictures(tmp_path):
    write(tmp_path / "holiday" / "a.png")
    with pytest.raises(PosesError, match=r"holds no picture.*holiday"):
        collect(tmp_path)


def test_one_picture_is_not_enough(tmp_path):
    write(tmp_path / "a.png")
    with pytest.raises(PosesError, match="only one picture"):
        collect(tmp_path)


def test_broken_pictures_are_refused_by_name_and_the_rest_is_taken(tmp_path):
    """Cut short, empty, text, another kind: found before an hour of work, with the cause."""
    big = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    for name in ("a.jpg", "b.jpg"):
        write(tmp_path / name, big)
    whole = write(tmp_path / "cut.jpg", big).read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    whole = write(tmp_path / "cut.png", big).read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("not a picture")
    (tmp_path / "phone.HEIC").write_bytes(b"\0\0\0 ftypheic")
    (tmp_path / "raw.DNG").write_bytes(b"II*\0")
    Image.fromarray(np.zeros((6, 8), np.uint16)).save(tmp_path / "depth.png")
    found = collect(tmp_path)
    assert names(found) == ["a.jpg", "b.jpg"]
    assert sorted(found.refused) == [
        "cut.jpg", "cut.png", "depth.png", "empty.jpg", "phone.HEIC",
        "raw.DNG", "text.jpg",
    ]  # fmt: skip
    assert "convert it to JPEG" in found.refused["raw.DNG"]
    assert all(str(tmp_path) not in cause for cause in found.refused.values())


def test_a_name_that_cannot_be_printed_is_refused(tmp_path):
    for name in ("a.png", "b.png", "line\nbreak.png"):
        write(tmp_path / name)
    assert list(collect(tmp_path).refused) == ["line\nbreak.png"]


def test_when_nothing_can_be_read_the_error_says_why(tmp_path):
    """Each cause once: a hundred files of one kind are one thing to do."""
    for name in ("a.jpg", "b.jpg", "c.dng"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(PosesError, match=r"no picture that can be read.*; a\.jpg: .*; c\.dng: ") as caught:
        collect(tmp_path)
    assert "b.jpg" not in str(caught.value)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["png", "jpg", "tiff", "webp"])
def test_every_orientation_and_kind_comes_out_as_training_and_pycolmap_will_see_it(
    tmp_path, orientation, kind
):
    """A scene's pictures carry no orientation, so that each reader agrees on what is up."""
    options = {"jpg": {"quality": 100, "subsampling": 0}, "webp": {"lossless": True}}.get(kind, {})
    smooth = np.linspace(0, 255, 48 * 64 * 3).reshape(48, 64, 3).astype(np.uint8)
    source = write(tmp_path / f"a.{kind}", smooth, orientation, **options)
    write(tmp_path / "b.png")
    found = collect(tmp_path)
    assert found.photos[0].turned == (orientation > 1)
    place(found.photos, tmp_path / "out")
    placed = tmp_path / "out" / found.photos[0].name
    with Image.open(placed) as image:
        assert image.getexif().get(ORIENTATION, 1) == 1
        seen = np.array(image.convert("RGB")).astype(int)
    wanted = read_image(source).numpy().astype(int)
    assert seen.shape == wanted.shape == (found.photos[0].height, found.photos[0].width, 3)
    assert np.abs(seen - wanted).max() <= (6 if kind == "jpg" else 0)
    read = pycolmap.Bitmap.read(placed, as_rgb=True)
    assert (read.width, read.height) == (found.photos[0].width, found.photos[0].height)


def test_a_turned_picture_keeps_the_focal_length_that_its_camera_wrote(tmp_path):
    write(tmp_path / "a.jpg", orientation=6, make="Maker", focal=5.85)
    write(tmp_path / "b.jpg")
    place(collect(tmp_path).photos, tmp_path / "out")
    with Image.open(tmp_path / "out" / "a.jpg") as image:
        exif = image.getexif()
        assert exif[MAKE] == "Maker" and float(exif.get_ifd(EXIF)[FOCAL]) == pytest.approx(5.85)


def test_a_phones_heif_becomes_a_jpeg_that_pycolmap_reads_with_its_focal_length(tmp_path):
    """Upright, whatever its name."""
    pillow_heif.register_heif_opener()
    exif = Image.Exif()
    exif[ORIENTATION], exif[MAKE] = 6, "Maker"
    exif.get_ifd(EXIF)[FOCAL] = 5.85
    smooth = np.linspace(0, 255, 48 * 64 * 3).reshape(48, 64, 3).astype(np.uint8)
    for name in ("IMG_1.HEIC", "sent.jpg"):
        Image.fromarray(smooth).save(tmp_path / name, format="HEIF", exif=exif.tobytes(), quality=95)
    found = collect(tmp_path)
    place(found.photos, tmp_path / "out")
    assert names(found) == ["IMG_1.HEIC.jpg", "sent.jpg"]
    for photo in found.photos:
        assert (photo.width, photo.height) == (48, 64) and photo.camera.startswith("Maker 5.85")
        placed = tmp_path / "out" / photo.name
        with Image.open(placed) as image:
            assert image.format == "JPEG" and image.getexif().get(ORIENTATION, 1) == 1
            assert float(image.getexif().get_ifd(EXIF)[FOCAL]) == pytest.approx(5.85)
        seen, wanted = (read_image(file).numpy().astype(int) for file in (placed, photo.path))
        assert seen.shape == wanted.shape and np.abs(seen - wanted).mean() < 4
        read = pycolmap.Bitmap.read(placed, as_rgb=True)
        assert (read.width, read.height) == (48, 64)


def test_upright_pictures_take_no_space(tmp_path):
    source = write(tmp_path / "a.png")
    write(tmp_path / "b.png")
    (tmp_path / "c.png").symlink_to(source)
    place(collect(tmp_path).photos, tmp_path / "out")
    for name in ("a.png", "c.png"):
        assert os.path.samefile(tmp_path / "out" / name, source)
        assert not (tmp_path / "out" / name).is_symlink()


DMS = (55.0, 41.0, 53.4)


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({1: "N", 2: DMS, 3: "E", 4: (13.0, 11.0, 43.4), 6: 37.0}, Position(55.698167, 13.195389, 37.0)),
        ({1: "S", 2: DMS, 3: "W", 4: (13.0, 11.0, 43.4)}, Position(-55.698167, -13.195389, None)),
        (
            {1: "N", 2: DMS, 3: "E", 4: (13.0, 11.0, 43.4), 5: b"\1", 6: 4.0},
            Position(55.698167, 13.195389, -4.0),
        ),
        ({1: "N", 2: DMS}, None),
        ({1: "N", 2: (0.0, 0.0, 0.0), 3: "E", 4: (0.0, 0.0, 0.0)}, None),  # a camera that does not know
        ({1: "N", 2: (95.0, 0.0, 0.0), 3: "E", 4: (13.0, 0.0, 0.0)}, None),
        ({}, None),
    ],
)
def test_positions_are_degrees_north_and_east_and_metres_above_the_sea(tmp_path, tags, expected):
    write(tmp_path / "a.jpg", gps=tags)
    write(tmp_path / "b.jpg")
    found = collect(tmp_path).photos[0].position
    if expected is None:
        assert found is None
    else:
        assert (found.latitude, found.longitude) == pytest.approx(
            (expected.latitude, expected.longitude), abs=1e-5
        )
        assert found.altitude == expected.altitude


def test_a_position_divided_by_zero_is_none(tmp_path):
    from PIL.TiffImagePlugin import IFDRational

    assert photos._degrees((IFDRational(1, 0), IFDRational(1, 1), IFDRational(1, 1)), "N", "S") is None


def photo(name, width=8, height=6, camera=""):
    return Photo(Path(name), width, height, camera=camera)


def test_photographs_share_a_camera_if_size_and_lens_agree():
    taken = [
        photo("a", camera="x 5"),
        photo("b", camera="x 9"),
        photo("c", camera="x 5"),
        photo("d", 6, 8, "x 5"),
    ]
    assert lenses(taken, "auto") == [["a", "c"], ["b"], ["d"]]
    assert lenses(taken, "per-image") == [["a"], ["b"], ["c"], ["d"]]
    assert lenses(taken[:3], "shared") == [["a", "b", "c"]]
    with pytest.raises(PosesError, match=r"a 8 x 6, d 6 x 8.*--camera auto"):
        lenses(taken, "shared")
