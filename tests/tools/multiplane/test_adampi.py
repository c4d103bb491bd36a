"""AdaMPI is the network of its authors; its stages work together as they promise, on pictures of any size."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.tools.depth.fixed import check_recorded, noise
from tests.tools.depth.test_dpt import filled
from tests.tools.multiplane.alive import alive, calm, pictures
from tests.tools.multiplane.official import adampi
from tools.multiplane.adampi import CONFIGS, AdaMPI, AdaMPIConfig, picture_planes
from tools.multiplane.colours import ColourPrediction
from tools.multiplane.masks import context_masks, rendering_masks
from tools.multiplane.planes import FAR, NEAR, even_planes, fitted_planes, in_order
from tools.multiplane.weights import ADAMPI, UNUSED, take_weights

OFFICIAL, SMALL = CONFIGS["official"], CONFIGS["small"]

# Of the authors' program (yxuhan/AdaMPI at 125f7c2) in float64, with the constants of its encoder as they are
# written and not as float32 rounds them: 4 planes of a picture of 128 x 256. Scales: colours, then density.
RECORDED = {
    "planes": (
        [0.513695607425, 0.513695607425, 0.312992146032, 0.312992146032, 0.112435151912, -0.0878773875921],
        0.212811379444,
        0.258880040635,
    ),
    "masks": (
        [0.591224097243, 0.611182092391, 0.18985528934, 0.0553866224883, 0.0423474956047, 0.167315066018],
        0.25,
        0.202765112666,
    ),
    "scale 0": (
        [0.544980576346, 0.0001, 0.491124652437, 0.474209678717, 0.496986602103, 0.0001],
        0.362802795731,
        0.210640232451,
    ),
    "scale 1": (
        [0.435490478399, 0.581248429604, 0.477434045053, 0.466650253903, 0.504819909472, 0.0001],
        0.38209147664,
        0.183065197285,
    ),
    "scale 2": (
        [0.469933442359, 0.0001, 0.599315054687, 0.511121439795, 0.423246805329, 0.0001],
        0.386477950623,
        0.238760636824,
    ),
    "scale 3": (
        [0.874115997649, 0.304180347834, 0.520392677056, 0.5942959470022, 0.604007967401, 0.0001],
        0.425421381808,
        0.265125225671,
    ),
}


def network_of(config: AdaMPIConfig = SMALL) -> AdaMPI:
    return alive(AdaMPI(config))


class Swapping(nn.Module):
    """Stands in for a plane adjustment: planes change places and leave the range."""

    def forward(self, image, disparity, planes):
        return 1.5 - 2 * planes


def test_the_planes_are_those_of_the_authors_program():
    network = AdaMPI(replace(OFFICIAL, planes=4)).double().eval()
    take_weights(network, calm(filled(adampi())), ADAMPI, UNUSED, "recorded")
    with torch.no_grad():
        found = network(*pictures(128, 256), ordered=False)
    check_recorded(found.disparities, RECORDED["planes"])
    check_recorded(found.masks, RECORDED["masks"])
    for scale, (rgb, density) in enumerate(found.drawn):
        check_recorded(torch.cat((rgb, density[:, :, None]), dim=2), RECORDED[f"scale {scale}"])


def test_planes_are_drawn_in_range_and_from_near_to_far_unless_asked_otherwise():
    network = network_of()
    network.adjustment = Swapping()
    image, disparity = pictures(64, 96)
    with torch.no_grad():
        raw = network.place(image, disparity)
        found, released = network(image, disparity), network(image, disparity, ordered=False)
    assert torch.equal(raw, 1.5 - 2 * fitted_planes(image, disparity, 8))
    assert torch.equal(released.disparities, raw)
    assert torch.equal(found.disparities, in_order(raw))
    assert (found.disparities.diff() <= 0).all()
    assert FAR <= found.disparities.min() and found.disparities.max() <= NEAR
    assert torch.allclose(found.masks, network.divide(image, disparity, in_order(raw)))
    drawn = network.draw(image, disparity, found.masks)
    for (rgb, density), again in zip(drawn, found.drawn, strict=True):
        assert torch.equal(rgb, again[0]) and torch.equal(density, again[1])


def test_a_pictures_planes_do_not_depend_on_its_company():
    network = network_of()
    image, disparity = pictures(64, 96, count=2)
    with torch.no_grad():
        together = network(image, disparity)
        alone = network(image[1:], disparity[1:])
    assert torch.allclose(together.disparities[1:], alone.disparities, atol=1e-12)
    assert torch.allclose(together.masks[1:], alone.masks, atol=1e-9)
    for (rgb, density), (own_rgb, own_density) in zip(together.drawn, alone.drawn, strict=True):
        assert torch.allclose(rgb[1:], own_rgb, atol=1e-9)
        assert torch.allclose(density[1:], own_density, atol=1e-9)


def test_pictures_of_any_size_are_taken():
    network = network_of()
    for height, width in ((1, 1), (75, 130)):
        image, disparity = pictures(height, width)
        with torch.no_grad():
            found = network(image, disparity, planes=3)
        assert found.masks.shape == (1, 3, height, width)
        sizes = [(-(-height // step), -(-width // step)) for step in (1, 2, 4, 8)]
        assert [rgb.shape for rgb, _ in found.drawn] == [(1, 3, 3, *size) for size in sizes]
        assert [density.shape for _, density in found.drawn] == [(1, 3, *size) for size in sizes]
        assert all(tensor.isfinite().all() for part in found.drawn for tensor in part)
    with pytest.raises(ValueError, match="a picture of 130 x 75 pixels and disparity of 1 x 1: resize one"):
        network(image, disparity[:, :, :1, :1])
    with pytest.raises(ValueError, match="planes=0: give at least 1"):
        network(image, disparity, planes=0)


def test_planes_that_are_not_adjusted_are_even():
    network = network_of(replace(SMALL, adjusts_planes=False))
    found = network.place(*pictures(64, 64))
    assert torch.equal(found, even_planes(8, torch.float64)[None])
    assert found[0, 0] == pytest.approx(1 - 0.999 / 9)
    assert torch.allclose(found.diff(), torch.tensor(-0.999 / 9, dtype=torch.float64))


def test_planes_begin_with_fitted_ones_in_the_small_network_and_with_even_ones_in_the_official():
    image, disparity = pictures(64, 64)
    for config, expected in ((SMALL, fitted_planes(image, disparity, 8)), (OFFICIAL, even_planes(8)[None])):
        network = AdaMPI(config).double()  # an adjustment that learnt nothing leaves them there
        with torch.no_grad():
            assert torch.allclose(network.place(image, disparity, 8), expected.double(), atol=1e-7)


def test_planes_are_as_thick_among_many_as_among_few():
    """A ray meets the less of a density the closer planes are, so it rises with their number."""
    for thickness, per_step in ((None, {1: 0.5, 4: 0.2, 16: 1 / 17}), (0.5, dict.fromkeys((1, 4, 16), 0.5))):
        colours = ColourPrediction((8, 8, 8, 8, 16), 1, 8, None, (4, 4, 4, 8, 8), thickness).double()
        colours.heads[0] = nn.Identity()
        for planes, expected in per_step.items():
            told = torch.ones(planes, 4, 16, 16, dtype=torch.float64)
            _, density = colours.draw(0, told, torch.ones(1, planes, 16, 16, dtype=torch.float64))
            met = (density - 1e-4) / (planes + 1)  # between planes that stand evenly in [0, 1]
            assert torch.allclose(met, torch.full_like(met, expected))


def test_without_masks_every_pixel_belongs_to_all_planes_alike():
    network = network_of(replace(SMALL, finds_masks=False))
    image, disparity = pictures(64, 64)
    with torch.no_grad():
        found = network(image, disparity)
    assert torch.equal(found.masks, torch.full_like(found.masks, 1 / 8))
    assert (found.rgb[:, 0] - found.rgb[:, 7]).abs().max() > 1e-4, "what they know still differs"


def test_without_context_every_plane_knows_the_whole_picture():
    network = network_of(replace(SMALL, finds_masks=False, masks_context=False))
    with torch.no_grad():
        found = network(*pictures(64, 64))
    assert torch.allclose(found.rgb, found.rgb[:, :1].expand_as(found.rgb), atol=1e-12)
    per_plane = (found.density - 1e-4) / rendering_masks(found.masks)
    assert torch.allclose(per_plane, per_plane[:, :1].expand_as(per_plane), atol=1e-12)
    assert per_plane.max() > 0.1


def test_what_is_left_out_has_no_weights():
    names = {
        name for name, _ in AdaMPI(replace(SMALL, adjusts_planes=False, finds_masks=False)).named_parameters()
    }
    assert {name.partition(".")[0] for name in names} == {"colours"}


def test_the_small_network_fits_into_twelve_megabytes_of_half_precision():
    assert sum(parameter.numel() for parameter in AdaMPI(SMALL).parameters()) == 4_634_836 < 12e6 / 2


def test_the_picture_cut_up_by_masks_is_the_picture():
    """What planes and masks are trained with alone: each plane's weight is its mask, behind full ones too."""
    image, _ = pictures(16, 24)
    masks = (30 * noise((1, 5, 16, 24), "masks")).softmax(dim=1).requires_grad_()
    rgb, alpha = picture_planes(image, masks)
    before = torch.cat((torch.ones_like(alpha[:, :1]), (1 - alpha)[:, :-1]), dim=1).cumprod(dim=1)
    assert torch.allclose(before * alpha, masks, atol=2e-6)  # but for what is left where nearly nothing is
    assert torch.allclose(before, context_masks(masks), atol=2e-6)
    assert torch.allclose(((before * alpha)[:, :, None] * rgb).sum(dim=1), image, atol=1e-12)
    assert (alpha >= 0).all() and (alpha <= 1 + 1e-12).all()
    alpha.sum().backward()
    assert masks.grad.isfinite().all()


def test_planes_and_masks_learn_without_colours():
    network = network_of()
    image, disparity = pictures(64, 64)
    planes = network.place(image, disparity)
    masks = network.divide(image, disparity, planes)
    (masks * (disparity - planes[:, :, None, None])).abs().sum(dim=1).mean().backward()
    for stage in (network.adjustment, network.feature_masks):
        assert all(parameter.grad is not None for parameter in stage.parameters())
    assert all(parameter.grad is None for parameter in network.colours.parameters())


def test_the_small_network_learns_from_one_small_picture():
    """Where the coarsest maps are a single place, a batch norm has nothing to go by, and refuses."""
    network = network_of().train()
    found = network(*pictures(64, 64))
    sum(rgb.mean() + density.mean() for rgb, density in found.drawn).backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.colours.parameters())
    assert network.colours.reach.down[1][0].weight.grad.abs().max() > 0
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        network_of(replace(SMALL, groups=None)).train()(*pictures(64, 64))
