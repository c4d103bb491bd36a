"""D-NeRF scenes: NeRF-synthetic with times, all splits at once, and no file is trusted."""

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from scenes.cameras import Cameras
from scenes.formats.capture import Capture, Frame
from scenes.formats.dnerf import capture, recognise
from scenes.images import read_image, write_png
from scenes.scene import SceneError, SceneWarning

WIDTH, HEIGHT = 8, 6
ANGLE = 0.7
TIMES = {"train": [0.0, 0.25, 1.0], "val": [0.5], "test": [0.125, 0.75]}


@contextmanager
def refused(match: str) -> Iterator[None]:
    """A SceneError of one line."""
    with pytest.raises(SceneError, match=match) as caught:
        yield
    assert "\n" not in str(caught.value)


def a_pose(index: int) -> np.ndarray:
    """Camera-to-world, OpenGL axes, of a camera that sees the origin four units ahead."""
    q, _ = np.linalg.qr(np.random.default_rng(index).normal(size=(3, 3)))
    pose = np.eye(4)
    pose[:3, :3] = q * np.linalg.det(q)
    pose[:3, 3] = 4 * pose[:3, 2]
    return pose


def contents(split: str, times: list[float | None]) -> dict[str, Any]:
    """A file of the format's true layout; time None: the frame tells none."""
    frames = []
    for i, time in enumerate(times):
        frame = {
            "file_path": f"./{split}/r_{i:03d}",
            "rotation": 0.03,
            "transform_matrix": a_pose(i).tolist(),
        }
        frames.append(frame if time is None else frame | {"time": time})
    return {"camera_angle_x": ANGLE, "frames": frames}


def a_scene(folder: Path, splits: dict[str, list] | None = None) -> Path:
    """A folder with these times; pictures of split s, frame i have colour 100 s + 10 i."""
    for s, (split, times) in enumerate((TIMES if splits is None else splits).items()):
        (folder / split).mkdir(parents=True)
        for i in range(len(times)):
            picture = torch.full((HEIGHT, WIDTH, 4), 100 * s + 10 * i, dtype=torch.uint8)
            write_png(folder / split / f"r_{i:03d}.png", picture)
        (folder / f"transforms_{split}.json").write_text(json.dumps(contents(split, times)))
    return folder


def edited(folder: Path, **changes: Any) -> Path:
    """The scene with these entries of its second training frame changed; a value of ... removes one."""
    file = a_scene(folder) / "transforms_train.json"
    whole = json.loads(file.read_text())
    frame = whole["frames"][1] | changes
    whole["frames"][1] = {name: value for name, value in frame.items() if value is not ...}
    file.write_text(json.dumps(whole))
    return folder


def times_of(read: Capture) -> list[float | None]:
    return [frame.time for frame in read.frames]


def pixels_of(frame: Frame, points: np.ndarray) -> np.ndarray:
    """Where our cameras see the points."""
    lens = frame.lens
    numbers = (torch.tensor(n, dtype=torch.float64) for n in (lens.fx, lens.fy, lens.cx, lens.cy))
    cameras = Cameras(torch.from_numpy(frame.camera_to_world), *numbers, lens.width, lens.height)
    return cameras.project(torch.from_numpy(points))[0].numpy()


def test_points_fall_on_the_pixels_that_the_format_documents(tmp_path):
    """x right, y up, z back; the angle is that between the left and the right edge of the picture."""
    points = np.random.default_rng(9).normal(size=(40, 3))
    frames = capture(a_scene(tmp_path)).frames
    for frame, i in zip(frames, (0, 1, 2, 0, 0, 1), strict=True):
        right, up, back, centre = a_pose(i)[:3].T
        arm = points - centre
        edge = math.tan(ANGLE / 2)  # of the plane at depth 1
        x, y = (arm @ right) / -(arm @ back), (arm @ up) / -(arm @ back)
        expected = np.stack((WIDTH / 2 * (1 + x / edge), HEIGHT / 2 - WIDTH / 2 * y / edge), axis=-1)
        np.testing.assert_allclose(pixels_of(frame, points), expected, atol=1e-6, rtol=0)


def test_all_splits_are_one_capture_with_times(tmp_path):
    """Each frame with its own time, split and picture; the box and the way up are the format's."""
    read = capture(a_scene(tmp_path / "ein Ball, der hüpft"))
    assert times_of(read) == [0.0, 0.25, 1.0, 0.5, 0.125, 0.75]
    assert read.splits == {
        "train": ("train/r_000", "train/r_001", "train/r_002"),
        "val": ("val/r_000",),
        "test": ("test/r_000", "test/r_001"),
    }
    assert [frame.name for frame in read.frames] == [name for names in read.splits.values() for name in names]
    colours = [int(read_image(frame.image)[0, 0, 0]) for frame in read.frames]
    assert colours == [0, 10, 20, 100, 200, 210]
    assert read.white and read.box == ((-1.5,) * 3, (1.5,) * 3) and read.up == (0, 0, 1)


def test_a_split_without_times_is_spread_evenly(tmp_path):
    """Each split by itself; a single frame is at 0, not at 0 / 0."""
    read = capture(a_scene(tmp_path, {"train": [0, 1], "val": [None], "test": [None] * 5}))
    assert times_of(read) == [0, 1, 0, 0, 0.25, 0.5, 0.75, 1]


def test_a_time_that_some_frames_lack_is_refused(tmp_path):
    """To guess it from the frame's place would mix two clocks."""
    with refused(r"transforms_train\.json: frame 1 \(train/r_001\): time is None"):
        capture(edited(tmp_path, time=...))


def test_a_training_that_does_not_begin_at_0_is_warned_of(tmp_path):
    """The canonical shape is that of time 0; of the other splits it is not asked."""
    folder = a_scene(tmp_path, {"train": [0.5, 0], "val": [0.5]})
    with pytest.warns(SceneWarning, match=r"frame 0 \(train/r_000\): .* at time 0\.5"):
        assert times_of(capture(folder)) == [0.5, 0, 0.5]


@pytest.mark.parametrize("time", [-0.01, 1.01, math.nan, math.inf, "0.5", None, True, [0.5], 10**400])
def test_times_outside_of_0_to_1_are_refused(time, tmp_path):
    with refused(r"transforms_train\.json: frame 1 \(train/r_001\): time is "):
        capture(edited(tmp_path, time=time))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"transform_matrix": np.diag([1, 1, -1, 1]).tolist()}, r"is not a rotation \(determinant -1"),
        ({"transform_matrix": np.diag([2, 1, 1, 1]).tolist()}, "is not a rotation"),
        ({"transform_matrix": [[math.nan] * 4] * 4}, "is not finite"),
        ({"transform_matrix": [[1, 0], [0, 1]]}, "is not 4x4 numbers"),
        ({"transform_matrix": ...}, "is not 4x4 numbers"),
        ({"file_path": "./train/r_000"}, "the same name as an earlier frame"),
        ({"file_path": "train/" + "x" * 5000}, "cannot be looked up"),
    ],
)
def test_senseless_frames_are_refused_with_their_name(changes, message, tmp_path):
    with refused(rf"transforms_train\.json: frame 1 \(train/\w+\): .*{message}"):
        capture(edited(tmp_path, **changes))


@pytest.mark.parametrize("name", [..., None, 3, "", "a\nb", "a\x00b"])
def test_frames_without_a_name_are_refused_with_their_number(name, tmp_path):
    with refused(r"transforms_train\.json: frame 1: file_path is "):
        capture(edited(tmp_path, file_path=name))


@pytest.mark.parametrize("name", ["../secret", "train/../../secret.png", "ABSOLUTE", "link"])
def test_paths_may_not_leave_the_folder(name, tmp_path):
    """Upwards, absolute or through a link; with allow_outside they may."""
    write_png(tmp_path / "secret.png", torch.zeros(6, 8, 4, dtype=torch.uint8))
    name = str(tmp_path / "secret.png") if name == "ABSOLUTE" else name
    folder = edited(tmp_path / "scene", file_path=name)
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    with refused(r"frame 1 .* outside of the scene folder"):
        capture(folder)
    assert len(capture(folder, allow_outside=True).frames) == 6


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ('{"frames":' + "[" * 100_000, "is not JSON"),
        ("[]", "holds a list"),
        ('{"frames": []}', "camera_angle_x is None"),
        ('{"camera_angle_x": 4, "frames": []}', "camera_angle_x is 4"),
        ('{"camera_angle_x": NaN}', "camera_angle_x is nan"),
        ('{"camera_angle_x": 0.7}', "frames is missing"),
        ('{"camera_angle_x": 0.7, "frames": {"time": 0}}', "frames is missing"),
        ('{"camera_angle_x": 0.7, "frames": [3]}', "frame 0: file_path is None"),
        ('{"camera_angle_x": 0.7, "frames": [["time"]]}', "frame 0: file_path is None"),
        ("\ud800", "cannot be read as text"),
    ],
)
def test_broken_files_are_named_and_not_claimed(text, message, tmp_path):
    folder = a_scene(tmp_path)
    (folder / "transforms_train.json").write_bytes(text.encode(errors="surrogatepass"))
    assert recognise(folder) is None
    with refused(rf"transforms_train\.json: .*{message}"):
        capture(folder)


def test_a_missing_picture_is_left_to_the_caller(tmp_path):
    """Its frame keeps name, pose and time; the others keep their size."""
    folder = a_scene(tmp_path)
    (folder / "train" / "r_001.png").unlink()
    frames = capture(folder).frames
    assert [frame.image is None for frame in frames] == [False, True] + 4 * [False]
    assert frames[1].name == "train/r_001" and frames[1].time == 0.25
    assert {(frame.lens.width, frame.lens.height) for frame in frames if frame.image} == {(WIDTH, HEIGHT)}


def test_a_broken_picture_is_named(tmp_path):
    folder = a_scene(tmp_path)
    (folder / "val" / "r_000.png").write_bytes(b"\x89PNG")
    with refused(r"transforms_val\.json: frame 0 \(val/r_000\): .*r_000\.png"):
        capture(folder)


def test_each_picture_gives_the_size_of_its_own_lens(tmp_path):
    """The angle is fixed, so a test set of half the size has half the focal length."""
    folder = a_scene(tmp_path)
    write_png(folder / "test" / "r_000.png", torch.zeros(3, 4, 4, dtype=torch.uint8))
    full, half = (capture(folder).frames[i].lens for i in (0, 4))
    assert (half.width, half.height, half.cx, half.cy) == (4, 3, 2, 1.5)
    assert half.fx == half.fy == full.fx / 2


def test_scenes_with_times_are_claimed_and_others_are_not(tmp_path):
    """NeRF-synthetic without times is another format's; so is any other file of the folder."""
    folder = a_scene(tmp_path / "moving")
    for path in (folder, *(folder / f"transforms_{split}.json" for split in TIMES)):
        assert recognise(path) == "has transforms_train.json with times"
        assert len(capture(path).frames) == 6
    still = a_scene(tmp_path / "still", {"train": [None, None]})
    (folder / "notes.json").write_text("{}")
    for path in (still, folder / "notes.json", folder / "train", tmp_path, tmp_path / "no", Path("x" * 5000)):
        assert recognise(path) is None
    with refused("none of transforms_train.json, transforms_val.json, transforms_test.json is there"):
        capture(tmp_path)


def test_a_pipe_does_not_hang_the_reader(tmp_path):
    os.mkfifo(tmp_path / "transforms_train.json")
    assert recognise(tmp_path) is None
    with refused("none of transforms_train"):
        capture(tmp_path)


def test_the_published_lego_does_not_move(test_data):
    assert recognise(test_data / "lego") is None
