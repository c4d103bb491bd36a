"""NeRF-synthetic folders are read as they were meant, written so that they come back, and never trusted."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from scenes import formats
from scenes.formats.nerf_synthetic import read, read_geometry, write, write_geometry
from scenes.generate.analytic import SCENES, generate_boxes, geometry
from scenes.images import write_png
from scenes.scene import SceneError, SceneWarning
from scenes.transforms import rotation_between, similarity, transform_poses

IDENTITY = torch.eye(4).tolist()


def a_scene(folder: Path, frames: list, angle: object = 0.7, split: str = "train", size: int = 4) -> Path:
    """A folder whose JSON has these frames, and pictures train/r_0 to r_3."""
    (folder / "train").mkdir(parents=True, exist_ok=True)
    for i in range(4):
        picture = torch.full((size, size, 4), 60 * i, dtype=torch.uint8)
        write_png(folder / "train" / f"r_{i}.png", picture)
    contents = {"camera_angle_x": angle, "frames": frames}
    (folder / f"transforms_{split}.json").write_text(json.dumps(contents))
    return folder


def frame(name: str = "./train/r_0", matrix: object = IDENTITY) -> dict:
    return {"file_path": name, "transform_matrix": matrix}


def changed(row: int, column: int, value: float) -> list[list[float]]:
    matrix = torch.eye(4).tolist()
    matrix[row][column] = value
    return matrix


def test_written_scenes_come_back(tmp_path):
    """Cameras to 1e-6, pictures and names exactly, for every split."""
    made = generate_boxes(tmp_path / "boxes", width=16, views={"train": 5, "val": 2, "test": 3})
    assert formats.splits(tmp_path / "boxes") == ("train", "val", "test")
    for split, scene in made.items():
        again = formats.read(tmp_path / "boxes", split)
        assert_close(again.cameras.camera_to_world, scene.cameras.camera_to_world, atol=1e-6, rtol=0)
        assert_close(again.cameras.intrinsics, scene.cameras.intrinsics, atol=0, rtol=1e-6)
        assert again.frame_names == scene.frame_names
        assert all(torch.equal(again.images[i], scene.images[i]) for i in range(len(scene)))
        assert again.bounds == scene.bounds and again.has_alpha and again.background == (1.0, 1.0, 1.0)


def test_poses_are_written_in_the_input_frame(tmp_path):
    """A scene that was moved into its model frame goes back where it came from."""
    scene = generate_boxes(width=8, views={"train": 3})["train"]
    rotation = rotation_between(torch.tensor([0.0, 0, 1]), torch.tensor([0.3, -0.2, 0.4]))
    move = similarity(0.25, rotation, torch.tensor([1.0, 2.0, -0.5]))
    poses = transform_poses(move, scene.cameras.camera_to_world)
    moved = replace(scene, cameras=replace(scene.cameras, camera_to_world=poses), model_from_input=move)
    write(moved, tmp_path)
    assert_close(
        read(tmp_path).cameras.camera_to_world, scene.cameras.camera_to_world, atol=2e-6, rtol=0
    )  # fmt: skip


def test_the_fov_is_horizontal_and_axes_are_opengl(tmp_path):
    """A camera without rotation looks along -z with y up; its picture's edge is half the angle away."""
    scene = read(a_scene(tmp_path, [frame()], angle=math.radians(90)))
    edge = torch.tensor([1.0, 0.0, -1.0])  # 45 degrees to the right
    assert_close(scene.cameras[0].project(edge)[0], torch.tensor([4.0, 2.0]))
    above, z_depth = scene.cameras[0].project(torch.tensor([0.0, 0.5, -1.0]))
    assert above[1] < 2 and z_depth == 1


@pytest.mark.parametrize("name", ["./train/r_1", "train/r_1", "train/r_1.png", "./train/../train/r_1"])
def test_pictures_are_found_with_and_without_extension(name, tmp_path):
    scene = read(a_scene(tmp_path, [frame(name)]))
    assert int(scene.images[0][0, 0, 0]) == 60


def test_the_folder_or_its_file_may_be_given(tmp_path):
    folder = a_scene(tmp_path / "cup", [frame()])
    assert formats.detect(folder) == ("nerf-synthetic", "has transforms_train.json")
    assert formats.read(folder / "transforms_train.json").name == "cup"
    assert formats.read(str(folder), downscale=2).cameras.width == 2


def test_what_is_no_scene_is_refused_by_name(tmp_path):
    with pytest.raises(SceneError, match="no such scene"):
        formats.detect(tmp_path / "absent")
    with pytest.raises(SceneError, match="nerf-synthetic"):
        formats.detect(tmp_path)
    folder = a_scene(tmp_path, [frame()])
    with pytest.raises(SceneError, match="splits that are there: train"):
        formats.read(folder, "test")
    with pytest.raises(SceneError, match="no split 'tset'"):
        formats.read(folder, "tset")
    (tmp_path / "notes.json").write_text("{}")
    with pytest.raises(SceneError, match="known format"):
        formats.detect(tmp_path / "notes.json")


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (changed(1, 2, math.nan), "is not finite"),
        (changed(0, 3, math.inf), "is not finite"),
        (changed(0, 3, 1e300), "is not finite"),
        (changed(0, 0, 0.0), r"is not a rotation \(determinant 0\.00\)"),
        (changed(0, 0, -1.0), r"is not a rotation \(determinant -1\.00\)"),
        (changed(0, 0, 2.0), r"is not a rotation \(determinant 2\.00\)"),
        (changed(0, 1, 0.5), r"is not a rotation \(determinant 1\.00\)"),
        (changed(3, 0, 1.0), "is not a rotation"),
        (changed(0, 0, 10**400), "is not 4x4 numbers"),
        (changed(0, 0, True), "is not 4x4 numbers"),
        (changed(0, 0, "1"), "is not 4x4 numbers"),
        (IDENTITY[:3], "is not 4x4 numbers"),
        (None, "is not 4x4 numbers"),
    ],
)
def test_poses_that_are_none_are_refused_with_the_frames_name(matrix, message, tmp_path):
    folder = a_scene(tmp_path, [frame("train/r_0"), frame("train/r_1", matrix)])
    file = f"{tmp_path}/transforms_train.json: frame 1 \\(train/r_1\\): "
    with pytest.raises(SceneError, match=file + ".*" + message + r".* Remove the frame or fix its matrix\."):
        read(folder)


@pytest.mark.parametrize("angle", [None, "0.7", 0, 1e-300, -1, 4, math.nan, True])
def test_a_senseless_field_of_view_is_refused(angle, tmp_path):
    with pytest.raises(SceneError, match="camera_angle_x"):
        read(a_scene(tmp_path, [frame()], angle=angle))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "holds a list"),
        ('{"camera_angle_x": 0.7}', "frames is missing"),
        ('{"camera_angle_x": 0.7, "frames": []}', "at least one frame"),
        ('{"camera_angle_x": 0.7, "frames": [3]}', "frame 0: file_path is None"),
        ('{"camera_angle_x": 0.7, "frames": [{"file_path": ["a"]}]}', "file_path is"),
        ('{"camera_angle_x": 0.7, "frames": [{"file_path": "a\\u0000b"}]}', "file_path is"),
        ('{"camera_angle_x": 0.7, "frames": [{"file_path": "a\\nb"}]}', r"file_path is 'a\\nb'"),
    ],
)
def test_broken_files_are_named(text, message, tmp_path):
    (tmp_path / "transforms_train.json").write_text(text)
    with pytest.raises(SceneError, match=rf"transforms_train\.json: .*{message}"):
        read(tmp_path)


@pytest.mark.parametrize("name", ["../secret", "../secret.png", "train/../../secret.png", "ABSOLUTE", "link"])
def test_paths_may_not_leave_the_folder(name, tmp_path):
    """Upwards, absolute or through a link; with allow_outside they may."""
    write_png(tmp_path / "secret.png", torch.zeros(4, 4, 4, dtype=torch.uint8))
    name = str(tmp_path / "secret.png") if name == "ABSOLUTE" else name
    folder = a_scene(tmp_path / "scene", [frame(name)])
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(SceneError, match=r"frame 0 .* outside of the scene folder.*allow-outside"):
        read(folder)
    assert len(read(folder, allow_outside=True)) == 1


def test_a_name_that_cannot_be_looked_up_is_an_error_of_the_scene(tmp_path):
    with pytest.raises(SceneError, match="cannot be looked up"):
        read(a_scene(tmp_path, [frame("train/" + "x" * 5000)]))


def test_missing_pictures_are_left_out_with_one_warning(tmp_path):
    folder = a_scene(tmp_path, [frame("train/r_9"), frame("train/r_2"), frame("train/r_8")])
    with pytest.warns(SceneWarning, match="2 of 3 .* train/r_9, train/r_8") as warned:
        scene = read(folder)
    assert len(warned) == 1
    assert scene.frame_names == ("train/r_2",) and int(scene.images[0][0, 0, 0]) == 120
    with pytest.raises(SceneError, match="none of its 1 pictures"):
        read(a_scene(tmp_path, [frame("train/r_9")]))


def test_one_picture_in_two_frames_is_refused(tmp_path):
    with pytest.raises(SceneError, match=r"frame 1 \(train/r_0\.png\): the same picture"):
        read(a_scene(tmp_path, [frame(), frame("train/r_0.png")]))


def test_pictures_of_two_sizes_are_refused(tmp_path):
    folder = a_scene(tmp_path, [frame(), frame("train/r_1")])
    write_png(folder / "train" / "r_1.png", torch.zeros(4, 6, 4, dtype=torch.uint8))
    with pytest.raises(SceneError, match=r"frame 1 \(train/r_1\): is 6 x 4"):
        read(folder)


def test_pictures_without_alpha_have_no_background(tmp_path):
    folder = a_scene(tmp_path, [frame()])
    write_png(folder / "train" / "r_0.png", torch.zeros(4, 4, 3, dtype=torch.uint8))
    scene = read(folder)
    assert not scene.has_alpha and scene.background is None


def test_nothing_is_overwritten_unless_asked(tmp_path):
    scene = generate_boxes(width=8, views={"train": 2})["train"]
    write(scene, tmp_path)
    with pytest.raises(SceneError, match="exists"):
        write(scene, tmp_path)
    write(scene, tmp_path, overwrite=True)


def test_cameras_that_the_format_cannot_hold_are_refused(tmp_path):
    scene = generate_boxes(width=8, views={"train": 2})["train"]
    shifted = replace(scene, cameras=replace(scene.cameras, cx=scene.cameras.cx + 1))
    with pytest.raises(SceneError, match="centred camera"):
        write(shifted, tmp_path)


def test_stored_geometry_comes_back_and_fits(tmp_path):
    made = generate_boxes(tmp_path / "boxes", width=16, views={"test": 2})["test"]
    scene = read(tmp_path / "boxes", "test")
    stored, exact = read_geometry(scene, 1), geometry(SCENES["boxes"], made.cameras[1])
    assert torch.equal(stored.z_depth, exact.z_depth) and torch.equal(stored.normal, exact.normal)
    with pytest.raises(SceneError, match="full size"):
        read_geometry(scene.downscaled(2), 1)
    with pytest.raises(SceneError, match="no geometry"):
        read_geometry(made, 1)
    file = tmp_path / "boxes" / "test" / "r_0.npz"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(SceneError, match=r"r_0\.npz"):
        read_geometry(scene, 0)
    np.savez(file, z_depth=np.array([{}], dtype=object), normal=np.zeros(3))
    with pytest.raises(SceneError, match="is no geometry file"):
        read_geometry(scene, 0)  # objects would be unpickled
    write_geometry(file, exact)
    assert torch.equal(read_geometry(scene, 0).normal, exact.normal)


def test_the_published_lego_is_read(test_data):
    """800x800, focal length 1111.11, cameras 4.03 from the origin that they look at."""
    scene = formats.read(test_data / "lego", "test")
    assert (scene.cameras.width, scene.cameras.height, len(scene)) == (800, 800, 25)
    assert_close(scene.cameras.fx, torch.full((25,), 1111.1110311937682))
    assert_close(scene.cameras.centres.norm(dim=-1), torch.full((25,), 4.0311289), atol=1e-5, rtol=0)
    middle, _ = scene.cameras.project(torch.zeros(3))
    assert_close(middle, torch.full((25, 2), 400.0), atol=0.01, rtol=0)


@pytest.mark.parametrize("lens", [{"k1": 0.1}, {"p2": -1e-3}, {"cx": 3.0, "w": 8}])
def test_lenses_that_other_programs_write_are_refused_not_passed_over(tmp_path, lens):
    """And those that are none are taken: BlenderNeRF writes k1 = 0 and a centred cx."""
    folder = a_scene(tmp_path, [frame()])
    file = folder / "transforms_train.json"
    contents = json.loads(file.read_text())
    file.write_text(json.dumps({**contents, "k1": 0, "p1": 0.0, "cx": 4.0, "w": 8}))
    assert len(formats.read(folder)) == 1
    file.write_text(json.dumps({**contents, **lens}))
    with pytest.raises(SceneError, match=r"transforms_train\.json: .*name the file transforms\.json"):
        formats.read(folder)
