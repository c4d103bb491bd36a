"""Networks whose weights keep signals alive, and pictures for them: the same in any program."""

import re

from torch import Tensor, nn
from torch.nn.functional import interpolate

from tests.tools.depth.fixed import fill, noise

# Residual blocks that do not outgrow what they add to, and masks that tell planes apart.
CALM = (
    (r"(layer|encoder\.stages\.)\d\.\d\.bn2\.weight$", 0.5),
    (r"(fmn\.conv9\.layer|logits)\.1\.weight$", 10.0),
)
GIVEN = ("sharpness", "thickness")  # which nothing learns


def calm(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name: tensor * next((factor for pattern, factor in CALM if re.search(pattern, name)), 1)
        for name, tensor in tensors.items()
    }


def alive(network: nn.Module) -> nn.Module:
    """In float64, ready to look at pictures."""
    network = network.double().eval()
    tensors = network.state_dict()
    fill({name: tensor for name, tensor in tensors.items() if not name.endswith(GIVEN)})
    network.load_state_dict(calm(tensors))
    return network


def pictures(height: int, width: int, count: int = 1) -> tuple[Tensor, Tensor]:
    """Of noise, and a disparity in blobs."""
    image = noise((count, 3, height, width), "picture").sigmoid()
    coarse = noise((count, 1, -(-height // 16), -(-width // 16)), "disparity")
    return image, interpolate(coarse, size=(height, width), mode="bilinear").sigmoid()
