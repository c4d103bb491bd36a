"""The Next-ViT of MiDaS 3.1 is that of its authors: the same tensors, and from them the same picture."""

import re

import pytest
import torch

from tests.tools.depth.fixed import check_recorded, fill, picture
from tests.tools.depth.official_nextvit import dpt_nextvit
from tests.tools.depth.test_dpt import filled
from tools.depth.midas import midas_nextvit, midas_small
from tools.depth.nextvit import HEAD, Attention, ConvolutionBlock, TransformerBlock, conv_attention
from tools.depth.weights import (
    DPT_UNUSED,
    MIDAS_NEXTVIT,
    MIDAS_SMALL,
    NEXTVIT_UNUSED,
    WeightsError,
    take_weights,
)

# Of the authors' program (isl-org/MiDaS with isl-org/Next-ViT and timm 0.6.13), as in test_dpt.py: a picture
# of 96 x 64 in float64. The norms of blocks have 0.35 of those weights: with all of it maps grow to 1e23, and
# with a quarter every word attends to all alike.
RECORDED = (
    [114.454728859, 540.643039193, 592.373766015, 860.908567153, 748.592305875, 171.55234877],
    530.916854798,
    222.484981426,
)


def softened(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {
        name: 0.35 * tensor if re.search(r"\.features\..*norm\d?\.weight$", name) else tensor
        for name, tensor in tensors.items()
    }


def test_the_picture_is_that_of_the_authors_program():
    network = midas_nextvit(positive=False).double().eval()
    take_weights(network, softened(filled(dpt_nextvit())), MIDAS_NEXTVIT, NEXTVIT_UNUSED, "recorded")
    with torch.no_grad():
        found = network(picture(64, 96))
    check_recorded(found, RECORDED)


def test_the_released_file_is_taken_whole():
    with torch.device("meta"):
        network = midas_nextvit()
        tensors = {name: torch.empty(shape) for name, shape in dpt_nextvit().items()}
    assert len(tensors) == 962
    take_weights(network, tensors, MIDAS_NEXTVIT, NEXTVIT_UNUSED, "file")
    block = "pretrained.model.features.6"
    for change, said in (
        (lambda t: t.pop(f"{block}.e_mhsa.norm.bias"), r"1 missing \(encoder.blocks.6.attention.norm.bias\)"),
        (lambda t: t.update({f"{block}.patch_embed.norm.bias": torch.zeros(192)}), "1 unknown"),
        (lambda t: t.update({f"{block}.projection.norm.bias": torch.zeros(2)}), "1 of another shape"),
    ):
        wrong = dict(tensors)
        change(wrong)
        with pytest.raises(WeightsError, match=f"^file: not weights of this model: {said}"):
            take_weights(network, wrong, MIDAS_NEXTVIT, NEXTVIT_UNUSED, "file")
    with torch.device("meta"), pytest.raises(WeightsError, match="give another --model or file"):
        take_weights(midas_small(), tensors, MIDAS_SMALL, DPT_UNUSED, "file")


def made(layer: torch.nn.Module) -> torch.nn.Module:
    layer = layer.double().eval().requires_grad_(False)
    fill(layer.state_dict())
    return layer


def test_words_attend_to_means_of_runs():
    attention = made(Attention(2 * HEAD, 4))
    words = torch.randn(1, 12, 2 * HEAD, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    keys = attention.norm(torch.stack([words[0, k : k + 4].mean(0) for k in (0, 4, 8)]))
    expected = torch.zeros(12, 2 * HEAD, dtype=torch.float64)
    for head in (slice(0, HEAD), slice(HEAD, 2 * HEAD)):
        for place, word in enumerate(words[0]):
            query = attention.query(word)[head]
            shares = torch.stack([query @ attention.key(key)[head] / HEAD**0.5 for key in keys]).softmax(0)
            assert shares.max() - shares.min() > 0.01
            values = [attention.value(key)[head] for key in keys]
            expected[place, head] = sum(s * v for s, v in zip(shares, values, strict=True))
    torch.testing.assert_close(attention(words)[0], attention.project(expected), rtol=0, atol=1e-12)


def moved(layer: torch.nn.Module, maps: torch.Tensor, row: int, column: int) -> torch.Tensor:
    """Where what a layer gives depends on this place."""
    changed = maps.clone()
    changed[:, :, row, column] += 1
    return (layer(changed) - layer(maps)).abs().amax(dim=(0, 1)) > 1e-9


def test_convolution_blocks_see_what_is_near_and_transformer_blocks_all():
    maps = torch.randn(1, 96, 8, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    near = made(ConvolutionBlock(96, 96, halved=False))
    expected = torch.zeros(8, 12, dtype=torch.bool)
    expected[2:5, 5:8] = True
    assert torch.equal(moved(near, maps, 3, 6), expected)
    assert moved(made(TransformerBlock(96, 16)), maps, 3, 6).all()


def test_halving_means_of_two_by_two():
    maps = torch.randn(1, 64, 8, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    block = made(ConvolutionBlock(64, 96, halved=True))
    means = maps.unflatten(3, (6, 2)).unflatten(2, (4, 2)).mean(dim=(3, 5))
    found = block(maps)
    block.embed.pool = torch.nn.Identity()
    torch.testing.assert_close(found, block(means), rtol=0, atol=1e-12)


def test_heads_of_a_convolution_are_apart_until_they_are_mixed():
    layers = made(conv_attention(3 * HEAD))
    maps = torch.randn(1, 3 * HEAD, 5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    changed = maps.clone()
    changed[:, HEAD : 2 * HEAD] += 1
    apart = (layers[0](changed) != layers[0](maps)).unflatten(1, (3, HEAD)).any(dim=2).all(dim=(0, 2, 3))
    assert apart.tolist() == [False, True, False]


def test_maps_are_a_quarter_and_halves_of_that():
    with torch.device("meta"):
        network = midas_nextvit()
        assert [maps.shape[1:] for maps in network.encoder(torch.empty(1, 3, 192, 320))] == [
            (96, 48, 80),
            (256, 24, 40),
            (512, 12, 20),
            (1024, 6, 10),
        ]
        with pytest.raises(ValueError, match="100 x 64 pixels"):
            network(torch.empty(1, 3, 64, 100))
