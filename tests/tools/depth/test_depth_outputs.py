"""What is written comes back, to half a step, and says what it is."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tools.depth.outputs import (
    Wanted,
    joined,
    places,
    range_of,
    read_png16,
    steps_of,
    write_picture,
    write_png16,
)
from tools.depth.predict import Depth
from tools.export.folder import ExportError


def relative(values):
    return Depth(torch.as_tensor(values, dtype=torch.float32), "inverse_relative")


@settings(max_examples=25, deadline=None)
@given(
    scale=st.floats(1e-6, 1e6),
    shift=st.floats(-10, 10),
    seed=st.integers(0, 99),
)
def test_inverse_depth_comes_back_to_half_a_step(tmp_path_factory, scale, shift, seed):
    """And all of the 16 bits are used."""
    random = np.random.default_rng(seed).uniform(0, 1, (11, 7))
    depth = relative(scale * (random + shift))
    steps = steps_of(depth.kind, range_of(depth))
    path = tmp_path_factory.mktemp("depth") / "a.png"
    write_png16(path, depth, steps)
    back = read_png16(path)
    assert back.kind == "inverse_relative"
    rounding = float(np.spacing(depth.values.abs().max().numpy()))
    assert float((back.values - depth.values).abs().max()) <= steps.step / 2 * (1 + 1e-6) + rounding
    with Image.open(path) as image:
        stored = np.array(image)
    assert stored.dtype == np.uint16 and stored.min() == 0 and stored.max() == 65535


@pytest.mark.parametrize(("farthest", "step"), [(3.0, 1e-3), (65.0, 1e-3), (80.0, 1e-2), (0.5, 1e-5)])
def test_metres_come_back_to_half_a_step_and_never_as_unknown(tmp_path, farthest, step, generator):
    """Zero means unknown to others."""
    values = torch.rand(9, 12, generator=generator) * farthest
    values[0, 0], values[0, 1] = farthest, 1e-9
    depth = Depth(values, "metric")
    steps = steps_of("metric", range_of(depth))
    assert (steps.offset, steps.step) == (0.0, step)
    write_png16(tmp_path / "a.png", depth, steps)
    back = read_png16(tmp_path / "a.png")
    assert back.kind == "metric" and float(back.values.min()) > 0
    assert float((back.values - values)[0, 1:].abs().max()) <= step
    assert float((back.values - values)[1:].abs().max()) <= step / 2 * 1.001


def test_a_wall_comes_back_exactly(tmp_path):
    depth = relative(torch.full((4, 5), -2.7))
    write_png16(tmp_path / "a.png", depth, steps_of(depth.kind, range_of(depth)))
    assert torch.equal(read_png16(tmp_path / "a.png").values, depth.values)


def test_a_picture_of_another_program_is_not_taken_for_depth(tmp_path):
    Image.fromarray(np.zeros((3, 3), np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"a\.png: does not say what its steps are"):
        read_png16(tmp_path / "a.png")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_an_answer_that_is_no_number_is_refused(value):
    values = torch.zeros(3, 3)
    values[1, 1] = value
    with pytest.raises(ValueError, match="not finite; its weights are damaged"):
        range_of(relative(values))


def test_the_range_of_several_holds_each():
    ranges = [range_of(relative([[low, low + 1.0]])) for low in (3.0, -2.0, 0.5)]
    whole = joined(ranges)
    assert (whole.lowest, whole.highest) == (-2.0, 4.0)
    assert whole.dark == min(one.dark for one in ranges) and whole.light == max(one.light for one in ranges)


def test_every_format_is_written_and_told_of(tmp_path, generator):
    depth = relative(torch.rand(20, 30, generator=generator))
    image = torch.randint(256, (20, 30, 3), generator=generator).to(torch.uint8)
    wanted = Wanted(("png16", "npy", "colour", "cloud"), fov=50.0)
    files = places(tmp_path, "a", wanted.formats, video=False)
    facts = write_picture(files, depth, image, wanted)
    assert {path.name for path in tmp_path.iterdir()} == {
        "a-depth.png",
        "a-depth.npy",
        "a-colour.png",
        "a-cloud.ply",
    }
    assert np.array_equal(np.load(files["npy"]), depth.values.numpy())
    with Image.open(files["png16"]) as stored:
        told = facts["png16"]
        back = told["offset"] + told["step"] * np.array(stored).astype(float)
        assert stored.text == {name: str(value) for name, value in told.items()}
    assert np.abs(back - depth.values.numpy()).max() <= told["step"] * 0.51
    with Image.open(files["colour"]) as colour:
        assert colour.size == (30, 20) and colour.mode == "RGB"
    assert json.loads(json.dumps(facts)) == facts
    assert facts["kind"] == "inverse_relative" and facts["unit"] is None
    assert facts["cloud"]["lens"] == "given" and facts["cloud"]["assumed"]["scale"] > 0


def test_a_place_that_cannot_be_written_to_is_named(tmp_path, monkeypatch):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    depth = relative(torch.eye(3))
    with pytest.raises(ExportError, match=r"a-depth\.png: cannot be written \(No space left on device\)"):
        write_png16(tmp_path / "a-depth.png", depth, steps_of(depth.kind, range_of(depth)))
    assert not list(tmp_path.iterdir())
