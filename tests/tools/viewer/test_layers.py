import queue
import time

import pytest
import torch

from scenes.crop import Crop
from scenes.generate import analytic
from scenes.transforms import rotation_between, similarity
from tests.tools.viewer.test_session import Cloud
from tools.viewer.layers import CROP, Layers, crop_around, crop_lines
from tools.viewer.overlays import Dots
from tools.viewer.session import Session

RED = torch.tensor([250, 0, 0], dtype=torch.uint8)


@pytest.fixture
def session() -> Session:
    scene = analytic.generate("spheres", width=24, views={"train": 6}, supersampling=1)["train"]
    return Session(Cloud(), scene, size=(60, 40))


def drawn(session: Session):
    while not ((picture := session.next_picture()) and picture.complete):
        pass
    return picture


def test_what_is_switched_on_is_made_once_and_seen_as_soon_as_it_is_there(session):
    made = []

    def maker():
        made.append(1)
        pose = session.view.stand.pose
        near = (pose[:3, 3] + pose[:3, 2]).float()[None]  # nearer than what the model shows, at 2
        return Dots(near, RED[None], 3)

    layers = Layers(session, {"dot": maker}, pytest.fail)
    assert layers.names == ("dot", CROP)
    for _ in range(2):
        layers.switch("dot", True)
        until = time.monotonic() + 10
        while "dot" not in layers.made and time.monotonic() < until:
            time.sleep(0.01)
        assert (layers.over(drawn(session)) == RED).all(-1).sum() == 9
        layers.switch("dot", False)
        assert torch.equal(layers.over(drawn(session)), session.picture.rgb)
    assert len(made) == 1


def test_what_cannot_be_made_is_said(session):
    said = queue.Queue()

    def maker():
        raise ImportError("no open3d")

    Layers(session, {"photographs": maker}, said.put).switch("photographs", True)
    assert said.get(timeout=10) == "photographs: no open3d"


def test_the_first_crop_holds_the_bounds_in_the_frame_of_the_input(session):
    turn = rotation_between(torch.tensor([0.0, 0.0, 1.0]), torch.tensor([1.0, 2.0, 2.0]))
    there = similarity(0.25, turn, torch.tensor([1.0, -2.0, 0.5]))
    session.scene = session.scene.__class__(**{**vars(session.scene), "model_from_input": there})
    crop = crop_around(session).moved(there)
    bounds = session.scene.bounds
    corners = torch.cartesian_prod(*torch.tensor([bounds.minimum, bounds.maximum]).T)
    inner = corners * (1 - 1e-5) + corners.mean(0) * 1e-5
    assert crop.contains(inner).all() and not crop.contains(corners * 4).any()


def test_the_lines_of_a_crop_are_its_edges():
    crop = Crop((1.0, 2.0, 3.0), (2.0, 4.0, 6.0))
    ends = crop_lines(crop).ends
    length = (ends[:, 1] - ends[:, 0]).norm(dim=-1)
    assert sorted(length.tolist()) == pytest.approx([2.0] * 4 + [4.0] * 4 + [6.0] * 4)
    matrix = crop.matrix().float()
    assert torch.allclose((ends @ matrix[:, :3].T + matrix[:, 3]).abs(), torch.ones(12, 2, 3), atol=1e-6)


def test_what_was_opened_can_be_switched_off(session, tmp_path):
    trimesh = pytest.importorskip("trimesh")
    trimesh.creation.icosphere(subdivisions=2, radius=50.0).export(tmp_path / "around.ply")
    layers = Layers(session, {}, pytest.fail)
    layers.open(tmp_path / "around.ply")
    assert layers.names == ("around.ply", CROP) and not layers.shown
    layers.switch("around.ply", True)
    assert session.view.with_depth
    layers.switch("around.ply", False)
    assert not session.view.with_depth
