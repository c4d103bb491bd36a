"""From a capture to a scene: splits, sizes, frames, and bounds that follow from how the cameras stand."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from scenes.cameras import Cameras
from scenes.formats.capture import Capture, Frame, Lens
from scenes.formats.posed import NoSplit, held_out, scene_of, splits_of
from scenes.images import ORIENTATION, read_image
from scenes.layout import layout_of, mean_up, model_frame
from scenes.scene import Scene, SceneError, SceneWarning
from scenes.transforms import similarity_scale, transform_points

LENS = Lens(30.0, 31.0, 19.0, 16.0, 40, 30, (0.05, -0.02))


def ring(n: int, inwards: bool = True, radius: float = 3.0, centre=(5.0, -2.0, 1.0)) -> np.ndarray:
    """Poses on a level circle about `centre`, in metres, looking at it or away from it."""
    angle = torch.arange(n) * 2 * math.pi / n
    offset = torch.stack((angle.cos(), angle.sin(), torch.zeros(n)), dim=-1) * radius
    eyes = torch.tensor(centre) + offset
    targets = torch.tensor(centre) if inwards else eyes + offset
    return Cameras.look_at(eyes, targets, (0, 0, 1), 40, 30, 50).camera_to_world.double().numpy()


def row(n: int) -> np.ndarray:
    """Poses side by side, all looking along +y."""
    eyes = torch.stack((torch.linspace(-1, 1, n), torch.zeros(n), torch.zeros(n)), dim=-1)
    looks = eyes + torch.tensor([0.0, 1.0, 0.0])
    return Cameras.look_at(eyes, looks, (0, 0, 1), 40, 30, 50).camera_to_world.double().numpy()


def written(folder: Path, poses: np.ndarray, size=(40, 30), alpha: bool = False, **values) -> Capture:
    """A capture whose pictures are there: picture i is grey i."""
    folder.mkdir(exist_ok=True)
    frames = []
    for i, pose in enumerate(poses):
        colour = (i, i, i, 255) if alpha else (i, i, i)
        Image.new("RGBA" if alpha else "RGB", size, colour).save(folder / f"{i:03d}.png")
        frames.append(Frame(f"frame {i}", f"{i:03d}.png", folder / f"{i:03d}.png", pose, LENS))
    return Capture(folder / "file", tuple(frames), **values)


def test_every_eighth_by_name_is_for_testing_and_the_others_train(tmp_path):
    """In whatever order the file lists them."""
    capture = written(tmp_path, ring(19))
    shuffled = replace(capture, frames=capture.frames[::-1])
    assert splits_of(shuffled) == ("train", "test")
    test, train = (scene_of(shuffled, tmp_path, split) for split in ("test", "train"))
    assert test.frame_names == ("000.png", "008.png", "016.png")
    assert [int(test.images[i][0, 0, 0]) for i in range(3)] == [0, 8, 16]
    assert sorted(test.frame_names + train.frame_names) == [f"{i:03d}.png" for i in range(19)]
    assert_close(test.model_from_input, train.model_from_input)  # one frame for all splits


def test_an_origin_far_away_costs_no_precision(tmp_path):
    """Cameras at their coordinates on the map, in metres: back in the input frame they stand to a tenth of a
    millimetre where they stood, which no float32 can say there."""
    poses = ring(9)
    poses[:, :3, 3] += (448_262.25, 5_411_932.5, 112.0)
    scene = scene_of(written(tmp_path, poses), tmp_path, "all")
    again = Scene.from_header(json.loads(json.dumps(scene.header())))
    assert torch.equal(again.model_from_input, scene.model_from_input)
    back = torch.linalg.inv(again.model_from_input)
    centres = transform_points(back, scene.cameras.centres.double())
    assert_close(centres, torch.from_numpy(poses[:, :3, 3]), atol=1e-4, rtol=0)


def test_splits_that_the_capture_names_are_kept(tmp_path):
    names = {"train": ("001.png", "003.png"), "val": ("000.png",), "test": ("002.png", "gone.png")}
    capture = written(tmp_path, ring(4), splits=names)
    assert splits_of(capture) == ("train", "val", "test")
    assert scene_of(capture, tmp_path, "test").frame_names == ("002.png",)
    with pytest.raises(SceneError, match=r"no split 'trial'; there are: train, val, test"):
        scene_of(capture, tmp_path, "trial")


def test_pictures_that_are_named_are_held_out_instead_of_every_eighth_or_the_captures_own(tmp_path):
    capture = written(tmp_path, ring(12))
    named = replace(capture, splits={"train": ("001.png",), "val": ("002.png",)})
    for each in (capture, named):
        assert splits_of(each, ("003",)) == ("train", "test")
        test = scene_of(each, tmp_path, "test", hold_out=("003", "01?.png"))
        train = scene_of(each, tmp_path, "train", hold_out=("003", "01?.png"))
        assert test.frame_names == ("003.png", "010.png", "011.png")
        assert len(train) == 9 and not set(train.frame_names) & set(test.frame_names)
        assert train.splits == test.splits == {"train": train.frame_names, "test": test.frame_names}
    with pytest.raises(NoSplit, match=r"no split 'val'; there are: train, test"):
        scene_of(named, tmp_path, "val", hold_out=("003",))
    assert scene_of(capture, tmp_path, "all").splits is None, "every eighth is nobody's choice"


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("images/left/IMG_1.JPG", {"images/left/IMG_1.JPG"}),
        ("left/IMG_1", {"images/left/IMG_1.JPG"}),
        ("IMG_1", {"images/left/IMG_1.JPG", "images/right/IMG_1.JPG"}),
        ("right/*", {"images/right/IMG_1.JPG", "images/right/IMG_2.HEIC.jpg"}),
        ("IMG_2", {"images/right/IMG_2.HEIC.jpg"}),
        ("IMG_2.HEIC", {"images/right/IMG_2.HEIC.jpg"}),
        ("v1.5", {"v1.5"}),
        ("a [b].png", {"a [b].png"}),
    ],
)
def test_a_picture_may_be_named_without_folders_and_suffixes_or_by_a_pattern(wanted, found):
    names = ["images/left/IMG_1.JPG", "images/right/IMG_1.JPG", "images/right/IMG_2.HEIC.jpg", "v1.5"]
    assert held_out("capture", [*names, "a [b].png"], (wanted,)) == found


def test_names_that_mean_no_picture_get_near_ones_and_not_all_can_be_held_out():
    names = [f"images/IMG_{i}.jpg" for i in range(2041, 2049)]
    with pytest.raises(
        SceneError, match=r"c: hold-out 'IMG_2014' is no picture's name; near: IMG_204\d\.jpg"
    ):
        held_out("c", names, ("IMG_2041", "IMG_2014"))
    with pytest.raises(
        SceneError, match=r"'xyz' is no .*; there are images/IMG_2041\.jpg to images/IMG_2048\.jpg"
    ):
        held_out("c", names, ("xyz",))
    with pytest.raises(SceneError, match=r"hold-out IMG_\* leaves no picture to train on"):
        held_out("c", names, ("IMG_*",))


def test_points_keep_their_pixels_in_the_model_frame(tmp_path):
    """Projected from the input frame by the lens as given, and from the model frame by the scene's."""
    poses = ring(9)
    scene = scene_of(written(tmp_path, poses), tmp_path, "train")
    points = torch.tensor([5.0, -2.0, 1.0]) + 0.6 * (torch.rand(50, 3) - 0.5)
    k = torch.tensor([[*LENS.coefficients, 0, 0, 0, 0, 0, 0]])
    numbers = (torch.tensor([v]) for v in (LENS.fx, LENS.fy, LENS.cx, LENS.cy))
    given = Cameras(torch.from_numpy(poses[1:2]).float(), *numbers, 40, 30, k)[0]
    assert scene.frame_names[0] == "001.png"
    moved = transform_points(scene.model_from_input, points)
    pixels, z_depth = scene.cameras[0].project(moved)
    wanted, wanted_z = given.project(points)
    assert_close(pixels, wanted, atol=1e-3, rtol=0)
    assert_close(z_depth, wanted_z * similarity_scale(scene.model_from_input), atol=1e-5, rtol=1e-5)


def test_a_smaller_copy_gets_a_smaller_lens_and_another_shape_is_refused(tmp_path):
    scene = scene_of(written(tmp_path / "half", ring(4), size=(20, 15)), tmp_path)
    assert (scene.cameras.width, scene.cameras.height) == (20, 15)
    assert_close(scene.cameras.intrinsics[0], torch.tensor([15.0, 15.5, 9.5, 8.0]))
    assert_close(scene.cameras.distortion[0, :2], torch.tensor(LENS.coefficients))
    with pytest.raises(SceneError, match=r"picture is 30 x 40, its camera is for 40 x 30, another shape"):
        scene_of(written(tmp_path / "turned", ring(4), size=(30, 40)), tmp_path)


@pytest.mark.parametrize("stored", [True, False])
def test_pictures_that_exif_turns_are_read_as_their_poses_were_made(tmp_path, stored):
    """COLMAP's are of the stored raster: 40 x 30, to be turned to 30 x 40."""
    lens = LENS if stored else replace(LENS, width=30, height=40)
    capture = written(tmp_path, ring(4))
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    for frame in capture.frames:
        picture = np.arange(30 * 40 * 3, dtype=np.uint8).reshape(30, 40, 3)
        Image.fromarray(picture).save(frame.image, exif=exif)
    frames = tuple(replace(frame, lens=lens) for frame in capture.frames)
    scene = scene_of(replace(capture, frames=frames), tmp_path)
    assert tuple(scene.images[0].shape[:2]) == ((30, 40) if stored else (40, 30))
    assert torch.equal(scene.images[0], read_image(frames[1].image, upright=not stored))


def test_missing_pictures_are_named_once_and_the_rest_is_used(tmp_path):
    capture = written(tmp_path, ring(5))
    frames = tuple(replace(f, image=None) if f.name in ("001.png", "004.png") else f for f in capture.frames)
    with pytest.warns(SceneWarning, match=r"2 of 5 pictures are missing and left out: 001\.png, 004\.png"):
        scene = scene_of(replace(capture, frames=frames), tmp_path)
    assert scene.frame_names == ("002.png", "003.png")


def test_cameras_around_a_thing_put_it_in_the_middle_of_a_box_that_holds_them(tmp_path):
    """Without a cut-out the surroundings are seen too; with one, or a box, they are not."""
    scene = scene_of(written(tmp_path / "a", ring(16)), tmp_path)
    assert scene.bounds.unbounded and "inward" in scene.placing and "fill their frames" in scene.placing
    middle = transform_points(scene.model_from_input, torch.tensor([[5.0, -2.0, 1.0]]))
    assert_close(middle, torch.zeros(1, 3), atol=1e-5, rtol=0)
    assert 0.9 < float(scene.cameras.centres.abs().max()) <= 1
    cut = scene_of(written(tmp_path / "b", ring(16), alpha=True), tmp_path)
    assert not cut.bounds.unbounded and cut.background == (1.0, 1.0, 1.0)
    box = ((4.0, -3.0, 0.5), (6.0, -1.0, 1.5))
    boxed = scene_of(written(tmp_path / "c", ring(16), box=box), tmp_path)
    corners = transform_points(torch.linalg.inv(boxed.model_from_input), torch.tensor([boxed.bounds.minimum]))
    assert_close(corners[0], torch.tensor(box[0]), atol=1e-4, rtol=0)
    assert scene_of(written(tmp_path / "d", ring(16), box=box), tmp_path, bounds="unbounded").bounds.unbounded


@pytest.mark.parametrize(
    ("poses", "kind"),
    [
        (ring(12), "inward"),
        (ring(12, inwards=False), "outward"),
        (row(12), "forward"),
        (ring(12)[:5], "inward"),
    ],
)
def test_the_kind_follows_from_how_the_cameras_stand(poses, kind, generator):
    """And from nothing else: turned, moved and scaled as a whole it is the same."""
    poses = torch.from_numpy(poses)
    turn, _ = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))
    turn *= torch.linalg.det(turn)
    other = poses.clone()
    other[:, :3, :3] = turn @ poses[:, :3, :3]
    other[:, :3, 3] = 40 * (poses[:, :3, 3] @ turn.T) + 7
    none = torch.zeros(0, 3, dtype=torch.float64)
    layouts = [layout_of(each, none, mean_up(each)) for each in (poses, other)]
    assert [layout.kind for layout in layouts] == [kind, kind]
    assert layouts[1].half_side == pytest.approx(40 * layouts[0].half_side, rel=1e-6)
    for each, layout in zip((poses, other), layouts, strict=True):
        centres = transform_points(model_frame(layout, mean_up(each)), each[:, :3, 3])
        assert float(centres.abs().max()) <= 1, "the cameras stand in the box"


def test_z_is_up_in_the_model_frame(tmp_path):
    poses = ring(8)
    tilt = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(3)).double())[0]
    tilt = (tilt * torch.linalg.det(tilt)).numpy()
    tilted = poses.copy()
    tilted[:, :3] = tilt @ poses[:, :3]
    scene = scene_of(written(tmp_path, tilted), tmp_path)
    upwards = -scene.cameras.camera_to_world[:, :3, 1].mean(dim=0)
    assert_close(upwards, torch.tensor([0.0, 0.0, 1.0]), atol=1e-5, rtol=0)


def test_lenses_of_two_kinds_are_refused_by_name(tmp_path):
    capture = written(tmp_path, ring(4))
    fish = replace(capture.frames[2], lens=replace(LENS, projection="fisheye"))
    frames = (*capture.frames[:2], fish, capture.frames[3])
    with pytest.raises(SceneError, match=r"frame 2: its lens is fisheye, that of frame 0 perspective"):
        scene_of(replace(capture, frames=frames), tmp_path)


def test_a_box_that_is_not_all_does_not_bound_the_scene_unless_asked_to(tmp_path):
    """instant-ngp's: with its surroundings cut off, the fox is learnt 6 dB worse."""
    box = ((4.0, -3.0, 0.5), (6.0, -1.0, 1.5))
    capture = written(tmp_path, ring(8), box=box, box_is_all=False)
    assert scene_of(capture, tmp_path).bounds.unbounded
    assert not scene_of(capture, tmp_path, bounds="box").bounds.unbounded


def test_rays_begin_a_little_before_the_nearest_point_that_is_seen(tmp_path):
    """Points in a ball of radius 1 about the middle, cameras 3 away from it; what none sees is no point."""
    rng = np.random.default_rng(0)
    ball = rng.normal(size=(500, 3))
    ball *= rng.random((500, 1)) ** (1 / 3) / np.linalg.norm(ball, axis=1, keepdims=True)
    hidden = np.array([[5.0, -2.0, 60.0]] * 20)
    points = np.concatenate((ball + np.array([5.0, -2.0, 1.0]), hidden))
    capture = written(tmp_path, ring(16), points=points, point_colours=np.zeros((520, 3), np.uint8))
    scene = scene_of(capture, tmp_path)
    near = scene.bounds.near / float(similarity_scale(scene.model_from_input))
    assert 0.7 * 2.0 < near < 0.7 * 2.5
    bare = replace(capture, points=np.zeros((0, 3)))
    assert scene_of(bare, tmp_path).bounds.near == pytest.approx(0.05)
    told = scene_of(replace(bare, near=2.0), tmp_path).bounds.near
    assert told / float(similarity_scale(scene.model_from_input)) == pytest.approx(0.7 * 2.0)


def test_cameras_that_look_one_way_share_a_view_and_others_do_not(tmp_path):
    """It begins at the foremost camera, spans the widest lens, and survives the header of a run."""
    poses = row(12)
    poses[3, 1, 3] = 0.3  # one stands in front of the others
    scene = scene_of(written(tmp_path, poses), tmp_path, "all")
    frustum = scene.bounds.frustum
    ahead = (scene.cameras.centres - torch.tensor(frustum.centre)) @ torch.tensor(frustum.forward)
    assert float(ahead.max()) == pytest.approx(0, abs=1e-6) and int(ahead.argmax()) == 3
    assert frustum.slope == pytest.approx((21 / 30, 16 / 31), rel=1e-6)
    axes = torch.tensor([frustum.right, frustum.down, frustum.forward])
    assert_close(axes, scene.cameras.camera_to_world[0, :3, :3].T, atol=1e-6, rtol=0)
    header = json.loads(json.dumps(scene.header()))
    assert Scene.from_header(header).bounds == scene.bounds
    assert scene_of(written(tmp_path / "ring", ring(12)), tmp_path).bounds.frustum is None
