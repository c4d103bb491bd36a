"""The pictures of a film, kept on disk until the film is there."""

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jaxtyping import UInt8
from torch import Tensor

from render.methods.base import Colour
from render.modes import Scale, draw_modes, scale_of
from render.video import VideoError, write_gif, write_video
from scenes.cameras import Cameras
from scenes.crop import Crop
from scenes.images import ImageError, read_image, write_png

Picture = UInt8[Tensor, "h w 3"]


class KeptFrames:
    """Pictures in a folder, one a frame, so that a film that is broken off goes on where it stopped.

    A film of anything else (`key`) in the same place starts afresh. Nothing but its own files is touched.
    """

    def __init__(self, folder: Path, key: str) -> None:
        """Raises: VideoError if the folder holds frames that are not of a film under way, or is a file."""
        self.folder, self.record = folder, folder / ".render-film.json"
        stated = json.dumps({"film": key})
        if folder.exists() and not folder.is_dir():
            raise VideoError(f"{folder}: is a file; choose another place with --out")
        if not self.record.is_file() and any(self._frames()):
            raise VideoError(f"{folder}: holds frames already; choose another place with --out")
        if not self.record.is_file() or self.record.read_text() != stated:
            self.remove()
            folder.mkdir(parents=True, exist_ok=True)
            self.record.write_text(stated)

    def _frames(self) -> list[Path]:
        entries = self.folder.iterdir() if self.folder.is_dir() else ()
        return [entry for entry in entries if re.fullmatch(r"frame-\d{5,}\.png", entry.name)]

    def path(self, index: int) -> Path:
        return self.folder / f"frame-{index:05d}.png"

    def there(self, count: int) -> int:
        """How many of `count` frames are kept."""
        return sum(self.path(index).is_file() for index in range(count))

    def pictures(
        self, count: int, draw: Callable[[int], Picture], progress: Callable[[int, int], None]
    ) -> Iterator[Picture]:
        """Frames 0 to count - 1: read where they are kept, else drawn, and kept."""
        for index in range(count):
            path = self.path(index)
            picture = _read(path) if path.is_file() else None
            if picture is None:
                picture = draw(index)
                unfinished = path.with_name(".unfinished.png")
                write_png(unfinished, picture)
                unfinished.replace(path)
            yield picture
            progress(index + 1, count)

    def forget_key(self) -> None:
        """The pictures are what was wanted: they stay."""
        self.record.unlink()

    def remove(self) -> None:
        if self.record.is_file():
            for path in (*self._frames(), self.folder / ".unfinished.png"):
                path.unlink(missing_ok=True)
            self.record.unlink()
            if not any(self.folder.iterdir()):
                self.folder.rmdir()


def _read(path: Path) -> Picture | None:
    """A kept frame, or None if it was damaged: it is drawn again then."""
    try:
        return read_image(path)[..., :3]
    except ImageError:
        return None


def write_film(
    model: Any,
    cameras: Cameras,
    out: Path,
    *,
    modes: Sequence[str] = ("rgb",),
    fps: float | int = 30,
    background: Colour | None = None,
    crop: Crop | None = None,
    scale: Scale | None = None,
    begin: Callable[[int, int], None] = lambda there, total: None,
    progress: Callable[[int, int, float], None] = lambda done, total, left: None,
) -> None:
    """Render a film: FILE.mp4, FILE.gif, or a folder of pictures. They are kept beside it until it is there.

    scale: of depths and samples; chosen for the film if not given. begin: told how many frames are there from
    an earlier start. progress: told after each frame, with the seconds left; what it raises breaks off.
    Raises: VideoError.
    """
    alone, count = out.suffix == "", len(cameras)
    look = {"background": background, "crop": crop}
    key = film_key(model, cameras, modes, *look.values(), scale)
    kept = KeptFrames(out if alone else out.with_name(f".{out.name}.frames"), key)
    begin(kept.there(count), count)
    scale = scale or scale_of(model, cameras, modes)
    began, drawn = time.perf_counter(), 0

    def draw(index: int) -> Picture:
        nonlocal drawn
        picture, drawn = draw_modes(model, cameras[index], modes, scale, **look), drawn + 1
        return picture

    def tell(done: int, total: int) -> None:
        progress(done, total, (total - done) * (time.perf_counter() - began) / max(drawn, 1))

    pictures = kept.pictures(count, draw, tell)
    if alone:
        for _ in pictures:
            pass
        kept.forget_key()
    else:
        (write_gif if out.suffix == ".gif" else write_video)(out, pictures, fps)
        kept.remove()


def film_key(
    model: Any,
    cameras: Cameras,
    modes: Sequence[str],
    background: Colour | None = None,
    crop: Crop | None = None,
    scale: Scale | None = None,
) -> str:
    """The same for the same pictures: a digest of the model's state, the cameras and how they are drawn."""
    look = [*modes, cameras.width, cameras.height, cameras.projection]
    if background or crop or scale:
        look += [background, *(value and asdict(value) for value in (crop, scale))]
    digest = hashlib.sha256(json.dumps(look).encode())
    lens = () if cameras.distortion is None else (cameras.distortion,)
    state = model.state()
    kept = [state[name] for name in sorted(state) if not name.startswith("optimizer.")]
    for array in (cameras.camera_to_world, cameras.intrinsics, *lens, *kept):
        digest.update(array.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
