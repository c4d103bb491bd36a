import pytest
import torch

from scenes.crop import Crop
from scenes.transforms import rotation_between, similarity, transform_points

BOX = Crop.between((-1.0, 0.0, 2.0), (1.0, 4.0, 3.0))


def test_a_box_holds_what_lies_between_its_corners(generator):
    points = torch.rand(2000, 3, generator=generator) * 8 - 2
    low, high = torch.tensor([-1.0, 0.0, 2.0]), torch.tensor([1.0, 4.0, 3.0])
    inside = ((points >= low) & (points <= high)).all(dim=-1)
    assert 20 < int(inside.sum()) and torch.equal(BOX.contains(points), inside)


def test_a_box_moves_with_its_points(generator):
    turn = rotation_between(torch.tensor([0.0, 0.0, 1.0]), torch.tensor([1.0, -2.0, 0.5]))
    there = similarity(0.3, turn, torch.tensor([1.0, 2.0, 3.0])).double()
    points = torch.rand(2000, 3, generator=generator, dtype=torch.float64) * 8 - 2
    moved = BOX.moved(there)
    assert torch.equal(moved.contains(transform_points(there, points)), BOX.contains(points))
    back = moved.moved(torch.linalg.inv(there))
    assert torch.allclose(back.matrix(), BOX.matrix(), atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"size": (1.0, 0.0, 1.0)}, "every side must be above 0"),
        ({"size": (1.0, float("nan"), 1.0)}, "every side must be above 0"),
        ({"size": (1.0, 1.0, 1.0), "axes": ((1.0, 0.0, 0.0),) * 3}, "square to each other"),
    ],
)
def test_what_is_no_box_is_refused(arguments, said):
    with pytest.raises(ValueError, match=said):
        Crop((0.0, 0.0, 0.0), **arguments)
