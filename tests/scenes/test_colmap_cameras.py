"""COLMAP's cameras alone: the same from files and from memory, and as the reader of scenes has them."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from scenes.cameras import Cameras
from scenes.formats.colmap import capture
from scenes.formats.colmap_cameras import read_cameras
from scenes.scene import SceneError, SceneWarning
from tests.scenes.test_colmap import PARAMETERS, Shot, binary, laid_out, text


def synthesized(model="SIMPLE_RADIAL", per_rig=2):
    import pycolmap

    pycolmap.set_random_seed(1)
    options = pycolmap.SyntheticDatasetOptions(
        num_rigs=2, num_cameras_per_rig=per_rig, num_frames_per_rig=3, num_points3D=30, camera_width=64,
        camera_height=48, camera_model_id=pycolmap.CameraModelId.__members__[model],
        camera_params=list(PARAMETERS[model]), sensor_from_rig_rotation_stddev=20.0,
        sensor_from_rig_translation_stddev=0.3,
    )  # fmt: skip
    return pycolmap.synthesize_dataset(options)


@pytest.mark.parametrize("model", PARAMETERS)
def test_points_fall_where_colmap_puts_them(model, tmp_path):
    """Of every lens, from binary files, from text and from memory: to 1e-8 of a pixel."""
    made = synthesized(model)
    for suffix, save in ((".bin", made.write_binary), (".txt", made.write_text)):
        (tmp_path / f"a{suffix}").mkdir()
        save(tmp_path / f"a{suffix}")
    for source in (made, tmp_path / "a.bin", str(tmp_path / "a.txt"), tmp_path / "a.bin/images.bin"):
        cameras, names = read_cameras(source)
        assert list(names) == sorted(image.name for image in made.images.values())
        assert (cameras.width, cameras.height) == (64, 48)
        for index, name in enumerate(names):
            image = made.find_image_with_name(name)
            seen = np.random.default_rng(0).uniform((-1, -1, 1), (1, 1, 3), (40, 3))
            points = image.cam_from_world().inverse() * seen
            pixels, z_depth = cameras[index].project(torch.from_numpy(points))
            np.testing.assert_allclose(pixels, image.camera.img_from_cam(seen), atol=1e-8)
            np.testing.assert_allclose(z_depth, seen[:, 2], atol=1e-10)


def test_they_are_the_cameras_of_the_scenes_reader(tmp_path):
    laid_out(tmp_path, binary())
    cameras, names = read_cameras(tmp_path)
    read = capture(tmp_path)
    assert names == tuple(frame.name for frame in read.frames)
    for index, frame in enumerate(read.frames):
        assert torch.equal(cameras[index].camera_to_world, torch.from_numpy(frame.camera_to_world))
        assert cameras[index].intrinsics.tolist() == [
            frame.lens.fx,
            frame.lens.fy,
            frame.lens.cx,
            frame.lens.cy,
        ]
    assert torch.equal(Cameras.from_colmap(tmp_path).camera_to_world, cameras.camera_to_world)
    assert cameras.camera_to_world.dtype == cameras.fx.dtype == torch.float64


def test_an_image_without_a_pose_is_left_out():
    made = synthesized(per_rig=1)
    _, names = read_cameras(made)
    gone = made.images[min(made.images)]
    made.deregister_frame(gone.frame_id)
    assert read_cameras(made).names == tuple(name for name in names if name != gone.name)


def test_a_scene_folder_of_several_models_gives_the_largest(tmp_path):
    laid_out(tmp_path / "sparse/0", text(shots=[Shot("a.png")]))
    laid_out(tmp_path / "sparse/1", text())
    with pytest.warns(SceneWarning, match="largest of 2 sub-models"):
        assert len(read_cameras(tmp_path).names) == 3


def test_what_is_no_model_is_refused(tmp_path):
    import pycolmap

    with pytest.raises(SceneError, match="no COLMAP model; give a folder"):
        read_cameras(tmp_path)
    with pytest.raises(SceneError, match="a list is no COLMAP model; give its folder"):
        Cameras.from_colmap([1, 2])
    with pytest.raises(SceneError, match="has no image with a pose"):
        Cameras.from_colmap(pycolmap.Reconstruction())


def test_centres_are_where_colmap_has_them():
    made = synthesized()
    cameras, names = read_cameras(made)
    wanted = np.stack([made.find_image_with_name(name).projection_center() for name in names])
    assert_close(cameras.centres, torch.from_numpy(wanted), atol=1e-10, rtol=0)
