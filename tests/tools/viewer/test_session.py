"""The session on a model whose pictures cost a known time, by a clock that only they move."""

import queue
import threading
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from render.methods.base import RayModel, Rendered
from render.methods.ngp import NGP
from render.modes import Scale
from scenes.crop import Crop
from scenes.generate import analytic
from scenes.images import read_image
from scenes.scene import Scene
from tools.viewer.session import FRAME_RATE, LIVE_SHARE, Session, rows_of


class Cloud(RayModel):
    """Colours are directions; a pixel takes `cost` seconds."""

    background = None
    device = torch.device("cpu")
    shade = 0.0

    def __init__(self, cost=1e-6):
        self.cost, self.time, self.drawn = cost, 0.0, []

    def render_rays(self, rays, outputs, background=None, crop=None):
        self.time += self.cost * len(rays)
        distance = torch.full((len(rays),), 2.0)
        found = {
            "rgb": rays.directions.abs() * (0.5 if crop else 1.0) + self.shade,
            "opacity": torch.ones_like(distance),
            "distance": distance,
            "samples": torch.full((len(rays),), 9, dtype=torch.int32),
        }
        return Rendered(**{name: found[name] for name in outputs})

    def render(self, camera, *rest, **named):
        self.drawn.append((camera.width, camera.height))
        return super().render(camera, *rest, **named)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return analytic.generate("spheres", width=24, views={"train": 6}, supersampling=1)["train"]


def opened(scene, cost=1e-6, size=(400, 300), **settings) -> Session:
    model = Cloud(cost)
    return Session(model, scene, cameras=scene.cameras, size=size, clock=lambda: model.time, **settings)


def settled(session: Session) -> None:
    while session.next_picture() is not None:
        pass


@pytest.mark.parametrize("cost", [1e-7, 2e-6, 1e-5])
def test_while_something_moves_the_frame_rate_is_held(scene, cost):
    session = opened(scene, cost)
    for _ in range(10):
        session.orbit(0.01, 0.0)
        picture = session.next_picture()
    wanted = 1 / FRAME_RATE
    assert picture.seconds <= 1.1 * wanted
    assert picture.complete or picture.seconds > 0.8 * wanted, "and no picture is coarser than it must be"
    truth = session.model.render(picture.camera).rgb
    assert (picture.rgb / 255 - truth).abs().max() <= 0.5 / 255 + 1e-6


def test_what_stands_still_becomes_the_picture_that_a_film_would_show(scene):
    session = opened(scene, 2e-6)
    session.orbit(0.1, 0.1)
    assert not session.next_picture().complete
    settled(session)
    picture = session.picture
    assert picture.complete and picture.rgb.shape == (300, 400, 3)
    whole = session.model.render(session.view.camera()).rgb
    assert (picture.rgb / 255 - whole).abs().max() <= 0.5 / 255 + 1e-6
    assert session.next_picture() is None and session._patience() == float("inf")


def test_a_slow_model_gets_better_by_doubling(scene):
    session = opened(scene, 1e-4)
    sizes = []
    while (picture := session.next_picture()) is not None:
        sizes.append(picture.rgb.shape[1])
    assert sizes == [40, 80, 160, 320, 400]


def test_a_movement_interrupts_the_full_picture_and_waits_for_a_strip_at_most(scene):
    session = opened(scene, 5e-6)
    session.next_picture(), session.orbit(0.1, 0), session.next_picture()
    model, waited = session.model, []
    draw = model.render_rays

    def moving(rays, *rest, **named):
        found = draw(rays, *rest, **named)
        if not waited and len(rays) > 3000:
            session.orbit(0.1, 0)
            waited.append(model.time)
        return found

    model.render_rays = moving
    assert session.next_picture() is None, "given up"
    assert model.time - waited[0] < 0.05
    picture = session.next_picture()
    assert picture.view is session.view and not picture.complete


def test_rows_are_the_rows_of_the_whole(scene):
    camera = opened(scene).view.camera()
    whole, part = camera.rays(), rows_of(camera, 100, 140).rays()
    assert_close(part.directions, whole.directions[100:140])


def test_a_training_is_shown_without_costing_it_much(scene):
    """Nobody moves: of the time of a training that reports at every step, pictures take little."""
    session = opened(scene, 5e-6)
    settled(session)
    model, drawn, spent = session.model, 0, 0.0
    began = model.time
    for step in range(2000):
        model.time += 0.01  # a step of the training
        model.shade = step / 4000
        session.learnt()
        if (picture := session.next_picture()) is not None:
            drawn, spent = drawn + 1, spent + picture.seconds
    assert 5 < drawn and spent <= 1.05 * LIVE_SHARE * (model.time - began)
    assert float(session.picture.rgb.float().mean()) > 80 and not session.picture.complete
    model.time += 60  # the training is over
    assert session.next_picture().complete and session.next_picture() is None


def test_jumping_to_a_training_camera_shows_what_it_saw(scene):
    session = opened(scene)
    session.jump(2)
    assert_close(session.view.stand.pose.float(), scene.cameras.camera_to_world[2])
    assert session.view.fov == pytest.approx(float(scene.cameras.fov[2]), abs=1e-3)
    session.go_home()
    assert_close(session.view.stand.pose, session.home.pose)
    with pytest.raises(IndexError, match="camera 6: this run has 6"):
        session.jump(6)


def test_what_cannot_be_shown_is_refused_and_the_view_stays(scene):
    session = opened(scene)
    before = session.view
    for change, said in [
        ({"mode": "error"}, "it needs the photographs"),
        ({"mode": "rgba"}, "mode 'rgba' is unknown; known: rgb, depth"),
        ({"fov": 0.5}, "between 1 and 170"),
        ({"width": 0}, "shows nothing"),
    ]:
        with pytest.raises(ValueError, match=said):
            session.change(**change)
    assert session.view is before


def test_crop_background_and_depth_reach_the_picture(scene):
    session = opened(scene, size=(40, 30))
    settled(session)
    whole = session.picture.rgb
    assert session.picture.z_depth is None
    session.change(crop=Crop((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)), with_depth=True)
    settled(session)
    assert_close(session.picture.rgb.float(), whole / 2, atol=1.0, rtol=0)
    forward = session.picture.camera.rays().directions @ session.picture.camera.camera_to_world[:3, 2]
    assert_close(session.picture.z_depth, 2 * forward)


@pytest.mark.parametrize("mode", ["rgb", "depth", "opacity", "normal", "samples"])
def test_every_mode_has_a_picture_and_its_legend(scene, mode, tmp_path):
    session = opened(scene, size=(40, 30))
    session.change(mode=mode)
    settled(session)
    assert session.picture.complete and (session.legend(session.view) != "") == (mode != "rgb")
    session.screenshot(tmp_path / "shot.png")
    assert torch.equal(read_image(tmp_path / "shot.png"), session.picture.rgb)


def test_a_thread_is_handed_pictures_until_the_session_closes(scene):
    session, shown = opened(scene, size=(40, 30)), queue.Queue()
    drawing = threading.Thread(target=session.run, args=(shown.put,), daemon=True)
    drawing.start()
    for _ in range(3):
        session.orbit(0.1, 0.0)
        while not ((picture := shown.get(timeout=10)).complete and picture.view is session.view):
            pass
    session.close()
    drawing.join(10)
    assert not drawing.is_alive() and shown.empty()


def test_a_session_of_a_real_model_shows_what_the_model_renders(scene):
    torch.manual_seed(0)
    model = NGP(log2_table_size=12, occupancy_resolution=32, render_march_steps=128).build(scene)
    session = Session(model, scene, size=(64, 48))
    session.orbit(0.2, 0.1)
    settled(session)
    truth = model.render(session.view.camera()).rgb
    assert (session.picture.rgb / 255 - truth.clamp(0, 1)).abs().max() <= 0.5 / 255 + 1e-5


def test_a_view_that_cannot_be_drawn_is_told_of_and_the_next_one_is_drawn(scene):
    session, told, shown = opened(scene, size=(40, 30)), queue.Queue(), queue.Queue()
    draw = session.model.render_rays

    def failing(rays, outputs, *rest, **named):
        if "samples" in outputs:
            raise OSError("r_7.png: gone")
        return draw(rays, outputs, *rest, **named)

    session.model.render_rays = failing
    session.change(mode="samples", scale=Scale())
    threading.Thread(target=session.run, args=(shown.put, told.put), daemon=True).start()
    assert told.get(timeout=10) == "samples: r_7.png: gone"
    session.change(mode="rgb")
    assert shown.get(timeout=10).view.mode == "rgb" and told.empty()
    session.close()


def test_the_scale_of_depths_follows_a_model_that_learns(scene):
    session = opened(scene)
    assert session.scale_for("depth").farthest < 3
    far = session.model.render_rays

    def farther(rays, outputs, *rest, **named):
        seen = far(rays, outputs, *rest, **named)
        return replace(seen, distance=10 * seen.distance) if seen.distance is not None else seen

    session.model.render_rays = farther
    session.learnt()
    assert session.scale_for("depth").farthest < 3, "not at every report"
    session.model.time += 60
    session.learnt()
    assert session.scale_for("depth").nearest > 10
