"""Nerfstudio's transforms.json is read as nerfstudio means it, and written so that it comes back."""

import json
import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from scenes.cameras import Cameras
from scenes.formats import instant_ngp
from scenes.formats.capture import Capture
from scenes.formats.nerfstudio import capture, recognise, write
from scenes.images import ImageError, ImageSequence, read_image, write_png
from scenes.scene import Bounds, Scene, SceneError, SceneWarning
from scenes.transforms import rotation_between, similarity, transform_poses
from tests.scenes.test_instant_ngp import HEIGHT, LENS, POINTS, WIDTH, frame, opencv_pixels, pose, seen


def a_capture(folder: Path, frames: list, **keys: object) -> Path:
    """A folder whose JSON has these frames and keys, and pictures images/a.png to images/c.png of 8x6."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for stem in "abc":
        write_png(folder / "images" / f"{stem}.png", torch.zeros(HEIGHT, WIDTH, 3, dtype=torch.uint8))
    (folder / "transforms.json").write_text(json.dumps({"camera_model": "OPENCV", **keys, "frames": frames}))
    return folder


def nerfstudio_pixels(points, angle, projection, fl_x, fl_y, cx, cy, w, h, **k) -> np.ndarray:
    """Where nerfstudio's camera sees points, from its conventions and written out."""
    matrix = np.array(pose(angle))
    right, up, back = matrix[:3, :3].T @ (points - matrix[:3, 3]).T
    x, y, z = right, -up, -back
    if projection == "EQUIRECTANGULAR":  # fl_x spans half a turn
        u, v = np.arctan2(x, z) / math.pi, np.arctan2(y, np.hypot(x, z)) / math.pi
        return np.stack((u * fl_x + cx, v * fl_y + cy), axis=-1)
    if projection == "OPENCV_FISHEYE":
        t = np.arctan2(np.hypot(x, y), z)
        bent = t * (1 + k["k1"] * t**2 + k["k2"] * t**4 + k["k3"] * t**6 + k["k4"] * t**8) / np.hypot(x, y)
        return np.stack((x * bent * fl_x + cx, y * bent * fl_y + cy), axis=-1)
    return opencv_pixels(x, y, z, fl_x, fl_y, cx, cy, **{name: v for name, v in k.items() if name != "k4"})


LENSES = {
    "PINHOLE": {},
    "SIMPLE_PINHOLE": {},
    "SIMPLE_RADIAL": {"k1": 0.06},
    "RADIAL": {"k1": 0.06, "k2": -0.08},
    "OPENCV": {"k1": 0.06, "k2": -0.08, "p1": -0.01, "p2": 0.02, "k3": 0.04, "k4": 0.0},
    "OPENCV_FISHEYE": {"k1": 0.06, "k2": -0.02, "k3": 0.03, "k4": -0.01, "p1": 0.0, "p2": 0.0},
    "EQUIRECTANGULAR": {},
}


@pytest.mark.parametrize("model", LENSES)
@pytest.mark.parametrize("place", ["file", "frames", "distortion_params"])
def test_points_are_seen_where_nerfstudio_sees_them(model, place, tmp_path):
    """For every camera_model, with the lens told once, frame by frame, or as a list."""
    k = LENSES[model]
    whole, own = {**LENS, **k}, {}
    if place == "frames":
        whole, own = {}, whole
    if place == "distortion_params":
        names = ("k1", "k2", "k3", "k4", "p1", "p2")
        whole = {**LENS, "distortion_params": [k.get(name, 0.0) for name in names]}
    frames = [frame(**own), frame("images/b.png", angle=1.1, **own)]
    read = capture(a_capture(tmp_path, frames, **{"camera_model": model, **whole}))
    for given, angle in zip(read.frames, (0.4, 1.1), strict=True):
        expected = nerfstudio_pixels(POINTS, angle, model, **LENS, **k)
        np.testing.assert_allclose(seen(given), expected, atol=1e-6)


def test_a_panorama_of_all_directions_has_half_its_width_as_focal_length(tmp_path):
    """Straight ahead is the middle, to the right three quarters of the width, straight up the top."""
    lens = {"camera_model": "EQUIRECTANGULAR", "fl_x": 4, "fl_y": 4, "cx": 4, "cy": 2, "w": 8, "h": 4}
    read = capture(a_capture(tmp_path, [frame()], **lens)).frames[0]
    right, down, forward, centre = read.camera_to_world[:3].T
    points = centre + np.stack((forward, right, -down + 1e-9 * forward))
    np.testing.assert_allclose(seen(read, points), [[4, 2], [6, 2], [4, 0]], atol=1e-6)


def test_lenses_may_differ_from_frame_to_frame(tmp_path):
    """Size and focal length of their own, camera_model too (as several cameras of one COLMAP model give)."""
    frames = [
        frame(fl_x=7.0, w=8, h=6, camera_model="OPENCV"),
        frame("images/b.png", fl_x=9.0, w=6, h=8, camera_model="OPENCV_FISHEYE"),
    ]
    (tmp_path / "transforms.json").write_text(json.dumps({"frames": frames}))
    first, second = (f.lens for f in capture(tmp_path).frames)
    assert (first.fx, first.fy, first.cx, first.width, first.projection) == (7, 7, 4, 8, "perspective")
    assert (second.fx, second.cx, second.cy, second.projection) == (9, 3, 4, "fisheye")


@pytest.mark.parametrize(
    ("frames", "keys", "message"),
    [
        ([frame(fl_x=7.0), frame("b")], {}, r"frame 1 \(b\): has no fl_x, and others have"),
        ([frame(), frame("b", k1=0.1)], LENS, r"frame 0 .*: has no k1"),
        ([frame(), frame("b", mask_path="m")], LENS, r"frame 0 .*: has no mask_path"),
        ([frame(depth_file_path="d"), frame("b")], LENS, r"frame 1 .*: has no depth_file_path"),
        ([frame(fl_x=8.0)], LENS, r"frame 0 .*: fl_x is 8\.0 here and 7\.0 for the whole file"),
        ([frame()], {**LENS, "camera_model": "FISHEYE624"}, "camera_model is 'FISHEYE624'; .*SIMPLE_PINHOLE"),
        ([frame()], {**LENS, "camera_model": ["OPENCV"]}, "camera_model is"),
        ([frame()], {**LENS, "k4": 0.01}, r"k4 is 0\.01; a perspective lens with k4 .*Undistort"),
        ([frame()], {**LENS, "camera_model": "OPENCV_FISHEYE", "p2": 0.1}, r"p2 is 0\.1; a fisheye lens"),
        ([frame()], {**LENS, "distortion_params": [0, 0, 0]}, r"distortion_params .*\[k1, .*, k4, p1, p2\]"),
        ([frame()], {"w": 8, "h": 6}, "fl_x is missing"),
        ([frame()], {**LENS, "fl_x": 0}, "fl_x is 0"),
        ([frame()], {**LENS, "w": 8.5}, "w is 8.5; it must be a whole number"),
        ([frame()], {**LENS, "train_filenames": ["images/x.png"]}, "train_filenames has images/x.png"),
        ([frame()], {**LENS, "test_filenames": "images/a.png"}, "test_filenames is a str"),
        ([frame()], {**LENS, "orientation_override": "down"}, "orientation_override is 'down'; .*vertical"),
        ([frame()], {**LENS, "applied_scale": 0}, "applied_scale is 0"),
        ([frame(mask_path="m/a.png")], LENS, r"frame 0 .*: mask_path m/a\.png: there is no such file"),
        ([frame(), frame("./images/a.png")], LENS, r"frame 1 .*: the same name as an earlier frame"),
    ],
)
def test_what_is_told_by_halves_or_cannot_be_expressed_is_refused_by_name(frames, keys, message, tmp_path):
    with pytest.raises(SceneError, match=rf"transforms\.json: .*{message}"):
        capture(a_capture(tmp_path, frames, **keys))


def test_frames_come_sorted_by_name_and_missing_pictures_stay_without(tmp_path):
    """A missing picture's missing mask is no error; a name may have spaces and other letters."""
    names = ["images/c.png", "images/Ünü 1.png", "images/a.png", "images/a10.png"]
    frames = [frame(name, angle=0.1 * i, mask_path="images/b.png") for i, name in enumerate(names)]
    frames[3]["mask_path"] = "images/none.png"
    folder = a_capture(tmp_path, frames, **LENS)
    write_png(folder / names[1], torch.zeros(HEIGHT, WIDTH, 3, dtype=torch.uint8))
    read = capture(folder)
    assert [f.name for f in read.frames] == sorted(names)
    assert [f.image is None for f in read.frames] == [False, True, False, False]
    assert [f.mask is None for f in read.frames] == [False, True, False, False]
    np.testing.assert_allclose(read.frames[0].camera_to_world[:3, 3], np.array(pose(0.2))[:3, 3])


def test_poses_stay_in_the_files_frame_and_points_come_in_the_same(tmp_path):
    """applied_transform is not undone: a point of the .ply is seen where the pictures show it."""
    swap = [[1, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0]]
    folder = a_capture(tmp_path, [frame()], **LENS, applied_transform=swap, ply_file_path="./sparse pc.ply")
    rows = "".join(f"{x} {y} {z} {i} 2 3\n" for i, (x, y, z) in enumerate(POINTS.tolist()))
    (folder / "sparse pc.ply").write_text(
        "ply\nformat ascii 1.0\nelement vertex 4\nproperty float x\nproperty float y\nproperty float z\n"
        "property uint8 red\nproperty uint8 green\nproperty uint8 blue\nend_header\n" + rows
    )
    read = capture(folder)
    expected = nerfstudio_pixels(POINTS, 0.4, "OPENCV", **LENS)
    np.testing.assert_allclose(seen(read.frames[0], read.points), expected, atol=1e-6)
    assert read.point_colours.tolist() == [[i, 2, 3] for i in range(4)]
    (folder / "sparse pc.ply").unlink()
    with pytest.warns(SceneWarning, match=r"ply_file_path sparse pc\.ply: there is no such file"):
        assert capture(folder).points.shape == (0, 3)


def test_depth_is_in_units_of_the_files_frame(tmp_path):
    frames = [frame(depth_file_path="images/b.png")]
    read = capture(a_capture(tmp_path, frames, **LENS))
    assert read.depth_unit == 1e-3 and read.frames[0].depth == tmp_path / "images" / "b.png"
    keys = {"depth_unit_scale_factor": 2e-4, "applied_scale": 3.0}
    assert capture(a_capture(tmp_path, frames, **LENS, **keys)).depth_unit == pytest.approx(6e-4)


def test_listed_splits_are_kept_in_the_order_of_the_frames(tmp_path):
    names = [f"images/{i}.png" for i in range(9)]
    frames = [frame(name) for name in reversed(names)]
    train = ["./images/8.png", *names[:7]]
    lists = {"train_filenames": train, "val_filenames": [], "test_filenames": [names[7]]}
    read = capture(a_capture(tmp_path, frames, **LENS, **lists))
    assert read.splits == {"train": (*names[:7], names[8]), "test": (names[7],)}
    assert capture(a_capture(tmp_path, frames, **LENS)).splits is None


@pytest.mark.parametrize(("told", "up"), [("none", (0, 0, 1)), ("up", None), ("pca", None)])
def test_z_is_up_unless_the_poses_are_still_to_be_turned(told, up, tmp_path):
    assert capture(a_capture(tmp_path, [frame()], **LENS)).up == (0, 0, 1)
    assert capture(a_capture(tmp_path, [frame()], **LENS, orientation_override=told)).up == up


def test_what_a_crop_radius_hides_is_warned_of_for_a_fisheye_only(tmp_path):
    keys = {**LENS, "fisheye_crop_radius": 3}
    capture(a_capture(tmp_path, [frame()], **keys))
    with pytest.warns(SceneWarning, match="fisheye_crop_radius is not used"):
        capture(a_capture(tmp_path, [frame()], **keys, camera_model="OPENCV_FISHEYE"))


def test_a_broken_file_is_claimed_so_that_its_fault_is_told(tmp_path):
    (tmp_path / "transforms.json").write_text('{"frames": [')
    assert recognise(tmp_path) == "has transforms.json, which cannot be read"
    with pytest.raises(SceneError, match=r"transforms\.json: is not JSON"):
        capture(tmp_path)


def test_the_published_fox_is_the_same_capture_to_both_readers(test_data):
    ours, other = capture(test_data / "fox"), instant_ngp.capture(test_data / "fox")
    for one, two in zip(ours.frames, other.frames, strict=True):
        assert (one.name, one.lens, one.image) == (two.name, two.lens, two.image)
        assert np.array_equal(one.camera_to_world, two.camera_to_world)


# Writing


def a_scene(n: int = 3, projection: str = "perspective", **changes: object) -> Scene:
    """Cameras with lenses of their own, in a model frame that is turned, moved and scaled."""
    flip = torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64)
    poses = torch.tensor([pose(0.7 * i) for i in range(n)], dtype=torch.float64) * flip
    turn = rotation_between(torch.tensor([0.0, 0, 1]), torch.tensor([0.3, -0.2, 0.4]))
    move = similarity(0.25, turn, torch.tensor([1.0, 2.0, -0.5]))
    focals = torch.arange(n) + 7.25
    distortion = torch.zeros(n, 8)
    if projection == "perspective":
        distortion[:, :5] = torch.tensor([0.06, -0.08, -0.01, 0.02, 0.04])
    elif projection == "fisheye":
        distortion[:, :4] = torch.tensor([0.06, -0.02, 0.03, -0.01])
    distortion[:, 0] += 0.01 * torch.arange(n)
    if projection == "equirectangular":
        distortion = None
    middle = torch.full((n,), 4.125), torch.full((n,), 2.9375)
    moved = transform_poses(move.double(), poses).float()
    pictures = tuple(torch.full((HEIGHT, WIDTH, 3), 40 * i, dtype=torch.uint8) for i in range(n))
    scene = Scene(
        name="made",
        cameras=Cameras(moved, focals, focals + 0.5, *middle, WIDTH, HEIGHT, distortion, projection),
        images=ImageSequence(pictures),
        bounds=Bounds((-1, -1, -1), (1, 1, 1), 0.1, 9.0),
        model_from_input=move,
        frame_names=tuple(f"left/{i}.jpg" for i in range(n)),
        up=tuple((turn @ torch.tensor([0.0, 0.0, 1.0])).tolist()),
    )
    return replace(scene, **changes)


def assert_same_cameras(read: Capture, scene: Scene) -> None:
    """Lens and input-frame pose of every frame, to 1e-6."""
    back = torch.linalg.inv(scene.model_from_input.double())
    poses = transform_poses(back, scene.cameras.camera_to_world.double())
    sizes = scene.cameras.sizes.tolist()
    for i, given in enumerate(read.frames):
        lens = given.lens
        assert (lens.width, lens.height, lens.projection) == (*sizes[i], scene.cameras.projection)
        assert_close(torch.from_numpy(given.camera_to_world), poses[i], atol=1e-6, rtol=0)
        found = torch.tensor([lens.fx, lens.fy, lens.cx, lens.cy], dtype=torch.float64)
        assert_close(found, scene.cameras.intrinsics[i].double(), atol=0, rtol=1e-6)
        k = torch.zeros(8) if scene.cameras.distortion is None else scene.cameras.distortion[i]
        assert_close(torch.tensor([*lens.coefficients, *[0.0] * 8][:8]), k, atol=1e-6, rtol=0)


@pytest.mark.parametrize("projection", ["perspective", "fisheye", "equirectangular"])
def test_written_scenes_come_back_in_the_input_frame(projection, tmp_path):
    """Cameras to 1e-6 and pictures exactly, for lenses that differ from frame to frame."""
    scene = a_scene(projection=projection)
    write(scene, tmp_path / "out")
    read = capture(tmp_path / "out")
    assert recognise(tmp_path / "out") == "has transforms.json with camera_model" and read.up == (0, 0, 1)
    assert [f.name for f in read.frames] == [f"images/left/{i}.png" for i in range(3)]
    assert_same_cameras(read, scene)
    points = torch.from_numpy(POINTS)
    moved = (points @ scene.model_from_input[:3, :3].T + scene.model_from_input[:3, 3]).float()
    for i, given in enumerate(read.frames):
        assert torch.equal(read_image(given.image), scene.images[i])
        expected = scene.cameras[i].project(moved)[0].numpy()
        np.testing.assert_allclose(seen(given), expected, atol=1e-4)


def test_what_all_cameras_share_is_written_once_and_sizes_may_differ(tmp_path):
    plain = a_scene()
    sizes = {"width": torch.tensor([8, 8, 4]), "height": 6}
    cameras = replace(plain.cameras, fx=torch.full((3,), 7.0), distortion=None, **sizes)
    pictures = (*plain.images.items[:2], torch.zeros(6, 4, 3, dtype=torch.uint8))
    write(replace(plain, cameras=cameras, images=ImageSequence(pictures)), tmp_path)
    contents = json.loads((tmp_path / "transforms.json").read_text())
    assert contents["camera_model"] == "PINHOLE" and contents["fl_x"] == 7.0 and contents["h"] == 6
    assert [f["w"] for f in contents["frames"]] == [8, 8, 4] and "k1" not in contents
    assert all(set(f) == {"file_path", "fl_y", "w", "transform_matrix"} for f in contents["frames"])
    assert [f.lens.width for f in capture(tmp_path).frames] == [8, 8, 4]


def a_folder_of_pictures(folder: Path) -> tuple[Path, ...]:
    """Three JPEGs of 8x6."""
    from PIL import Image

    folder.mkdir(parents=True)
    for i in range(3):
        Image.new("RGB", (WIDTH, HEIGHT), (90 * i, 10, 200)).save(folder / f"{i}.jpg")
    return tuple(sorted(folder.iterdir()))


def test_files_are_copied_byte_by_byte_and_resized_or_turned_ones_written_as_png(tmp_path):
    from PIL import Image

    files = a_folder_of_pictures(tmp_path / "in")
    turned = Image.Exif()
    turned[0x0112] = 3  # half a turn
    Image.new("RGB", (WIDTH, HEIGHT), (1, 2, 3)).save(files[2], exif=turned)
    scene = a_scene(images=ImageSequence(files))
    write(scene, tmp_path / "out")
    written = sorted((tmp_path / "out" / "images" / "left").iterdir())
    assert [file.name for file in written] == ["0.jpg", "1.jpg", "2.png"]
    assert all(written[i].read_bytes() == files[i].read_bytes() for i in range(2))
    write(scene.downscaled(2), tmp_path / "half")
    read = capture(tmp_path / "half")
    assert [f.image.suffix for f in read.frames] == [".png"] * 3
    assert all(read_image(f.image).shape == (3, 4, 3) for f in read.frames)
    assert_same_cameras(read, scene.downscaled(2))


def test_a_scene_may_be_written_beside_its_own_pictures_which_stay(tmp_path):
    """As for the pictures of a COLMAP model; but a picture of the scene is never replaced by another."""
    files = a_folder_of_pictures(tmp_path / "images")
    before = [(file.read_bytes(), os.stat(file).st_mtime_ns) for file in files]
    scene = a_scene(images=ImageSequence(files), frame_names=("0.jpg", "1.jpg", "2.jpg"))
    write(scene, tmp_path)
    assert_same_cameras(capture(tmp_path), scene)
    swapped = replace(scene, frame_names=("1.jpg", "0.jpg", "2.jpg"))
    with pytest.raises(SceneError, match=r"images/1\.jpg: is a picture of this scene"):
        write(swapped, tmp_path, overwrite=True)
    assert [(file.read_bytes(), os.stat(file).st_mtime_ns) for file in files] == before


def test_nothing_is_overwritten_unless_asked(tmp_path):
    scene = a_scene()
    write(replace(scene, up=(0.0, 1.0, 0.0)), tmp_path)
    assert capture(tmp_path).up is None, "z of the input frame is not up"
    with pytest.raises(SceneError, match=r"transforms\.json: exists"):
        write(scene, tmp_path)
    other = a_scene(images=ImageSequence(tuple(picture + 7 for picture in scene.images.items)))
    write(other, tmp_path, overwrite=True)
    assert torch.equal(read_image(capture(tmp_path).frames[0].image), other.images[0])
    (tmp_path / "transforms.json").unlink()
    with pytest.raises(SceneError, match=r"images/left/0\.png: exists"):
        write(scene, tmp_path)
    assert not (tmp_path / "transforms.json").exists()


def test_what_breaks_off_leaves_no_scene_behind(tmp_path):
    """A picture whose header is whole and whose body is not: the folder must not pass for a capture."""
    files = a_folder_of_pictures(tmp_path / "in")
    numbers = torch.arange(HEIGHT * WIDTH * 3) ** 3 % 251  # that do not compress
    write_png(files[1], numbers.reshape(HEIGHT, WIDTH, 3).to(torch.uint8))
    files[1].write_bytes(files[1].read_bytes()[:80])
    scene = a_scene(images=ImageSequence(files)).downscaled(2)
    with pytest.raises(ImageError, match=r"1\.jpg"):
        write(scene, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*transforms.json*"))
    write(a_scene(), tmp_path / "old")
    before = (tmp_path / "old" / "transforms.json").read_text()
    with pytest.raises(ImageError, match=r"1\.jpg"):
        write(scene, tmp_path / "old", overwrite=True)
    assert recognise(tmp_path / "old") is None
    assert (tmp_path / "old" / "transforms.json.replaced").read_text() == before


@pytest.mark.parametrize(
    ("names", "written"),
    [
        (("images/a.jpg", "images/b.PNG", "c"), ["images/a.png", "images/b.png", "images/c.png"]),
        (("../a", "/b/c", "d.v2"), ["images/a.png", "images/b/c.png", "images/d.v2.png"]),
        ((), ["images/00000.png", "images/00001.png", "images/00002.png"]),
    ],
)
def test_names_stay_inside_the_folder(names, written, tmp_path):
    write(a_scene(frame_names=names), tmp_path / "out")
    assert [f.name for f in capture(tmp_path / "out").frames] == written
    assert [file.name for file in tmp_path.iterdir()] == ["out"]


def test_what_cannot_be_written_is_refused_before_anything_is(tmp_path):
    scene = a_scene()
    rational = torch.zeros(3, 8)
    rational[1, 6] = 0.1
    refused = {
        "--undistort": replace(scene, cameras=replace(scene.cameras, distortion=rational)),
        "two frames would be written to images/a.png": replace(scene, frame_names=("a.jpg", "a.png", "b")),
        "no pictures": replace(scene, images=ImageSequence(())),
    }
    for message, bad in refused.items():
        with pytest.raises(SceneError, match=message):
            write(bad, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_masks_are_written_for_all_frames_at_the_pictures_size(tmp_path):
    """From a tensor, from a file of another size, and white where a frame has none."""
    mask = torch.ones(HEIGHT, WIDTH, dtype=torch.bool)
    mask[:2] = False
    large = torch.full((2 * HEIGHT, 2 * WIDTH, 3), 255, dtype=torch.uint8)
    large[:, :6] = 0
    write_png(tmp_path / "large.png", large)
    write(a_scene(masks=(mask, tmp_path / "large.png", None)), tmp_path / "out")
    found = [read_image(f.mask)[..., 0] > 0 for f in capture(tmp_path / "out").frames]
    left = torch.ones(HEIGHT, WIDTH, dtype=torch.bool)
    left[:, :3] = False
    assert torch.equal(found[0], mask) and torch.equal(found[1], left) and bool(found[2].all())
