"""Measured numbers are what they say they are."""

import math
from dataclasses import replace

import pytest
import torch

from render.evaluate import PROTOCOLS, evaluate
from render.methods.base import Rendered
from scenes.formats import nerf_synthetic
from scenes.images import on_background, read_image


class Truth:
    """A model that knows the pictures and is wrong by `offset` everywhere."""

    def __init__(self, scene, offset):
        self.scene, self.offset = scene, offset

    def render(self, camera, outputs=("rgb",), background=None):
        index = int((self.scene.cameras.centres - camera.centres).norm(dim=-1).argmin())
        return Rendered(rgb=on_background(self.scene.images[index], background) + self.offset)


@pytest.fixture
def views(toy_folder):
    return nerf_synthetic.read(toy_folder, "test")


def test_a_known_error_gives_its_decibels(views):
    """Off by 1/16 downwards on a black background: 20 log10(16) dB where nothing is clipped."""
    result = evaluate(Truth(views, 0.0), views, "test")
    assert result["psnr"] == math.inf and result["ssim"] == pytest.approx(1.0, abs=1e-5)
    # White is the largest value: an error upwards is clipped away there, as the protocol says.
    above = evaluate(Truth(views, 1 / 16), views, "test")["psnr"]
    assert above > 20 * math.log10(16)


def test_psnr_is_the_mean_over_views_of_clipped_pictures(views):
    background = (1.0, 1.0, 1.0)
    expected = []
    for index in range(len(views)):
        truth = on_background(views.images[index], background)
        error = (truth + 0.1).clamp(0, 1) - truth
        expected.append(-10 * math.log10(float(error.square().mean())))
    result = evaluate(Truth(views, 0.1), views, "test")
    assert [view["psnr"] for view in result["per_view"]] == pytest.approx(expected, abs=1e-4)
    assert result["psnr"] == pytest.approx(sum(expected) / 3, abs=1e-4)


def test_eight_bits_hide_errors_below_half_a_step(views):
    assert evaluate(Truth(views, 0.4 / 255), views, "test", "nerfbaselines")["psnr"] == math.inf
    assert evaluate(Truth(views, 0.4 / 255), views, "test", "float")["psnr"] < 70


def test_every_number_carries_its_protocol(views):
    for name in PROTOCOLS:
        stated = evaluate(Truth(views, 0.1), views, "test", name)["protocol"]
        assert stated["name"] == name and stated["split"] == "test" and stated["views"] == 3
        assert stated["background"] == ([0.0, 0.0, 0.0] if name == "ngp-black" else [1.0, 1.0, 1.0])
        assert stated["quantised"] == (name == "nerfbaselines") and stated["space"] == "srgb"


def test_an_unknown_protocol_names_those_there_are(views):
    with pytest.raises(ValueError, match="known: float, nerfbaselines, ngp-black"):
        evaluate(Truth(views, 0.0), views, "test", "psnr")


def test_pictures_and_contact_sheet_show_truth_picture_and_error(views, tmp_path):
    evaluate(Truth(views, -0.1), views, "test", out=tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "contact_sheet.png",
        "r_0.png",
        "r_1.png",
        "r_2.png",
    }
    sheet = read_image(tmp_path / "contact_sheet.png")
    assert sheet.shape == (3 * 24, 3 * 24, 3)
    truth = (on_background(views.images[1], (1.0, 1.0, 1.0)) * 255).round()
    assert torch.equal(sheet[24:48, :24].float(), truth)
    assert torch.equal(sheet[24:48, 24:48], read_image(tmp_path / "r_1.png"))
    assert int(sheet[0, 48, 0]) == round(255 * 0.5)  # the corner is white: wrong by 0.1, shown 5 times


def test_one_picture_is_in_memory_at_a_time(views, monkeypatch):
    """Truth is decoded when its turn comes: the order is decode, render, decode, render."""
    order = []

    class Pictures:
        def __len__(self):
            return 3

        def __getitem__(self, index):
            order.append(f"decode {index}")
            return pictures[index]

    pictures = views.images
    model = Truth(views, 0.1)
    monkeypatch.setattr(
        Truth, "render", lambda *a, **k: order.append("render") or Rendered(rgb=torch.zeros(24, 24, 3))
    )
    object.__setattr__(views, "images", Pictures())
    evaluate(model, views, "test")
    assert order == ["decode 0", "render", "decode 1", "render", "decode 2", "render"]


class Dimmed(Truth):
    """The pictures under another exposure, and wrong by `offset` in the right half alone."""

    def render(self, camera, outputs=("rgb",), background=None):
        picture = super().render(camera, outputs, background).rgb - self.offset
        picture[:, picture.shape[1] // 2 :] += self.offset
        return Rendered(rgb=0.7 * picture + 0.1)


def test_an_exposure_is_fitted_on_the_left_half_and_the_right_one_is_measured(views):
    """The left half agrees after the fit; an error that only the right half has is not fitted away."""
    assert evaluate(Dimmed(views, 0.0), views, "test", "float")["psnr"] < 25
    result = evaluate(Dimmed(views, 0.0), views, "test", "half-fitted")
    assert result["psnr"] > 100 and result["ssim"] == pytest.approx(1.0, abs=1e-5)
    assert "left half" in result["protocol"]["fitted"]

    class Wrong(Truth):
        def render(self, camera, outputs=("rgb",), background=None):
            picture = on_background(self.scene.images[0], background).clone()
            picture[:, picture.shape[1] // 2 :] = 0
            return Rendered(rgb=picture)

    first = views.subset([0])
    truth = on_background(views.images[0], (1.0, 1.0, 1.0))
    wanted = -10 * math.log10(float(truth[:, truth.shape[1] // 2 :].square().mean()))
    assert evaluate(Wrong(first, 0.0), first, "test", "half-fitted")["psnr"] == pytest.approx(
        wanted, abs=1e-3
    )


def test_pixels_that_a_mask_hides_do_not_count(views):
    """Wrong by a tenth everywhere, then wildly where the mask hides: the same numbers."""
    height, width = views.images[0].shape[:2]
    mask = torch.ones(height, width, dtype=torch.bool)
    mask[:, : width // 3] = False

    class Wild(Truth):
        def render(self, camera, outputs=("rgb",), background=None):
            picture = super().render(camera, outputs, background).rgb
            picture[:, : width // 3] = 0.5
            return Rendered(rgb=picture)

    masked = replace(views, masks=(mask,) * len(views))
    calm, wild = (evaluate(model(masked, -0.1), masked, "test") for model in (Truth, Wild))
    assert calm["psnr"] == wild["psnr"] and calm["ssim"] == wild["ssim"]
    assert evaluate(Wild(views, -0.1), views, "test")["psnr"] < calm["psnr"] - 3
    assert "left out" in calm["protocol"]["masked"]
