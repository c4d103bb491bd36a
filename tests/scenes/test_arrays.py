"""A scene of what is in memory is the scene that the same things on disk make."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from scenes import formats
from scenes.formats import colmap
from scenes.formats.colmap_cameras import read_cameras
from scenes.generate.analytic import generate
from scenes.images import ImageSequence, read_image, write_png
from scenes.pixels import PixelSource
from scenes.scene import Scene, SceneError
from scenes.transforms import rotation_between, similarity, transform_poses


@pytest.fixture(scope="module")
def made() -> Scene:
    """Opaque pictures, in somebody's own frame and unit."""
    scene = generate("spheres", width=32, views={"train": 9}, supersampling=1)["train"]
    opaque = tuple(scene.images[i][..., :3].contiguous() for i in range(9))
    move = similarity(
        0.3, rotation_between(torch.tensor([0.0, 0, 1]), torch.tensor([0.3, -0.5, 0.4])), torch.ones(3)
    )
    points = torch.rand(40, 3, generator=torch.Generator().manual_seed(0)) - 0.5
    return replace(
        scene,
        images=ImageSequence(opaque),
        has_alpha=False,
        background=None,
        model_from_input=move,
        points=points,
    )


@pytest.fixture(scope="module")
def folder(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes") / "given"
    colmap.write(made, folder)
    return folder


def pictures(folder, names) -> list[np.ndarray]:
    return [read_image(folder / "images" / name).numpy() for name in names]


def assert_same_scene(ours: Scene, wanted: Scene) -> None:
    """To the bit: cameras, points, bounds, frame, and every pixel that a training draws from."""
    assert ours.header() == {**wanted.header(), "name": ours.name}
    for name in ("camera_to_world", "fx", "fy", "cx", "cy"):
        assert torch.equal(getattr(ours.cameras, name), getattr(wanted.cameras, name))
    assert torch.equal(ours.points, wanted.points) and ours.placing == wanted.placing
    both = [PixelSource.from_scene(scene) for scene in (ours, wanted)]
    assert torch.equal(both[0].data, both[1].data) and torch.equal(both[0].blocks, both[1].blocks)


def test_it_is_the_scene_that_is_read_from_disk(folder):
    cameras, names = read_cameras(folder)
    points = colmap.capture(folder).points
    scene = Scene.from_images(pictures(folder, names), cameras, names=names, points=points)
    assert_same_scene(scene, formats.read(folder, "all"))
    assert scene.frame_names == names and scene.source is None


@pytest.mark.parametrize(
    "given",
    [
        lambda arrays: np.stack(arrays),
        lambda arrays: torch.from_numpy(np.stack(arrays)),
        lambda arrays: [torch.from_numpy(array) for array in arrays],
        lambda arrays: [(array / 255).astype(np.float32) for array in arrays],
        lambda arrays: [array[..., ::-1].copy()[..., ::-1] for array in arrays],  # turned from BGR
        lambda arrays: [np.asfortranarray(array) for array in arrays],
    ],
    ids=["stacked", "tensor", "tensors", "floats", "backwards", "columns first"],
)
def test_pictures_may_be_held_in_many_ways(folder, given):
    cameras, names = read_cameras(folder)
    arrays = pictures(folder, names)
    scene = Scene.from_images(given(arrays), cameras)
    for index, array in enumerate(arrays):
        assert np.array_equal(scene.images[index].numpy(), array)
    PixelSource.from_scene(scene)


def test_pictures_may_stay_on_disk(folder):
    cameras, names = read_cameras(folder)
    points = colmap.capture(folder).points
    scene = Scene.from_images(
        [folder / "images" / name for name in names], cameras, names=names, points=points
    )
    assert_same_scene(scene, formats.read(folder, "all"))


def test_cameras_go_back_to_where_they_were_given(folder):
    cameras, names = read_cameras(folder)
    scene = Scene.from_images(pictures(folder, names), cameras)
    back = torch.linalg.inv(scene.model_from_input)
    given = transform_poses(back, scene.cameras.camera_to_world.double())
    assert_close(given, cameras.camera_to_world, atol=1e-5, rtol=0)


def test_alpha_masks_depths_and_what_is_shown_come_along(folder, made, tmp_path):
    cameras, names = read_cameras(folder)
    arrays = [np.dstack((array, np.full(array.shape[:2], 90, np.uint8))) for array in pictures(folder, names)]
    mask = np.zeros((32, 32), np.uint8)
    mask[:, :16] = 255
    write_png(tmp_path / "mask.png", torch.from_numpy(np.repeat(mask[..., None], 3, axis=-1)))
    depth = np.linspace(0, 3, 32 * 32, dtype=np.float32).reshape(32, 32)
    rest = [None] * 6
    scene = Scene.from_images(
        arrays, cameras,
        masks=[mask, mask > 0, tmp_path / "mask.png", *rest], depths=[depth, depth, None, *rest],
        points=np.zeros((4, 3)), shown=[[0, 3]] * 9, background=(0.0, 1.0, 0.0),
    )  # fmt: skip
    assert scene.has_alpha and scene.background == (0.0, 1.0, 0.0) and not scene.bounds.unbounded
    source = PixelSource.from_scene(scene)
    assert not bool((source.blocks[source.blocks[:, 0] < 3][:, 2] >= 2).any()), "nothing of what is hidden"
    scale = float(torch.linalg.det(scene.model_from_input[:3, :3]) ** (1 / 3))
    assert_close(scene.depths[0], torch.from_numpy(depth) * scale, rtol=1e-6, atol=0)
    assert not scene.depths[2].any() and scene.shown[5].tolist() == [0, 3]
    assert Scene.from_images(arrays, cameras).background == (1.0, 1.0, 1.0)


def test_what_does_not_fit_is_refused_by_its_number(folder):
    cameras, names = read_cameras(folder)
    arrays = pictures(folder, names)

    def changed(index, value):
        return [*arrays[:index], value, *arrays[index + 1 :]]

    for images, settings, said in [
        (arrays[:8], {}, "9 cameras and 8 images"),
        (
            changed(3, arrays[3].transpose(2, 0, 1)),
            {},
            r"image 3 is \(3, 32, 32\); it must be \(height, width, 3",
        ),
        (changed(4, arrays[4][:30]), {}, "image 4 is 32 x 30, its camera is for 32 x 32"),
        (
            changed(5, arrays[5].astype(np.float32)),
            {},
            r"image 5 goes from 0 to .*; floats are in \[0, 1\]",
        ),
        (changed(6, arrays[6].astype(np.int32)), {}, "image 6 is torch.int32; give uint8"),
        (arrays, {"masks": [np.ones((3, 3))] * 9}, "mask 0 is 3 x 3"),
        (arrays, {"depths": [np.ones(7)] * 9}, r"depth 0 is \(7,\)"),
        (arrays, {"points": np.zeros((4, 2))}, r"points are \(4, 2\)"),
        (arrays, {"points": np.zeros((4, 3)), "shown": [[4]] * 9}, "shown 0 goes to 4; there are 4 points"),
        (arrays, {"names": ["a"]}, "9 cameras and 1 names"),
        (arrays, {"background": (0, 0, 0)}, "the pictures have no alpha"),
        (arrays, {"bounds": "sphere"}, "choose one of auto, box, unbounded"),
    ]:
        with pytest.raises(SceneError, match=said):
            Scene.from_images(images, cameras, **settings)
    with pytest.raises(SceneError, match=r"a row of at least one is wanted, got \(\)"):
        Scene.from_images(arrays, cameras[0])
    lost = cameras.camera_to_world.clone()
    lost[2, 0, 0] = torch.nan
    with pytest.raises(SceneError, match="a pose is not finite"):
        Scene.from_images(arrays, replace(cameras, camera_to_world=lost))


def test_five_lines_train_a_model(folder):
    """With a COLMAP model in memory."""
    import pycolmap

    import render

    cameras, names = read_cameras(pycolmap.Reconstruction(folder / "sparse/0"))
    scene = Scene.from_images(pictures(folder, names), cameras)
    model = render.train(scene, steps=2, log2_table_size=12, occupancy_resolution=32, first_samples=4000)
    assert model.render(cameras[0], frame="input").rgb.shape == (32, 32, 3)
