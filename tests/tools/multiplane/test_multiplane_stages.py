"""The parts of AdaMPI, each against what it promises."""

import pytest
import torch
from torch.autograd import gradcheck

from tests.tools.depth.fixed import noise
from tests.tools.multiplane.alive import alive, pictures
from tools.multiplane.colours import ColourPrediction, GatedConv, Reach, masked
from tools.multiplane.masks import FeatureMasks, alphas, context_masks, even_masks, rendering_masks
from tools.multiplane.planes import Head, PlaneAdjustment, even_planes, in_order, with_planes
from tools.multiplane.sides import grown

ORDER = torch.tensor([2, 0, 4, 1, 3])


def seen(height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    return noise((2, 3, height, width), "image").sigmoid(), noise(
        (2, 1, height, width), "disparity"
    ).sigmoid()


def planes() -> torch.Tensor:
    return noise((2, 5), "planes").sigmoid()


def adjustment() -> PlaneAdjustment:
    return alive(PlaneAdjustment((4, 4, 8, 8, 16), heads=4, key=4, embedded=8))


def feature_masks(rectified: bool = False) -> FeatureMasks:
    return alive(FeatureMasks((4, 4, 8, 8), rectified=rectified))


def colours() -> ColourPrediction:
    return alive(ColourPrediction((8, 8, 8, 8, 16), 1, 8, None, (4, 4, 4, 8, 8)))


def some_masks() -> torch.Tensor:
    return (3 * noise((2, 5, 16, 16), "masks")).softmax(dim=1)


def test_planes_in_another_order_are_moved_alike():
    network, seen = adjustment(), pictures(32, 48, 2)
    with torch.no_grad():
        moved, again = network(*seen, planes()), network(*seen, planes()[:, ORDER])
    assert torch.allclose(moved[:, ORDER], again, atol=1e-12)
    assert (moved - planes()).std() > 1e-4, "and not all by the same"


def test_a_plane_is_moved_as_the_others_stand():
    network, seen = adjustment(), pictures(32, 48, 2)
    with torch.no_grad():
        moved = network(*seen, planes())
        other = network(*seen, torch.cat((planes()[:, :4], 1 - planes()[:, 4:]), dim=1))
    assert (moved - other)[:, :4].abs().min() > 1e-9


def test_a_plane_moves_by_shares_of_what_lies_between_planes():
    """The network's answer is divided by how many planes there are: five times as many go a fifth as far."""
    network, seen = adjustment(), pictures(32, 48, 2)
    few = torch.full((2, 2), 0.5, dtype=torch.float64)
    with torch.no_grad():
        once, often = network(*seen, few) - 0.5, network(*seen, few.repeat(1, 5)) - 0.5
    assert torch.allclose(once / 5, often[:, :2], atol=1e-12)


def test_planes_in_another_order_get_their_masks_in_it():
    network, seen = feature_masks(), pictures(20, 28, 2)
    with torch.no_grad():
        masks, again = network(*seen, planes()), network(*seen, planes()[:, ORDER])
    assert torch.allclose(masks[:, ORDER], again, atol=1e-12)
    assert masks.std() > 1e-4


@pytest.mark.parametrize("rectified", [True, False])
def test_masks_sum_to_one(rectified):
    with torch.no_grad():
        masks = feature_masks(rectified)(*pictures(20, 28, 2), planes())
    assert (masks >= 0).all()
    assert torch.allclose(masks.sum(dim=1), torch.ones(2, 20, 28, dtype=torch.float64))


def test_before_anything_was_learnt_sharp_masks_fall_with_the_steps_to_a_plane():
    network = FeatureMasks((4, 4, 8, 8), rectified=False, sharpness=6.0).double()
    with torch.no_grad():
        network.logits[0].weight.zero_()
        image, disparity = pictures(16, 24, 2)
        even = even_planes(5, torch.float64).expand(2, -1)
        masks = network(image, disparity, even)
        middle = torch.full_like(disparity, float((even[0, 1] + even[0, 2]) / 2))
        between = network(image, middle, even)
    steps = (disparity - even[:, :, None, None]).abs() / (even[0, 0] - even[0, 1])
    expected = (-6 * steps * 0.999).softmax(dim=1)  # planes stand from 1 to 0.001
    assert torch.allclose(masks, expected, atol=1e-12)
    assert torch.allclose(between[:, 1], between[:, 2]) and bool((between[:, 1] > 0.49).all())


def test_planes_begin_where_they_stood():
    with torch.no_grad():
        network = PlaneAdjustment((4, 4, 8, 8, 16), heads=4, key=4, embedded=8).double()
        assert torch.equal(network(*pictures(32, 48, 2), planes()), planes())


def test_masks_learn_where_no_logit_is_above_zero_only_if_it_counts_below():
    for rectified in (True, False):
        network = feature_masks(rectified)
        with torch.no_grad():
            network.logits[1].bias.fill_(-100)
        masks = network(*pictures(16, 16, 2), planes())
        (masks * planes()[:, :, None, None]).sum().backward()
        moved = network.middle[0].weight.grad.abs().max()
        assert (moved == 0) == rectified
        assert torch.equal(masks, even_masks(pictures(16, 16, 2)[0], 5)) == rectified


def test_a_plane_draws_what_is_its_own_or_before_it_and_knows_what_is_not_before_it():
    masks = some_masks()
    drawing, context = rendering_masks(masks), context_masks(masks)
    ones = torch.ones_like(masks[:, 0])
    assert torch.allclose(drawing[:, -1], ones) and torch.allclose(context[:, 0], ones)
    for n in range(5):
        assert torch.allclose(drawing[:, n], masks[:, : n + 1].sum(dim=1))
        assert torch.allclose(context[:, n], 1 - masks[:, :n].sum(dim=1))
    assert (context >= 0).all()


def test_planes_are_brought_into_the_range_and_from_near_to_far():
    found = in_order(torch.tensor([[0.5, 1.3, -0.2, 0.9]]))
    assert torch.equal(found, torch.tensor([[1.0, 0.9, 0.5, 0.001]]))
    even = even_planes(6)[None]
    assert torch.equal(in_order(even), even)


def test_what_a_plane_may_not_know_does_not_reach_it():
    """Of encoder maps, a plane gets what its context mask lets through, and both masks at their size."""
    maps, masks = noise((2, 3, 4, 4), "maps"), some_masks()
    context = context_masks(masks)
    found = masked(maps, masks, context).unflatten(0, (2, 5))
    for picture in range(2):
        for plane in range(5):
            known, own = (
                mask[picture, plane].unflatten(1, (4, 4)).unflatten(0, (4, 4)).mean(dim=(1, 3))
                for mask in (context, masks)
            )
            expected = torch.cat((maps[picture] * known, known[None], own[None]))
            assert torch.allclose(found[picture, plane], expected)


def test_every_plane_sees_the_same_maps_and_its_own_disparity():
    image, _ = pictures(3, 4, 2)
    found = with_planes(image, planes()).unflatten(0, (2, 5))
    for plane in range(5):
        assert torch.equal(found[:, plane, :3], image)
        assert torch.equal(found[:, plane, 3], planes()[:, plane, None, None].expand(2, 3, 4))


def test_a_picture_with_ragged_sides_is_the_corner_of_one_whose_border_goes_on():
    image, disparity = pictures(20, 28, 2)
    whole = [grown(maps, 128) for maps in (image, disparity)]
    assert torch.equal(whole[0][..., :20, :28], image)
    assert torch.equal(whole[0][..., 20:, :28], image[..., -1:, :].expand(-1, -1, 108, -1))
    assert torch.equal(whole[0][..., 28:], whole[0][..., 27:28].expand(-1, -1, -1, 100))
    assert grown(whole[0], 128) is whole[0]
    network = colours()
    masks = (3 * noise((2, 2, 20, 28), "masks")).softmax(dim=1)
    large = grown(masks, 128)
    with torch.no_grad():
        ragged = network(image, disparity, masks, context_masks(masks))
        complete = network(*whole, large, context_masks(large))
    for scale, (some, all_of) in enumerate(zip(ragged, complete, strict=True)):
        height, width = -(-20 // 2**scale), -(-28 // 2**scale)
        for part, full in zip(some, all_of, strict=True):
            assert torch.allclose(part, full[..., :height, :width], atol=1e-12)


def test_a_plane_is_nowhere_thinner_than_the_thinnest_and_dense_only_where_it_may_draw():
    network = colours()
    image, disparity = pictures(128, 128, 2)
    masks = torch.zeros(2, 3, 128, 128, dtype=torch.float64)
    masks[:, 0, :, :64] = 1  # the left half belongs to the nearest plane, the right to the farthest
    masks[:, 2, :, 64:] = 1
    with torch.no_grad():
        for head in network.heads:
            head.values.bias[3] = 100
        drawn = network(image, disparity, masks, context_masks(masks))
    for rgb, density in drawn:
        half = density.shape[3] // 2
        assert torch.equal(density[:, :2, :, half:], torch.full_like(density[:, :2, :, half:], 1e-4))
        assert density[:, :, :, :half].min() > 1 and density[:, 2].min() > 1
        assert (rgb >= 0).all() and (rgb <= 1).all()


def test_places_hear_of_places_far_away():
    """The extension's bottom is a quarter as fine: what changes in one corner is heard eight places on."""
    network = alive(Reach(8, 8, None))
    maps = noise((1, 8, 16, 16), "maps")
    changed = maps.clone()
    changed[..., 0, 0] += 10
    with torch.no_grad():
        heard = (network(maps) - network(changed)).abs().amax(dim=(0, 1))
    assert heard[7, 7] > 0 and heard[15, 15] == 0


def test_gradients_are_those_of_the_functions():
    torch.manual_seed(0)
    masks = noise((1, 4, 2, 3), "masks").softmax(dim=1).requires_grad_()
    for function in (rendering_masks, context_masks, alphas):
        assert gradcheck(function, (masks,))
    assert gradcheck(GatedConv(2, 3).double(), (noise((1, 2, 4, 5), "maps").requires_grad_(),))
    assert gradcheck(Head(6, 4, 3).double(), (noise((2, 3, 6), "words").requires_grad_(),))
    rows = torch.tensor([[0.7, 0.2, 0.9, 0.4]], dtype=torch.float64, requires_grad=True)
    assert gradcheck(in_order, (rows,))
    context = context_masks(masks.detach())
    maps = noise((1, 2, 1, 3), "maps").requires_grad_()
    assert gradcheck(masked, (maps, masks, context))


@pytest.mark.parametrize("step", [40.0, 200.0])
def test_planes_that_hardly_have_a_pixel_do_not_spoil_gradients(step):
    """Masks of many planes are next to 0, or 0 in float32; behind what is seen those planes are opaque."""
    logits = (-step * torch.arange(4.0)[:, None, None].expand(1, 4, 2, 2)).requires_grad_()
    found = alphas(logits.softmax(dim=1))
    found.cumsum(dim=1).square().sum().backward()
    assert bool(logits.grad.isfinite().all()) and float(logits.grad.abs().max()) < 10
    assert torch.equal(found, torch.ones_like(found))


def test_the_last_plane_lets_nothing_through():
    for planes in (2, 8, 32):
        spread = 6 * torch.arange(float(planes))[:, None, None].expand(1, planes, 2, 2)
        for logits in (spread, -spread, 0 * spread):
            found = alphas(logits.softmax(dim=1))
            assert torch.equal(found[:, -1], torch.ones(1, 2, 2))
            assert bool(((found >= 0) & (found <= 1)).all())


def test_a_gated_convolution_is_its_two_convolutions():
    layer = GatedConv(2, 3).double()
    maps = noise((2, 2, 4, 5), "maps")
    with torch.no_grad():
        expected = layer.values(maps) * layer.gate(maps).sigmoid()
        assert torch.allclose(layer(maps), expected, atol=1e-12)


def test_a_gate_that_is_shut_lets_nothing_through():
    layer = GatedConv(2, 3).double()
    maps = noise((1, 2, 4, 5), "maps")
    with torch.no_grad():
        layer.gate.weight.zero_()
        layer.gate.bias.fill_(1000)
        assert torch.allclose(layer(maps), layer.values(maps), atol=1e-12)
        layer.gate.bias.fill_(-1000)
        assert torch.equal(layer(maps), torch.zeros_like(layer(maps)))
