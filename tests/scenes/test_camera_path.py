"""Camera paths survive being written and read, and damaged ones are refused by name."""

import json
import math

import pytest
import torch

from scenes.camera_path import CameraPath, read_camera_path, write_camera_path
from scenes.generate.analytic import rig
from scenes.scene import SceneError


def test_cameras_come_back(tmp_path):
    cameras = rig(5, 64, 0.3)
    write_camera_path(tmp_path / "p.json", CameraPath(cameras, 12.5))
    back = read_camera_path(tmp_path / "p.json")
    assert back.fps == 12.5 and (back.cameras.width, back.cameras.height) == (64, 64)
    torch.testing.assert_close(back.cameras.camera_to_world, cameras.camera_to_world, atol=1e-6, rtol=0)
    torch.testing.assert_close(back.cameras.intrinsics, cameras.intrinsics, atol=1e-4, rtol=0)


def test_keys_come_back_with_their_frames(tmp_path):
    keys, cameras = rig(3, 64, 0.3), rig(7, 64, 0.3)
    write_camera_path(tmp_path / "p.json", CameraPath(cameras, 7, keys, closed=True))
    back = read_camera_path(tmp_path / "p.json")
    assert back.closed and len(back.cameras) == 7
    torch.testing.assert_close(back.keys.camera_to_world, keys.camera_to_world, atol=1e-6, rtol=0)
    torch.testing.assert_close(back.keys.fov, keys.fov, atol=1e-4, rtol=0)
    content = json.loads((tmp_path / "p.json").read_text())
    assert content["default_transition_sec"] == pytest.approx(1 / 3), (
        "three ways in a second, the last one back"
    )
    content["keyframes"][2].pop("fov")
    (tmp_path / "p.json").write_text(json.dumps(content))
    with pytest.raises(SceneError, match="keyframe 2: fov is None"):
        read_camera_path(tmp_path / "p.json")
    for key in content["keyframes"]:
        key["matrix"] = str(key["matrix"])
    (tmp_path / "p.json").write_text(json.dumps(content))
    assert read_camera_path(tmp_path / "p.json").keys is None


def test_a_path_as_nerfstudio_writes_it(tmp_path):
    """A camera at (1, 2, 3) that looks along -z, y up; 90 degrees over 100 rows: a focal length of 50."""
    pose = [1, 0, 0, 1, 0, 1, 0, 2, 0, 0, 1, 3, 0, 0, 0, 1]
    content = {
        "camera_type": "perspective", "render_height": 100, "render_width": 160, "fps": 24, "seconds": 2,
        "camera_path": [{"camera_to_world": pose, "fov": 90, "aspect": 1.6}],
        "keyframes": [], "crop": None,
    }  # fmt: skip
    (tmp_path / "p.json").write_text(json.dumps(content))
    camera = read_camera_path(tmp_path / "p.json").cameras[0]
    assert camera.centres.tolist() == [1, 2, 3] and camera.camera_to_world[:3, 2].tolist() == [0, 0, -1]
    assert camera.camera_to_world[:3, 1].tolist() == [0, -1, 0]
    assert [float(x) for x in camera.intrinsics] == pytest.approx([50, 50, 80, 50])


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda c: c.update(camera_path=[]), "1 to 1000000 frames, this one 0"),
        (lambda c: c.pop("camera_path"), "no list 'camera_path'"),
        (lambda c: c.update(camera_type="fisheye"), "'fisheye' is not rendered yet"),
        (lambda c: c.update(render_width=10.5), "render_width is 10.5"),
        (lambda c: c.update(render_height=10**9), "render_height is 1e"),
        (lambda c: c.update(fps=0), "fps is 0"),
        (lambda c: c["camera_path"][1].pop("fov"), "frame 1: fov is None"),
        (lambda c: c["camera_path"][1].update(fov=180), "frame 1: fov is 180 degrees"),
        (
            lambda c: c["camera_path"][1].update(camera_to_world=[1] * 15),
            "frame 1: camera_to_world must be 16",
        ),
        (lambda c: c["camera_path"][1]["camera_to_world"].__setitem__(0, math.nan), "frame 1.* is nan"),
        (lambda c: c["camera_path"][1]["camera_to_world"].__setitem__(0, 9), "frame 1.*distorts"),
        (lambda c: c["camera_path"][1]["camera_to_world"].__setitem__(12, 3.0), "frame 1.*0 0 0 1 at last"),
        (lambda c: c.update(fps=10**400), "fps is 1000000"),
        (lambda c: c["camera_path"].__setitem__(1, 7), "frame 1: camera_to_world must be 16"),
    ],
)
def test_a_damaged_path_is_refused_by_name(tmp_path, change, said):
    path = tmp_path / "p.json"
    write_camera_path(path, CameraPath(rig(3, 8, 0.0), 24))
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(SceneError, match=said) as caught:
        read_camera_path(path)
    assert str(path) in str(caught.value)


def test_what_is_no_json_or_cannot_be_held_is_refused(tmp_path):
    (tmp_path / "p.json").write_text("{")
    with pytest.raises(SceneError, match="no camera path can be read"):
        read_camera_path(tmp_path / "p.json")
    cameras = rig(3, 8, 0.0)
    lens = CameraPath(type(cameras)(**{**vars(cameras), "distortion": torch.zeros(3, 8)}), 24)
    with pytest.raises(ValueError, match="without distortion"):
        write_camera_path(tmp_path / "q.json", lens)
    for change in ({"cx": cameras.cx + 2}, {"fx": 1.1 * cameras.fx}):
        with pytest.raises(ValueError, match="centred cameras with square pixels, which these are not"):
            write_camera_path(
                tmp_path / "q.json", CameraPath(type(cameras)(**{**vars(cameras), **change}), 24)
            )
    assert not (tmp_path / "q.json").exists()
