"""The trained inpainter: what it may change, what it may look at, and that it learns."""

import math
from functools import partial

import pytest
import torch
from torch.autograd import gradcheck
from torch.nn.functional import elu
from torch.testing import assert_close

from tests.tools.multiplane.places import camera_at
from tools.depth.pairs import Labelled
from tools.depth.weights import WeightsError
from tools.multiplane.filling import fill
from tools.multiplane.inpainting import (
    DILATIONS,
    MULTIPLE,
    SIZES,
    Gated,
    Inpainter,
    inpaint,
    read_inpainter,
)
from tools.multiplane.inpainting_pairs import DrawnHoles, Holes, disparity_of
from tools.multiplane.inpainting_training import WEIGHTS, Recipe, losses, step_difference
from tools.multiplane.warp_back import Motions, disparity_of_depth, warped_pair

TINY = Recipe(network="tiny", batch=4, width=64, height=48, variants=2, warm_up=1)


@pytest.fixture
def network(generator) -> Inpainter:
    """One that changes what it is given a lot."""
    network = Inpainter(SIZES["tiny"])
    for p in network.parameters():
        p.data = 0.2 * torch.randn(p.shape, generator=generator)
    return network


def picture(generator, height=26, width=37):
    """Of sides that are no multiples; a thing before a wall, and holes beside and on it."""
    rgb = torch.rand(height, width, 3, generator=generator)
    disparity = 0.2 + 0.05 * torch.rand(height, width, generator=generator)
    disparity[8:16, 10:18] = 0.9
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[7:17, 18:24] = mask[20:, :5] = True
    return rgb, disparity, mask


def test_a_gated_convolution_is_two_convolutions(generator):
    layer = Gated(2, 3, stride=2, dilation=2).double()
    maps = torch.randn(1, 2, 7, 9, generator=generator, dtype=torch.float64)
    values, gate = layer.conv(maps).split(3, dim=1)
    assert torch.equal(layer(maps), elu(values) * gate.sigmoid())
    assert gradcheck(layer, (maps.requires_grad_(),))


def test_known_pixels_stay_to_the_last_bit_and_others_do_not(generator, network):
    rgb, disparity, mask = picture(generator)
    found, depth = inpaint(rgb, disparity, mask, "network", network)
    guess, _ = fill(rgb, disparity, mask)
    assert torch.equal(found[~mask], rgb[~mask]) and torch.equal(depth[~mask], disparity[~mask])
    assert (found - guess)[mask].abs().mean() > 0.01
    assert found[mask].min() >= 0 and found[mask].max() <= 1
    assert depth.min() >= disparity[~mask].min() and depth.max() <= disparity[~mask].max()


def test_what_stood_in_the_hole_plays_no_part(generator, network):
    rgb, disparity, mask = picture(generator)
    hidden = torch.where(mask, torch.nan, 0.0)
    one = inpaint(rgb, disparity, mask, "network", network)
    other = inpaint(rgb + hidden[..., None], disparity + hidden, mask, "network", network)
    assert all(map(torch.equal, one, other))


def test_what_is_far_from_the_hole_plays_no_part_but_what_is_near_does(generator, network):
    """Reach: of all 3 x 3 windows together, and of the pixels that halving puts together."""
    reach = 1 + 2 * (1 + 2) + 4 * sum(DILATIONS) + 4 + 2 + 1 + MULTIPLE
    rgb, disparity, mask = picture(generator, 64, 200)
    mask[:] = False
    mask[30:34, 10:14] = True
    far, near = rgb.clone(), rgb.clone()
    far[:, 14 + reach + 4 :] **= 2
    near[36:40, 16:20] = 0.5
    found, unlike, changed = (
        inpaint(each, disparity, mask, "network", network)[0][mask] for each in (rgb, far, near)
    )
    assert_close(found, unlike, rtol=0, atol=1e-5)
    assert (found - changed).abs().max() > 1e-3


@pytest.mark.parametrize("step", [(MULTIPLE, 0), (-3 * MULTIPLE, 2 * MULTIPLE)])
def test_a_picture_that_is_moved_by_the_stride_is_filled_alike(generator, network, step):
    """Something small on a flat picture, whose sides do not show although they are within reach."""
    rgb, disparity = torch.full((132, 132, 3), 0.4), torch.full((132, 132), 0.3)
    inner, mask = (slice(60, 72), slice(58, 74)), torch.zeros(132, 132, dtype=torch.bool)
    rgb[inner] = torch.rand(12, 16, 3, generator=generator)
    disparity[inner] = torch.rand(12, 16, generator=generator)
    mask[63:70, 62:71] = True
    found = inpaint(rgb, disparity, mask, "network", network)
    moved = inpaint(*(each.roll(step, (0, 1)) for each in (rgb, disparity, mask)), "network", network)
    for here, there in zip(found, moved, strict=True):
        assert_close(there, here.roll(step, (0, 1)), rtol=0, atol=1e-4)


def test_scale_and_shift_of_disparity_do_not_matter(generator, network):
    rgb, disparity, mask = picture(generator)
    found, depth = inpaint(rgb, disparity, mask, "network", network)
    again, scaled = inpaint(rgb, 40 * disparity + 3, mask, "network", network)
    assert_close(again, found, rtol=0, atol=1e-3)
    assert_close(scaled, 40 * depth + 3, rtol=1e-3, atol=0)


def test_a_network_that_has_learnt_nothing_fills_classically(generator):
    rgb, disparity, mask = picture(generator)
    found, depth = inpaint(rgb, disparity, mask, "network", Inpainter(SIZES["tiny"]))
    guess, nearness = inpaint(rgb, disparity, mask, "classical")
    assert torch.equal(found, guess) and torch.equal(guess, fill(rgb, disparity, mask)[0])
    assert_close(depth, nearness, rtol=0, atol=1e-6)


@pytest.mark.parametrize("how", ["classical", "network"])
def test_nothing_to_fill_and_nothing_to_fill_from(generator, network, how):
    rgb, disparity, mask = picture(generator)
    network = network if how == "network" else None
    found, depth = inpaint(rgb, disparity, torch.zeros_like(mask), how, network)
    assert torch.equal(found, rgb) and torch.equal(depth, disparity)
    with pytest.raises(ValueError, match="mask holds all 37 x 26 pixels"):
        inpaint(rgb, disparity, torch.ones_like(mask), how, network)


def test_which_inpainter_it_is_has_to_be_said(generator, network):
    rgb, disparity, mask = picture(generator)
    with pytest.raises(ValueError, match='how is "network" and none is given'):
        inpaint(rgb, disparity, mask, "network")
    with pytest.raises(ValueError, match='how is "classical" and a network is given'):
        inpaint(rgb, disparity, mask, "classical", network)


def test_the_source_of_a_pair_is_filled_by_the_inpainter_that_is_named(generator, network):
    """The network's source differs where something came to light, and its target nowhere."""
    rgb, disparity, _ = picture(generator, 24, 32)
    by_network = partial(inpaint, how="network", network=network)
    motions, pairs = Motions(rotation=0), []
    for inpainter in (fill, partial(inpaint, how="classical"), by_network):
        generator.manual_seed(5)
        pairs.append(warped_pair(rgb, disparity, camera_at(), motions, generator, inpainter=inpainter))
    classical, named, learnt = pairs
    assert torch.equal(classical.source_rgb, named.source_rgb)
    unlike = (classical.source_rgb != learnt.source_rgb).any(dim=-1)
    assert 0 < unlike.float().mean() < 0.6
    assert torch.equal(learnt.target_rgb, classical.target_rgb)


class Rooms:
    """Stripes and a square before them, of any place; the last picture is flat."""

    name, kind = "rooms", "z_depth"

    def __len__(self) -> int:
        return 4

    def read(self, index: int) -> Labelled:
        y, x = torch.meshgrid(torch.arange(48), torch.arange(64), indexing="ij")
        z_depth = torch.full((48, 64), 6.0)
        waves = torch.stack(((0.3 * x).sin(), (0.2 * y).cos(), (0.1 * (x + y)).sin()), dim=-1)
        rgb = (127 + 100 * waves).byte()
        if index < 3:
            square = slice(10 + 4 * index, 32 + 4 * index), slice(14 + 9 * index, 34 + 9 * index)
            z_depth[square], rgb[square] = 1.0, 20
        z_depth[0, :5] = 0
        return Labelled(rgb, z_depth, z_depth > 0, None)


@pytest.fixture
def holes() -> DrawnHoles:
    return TINY.pairs([Rooms()], memory=1e8)


def test_drawn_holes_follow_from_seed_and_step_whatever_is_kept(holes):
    forgetful = TINY.pairs([Rooms()])
    first = [holes.at(3, step) for step in range(3)]
    for step in (2, 0, 1):
        for drawn in (holes, forgetful):
            assert all(map(torch.equal, drawn.at(3, step), first[step]))
    assert not torch.equal(holes.at(4, 0).mask, first[0].mask)


def test_what_is_lost_is_known_and_the_guess_is_what_fill_says(holes):
    """Mirrored ones too; and of a flat picture nothing is lost."""
    lost = 0
    for truth, guess, mask in zip(*holes.at(0, 0), strict=True):
        assert torch.equal(guess[:, ~mask], truth[:, ~mask])
        assert truth.isfinite().all() and truth.min() >= 0 and truth.max() <= 1
        rgb, depth = fill(truth[:3].permute(1, 2, 0), truth[3], mask)
        assert_close(guess[:3].permute(1, 2, 0), rgb, rtol=0, atol=5e-3)
        assert_close(guess[3], depth, rtol=0, atol=5e-3)
        assert bool(mask.any()) == bool(truth[3].max() > 0)
        lost += int(mask.sum())
    assert lost > 100
    assert not holes._make(0, 3, torch.Generator()).mask.any()


def test_losses_are_means_over_what_they_name(generator):
    """An error of 0.1 in colours counts in its own place alone; steps see a hole's rim, not its inside."""
    truth = torch.rand(2, 4, 20, 24, generator=generator)
    mask = torch.zeros(2, 20, 24, dtype=torch.bool)
    mask[0, 6:10, 8:14] = True
    off = torch.zeros_like(truth)
    off[:, :3] = 0.1
    told = losses(truth + off, Holes(truth, truth, mask))
    rim, touched = 2 * (4 + 6), 4 * 7 + 5 * 6
    assert set(told) == set(WEIGHTS)
    assert float(told["colour"]) == pytest.approx(0.1, rel=1e-5) and float(told["disparity"]) == 0
    assert float(told["beside"]) == pytest.approx(0.075, rel=1e-5)
    assert float(told["steps"]) == pytest.approx(0.075 * rim / touched, rel=1e-4)
    elsewhere = torch.where(mask[:, None], 0.0, off)
    assert float(losses(truth + elsewhere, Holes(truth, truth, mask))["colour"]) == 0
    assert float(step_difference(truth + off, truth, mask)) == pytest.approx(0, abs=1e-6)
    nowhere = losses(truth + off, Holes(truth, truth, torch.zeros_like(mask)))
    assert all(float(value) == 0 for value in nowhere.values())


class Same:
    """The same pictures at every step."""

    def __init__(self, holes: Holes) -> None:
        self.holes = holes

    def at(self, seed: int, step: int) -> Holes:
        return self.holes


def test_steps_make_the_loss_smaller(holes):
    training, same = TINY.build(), Same(holes.at(0, 0))
    told = [training.step(same, 0.0, torch.Generator()) for _ in range(25)]
    first, last = told[0], told[-1]
    assert last["loss"] < 0.8 * first["loss"] and last["psnr"] > first["psnr"]
    total = sum(WEIGHTS[name.removeprefix("loss/")] * v for name, v in last.items() if "/" in name)
    assert last["loss"] == pytest.approx(total, rel=1e-5)


def test_a_training_that_is_resumed_goes_on_bit_for_bit(holes):
    generator = torch.Generator().manual_seed(7)
    whole, first, second = TINY.build(1), TINY.build(1), TINY.build(2)
    for schedule in (0.0, 0.25, 0.5, 0.75):
        whole.step(holes, schedule, generator)
    for schedule in (0.0, 0.25):
        first.step(holes, schedule, generator)
    second.load_state({name: value.clone() for name, value in first.state().items()})
    for schedule in (0.5, 0.75):
        second.step(holes, schedule, generator)
    for name, value in whole.state().items():
        assert torch.equal(value, second.state()[name]), name
    assert int(second.steps) == 4


def test_a_loss_that_is_no_number_changes_nothing(holes):
    training = TINY.build()
    training.network.first.conv.bias.data[0] = torch.nan
    before = {name: value.clone() for name, value in training.state().items()}
    told = training.step(holes, 0.0, torch.Generator())
    assert told["loss"] != told["loss"]
    for name, value in training.state().items():
        assert_close(value, before[name], rtol=0, atol=0, equal_nan=True)


def test_a_gradient_that_is_no_number_changes_nothing_and_is_told(holes):
    training = TINY.build()
    before = {name: value.clone() for name, value in training.state().items()}
    training.network.first.conv.bias.register_hook(lambda gradient: gradient * torch.nan)
    assert math.isnan(training.step(holes, 0.0, torch.Generator().manual_seed(0))["loss"])
    assert all(torch.equal(value, before[name]) for name, value in training.state().items())


def test_weights_that_are_written_are_read(tmp_path, holes):
    training = TINY.build()
    training.step(holes, 0.0, torch.Generator())
    training.write(tmp_path / "inpainter.safetensors")
    read = read_inpainter(tmp_path / "inpainter.safetensors", "tiny")
    for name, value in training.average.state_dict().items():
        assert torch.equal(value.half().float() if value.ndim > 1 else value, read.state_dict()[name])
    with pytest.raises(WeightsError, match="of another shape"):
        read_inpainter(tmp_path / "inpainter.safetensors")
    with pytest.raises(FileNotFoundError, match="not there; name a file of weights"):
        read_inpainter(tmp_path / "nothing.safetensors")


def test_recipes_and_data_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="variants=0: must be at least 1"):
        Recipe(variants=0)
    with pytest.raises(ValueError, match="no data set of pictures with depth is given"):
        TINY.pairs([])


def test_the_network_is_as_small_as_it_says():
    assert Recipe().build().description()["parameters"] < 1_000_000


def test_disparity_of_labels_is_that_of_depth():
    """Depth, and its inverse in any unit, give one disparity."""
    z_depth = torch.tensor([[1.0, 2.0, 4.0], [torch.nan, 8.0, torch.inf]])
    expected = disparity_of_depth(z_depth)
    assert_close(disparity_of(z_depth, "z_depth"), expected)
    assert_close(disparity_of(7 / z_depth, "inverse_depth"), expected)
