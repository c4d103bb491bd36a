"""What a person has switched on to be laid over the picture, in whatever shows it."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from scenes.crop import Crop
from scenes.transforms import transform_points
from tools.viewer.overlays import Dots, Lines, box_lines, laid_over
from tools.viewer.session import Picture, Session
from tools.viewer.solids import read_solid

CROP = "crop box"
CROP_COLOUR = (255, 200, 0)


class Layers:
    """Overlays of a session by name, each made when it is first shown."""

    def __init__(
        self, session: Session, makers: dict[str, Callable[[], Any]], say: Callable[[str], None]
    ) -> None:
        """say: told what went wrong with one that was being made, from a thread of its own."""
        self.session, self.makers, self.say = session, makers, say
        self.made: dict[str, Any] = {}
        self.shown: set[str] = set()

    @property
    def names(self) -> tuple[str, ...]:
        """What can be switched on: also what was opened."""
        return (*self.makers, *(name for name in self.made if name not in self.makers), CROP)

    def switch(self, name: str, on: bool) -> None:
        """Show one, or no longer. What takes long to make, photographs, is seen when it is there."""
        if on and name in self.makers and name not in self.made:
            threading.Thread(target=self._make, args=(name,), name=name, daemon=True).start()
        (self.shown.add if on else self.shown.discard)(name)
        self.session.change(with_depth=bool(self.shown))

    def _make(self, name: str) -> None:
        try:
            self.made[name] = self.makers[name]()
        except (ImportError, OSError, ValueError) as error:
            self.say(f"{name}: {error}")
        else:
            self.session.change()

    def open(self, path: Path) -> None:
        """Have a mesh or points among the layers, from a file in the input's frame, by the file's name.

        Raises: SolidError, ImportError.
        """
        solid = read_solid(path, self.session.scene.model_from_input)
        self.made[path.name] = Dots(*solid) if isinstance(solid, tuple) else solid

    def over(self, picture: Picture) -> UInt8[Tensor, "h w 3"]:
        """The picture with all that is switched on."""
        layers = [layer for name, layer in list(self.made.items()) if name in self.shown]
        if picture.view.crop and CROP in self.shown:
            layers.append(crop_lines(picture.view.crop))
        if not layers or picture.z_depth is None:
            return picture.rgb
        return laid_over(picture.rgb, picture.z_depth, picture.camera, layers)


def crop_around(session: Session) -> Crop:
    """The upright box of the input's frame that holds the scene's bounds."""
    bounds = session.scene.bounds
    corners = torch.cartesian_prod(*torch.tensor([bounds.minimum, bounds.maximum]).double().T)
    back = torch.linalg.inv(session.scene.model_from_input.double())
    moved = transform_points(back, corners)
    return Crop.between(moved.amin(dim=0).tolist(), moved.amax(dim=0).tolist())


def crop_lines(crop: Crop) -> Lines:
    """The edges of a crop, model frame."""
    axes = torch.tensor(crop.axes) * torch.tensor(crop.size)[:, None] / 2
    signs = torch.tensor([[(i >> k & 1) * 2.0 - 1 for k in range(3)] for i in range(8)])
    return box_lines(torch.tensor(crop.centre) + signs @ axes, CROP_COLOUR)
