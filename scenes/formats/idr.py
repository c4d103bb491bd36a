"""IDR, NeuS and DTU scenes: projections in cameras_sphere.npz (or cameras.npz), pictures and masks beside it.

    world_mat_i  4x4, P = K [R | t] with last row 0 0 0 1: world to pixels, times depth
    scale_mat_i  4x4, the same for all i: a uniform scale and a shift that take the unit sphere, where the
                 object is, into the world
    image/*.png  (or rgb) picture i is the i-th by name; mask/*.png likewise, 0 where the object is not

The input frame is the world of P, without scale_mat, which tells the box of the scene. These matrices put the
centre of the first pixel at (0, 0): half a pixel is added to the principal point.

Source: IDR (arXiv:2003.09852), NeuS (arXiv:2106.10689).
"""

import re
import zipfile
import zlib
from pathlib import Path

import numpy as np

from scenes.formats.capture import LARGEST, Capture, Frame, Lens, rigid_pose
from scenes.formats.files import numbers_in_npy, picture_size, pictures_in
from scenes.scene import SceneError

NAMES = ("cameras_sphere.npz", "cameras.npz")  # the first that is there
PICTURES = ("image", "rgb")
KEY = re.compile(r"((?:world|scale)_mat_(?:0|[1-9][0-9]{0,5}))\.npy")
MAX_ARCHIVE = 2**24  # bytes
MAX_MEMBER = 2**12  # bytes of one matrix with its header
MAX_SHEAR = 0.1  # pixels between the first and the last row: what a skew of the axes may do
SMALLEST_FOCAL = 1e-3  # of the larger side of the picture
BROKEN = (OSError, EOFError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error)
Box = tuple[tuple[float, ...], tuple[float, ...]]


def recognise(path: Path) -> str | None:
    """Why this is a scene of IDR's kind, or None."""
    try:
        file = _file(path)
        if not file.is_file() or not any((file.parent / name).is_dir() for name in PICTURES):
            return None
    except OSError:  # a name that is too long, a folder that may not be read
        return None
    return f"has {file.name}"


def _file(path: Path) -> Path:
    """The file of matrices: the one given, or the first of NAMES in the folder."""
    if path.name in NAMES and path.is_file():
        return path
    return next((path / name for name in NAMES if (path / name).is_file()), path / NAMES[0])


def capture(path: Path, allow_outside: bool = False) -> Capture:
    """Read a scene.

    Raises: SceneError, also where pictures or masks are not as many as matrices: their order pairs them.
    """
    file = _file(path)
    matrices = _matrices(file)
    count = sum(name.startswith("world") for name in matrices)
    if not count:
        raise SceneError(f"{file}: holds no world_mat_0; is it this file?")
    folder = next((f for f in map(file.parent.joinpath, PICTURES) if f.is_dir()), file.parent / PICTURES[0])
    pictures = _as_many(file, count, folder, pictures_in(folder, file.parent, allow_outside))
    masks: list[Path | None] = [None] * count
    if (folder := file.parent / "mask").is_dir():
        masks = _as_many(file, count, folder, pictures_in(folder, file.parent, allow_outside))
    frames = []
    for index, (picture, mask) in enumerate(zip(pictures, masks, strict=True)):
        if (name := f"world_mat_{index}") not in matrices:
            raise SceneError(f"{file}: {name} is missing, and there are {count} of them; write it again")
        frames.append(_frame(f"{file}: {name} ({picture.name})", matrices[name], picture, mask))
    # Without masks, what lies around the object fills the pictures.
    return Capture(file, tuple(frames), box=_box(file, matrices, count), box_is_all=masks[0] is not None)


def _as_many(file: Path, count: int, folder: Path, pictures: list[Path]) -> list[Path]:
    if len(pictures) != count:
        raise SceneError(
            f"{file}: has {count} matrices world_mat, and {folder} has {len(pictures)} pictures; "
            "keep one picture for each matrix"
        )
    return pictures


def _matrices(file: Path) -> dict[str, np.ndarray]:
    """The 4x4 world_mat and scale_mat of a .npz by name; sizes that its headers claim are not believed."""
    matrices: dict[str, np.ndarray] = {}
    try:
        if not file.is_file():
            raise SceneError(f"{file}: no such file")
        if file.stat().st_size > MAX_ARCHIVE:
            raise SceneError(f"{file}: is larger than {MAX_ARCHIVE} bytes; is it this file?")
        with zipfile.ZipFile(file) as archive:
            for member in archive.infolist():
                if key := KEY.fullmatch(member.filename):
                    label = f"{file}: {key[1]}"
                    if key[1] in matrices:
                        raise SceneError(f"{label}: stands twice in the archive; write it again")
                    matrices[key[1]] = _matrix(label, archive, member)
    except SceneError:
        raise
    except BROKEN as error:
        raise SceneError(
            f"{file}: is no .npz archive of matrices ({str(error) or 'cut short'}); write it again"
        ) from error
    return matrices


def _matrix(label: str, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    """One finite (4, 4) matrix with last row 0 0 0 1, of a bounded piece of the archive."""
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise SceneError(f"{label}: is compressed in a way that numpy does not write; write it again")
    if member.file_size > MAX_MEMBER:
        raise SceneError(
            f"{label}: claims {member.file_size} bytes, too many for 4x4 numbers; write it again"
        )
    with archive.open(member) as stream:
        matrix = numbers_in_npy(label, stream.read(MAX_MEMBER))
    if matrix.shape != (4, 4):
        raise SceneError(f"{label}: is {matrix.shape[0]} x {matrix.shape[1]}; it must be 4 x 4")
    if not (np.abs(matrix) < LARGEST).all():  # false for NaN too
        raise SceneError(f"{label}: is not finite. Remove the frame or fix its matrix.")
    if not np.allclose(matrix[3], [0, 0, 0, 1]):
        raise SceneError(f"{label}: its last row is not 0 0 0 1. Remove the frame or fix its matrix.")
    return matrix


def _frame(label: str, world_mat: np.ndarray, picture: Path, mask: Path | None) -> Frame:
    width, height = picture_size(label, picture)
    intrinsics, pose = decomposed(world_mat[:3])
    fx, fy = intrinsics[0, 0], intrinsics[1, 1]
    if not SMALLEST_FOCAL * max(width, height) < min(fx, fy) < LARGEST:  # false for NaN too
        raise SceneError(f"{label}: is no projection K [R | t] (it is singular). Fix its matrix.")
    shear = abs(intrinsics[0, 1]) * height / fy
    if shear > MAX_SHEAR:
        raise SceneError(
            f"{label}: has a skew of {intrinsics[0, 1]:g}, which shifts pixels by {shear:.2f}; "
            "cameras here have none, so rectify the pictures"
        )
    return Frame(
        label=label,
        name=picture.name,
        image=picture,
        camera_to_world=rigid_pose(label, pose, "world_mat"),
        lens=Lens(
            float(fx), float(fy), float(intrinsics[0, 2]) + 0.5, float(intrinsics[1, 2]) + 0.5, width, height
        ),
        mask=mask,
    )


def decomposed(projection: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Intrinsics (3, 3) and camera-to-world (4, 4), OpenCV axes, of a (3, 4) projection of any scale.

    K is upper triangular with a positive diagonal that ends in 1, and R has determinant 1. Where the
    projection is singular, K holds NaN or a focal length near 0.
    """
    with np.errstate(all="ignore"):
        scale = np.linalg.norm(projection[2, :3]) * np.sign(np.linalg.det(projection[:, :3]))
        scaled = projection / scale
        # K R from a QR decomposition: turned upside down and transposed, K is lower triangular on the right.
        q, r = np.linalg.qr(scaled[::-1, :3].T)
        intrinsics, rotation = r.T[::-1, ::-1], q.T[::-1]
        signs = np.where(intrinsics.diagonal() < 0, -1.0, 1.0)
        intrinsics, rotation = intrinsics * signs, signs[:, None] * rotation
        pose = np.eye(4)
        pose[:3, :3] = rotation.T
        pose[:3, 3] = -rotation.T @ _solved(intrinsics, scaled[:, 3])
    return intrinsics / intrinsics[2, 2], pose


def _solved(upper: np.ndarray, right: np.ndarray) -> np.ndarray:
    """x of upper x = right for an upper triangular (3, 3); infinite or NaN where it is singular."""
    z = right[2] / upper[2, 2]
    y = (right[1] - upper[1, 2] * z) / upper[1, 1]
    x = (right[0] - upper[0, 1] * y - upper[0, 2] * z) / upper[0, 0]
    return np.array([x, y, z])


def _box(file: Path, matrices: dict[str, np.ndarray], count: int) -> Box | None:
    """The cube around the unit sphere of scale_mat, in the world; None where there is no scale_mat at all."""
    if not any(name.startswith("scale") for name in matrices):
        return None
    for name in (f"scale_mat_{index}" for index in range(count)):
        if name not in matrices:
            raise SceneError(f"{file}: {name} is missing, and others are there; write it again")
        matrix, first = matrices[name], matrices["scale_mat_0"]
        half, centre = float(matrix[0, 0]), matrix[:3, 3]
        if not half > 0 or not np.allclose(matrix[:3, :3], half * np.eye(3), rtol=1e-5, atol=1e-5 * half):
            raise SceneError(f"{file}: {name} is no uniform scale and shift; normalise the cameras again")
        if not np.allclose(matrix, first, rtol=1e-5, atol=1e-5 * half):
            raise SceneError(f"{file}: {name} differs from scale_mat_0; one scene has one unit sphere")
    return tuple(map(float, centre - half)), tuple(map(float, centre + half))
