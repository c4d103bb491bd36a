"""Folders of views a little aside: pairs are those of one place, and agree with its geometry."""

from pathlib import Path

import pytest
import torch

from scenes.generate.collection import generate
from tools.depth.pairs import DepthSetError
from tools.multiplane.view_pairs import NothingNearError
from tools.multiplane.view_sets import DrawnPairs, ViewSet, mirrored

WIDTH, HEIGHT = 64, 48


@pytest.fixture(scope="module")
def views(tmp_path_factory) -> ViewSet:
    folder = tmp_path_factory.mktemp("views") / "neighbours"
    generate(folder, count=8, width=WIDTH, height=HEIGHT, seed=2, subject="neighbours")
    return ViewSet(folder)


def seen_agree(pair) -> tuple[float, float]:
    """Share of the target's seen points that lie where the source has them, and how much colours differ."""
    z_depth = 1 / pair.truth_disparity.clamp(min=1e-4)
    points = pair.target.unproject(pair.target.pixel_centres(), z_depth)
    pixels, met = pair.camera.project(points)
    column, row = pixels.floor().long().unbind(-1)
    counts = ~pair.hidden & ~pair.beside
    there = pair.disparity[row.clamp(0, HEIGHT - 1), column.clamp(0, WIDTH - 1)]
    same = counts & ((1 / met - there).abs() < 0.03)
    colours = pair.source[:, row.clamp(0, HEIGHT - 1), column.clamp(0, WIDTH - 1)]
    return float(same[counts].float().mean()), float((colours - pair.truth).abs()[:, same].mean())


def test_pairs_are_the_views_of_one_place_both_ways(views: ViewSet):
    assert len(views) == 2 * 4 * 3
    for first, second in views.pairs:
        assert first != second and first // 4 == second // 4


@pytest.mark.parametrize("mirror", [False, True])
def test_what_both_see_lies_at_one_place_and_has_one_colour(views: ViewSet, mirror: bool):
    for index in range(0, len(views), 5):
        pair = mirrored(views.read(index)) if mirror else views.read(index)
        share, difference = seen_agree(pair)
        assert share > 0.8 and difference < 0.08
        assert 0.05 < float(pair.target.camera_to_world[:3, 3].norm()) < 0.6


def test_a_mirror_twice_is_none(views: ViewSet):
    pair = views.read(0)
    twice = mirrored(mirrored(pair))
    assert torch.equal(pair.source, twice.source) and torch.equal(pair.hidden, twice.hidden)
    assert torch.allclose(pair.target.camera_to_world, twice.target.camera_to_world)
    assert not torch.equal(pair.source, mirrored(pair).source)


def test_a_step_has_the_same_pairs_whenever_it_is_asked_for_and_others_have_others(views: ViewSet):
    drawn = DrawnPairs([views], 4, views.size)
    later, first = drawn.at(7, 3), drawn.at(7, 2)
    again = DrawnPairs([views], 4, views.size).at(7, 2)
    assert torch.equal(first.source, again.source) and torch.equal(first.truth, again.truth)
    assert not torch.equal(first.source, later.source)
    assert not torch.equal(first.source, DrawnPairs([views], 4, views.size).at(8, 2).source)


def test_a_picture_of_the_sky_is_passed_over_and_a_damaged_one_is_not(views: ViewSet, monkeypatch):
    """Whether it was read ahead or not, the next pair that is drawn takes its place."""
    before = DrawnPairs([views], 2, views.size)
    drawn = [draw % len(views) for draw in before._draws(7, 3)]
    read, sky = ViewSet.read, drawn[0]

    def sky_there(self, index, size):
        if index == sky:
            raise NothingNearError("sky")
        return read(self, index, size)

    monkeypatch.setattr(ViewSet, "read", sky_there)
    first, second = [read(views, index) for index in drawn if index != sky][:2]
    found = DrawnPairs([views], 2, views.size).at(7, 3)
    for k, pair in enumerate((first, second)):
        assert any(torch.equal(found.source[k], each.source) for each in (pair, mirrored(pair)))

    def damaged(self, index, size):
        raise DepthSetError("damaged")

    monkeypatch.setattr(ViewSet, "read", damaged)
    with pytest.raises(DepthSetError, match="damaged"):
        DrawnPairs([views], 2, views.size).at(7, 3)

    def all_sky(self, index, size):
        raise NothingNearError("sky")

    monkeypatch.setattr(ViewSet, "read", all_sky)
    with pytest.raises(NothingNearError, match="neighbours: hardly a view sees anything"):
        DrawnPairs([views], 2, views.size).at(7, 3)


def test_a_folder_without_pairs_says_how_to_make_one(tmp_path: Path):
    generate(tmp_path / "one", count=1, width=32, height=24, subject="neighbours")
    with pytest.raises(DepthSetError, match="no two views of one place; make such a folder with"):
        ViewSet(tmp_path / "one")
