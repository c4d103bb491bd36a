"""Pictures with holes to learn inpainting from: of any data set of pictures with depth, by warp-back.

Which pictures a step has, and what is lost of them, follows from the seed and the number of the step alone.
A picture is used in several variants: other parts of it, other colours, another motion. They are the same
whenever they come up, so that those that are kept need not be made again.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from scenes.random import bits
from tools.depth.batches import Labels
from tools.multiplane.inpainting import first_guess
from tools.multiplane.picture_sets import disparity_of, part_of
from tools.multiplane.predict import photo_camera
from tools.multiplane.warp_back import InpaintingPair, Motions, inpainting_pair

MOTIONS = Motions()
DRAWN, MIRRORED, VARIANT = 0, 1, 2  # streams of scenes.random


class Holes(NamedTuple):
    """Pictures and what was lost of them: maps as in tools/multiplane/inpainting.py.

    truth  of the picture; disparity is cut off at 0 and 1, which nothing that is filled in exceeds
    guess  the same with the masked pixels filled classically
    """

    truth: Float[Tensor, "b 4 h w"]
    guess: Float[Tensor, "b 4 h w"]
    mask: Bool[Tensor, "b h w"]


def holes_of(pair: InpaintingPair) -> Holes:
    """A batch of one. Raises: ValueError if all is lost."""
    maps, least, span = first_guess(*pair)
    disparity = ((pair.disparity - least) / span).clamp(0, 1)
    truth = torch.cat((pair.rgb.permute(2, 0, 1), disparity[None]))
    return Holes(truth[None], maps[None].contiguous(), pair.lost[None])


class DrawnHoles:
    """What the steps of a training learn from: of all sets alike, half of the pictures mirrored.

    Args:
        batch: pictures of a step.
        size: their width and height, pixels.
        variants: of each picture.
        memory: bytes of pictures with holes to keep.
    """

    def __init__(
        self,
        sets: Sequence[Labels],
        batch: int,
        size: tuple[int, int],
        motions: Motions = MOTIONS,
        *,
        variants: int = 8,
        memory: float | int = 0,
    ) -> None:
        self.sets, self.batch, self.size, self.motions = tuple(sets), batch, size, motions
        self.variants, self._room = variants, memory
        self._kept: dict[tuple[int, int, int], Holes] = {}

    def close(self) -> None:
        """Nothing is read ahead."""

    def at(self, seed: int, step: int) -> Holes:
        """Raises: what a set does whose files cannot be read."""
        index = torch.arange(self.batch)
        flips = (bits(seed, step, MIRRORED, index) & 1).tolist()
        found = []
        for drawn, flipped in zip(bits(seed, step, DRAWN, index).tolist(), flips, strict=True):
            place, rest = drawn % len(self.sets), drawn // len(self.sets)
            one = self._example(seed, place, rest % (len(self.sets[place]) * self.variants))
            found.append(Holes(*(part.flip(-1) for part in one)) if flipped else one)
        return Holes(*map(torch.cat, zip(*found, strict=True)))

    def _example(self, seed: int, place: int, number: int) -> Holes:
        name = seed, place, number
        if name in self._kept:
            return self._kept[name]
        drawn = int(bits(seed, place, VARIANT, torch.tensor(number)))
        made = self._make(place, number % len(self.sets[place]), torch.Generator().manual_seed(drawn))
        size = sum(part.nbytes for part in made)
        if size <= self._room:
            self._room -= size
            self._kept[name] = made
        return made

    def _make(self, place: int, index: int, generator: torch.Generator) -> Holes:
        rgb, values = part_of(self.sets[place], index, self.size, generator)
        camera = photo_camera(*self.size)
        try:
            disparity = disparity_of(values, self.sets[place].kind)
        except ValueError:  # all that was cut out is equally far: nothing comes to light behind it
            return unharmed(rgb)
        pair = inpainting_pair(rgb, disparity, camera, self.motions, generator)
        return unharmed(rgb) if bool(pair.lost.all()) else holes_of(pair)


def unharmed(rgb: Float[Tensor, "h w 3"]) -> Holes:
    """A picture without holes, of which there is nothing to learn."""
    nowhere = torch.zeros(rgb.shape[:2])
    return holes_of(InpaintingPair(rgb, nowhere, nowhere.bool()))
