"""Polycam's raw data: keyframes/ with a camera file, a picture and a depth picture of each frame.

    keyframes/corrected_cameras/STAMP.json    and cameras/ before the poses were refined
        {"fx", "fy", "cx", "cy", "width", "height", "t_00" ... "t_23"}    camera-to-world, 3x4, row-major
    keyframes/corrected_images/STAMP.jpg      and images/ before the lens's distortion was taken out
    keyframes/depth/STAMP.png                 16 bits, millimetres, smaller than the pictures

The refined ones are read where both cameras and pictures have them. Cameras look along -z with y up (OpenGL
axes) in ARKit's world, which has y up; its rows are put in the order z, x, y, so that z is up, as nerfstudio
does. That is the input frame, in metres. Pictures that were not refined keep a slight distortion that no file
tells.

Source: github.com/PolyCam/polyform README; nerfstudio's process_data/polycam_utils.py.
"""

from pathlib import Path

import numpy as np
import torch

from scenes.formats.capture import (
    LARGEST,
    Capture,
    Frame,
    Lens,
    find_inside,
    finite,
    pixels,
    read_json,
    rigid_pose,
)
from scenes.scene import SceneError
from scenes.transforms import opengl_to_opencv

KEYFRAMES = "keyframes"
KINDS = ("corrected_", "")  # prefix of the folders, the better first
Z_UP = (2, 0, 1)  # rows of ARKit's world that become x, y, z


def recognise(path: Path) -> str | None:
    """Why this is Polycam's raw data, or None."""
    kind = _kind(path)
    return None if kind is None else f"has {KEYFRAMES}/{kind}cameras"


def _kind(folder: Path) -> str | None:
    """The prefix of the folders to read: the folder of refined cameras may be there and empty."""
    try:
        for kind in KINDS:
            cameras, images = (folder / KEYFRAMES / f"{kind}{what}" for what in ("cameras", "images"))
            if images.is_dir() and next(cameras.glob("*.json"), None) is not None:
                return kind
    except OSError:
        pass
    return None


def capture(path: Path, allow_outside: bool = False) -> Capture:
    """Read the camera files and find their pictures and depth.

    Raises: SceneError if there are no cameras, or a number in one is missing or senseless.
    """
    kind = _kind(path)
    if kind is None:
        raise SceneError(
            f"{path / KEYFRAMES}: holds no cameras/*.json beside images/; is it Polycam's raw data?"
        )
    stems = [file.stem for file in (path / KEYFRAMES / f"{kind}cameras").glob("*.json")]
    stems.sort(key=lambda stem: (len(stem), stem))  # numbers of microseconds
    frames = tuple(_frame(path, kind, stem, allow_outside) for stem in stems)
    return Capture(path / KEYFRAMES, frames, depth_unit=1e-3, up=(0.0, 0.0, 1.0))


def _frame(folder: Path, kind: str, stem: str, allow_outside: bool) -> Frame:
    camera, image = (f"{KEYFRAMES}/{kind}{what}/{stem}" for what in ("cameras", "images"))
    label = f"{folder}/{camera}.json"
    if not stem.isprintable():
        raise SceneError(f"{folder / KEYFRAMES}: {stem!r} is no name of a frame. Rename its files.")
    file = find_inside(label, folder, f"{camera}.json", allow_outside, ())
    if file is None:
        raise SceneError(f"{label}: is not a file. Remove it.")
    contents = read_json(file)

    def value(key: str, low: float = -LARGEST) -> float:
        return finite(label, key, contents.get(key), low)

    lens = Lens(
        fx=value("fx", 0.0),
        fy=value("fy", 0.0),
        cx=value("cx"),
        cy=value("cy"),
        width=pixels(label, "width", contents.get("width")),
        height=pixels(label, "height", contents.get("height")),
    )
    rows = [[value(f"t_{row}{column}") for column in range(4)] for row in Z_UP]
    return Frame(
        label=label,
        name=image,
        image=find_inside(label, folder, image, allow_outside),
        camera_to_world=_opencv(label, rows),
        lens=lens,
        depth=find_inside(label, folder, f"{KEYFRAMES}/depth/{stem}", allow_outside, (".png",)),
    )


def _opencv(label: str, rows: list[list[float]]) -> np.ndarray:
    pose = rigid_pose(label, rows, "the matrix t_00 to t_23")
    return opengl_to_opencv(torch.from_numpy(pose)).numpy()
