"""What pycolmap is told: the same seed gives the same bits, and nothing is computed twice."""

import operator
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pycolmap
import pytest
from PIL import Image

from tools.poses import mapping
from tools.poses.mapping import Interrupted, Settings
from tools.poses.photos import PosesError

ROOT = Path(__file__).parents[2]
PAIRS = "SELECT pair_id, rows, data FROM two_view_geometries ORDER BY pair_id"
KEYPOINTS = "SELECT image_id, rows, data FROM keypoints ORDER BY image_id"


def query(database, text):
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute(text).fetchall()
        connection.commit()
        return rows


def synthetic(folder, seed=0, **options):
    """A database of features and matches with known poses, as if of a real capture; and these poses."""
    pycolmap.set_random_seed(seed)
    folder.mkdir(exist_ok=True)
    options = {"num_rigs": 1, "num_frames_per_rig": 8, "num_points3D": 300, **options}
    with pycolmap.Database.open(folder / "database.db") as database:
        truth = pycolmap.synthesize_dataset(pycolmap.SyntheticDatasetOptions(**options), database)
        noise = pycolmap.SyntheticNoiseOptions(point2D_stddev=0.3)
        pycolmap.synthesize_noise(noise, truth, database)
    return folder / "database.db", truth


def reconstruct(database, folder, **settings):
    """The folders of the models."""
    (folder / "images").mkdir(exist_ok=True)
    placed, sparse = folder / "placed", folder / "sparse"
    placed.unlink(missing_ok=True)
    number = mapping.reconstruct(
        database, folder / "images", folder / "work", sparse, Settings(**settings), placed
    )
    assert sorted(path.name for path in sparse.iterdir()) == [str(i) for i in range(number)]
    assert placed.exists() == (number > 0)
    return [sparse / str(i) for i in range(number)]


def bits(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def pictures(folder, count=4, size=(160, 120), step=12):
    """Views of a textured wall, each a little to the side of the last; its lower half is nearer. Grainy."""
    folder.mkdir(parents=True, exist_ok=True)
    (width, height), rng = size, np.random.default_rng(3)
    noise = rng.integers(0, 200, (height // 5, width // 2, 3), dtype=np.uint8)
    wall = np.array(Image.fromarray(noise).resize((width * 5 // 2, height), Image.Resampling.BICUBIC))
    names = [f"picture {i} ü.png" for i in range(count)]
    for i, name in enumerate(names):
        far, near = wall[: height // 2, i * step :], wall[height // 2 :, i * step * 3 // 2 :]
        view = np.concatenate((far[:, :width], near[:, :width]))
        Image.fromarray(view + rng.integers(0, 50, view.shape, dtype=np.uint8)).save(folder / name)
    return names


def prepared(tmp_path, **options):
    names = pictures(tmp_path / "images", **options)
    database = tmp_path / "database.db"
    mapping.register(database, tmp_path / "images", [names], Settings())
    return database, tmp_path / "images"


def test_known_poses_are_found_again(tmp_path):
    database, truth = synthetic(tmp_path)
    (model,) = reconstruct(database, tmp_path)
    compared = pycolmap.compare_reconstructions(
        pycolmap.Reconstruction(model), truth, alignment_error="proj_center"
    )
    errors = compared["errors"]
    assert len(errors) == 8
    assert max(error.rotation_error_deg for error in errors) < 0.2
    assert max(error.proj_center_error for error in errors) < 0.02


def test_the_same_seed_gives_the_same_bits_whatever_the_threads(tmp_path):
    """Past 50 000 residuals pycolmap's own way is to adjust bundles in many threads, each time otherwise."""
    database, _ = synthetic(tmp_path, num_frames_per_rig=3, num_points3D=8600)
    found = []
    for threads in (1, 4):
        (model,) = reconstruct(database, tmp_path, seed=1, threads=threads)
        found.append(bits(model))
    assert 2 * pycolmap.Reconstruction(model).compute_num_observations() > 50_000
    assert found[0] == found[1]


def test_pictures_that_nothing_connects_become_models_of_their_own_the_largest_first(tmp_path):
    database, _ = synthetic(
        tmp_path, num_frames_per_rig=9, match_config=pycolmap.SyntheticDatasetMatchConfig.EXHAUSTIVE
    )
    group = {1: 0, 2: 0, 3: 0, 4: 0}
    for (pair,) in query(database, "SELECT pair_id FROM two_view_geometries"):
        first, second = pycolmap.pair_id_to_image_pair(pair)
        if group.get(first, 1) != group.get(second, 1):
            query(database, f"DELETE FROM two_view_geometries WHERE pair_id={pair}")
            query(database, f"DELETE FROM matches WHERE pair_id={pair}")
    models = [pycolmap.Reconstruction(folder) for folder in reconstruct(database, tmp_path)]
    assert [model.num_reg_images() for model in models] == [5, 4]
    assert not set(models[0].reg_image_ids()) & set(models[1].reg_image_ids())


def test_no_matches_give_no_model(tmp_path):
    database, _ = synthetic(tmp_path)
    for table in ("two_view_geometries", "matches"):
        query(database, f"DELETE FROM {table}")
    assert reconstruct(database, tmp_path) == []


LENS = (900.0, 534.0, 371.0, -0.12, 0.05)  # RADIAL: focal length, principal point off the middle, k1, k2


def of_a_real_lens(folder, pictures):
    """A synthetic capture whose database knows no more of its lens than a photograph's EXIF."""
    model = pycolmap.CameraModelId.RADIAL
    database, truth = synthetic(
        folder, num_frames_per_rig=pictures, camera_model_id=model, camera_params=list(LENS), num_points3D=500
    )
    with pycolmap.Database.open(database) as opened:
        for camera in opened.read_all_cameras():
            guess = pycolmap.Camera.create_from_model_name(
                camera.camera_id, "SIMPLE_RADIAL", 1000.0, 1024, 768
            )
            opened.update_camera(guess)
    return database, truth


def test_many_pictures_of_one_camera_tell_its_lens_in_full(tmp_path):
    """Principal point and k2, which pictures are not placed with: without them all poses are turned."""
    database, truth = of_a_real_lens(tmp_path, mapping.MANY)
    model = pycolmap.Reconstruction(reconstruct(database, tmp_path)[0])
    (camera,) = model.cameras.values()
    assert camera.model.name == "RADIAL"
    points = np.array([point.xyz for point in truth.points3D.values()])
    for image in truth.images.values():
        seen = image.cam_from_world() * points
        away = camera.img_from_cam(seen) - truth.cameras[image.camera_id].img_from_cam(seen)
        assert np.abs(away).max() < 1.5  # pixels; the middle of the picture is 22 off
    errors = pycolmap.compare_reconstructions(model, truth, alignment_error="proj_center")["errors"]
    assert max(error.rotation_error_deg for error in errors) < 0.1


@pytest.mark.parametrize(("name", "found"), [(None, "SIMPLE_RADIAL"), ("OPENCV", "OPENCV")])
def test_few_pictures_leave_the_principal_point_in_the_middle(tmp_path, name, found):
    database, _ = of_a_real_lens(tmp_path, mapping.MANY - 1)
    model = pycolmap.Reconstruction(reconstruct(database, tmp_path, camera_model=name)[0])
    (camera,) = model.cameras.values()
    assert camera.model.name == found
    assert (camera.principal_point_x, camera.principal_point_y) == (512, 384)


@pytest.mark.parametrize("name", mapping.CAMERA_MODELS)
def test_a_lens_stays_what_it_is_when_its_model_changes(name):
    camera = pycolmap.Camera.create_from_model_name(1, mapping.CAMERA_MODELS[name], 900.0, 1024, 768)
    camera.params = [900.0, 534.0, 371.0, -0.12][: len(camera.params)]
    points = np.random.default_rng(0).uniform((-0.5, -0.5, 1.5), (0.5, 0.5, 2.5), (20, 3))
    before = camera.img_from_cam(points)
    mapping._change_model(camera, name)
    assert camera.model.name == name
    np.testing.assert_allclose(camera.img_from_cam(points), before, atol=1e-9)


@pytest.mark.parametrize("params", [(900, 700, 384, 0, 0), (50, 512, 384, 0, 0), (900, 512, 384, 0, 3)])
def test_an_absurd_lens_is_not_kept(params):
    """Far from the middle, fish eyes of a normal lens, coefficients that no lens has."""
    camera = pycolmap.Camera.create_from_model_name(1, "RADIAL", 900.0, 1024, 768)
    assert not mapping._is_absurd(camera)
    camera.params = params
    assert mapping._is_absurd(camera)


def test_features_and_matches_that_are_there_are_not_computed_again(tmp_path):
    """What stands in the database is altered by hand; a second run must leave it altered."""
    database, images = prepared(tmp_path)
    mapping.extract(database, images, [], Settings())
    mapping.match(database, Settings())
    features, pairs = query(database, KEYPOINTS), query(database, PAIRS)
    assert min(rows for _, rows, _ in features) > 50 and len(pairs) == 6
    query(database, "UPDATE keypoints SET data = zeroblob(length(data)) WHERE image_id = 2")
    query(
        database,
        f"UPDATE two_view_geometries SET data = zeroblob(length(data)) WHERE pair_id = {pairs[0][0]}",
    )
    query(database, "DELETE FROM keypoints WHERE image_id = 4")
    query(database, "DELETE FROM descriptors WHERE image_id = 4")
    altered = query(database, KEYPOINTS)
    mapping.extract(database, images, [], Settings())
    mapping.match(database, Settings())
    assert query(database, KEYPOINTS) == [*altered, features[3]]
    assert query(database, PAIRS)[0][2] == bytes(len(pairs[0][2]))
    assert query(database, PAIRS)[1:] == pairs[1:]


def test_features_of_many_pictures_at_a_time_fit_into_the_memory():
    """300 bytes a pixel: eight threads on photographs of 12 megapixels, shrunk to 7.7, would take 18 GB."""
    assert mapping.extraction_threads(4000, 3000, 8, 16 * 2**30) == 3
    assert mapping.extraction_threads(3200, 2400, 8, 16 * 2**30) == 3
    assert mapping.extraction_threads(640, 480, 8, 16 * 2**30) == 8
    assert mapping.extraction_threads(4000, 3000, 8, 2**30) == 1
    assert mapping.extraction_threads(4000, 3000, 8, None) == 8


def test_matches_do_not_depend_on_the_threads_or_on_what_was_matched_before(tmp_path):
    database, images = prepared(tmp_path, count=6)
    mapping.extract(database, images, [], Settings(threads=1))
    mapping.match(database, Settings(threads=1))
    pairs = query(database, PAIRS)
    assert sum(rows > 0 for _, rows, _ in pairs) > 5
    for table in ("two_view_geometries", "matches"):
        query(database, f"DELETE FROM {table} WHERE pair_id % 3 = 0")
    mapping.match(database, Settings(threads=4))
    assert query(database, PAIRS) == pairs


def test_a_camera_is_shared_by_its_group_and_by_no_other(tmp_path):
    names = pictures(tmp_path / "images")
    database = tmp_path / "database.db"
    mapping.register(database, tmp_path / "images", [names[:3], names[3:]], Settings(camera_model="OPENCV"))
    with pycolmap.Database.open(database) as opened:
        cameras = {image.name: image.camera_id for image in opened.read_all_images()}
        assert {camera.model.name for camera in opened.read_all_cameras()} == {"SIMPLE_RADIAL"}
    assert len({cameras[name] for name in names[:3]}) == 1
    assert cameras[names[3]] != cameras[names[0]] and len(cameras) == 4


def test_a_database_that_was_not_finished_is_begun_anew(tmp_path):
    """Killed while the cameras were written: half a list of pictures must not be gone on with."""
    (tmp_path / "database.db.new").write_bytes(b"half")
    database, _ = prepared(tmp_path)
    assert len(query(database, "SELECT * FROM images")) == 4
    mapping.register(database, tmp_path / "nowhere", [["x.png"]], Settings())  # is there: left alone
    assert len(query(database, "SELECT * FROM images")) == 4


def test_the_number_of_pairs_is_what_matching_looks_at(tmp_path):
    database, images = prepared(tmp_path, count=7, step=4)
    mapping.extract(database, images, [], Settings())
    sequential = Settings(matching="sequential", overlap=3)
    mapping.match(database, sequential)
    assert mapping.count(database, "two_view_geometries") == mapping.number_of_pairs(7, sequential) == 18
    mapping.match(database, Settings())
    assert mapping.count(database, "two_view_geometries") == mapping.number_of_pairs(7, Settings()) == 21


def apart(log, work, *arguments, stopped=lambda: False, watch=lambda: None):
    return mapping.apart(work, *arguments, log=log, watch=watch, stopped=stopped)


def test_work_apart_gives_its_result_and_prints_into_the_log(tmp_path, capfd):
    log = tmp_path / "log"
    assert apart(log, operator.add, 1, 2) == 3
    apart(log, print, "some words")
    assert "some words" in log.read_text() and capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("work", "arguments", "said"),
    [
        (operator.truediv, (1, 0), "failed: division by zero"),
        (os.abort, (), "crashed .exit code -6.*log"),
        (signal.raise_signal, (signal.SIGKILL,), "--threads 1"),  # as the system does when memory runs out
    ],
)
def test_work_that_fails_or_crashes_is_an_error_of_one_line(tmp_path, work, arguments, said):
    with pytest.raises(PosesError, match=said) as caught:
        apart(tmp_path / "log", work, *arguments)
    assert "\n" not in str(caught.value)


PARENT = """
import sys, time
from pathlib import Path
from tools.poses import mapping
say = lambda: print("at work", flush=True)
mapping.apart(time.sleep, 60, log=Path(sys.argv[1]), watch=say, stopped=lambda: False)
"""


def test_work_ends_with_a_parent_that_is_killed(tmp_path):
    """Two at one database would do everything twice, and in each other's way."""
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, tmp_path / "log"], cwd=ROOT, stdout=subprocess.PIPE
    )
    parent.stdout.readline()
    (child,) = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
    parent.kill()
    parent.communicate()
    give_up = time.monotonic() + 20
    while at_work(child):
        assert time.monotonic() < give_up
        time.sleep(0.05)


def at_work(process):
    """Whether a process is there, and no zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_work_that_is_to_stop_stops_at_once(tmp_path):
    watched, began = [], time.monotonic()
    with pytest.raises(Interrupted):
        apart(
            tmp_path / "log",
            time.sleep,
            60,
            watch=lambda: watched.append(1),
            stopped=lambda: len(watched) > 2,
        )
    assert time.monotonic() - began < 20


def test_progress_can_be_asked_of_a_database_that_is_missing_or_locked(tmp_path):
    assert mapping.count(tmp_path / "none.db", "keypoints") == 0
    database, _ = prepared(tmp_path)
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        assert mapping.count(database, "keypoints") == 0
