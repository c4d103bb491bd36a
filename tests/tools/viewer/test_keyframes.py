import json

import pytest
import torch
from torch.testing import assert_close

from scenes.generate.analytic import rig
from scenes.scene import SceneError
from scenes.transforms import rotation_between, similarity
from tools.viewer.keyframes import Key, Keyframes

TURN = rotation_between(torch.tensor([0.0, 0.0, 1.0]), torch.tensor([1.0, 2.0, 2.0]))
THERE = similarity(0.25, TURN, torch.tensor([1.0, -2.0, 0.5]))


def film(count=4, **settings) -> Keyframes:
    poses = rig(count, 8, 0.3).camera_to_world.double()
    return Keyframes(tuple(Key(pose, 30.0 + 5 * i) for i, pose in enumerate(poses)), **settings)


def test_the_film_goes_through_its_keys():
    keyframes = film(seconds=1, fps=4)
    cameras = keyframes.cameras(80, 60)
    assert len(cameras) == 4 and (cameras.width, cameras.height) == (80, 60)
    poses = torch.stack([key.pose for key in keyframes.keys]).float()
    assert_close(cameras.camera_to_world, poses, atol=1e-5, rtol=0)
    assert cameras.fov.tolist() == pytest.approx([30, 35, 40, 45], abs=1e-3)


def test_a_closed_film_ends_one_frame_before_it_begins():
    cameras = film(seconds=2, fps=4, closed=True).cameras(8, 8)
    step = (cameras.centres.roll(-1, 0) - cameras.centres).norm(dim=-1)
    assert len(cameras) == 8 and float(step.min()) > 0.2 * float(step.max())


def test_keys_are_saved_in_the_frame_of_the_input_and_come_back(tmp_path):
    keyframes = film(seconds=2, fps=10, closed=True)
    keyframes.save(tmp_path / "p.json", THERE, 80, 60)
    written = json.loads((tmp_path / "p.json").read_text())
    back = torch.linalg.inv(THERE.double()) @ keyframes.keys[1].pose
    assert [written["keyframes"][1]["matrix"][i] for i in (3, 7, 11)] == pytest.approx(back[:3, 3].tolist())
    assert len(written["camera_path"]) == 20
    again = Keyframes.load(tmp_path / "p.json", THERE)
    assert (again.seconds, again.fps, again.closed) == (2, 10, True)
    for one, other in zip(again.keys, keyframes.keys, strict=True):
        assert_close(one.pose, other.pose, atol=1e-5, rtol=0)
        assert one.fov == pytest.approx(other.fov, abs=1e-3)


def test_a_path_of_frames_alone_gives_some_of_them_as_keys(tmp_path):
    keyframes = film(seconds=3, fps=20)
    keyframes.save(tmp_path / "p.json", torch.eye(4), 80, 60)
    content = json.loads((tmp_path / "p.json").read_text())
    content.pop("keyframes")
    (tmp_path / "p.json").write_text(json.dumps(content))
    again = Keyframes.load(tmp_path / "p.json", torch.eye(4))
    assert len(again.keys) == 24 and again.seconds == 3
    assert_close(again.keys[-1].pose, keyframes.keys[-1].pose, atol=1e-5, rtol=0)
    way = (again.cameras(8, 8, 50).centres - keyframes.cameras(8, 8, 50).centres).norm(dim=-1)
    assert float(way.max()) < 0.02


def test_what_is_no_film_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no keys yet"):
        Keyframes().cameras(8, 8)
    with pytest.raises(ValueError, match="up to 3600 s"):
        film(seconds=0)
    with pytest.raises(IndexError, match="key 4: there are 4"):
        film().without(4)
    assert len(film().without(1).keys) == 3
    with pytest.raises(SceneError, match=r"nothing\.json"):
        Keyframes.load(tmp_path / "nothing.json", torch.eye(4))
