"""The pictures of a film: modes side by side, and kept on disk until the film is there."""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from render.video import VideoError
from scenes.cameras import Cameras
from scenes.images import ImageError, quantised, read_image, write_png

Picture = UInt8[Tensor, "h w 3"]
MODES = ("rgb", "depth", "opacity")
# Near to far: light yellow, orange, purple, blue, nearly black; each darker than the one before.
DEPTH_COLOURS = (
    (1.0, 0.97, 0.75),
    (0.98, 0.62, 0.32),
    (0.72, 0.24, 0.47),
    (0.25, 0.15, 0.47),
    (0.03, 0.03, 0.10),
)
RANGE_VIEWS, RANGE_WIDTH = 8, 64  # looked at to choose the range of depths
SEEN = 0.5  # opacity from which a pixel has a depth


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


def depth_output(camera: Cameras) -> str:
    """Lenses that see to the side and behind have no useful z_depth: along the ray, there."""
    return "z_depth" if camera.projection == "perspective" else "distance"


def draw_modes(model: Any, camera: Cameras, modes: Sequence[str], depths: tuple[float, float]) -> Picture:
    """What a camera sees in each mode, from left to right. depths: nearest and farthest, scene units."""
    far = depth_output(camera)
    needs = {"rgb": ("rgb",), "depth": (far, "opacity"), "opacity": ("opacity",)}
    seen = model.render(camera, tuple(dict.fromkeys(output for mode in modes for output in needs[mode])))
    drawn = {
        "rgb": lambda: seen.rgb.cpu(),
        "depth": lambda: depth_colours(getattr(seen, far).cpu(), seen.opacity.cpu(), *depths),
        "opacity": lambda: seen.opacity.cpu()[..., None].expand(-1, -1, 3),
    }
    return quantised(torch.cat([drawn[mode]() for mode in modes], dim=1))


def depth_colours(
    depth: Float[Tensor, "h w"], opacity: Float[Tensor, "h w"], nearest: float, farthest: float
) -> Float[Tensor, "h w 3"]:
    """Even steps of 1 / depth from light (near) to dark (far); black where nothing is."""
    there = (opacity >= SEEN) & depth.isfinite()
    inverse = 1 / torch.where(there, depth, farthest).clamp(min=1e-9)
    place = (1 / nearest - inverse) / (1 / nearest - 1 / farthest)
    stops = torch.tensor(DEPTH_COLOURS)
    along = place.clamp(0, 1) * (len(stops) - 1)
    first = along.floor().long().clamp(max=len(stops) - 2)
    colour = torch.lerp(stops[first], stops[first + 1], (along - first)[..., None])
    return torch.where(there[..., None], colour, 0.0)


def depth_range(model: Any, cameras: Cameras) -> tuple[float, float]:
    """Nearest and farthest of what a film sees, but for a hundredth at either end; scene units."""
    small = cameras.scaled(max(cameras.width / RANGE_WIDTH, 1.0))
    seen = []
    for index in torch.linspace(0, len(cameras) - 1, min(RANGE_VIEWS, len(cameras))).round().int().tolist():
        view = model.render(small[index], (depth_output(small), "opacity"))
        depth = getattr(view, depth_output(small))
        seen.append(depth[(view.opacity >= SEEN) & depth.isfinite()].cpu())
    depths = torch.cat(seen)
    if not len(depths):
        return 1.0, 2.0  # nothing to show
    nearest, farthest = depths.quantile(torch.tensor([0.01, 0.99])).tolist()
    return max(nearest, 1e-6), max(farthest, 1.001 * nearest, 1.1e-6)


def film_key(model: Any, cameras: Cameras, modes: Sequence[str]) -> str:
    """The same for the same pictures: a digest of the model's state, the cameras and the modes."""
    digest = hashlib.sha256(json.dumps([*modes, cameras.width, cameras.height, cameras.projection]).encode())
    lens = () if cameras.distortion is None else (cameras.distortion,)
    state = model.state()
    kept = [state[name] for name in sorted(state) if not name.startswith("optimizer.")]
    for array in (cameras.camera_to_world, cameras.intrinsics, *lens, *kept):
        digest.update(array.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
