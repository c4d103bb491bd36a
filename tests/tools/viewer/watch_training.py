"""How much a training loses that is watched while nobody moves: `watch_training.py SCENE [SECONDS]`.

Prints the steps of trainings that are watched and of ones that are not, in turn.
"""

import sys
import threading
import time
from pathlib import Path

import torch

from render.methods.ngp import NGP
from scenes import formats
from scenes.pixels import PixelSource
from scenes.scene import Scene
from tools.viewer.session import Session

LENGTH = 90.0  # seconds of the training whose beginning is taken
TOLD = 0.3  # seconds between two reports of a training


def steps(scene: Scene, pixels: PixelSource, seconds: float, watched: bool) -> tuple[int, int]:
    """How many steps were made, and how many pictures shown."""
    torch.manual_seed(0)
    model, generator = NGP().build(scene), torch.Generator().manual_seed(0)
    session, shown = Session(model, scene, size=(800, 800)), []
    session.learnt()
    if watched:
        threading.Thread(target=session.run, args=(shown.append,), daemon=True).start()
    began = told = time.perf_counter()
    count = 0
    while (elapsed := time.perf_counter() - began) < seconds:
        model.step(pixels, elapsed / LENGTH, generator)
        count += 1
        if time.perf_counter() - told > TOLD:
            told = time.perf_counter()
            session.learnt()
    session.close()
    return count, len(shown)


def main(path: Path, seconds: float) -> None:
    scene = formats.read(path, "train")
    pixels = PixelSource.from_scene(scene)
    for _ in range(3):
        alone, _ = steps(scene, pixels, seconds, watched=False)
        watched, shown = steps(scene, pixels, seconds, watched=True)
        print(
            f"{alone} steps alone, {watched} watched ({shown} pictures): {watched / alone - 1:+.1%}",
            flush=True,
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 15.0)
