"""Structure from motion with pycolmap: cameras, features, matches, models.

The database keeps features and matches, a picture and a few pairs at a time: what stands in it is not
computed again. SIFT on the CPU throughout: other features would be downloaded.
"""

import importlib
import itertools
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Sequence, Set
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from tools.poses.photos import PosesError

# COLMAP's camera models that scenes/formats reads, each with the simple one that pictures are placed with: a
# few pictures do not fix many coefficients, and a wrong lens leaves the next picture without a place.
CAMERA_MODELS = {
    "SIMPLE_PINHOLE": "SIMPLE_PINHOLE",
    "PINHOLE": "SIMPLE_PINHOLE",
    "SIMPLE_RADIAL": "SIMPLE_RADIAL",
    "RADIAL": "SIMPLE_RADIAL",
    "OPENCV": "SIMPLE_RADIAL",
    "FULL_OPENCV": "SIMPLE_RADIAL",
    "SIMPLE_RADIAL_FISHEYE": "SIMPLE_RADIAL_FISHEYE",
    "RADIAL_FISHEYE": "SIMPLE_RADIAL_FISHEYE",
    "OPENCV_FISHEYE": "SIMPLE_RADIAL_FISHEYE",
}
FIRST_MODEL, USUAL_MODEL = "SIMPLE_RADIAL", "RADIAL"  # where nobody names one
FISHEYE_FOCAL = 0.5  # first guess, over the longer side: 115 degrees across
MANY = 10  # pictures of one camera, which fix its principal point as well
PRINCIPAL_POINT_SHIFT = 0.1  # most, of the longer side
BOGUS = (0.1, 10.0, 1.0)  # focal length over the longer side, and coefficients: COLMAP's own limits
MATCHING = ("exhaustive", "sequential")
MOST_EXHAUSTIVE = 200  # photographs: 19 900 pairs
DOUBLINGS = 10  # sequential matching looks at neighbours 1, 2, 4, ... 512 places away, too
BLOCK = 8  # exhaustive matching saves after BLOCK^2 pairs
SMALLEST_MODEL = 3  # photographs; two fit anything
LARGEST_SIDE = 3200  # pixels; larger pictures are shrunk to find features, as COLMAP does
BYTES_PER_PIXEL = 300  # of memory, for a picture's features (measured)
POLL = 0.1  # seconds between looks at the database
# Not multiprocessing: that runs the program's main module anew, which need not be made for it.
APART = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from tools.poses.mapping import serve; serve()"
)  # fmt: skip


class Interrupted(Exception):
    """Somebody wants to stop; what is done is in the database."""


@dataclass(frozen=True)
class Settings:
    """How poses are found. camera_model: None: see `refine`. threads: None: all."""

    camera_model: str | None = None
    matching: str = "exhaustive"
    overlap: int = 10  # neighbours on either side, in sequential matching
    seed: int = 0
    threads: int | None = None

    @property
    def first_model(self) -> str:
        """The camera model that pictures are placed with."""
        return CAMERA_MODELS[self.camera_model or FIRST_MODEL]

    @property
    def is_fisheye(self) -> bool:
        return self.first_model.endswith("FISHEYE")


def load_pycolmap() -> ModuleType:
    """pycolmap. Raises: PosesError, which names the extra, where it is missing."""
    try:
        import pycolmap
    except ImportError as error:
        remedy = 'pip install "render-fields[poses]"'
        if isinstance(error, ModuleNotFoundError):
            raise PosesError(f"pycolmap is missing: {remedy}") from error
        raise PosesError(f"pycolmap cannot be loaded ({error}); install it again: {remedy}") from error
    return pycolmap


def register(database: Path, images: Path, groups: Sequence[Sequence[str]], settings: Settings) -> None:
    """Make the database with a camera for each group of pictures: all at once, or not at all.

    The first guess of a focal length is the EXIF's, else 1.2 times the longer side; half of it for a fisheye.
    """
    pycolmap = load_pycolmap()
    if database.exists():
        return
    fresh = database.with_name(database.name + ".new")
    for left in database.parent.glob(f"{fresh.name}*"):
        left.unlink()
    pycolmap.Database.open(fresh).close()
    for names in groups:
        pycolmap.import_images(
            fresh,
            images,
            camera_mode=pycolmap.CameraMode.SINGLE,
            image_names=list(names),
            options=pycolmap.ImageReaderOptions(camera_model=settings.first_model),
        )
    if settings.is_fisheye:
        _guess_fisheyes(fresh)
    fresh.rename(database)


def _guess_fisheyes(database: Path) -> None:
    """Focal lengths as if they were known: a pair of fisheye pictures is not compared without."""
    with load_pycolmap().Database.open(database) as opened:
        for camera in opened.read_all_cameras():
            if not camera.has_prior_focal_length:
                camera.focal_length = FISHEYE_FOCAL * max(camera.width, camera.height)
                camera.has_prior_focal_length = True
                opened.update_camera(camera)


def extract(database: Path, images: Path, groups: Sequence[Sequence[str]], settings: Settings) -> None:
    """SIFT features of the pictures that have none yet; `register` where there is no database."""
    pycolmap = load_pycolmap()
    register(database, images, groups, settings)
    with pycolmap.Database.open(database) as opened:
        largest = max(opened.read_all_cameras(), key=lambda camera: camera.width * camera.height)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else None
    threads = settings.threads or extraction_threads(
        largest.width, largest.height, os.cpu_count() or 1, memory
    )
    options = pycolmap.FeatureExtractionOptions(
        num_threads=threads, max_image_size=LARGEST_SIDE, use_gpu=False
    )
    pycolmap.extract_features(database, images, extraction_options=options, device=pycolmap.Device.cpu)


def extraction_threads(width: int, height: int, cores: int, memory: int | None) -> int:
    """How many pictures of this size to work on at a time: half of the memory (bytes; None: not known)."""
    shrink = min(LARGEST_SIDE / max(width, height), 1.0)
    needed = width * height * shrink**2 * BYTES_PER_PIXEL
    return cores if memory is None else max(min(cores, int(memory / 2 / needed)), 1)


def match(database: Path, settings: Settings) -> None:
    """Match the pairs that are not matched yet, and keep what one rigid scene can explain."""
    pycolmap = load_pycolmap()
    verification = pycolmap.TwoViewGeometryOptions()
    # Otherwise every thread draws from its own numbers, and a pair's result depends on the pairs before it.
    verification.ransac.random_seed = settings.seed
    options = {
        "matching_options": pycolmap.FeatureMatchingOptions(
            num_threads=settings.threads or -1, use_gpu=False
        ),
        "verification_options": verification,
        "device": pycolmap.Device.cpu,
    }
    if settings.matching == "exhaustive":
        blocks = pycolmap.ExhaustivePairingOptions(block_size=BLOCK)
        pycolmap.match_exhaustive(database, pairing_options=blocks, **options)
        return
    for overlap, quadratic in ((settings.overlap, False), (DOUBLINGS, True)):
        near = pycolmap.SequentialPairingOptions(overlap=overlap, quadratic_overlap=quadratic)
        pycolmap.match_sequential(database, pairing_options=near, **options)


def reconstruct(
    database: Path, images: Path, work: Path, sparse: Path, settings: Settings, placed: Path
) -> int:
    """Incremental mapping. Writes sparse/0, sparse/1, ..., the largest model first.

    Returns how many there are, maybe none. work: a folder for pycolmap. placed: a file for the number of
    pictures that have found their place so far.
    """
    pycolmap = load_pycolmap()
    pictures = itertools.count(1)

    def note() -> None:
        placed.write_text(str(next(pictures)))

    pycolmap.set_random_seed(settings.seed)
    options = pycolmap.IncrementalPipelineOptions(
        # Ceres adds in the order in which its threads come, and the first pair depends on their number:
        # with one thread the same seed gives the same bits on any machine like this one.
        num_threads=1,
        random_seed=settings.seed,
        min_model_size=SMALLEST_MODEL,
    )
    # A point in two pictures only is left out, unless there are only two.
    options.triangulation.ignore_two_view_tracks = len(list(images.iterdir())) > 2
    options.mapper.random_seed = options.triangulation.random_seed = settings.seed
    for folder in (work, sparse):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    found = pycolmap.incremental_mapping(database, images, work, options, next_image_callback=note)
    models = sorted(found.values(), key=lambda model: (-model.num_reg_images(), -model.num_points3D()))
    for number, model in enumerate(models):
        (sparse / str(number)).mkdir()
        refine(model, settings.camera_model).write_binary(sparse / str(number))
    return len(models)


def refine(model: Any, camera_model: str | None) -> Any:
    """A last bundle adjustment of a `pycolmap.Reconstruction`, with the lenses in full. Returns the result.

    camera_model: what all cameras become; None: those of MANY pictures become USUAL_MODEL, the others stay.
    Of cameras of MANY pictures the principal point is found, too. If a lens comes out absurd, all stays.
    """
    pycolmap = load_pycolmap()
    pictures = Counter(model.image(number).camera_id for number in model.reg_image_ids())
    many = {number for number in pictures if pictures[number] >= MANY}
    refined = pycolmap.Reconstruction(model)
    for number, camera in refined.cameras.items():
        if camera_model or number in many:
            _change_model(camera, camera_model or USUAL_MODEL)
    if camera_model and pictures.keys() - many:
        _adjust(refined, fixed=set(), principal_point=False)
    if many:
        _adjust(refined, fixed=pictures.keys() - many, principal_point=True)
    return model if any(map(_is_absurd, refined.cameras.values())) else refined


def _change_model(camera: Any, name: str) -> None:
    """Make a first model another one: what that knows besides is 0."""
    pycolmap = load_pycolmap()
    known = dict(zip(camera.params_info.split(", "), camera.params, strict=True))
    known |= {"fx": known["f"], "fy": known["f"], "k1": known.get("k", 0.0)}
    camera.model = getattr(pycolmap.CameraModelId, name)
    camera.params = [known.get(parameter, 0.0) for parameter in camera.params_info.split(", ")]


def _adjust(model: Any, fixed: Set[int], principal_point: bool) -> None:
    """Bundle adjustment of all poses, points and intrinsics but those of the cameras in `fixed`."""
    pycolmap = load_pycolmap()
    options = pycolmap.BundleAdjustmentOptions(refine_principal_point=principal_point, print_summary=False)
    options.ceres.solver_options.num_threads = 1  # as in `reconstruct`
    config = pycolmap.BundleAdjustmentConfig()
    for number in model.reg_image_ids():
        config.add_image(number)
    for number in fixed:
        config.set_constant_cam_intrinsics(number)
    config.fix_gauge(pycolmap.BundleAdjustmentGauge.TWO_CAMS_FROM_WORLD)
    pycolmap.create_default_bundle_adjuster(options, config, model).solve()


def _is_absurd(camera: Any) -> bool:
    across, down = (
        abs(camera.principal_point_x - camera.width / 2),
        abs(camera.principal_point_y - camera.height / 2),
    )
    limit = PRINCIPAL_POINT_SHIFT * max(camera.width, camera.height)
    return camera.has_bogus_params(*BOGUS) or max(across, down) > limit


def apart(
    work: Callable[..., Any],
    *arguments: Any,
    log: Path,
    watch: Callable[[], None],
    stopped: Callable[[], bool],
) -> Any:
    """`work(*arguments)` in a process of its own: it can be ended at any moment, and its crash is not ours.

    work is a function of a module; arguments are paths, Settings and what JSON holds, the result is what JSON
    holds. What is printed goes to the end of the file `log`; `watch` is called every POLL seconds.
    Raises: Interrupted, at once when `stopped` says so; PosesError if it fails or crashes.
    """
    order = json.dumps([work.__module__, work.__qualname__, arguments], default=_plain)
    with (
        log.open("ab") as words,
        subprocess.Popen(
            [sys.executable, "-c", APART, json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=words,
            start_new_session=True,  # Ctrl-C is for us to hear
        ) as process,
    ):
        try:
            process.stdin.write(order.encode() + b"\n")
            process.stdin.flush()
            while process.poll() is None:
                if stopped():
                    raise Interrupted
                watch()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(POLL)
        except BrokenPipeError:
            process.wait()
        finally:
            process.kill()
        said = process.stdout.read()
    if not said:
        raise _crash(process.returncode, log)
    answer = json.loads(said)
    if "error" in answer:
        raise PosesError(answer["error"])
    return answer["result"]


def serve() -> None:
    """What a process of `apart` does: one order from stdin, its result to stdout, all else to stderr."""
    answers = os.dup(1)
    os.dup2(2, 1)
    module, name, arguments = json.loads(sys.stdin.readline(), object_hook=_restored)
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    try:
        answer = {"result": getattr(importlib.import_module(module), name)(*arguments)}
    except PosesError as error:
        answer = {"error": str(error)}
    except Exception as error:
        traceback.print_exc()
        answer = {"error": f"pycolmap failed: {error}"}
    sys.stdout.flush()
    os.write(answers, json.dumps(answer).encode())


def _leave_with_parent() -> None:
    """Whoever is killed takes the work along: two at one database would be in each other's way."""
    os.read(0, 1)  # nothing comes but the end
    os._exit(1)


def _plain(value: Settings | Path) -> dict[str, Any]:
    return {"settings": asdict(value)} if isinstance(value, Settings) else {"path": str(value)}


def _restored(value: dict[str, Any]) -> Settings | Path | dict[str, Any]:
    if "settings" in value:
        return Settings(**value["settings"])
    return Path(value["path"]) if "path" in value else value


def _crash(code: int, log: Path) -> PosesError:
    if code == -signal.SIGKILL:
        return PosesError(f"pycolmap was killed; if memory ran out, use --threads 1 (see {log})")
    return PosesError(f"pycolmap crashed (exit code {code}); its last words are in {log}")


def ask(database: Path, query: str) -> list[tuple]:
    """What the database answers, also while another process writes it; nothing while it is locked.

    Never while this process has it open through pycolmap: closing one of two SQLite libraries' files in
    a process drops the locks of the other.
    """
    address = f"{database.resolve().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(address, uri=True, timeout=POLL)) as connection:
            return connection.execute(query).fetchall()
    except sqlite3.OperationalError:
        return []


def count(database: Path, table: str) -> int:
    """How many pictures have `keypoints`, or how many pairs have `two_view_geometries`, so far."""
    return sum(number for (number,) in ask(database, f"SELECT COUNT(*) FROM {table}"))


def number_of_features(database: Path) -> int:
    return sum(rows for (rows,) in ask(database, "SELECT rows FROM keypoints"))


def number_of_connected(database: Path) -> int:
    """Pairs that one rigid scene explains."""
    return len(ask(database, "SELECT pair_id FROM two_view_geometries WHERE rows > 0"))


def cameras_with_prior(database: Path, settings: Settings) -> set[int]:
    """Cameras whose focal length EXIF tells."""
    if settings.is_fisheye:  # a guess is marked like that, too
        return set()
    return {number for (number,) in ask(database, "SELECT camera_id FROM cameras WHERE prior_focal_length")}


def number_of_pairs(pictures: int, settings: Settings) -> int:
    """How many pairs `match` looks at."""
    if settings.matching == "exhaustive":
        return pictures * (pictures - 1) // 2
    steps = {*range(1, settings.overlap + 1), *(2**power for power in range(DOUBLINGS))}
    return sum(max(pictures - step, 0) for step in steps)
