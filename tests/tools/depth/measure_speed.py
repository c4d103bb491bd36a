"""How long a network takes for a picture: python tests/tools/depth/measure_speed.py [MODEL ...]

Weights are random: they do not change the time. Told is the median of ten after two, from the picture to its
depth, and how much of one core's time that took.
"""

import statistics
import sys
import time

import torch

from tools.depth.models import BUILT_IN, released
from tools.depth.predict import predicted, sized

TIMES, BEFORE = 10, 2
SIDE = 384  # pixels


def measure(name: str) -> None:
    model = sized(released(name), SIDE)
    torch.manual_seed(0)
    network = model.make().eval().requires_grad_(False).to(memory_format=torch.channels_last)
    image = torch.randint(256, (SIDE, SIDE, 3)).to(torch.uint8)
    walls, shares = [], []
    for _ in range(BEFORE + TIMES):
        wall, processor = time.perf_counter(), time.process_time()
        predicted(network, model, image)
        walls.append(time.perf_counter() - wall)
        shares.append(time.process_time() - processor)
    wall, processor = (statistics.median(values[BEFORE:]) for values in (walls, shares))
    threads = torch.get_num_threads()
    print(f"{name}: {SIDE} x {SIDE}, {threads} threads: {wall:.3f} s, {processor:.3f} s of one core")


if __name__ == "__main__":
    for name in sys.argv[1:] or [BUILT_IN]:
        measure(name)
