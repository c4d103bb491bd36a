"""Instant-ngp's transforms.json is read as instant-ngp means it: lens, order, box and what is left out."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from scenes.cameras import Cameras
from scenes.formats import instant_ngp, nerfstudio
from scenes.formats.capture import Frame, present
from scenes.formats.instant_ngp import capture, recognise
from scenes.images import read_header, write_png
from scenes.scene import SceneError, SceneWarning
from scenes.transforms import looked_at_point

WIDTH, HEIGHT = 8, 6
LENS = {"fl_x": 7.0, "fl_y": 6.5, "cx": 4.2, "cy": 2.9, "w": WIDTH, "h": HEIGHT}
POINTS = np.array([[0.3, -0.2, 0.1], [-0.4, 0.5, 0.2], [0.1, 0.3, -0.6], [0.0, 0.0, 0.0]])


def pose(angle: float = 0.4) -> list[list[float]]:
    """Camera-to-world in OpenGL axes: three units from the origin, looking near it, x right, y up, z back."""
    back = np.array([math.sin(angle), -math.cos(angle), 0.3])
    back /= np.linalg.norm(back)
    right = np.cross([0, 0, 1], back)
    right /= np.linalg.norm(right)
    rows = np.eye(4)
    rows[:3] = np.stack((right, np.cross(back, right), back, 3 * back + [0.1, 0.0, 0.05]), axis=-1)
    return rows.tolist()


def frame(name: str = "images/a.png", angle: float = 0.4, **keys: object) -> dict:
    return {"file_path": name, "transform_matrix": pose(angle), **keys}


def a_capture(folder: Path, frames: list, name: str = "transforms.json", **keys: object) -> Path:
    """A folder whose JSON has these frames and keys, and pictures images/a.png to images/c.png of 8x6."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for stem in "abc":
        write_png(folder / "images" / f"{stem}.png", torch.zeros(HEIGHT, WIDTH, 3, dtype=torch.uint8))
    (folder / name).write_text(json.dumps({"aabb_scale": 4, **keys, "frames": frames}))
    return folder


def in_camera(points: np.ndarray, angle: float = 0.4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points right of, below and before the camera: from OpenGL axes, written out."""
    matrix = np.array(pose(angle))
    right, up, back = matrix[:3, :3].T @ (points - matrix[:3, 3]).T
    return right, -up, -back


def seen(read: Frame, points: np.ndarray = POINTS) -> np.ndarray:
    """The pixels where our own cameras see points through a frame's pose and lens."""
    lens = read.lens
    k = torch.zeros(1, 8, dtype=torch.float64)
    k[0, : len(lens.coefficients)] = torch.tensor(lens.coefficients, dtype=torch.float64)
    fx, fy, cx, cy = (torch.tensor([v], dtype=torch.float64) for v in (lens.fx, lens.fy, lens.cx, lens.cy))
    matrix = torch.from_numpy(read.camera_to_world)[None]
    cameras = Cameras(matrix, fx, fy, cx, cy, lens.width, lens.height, k, lens.projection)
    return cameras[0].project(torch.from_numpy(points))[0].numpy()


def opencv_pixels(x, y, z, fx, fy, cx, cy, k1=0.0, k2=0.0, p1=0.0, p2=0.0, k3=0.0) -> np.ndarray:
    """OpenCV's lens, written out."""
    a, b = x / z, y / z
    r2 = a * a + b * b
    radial = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
    u = a * radial + 2 * p1 * a * b + p2 * (r2 + 2 * a * a)
    v = b * radial + 2 * p2 * a * b + p1 * (r2 + 2 * b * b)
    return np.stack((fx * u + cx, fy * v + cy), axis=-1)


def test_points_are_seen_where_opencvs_lens_puts_them(tmp_path):
    """Axes, sign and order of k1 k2 p1 p2, and pixel centres: any of them wrong moves a pixel."""
    k = {"k1": 0.06, "k2": -0.08, "p1": -0.01, "p2": 0.02}
    read = capture(a_capture(tmp_path, [frame()], **LENS, **k)).frames[0]
    expected = opencv_pixels(*in_camera(POINTS), 7.0, 6.5, 4.2, 2.9, **k)
    np.testing.assert_allclose(seen(read), expected, atol=1e-6)


def test_points_are_seen_where_the_fisheye_puts_them(tmp_path):
    """is_fisheye takes k1 to k4 in the angle; p1 = p2 = 0, which colmap2nerf writes too, take no part."""
    k = {"k1": 0.06, "k2": -0.02, "k3": 0.03, "k4": -0.01, "p1": 0.0, "p2": 0.0}
    read = capture(a_capture(tmp_path, [frame()], **LENS, **k, is_fisheye=True)).frames[0]
    x, y, z = in_camera(POINTS)
    across = np.hypot(x, y)
    t = np.arctan2(across, z)
    bent = t * (1 + 0.06 * t**2 - 0.02 * t**4 + 0.03 * t**6 - 0.01 * t**8)
    expected = np.stack((7.0 * x / across * bent + 4.2, 6.5 * y / across * bent + 2.9), axis=-1)
    np.testing.assert_allclose(seen(read), expected, atol=1e-6)


def test_points_are_seen_where_a_latlong_panorama_puts_them(tmp_path):
    """All around: behind and above too; no focal length is needed."""
    points = np.concatenate((POINTS, [[9.0, 9.0, 5.0], [-9.0, 2.0, -3.0]]))
    read = capture(a_capture(tmp_path, [frame()], w=WIDTH, h=HEIGHT, latlong=True)).frames[0]
    x, y, z = in_camera(points)
    u = np.arctan2(x, z) / (2 * math.pi) + 0.5
    v = np.arcsin(y / np.sqrt(x**2 + y**2 + z**2)) / math.pi + 0.5
    np.testing.assert_allclose(seen(read, points), np.stack((u * WIDTH, v * HEIGHT), axis=-1), atol=1e-6)


FX_OF_90 = WIDTH / 2  # a field of view of 90 degrees sees half the width at focal length 1
FY_OF_90 = HEIGHT / 2


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"fl_x": 7.0}, (7.0, 7.0)),
        ({"fl_y": 6.0}, (6.0, 6.0)),
        ({"fl_x": 7.0, "fl_y": 6.0}, (7.0, 6.0)),
        ({"x_fov": 90.0}, (FX_OF_90, FX_OF_90)),
        ({"y_fov": 90}, (FY_OF_90, FY_OF_90)),
        ({"camera_angle_x": math.pi / 2}, (FX_OF_90, FX_OF_90)),
        ({"camera_angle_x": math.pi / 2, "camera_angle_y": math.pi / 2}, (FX_OF_90, FY_OF_90)),
        ({"x_fov": 90.0, "fl_x": 7.0, "camera_angle_x": 1.0}, (FX_OF_90, FX_OF_90)),
        ({"fl_x": 7.0, "camera_angle_x": 1.0, "camera_angle_y": math.pi / 2}, (7.0, FY_OF_90)),
        ({"fl_x": 7.0, "y_fov": 90.0, "fl_y": 1.0}, (7.0, FY_OF_90)),
    ],
)
def test_each_axis_takes_fov_before_focal_length_before_angle(keys, expected, tmp_path):
    lens = capture(a_capture(tmp_path, [frame()], w=WIDTH, h=HEIGHT, **keys)).frames[0].lens
    np.testing.assert_allclose((lens.fx, lens.fy), expected, rtol=1e-12)
    assert (lens.cx, lens.cy) == (WIDTH / 2, HEIGHT / 2)


def test_what_a_frame_says_goes_before_what_the_file_says(tmp_path):
    """Also where the file's x_fov would go before a fl_x on the same level."""
    own = {"fl_x": 9.0, "cx": 3.0, "k1": 0.5, "w": 16, "h": 12}
    folder = a_capture(tmp_path, [frame(), frame("images/b.png", **own)], **LENS, x_fov=90.0, k2=0.25)
    first, second = (f.lens for f in capture(folder).frames)
    assert first.fx == pytest.approx(4.0)
    assert (first.cx, first.width, first.coefficients) == (4.2, 8, (0, 0.25, 0, 0, 0))
    assert (second.fx, second.cx, second.cy, second.width) == (9.0, 3.0, 2.9, 16)
    assert second.coefficients == (0.5, 0.25, 0, 0, 0)


def test_each_picture_tells_its_size_where_the_file_does_not(tmp_path):
    """A missing picture takes the first one's."""
    folder = a_capture(tmp_path, [frame(), frame("images/b.png"), frame("images/z.png")], x_fov=90)
    write_png(folder / "images" / "b.png", torch.zeros(10, 20, 3, dtype=torch.uint8))
    sizes = [(f.lens.width, f.lens.height, f.lens.fx) for f in capture(folder).frames]
    assert [(w, h) for w, h, _ in sizes] == [(8, 6), (20, 10), (8, 6)]
    np.testing.assert_allclose([fx for _, _, fx in sizes], [4, 10, 4])


@pytest.mark.parametrize(
    ("keys", "scale", "offset", "side"),
    [
        ({"aabb_scale": 16}, 0.33, (0.5, 0.5, 0.5), 16),
        ({"aabb_scale": 1.0, "scale": 0.5, "offset": 0.25}, 0.5, (0.25, 0.25, 0.25), 1),
        ({"aabb_scale": 2, "scale": 0.1, "offset": [0.1, 0.2, 0.7]}, 0.1, (0.1, 0.2, 0.7), 2),
    ],
)
def test_the_box_is_instant_ngps_cube(keys, scale, offset, side, tmp_path):
    """Mapped as instant-ngp maps positions, axes cycled last, the corners are the cube's."""
    low, high = capture(a_capture(tmp_path, [frame()], **LENS, **keys)).box
    for corner, wanted in ((low, 0.5 - side / 2), (high, 0.5 + side / 2)):
        mapped = [corner[axis] * scale + offset[axis] for axis in (1, 2, 0)]
        np.testing.assert_allclose(mapped, [wanted] * 3, atol=1e-9)


def test_an_aabb_is_fitted_into_the_unit_cube(tmp_path):
    """Its longest side is the cube's, its centre the cube's middle."""
    keys = {"aabb": [[-1, 0, 2], [3, 1, 4]], "aabb_scale": 1, "scale": 77.0}
    low, high = capture(a_capture(tmp_path, [frame()], **LENS, **keys)).box
    np.testing.assert_allclose(low, [-1, -1.5, 1], atol=1e-9)
    np.testing.assert_allclose(high, [3, 2.5, 5], atol=1e-9)


def test_a_file_without_a_box_gives_none_and_up_is_z_unless_told(tmp_path):
    contents = {"camera_angle_x": 0.7, "frames": [frame()]}
    (a_capture(tmp_path, []) / "transforms.json").write_text(json.dumps(contents))
    read = capture(tmp_path)
    assert read.box is None and read.up == (0, 0, 1)
    assert capture(a_capture(tmp_path, [frame()], **LENS, up=[0, -2, 0])).up == (0, -1, 0)


def test_frames_come_in_the_order_of_their_numbers(tmp_path):
    """Leading zeros and long numbers too; n_frames keeps the first of them."""
    names = ["f10", "f9", "f009", "f1", "e2", "f" + "9" * 5000, "f9a", "10", "9"]
    frames = [frame(name, angle=0.1 * i) for i, name in enumerate(names)]
    long = names[5]
    wanted = ["9", "10", "e2", "f1", "f9", "f009", "f9a", "f10"]
    short = [f for f in frames if f["file_path"] != long]
    assert [f.name for f in capture(a_capture(tmp_path, short, **LENS)).frames] == wanted
    assert [f.name for f in capture(a_capture(tmp_path, short, n_frames=3, **LENS)).frames] == wanted[:3]
    assert max((f["file_path"] for f in frames), key=instant_ngp._natural_order) == long


def test_pictures_are_found_without_extension_and_with_windows_slashes(tmp_path):
    folder = a_capture(tmp_path, [frame("./images/a"), frame(".\\images\\b.png")], **LENS)
    (folder / "images" / "a.png").rename(folder / "images" / "a.tga")
    read = capture(folder)
    assert [f.image for f in read.frames] == [folder / "images" / "a.tga", folder / "images" / "b.png"]
    assert [f.name for f in read.frames] == ["images/a", "images/b.png"]


@pytest.mark.parametrize("name", ["images/a.png", "images/./a.png", "images/a"])
def test_one_picture_in_two_frames_is_refused(name, tmp_path):
    with pytest.raises(SceneError, match=r"frame [01] .*the same (name|picture) as an earlier frame"):
        read = capture(a_capture(tmp_path, [frame(), frame(name)], **LENS))
        present(read.file, read.frames)


def test_comments_and_a_byte_order_mark_are_allowed(tmp_path):
    """But not inside strings, and not where they never end."""
    text = json.dumps({"aabb_scale": 4, **LENS, "frames": [frame("images/a//b/*c*/.png")]})
    text = '\ufeff// first\n/* second\n "quoted" */' + text.replace('"frames"', '/**/ "frames" /* * / */')
    (tmp_path / "transforms.json").write_text(text + "// last")
    assert recognise(tmp_path) and capture(tmp_path).frames[0].name == "images/a//b/*c*/.png"
    (tmp_path / "transforms.json").write_text(text + "/* open")
    with pytest.raises(SceneError, match="is not JSON"):
        capture(tmp_path)


def test_pictures_of_a_still_shutter_are_read_and_of_a_moving_one_refused(tmp_path):
    still = frame(transform_matrix_start=pose(0.7), transform_matrix_end=pose(0.7))
    read = capture(a_capture(tmp_path, [still], **LENS, rolling_shutter=[0, 0, 1, 0]))
    expected = opencv_pixels(*in_camera(POINTS, 0.7), 7.0, 6.5, 4.2, 2.9)
    np.testing.assert_allclose(seen(read.frames[0]), expected, atol=1e-6)
    moving = frame(transform_matrix_start=pose(0.7), transform_matrix_end=pose(0.71))
    with pytest.raises(
        SceneError, match=r"frame 0 \(images/a\.png\): transform_matrix_end .*rolling_shutter"
    ):
        capture(a_capture(tmp_path, [moving], **LENS))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"ftheta_p0": 1.0}, "ftheta_p0 tells an f-theta lens"),
        ({"equirectangular": True}, "equirectangular tells an equal-area panorama"),
        ({"orthographic": True}, "orthographic"),
        ({"normal_mts_args": {"a": 1}}, "normal_mts_args"),
        ({"k4": 0.1}, "k4 is 0.1; a perspective lens with k4"),
        ({"is_fisheye": True, "p1": 0.1}, "p1 is 0.1; a fisheye lens with p1"),
        ({"is_fisheye": "yes"}, "is_fisheye is 'yes'"),
        ({"aabb_scale": 3}, "aabb_scale is 3; it must be a power of 2, from 1 to 128"),
        ({"aabb_scale": 256}, "aabb_scale is 256"),
        ({"scale": 0}, "scale is 0"),
        ({"offset": [0, 1]}, "offset is .*three numbers"),
        ({"aabb": [[0, 0, 0]]}, "aabb is .*two corners"),
        ({"up": [0, 0, 0]}, "up is"),
        ({"x_fov": 180}, "x_fov is 180"),
        ({"n_frames": "all"}, "n_frames is 'all'"),
    ],
)
def test_what_cannot_be_expressed_is_refused_by_name(keys, message, tmp_path):
    with pytest.raises(SceneError, match=rf"transforms\.json: .*{message}"):
        capture(a_capture(tmp_path, [frame()], **{**LENS, **keys}))


def test_depth_is_read_in_its_unit_where_the_file_asks_for_it(tmp_path):
    frames = [
        frame(depth_path="depth/a"),
        frame("images/b.png", depth_path="depth/b.png"),
        frame("images/c.png"),
    ]
    folder = a_capture(tmp_path, frames, **LENS, integer_depth_scale=0.25)
    (folder / "depth").mkdir()
    (folder / "depth" / "a.png").write_bytes(b"")
    read = capture(folder)
    assert read.depth_unit == 0.25
    assert [f.depth for f in read.frames] == [folder / "depth" / "a.png", None, None]
    for keys in ({}, {"integer_depth_scale": 0.0}, {"integer_depth_scale": 1, "enable_depth_loading": False}):
        assert all(f.depth is None for f in capture(a_capture(tmp_path, frames, **LENS, **keys)).frames)
    with pytest.raises(SceneError, match=r"depth_path \.\./x\.png: .* outside"):
        capture(a_capture(tmp_path, [frame(depth_path="..\\x.png")], **LENS, integer_depth_scale=1))


def test_masks_that_are_white_where_to_ignore_are_counted_and_left_out(tmp_path):
    """They mean the opposite of our masks: one taken as it is would teach only what moves."""
    folder = a_capture(tmp_path, [frame(), frame("images/b.png")], **LENS, white_transparent=True)
    for name in ("dynamic_mask_a.png", "dynamic_mask_b.png", "a.png.alpha.png", "dynamic_mask_other.png"):
        (folder / "images" / name).write_bytes(b"")
    with pytest.warns(
        SceneWarning, match=r"2 dynamic_mask_\*\.png, 1 \*\.alpha\.\*, white_transparent"
    ) as warned:
        read = capture(folder)
    assert len(warned) == 1 and all(f.mask is None for f in read.frames)


@pytest.mark.parametrize(
    ("contents", "known"),
    [
        ({"aabb_scale": 4, "fl_x": 7.0}, ("instant-ngp", "aabb_scale")),
        ({"x_fov": 50}, ("instant-ngp", "x_fov")),
        ({"camera_angle_x": 0.7}, ("instant-ngp", "camera_angle_x")),
        ({"fl_x": 7.0, "frames": [{"sharpness": 3.0}]}, ("instant-ngp", "sharpness")),
        ({"fl_x": 7.0, "scale": 1, "frames": []}, ("instant-ngp", "scale")),
        ({"fl_x": 7.0}, ("nerfstudio", "fl_x")),
        ({"frames": [{"fl_x": 7.0}]}, ("nerfstudio", "fl_x")),
        ({"camera_model": "OPENCV", "aabb_scale": 4}, ("nerfstudio", "camera_model")),
        ({"fl_x": 7.0, "frames": [{"colmap_im_id": 3, "sharpness": 1}]}, ("nerfstudio", "colmap_im_id")),
        ({"camera_angle_x": 0.7, "val_filenames": []}, ("nerfstudio", "val_filenames")),
        ({"frames": []}, ("nerfstudio", "frames")),
        ({"frames": 3}, ("nerfstudio", "frames")),
        ({"cameras": []}, None),
    ],
)
def test_one_rule_tells_the_two_dialects_apart(contents, known, tmp_path):
    """Exactly one reader claims a file, for the folder and for the file, and says by which key."""
    (tmp_path / "transforms.json").write_text(json.dumps(contents))
    for path in (tmp_path, tmp_path / "transforms.json"):
        claims = {"nerfstudio": nerfstudio.recognise(path), "instant-ngp": instant_ngp.recognise(path)}
        claimed = {name: reason for name, reason in claims.items() if reason}
        assert claimed == ({known[0]: f"has transforms.json with {known[1]}"} if known else {})


def test_nerf_synthetic_folders_are_left_to_their_reader(tmp_path):
    folder = a_capture(tmp_path, [frame()], **LENS)
    assert recognise(folder) == "has transforms.json with aabb_scale"
    for name in ("transforms_train.json", "transforms_val.json", "transforms_test.json"):
        (folder / name).write_text((folder / "transforms.json").read_text())
        for reader in (instant_ngp, nerfstudio):
            assert reader.recognise(folder) is None and reader.recognise(folder / name) is None
        (folder / name).unlink()
    (folder / "transforms.json").rename(folder / "transforms_night.json")
    assert recognise(folder) is None and recognise(folder / "transforms_night.json")


@pytest.mark.parametrize("reader", [instant_ngp, nerfstudio])
def test_recognising_never_raises(reader, tmp_path):
    (tmp_path / "transforms.json").mkdir()
    for path in (
        tmp_path,
        tmp_path / "absent",
        tmp_path / ("x" * 5000),
        Path("a\0b"),
        tmp_path / "transforms.json",
    ):
        assert reader.recognise(path) is None


def test_the_published_fox_is_read(test_data):
    """67 frames, 17 without picture; colmap2nerf brought the cameras to a mean distance of 3 from their
    middle, what they look at near the origin and the mean of their ups to +z; the cube is 4 / 0.33 wide."""
    read = capture(test_data / "fox")
    assert recognise(test_data / "fox") == "has transforms.json with aabb_scale"
    assert len(read.frames) == 67 and sum(f.image is None for f in read.frames) == 17
    with pytest.warns(SceneWarning, match="17 of 67 pictures are missing"):
        assert len(present(read.file, read.frames)) == 50
    poses = np.stack([f.camera_to_world for f in read.frames])
    centres, forward, down = poses[:, :3, 3], poses[:, :3, 2], poses[:, :3, 1]
    np.testing.assert_allclose(np.linalg.norm(centres - centres.mean(axis=0), axis=-1).mean(), 3, atol=1e-6)
    middle = looked_at_point(torch.from_numpy(poses), torch.full((3,), 99.0, dtype=torch.float64))
    assert float(middle.norm()) < 0.1
    assert (np.einsum("ni,ni->n", forward, -centres) > 0).all(), "all look towards the origin"
    mean = -down.mean(axis=0)
    np.testing.assert_allclose(mean / np.linalg.norm(mean), [0, 0, 1], atol=1e-6)
    np.testing.assert_allclose(read.box, [[-2 / 0.33] * 3, [2 / 0.33] * 3], rtol=1e-9)
    lens = read.frames[0].lens
    assert (lens.width, lens.height, lens.fx, lens.cy) == (1080, 1920, 1375.52, 965.268)
    header = read_header(read.frames[0].image)
    assert (header.width, header.height) == (1080, 1920)
