"""The pictures of a film, kept on disk until the film is there."""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from jaxtyping import UInt8
from torch import Tensor

from render.video import VideoError
from scenes.cameras import Cameras
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


def film_key(model: Any, cameras: Cameras, modes: Sequence[str]) -> str:
    """The same for the same pictures: a digest of the model's state, the cameras and the modes."""
    digest = hashlib.sha256(json.dumps([*modes, cameras.width, cameras.height, cameras.projection]).encode())
    lens = () if cameras.distortion is None else (cameras.distortion,)
    state = model.state()
    kept = [state[name] for name in sorted(state) if not name.startswith("optimizer.")]
    for array in (cameras.camera_to_world, cameras.intrinsics, *lens, *kept):
        digest.update(array.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
