"""COLMAP's sparse model as it lies on disk: cameras, images, points, and since version 3.12 rigs and frames.

A record is taken by one function whether the file is .bin or .txt (scenes/formats/colmap_records.py). Poses
are those of the file, world to camera: a quaternion w x y z (Hamilton), then a translation. Keypoints are
skipped.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from scenes.formats.colmap_points import NO_POINTS, Keypoints, Points, read_points, write_points
from scenes.formats.colmap_records import CAMERA_MODELS, Records, Row, read_records, write_records
from scenes.scene import SceneError

POSE = "d" * 7

Numbers = tuple[float, ...]


class Camera(NamedTuple):
    """Intrinsics; the parameters are those that CAMERA_MODELS names."""

    id: int
    model: str
    width: int
    height: int
    parameters: Numbers


class Image(NamedTuple):
    """A registered picture; `pose` is world to camera."""

    id: int
    pose: Numbers
    camera_id: int
    name: str


class Rig(NamedTuple):
    """Sensors fixed to each other: kind, id, and pose rig to sensor (None: unknown; the first is the rig)."""

    id: int
    sensors: tuple[tuple[str, int, Numbers | None], ...]


class RigFrame(NamedTuple):
    """A rig at one time; `pose` is world to rig, `data` are kind and id of a sensor, and of its image."""

    id: int
    rig_id: int
    pose: Numbers
    data: tuple[tuple[str, int, int], ...]


class SparseModel(NamedTuple):
    """All that the files of one model say, as they say it.

    keypoints: by image, of a model that is to be written; none are read.
    """

    cameras: tuple[Camera, ...]
    images: tuple[Image, ...]
    points: Points = NO_POINTS
    rigs: tuple[Rig, ...] = ()
    frames: tuple[RigFrame, ...] = ()
    keypoints: Mapping[int, Keypoints] = MappingProxyType({})


def suffix_of_model(folder: Path) -> str | None:
    """.bin or .txt, which of them the model in this folder is written in; None: there is no model."""
    for suffix in (".bin", ".txt"):
        if all((folder / (stem + suffix)).is_file() for stem in ("cameras", "images")):
            return suffix
    return None


def read_model(folder: Path) -> SparseModel:
    """The model in a folder; points, rigs and frames may be missing. Raises: SceneError."""
    cameras, images = read_cameras_and_images(folder)
    suffix = suffix_of_model(folder)
    rigs, frames, points = (folder / f"{stem}{suffix}" for stem in ("rigs", "frames", "points3D"))
    return SparseModel(
        cameras,
        images,
        read_points(points) if points.exists() else NO_POINTS,
        read_records(rigs, "rig", 8, _take_rig) if rigs.exists() else (),
        read_records(frames, "frame", 68, _take_frame) if frames.exists() else (),
    )


def read_cameras_and_images(folder: Path) -> tuple[tuple[Camera, ...], tuple[Image, ...]]:
    """Cameras and registered pictures of the model in a folder. Raises: SceneError."""
    suffix = suffix_of_model(folder)
    if suffix is None:
        raise SceneError(f"{folder}: has no cameras.bin and images.bin (or .txt); give a COLMAP model")
    cameras = read_records(folder / ("cameras" + suffix), "camera", 40, _take_camera)
    return cameras, read_images(folder, suffix)


def read_images(folder: Path, suffix: str) -> tuple[Image, ...]:
    """The registered pictures alone. Raises: SceneError."""
    return read_records(folder / ("images" + suffix), "image", 73, _take_image)


def _take_camera(record: Records) -> Camera:
    number, model, width, height = record.take("IMQQ", "id, model and size")
    parameters = record.take("d" * len(CAMERA_MODELS[model]), "parameters")
    return Camera(number, model, width, height, tuple(parameters))


def _take_image(record: Records) -> Image:
    number, *pose, camera = record.take("I" + POSE + "I", "id, pose and camera")
    image = Image(number, tuple(pose), camera, record.name())
    record.skip_keypoints()
    return image


def _take_rig(record: Records) -> Rig:
    number, count = record.take("II", "id and number of sensors")
    sensors = []
    for index in range(count):  # ends with the file, whatever the count
        kind, sensor = record.take("SI", "sensors")
        known = index > 0 and record.take("B", "sensors")[0]
        sensors.append((kind, sensor, tuple(record.take(POSE, "sensors")) if known else None))
    return Rig(number, tuple(sensors))


def _take_frame(record: Records) -> RigFrame:
    number, rig, *pose, count = record.take("II" + POSE + "I", "id, rig, pose and number of data")
    return RigFrame(number, rig, tuple(pose), tuple(tuple(record.take("SIQ", "data")) for _ in range(count)))


def write_model(folder: Path, model: SparseModel, suffix: str = ".bin") -> None:
    """Write the files of a model, images last: with them it counts as there."""
    folder.mkdir(parents=True, exist_ok=True)
    write_points(folder / ("points3D" + suffix), model.points)
    if model.rigs:
        write_records(folder / ("rigs" + suffix), map(_rig_row, model.rigs))
        write_records(folder / ("frames" + suffix), map(_frame_row, model.frames))
    write_records(folder / ("cameras" + suffix), map(_camera_row, model.cameras))
    rows = (_image_row(image, model.keypoints.get(image.id)) for image in model.images)
    write_records(folder / ("images" + suffix), rows)


def _camera_row(camera: Camera) -> Row:
    return "IMQQ" + "d" * len(camera.parameters), (*camera[:4], *camera.parameters)


def _image_row(image: Image, keypoints: Keypoints | None) -> Row:
    found = [] if keypoints is None else zip(keypoints.xy.tolist(), keypoints.point.tolist(), strict=True)
    each = [(x, y, point + 1) for (x, y), point in found]
    return "I" + POSE + "INK", (image.id, *image.pose, image.camera_id, image.name, each)


def _rig_row(rig: Rig) -> Row:
    codes, values = "II", [rig.id, len(rig.sensors)]
    for index, (kind, sensor, pose) in enumerate(rig.sensors):
        codes += "SI" + ("B" if index else "") + (POSE if pose else "")
        values += [kind, sensor, *([int(pose is not None)] if index else []), *(pose or ())]
    return codes, tuple(values)


def _frame_row(frame: RigFrame) -> Row:
    data = [value for datum in frame.data for value in datum]
    head = (frame.id, frame.rig_id, *frame.pose, len(frame.data))
    return "II" + POSE + "I" + "SIQ" * len(frame.data), (*head, *data)
