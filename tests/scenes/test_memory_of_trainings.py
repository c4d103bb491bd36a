"""Trainings on captures larger than memory: within their budget, and nothing left behind."""

import gc
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import render
from fields.kernels.library import kernels_available
from render.cli import main
from render.methods import METHODS, method
from scenes import formats
from scenes.cameras import Cameras
from scenes.decoding import DECODED, SHRUNK, plan_pictures
from scenes.generate.analytic import generate_spheres
from scenes.images import ORIENTATION, ImageError, ImageSequence
from scenes.memory import MemoryBudgetError, mapped_file
from scenes.pixels import PixelSource
from scenes.scene import Bounds, Scene, SceneWarning

ROOT = Path(__file__).parents[2]
GIB = 2**30
BOUNDS = Bounds((-1, -1, -1), (1, 1, 1), 1, 6)
# The command, with a method that learns in milliseconds.
PROGRAM = """
import sys
from render.methods import METHODS
METHODS["mean"] = "tests.render.mean_colour:MeanColour"
from render.cli import main
sys.exit(main())
"""
# Writes JSON: what was estimated and what was taken, in bytes; arguments: a JPEG, the budget, a folder.
MEASURE = """
import ctypes, json, sys, threading, time
from pathlib import Path
import torch
torch.set_num_threads(1)
import render
from render.trainer import memory_of
from scenes.decoding import plan_pictures
from scenes.images import ImageSequence, downscaled, read_image
from tests.scenes.test_memory_of_trainings import circle

def status(*names):
    lines = (line.split() for line in open("/proc/self/status"))
    return sum(int(words[1]) * 1024 for words in lines if words[0][:-1] in names)

def height(work):
    Path("/proc/self/clear_refs").write_text("5")  # begins the high-water mark anew
    before = status("VmRSS")
    return work(), status("VmHWM") - before

file, budget, home = sys.argv[1:]
import PIL.Image, PIL.ImageOps, PIL.JpegImagePlugin
picture, decoded = height(lambda: read_image(file))
pixels = picture.shape[0] * picture.shape[1]
small = picture[:1000, :1000].clone()
del picture
trim = ctypes.CDLL(None).malloc_trim  # what was freed is not to be taken again unseen
trim(0)
def shrink():  # the least of three: huge pages, where the system gives them, are not all used
    found = height(lambda: downscaled(small, 500, 500))[1]
    trim(0)
    return found
shrunk = min(shrink() for _ in range(3))
del small
trim(0)

scene = circle(40, 1500, 1000)
taken, done = [], threading.Event()
def watch():
    while not done.wait(0.002):
        taken.append(status("RssAnon", "RssShmem"))
before = status("RssAnon", "RssShmem")
watching = threading.Thread(target=watch)
watching.start()
import warnings
warnings.simplefilter("ignore")
model = render.train(scene, steps=20, memory=int(budget), out=home, preset="fast", log2_table_size=18)
done.set()
watching.join()
kept, step = memory_of(model)
place = plan_pictures(scene, 1, model=kept, step=step, budget=int(budget), beside=None)
result = {"decoded": decoded / pixels, "shrunk": shrunk / 1000**2, "in_file": place.folder is not None}
print(json.dumps({**result, "estimate": place.estimate, "taken": max(taken) - before}))
"""


def circle(count: int, width: int, height: int) -> Scene:
    """Cameras around the origin, and one grey picture for all of them that takes no memory."""
    angle = torch.arange(count) / count * 2 * math.pi
    eyes = 3 * torch.stack((angle.cos(), angle.sin(), torch.full((count,), 0.5)), dim=-1)
    cameras = Cameras.look_at(eyes, (0, 0, 0), (0, 0, 1), width, height, 45)
    grey = torch.full((1, 1, 1), 128, dtype=torch.uint8).expand(height, width, 3)
    return Scene("circle", cameras, ImageSequence((grey,) * count), BOUNDS)


def write_capture(folder: Path, count: int, width: int, height: int) -> Path:
    """A nerfstudio capture of JPEG photographs from a circle, no two alike, all to train on."""
    (folder / "images").mkdir(parents=True)
    coarse = np.random.default_rng(0).integers(0, 256, (height // 40 + 2, width // 40 + 2, 3), dtype=np.uint8)
    surface = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    cameras = circle(count, width, height).cameras
    poses = cameras.camera_to_world * torch.tensor([1.0, -1.0, -1.0, 1.0])  # to OpenGL's axes
    names = [f"images/{i:04d}.jpg" for i in range(count)]

    def write(index: int) -> None:
        turned = np.roll(surface, index * width // count, axis=1)
        Image.fromarray(turned).save(folder / names[index], quality=85)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, range(count)))
    focal = float(cameras.fx[0])
    transforms = {
        "camera_model": "PINHOLE", "fl_x": focal, "fl_y": focal, "cx": width / 2, "cy": height / 2,
        "w": width, "h": height, "train_filenames": names, "test_filenames": [],
        "frames": [
            {"file_path": name, "transform_matrix": pose.tolist()}
            for name, pose in zip(names, poses, strict=True)
        ],
    }  # fmt: skip
    (folder / "transforms.json").write_text(json.dumps(transforms))
    return folder


@pytest.fixture(scope="module")
def capture(tmp_path_factory) -> Path:
    """12 pictures of 1600 x 1200: 69 MB of pixels."""
    return write_capture(tmp_path_factory.mktemp("captures") / "circle", 12, 1600, 1200)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Each thread of a training takes memory."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def mean_method(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a method that learns one colour."""
    monkeypatch.setitem(METHODS, "mean", "tests.render.mean_colour:MeanColour")
    return "mean"


def files_of(process: int | str, folder: Path) -> list[os.stat_result]:
    """Files without a name, once in `folder`, that a process holds open."""
    entries = Path(f"/proc/{process}/fd")
    found = []
    for entry in entries.iterdir():
        try:
            if re.fullmatch(rf"{folder}/.* \(deleted\)", os.readlink(entry)):
                found.append(entry.stat())
        except FileNotFoundError:  # closed since
            continue
    return found


def test_the_room_of_a_mapped_file_is_reserved_and_it_has_no_name(disk):
    """Or a full disk would kill a training in its middle, and a killed training would fill the disk."""
    length = 5_000_011
    mapping = mapped_file(disk, length)
    (file,) = files_of("self", disk)
    assert file.st_size == length and file.st_blocks * 512 >= length and file.st_nlink == 0
    assert list(disk.iterdir()) == []
    mapping[length - 1] = 7
    assert bytes(mapping[length - 3 :]) == b"\0\0\7"
    mapping.close()
    assert files_of("self", disk) == [], "its room is given back"
    with pytest.raises(MemoryBudgetError, match=r"absent: .* cannot be kept in a file there .*; set TMPDIR"):
        mapped_file(disk / "absent", length)


def test_the_pictures_take_what_was_said():
    """Pixels and table of blocks, at sides that 8 does not divide; what is shrunk is decoded at full size."""
    scene = circle(3, 93, 50)
    for case in (scene, scene.downscaled(2.5)):
        downscale = 93 / case.cameras.width
        place = plan_pictures(case, downscale, model=0, step=0, budget=None, beside=None)
        source = PixelSource.from_scene(case)
        assert place.needs.pictures == source.data.nbytes + source.blocks.nbytes
    assert place.needs.decoding == pytest.approx(93 * 50 * SHRUNK[3], rel=0.03)


def test_bits_do_not_depend_on_where_the_pictures_lie(disk):
    """Loss of every step, and the whole state after the last one."""
    scene = generate_spheres(width=64, views={"train": 6})["train"]
    config = method("ngp")(log2_table_size=12, occupancy_resolution=32, first_samples=4000, last_samples=4000)
    losses, states = [], []
    for folder in (None, disk):
        pixels = PixelSource.from_scene(scene, folder=folder)
        assert len(files_of("self", disk)) == (folder is not None)
        torch.manual_seed(0)
        model, generator = config.build(scene), torch.Generator().manual_seed(0)
        losses.append([model.step(pixels, step / 12, generator)["loss"] for step in range(12)])
        states.append(model.state())
    assert losses[0] == losses[1]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_a_budget_that_is_too_small_is_refused_in_one_line(capture, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert main(["train", str(capture), "--memory", "20MB"]) == 1
    out, err = capfd.readouterr()
    assert re.fullmatch(
        r"render: the training needs [\d.]+ [GM]B of memory beside its pictures and may take 20 MB "
        r"\(set by --memory\); choose a smaller model \(--preset fast\) or raise --memory\n",
        err,
    )
    assert "decod" not in out and list(tmp_path.iterdir()) == []
    assert main(["train", str(capture), "--memory", "plenty"]) == 2
    assert "'plenty' is not a size of memory; write 8GB or 500MB" in capfd.readouterr().err


def test_a_library_call_warns_of_the_file_and_nothing_is_left(
    capture, disk, tmp_path, monkeypatch, mean_method, one_thread
):
    monkeypatch.setenv("TMPDIR", str(disk))
    with pytest.warns(
        SceneWarning, match=rf"(?s)73.4 MB of pictures .* kept in a file in {disk}, which leaves"
    ):
        render.train(capture, mean_method, steps=3, memory="80MB", out=tmp_path / "run")
    gc.collect()
    assert list(disk.iterdir()) == files_of("self", disk) == []
    with pytest.raises(ValueError, match="'plenty' is not a size"):
        render.train(tmp_path / "absent", memory="plenty")


def test_a_broken_picture_leaves_nothing(capture, disk, tmp_path):
    shutil.copytree(capture, tmp_path / "broken")
    (tmp_path / "broken/images/0007.jpg").write_bytes((capture / "images/0007.jpg").read_bytes()[:5000])
    with pytest.raises(ImageError, match=r"0007\.jpg: cannot be decoded"):
        PixelSource.from_scene(formats.read(tmp_path / "broken"), folder=disk)
    gc.collect()
    assert list(disk.iterdir()) == files_of("self", disk) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_training_that_is_ended_leaves_nothing(capture, disk, tmp_path, number):
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "train", str(capture), "--memory", "80MB", "--threads", "1",
         "--method", "mean", "--steps", "100000", "--set", "seconds_per_step=0.02"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(disk)},
        stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "runs/circle/metrics.jsonl").exists():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        (file,) = files_of(process.pid, disk)
        assert file.st_size >= 12 * 1600 * 1200 * 3 and file.st_nlink == 0
        process.send_signal(number)
        out, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert f"kept in a file in {disk}" in out
    assert list(disk.iterdir()) == [] and [path.name for path in tmp_path.iterdir()] == ["runs"]


@pytest.mark.parametrize("budget", [10**9, 250 * 10**6])
def test_the_estimate_is_what_a_training_takes(budget, tmp_path):
    """Within a fifth, pictures in memory or in a file; and what a decoder holds, by its pixels."""
    (turned := Image.Exif())[ORIENTATION] = 6
    surface = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    file = tmp_path / "turned.jpg"
    Image.fromarray(surface).resize((2400, 1600)).save(file, exif=turned)
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(file), str(budget), str(tmp_path / "run")],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["in_file"] == (budget < 10**9)
    assert found["decoded"] == pytest.approx(DECODED, rel=0.25)
    assert found["shrunk"] == pytest.approx(SHRUNK[3], rel=0.25)
    assert found["estimate"] < 1.2 * found["taken"]
    if kernels_available():  # gradients that torch computes take more than is estimated
        assert found["estimate"] > 0.8 * found["taken"]


def held_by(process: int) -> int:
    """Bytes of memory that a process and all below it hold, but for pages of files."""
    held, below = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            lines = (folder / "status").read_text().splitlines()
        except OSError:  # it has ended
            continue
        values = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
        below.setdefault(int(values["PPid"][0]), []).append(int(folder.name))
        held[int(folder.name)] = sum(int(values.get(name, "0")[0]) for name in ("RssAnon", "RssShmem"))
    tree = [process]
    for each in tree:
        tree += below.get(each, [])
    return 1024 * sum(held.get(each, 0) for each in tree)


@pytest.mark.slow
def test_300_photographs_of_12_megapixels_train_within_6_gib(disk, capfd):
    """Of all processes together, decoding included; wants 13 GB of disk and several minutes."""
    capture = write_capture(disk / "capture", 300, 4000, 3000)
    (spare := disk / "temporary").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "render.cli", "train", str(capture), "--memory", "5GB", "--steps", "9000"],
        cwd=disk,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(spare)},
        stdout=subprocess.PIPE,
        text=True,
    )
    log, most, told = disk / "runs/capture/metrics.jsonl", 0, False
    while process.poll() is None:
        most = max(most, held_by(process.pid))
        reports = log.read_text().splitlines() if log.exists() and not told else []
        if reports and json.loads(reports[-1])["step"] >= 100:
            process.send_signal(signal.SIGINT)  # once: a second one would not let it save
            told = True
        time.sleep(0.05)
    out, _ = process.communicate()
    with capfd.disabled():
        print(f"\n{out}\nat most {most / GIB:.2f} GiB")
    assert "11.5 GB of pictures" in out and "decoded 300 pictures" in out and "stopped and saved" in out
    assert most < 6 * GIB and list(spare.iterdir()) == []
