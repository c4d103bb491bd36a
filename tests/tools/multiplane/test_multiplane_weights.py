"""AdaMPI's files are taken whole, or refused with what is wrong with them."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from tests.tools.depth.test_dpt import filled
from tests.tools.multiplane.official import adampi
from tools.depth.weights import WeightsError, renamed
from tools.multiplane.adampi import CONFIGS, AdaMPI
from tools.multiplane.weights import ADAMPI, UNUSED, described, read_adampi, read_trained, take_weights


@pytest.fixture(scope="module")
def tensors():
    return {name: tensor.float() for name, tensor in filled(adampi()).items()}


def test_every_name_of_a_file_is_a_name_of_the_network():
    with torch.device("meta"):
        network = AdaMPI(CONFIGS["official"])
        named = {name: torch.empty(shape) for name, shape in adampi().items()}
    assert len(named) == 400
    kept = {name for name in named if not name.startswith("encoder.encoder.fc.")}
    assert len(kept) == 398
    assert {renamed(name, ADAMPI) for name in kept} == set(network.state_dict())
    take_weights(network, named, ADAMPI, UNUSED, "file")
    unused = 512 * 1000 + 1000
    assert sum(parameter.numel() for parameter in network.parameters()) + unused == 18_945_844


def test_a_released_file_becomes_its_network(tensors, tmp_path):
    file = tmp_path / "adampi_64p.pth"
    torch.save({"num_planes": 5, "weight": tensors}, file)
    network = read_adampi(file)
    assert network.config.planes == 5
    assert not network.training and not any(p.requires_grad for p in network.parameters())
    assert torch.equal(network.adjustment.heads[2].value.bias, tensors["dpn.self_attention.wVs.2.bias"])
    key = "decoder.convs.(-'-u-p-c-o-n-v-'-,- -3-,- -1-).gated_conv.mask_conv2d.weight"
    assert torch.equal(network.colours.levels[3].after[0].gate.weight, tensors[key])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c["weight"].pop("fmn.conv7.layer.1.bias"), r"1 missing \(feature_masks.up.1.1.bias\)"),
        (lambda c: c["weight"].update({"dpn.e": torch.zeros(1)}), r"1 unknown \(dpn.e\)"),
        (lambda c: c["weight"].update({"dpn.embed.0.bias": torch.zeros(1)}), "1 of another shape"),
        (lambda c: c.update(num_planes="many"), "num_planes is 'many', not from 1 to 1024"),
        (lambda c: c.update(num_planes=10**9), "num_planes is 1000000000, not from 1 to 1024"),
        (lambda c: c.update(num_planes=True), "num_planes is True, not from 1 to 1024"),
        (lambda c: c.update(weight=[1]), "weight holds something else than tensors"),
        (lambda c: c.pop("num_planes"), "has no num_planes and weight; give adampi_32p.pth"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file_is_said(tensors, tmp_path, change, said):
    content = {"num_planes": 4, "weight": dict(tensors)}
    change(content)
    torch.save(content, tmp_path / "wrong.pth")
    with pytest.raises(WeightsError, match=rf"wrong.pth: .*{said}"):
        read_adampi(tmp_path / "wrong.pth")


def test_other_files_are_refused(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"nowhere.pth: not there; .* https://github.com/yxuhan/AdaMPI"
    ):
        read_adampi(tmp_path / "nowhere.pth")

    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "exploded"), "w"))

    torch.save({"num_planes": 4, "weight": Bomb()}, tmp_path / "bomb.pth")
    with pytest.raises(WeightsError, match=r"bomb.pth: no file of tensors"):
        read_adampi(tmp_path / "bomb.pth")
    assert not (tmp_path / "exploded").exists()


def test_a_note_tells_what_network_a_file_is_of(tmp_path):
    """Planes, blending and context leave no trace in the names and sizes of weights."""
    file = tmp_path / "trained.safetensors"
    config = replace(CONFIGS["small"], planes=3, finds_masks=False, masks_context=False, blends=False)
    tensors = AdaMPI(config).state_dict()
    save_file(tensors, file, described("small", config))
    found = read_trained(file)
    assert found.config == config and not found.training
    assert all(torch.equal(value, tensors[name]) for name, value in found.state_dict().items())
    save_file(tensors, file)
    with pytest.raises(WeightsError, match=r"trained\.safetensors"):
        read_trained(file)


@pytest.mark.parametrize(
    ("note", "message"),
    [
        ("{", "tells no network"),
        ("[]", "tells no network"),
        ({"network": "large", "planes": 3}, "tells no network"),
        ({"network": "small"}, "tells no network"),
        ({"network": "small", "planes": True}, "planes is True in its note"),
        ({"network": "small", "planes": 5000}, "not from 1 to 1024"),
        ({"network": "small", "planes": 3, "blends": "no"}, "unknown choices"),
        ({"network": "small", "planes": 3, "heads": True}, "unknown choices"),
    ],
)
def test_a_note_that_tells_no_network_is_refused(tmp_path, note, message):
    file = tmp_path / "noted.safetensors"
    text = note if isinstance(note, str) else json.dumps(note)
    save_file({"weight": torch.zeros(1)}, file, {"adampi": text})
    with pytest.raises(WeightsError, match=message):
        read_trained(file)
