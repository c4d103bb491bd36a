"""What stands beside a scene's pictures: masks found by COLMAP's rule, and all of it written to come back."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from scenes import formats
from scenes.depths import DepthSequence
from scenes.formats import colmap, nerfstudio
from scenes.formats.ply import read_points
from scenes.images import ImageSequence, read_mask, write_png
from scenes.pixels import PixelSource
from scenes.scene import SceneError, SceneWarning
from scenes.transforms import similarity_scale, transform_points
from tests.scenes.test_colmap import scene_folder
from tests.scenes.test_instant_ngp import HEIGHT, WIDTH
from tests.scenes.test_nerfstudio import a_scene


def a_mask(file, rows):
    """8 x 6, black in the first `rows` rows."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((np.arange(6)[:, None] >= rows).repeat(8, 1).astype(np.uint8) * 255).save(file)


# Reading


def test_colmaps_masks_are_found_by_its_rule_and_black_is_not_learnt(tmp_path):
    """masks/NAME.png; for a PNG also masks/NAME, which comes second. The pictures are a, b and c.png."""
    root = scene_folder(tmp_path)
    a_mask(root / "masks" / "a.png.png", 2)
    a_mask(root / "masks" / "a.png", 5)
    a_mask(root / "masks" / "b.png", 3)
    a_mask(root / "masks" / "c.jpg.png", 1)
    masks = {frame.name: frame.mask for frame in colmap.capture(root).frames}
    names = {name: mask and mask.name for name, mask in masks.items()}
    assert names == {"a.png": "a.png.png", "b.png": "b.png", "c.png": None}
    pixels = PixelSource.from_scene(formats.read(root, "all"))
    image, _, y = pixels.draw_pixels(3000, 1, 2)
    assert [int(y[image == i].min()) for i in range(3)] == [2, 3, 0]


def test_masks_that_are_called_otherwise_are_said_not_to_be_used(tmp_path):
    root = scene_folder(tmp_path)
    a_mask(root / "masks" / "a_mask.png", 2)
    with pytest.warns(
        SceneWarning, match=r"masks: not used, no file is called as a picture.*\(a\.png\.png\)"
    ):
        assert not any(frame.mask for frame in colmap.capture(root).frames)


def test_a_mask_outside_of_the_scene_is_refused(tmp_path):
    root = scene_folder(tmp_path / "scene")
    a_mask(tmp_path / "elsewhere.png", 2)
    (root / "masks").mkdir()
    os.symlink(tmp_path / "elsewhere.png", root / "masks" / "a.png.png")
    with pytest.raises(SceneError, match=r"its mask: .*outside of the scene folder"):
        colmap.capture(root)
    assert colmap.capture(root, allow_outside=True).frames[0].mask


# Writing


def test_masks_come_back_from_a_colmap_scene(tmp_path):
    """Also in folders, and of a picture whose mask has another size; nothing is overwritten."""
    mask = torch.ones(HEIGHT, WIDTH, dtype=torch.bool)
    mask[:2] = False
    write_png(tmp_path / "large.png", torch.full((2 * HEIGHT, 2 * WIDTH, 3), 255, dtype=torch.uint8))
    scene = a_scene(masks=(mask, tmp_path / "large.png", None))
    colmap.write(scene, tmp_path / "out")
    found = [read_mask(frame.mask) for frame in colmap.capture(tmp_path / "out").frames]
    assert torch.equal(found[0], mask) and bool(found[1].all()) and bool(found[2].all())
    assert (tmp_path / "out" / "masks" / "left" / "0.png.png").is_file()
    for file in (tmp_path / "out" / "sparse" / "0").iterdir():
        file.unlink()
    for file in (tmp_path / "out" / "images" / "left").iterdir():
        file.unlink()
    with pytest.raises(SceneError, match=r"masks/left/0\.png\.png: exists"):
        colmap.write(scene, tmp_path / "out")


def model_depths(scene, items, unit):
    """Depths of pictures in `unit` input units a step, as a reader scales them."""
    return DepthSequence(items, unit * float(similarity_scale(scene.model_from_input)), (65535,)).resized(
        scene.cameras.sizes.tolist()
    )


def back(folder):
    """z_depth of a written capture in input units."""
    capture = nerfstudio.capture(folder)
    depths = DepthSequence(tuple(f.depth for f in capture.frames), capture.depth_unit, capture.depth_unknown)
    return torch.stack([depths[i] for i in range(len(depths))]).double(), capture.depth_unit


def test_depth_pictures_come_back_bit_by_bit_in_their_own_step(tmp_path):
    """Of 16 bits and a tenth of a millimetre, through a frame that is scaled; what is unknown stays so."""
    scene = a_scene()
    stored = torch.randint(1, 65535, (3, HEIGHT, WIDTH), generator=torch.Generator().manual_seed(4))
    stored[0, 0, :2] = torch.tensor([0, 65535])
    for i in range(2):
        Image.fromarray(stored[i].numpy().astype(np.uint16)).save(tmp_path / f"{i}.png")
    items = (tmp_path / "0.png", tmp_path / "1.png", None)
    nerfstudio.write(replace(scene, depths=model_depths(scene, items, 1e-4)), tmp_path / "out")
    z_depth, unit = back(tmp_path / "out")
    assert unit == pytest.approx(1e-4, rel=1e-6)
    wanted = stored.clone()
    wanted[0, 0, 1], wanted[2] = 0, 0
    assert torch.equal((z_depth / unit).round().long(), wanted)


def test_depths_that_are_no_whole_steps_keep_sixteen_bits_of_the_largest(tmp_path):
    """In metres as floats: within half a step, and what is near stays known."""
    scene = a_scene()
    metres = torch.rand(3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(4)) * 900
    metres[1, 1, 1], metres[0, 0, 0] = 1e-5, 0.0
    items = tuple(metres)
    nerfstudio.write(replace(scene, depths=model_depths(scene, items, 1.0)), tmp_path / "out")
    z_depth, unit = back(tmp_path / "out")
    assert unit == pytest.approx(float(metres.max()) / 65534, rel=1e-5)
    assert_close(z_depth, metres.double(), atol=unit * 1.01, rtol=0)
    assert ((z_depth > 0) == (metres > 0)).all()


def test_points_and_splits_come_back_and_nerfstudio_gets_all_three_lists(tmp_path):
    points = torch.rand(20, 3, generator=torch.Generator().manual_seed(4)) * 5
    scene = a_scene(3)
    scene = replace(
        scene,
        points=transform_points(scene.model_from_input, points),
        splits={"train": ("left/0.jpg", "left/2.jpg", "lost.jpg"), "test": ("left/1.jpg",)},
    )
    nerfstudio.write(scene, tmp_path)
    read = nerfstudio.capture(tmp_path)
    assert_close(torch.from_numpy(read.points), points.double(), atol=1e-5, rtol=0)
    assert read_points(tmp_path / "sparse_pc.ply").colours.tolist() == [[128, 128, 128]] * 20
    held_out = ("images/left/1.png",)
    assert read.splits == {
        "train": ("images/left/0.png", "images/left/2.png"), "val": held_out, "test": held_out,
    }  # fmt: skip
    assert formats.read(tmp_path, "test").frame_names == held_out


def test_a_scene_that_has_none_of_these_writes_none(tmp_path):
    """Nor lists of a part of a scene, of which nothing is held out."""
    nerfstudio.write(replace(a_scene(), splits={"train": ("left/0.jpg",), "test": ("x",)}), tmp_path)
    contents = json.loads((tmp_path / "transforms.json").read_text())
    keys = contents.keys() | contents["frames"][0].keys()
    assert not {key for key in keys if "depth" in key or "ply" in key or "filenames" in key or "mask" in key}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "transforms.json"]


def test_depth_pictures_that_are_there_are_not_overwritten(tmp_path):
    scene = a_scene()
    scene = replace(scene, depths=model_depths(scene, (None,) * 3, 1e-3))
    a_mask(tmp_path / "depths" / "left" / "1.png.png", 1)
    with pytest.raises(SceneError, match=r"depths/left/1\.png\.png: exists"):
        nerfstudio.write(scene, tmp_path)
    assert not (tmp_path / "transforms.json").exists()


def test_heif_is_written_as_what_others_read(tmp_path):
    import pillow_heif

    pillow_heif.register_heif_opener()
    files = tuple(tmp_path / f"{i}.heic" for i in range(3))
    for file in files:
        Image.new("RGB", (WIDTH, HEIGHT), (200, 30, 90)).save(file, format="HEIF")
    scene = a_scene(images=ImageSequence(files))
    for write, folder in ((colmap.write, tmp_path / "c"), (nerfstudio.write, tmp_path / "n")):
        write(scene, folder)
        written = sorted((folder / "images" / "left").iterdir())
        assert [file.read_bytes()[1:4] for file in written] == [b"PNG"] * 3
