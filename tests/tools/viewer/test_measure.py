"""The figures of `render bench --view`, on a session whose pictures take known times."""

import time

import pytest

from scenes.generate import analytic
from tests.tools.viewer.test_session import Cloud
from tools.viewer.measure import measure_session
from tools.viewer.session import FRAME_RATE, Session


class Slow(Cloud):
    """A pixel takes `cost` seconds of the wall's clock."""

    def render_rays(self, rays, *rest, **named):
        time.sleep(self.cost * len(rays))
        return super().render_rays(rays, *rest, **named)


@pytest.mark.parametrize("cost", [4e-6])
def test_the_figures_follow_from_what_a_pixel_costs(cost):
    scene = analytic.generate("spheres", width=24, views={"train": 6}, supersampling=1)["train"]
    found = measure_session(Session(Slow(cost), scene, size=(200, 150)))
    whole = 200 * 150 * cost
    assert 0.4 * FRAME_RATE < found["frames_per_second"]
    assert whole <= found["still_seconds"]
    assert found["moving_size"][0] <= 200 and found["size"] == [200, 150]
    coarse = found["moving_size"][0] * found["moving_size"][1] * cost
    assert coarse <= found["first_pixel_seconds"] <= found["still_seconds"] + whole
