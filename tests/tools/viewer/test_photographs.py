"""The error against the nearest photograph: zero where both agree, grey where it does not see."""

from dataclasses import replace

import pytest
import torch

from render.methods.base import RayModel, Rendered
from scenes.cameras import Cameras
from scenes.generate import analytic
from tools.viewer.photographs import UNSEEN, Photographs, error_picture


class Room(RayModel):
    """A plane z = 0 with a smooth pattern, and before it (z = 1) a square of one colour."""

    background = (0.0, 0.0, 0.0)
    device = torch.device("cpu")
    wrong = 0.0

    def render_rays(self, rays, outputs, background=None, crop=None):
        far = -rays.origins[:, 2] / rays.directions[:, 2]
        near = (1 - rays.origins[:, 2]) / rays.directions[:, 2]
        hits = rays.at(near)[:, :2].abs().amax(-1) < 0.3
        distance = torch.where(hits, near, far)
        place = rays.at(far)
        pattern = torch.stack([(0.5 + 0.4 * torch.sin(2 * place[:, i])) for i in (0, 1, 0)], dim=-1)
        rgb = torch.where(hits[:, None], torch.tensor([0.9, 0.1, 0.1]), pattern) + self.wrong
        found = {"rgb": rgb, "opacity": torch.ones_like(distance), "distance": distance}
        return Rendered(**{name: found[name] for name in outputs})


def looking(x: float, width=160) -> Cameras:
    return Cameras.look_at((x, 0.0, 5.0), (0.0, 0.0, 0.0), (0.0, 1.0, 0.0), width, width, 40.0)


@pytest.fixture
def photographs() -> Photographs:
    """Two, taken from (-1, 0, 5) and (1, 0, 5) of the room as it is."""
    poses = torch.stack([looking(x).camera_to_world for x in (-1.0, 1.0)])
    cameras = Cameras.from_fov(poses, 160, 160, 40.0)
    pictures = Room().render(cameras).rgb
    scene = analytic.generate("spheres", width=8, views={"train": 2}, supersampling=1)["train"]
    images = replace(
        scene.images, items=tuple((255 * p).round().to(torch.uint8) for p in pictures), sizes=None
    )
    return Photographs(replace(scene, cameras=cameras, images=images, has_alpha=False, background=None))


def test_the_nearest_photograph_is_the_one_from_beside(photographs):
    assert photographs.nearest(looking(0.2)) == 1 and photographs.nearest(looking(-0.2)) == 0


def test_agreement_is_dark_a_difference_is_light_and_what_is_hidden_is_grey(photographs):
    camera = looking(0.4)
    shown, z_depth = error_picture(Room(), photographs, camera)
    assert float(z_depth.min()) > 3.5 and float(z_depth.max()) < 5.5
    grey = (shown == UNSEEN).all(-1)
    dark = ~grey & (shown.sum(-1) < 0.35)
    assert dark.float().mean() > 0.85
    # The photograph was taken further to the right: it does not see what the square hides from there, a
    # strip to the left of it.
    behind = camera.project(torch.tensor([-0.55, 0.0, 0.0]))[0].long()
    assert grey[behind[1], behind[0]]
    room = Room()
    room.wrong = 0.2
    wrong, _ = error_picture(room, photographs, camera)
    assert (wrong[dark].sum(-1) > shown[dark].sum(-1) + 0.5).float().mean() > 0.95
