"""Pictures straightened and scenes written in other formats: the same rays see the same colours."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from render.commands.scenes import main
from scenes import formats
from scenes.cameras import Cameras
from scenes.generate.analytic import Panel, generate, picture, waves
from scenes.images import ImageSequence
from scenes.scene import Scene, SceneError
from scenes.transforms import transform_poses
from scenes.undistort import pinhole_for, undistort_image, undistorted

LENSES = {  # a barrel, a pincushion, a fisheye: of 60 degrees across
    "perspective": (-0.25, 0.06, 1e-3, -2e-3, 0.0, 0.0, 0.0, 0.0),
    "perspective, pincushion": (0.2, 0.05, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    "fisheye": (0.04, -0.01, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
}


WALL = (Panel((0.0, 0.0, 0.0), (9.0, 0.0, 0.0), (0.0, 0.0, 9.0), waves(0.7)),)  # fills every picture


def camera_behind(lens: str) -> Cameras:
    one = Cameras.look_at((1.0, -2.0, 0.6), (0, 0, 0), (0, 0, 1), 120, 90, 45)
    return replace(one, distortion=torch.tensor(LENSES[lens]), projection=lens.partition(",")[0])


@pytest.mark.parametrize("lens", LENSES)
def test_a_straightened_picture_is_the_one_that_a_pinhole_camera_takes(lens):
    """Of a wall in smooth colours, cast once through the lens and once through the pinhole."""
    camera = camera_behind(lens)
    pinhole = pinhole_for(camera)
    straight = undistort_image(picture(WALL, camera, 2)[..., :3], camera, pinhole)
    truth = picture(WALL, pinhole, 2)[..., :3]
    difference = (straight.float() - truth.float()).abs()
    assert float(difference.mean()) < 1 and float(difference.max()) < 12  # of 255
    crooked = picture(WALL, camera, 2)[..., :3]
    assert float((crooked.float() - truth.float()).abs().mean()) > 4


@pytest.mark.parametrize("lens", LENSES)
def test_the_lens_fills_the_pinholes_picture(lens):
    """No pixel is made up at the edges; and nothing is enlarged more than that takes."""
    camera = camera_behind(lens)
    pinhole = pinhole_for(camera)
    pixels, _ = camera.project(pinhole.centres + pinhole.rays().directions)
    assert bool((pixels > -0.5).all()) and bool((pixels[..., 0] < 120.5).all())
    assert bool((pixels[..., 1] < 90.5).all())
    if float(pinhole.fx) > float(camera.fx):
        edge = torch.minimum(pixels, torch.tensor([120.0, 90.0]) - pixels).min()
        assert float(edge) < 1.0


def test_a_lens_that_cannot_fill_a_flat_picture_is_refused_by_name(tmp_path):
    """The optical axis misses the picture: enlarging never brings the edges inside."""
    camera = camera_behind("fisheye")
    aside = replace(camera, cx=torch.tensor(-300.0))
    with pytest.raises(ValueError, match="too wide"):
        pinhole_for(aside)
    bounds = generate("spheres", width=8, views={"train": 1})["train"].bounds
    pictures = ImageSequence((torch.zeros(90, 120, 3, dtype=torch.uint8),))
    names = ("camera_to_world", "fx", "fy", "cx", "cy", "distortion")
    cameras = replace(aside, **{name: getattr(aside, name)[None] for name in names})
    with pytest.raises(SceneError, match="picture 0: the lens sees too wide"):
        undistorted(Scene("aside", cameras, pictures, bounds, frame_names=("a.png",)), tmp_path)


def by_name(scene: Scene) -> list[int]:
    """Numbers of the views in the order of their own names: the last step sorts them into splits."""
    return sorted(range(len(scene)), key=lambda i: scene.frame_names[i].rpartition("/")[2])


def in_input_frame(scene: Scene) -> torch.Tensor:
    poses = transform_poses(torch.linalg.inv(scene.model_from_input), scene.cameras.camera_to_world)
    return poses[by_name(scene)]


def test_a_scene_goes_through_all_formats_and_comes_back(tmp_path, capsys):
    """Blender to nerfstudio to COLMAP to Blender: cameras and pictures are those that went in."""
    from scenes.formats.nerf_synthetic import write

    scenes = generate("spheres", width=24, views={"train": 9})
    write(scenes["train"], tmp_path / "blender", "train")
    steps = [("blender", "nerfstudio"), ("nerfstudio", "colmap"), ("colmap", "again")]
    kinds = {"nerfstudio": "nerfstudio", "colmap": "colmap", "again": "blender"}
    for source, target in steps:
        assert main(["convert", str(tmp_path / source), str(tmp_path / target), "--to", kinds[target]]) == 0
    assert "9 views" in capsys.readouterr().out
    first = formats.read(tmp_path / "blender", "all")
    for step in ("nerfstudio", "colmap", "again"):
        again = formats.read(tmp_path / step, "all")
        assert_close(in_input_frame(again), in_input_frame(first), atol=2e-6, rtol=1e-6)
        assert_close(again.cameras.intrinsics[:, :2].mean(), first.cameras.intrinsics[:, :2].mean())
        pairs = zip(by_name(again), by_name(first), strict=True)
        assert all(torch.equal(again.images[i], first.images[j]) for i, j in pairs)


def test_a_camera_that_the_format_cannot_hold_is_refused_and_straightened_where_asked(tmp_path, capsys):
    scene = generate("planes", width=32, views={"train": 2})["train"]
    lens = torch.tensor(LENSES["perspective"]).expand(2, 8)
    bent = replace(scene, cameras=replace(scene.cameras, distortion=lens))
    formats.format_module("nerfstudio").write(bent, tmp_path / "bent")
    with pytest.raises(SceneError):
        main(["convert", str(tmp_path / "bent"), str(tmp_path / "out"), "--to", "blender"])
    assert not (tmp_path / "out").exists()
    arguments = [str(tmp_path / "bent"), str(tmp_path / "out"), "--to", "colmap", "--undistort"]
    assert main(["convert", *arguments]) == 0
    assert formats.read(tmp_path / "out", "all").cameras.distortion is None
