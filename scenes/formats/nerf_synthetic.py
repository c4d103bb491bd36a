"""NeRF-synthetic (Blender) scenes: transforms_{train,val,test}.json and RGBA pictures beside it.

    {"camera_angle_x": horizontal field of view, radians,
     "frames": [{"file_path": "./train/r_0", "transform_matrix": 4x4 camera-to-world, OpenGL axes}]}

As in the original code of NeRF (arXiv:2003.08934): square pixels, a centred camera, z up, the object
within 1.5 of the origin, near 2, far 6, and a white background where there is alpha. Exact geometry may
stand beside a picture: test/r_0.npz with `z_depth` (H, W) and `normal` (H, W, 3).
"""

import json
import math
import warnings
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from scenes.cameras import Cameras
from scenes.images import ImageHeader, ImageSequence, read_header, write_png
from scenes.scene import Bounds, Scene, SceneError, SceneWarning
from scenes.transforms import opengl_to_opencv, transform_poses

SPLITS = ("train", "val", "test")
EXTENSIONS = (".png", ".jpg", ".jpeg")  # tried in turn where file_path has none
BOUNDS = Bounds((-1.5, -1.5, -1.5), (1.5, 1.5, 1.5), near=2.0, far=6.0)
WHITE = (1.0, 1.0, 1.0)
ROTATION_TOLERANCE = 1e-3  # of the entries of R^T R - 1


def _folder(path: Path) -> Path:
    return path.parent if path.is_file() else path


def recognise(path: Path) -> str | None:
    """Why this is a NeRF-synthetic scene, or None."""
    if path.is_file() and path.name not in {f"transforms_{split}.json" for split in SPLITS}:
        return None
    found = splits(path)
    return f"has transforms_{found[0]}.json" if found else None


def splits(path: Path) -> tuple[str, ...]:
    """The splits whose file is there."""
    return tuple(s for s in SPLITS if (_folder(path) / f"transforms_{s}.json").is_file())


class _Frame(NamedTuple):
    label: str  # for messages: file, number and name
    name: str
    image: Path | None  # None: missing
    camera_to_world: list[list[float]]  # OpenGL


def read(path: Path, split: str = "train", downscale: float | int = 1, allow_outside: bool = False) -> Scene:
    """Read one split; see `scenes.formats.read`."""
    folder = _folder(path)
    if split not in SPLITS:
        raise SceneError(f"{folder}: no split {split!r}; a NeRF-synthetic scene has {', '.join(SPLITS)}")
    file = folder / f"transforms_{split}.json"
    contents = _load(file)
    angle = contents.get("camera_angle_x")
    if not _is_number(angle) or not 1e-4 < angle < math.pi:
        raise SceneError(f"{file}: camera_angle_x is {angle!r}; give the horizontal field of view in radians")
    entries = contents.get("frames")
    if not isinstance(entries, list) or not entries:
        raise SceneError(f"{file}: frames is missing or empty; list at least one frame")
    _check_plain(file, contents)
    frames = _present(file, [_frame(file, i, e, allow_outside) for i, e in enumerate(entries)])
    header = _common_header(frames)

    poses = torch.tensor([frame.camera_to_world for frame in frames], dtype=torch.float64)
    n, focal = len(frames), 0.5 * header.width / math.tan(angle / 2)
    focals = torch.full((n,), focal)
    cx, cy = torch.full((n,), header.width / 2), torch.full((n,), header.height / 2)
    scene = Scene(
        name=folder.resolve().name,
        cameras=Cameras(opengl_to_opencv(poses).float(), focals, focals, cx, cy, header.width, header.height),
        images=ImageSequence(tuple(frame.image for frame in frames if frame.image)),
        bounds=BOUNDS,
        background=WHITE if header.has_alpha else None,
        has_alpha=header.has_alpha,
        source=folder,
        frame_names=tuple(frame.name for frame in frames),
    )
    return scene.downscaled(downscale)


def _check_plain(file: Path, contents: dict[str, Any]) -> None:
    """Refuse lenses and principal points that this format has no place for, and that other programs write."""
    bent = [key for key in ("k1", "k2", "k3", "k4", "p1", "p2") if contents.get(key) not in (None, 0, 0.0)]
    middle = all(
        contents.get(centre) in (None, 0.5 * contents[side]) if _is_number(contents.get(side)) else True
        for centre, side in (("cx", "w"), ("cy", "h"))
    )
    if bent or not middle:
        told = f"gives {', '.join(bent)}" if bent else "has its principal point aside"
        raise SceneError(
            f"{file}: {told}, and NeRF-synthetic knows centred pinholes only; "
            "name the file transforms.json to have it read as nerfstudio's"
        )


def _load(file: Path) -> dict[str, Any]:
    try:
        contents = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        there = ", ".join(splits(file.parent)) or "none"
        raise SceneError(f"{file}: no such file; the splits that are there: {there}") from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise SceneError(f"{file}: is not JSON ({error}); write it again") from error
    if not isinstance(contents, dict):
        raise SceneError(f"{file}: holds a {type(contents).__name__}; it must be an object with frames")
    return contents


def _is_number(value: object) -> bool:
    """Whether this is a JSON number that a float can hold (NaN and infinity pass; true does not)."""
    return isinstance(value, float) or (type(value) is int and abs(value) < 2**63)


def _frame(file: Path, index: int, entry: object, allow_outside: bool) -> _Frame:
    """One entry of `frames`, checked."""
    name = entry.get("file_path") if isinstance(entry, dict) else None
    if not isinstance(name, str) or not name or not name.isprintable():
        raise SceneError(f"{file}: frame {index}: file_path is {name!r}; name the frame's picture")
    name = name.removeprefix("./")
    label = f"{file}: frame {index} ({name})"
    matrix = entry.get("transform_matrix")
    _check_pose(label, matrix)
    return _Frame(label, name, _find_image(label, file.parent, name, allow_outside), matrix)


def _check_pose(label: str, matrix: object) -> None:
    """Refuse what is not a rigid motion: 4x4, finite, rotation with determinant 1, last row 0 0 0 1."""
    rows = matrix if isinstance(matrix, list) else []
    if len(rows) != 4 or not all(
        isinstance(row, list) and len(row) == 4 and all(map(_is_number, row)) for row in rows
    ):
        raise SceneError(f"{label}: transform_matrix is not 4x4 numbers. Remove the frame or fix its matrix.")
    pose = np.array(rows, dtype=np.float64)
    if not (np.abs(pose) < 1e30).all():  # false for NaN too; larger overflows float32 when multiplied
        raise SceneError(f"{label}: camera_to_world is not finite. Remove the frame or fix its matrix.")
    rotation = pose[:3, :3]
    determinant = float(np.linalg.det(rotation))
    skew = float(np.abs(rotation.T @ rotation - np.eye(3)).max())
    if skew > ROTATION_TOLERANCE or determinant < 0 or not np.allclose(pose[3], [0, 0, 0, 1]):
        raise SceneError(
            f"{label}: camera_to_world is not a rotation (determinant {determinant:.2f}). "
            "Remove the frame or fix its matrix."
        )


def _find_image(label: str, folder: Path, name: str, allow_outside: bool) -> Path | None:
    """The frame's picture, with or without extension in the file; None if there is none.

    Links are followed before asking whether it lies inside: an archive can carry them too.
    """
    try:
        for candidate in (folder / name, *(folder / (name + extension) for extension in EXTENSIONS)):
            if not allow_outside and not candidate.resolve().is_relative_to(folder.resolve()):
                raise SceneError(
                    f"{label}: the picture lies outside of the scene folder. Move it inside, or give "
                    "--allow-outside (allow_outside=True) if you trust this file."
                )
            if candidate.is_file():
                return candidate
    except (OSError, RuntimeError) as error:  # a name that is too long, links in a circle
        raise SceneError(f"{label}: the picture cannot be looked up ({error}). Fix its file_path.") from error
    return None


def _present(file: Path, frames: list[_Frame]) -> list[_Frame]:
    """The frames whose picture is there; one warning names the others."""
    seen: dict[Path, _Frame] = {}
    for frame in frames:
        if frame.image is not None and seen.setdefault(frame.image, frame) is not frame:
            raise SceneError(f"{frame.label}: the same picture as an earlier frame. Remove one of the two.")
    missing = [frame.name for frame in frames if frame.image is None]
    if not seen:
        raise SceneError(f"{file}: none of its {len(frames)} pictures is there; put them beside the file")
    if missing:
        warnings.warn(
            f"{file}: {len(missing)} of {len(frames)} pictures are missing and left out: "
            f"{', '.join(missing)}",
            SceneWarning,
            stacklevel=2,
        )
    return list(seen.values())


def _common_header(frames: list[_Frame]) -> ImageHeader:
    """Size and alpha that all pictures share."""
    headers = [read_header(frame.image) for frame in frames if frame.image]
    for frame, header in zip(frames, headers, strict=True):
        if header[:2] != headers[0][:2]:
            raise SceneError(
                f"{frame.label}: is {header.width} x {header.height}, the first picture is "
                f"{headers[0].width} x {headers[0].height}. Bring all to one size."
            )
    return headers[0]._replace(has_alpha=any(header.has_alpha for header in headers))


def write(scene: Scene, path: str | Path, split: str = "train", overwrite: bool = False) -> None:
    """Write a scene's cameras and pictures as one split of a NeRF-synthetic folder, in the input frame.

    Raises: SceneError if the split exists, or the cameras are not centred with one square focal length.
    """
    folder, cameras = Path(path), scene.cameras
    file = folder / f"transforms_{split}.json"
    if split not in SPLITS:
        raise SceneError(f"{file}: no split {split!r}; a NeRF-synthetic scene has {', '.join(SPLITS)}")
    if file.exists() and not overwrite:
        raise SceneError(f"{file}: exists; choose another folder or pass overwrite=True")
    if cameras.distortion is not None or cameras.projection != "perspective":
        raise SceneError(f"{file}: NeRF-synthetic knows no lenses but pinholes; straighten with --undistort")
    if not isinstance(cameras.width, int) or not isinstance(cameras.height, int):
        raise SceneError(f"{file}: NeRF-synthetic holds pictures of one size; write another format")
    plain = torch.tensor([cameras.fx[0], cameras.fx[0], cameras.width / 2, cameras.height / 2])
    if not torch.allclose(cameras.intrinsics.cpu(), plain, rtol=1e-6):
        raise SceneError(
            f"{file}: NeRF-synthetic holds one focal length, square pixels and a centred camera; "
            "these cameras differ, so write another format"
        )
    stems = [Path(name).name for name in scene.frame_names] or [f"r_{i}" for i in range(len(scene))]
    if len(set(stems)) < len(stems):
        raise SceneError(f"{file}: two frames have the same file name; rename one")

    poses = opengl_to_opencv(
        transform_poses(torch.linalg.inv(scene.model_from_input), cameras.camera_to_world)
    )
    (folder / split).mkdir(parents=True, exist_ok=True)
    for index, stem in enumerate(stems):
        write_png(folder / split / f"{stem}.png", scene.images[index])
    contents = {
        "camera_angle_x": 2 * math.atan(0.5 * cameras.width / float(cameras.fx[0])),
        "frames": [
            {"file_path": f"./{split}/{stem}", "transform_matrix": pose}
            for stem, pose in zip(stems, poses.tolist(), strict=True)
        ],
    }
    file.write_text(json.dumps(contents, indent=2) + "\n", encoding="utf-8")


class Geometry(NamedTuple):
    """Exact geometry of one picture; both are 0 where a pixel sees nothing.

    z_depth  along the optical axis, scene units
    normal   unit length, in the scene's frame, towards the camera's side
    """

    z_depth: Float[Tensor, "height width"]
    normal: Float[Tensor, "height width 3"]


def read_geometry(scene: Scene, index: int) -> Geometry:
    """The geometry that stands beside a picture as .npz, at the picture's full size.

    Raises: SceneError if there is none or it does not fit the cameras.
    """
    item = scene.images.items[index]
    file = item.with_suffix(".npz") if isinstance(item, Path) else None
    if file is None or not file.is_file():
        raise SceneError(f"{file or scene.images.name(index)}: no geometry is stored for this frame")
    size = (scene.cameras.height, scene.cameras.width)
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            z_depth, normal = arrays["z_depth"], arrays["normal"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise SceneError(f"{file}: is no geometry file ({error}); write it again") from error
    if z_depth.shape != size or normal.shape != (*size, 3):
        raise SceneError(
            f"{file}: z_depth is {z_depth.shape} and normal {normal.shape}, the cameras are {size}; "
            "read the scene at its full size"
        )
    return Geometry(torch.from_numpy(z_depth.astype(np.float32)), torch.from_numpy(normal.astype(np.float32)))


def write_geometry(file: str | Path, geometry: Geometry) -> None:
    """Write a picture's geometry; `file` is the picture's name with .npz."""
    arrays = {name: value.cpu().numpy() for name, value in geometry._asdict().items()}
    np.savez_compressed(file, **arrays)
