"""Data sets are known by how they lie, and read for what their authors mean; hand-made in their true form."""

import json
import math
import re
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from scenes.images import ImageError
from scenes.scene import SceneError
from tools.depth.datasets import LAYOUTS, DepthSet, DepthSetError, DepthSetWarning, Pair, read_set
from tools.depth.layouts import associated

WIDTH, HEIGHT = 8, 6
COUNTS = np.arange(WIDTH * HEIGHT, dtype=np.uint16).reshape(HEIGHT, WIDTH) * 100


def put(path, counts=COUNTS):
    """A picture of colours or of counts; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(counts).save(path)


def put_rgb(path, width=WIDTH, height=HEIGHT):
    put(path, np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8))


def depth_and_colour(folder, rgb, depth, counts=COUNTS):
    put_rgb(folder / rgb)
    put(folder / depth, counts)


def annotated(folder, scale=256):
    depth_and_colour(folder, "rgb/a_1.png", "depth/sync_1.png")
    entry = {"rgb": "data/x/rgb/a_1.png", "depth": "data/x/depth/sync_1.png", "depth_scale": scale}
    told = {"files": [{**entry, "cam_in": [7.0, 6.0, 4.0, 3.0]}]}
    (folder / "test_annotations.json").write_text(json.dumps(told))


def ours(folder, **told):
    depth_and_colour(folder, "rgb/a.jpg", "depth/a.png")
    known = {"format": "render-depth-set", "version": 1, "kind": "inverse_depth", "unit": 0.5}
    (folder / "dataset.json").write_text(json.dumps({**known, **told}))


def seven_scenes(folder):
    depth_and_colour(folder, "frame-000010.color.png", "frame-000010.depth.png")
    (folder / "camera-intrinsics.txt").write_text("585 0 320\n0 586 240\n0 0 1\n")
    (folder / "frame-000010.pose.txt").write_text("1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1\n")


def scannet(folder):
    depth_and_colour(folder, "color/12.jpg", "depth/12.png")
    (folder / "intrinsic").mkdir()
    matrix = "1170 0 647 0\n0 1171 483 0\n0 0 1 0\n0 0 0 1\n"
    (folder / "intrinsic" / "intrinsic_color.txt").write_text(matrix)


def kitti(folder):
    number = "0000000005_image_02"
    drive = "2011_09_26_drive_0002_sync"
    depth = f"groundtruth_depth/{drive}_groundtruth_depth_{number}.png"
    depth_and_colour(folder, f"image/{drive}_image_{number}.png", depth)
    (folder / "intrinsics").mkdir()
    (folder / "intrinsics" / f"{drive}_image_{number}.txt").write_text("721 0 609 0 722 172 0 0 1\n")


def tum(folder):
    for number, time in enumerate((0.0, 1.0, 2.0)):
        put_rgb(folder / "rgb" / f"{number}.png")
        put(folder / "depth" / f"{number}.png", COUNTS + number)
        with (folder / "rgb.txt").open("a") as file:
            file.write(f"# color images\n{time:.6f} rgb/{number}.png\n")
        with (folder / "depth.txt").open("a") as file:
            file.write(f"# depth maps\n{time + 0.03 * (number == 1) + 0.004:.6f} depth/{number}.png\n")


def middlebury(folder):
    for number in (2, 6):
        put_rgb(folder / "cones" / f"im{number}.ppm")
        put(folder / "cones" / f"disp{number}.pgm", (COUNTS // 100 * 5).astype(np.uint8))


def cityscapes(folder):
    inner = "val/bonn/bonn_000001_000019"
    depth_and_colour(folder, f"leftImg8bit/{inner}_leftImg8bit.png", f"disparity/{inner}_disparity.png")


def nyu(folder):
    depth_and_colour(folder, "rgb_00045.jpg", "sync_depth_00045.png")


def dpt(folder):
    depth_and_colour(folder, "000000013774.jpg", "dpt_depth/000000013774.png")


def eth3d(folder):
    put_rgb(folder / "images" / "dslr_images" / "DSC_0286.JPG")
    (folder / "ground_truth_depth" / "dslr_images").mkdir(parents=True)
    metres = np.where(COUNTS > 0, COUNTS / 1000, np.inf).astype("<f4")
    metres.tofile(folder / "ground_truth_depth" / "dslr_images" / "DSC_0286.JPG")


def sintel(folder):
    frame = "alley_1/frame_0001"
    put_rgb(folder / "final" / f"{frame}.png")
    for name in ("depth", "camdata_left"):
        (folder / name / "alley_1").mkdir(parents=True)
    tag = struct.pack("<f", 202021.25)
    head = tag + struct.pack("<ii", WIDTH, HEIGHT)
    metres = (COUNTS / 1000).astype("<f4").tobytes()
    (folder / "depth" / f"{frame}.dpt").write_bytes(head + metres)
    lens = np.array([[1120, 0, 511.5], [0, 1121, 217.5], [0, 0, 1]], "<f8").tobytes()
    (folder / "camdata_left" / f"{frame}.cam").write_bytes(tag + lens + bytes(96))


# Layout: how it is made; kind, value of 1000 counts, whether 0 is known, protocol, fx and cy of its camera.
FORMS = {
    "render": (ours, "inverse_depth", 500.0, False, None, None),
    "annotated": (annotated, "z_depth", 1000 / 256, False, "kitti", (7, 3)),
    "7-scenes": (seven_scenes, "z_depth", 1.0, False, None, (585, 240)),
    "scannet": (scannet, "z_depth", 1.0, False, None, (1170, 483)),
    "kitti": (kitti, "z_depth", 1000 / 256, False, "kitti", (721, 172)),
    "tum": (tum, "z_depth", 0.2, False, "tum", None),
    "nyu": (nyu, "z_depth", 1.0, False, "nyu", None),
    "eth3d": (eth3d, "z_depth", 1.0, False, "eth3d", None),
    "sintel": (sintel, "z_depth", 1.0, False, "sintel", (1120, 217.5)),
    "cityscapes": (cityscapes, "inverse_depth", 999 / 256, False, None, None),
    "dpt": (dpt, "relative_inverse", 1000.0, True, None, None),
}


@pytest.mark.parametrize("layout", FORMS)
def test_a_layout_is_known_and_means_what_its_authors_say(layout, tmp_path):
    make, kind, thousand, zero_is_known, protocol, camera = FORMS[layout]
    make(tmp_path)
    found = read_set(tmp_path)
    assert (found.layout, found.kind, found.protocol) == (layout, kind, protocol)
    read = found.read(0)
    place = COUNTS == 1000
    assert_close(read.values[place], torch.tensor([thousand]))
    assert read.known[0, 0] == zero_is_known and read.known[place].all()
    assert read.values[~read.known].abs().sum() == 0
    assert read.rgb.shape == (HEIGHT, WIDTH, 3) and read.rgb.dtype == torch.uint8
    assert (read.camera and (read.camera.fx, read.camera.cy)) == camera


def test_every_layout_of_the_table_is_tested_and_described():
    assert set(FORMS) | {"middlebury", "scenenet"} == set(LAYOUTS)
    page = (Path(__file__).parents[3] / "docs" / "depth.md").read_text()
    section = page.partition("## Data sets")[2].partition("## Measuring")[0]
    assert re.findall(r"^\| `([\w-]+)` \| .*\| .* \|$", section, re.M) == list(LAYOUTS)


def test_sensors_of_7_scenes_say_65535_where_they_see_nothing(tmp_path):
    seven_scenes(tmp_path)
    counts = COUNTS.copy()
    counts[0] = 65535
    put(tmp_path / "frame-000010.depth.png", counts)
    read = read_set(tmp_path).read(0)
    assert not read.known[0].any() and read.known[1:].all()


def test_scenenet_tells_distances_along_rays(tmp_path):
    """A wall that the camera faces is one z_depth, and further away along rays to its corners."""
    width, height = 320, 240
    x = (np.arange(width) + 0.5 - 160) / 160 * math.tan(math.radians(30))
    y = (np.arange(height) + 0.5 - 120) / 120 * math.tan(math.radians(22.5))
    counts = 3000 * np.sqrt(1 + x**2 + y[:, None] ** 2)
    put_rgb(tmp_path / "photo" / "25.jpg", width, height)
    put(tmp_path / "depth" / "25.png", counts.round().astype(np.uint16))
    read = read_set(tmp_path).read(0)
    assert_close(read.values, torch.full((height, width), 3.0), atol=6e-4, rtol=0)


def test_disparity_of_stereo_pairs_is_inverse_depth(tmp_path):
    middlebury(tmp_path)
    found = read_set(tmp_path)
    assert [pair.name for pair in found.pairs] == ["cones/im2", "cones/im6"]
    read = found.read(1)
    assert read.values[0, 4] == 5.0 and not read.known[0, 0] and found.kind == "inverse_depth"


def test_pictures_and_depth_of_tum_go_by_time(tmp_path):
    """The nearest in time, each once, and none further apart than 0.02 s."""
    tum(tmp_path)
    found = read_set(tmp_path)
    assert [(pair.rgb.name, pair.depth.name) for pair in found.pairs] == [("0.png",) * 2, ("2.png",) * 2]
    assert associated([0.0, 0.01], [0.009, 0.02]) == [(0.01, 0.009)]
    assert associated([1.0, 2.0], [1.5]) == []


def test_associating_times_is_the_loop_over_all_pairs(generator):
    first, second = (torch.rand(40, generator=generator).tolist() for _ in range(2))
    left, right, expected = set(first), set(second), []
    for _, a, b in sorted((abs(a - b), a, b) for a in first for b in second if abs(a - b) < 0.02):
        if a in left and b in right:
            expected.append((a, b))
            left.remove(a), right.remove(b)
    assert associated(first, second) == sorted(expected)


def test_plain_folders_are_what_the_caller_says(tmp_path):
    depth_and_colour(tmp_path, "rgb/a.png", "depth/a.tif")
    with pytest.raises(DepthSetError, match="give the kind and the unit"):
        read_set(tmp_path)
    found = read_set(tmp_path, kind="z_depth", unit=0.01)
    assert found.read(0).values[0, 3] == pytest.approx(3.0)
    with pytest.raises(DepthSetError, match=r"a.tif: what a count means is not known; give its unit"):
        read_set(tmp_path, kind="z_depth")
    with pytest.raises(DepthSetError, match=r"'z_dept'; did you mean z_depth\?"):
        read_set(tmp_path, kind="z_dept", unit=0.01)


def test_arrays_hold_values_and_infinite_ones_are_unknown(tmp_path):
    put_rgb(tmp_path / "rgb" / "a.png")
    values = COUNTS.astype(np.float32) / 1000
    values[1, :3] = np.nan, np.inf, -2.0
    (tmp_path / "depth").mkdir()
    np.save(tmp_path / "depth" / "a.npy", values)
    read = read_set(tmp_path, kind="inverse_depth").read(0)
    assert not read.known[1, :3].any() and read.known.sum() == WIDTH * HEIGHT - 4
    assert read.values[1, 4] == pytest.approx(1.2)


def test_a_lens_is_told_for_all_or_for_each(tmp_path):
    ours(tmp_path, camera={"fov": 90})
    assert read_set(tmp_path).read(0).camera == pytest.approx((3.0, 3.0, 4.0, 3.0))
    (tmp_path / "cameras").mkdir()
    told = {"fx": 20, "fy": 21, "cx": 8, "cy": 6, "width": 16, "height": 12}
    (tmp_path / "cameras" / "a.json").write_text(json.dumps(told))
    assert read_set(tmp_path).read(0).camera == pytest.approx((10.0, 10.5, 4.0, 3.0))
    (tmp_path / "cameras" / "a.json").write_text(json.dumps({"fx": 20}))
    with pytest.raises(DepthSetError, match=r"a.json: the camera lacks fy, cx, cy; write"):
        read_set(tmp_path).read(0)


def test_depth_of_another_size_is_taken_from_the_nearest_pixel(tmp_path):
    put_rgb(tmp_path / "rgb" / "a.png", 2 * WIDTH, 2 * HEIGHT)
    put(tmp_path / "depth" / "a.png")
    read = read_set(tmp_path, kind="z_depth", unit=1).read(0)
    assert torch.equal(read.values, torch.from_numpy(COUNTS.astype(np.float32).repeat(2, 0).repeat(2, 1)))
    put_rgb(tmp_path / "rgb" / "a.png", 2 * WIDTH, HEIGHT)
    with pytest.raises(DepthSetError, match=r"depth/a.png: is 8 x 6, a.png is 16 x 6.*crop one"):
        read_set(tmp_path, kind="z_depth", unit=1).read(0)


def test_a_picture_without_partner_is_named(tmp_path):
    depth_and_colour(tmp_path, "rgb/a.png", "depth/a.png")
    put_rgb(tmp_path / "rgb" / "b.png")
    with pytest.raises(DepthSetError, match=r"rgb/b.png: has no depth picture .*1 of 2"):
        read_set(tmp_path, kind="z_depth", unit=1)
    (tmp_path / "rgb" / "b.png").unlink()
    put(tmp_path / "depth" / "c.png")
    with pytest.raises(DepthSetError, match=r"depth/c.png: has no colour picture"):
        read_set(tmp_path, kind="z_depth", unit=1)
    put(tmp_path / "depth" / "a.tif")
    with pytest.raises(DepthSetError, match=r"a.tif: a.png beside it means the same; remove one"):
        read_set(tmp_path, kind="z_depth", unit=1)


def test_depth_of_8_bits_is_refused_as_metres_and_warned_of_as_inverse(tmp_path):
    depth_and_colour(tmp_path, "rgb/a.png", "depth/a.png", (COUNTS // 100).astype(np.uint8))
    with pytest.raises(DepthSetError, match=r"a.png: 8 bits hold 256 depths.*16 bits"):
        read_set(tmp_path, kind="z_depth", unit=1)
    with pytest.warns(DepthSetWarning, match="256 steps"):
        assert read_set(tmp_path, kind="relative_inverse").read(0).values.max() == 47


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"version": 2}, "version is 2; this program reads 1"),
        ({"kind": "sparse"}, "kind of depth is 'sparse'; one of z_depth, inv"),
        ({"unit": -1}, "unit is -1; it must be"),
        ({"unknown": "0"}, "unknown is '0'; write a list"),
        ({"cap": "far"}, "cap is 'far'"),
    ],
)
def test_a_wrong_description_is_named(told, message, tmp_path):
    ours(tmp_path, **told)
    with pytest.raises((DepthSetError, SceneError), match=message):
        read_set(tmp_path)


def test_bare_numbers_are_as_many_as_the_file_claims(tmp_path):
    eth3d(tmp_path / "eth3d")
    bare = tmp_path / "eth3d" / "ground_truth_depth" / "dslr_images" / "DSC_0286.JPG"
    bare.write_bytes(bare.read_bytes() + b"more")
    with pytest.raises(ImageError, match=r"DSC_0286.JPG: does not hold 8 x 6 numbers"):
        read_set(tmp_path / "eth3d").read(0)
    sintel(tmp_path / "sintel")
    dpt = tmp_path / "sintel" / "depth" / "alley_1" / "frame_0001.dpt"
    told = dpt.read_bytes()
    for damaged, message in ((told[:-4], "claims 8 x 6 numbers in 188 bytes"), (b"P5 8 6", "does not begin")):
        dpt.write_bytes(damaged)
        with pytest.raises(ImageError, match=message):
            read_set(tmp_path / "sintel").read(0)


def test_a_photograph_of_eth3d_stays_as_its_depth_lies(tmp_path):
    """Its EXIF would turn it, and the bare numbers beside it cannot tell."""
    eth3d(tmp_path)
    photo = tmp_path / "images" / "dslr_images" / "DSC_0286.JPG"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(photo).save(photo, exif=exif)
    read = read_set(tmp_path).read(0)
    assert read.rgb.shape[:2] == (HEIGHT, WIDTH) and read.values[1, 2] == pytest.approx(1.0)


def test_what_is_no_data_set_is_refused(tmp_path):
    with pytest.raises(DepthSetError, match="no such folder"):
        read_set(tmp_path / "nowhere")
    with pytest.raises(DepthSetError, match=r"no data set of a known layout \(render, annotated, "):
        read_set(tmp_path)
    ours(tmp_path)
    with pytest.raises(DepthSetError, match="laid out as render, which tells inverse_depth"):
        read_set(tmp_path, kind="z_depth", unit=1)
    with pytest.raises(DepthSetError, match="no pair"):
        DepthSet("none", "z_depth", ())


def test_annotations_name_what_is_amiss(tmp_path):
    annotated(tmp_path, 1000)
    assert read_set(tmp_path).protocol is None  # the crop of NYUv2 is for 640 x 480
    (tmp_path / "depth" / "sync_1.png").unlink()
    with pytest.raises(DepthSetError, match=r"file 0: depth data/x/depth/sync_1.png is not in"):
        read_set(tmp_path)
    (tmp_path / "rgb" / "a_1.png").unlink()
    (tmp_path / "rgb" / "a_1.png").symlink_to("/etc/passwd")
    with pytest.raises(SceneError, match="outside"):
        read_set(tmp_path)


def test_folders_of_several_sets_are_one_only_if_they_agree(tmp_path):
    ours(tmp_path / "a")
    ours(tmp_path / "b")
    found = read_set(tmp_path)
    assert [pair.name for pair in found.pairs] == ["a/a", "b/a"] and found.layout == "render"
    ours(tmp_path / "b", unit=0.25)
    with pytest.raises(
        DepthSetError, match=r"unit is .* in a and 0.25 in b; they are no one set: name one of them"
    ):
        read_set(tmp_path)


def test_nothing_is_decoded_before_it_is_asked_for(tmp_path):
    ours(tmp_path)
    (tmp_path / "rgb" / "a.jpg").write_bytes(b"broken")
    found = read_set(tmp_path)
    with pytest.raises(ImageError, match="not a picture"):
        found.read(0)
    assert isinstance(found.pairs[0], Pair) and len(found.subset([0, 0])) == 2


def test_true_data_sets_are_read(test_data):
    """KITTI's LiDAR knows a fifth of the pixels, NYUv2 and 7-Scenes lie within metres."""
    far = {}
    for name in ("depth/kitti", "depth/nyu", "rgbd", "stereo", "rgb_dptdepth"):
        found = read_set(test_data / name)
        read = found.read(0)
        far[name] = (found.layout, found.kind, found.protocol, len(found))
        assert read.values.shape == read.known.shape == read.rgb.shape[:2]
        if found.kind == "z_depth":
            assert 0.3 < read.values[read.known].min() < read.values.max() < 100 and read.camera is not None
    assert far == {
        "depth/kitti": ("annotated", "z_depth", "kitti", 3),
        "depth/nyu": ("annotated", "z_depth", "nyu", 3),
        "rgbd": ("7-scenes", "z_depth", None, 100),
        "stereo": ("middlebury", "inverse_depth", None, 4),
        "rgb_dptdepth": ("dpt", "relative_inverse", None, 23),
    }
