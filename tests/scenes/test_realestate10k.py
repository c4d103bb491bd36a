"""Camera paths of RealEstate10K are read as the data set's authors wrote them, and never trusted."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from scenes.cameras import Cameras
from scenes.formats.capture import Frame
from scenes.formats.realestate10k import capture, recognise
from scenes.images import write_png
from scenes.scene import SceneError

ADDRESS = "https://www.youtube.com/watch?v=0bf152ef842"
STILL = "0.9 1.2 0.5 0.5 0.0 0.0 1 0 0 0 0 1 0 0 0 0 1 0"
WIDTH, HEIGHT = 8, 6


def rotation(generator: np.random.Generator) -> np.ndarray:
    q, r = np.linalg.qr(generator.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q * np.linalg.det(q)


def picture(file: Path, width: int = WIDTH, height: int = HEIGHT) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    write_png(file, torch.zeros(height, width, 3, dtype=torch.uint8))


def a_path(folder: Path, lines: list[str], pictures: str = "images", name: str = "clip.txt") -> Path:
    """A file with these lines, and a picture for every timestamp in them."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("\n".join([ADDRESS, *lines]) + "\n", encoding="utf-8")
    for line in lines:
        if line.split() and line.split()[0].isdigit():
            picture(folder / pictures / f"{line.split()[0]}.png")
    return folder


def seen(frame: Frame, points: np.ndarray) -> np.ndarray:
    """Where a reader's pose and lens put points."""
    lens = frame.lens
    intrinsics = (torch.tensor(v, dtype=torch.float64) for v in (lens.fx, lens.fy, lens.cx, lens.cy))
    camera = Cameras(torch.from_numpy(frame.camera_to_world), *intrinsics, lens.width, lens.height)
    return camera.project(torch.from_numpy(points))[0].numpy()


def test_points_fall_where_the_documented_formula_puts_them(tmp_path):
    """x = W (fx X/Z + cx), y = H (fy Y/Z + cy) with (X, Y, Z) = R p + t of the file's own numbers.

    Would catch camera-to-world for world-to-camera, rows for columns, and W for H.
    """
    generator = np.random.default_rng(3)
    points = generator.normal(size=(20, 3))
    lines, expected = [], []
    for index in range(5):
        turn, move = rotation(generator), generator.normal(size=3) + np.array([0.0, 0.0, 9.0])
        fx, fy, cx, cy = 0.5 + index / 10, 1.1, 0.45, 0.55
        numbers = [fx, fy, cx, cy, 0, 0, *np.column_stack((turn, move)).flatten()]
        lines.append(f"{88990000 + 33367 * index} " + " ".join(f"{v:.12f}" for v in numbers))
        in_camera = points @ turn.T + move
        x = WIDTH * (fx * in_camera[:, 0] / in_camera[:, 2] + cx)
        y = HEIGHT * (fy * in_camera[:, 1] / in_camera[:, 2] + cy)
        expected.append(np.column_stack((x, y)))
    read = capture(a_path(tmp_path, lines))
    assert [frame.name for frame in read.frames] == [str(88990000 + 33367 * i) for i in range(5)]
    assert all(frame.image == tmp_path / "images" / f"{frame.name}.png" for frame in read.frames)
    for frame, pixels in zip(read.frames, expected, strict=True):
        assert_allclose(seen(frame, points), pixels, atol=1e-6)
        assert (frame.lens.width, frame.lens.height) == (WIDTH, HEIGHT)


def test_pictures_of_the_file_go_before_those_of_all(tmp_path):
    """A folder of the file's name holds its own pictures; images/ may be another clip's."""
    a_path(tmp_path, [f"7 {STILL}"])
    picture(tmp_path / "clip" / "7.jpg", 16, 12)
    frame = capture(tmp_path / "clip.txt").frames[0]
    assert frame.image == tmp_path / "clip" / "7.jpg" and frame.lens.width == 16


def test_missing_pictures_are_told_and_the_size_comes_from_one_that_is_there(tmp_path):
    a_path(tmp_path, [f"{n} {STILL}" for n in (1, 2, 3)])
    (tmp_path / "images" / "1.png").unlink()
    frames = capture(tmp_path).frames
    assert [frame.image is None for frame in frames] == [True, False, False]
    assert frames[0].lens == frames[1].lens


def test_what_is_a_camera_path_is_recognised(tmp_path):
    folder = a_path(tmp_path / "mit Leerzeichen ü", [f"7 {STILL}", "", f"8 {STILL}"])
    (folder / "notes.txt").write_text("https://example.org\nfound here\n")
    assert recognise(folder) == "has clip.txt with an address and 19 columns"
    assert recognise(folder / "clip.txt")
    assert recognise(folder / "notes.txt") is None
    assert recognise(folder / "images") is None and recognise(folder / "absent") is None
    assert len(capture(folder).frames) == 2


def test_two_camera_paths_in_a_folder_are_not_one_scene(tmp_path):
    a_path(tmp_path, [f"7 {STILL}"])
    a_path(tmp_path, [f"7 {STILL}"], name="other.txt")
    assert recognise(tmp_path) is None
    with pytest.raises(SceneError, match="several camera paths; give one of them"):
        capture(tmp_path)
    assert len(capture(tmp_path / "other.txt").frames) == 1
    with pytest.raises(SceneError, match="no camera path"):
        capture(tmp_path / "images")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n\n",
        ADDRESS.encode(),
        b"\xff\xfe\x00" * 50,
        b"ply\n" + STILL.encode(),
        ADDRESS.encode() + b"\n1 2",
    ],
)
def test_other_text_is_not_claimed(content, tmp_path):
    (tmp_path / "clip.txt").write_bytes(content)
    assert recognise(tmp_path) is None and recognise(tmp_path / "clip.txt") is None


def test_pipes_are_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "clip.txt")
    assert recognise(tmp_path) is None and recognise(tmp_path / "clip.txt") is None
    with pytest.raises(SceneError, match="no such file"):
        capture(tmp_path / "clip.txt")


def changed(column: int, word: str) -> str:
    words = f"7 {STILL}".split()
    words[column] = word
    return " ".join(words)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (changed(0, "../7"), "timestamp is '../7'"),
        (changed(0, "7.5"), "timestamp is '7.5'"),
        (changed(0, "-7"), "timestamp is '-7'"),
        (changed(0, "9" * 30), "timestamp is"),
        (changed(1, "525.0"), r"fx \(in widths\) is 525.0; it must be a number in \(0, 100\)"),
        (changed(2, "0"), r"fy \(in heights\) is 0.0"),
        (changed(1, "nan"), r"fx \(in widths\) is nan"),
        (changed(3, "inf"), r"cx \(in widths\) is inf"),
        (changed(5, "1280"), "columns 6 and 7 are 1280 and 0.0; they must be 0"),
        (changed(6, "nan"), "columns 6 and 7"),
        (changed(7, "2"), r"not a rotation \(determinant 2.00\)"),
        (changed(7, "-1"), r"not a rotation \(determinant -1.00\)"),
        (changed(10, "nan"), "is not finite"),
        (changed(10, "1e300"), "is not finite"),
        (changed(8, "north"), "no numbers"),
        (f"7 {STILL} 1", "has 20 columns, not 19"),
        ("7 0.9 1.2", "has 3 columns, not 19"),
    ],
)
def test_lines_that_are_none_are_named(line, message, tmp_path):
    folder = a_path(tmp_path, [f"6 {STILL}", line])
    with pytest.raises(SceneError, match=rf"clip\.txt: line 3.*{message}"):
        capture(folder)


def test_one_timestamp_twice_is_refused(tmp_path):
    with pytest.raises(SceneError, match=r"line 3 \(7\): the same name"):
        capture(a_path(tmp_path, [f"7 {STILL}", f"7 {STILL}"]))


def test_without_any_picture_the_remedy_is_named(tmp_path):
    """The size is not in the file."""
    a_path(tmp_path, [f"7 {STILL}"])
    (tmp_path / "images" / "7.png").unlink()
    with pytest.raises(SceneError, match=r"none of its 1 pictures .* clip/ or images/ .* timestamp"):
        capture(tmp_path)


def test_a_broken_first_picture_is_an_error_of_the_scene(tmp_path):
    a_path(tmp_path, [f"7 {STILL}"])
    (tmp_path / "images" / "7.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(SceneError, match=r"7\.png"):
        capture(tmp_path)


def test_pictures_may_not_lie_outside(tmp_path):
    folder = a_path(tmp_path / "scene", [f"7 {STILL}"])
    picture(tmp_path / "secret.png")
    (folder / "images" / "7.png").unlink()
    (folder / "images" / "7.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(SceneError, match=r"line 2 \(7\).* outside of the scene folder"):
        capture(folder)
    assert capture(folder, allow_outside=True).frames[0].image is not None


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"not an address\n7 " + STILL.encode()])
def test_files_that_are_no_camera_path_are_named(content, tmp_path):
    (tmp_path / "clip.txt").write_bytes(content)
    with pytest.raises(SceneError, match=r"clip\.txt: (line 1 must be|cannot be read)"):
        capture(tmp_path / "clip.txt")


def test_an_address_alone_holds_no_frame(tmp_path):
    with pytest.raises(SceneError, match=r"clip\.txt: holds no frame"):
        capture(a_path(tmp_path, []) / "clip.txt")
