"""The authors' networks of MiDaS 3 and ours, side by side: how far apart they are, and what each costs.

Wants their programs: `docs/benchmarks.md` says how to have them, and what came of it.

    OMP_WAIT_POLICY=passive python -m tests.tools.depth.measure_beside MIDAS [MODEL ...]
"""

import re
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn

from tests.tools.depth.fixed import fill, picture
from tests.tools.depth.test_levit import halved
from tests.tools.depth.test_nextvit import softened
from tools.depth.models import RELEASED
from tools.depth.weights import take_weights

AUTHORS = {  # what their program calls each; not the hybrid, whose convolutions timm 0.6 norms in another way
    "dpt-large": "vitl16_384",
    "dpt-beit-large-512": "beitl16_512",
    "dpt-beit-large": "beitl16_384",
    "dpt-beit-base": "beitb16_384",
    "dpt-swin2-large": "swin2l24_384",
    "dpt-swin2-base": "swin2b24_384",
    "dpt-swin2-tiny": "swin2t16_256",
    "dpt-swin-large": "swinl12_384",
    "dpt-next-vit-large": "next_vit_large_6m",
    "dpt-levit": "levit_384",
}
OPTIONS = {"dpt-levit": {"head_features_1": 64, "head_features_2": 8}}
SOFTER = {"dpt-levit": halved, "dpt-next-vit-large": softened}  # noise that does not grow without end
SIZES = ((192, 320), (224, 224))  # height and width; for networks of one size, that one
THREADS, TURNS = 2, 3


def both(name: str) -> tuple[nn.Module, nn.Module]:
    """The authors' network and ours, of the same noise, float64."""
    from midas.dpt_depth import DPTDepthModel

    model = RELEASED[name]
    theirs = DPTDepthModel(backbone=AUTHORS[name], non_negative=False, **OPTIONS.get(name, {}))
    theirs = theirs.eval().requires_grad_(False).double()
    tensors = theirs.state_dict()
    fill({key: t for key, t in tensors.items() if not any(re.search(p, key) for p in model.unused)})
    theirs.load_state_dict(SOFTER.get(name, dict)(tensors))
    ours = model.make().eval().requires_grad_(False).double()
    ours.head.positive = False
    take_weights(ours, theirs.state_dict(), model.rules, model.unused, name)
    return theirs, ours


def watched(network: nn.Module, layers: list[nn.Module], image: Tensor) -> list[Tensor]:
    """What goes into convolutions and comes out of all other layers, then the result."""
    seen: dict[nn.Module, Tensor] = {}

    def keep(layer: nn.Module, given: tuple[Tensor, ...], result: Tensor) -> None:
        seen[layer] = given[0] if isinstance(layer, nn.Conv2d) else result

    hooks = [layer.register_forward_hook(keep) for layer in layers]
    result = network(image)
    for hook in hooks:
        hook.remove()
    return [*(seen[layer] for layer in layers), result.squeeze()]


def errors(theirs: nn.Module, ours: nn.Module, image: Tensor) -> tuple[float, float, float]:
    """The largest of the maps that go into the decoder, of those its fusions give, and of the result."""
    levels = range(len(ours.decoder.adapt))
    layers = [getattr(theirs.scratch, f"layer{level + 1}_rn") for level in levels]
    layers += [getattr(theirs.scratch, f"refinenet{level + 1}") for level in levels]
    expected = watched(theirs, layers, image)
    found = watched(ours, [*ours.decoder.adapt, *ours.decoder.fuse], image)
    off = [float((a - b).abs().max() / a.std()) for a, b in zip(expected, found, strict=True)]
    return max(off[: len(levels)]), max(off[len(levels) : -1]), off[-1]


def cost(run: Callable[[], object]) -> tuple[float, float]:
    """Seconds by the clock, and of the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - clock, time.process_time() - processor


def in_type(network: nn.Module, kind: torch.dtype) -> nn.Module:
    """LeViT of the authors forgets its tables of another type as it is told to learn."""
    return network.to(kind).train().eval()


def compare(name: str) -> None:
    theirs, ours = both(name)
    wanted = RELEASED[name].wanted[::-1]
    for kind in (torch.float64, torch.float32):
        theirs, ours = in_type(theirs, kind), in_type(ours, kind)
        for size in SIZES if RELEASED[name].keep_aspect else (wanted,):
            maps, fused, result = errors(theirs, ours, picture(*size).to(kind))
            said = f"maps {maps:.1e}, fused {fused:.1e}, result {result:.1e}"
            print(f"{name} {size[0]}x{size[1]} {str(kind)[6:]}: {said}", flush=True)
    image = picture(*wanted).float()
    theirs(image), ours(image)
    turns = [(cost(lambda: theirs(image)), cost(lambda: ours(image))) for _ in range(TURNS)]
    for unit, index in (("s", 0), ("s of the processor", 1)):
        a, b = ([turn[who][index] for turn in turns] for who in (0, 1))
        listed = f"theirs {', '.join(f'{s:.2f}' for s in a)}; ours {', '.join(f'{s:.2f}' for s in b)}"
        print(f"{name} {wanted[0]}x{wanted[1]}: {listed} {unit}; ratio {median(b) / median(a):.2f}")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(sys.argv[1]).resolve()))
    warnings.simplefilter("ignore")  # of what has changed since their programs were written
    torch.set_num_threads(THREADS)
    for model in sys.argv[2:] or AUTHORS:
        compare(model)
