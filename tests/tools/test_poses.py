"""`render poses` as people use it: real processes, pictures of a known scene, signals and hostile input."""

import json
import os
import signal
import sqlite3
import time
from contextlib import closing
from dataclasses import replace

import numpy as np
import pycolmap
import pytest
import torch
from PIL import Image

from scenes import formats
from scenes.cameras import Cameras
from scenes.generate.analytic import Box, Panel, cast
from tests import commands
from tests.commands import PROGRAM
from tools.poses import command
from tools.poses.photos import PosesError

WITHOUT_PYCOLMAP = "import sys; sys.modules['pycolmap'] = None; " + PROGRAM
WIDTH, HEIGHT, FOV = 320, 240, 45.0
VIEWS = 8


def start(*arguments, **options):
    """A running `render poses ARGUMENTS`."""
    return commands.start("poses", *arguments, **options)


def run(*arguments, **options):
    """Exit code, stdout and stderr of `render poses ARGUMENTS`."""
    return commands.run("poses", *arguments, **options)


def mottled(seed, cells):
    """A texture of blobs, `cells` to a scene unit, no two alike: what SIFT answers to."""
    lattice = torch.rand((1, 3, 64, 64, 64), generator=torch.Generator().manual_seed(seed))

    def colour(points):
        flat = (points.reshape(1, -1, 1, 1, 3) * cells / 32).remainder(2) - 1
        seen = torch.nn.functional.grid_sample(lattice, flat, align_corners=True)
        return seen.reshape(3, -1).T.reshape(points.shape)

    return colour


def room():
    return (
        Panel((0.0, 0.0, -0.5), (3.0, 0.0, 0.0), (0.0, 3.0, 0.0), mottled(1, 14)),
        Panel((0.0, 1.2, 1.0), (3.0, 0.0, 0.0), (0.0, 0.0, 2.0), mottled(2, 14)),
        Box((-0.5, -0.4, -0.5), (0.3, 0.3, 0.2), mottled(3, 20)),
        Box((0.4, -0.1, -0.5), (0.8, 0.5, 0.6), mottled(4, 20)),
    )


def cameras(count=VIEWS, **lens):
    """An arc in front of the room, at three heights. lens: as in Cameras, else perspective."""
    angle = torch.linspace(-0.6, 0.6, count)
    height = 0.8 + 0.3 * (torch.arange(count) % 3)
    eyes = torch.stack((3 * torch.sin(angle), -3 * torch.cos(angle), height), dim=-1)
    seen = Cameras.look_at(eyes, (0.0, 0.0, 0.0), (0.0, 0.0, 1.0), WIDTH, HEIGHT, FOV)
    return replace(seen, **lens)


def picture(camera):
    return (cast(room(), camera.rays()).colour * 255).to(torch.uint8).numpy()


@pytest.fixture(scope="module")
def views():
    return [picture(camera) for camera in cameras()]


@pytest.fixture
def photographs(views, tmp_path):
    """A folder as it comes from a camera, with a name as people give them."""
    folder = tmp_path / "my photos é"
    folder.mkdir()
    for i, view in enumerate(views):
        Image.fromarray(view).save(folder / f"view {i:02} ö.png")
    (folder / "Readme.txt").write_text("of a room")
    return folder


def keep(photographs, count):
    for photograph in sorted(photographs.glob("*.png"))[count:]:
        photograph.unlink()


def pose_errors(model):
    """Largest rotation error (degrees) and camera position error (scene units) after the best similarity."""
    truth = {f"view {i:02} ö.png": c.camera_to_world.double().numpy() for i, c in enumerate(cameras())}
    images = [model.image(number) for number in model.reg_image_ids()]
    found = np.array([image.projection_center() for image in images])
    known = np.array([truth[image.name][:3, 3] for image in images])
    world = pycolmap.estimate_sim3d(found, known)
    moved = found @ (world.scale * world.rotation.matrix()).T + world.translation
    angles = []
    for image in images:
        camera_to_world = world.rotation.matrix() @ image.cam_from_world().rotation.matrix().T
        cosine = (np.trace(truth[image.name][:3, :3].T @ camera_to_world) - 1) / 2
        angles.append(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
    return max(angles), np.linalg.norm(moved - known, axis=1).max()


def files(folder):
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


def test_photographs_of_a_known_room_become_a_scene_with_its_poses(photographs, tmp_path):
    """Poses, lens, layout, links to the originals, a scene that reads, and nothing but JSON on stdout."""
    code, out, err = run(photographs, "--out", "rooms/my room", "--json", cwd=tmp_path)
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert list(found) == [
        "images", "registered", "mean_reprojection_error", "points", "models", "out", "seconds",
    ]  # fmt: skip
    assert (found["images"], found["registered"], found["models"]) == (VIEWS, VIEWS, 1)
    scene = tmp_path / "rooms" / "my room"
    assert sorted(path.name for path in scene.iterdir()) == ["images", "poses.json", "sparse"]
    assert not (tmp_path / "rooms" / "my room.partial").exists()
    for source in photographs.glob("*.png"):
        assert os.path.samefile(source, scene / "images" / source.name)
    model = pycolmap.Reconstruction(scene / "sparse" / "0")
    angle, distance = pose_errors(model)
    assert angle < 0.6 and distance < 0.01 * 3
    (camera,) = model.cameras.values()
    assert camera.focal_length == pytest.approx(float(cameras().fx[0]), rel=0.01)
    assert formats.detect(scene).name == "colmap"
    assert sum(len(formats.read(scene, split)) for split in formats.splits(scene)) == VIEWS
    report = json.loads((scene / "poses.json").read_text())
    assert report["points"] == model.num_points3D() == found["points"]
    assert report["mean_reprojection_error"] == pytest.approx(model.compute_mean_reprojection_error())
    assert report["mean_reprojection_error"] < 0.7
    assert report["pictures_of_models"] == [sorted(path.name for path in photographs.glob("*.png"))]


def test_the_same_seed_gives_the_same_scene_whatever_the_threads_and_interruptions(photographs, tmp_path):
    """Ctrl-C while features are made: it stops at once, says how to go on, and then ends as it would have."""
    keep(photographs, 5)
    whole = tmp_path / "whole"
    assert command.main([str(photographs), "--out", str(whole), "--threads", "1", "--quiet"]) == 0
    arguments = (photographs, "--out", "cut", "--threads", 2)
    process = start(*arguments, cwd=tmp_path)
    database = tmp_path / "cut.partial" / "database.db"
    while process.poll() is None and features(database) < 2:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1 and time.monotonic() - began < 5
    assert "stopped" in err and "--out cut" in err and err.count("\n") == 1
    assert not (tmp_path / "cut").exists() and 2 <= features(database)
    code, out, err = run(*arguments, cwd=tmp_path)
    assert (code, err) == (0, "")
    assert out.count("\n") < 15 and "render train cut" in out
    expected = files(whole / "sparse")
    assert files(tmp_path / "cut" / "sparse") == expected and "0/images.bin" in expected


def features(database):
    """How many pictures have them."""
    if not database.exists():
        return 0
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
        return connection.execute("SELECT COUNT(*) FROM keypoints").fetchone()[0]


def test_a_video_becomes_a_scene(views, tmp_path):
    from tests.tools.test_poses_frames import write_video

    smeared = [
        np.mean([np.roll(view, s, axis=1) for s in range(8)], axis=0).astype(np.uint8) for view in views
    ]
    shown = [frame for pair in zip(views, smeared, strict=True) for frame in pair]
    write_video(tmp_path / "a walk.mp4", shown)
    code = command.main(
        [str(tmp_path / "a walk.mp4"), "--out", str(tmp_path / "out"), "--frames", str(VIEWS), "--quiet"]
    )
    assert code == 0
    report = json.loads((tmp_path / "out" / "poses.json").read_text())
    assert report["registered"] == VIEWS
    assert report["pictures_of_models"][0] == [f"frame_{2 * i:06}.jpg" for i in range(VIEWS)]


def test_fisheye_pictures_become_a_scene(tmp_path):
    """Nobody tells the focal length, and a pair of them says nothing without a guess."""
    folder, focal = tmp_path / "photos", 0.4 * WIDTH
    folder.mkdir()
    lenses = {"fx": torch.full((5,), focal), "fy": torch.full((5,), focal), "projection": "fisheye"}
    for i, camera in enumerate(cameras(5, **lenses)):
        Image.fromarray(picture(camera)).save(folder / f"{i}.png")
    arguments = ["--out", str(tmp_path / "out"), "--camera-model", "OPENCV_FISHEYE", "--quiet"]
    assert command.main([str(folder), *arguments]) == 0
    report = json.loads((tmp_path / "out" / "poses.json").read_text())
    assert report["registered"] == 5
    (lens,) = report["cameras"]
    assert lens["model"] == "OPENCV_FISHEYE" and not lens["focal_length_from_exif"]
    assert lens["params"][:2] == pytest.approx([focal, focal], rel=0.02)


def test_two_photographs_are_enough(photographs, tmp_path):
    keep(photographs, 2)
    assert command.main([str(photographs), "--out", str(tmp_path / "out"), "--quiet"]) == 0
    assert json.loads((tmp_path / "out" / "poses.json").read_text())["registered"] == 2


@pytest.fixture
def plain(tmp_path):
    """Pictures of one tone: no feature to be found."""
    folder = tmp_path / "plain"
    folder.mkdir()
    for i in range(3):
        Image.new("RGB", (64, 48), (90 + i, 90, 90)).save(folder / f"{i}.png")
    return folder


def test_pictures_without_texture_end_in_advice_and_broken_ones_are_named(plain, tmp_path):
    (plain / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    code, out, err = run(plain, "--out", "out", "--json", cwd=tmp_path)
    assert (code, out) == (1, "")
    left_out, failed = err.splitlines()
    assert left_out.startswith("render: warning: broken.jpg is left out")
    assert failed.startswith("render: no poses found") and "overlap" in failed
    assert not (tmp_path / "out").exists()


def test_pictures_of_different_things_end_in_advice(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(3):
        noise = np.random.default_rng(i).integers(0, 256, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((320, 240), Image.Resampling.BICUBIC).save(folder / f"{i}.png")
    with pytest.raises(PosesError, match=r"no poses found.*overlap"):
        command.main([str(folder), "--out", str(tmp_path / "out"), "--quiet"])


def test_an_earlier_attempt_with_other_arguments_is_not_mixed_with_this_one(plain, tmp_path):
    arguments = [str(plain), "--out", str(tmp_path / "out"), "--quiet"]
    for _ in range(2):  # the second goes on where the first failed
        with pytest.raises(PosesError, match="no poses found"):
            command.main(arguments)
    with pytest.raises(PosesError, match=r"out\.partial.*other camera_model.*--overwrite"):
        command.main([*arguments, "--camera-model", "PINHOLE"])
    Image.new("RGB", (64, 48)).save(plain / "3.png")
    with pytest.raises(PosesError, match=r"other files"):
        command.main(arguments)
    with pytest.raises(PosesError, match="no poses found"):
        command.main([*arguments, "--overwrite"])


def scene_at(folder):
    folder.mkdir()
    (folder / "poses.json").write_text("{}")
    (folder / "precious.txt").write_text("x")


def test_what_is_there_is_not_overwritten(plain, tmp_path):
    out = tmp_path / "out"
    scene_at(out)
    with pytest.raises(PosesError, match=r"out: is there already.*--overwrite"):
        command.main([str(plain), "--out", str(out)])
    (out / "poses.json").unlink()
    for arguments in ([], ["--overwrite"]):
        with pytest.raises(PosesError, match="no scene of render poses"):
            command.main([str(plain), "--out", str(out), *arguments])
    assert (out / "precious.txt").exists()
    with pytest.raises(PosesError, match="the pictures lie in it"):
        command.main([str(plain), "--out", str(tmp_path), "--overwrite"])


def test_a_scene_is_replaced_only_when_the_new_one_is_complete(plain, photographs, tmp_path):
    out = tmp_path / "out"
    scene_at(out)
    with pytest.raises(PosesError, match="no poses found"):
        command.main([str(plain), "--out", str(out), "--overwrite", "--quiet"])
    assert (out / "precious.txt").exists()
    keep(photographs, 4)
    assert command.main([str(photographs), "--out", str(out), "--overwrite", "--quiet"]) == 0
    assert not (out / "precious.txt").exists() and (out / "sparse" / "0").is_dir()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path.mkdir(), "holds no picture"),
        (lambda path: None, "no such folder or video"),
        (lambda path: path.write_text("hello"), "no video that ffmpeg can read"),
    ],
)
def test_wrong_sources_fail_in_one_line_and_leave_nothing(tmp_path, capsys, make, said):
    source = tmp_path / "source"
    make(source)
    with pytest.raises(PosesError, match=said):
        command.main([str(source), "--out", str(tmp_path / "out"), "--quiet"])
    assert {path.name for path in tmp_path.iterdir()} <= {"source"}


def test_a_picture_is_not_a_folder_of_pictures(plain):
    with pytest.raises(PosesError, match="give the folder"):
        command.main([str(plain / "0.png")])


@pytest.mark.parametrize(
    "arguments", [[], ["x", "--matching", "all"], ["x", "--camera-model", "BEST"], ["x", "--no"]]
)
def test_wrong_usage_has_its_own_exit_code(arguments, capsys):
    with pytest.raises(SystemExit) as left:
        command.main(arguments)
    assert left.value.code == 2 and capsys.readouterr().err.count("\n") == 1


def test_without_pycolmap_one_line_names_what_to_install(plain, tmp_path):
    code, out, err = run(plain, "--out", "out", program=WITHOUT_PYCOLMAP, cwd=tmp_path)
    assert (code, out) == (1, "")
    assert err == 'render: pycolmap is missing: pip install "render-fields[poses]"\n'
    code, out, _ = run("--help", program=WITHOUT_PYCOLMAP, cwd=tmp_path)
    assert code == 0 and "--camera-model" in out


def test_help_is_there_at_once(tmp_path):
    """The parser alone must import neither torch nor pycolmap."""
    program = PROGRAM.replace("sys.exit(main())", "main(); sys.exit('torch' in sys.modules)")
    code, out, _ = run("--help", program=program, cwd=tmp_path)
    assert code == 0 and "PHOTOS|VIDEO" in out


def test_a_real_capture(test_data, tmp_path):
    """Castle: 11 photographs with EXIF beside text files, shrunk to keep the suite short."""
    folder = tmp_path / "castle"
    folder.mkdir()
    for source in (test_data / "castle" / "images").iterdir():
        if source.suffix == ".JPG":
            with Image.open(source) as image:
                image.resize((404, 304)).save(folder / source.name, exif=image.getexif())
        else:
            (folder / source.name).write_bytes(source.read_bytes())
    code = command.main([str(folder), "--out", str(tmp_path / "out"), "--quiet"])
    report = json.loads((tmp_path / "out" / "poses.json").read_text())
    assert code == 0 and report["registered"] == report["images"] == 11
    assert report["mean_reprojection_error"] < 0.7 and report["cameras"][0]["focal_length_from_exif"]
