"""A run knows where its pictures were taken, in the frame of the input, and without the dataset."""

import json
from dataclasses import replace

import pytest
import torch

import render
from render.run import RunError, find
from render.run_cameras import load_cameras, save_cameras
from scenes.formats import nerf_synthetic
from scenes.transforms import similarity, transform_poses


@pytest.fixture
def run(toy_folder, tmp_path, mean_method):
    render.train(toy_folder, mean_method, steps=2, out=tmp_path / "run")
    return find(tmp_path / "run")[0]


def test_a_training_leaves_its_cameras(run, toy_folder):
    scene = nerf_synthetic.read(toy_folder, "train")
    cameras, names = load_cameras(run)
    assert names == scene.frame_names and cameras.width == scene.cameras.width
    torch.testing.assert_close(cameras.camera_to_world, scene.cameras.camera_to_world, atol=1e-6, rtol=0)
    torch.testing.assert_close(cameras.intrinsics, scene.cameras.intrinsics)


def test_they_are_written_in_the_frame_of_the_input(run, toy_folder):
    """Another model frame, lenses and sizes: the file holds input poses, and the model frame comes back."""
    scene = nerf_synthetic.read(toy_folder, "train")
    n, turn = (
        len(scene),
        torch.linalg.matrix_exp(torch.tensor([[0.0, -0.3, 0.1], [0.3, 0.0, 0.2], [-0.1, -0.2, 0.0]])),
    )
    there = similarity(0.5, turn, torch.tensor([1.0, 2.0, 3.0]))
    moved = replace(
        scene.cameras,
        camera_to_world=transform_poses(there, scene.cameras.camera_to_world),
        distortion=torch.full((n, 8), 0.01),
        height=torch.arange(n) + 20,
    )
    scene_there = replace(scene, cameras=moved, model_from_input=there)
    run_there = replace(run, config=replace(run.config, scene=scene_there.header()))
    save_cameras(run_there, scene_there)
    entries = json.loads((run.path / "cameras.json").read_text())["cameras"]
    given = torch.tensor([entry["camera_to_world"] for entry in entries])
    torch.testing.assert_close(given, scene.cameras.camera_to_world, atol=1e-5, rtol=0)
    back, _ = load_cameras(run_there)
    torch.testing.assert_close(back.camera_to_world, moved.camera_to_world, atol=1e-5, rtol=0)
    assert torch.equal(back.distortion, moved.distortion) and torch.equal(back.height, moved.height)


def test_a_file_that_is_missing_or_damaged_is_named(run):
    path = run.path / "cameras.json"
    whole = path.read_text()
    content = json.loads(whole)
    for entry in content["cameras"]:
        del entry["camera_to_world"][3]
    for damaged in (
        json.dumps(content),
        whole[:-30],
        whole.replace('"fx"', '"f"'),
        whole.replace("[", "", 1),
        '{"format": 3}',
        "[]",
    ):
        path.write_text(damaged)
        with pytest.raises(RunError, match=r"cameras\.json: cut or altered"):
            load_cameras(run)
    path.write_text(whole.replace('"version": 1', '"version": 9'))
    with pytest.raises(RunError, match=r"cameras\.json: render cameras version 9, this program reads"):
        load_cameras(run)
    path.unlink()
    with pytest.raises(RunError, match=r"this run knows no cameras of its own; train it again"):
        load_cameras(run)
