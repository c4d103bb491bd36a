"""The health report of poses: how much was found, how well it fits, and what to do where it is bad."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tools.poses.mapping import Settings, load_pycolmap
from tools.poses.photos import PosesError, Position

VERSION = 1  # of poses.json
# What a good capture reaches; below, there is advice.
GOOD_SHARE = 0.9  # of the pictures
GOOD_ERROR = 1.0  # pixels
GOOD_TRACK = 2.8  # pictures that see a point
NAMED = 8  # names in a line of advice


@dataclass(frozen=True)
class Placed:
    """One connected model.

    names    of its pictures, sorted
    centres  (n, 3) float64 of their cameras, in the model's frame
    """

    names: tuple[str, ...]
    centres: np.ndarray


@dataclass(frozen=True)
class Health:
    """Numbers of the largest model, and which pictures are in none.

    mean_reprojection_error  pixels, over all observations
    mean_track_length        pictures that see a point
    mean_observations        points that a picture sees
    cameras                  model, width, height, params and whether EXIF told the focal length, one a camera
    """

    images: int
    registered: int
    mean_reprojection_error: float
    points: int
    mean_track_length: float
    mean_observations: float
    models: tuple[Placed, ...]
    unplaced: tuple[str, ...]
    cameras: tuple[dict[str, Any], ...]

    @property
    def share(self) -> float:
        return self.registered / self.images


@dataclass(frozen=True)
class Alignment:
    """How the positions of cameras agree with their GPS, after the best similarity.

    photos            how many have both
    median_error      metres
    median_horizontal the same without the height, which GPS knows least
    metres_per_unit   of the model's frame
    origin            latitude, longitude and altitude of the local frame: x east, y north, z up
    enu_from_model    4x4, [s R, t; 0, 1]
    """

    photos: int
    median_error: float
    median_horizontal: float
    metres_per_unit: float
    origin: tuple[float, float, float]
    enu_from_model: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Report:
    """All that there is to say. positions: by picture; alignment: None where too few pictures have one."""

    health: Health
    positions: Mapping[str, Position]
    alignment: Alignment | None
    advice: Sequence[str]


def examine(folders: Sequence[Path], names: Sequence[str], priors: Set[int]) -> Health:
    """The health of the COLMAP models in `folders`, at least one, the largest first, of these pictures.

    priors: the cameras whose focal length EXIF tells, which the models' files do not know.
    """
    models = [load_pycolmap().Reconstruction(folder) for folder in folders]
    placed = tuple(_placed(model) for model in models)
    best = models[0]
    best.update_point_3d_errors()
    known = {name for model in placed for name in model.names}
    return Health(
        images=len(names),
        registered=best.num_reg_images(),
        mean_reprojection_error=best.compute_mean_reprojection_error(),
        points=best.num_points3D(),
        mean_track_length=best.compute_mean_track_length(),
        mean_observations=best.compute_mean_observations_per_reg_image(),
        models=placed,
        unplaced=tuple(name for name in names if name not in known),
        cameras=tuple(_camera(best.cameras[number], number in priors) for number in sorted(best.cameras)),
    )


def _placed(model: Any) -> Placed:
    images = sorted((model.image(number) for number in model.reg_image_ids()), key=lambda image: image.name)
    centres = np.array([image.projection_center() for image in images])
    return Placed(tuple(image.name for image in images), centres)


def _camera(camera: Any, prior: bool) -> dict[str, Any]:
    return {
        "model": camera.model.name,
        "width": camera.width,
        "height": camera.height,
        "params": [float(value) for value in camera.params],
        "focal_length_from_exif": prior,
    }


def align(model: Placed, positions: Mapping[str, Position]) -> Alignment | None:
    """Compare with GPS; None if fewer than three pictures have it, or they do not span a frame.

    Heights count only where every picture has one. Raises nothing.
    """
    both = [(centre, positions[name]) for name, centre in zip(model.names, model.centres, strict=True)
            if name in positions]  # fmt: skip
    if len(both) < 3:
        return None
    centres = np.array([centre for centre, _ in both])
    heights = [position.altitude for _, position in both]
    known = all(height is not None for height in heights)
    places = np.array([(p.latitude, p.longitude, p.altitude if known else 0.0) for _, p in both])
    origin = places.mean(axis=0)
    metres = enu(places, origin)
    matrix = similarity_between(centres, metres)
    if matrix is None:
        return None
    away = centres @ matrix[:3, :3].T + matrix[:3, 3] - metres
    return Alignment(
        photos=len(both),
        median_error=float(np.median(np.linalg.norm(away, axis=1))),
        median_horizontal=float(np.median(np.linalg.norm(away[:, :2], axis=1))),
        metres_per_unit=float(np.cbrt(np.linalg.det(matrix[:3, :3]))),
        origin=tuple(origin.tolist()),
        enu_from_model=tuple(tuple(row) for row in matrix.tolist()),
    )


def enu(places: np.ndarray, origin: np.ndarray) -> np.ndarray:
    """Latitude, longitude (degrees) and altitude (n, 3) as metres east, north and up of `origin` (WGS84)."""
    return load_pycolmap().GPSTransform().ellipsoid_to_enu(places, *origin)


def similarity_between(source: np.ndarray, target: np.ndarray) -> np.ndarray | None:
    """The similarity (4, 4) that takes points (n, 3) nearest to others: least squares (Umeyama, PAMI 1991).

    None where the points do not fix its scale: all of one set in one place.
    """
    middle_source, middle_target = source.mean(axis=0), target.mean(axis=0)
    a, b = source - middle_source, target - middle_target
    spread = (a**2).sum()
    if spread < 1e-18 or (b**2).sum() < 1e-18:
        return None
    left, values, right = np.linalg.svd(b.T @ a)
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
    rotation = left @ np.diag(signs) @ right
    scale = (values * signs).sum() / spread
    matrix = np.eye(4)
    matrix[:3, :3] = scale * rotation
    matrix[:3, 3] = middle_target - scale * rotation @ middle_source
    return matrix


def advice(health: Health, settings: Settings, video: bool) -> list[str]:
    """What to do, most important first; nothing where all is well."""
    lines = []
    more = "keep more frames (--frames N)" if video else "take sharp photos that overlap by two thirds"
    if health.share < GOOD_SHARE:
        wider = ", or compare all pairs (--matching exhaustive)" if settings.matching == "sequential" else ""
        lines.append(f"only {health.registered} of {health.images} pictures have a pose: {more}{wider}")
    if len(health.models) > 1:
        first, second = (_span(model.names) for model in health.models[:2])
        lines.append(
            f"the pictures fall into {len(health.models)} models that nothing connects ({first}; {second}): "
            "add pictures from between them"
        )
    if health.unplaced:
        lines.append(f"without a pose: {_listed(health.unplaced)}")
    if health.mean_reprojection_error > GOOD_ERROR:
        other = "--camera per-image" if settings.camera_model else "--camera-model OPENCV"
        lines.append(
            f"points miss their pixels by {health.mean_reprojection_error:.2f} on average: try {other}, and "
            "leave out pictures in which things move"
        )
    kept = {camera["model"] for camera in health.cameras} - {settings.camera_model}
    if settings.camera_model and kept:
        lines.append(
            f"{settings.camera_model} came out absurd, {' '.join(kept)} was kept: leave out --camera-model"
        )
    if health.mean_track_length < GOOD_TRACK:
        lines.append(f"a point is seen by only {health.mean_track_length:.1f} pictures on average: {more}")
    return lines


def no_model(connected: int, settings: Settings, partial: Path) -> PosesError:
    """The error for pictures that gave no model, though `connected` pairs of them show the same thing."""
    if connected == 0:
        cause = "no two pictures show the same thing sharply enough"
        remedy = "take photos that overlap by two thirds, of something with texture"
    else:
        cause = "the pictures overlap, but not from places far enough apart"
        remedy = "step sideways between photos, and do not only turn"
    wider = " or try --matching exhaustive" if settings.matching == "sequential" else ""
    return PosesError(
        f"no poses found: {cause}; {remedy}{wider} (features and matches are kept in {partial})"
    )


def _span(names: Sequence[str]) -> str:
    return f"{len(names)} from {names[0]} to {names[-1]}"


def _listed(names: Sequence[str]) -> str:
    rest = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + rest


def lines(report: Report) -> list[str]:
    """The report as people read it."""
    health, alignment = report.health, report.alignment
    shown = [
        f"registered          {health.registered} of {health.images} pictures ({health.share:.0%})",
        f"reprojection error  {health.mean_reprojection_error:.2f} pixels on average",
        f"points              {health.points}, each in {health.mean_track_length:.1f} pictures on average",
        f"observations        {health.mean_observations:.0f} a picture on average",
        f"models              {len(health.models)}",
    ]
    if alignment:
        shown.append(
            f"gps                 {alignment.median_error:.2f} m off (median of {alignment.photos} pictures; "
            f"{alignment.median_horizontal:.2f} m without the height)"
        )
    return shown + [f"advice: {line}" for line in report.advice]


def as_json(report: Report) -> dict[str, Any]:
    """The report as plain data."""
    health = report.health
    return {
        "version": VERSION,
        "images": health.images,
        "registered": health.registered,
        "mean_reprojection_error": health.mean_reprojection_error,
        "points": health.points,
        "models": len(health.models),
        "mean_track_length": health.mean_track_length,
        "mean_observations_per_image": health.mean_observations,
        "pictures_of_models": [list(model.names) for model in health.models],
        "without_pose": list(health.unplaced),
        "cameras": list(health.cameras),
        "gps": {
            "positions": {name: list(vars(position).values()) for name, position in report.positions.items()},
            "alignment": asdict(report.alignment) if report.alignment else None,
        },
        "advice": list(report.advice),
    }
