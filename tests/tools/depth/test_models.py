"""Released files are read for what they are, or refused; pictures become what each network wants to see."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from tests.tools.depth import official
from tests.tools.depth.test_dpt import filled
from tools.depth.models import (
    BUILT_IN,
    RELEASED,
    check_sum,
    read_model,
    read_released,
    read_tensors,
    released,
)
from tools.depth.predict import depth_of, predicted
from tools.depth.resize import network_size, resize
from tools.depth.small import Small
from tools.depth.weights import WeightsError


@pytest.fixture(scope="module")
def small_tensors():
    return {name: tensor.float() for name, tensor in filled(official.midas_small()).items()}


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_released_file_becomes_its_network(small_tensors, tmp_path, wrapped):
    file = tmp_path / "midas_v21_small_256.pt"
    torch.save({"optimizer": {"step": 3}, "model": small_tensors} if wrapped else small_tensors, file)
    network = read_released("midas-small", file)
    assert not network.training and not any(p.requires_grad for p in network.parameters())
    image = torch.rand(1, 3, 64, 64)
    again = RELEASED["midas-small"].make().eval()
    from tools.depth.weights import DPT_UNUSED, MIDAS_SMALL, take_weights

    take_weights(again, small_tensors, MIDAS_SMALL, DPT_UNUSED, "again")
    with torch.no_grad():
        assert torch.equal(network(image), again(image))


def test_safetensors_are_read_too(small_tensors, tmp_path):
    save_file(small_tensors, tmp_path / "small.safetensors")
    found = read_tensors(tmp_path / "small.safetensors")
    assert found.keys() == small_tensors.keys()


def test_a_file_that_would_run_code_is_refused(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "exploded"), "w"))

    torch.save({"model": Bomb()}, tmp_path / "bomb.pt")
    with pytest.raises(WeightsError, match="no file of tensors"):
        read_released("dpt-large", tmp_path / "bomb.pt")
    assert not (tmp_path / "exploded").exists()


def test_what_is_wrong_with_a_file_is_said(small_tensors, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"dpt_large-midas-2f21e586.pt or dpt_large_384.pt .*github"):
        read_released("dpt-large", tmp_path / "nowhere.pt")
    with pytest.raises(ValueError, match=r"'dpt-larg' is unknown.*did you mean dpt-large\?"):
        released("dpt-larg")
    (tmp_path / "cut.pt").write_bytes(b"PK\x03\x04 and then nothing")
    with pytest.raises(WeightsError, match="no file of tensors"):
        read_released("dpt-large", tmp_path / "cut.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(WeightsError, match="something else than tensors"):
        read_released("dpt-large", tmp_path / "list.pt")
    torch.save(small_tensors, tmp_path / "other.pt")
    with pytest.raises(WeightsError, match="not weights of this model"):
        read_released("midas-large", tmp_path / "other.pt")


def test_a_checksum_in_the_name_is_compared(tmp_path):
    data = b"weights"
    digits = hashlib.sha256(data).hexdigest()[:8]
    right, wrong = tmp_path / f"model-{digits}.pt", tmp_path / "model-00000000.pt"
    for file in (right, wrong, tmp_path / "plain_384.pt"):
        file.write_bytes(data)
    check_sum(right)
    check_sum(tmp_path / "plain_384.pt")
    with pytest.raises(WeightsError, match=f"begins with {digits}, its name says 00000000"):
        check_sum(wrong)


@pytest.fixture
def built_in(tmp_path, monkeypatch):
    """The file of the built-in model, here with weights that know nothing, half as precise."""
    file = tmp_path / "package" / "small.safetensors"
    file.parent.mkdir()
    torch.manual_seed(0)
    network = Small().eval()
    state = {name: t.half() if t.is_floating_point() else t for name, t in network.state_dict().items()}
    save_file(state, file)
    monkeypatch.setattr("tools.depth.models.BUILT_IN_FILE", file)
    return file


def test_the_built_in_model_needs_no_file_and_takes_one_of_ones_own(built_in, tmp_path):
    image = torch.rand(1, 3, 64, 96)
    own = Small().eval()
    save_file(own.state_dict(), tmp_path / "own.safetensors")
    with torch.no_grad():
        wanted = own(image)
        found = read_model(BUILT_IN, tmp_path / "own.safetensors")(image)
        assert (found - wanted).abs().max() < 1e-4 * wanted.std()
        network = read_model()
        assert {p.dtype for p in network.parameters()} == {torch.float32}
        assert torch.equal(network(image), read_model(BUILT_IN, built_in)(image))
        assert (network(image) - wanted).abs().max() > 0.1 * wanted.std()
    built_in.unlink()
    with pytest.raises(FileNotFoundError, match="install render-fields again"):
        read_model()


@pytest.mark.parametrize("name", [name for name in RELEASED if name != BUILT_IN])
def test_a_model_of_others_says_where_its_file_is_and_under_which_licence(name):
    model = RELEASED[name]
    with pytest.raises(ValueError, match="built-in model small") as said:
        read_model(name)
    for told in (*model.files, model.source, model.licence, "--weights"):
        assert told in str(said.value)


class Watching(nn.Module):
    """Tells what it is shown, and answers with the red channel."""

    def forward(self, image):
        self.seen = image
        return image[:, :1]


@pytest.mark.parametrize("name", RELEASED)
def test_a_network_sees_what_it_was_trained_on(name):
    model, network = RELEASED[name], Watching()
    image = torch.randint(256, (75, 100, 3), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    depth = predicted(network, model, image)
    shape = {"multiple": model.multiple, "rule": model.rule, "keep_aspect": model.keep_aspect}
    size = network_size(100, 75, model.wanted, **shape)
    if not model.keep_aspect:
        assert size == model.wanted
    assert network.seen.shape == (1 + model.mirrored, 3, size[1], size[0])
    assert depth.values.shape == (75, 100)
    assert torch.equal(network.seen[-1].flip(-1) if model.mirrored else network.seen[-1], network.seen[0])
    colours = resize(image.permute(2, 0, 1)[None] / 255, *size, low_pass=model.low_pass)
    back = network.seen[:1] * torch.tensor(model.normalisation.deviation)[:, None, None]
    back = back + torch.tensor(model.normalisation.mean)[:, None, None]
    assert torch.allclose(back, colours, atol=1e-5)
    assert depth.kind == ("metric" if name.endswith(("kitti", "nyu")) else "inverse_relative")


def test_the_mirror_image_of_a_picture_has_the_mirror_image_of_its_depth():
    """Of the built-in network: for it is asked both, and the mean is taken."""
    network = read_model()
    image = torch.randint(256, (96, 128, 3), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    straight, turned = (
        predicted(network, RELEASED[BUILT_IN], each).values for each in (image, image.flip(1))
    )
    alone = predicted(network, replace(RELEASED[BUILT_IN], mirrored=False), image).values
    assert torch.allclose(straight, turned.flip(1), atol=1e-5)
    assert (straight - alone).abs().max() > 1e-3


def test_metres_come_of_the_line_that_the_network_was_tuned_with():
    model = RELEASED["dpt-hybrid-nyu"]

    class Constant(nn.Module):
        def forward(self, image):
            return torch.full_like(image[:, :1], 200.0)

    depth = predicted(Constant(), model, torch.zeros(48, 64, 3, dtype=torch.uint8))
    assert torch.allclose(depth.values, torch.tensor(1 / (3.05e-4 * 200 + 0.1378)), rtol=1e-5)


def test_what_is_transparent_is_grey():
    model = replace(RELEASED["dpt-large"], wanted=(64, 64))
    clear = torch.zeros(64, 64, 4, dtype=torch.uint8)
    clear[..., 0] = 255
    network = Watching()
    predicted(network, model, clear)
    assert torch.allclose(network.seen, torch.tensor(0.0), atol=1e-6), "half, normalised"


def test_one_call_takes_a_file_or_pixels(built_in, tmp_path):
    """The file lies on its side, and is seen upright."""
    upright = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # row 0 of the file is the right side of the picture
    Image.fromarray(np.ascontiguousarray(upright[:, ::-1].swapaxes(0, 1))).save(tmp_path / "a.png", exif=exif)
    found = [depth_of(image).values for image in (tmp_path / "a.png", upright, torch.from_numpy(upright))]
    assert found[0].shape == (40, 56) and all(torch.equal(found[0], other) for other in found)
    smaller = depth_of(upright, size=64)
    assert smaller.values.shape == (40, 56) and smaller.kind == "inverse_relative"
    assert not torch.equal(smaller.values, found[0])


def test_what_cannot_be_looked_at_is_said(tmp_path):
    picture = torch.zeros(8, 8, 3, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"must be uint8 .* got \(8, 8, 3\) of torch.float32"):
        depth_of(picture.float())
    with pytest.raises(ValueError, match=r"got \(8, 8\)"):
        depth_of(picture[..., 0])
    with pytest.raises(ValueError, match="size 31: must be within 32 to 4096"):
        depth_of(picture, size=31)
    with pytest.raises(ValueError, match="sees 256 x 256 pixels and no others"):
        depth_of(picture, "dpt-swin2-tiny", size=512)
    with pytest.raises(ValueError, match="'abacus' is unknown; use cpu or cuda"):
        depth_of(picture, device="abacus")


def test_a_training_s_folder_stands_for_its_weights(built_in, tmp_path):
    """Where it holds none, or nothing is there, that is said, and of no other program."""
    run = tmp_path / "run"
    run.mkdir()
    with pytest.raises(FileNotFoundError, match=r"run: holds no small.safetensors; name a file of weights"):
        read_model(BUILT_IN, run)
    with pytest.raises(FileNotFoundError, match=r"gone: not there; name a file of weights, or a training's"):
        read_model(BUILT_IN, tmp_path / "gone")
    save_file(Small().state_dict(), run / "small.safetensors")
    assert isinstance(read_model(BUILT_IN, run), Small)


def test_a_date_in_the_name_of_one_s_own_weights_is_no_checksum(tmp_path):
    save_file(Small().state_dict(), tmp_path / "small-20261122.safetensors")
    assert isinstance(read_model(BUILT_IN, tmp_path / "small-20261122.safetensors"), Small)
