"""The recipes of docs/library.md, as they stand there: each runs by itself, and holds what it asserts."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import render
from scenes.formats import colmap
from scenes.generate.analytic import generate
from scenes.transforms import rotation_between, similarity

PAGE = Path(__file__).parent.parent / "docs" / "library.md"
BLOCKS = re.findall(r"^## (.*?)$|^```python\n(.*?)^```$", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)
CUP = (2.0, -1.0, 0.5)  # where the cup stands, metres: docs/library.md says so
STEPS = 300
SMALL = {"log2_table_size": 14, "occupancy_resolution": 64, "first_samples": 12_000, "last_samples": 12_000}


def recipes():
    """Every block of Python with the heading it stands under."""
    heading, found = "", []
    for title, code in BLOCKS:
        heading = title or heading
        if code:
            found.append(pytest.param(code, id=re.sub(r"\W+", "-", heading.lower())))
    return found


@pytest.fixture(scope="module")
def workplace(tmp_path_factory) -> Path:
    """A capture of a cup, in metres and in no special frame, as COLMAP leaves it, and a run trained on it."""
    folder = tmp_path_factory.mktemp("workplace")
    turn = rotation_between(torch.tensor([0.0, 0.0, 1.0]), torch.tensor([0.1, -0.3, 1.0]))
    made = similarity(0.25, turn.T, torch.tensor(CUP))  # from the generator's frame to the capture's
    scene = generate("spheres", width=64, views={"train": 24})["train"]
    colmap.write(replace(scene, model_from_input=torch.linalg.inv(made)), folder / "cup")
    render.train(folder / "cup", steps=STEPS, out=folder / "runs" / "cup", **SMALL)
    return folder


@pytest.mark.parametrize("code", recipes())
def test_recipe(code, workplace, tmp_path, monkeypatch):
    shutil.copytree(workplace, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    exec(compile(code, PAGE.name, "exec"), {"__name__": "recipe"})


def test_every_block_is_found():
    assert len(recipes()) == PAGE.read_text().count("```python") >= 8
