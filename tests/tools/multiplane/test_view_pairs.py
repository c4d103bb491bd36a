"""Pairs of views: what the source cannot see, and units that do not matter."""

import pytest
import torch

from scenes.cameras import Cameras
from tools.multiplane.view_pairs import together, unseen, view_pair

SIDE = 64
NEAR, FAR = 2.0, 8.0


def camera(x: float = 0.0, focal: float = 64.0) -> Cameras:
    pose = torch.eye(4)
    pose[0, 3] = x
    middle = SIDE / 2
    intrinsics = [[focal, 0, middle], [0, focal, middle], [0, 0, 1]]
    return Cameras.from_matrices(K=intrinsics, camera_to_world=pose, width=SIDE, height=SIDE)


def square_before_a_wall(x: float, half: float = 0.5) -> torch.Tensor:
    """z_depth of a square at NEAR, about the axis of the camera at 0, before a wall at FAR."""
    here = camera(x)
    points = here.unproject(here.pixel_centres(), torch.full((SIDE, SIDE), NEAR))
    return torch.where((points[..., :2].abs() < half).all(-1), NEAR, FAR)


@pytest.mark.parametrize("x", [0.25, -0.25, 0.5])
def test_what_a_square_hides_is_as_wide_as_the_difference_of_disparities(x: float):
    first, second = square_before_a_wall(0.0), square_before_a_wall(x)
    hidden, beside = unseen(1 / first, camera(), 1 / second, camera(x))
    # A camera that goes right sees the wall to the right of the square, which was hidden before.
    wide = round(64 * abs(x) * (1 / NEAR - 1 / FAR))
    rows = hidden[SIDE // 2 - 10 : SIDE // 2 + 10].sum(dim=1)
    assert ((rows - wide).abs() <= 1).all()
    columns = hidden.nonzero()[:, 1].float().mean()
    square = (second == NEAR).nonzero()[:, 1].float().mean()
    assert (columns > square) == (x > 0)
    assert beside[:, -1 if x > 0 else 0].all() and not beside[:, 0 if x > 0 else -1].any()
    assert beside.sum(dim=1).float().mean() == pytest.approx(64 * abs(x) / FAR, abs=1)


def test_from_the_same_place_nothing_is_unseen():
    depth = square_before_a_wall(0.0)
    hidden, beside = unseen(1 / depth, camera(), 1 / depth, camera())
    assert not hidden.any() and not beside.any()


def test_the_sky_is_seen_from_everywhere_unless_something_stands_before_it():
    first, second = (torch.where(square_before_a_wall(x) == NEAR, NEAR, 0.0) for x in (0.0, 0.25))
    inverse = [torch.where(z > 0, 1 / z.clamp(min=1), 0.0) for z in (first, second)]
    hidden, beside = unseen(inverse[0], camera(), inverse[1], camera(0.25))
    assert not beside.any()  # what is infinitely far does not move
    rows = hidden[SIDE // 2 - 10 : SIDE // 2 + 10].sum(dim=1)
    assert ((rows - 64 * 0.25 / NEAR).abs() <= 1).all()


@pytest.mark.parametrize("unit", [0.01, 40.0])
def test_a_pair_does_not_depend_on_the_unit_or_on_where_the_world_begins(unit: float, generator):
    first, second = square_before_a_wall(0.0), square_before_a_wall(0.25)
    pictures = torch.randint(0, 256, (2, SIDE, SIDE, 3), generator=generator, dtype=torch.uint8)
    pair = view_pair(pictures[0], first, camera(), pictures[1], second, camera(0.25))
    moved = torch.tensor([[0, 0, 1, 3], [1, 0, 0, -2], [0, 1, 0, 5], [0, 0, 0, 1.0]])
    elsewhere = []
    for x in (0.0, 0.25):
        pose = moved @ camera(x).camera_to_world
        pose[:3, 3] *= unit
        K = [[64, 0, 32], [0, 64, 32], [0, 0, 1]]
        elsewhere.append(Cameras.from_matrices(K=K, camera_to_world=pose, width=SIDE, height=SIDE))
    other = view_pair(pictures[0], unit * first, elsewhere[0], pictures[1], unit * second, elsewhere[1])
    assert torch.allclose(pair.disparity, other.disparity) and float(pair.disparity.max()) == 1
    assert torch.allclose(pair.truth_disparity, other.truth_disparity)
    assert torch.allclose(pair.target.camera_to_world, other.target.camera_to_world, atol=1e-5)
    assert torch.equal(pair.hidden, other.hidden) and torch.equal(pair.beside, other.beside)
    assert pair.target.camera_to_world[0, 3] == pytest.approx(0.25 / NEAR)
    batch = together([pair, other])
    assert batch.source.shape == (2, 3, SIDE, SIDE) and torch.equal(batch.source[0], batch.source[1])


def test_nothing_near_is_refused():
    empty = torch.zeros(SIDE, SIDE)
    picture = torch.zeros(SIDE, SIDE, 3, dtype=torch.uint8)
    with pytest.raises(ValueError, match="nothing at a finite depth"):
        view_pair(picture, empty, camera(), picture, empty, camera(0.1))
