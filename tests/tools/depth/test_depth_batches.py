"""A batch follows from seed and step, whoever reads it and whatever was read before."""

import pytest
import torch

from tests.tools.depth.depth_sets import Numbered, Slopes
from tools.depth.augmentation import UNTOUCHED
from tools.depth.batches import Batches, shrunk

SHAPES = ((64, 32), (32, 64))


def taken(order, seed=7, **options) -> dict[int, torch.Tensor]:
    batches = Batches((Slopes("a"), Slopes("b", "inverse_depth", 5)), 2, SHAPES, **options)
    try:
        found = {step: batches.at(seed, step) for step in order}
    finally:
        batches.close()
    return {step: (batch.images, batch.values.nan_to_num(-1)) for step, batch in found.items()}


@pytest.mark.parametrize("options", [{"workers": 1}, {"workers": 4}, {"memory": 1e9}, {"memory": 3e4}])
def test_neither_threads_nor_memory_nor_order_change_a_batch(options):
    """What a resumed training reads is what the uninterrupted one would have read."""
    expected = taken(range(8))
    for order in (range(8), (5, 6, 7, 2, 3), (7, 0)):
        found = taken(order, **options)
        for step, batch in found.items():
            assert all(torch.equal(a, b) for a, b in zip(batch, expected[step], strict=True)), step


def test_another_seed_or_step_gives_other_pictures():
    one, two = taken(range(4)), taken(range(4), seed=8)
    assert not any(torch.equal(one[step][1], two[step][1]) for step in range(4))
    both = [step for step in range(4) if one[step][0].shape == one[0][0].shape]
    assert not any(torch.equal(one[0][1], one[step][1]) for step in both[1:])


def test_a_seed_that_changes_on_the_way_changes_the_rest():
    """As after a loss that is not finite: what was read ahead with the other seed is not used."""
    batches = Batches((Slopes("a"),), 4, SHAPES)
    batches.at(7, 0)
    found = batches.at(8, 1).values.nan_to_num(-1)
    batches.close()
    other = Batches((Slopes("a"),), 4, SHAPES)
    assert torch.equal(found, other.at(8, 1).values.nan_to_num(-1))
    other.close()


def test_each_set_gives_as_many_and_shows_all_it_has_before_one_comes_again():
    sets = (Numbered("large", 12), Numbered("small", 3, "inverse_depth"))
    batches = Batches(sets, 3, ((64, 32),), UNTOUCHED)
    seen = {name: [] for name in ("large", "small")}
    for step in range(4):
        batch = batches.at(0, step)
        assert batch.names == ("large", "small") and batch.kinds == ("z_depth", "inverse_depth")
        for name, part in zip(batch.names, batch.parts, strict=True):
            numbers = batch.values[part, 0, 0] - 1
            assert torch.equal((255 * batch.images[part, 0, 0, 0]).round(), numbers)
            seen[name] += numbers.int().tolist()
    batches.close()
    assert sorted(seen["large"]) == list(range(12))
    assert [sorted(seen["small"][k : k + 3]) for k in range(0, 12, 3)] == [[0, 1, 2]] * 4


def test_pictures_are_kept_while_there_is_room():
    kept = 64 * 48 * (3 + 4)
    steps = 8  # all four pictures in each, and of one more as much as is read ahead before the end
    for memory, again in ((100 * kept, 0), (2 * kept + 1, 2), (0, 4)):
        made = Numbered("made", 4)
        batches = Batches((made,), 4, ((64, 32),), memory=memory)
        for step in range(steps):
            batches.at(0, step)
        batches.close()
        assert 4 + again * (steps - 1) <= len(made.read_so_far) <= 4 + again * steps


def test_large_pictures_are_shrunk_to_block_means_and_depths_of_one_pixel():
    generator = torch.Generator().manual_seed(0)
    rgb = torch.randint(0, 256, (50, 71, 3), dtype=torch.uint8, generator=generator)
    values = torch.rand(50, 71, generator=generator)
    small, picked = shrunk(rgb, values, 24 * 16)  # 9.2 times fewer pixels: 3 times smaller
    assert small.shape == (16, 23, 3) and picked.shape == (16, 23)
    for row, column in ((0, 0), (15, 22), (7, 11)):
        block = (slice(3 * row, 3 * row + 3), slice(3 * column, 3 * column + 3))
        assert torch.equal(small[row, column], rgb[block].float().mean(dim=(0, 1)).round().byte())
        assert picked[row, column] == values[3 * row + 1, 3 * column + 1]
    assert shrunk(rgb, values, 50 * 71) == (rgb, values)


def test_what_cannot_be_read_is_told_where_the_batch_is_asked_for():
    class Broken(Slopes):
        def read(self, index):
            raise ValueError(f"picture {index} is gone")

    batches = Batches((Broken("a"),), 2, SHAPES)
    with pytest.raises(ValueError, match=r"picture \d is gone"):
        batches.at(0, 0)
    batches.close()
