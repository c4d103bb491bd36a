"""Pairs out of single pictures: what is given and what is asked for are one place, and truths stay truths."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from scenes.generate.collection import generate
from tests.tools.multiplane.test_view_sets import HEIGHT, WIDTH, seen_agree
from tools.depth.datasets import read_set
from tools.depth.pairs import DepthSetError
from tools.multiplane import picture_sets
from tools.multiplane.picture_sets import VARIANTS, PictureSet
from tools.multiplane.training_run import KIND
from tools.multiplane.view_pairs import NothingNearError
from tools.multiplane.view_sets import DrawnPairs, ViewSet

SIZE = WIDTH, HEIGHT


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> PictureSet:
    folder = tmp_path_factory.mktemp("sets") / "rooms"
    generate(folder, count=4, width=96, height=72, seed=2)
    return KIND.read_set(folder)


def test_every_variant_of_a_picture_is_of_one_place_with_what_is_given(pictures: PictureSet):
    assert isinstance(pictures, PictureSet) and len(pictures) == 4 * VARIANTS
    hidden = []
    for index in range(0, 40, 5):
        pair = pictures.read(index, SIZE)
        assert pair.source.shape == pair.truth.shape == (3, HEIGHT, WIDTH)
        share, difference = seen_agree(pair)
        assert share > 0.8 and difference < 0.06
        distance = float(pair.target.camera_to_world[:3, 3].norm())
        assert 0.05 < distance < 0.6 and float(pair.disparity.max()) == pytest.approx(1, abs=1e-5)
        hidden.append(float(pair.hidden.float().mean()))
    assert 0.003 < sum(hidden) / len(hidden) < 0.2


def test_what_is_asked_for_is_the_picture_itself(pictures: PictureSet, monkeypatch):
    """Not made up: with nothing changed before, it is a part of the stored one, to a byte's rounding."""
    whole = replace(picture_sets.SHARES, least_side=1, stretch=0, recoloured=0)
    monkeypatch.setattr(picture_sets, "SHARES", whole)
    pair = pictures.read(1, (96, 72))
    stored = pictures.views.read(1).rgb.permute(2, 0, 1) / 255
    assert (pair.truth - stored).abs().max() < 0.51 / 255


def test_a_number_is_always_the_same_pair_and_variants_differ(pictures: PictureSet):
    first, again, other = (pictures.read(index, SIZE) for index in (2, 2, 2 + len(pictures.views)))
    assert torch.equal(first.source, again.source) and torch.equal(first.hidden, again.hidden)
    assert not torch.equal(first.truth, other.truth)


def test_steps_draw_from_pictures_and_from_views_alike(pictures: PictureSet, tmp_path: Path):
    folder = tmp_path / "neighbours"
    generate(folder, count=4, width=WIDTH, height=HEIGHT, seed=3, subject="neighbours")
    views = KIND.read_set(folder)
    assert isinstance(views, ViewSet)
    sets = (pictures, views)
    recipe = KIND.recipe(batch=8)
    assert recipe.size_of(sets) == SIZE and recipe.size_of(sets[:1]) == (128, 128)
    drawn = recipe.batches(sets)
    assert drawn.at(0, 0).source.shape == (8, 3, HEIGHT, WIDTH)
    assert torch.equal(drawn.at(0, 5).truth, DrawnPairs(sets, 8, SIZE).at(0, 5).truth)


def test_a_flat_picture_is_passed_over_and_a_damaged_one_is_named(pictures: PictureSet, tmp_path: Path):
    folder = tmp_path / "rooms"
    generate(folder, count=2, width=96, height=72, seed=2)
    found = PictureSet(folder, read_set(folder))
    flat = replace(found, views=Flat(found.views))
    with pytest.raises(NothingNearError, match="the same in all"):
        flat.read(0, SIZE)
    with pytest.raises(NothingNearError, match="hardly a view"):
        DrawnPairs([flat], 2, SIZE).at(0, 0)
    (folder / "rgb" / "000000-0.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match=r"000000-0\.jpg"):
        found.read(0, SIZE)


class Flat:
    """Labels of another set, all of them equally far."""

    def __init__(self, views) -> None:
        self.views, self.kind, self.name = views, views.kind, "flat"

    def __len__(self) -> int:
        return len(self.views)

    def read(self, index: int):
        read = self.views.read(index)
        return replace(read, values=torch.ones_like(read.values), known=torch.ones_like(read.known))


def test_a_folder_of_nothing_is_refused(tmp_path: Path):
    with pytest.raises(DepthSetError, match="no data set of a known layout"):
        KIND.read_set(tmp_path)
