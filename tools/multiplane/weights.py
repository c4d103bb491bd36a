"""Files of AdaMPI's weights: those that `render photo-train` writes, and the released ones.

The released files, adampi_32p.pth and adampi_64p.pth, do not come with this program. Their authors offer them
at https://github.com/yxuhan/AdaMPI, for research and no commercial use.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from tools.depth.models import read_content, read_tensors
from tools.depth.weights import Rule, WeightsError, take_weights
from tools.multiplane.adampi import CONFIGS, AdaMPI, AdaMPIConfig

SOURCE = "https://github.com/yxuhan/AdaMPI"
MOST_PLANES = 1024
NOTE = "adampi"  # in a .safetensors file: what network its weights are of
CHOICES = ("adjusts_planes", "finds_masks", "masks_context", "blends")  # of a configuration, in the note


def _from(first: int, prefix: str) -> Callable[[re.Match], str]:
    """What they count from `first`, counted from 0."""
    return lambda found: f"{prefix}.{int(found[1]) - first}."


# In turn, on every name (tools/depth/weights.py).
ADAMPI: Sequence[Rule] = (
    (r"^dpn\.context_encoder\.res_blocks\.", "adjustment.blocks."),
    (r"^(adjustment\.blocks\.\d)\.conv3\.", r"\1.short."),
    (r"^(adjustment\.blocks\.\d)\.bn\.", r"\1.norm."),
    (r"^dpn\.self_attention\.wQs\.(\d)\.", r"adjustment.heads.\1.query."),
    (r"^dpn\.self_attention\.wKs\.(\d)\.", r"adjustment.heads.\1.key."),
    (r"^dpn\.self_attention\.wVs\.(\d)\.", r"adjustment.heads.\1.value."),
    (r"^dpn\.self_attention\.fusion\.", "adjustment.project."),
    (r"^dpn\.embed\.0\.", "adjustment.embed."),
    (r"^dpn\.to_disp\.linear\.", "adjustment.offset."),
    (r"^fmn\.conv([1-4])\.layer\.", _from(1, "feature_masks.down")),
    (r"^fmn\.conv5\.layer\.", "feature_masks.middle."),
    (r"^fmn\.conv([678])\.layer\.", _from(6, "feature_masks.up")),
    (r"^fmn\.conv9\.layer\.", "feature_masks.logits."),
    (r"^encoder\.encoder\.layer([1-4])\.", _from(1, "colours.encoder.stages")),
    (r"^encoder\.encoder\.conv1\.", "colours.encoder.conv."),
    (r"^encoder\.encoder\.bn1\.", "colours.encoder.norm."),
    (r"^decoder\.conv_(down|up)([12])\.", lambda found: f"colours.reach.{found[1]}.{int(found[2]) - 1}."),
    # a tuple's text, its characters joined by dashes
    (r"^decoder\.convs\.\(-'-u-p-c-o-n-v-'-,- -(\d)-,- -0-\)\.", r"colours.levels.\1.before."),
    (r"^decoder\.convs\.\(-'-u-p-c-o-n-v-'-,- -(\d)-,- -1-\)\.", r"colours.levels.\1.after."),
    (r"^decoder\.convs\.\(-'-d-i-s-p-c-o-n-v-'-,- -(\d)-\)\.", r"colours.heads.\1."),
    (r"\.gated_conv\.", ".0."),
    (r"^(colours\.levels\..*)\.bn\.", r"\1.1."),
    (r"\.conv2d\.", ".values."),
    (r"\.mask_conv2d\.", ".gate."),
)
UNUSED = (r"^encoder\.encoder\.fc\.",)  # the end of a ResNet that tells classes


def read_adampi(path: str | Path) -> AdaMPI:
    """The network of a released file, with as many planes as it was trained for, ready to look at pictures.

    Nothing in the file is run: tensors and numbers alone are read.
    Raises: FileNotFoundError with where to get the file, WeightsError for one that is damaged or another's.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: not there; AdaMPI's authors offer adampi_64p.pth at {SOURCE}")
    content = read_content(path)
    if not isinstance(content, dict) or not {"num_planes", "weight"} <= content.keys():
        raise WeightsError(f"{path}: has no num_planes and weight; give adampi_32p.pth or adampi_64p.pth")
    planes, tensors = content["num_planes"], content["weight"]
    if type(planes) is not int or not 1 <= planes <= MOST_PLANES:
        raise WeightsError(f"{path}: num_planes is {planes!r:.50}, not from 1 to {MOST_PLANES}")
    if not isinstance(tensors, dict) or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise WeightsError(f"{path}: weight holds something else than tensors by name; download it again")
    network = AdaMPI(replace(CONFIGS["official"], planes=planes))
    take_weights(network, tensors, ADAMPI, UNUSED, str(path))
    return network.eval().requires_grad_(False)


def described(network: str, config: AdaMPIConfig) -> dict[str, str]:
    """The note in a .safetensors file. network: of CONFIGS."""
    choices = {name: getattr(config, name) for name in CHOICES}
    return {NOTE: json.dumps({"network": network, "planes": config.planes, **choices})}


def read_trained(path: str | Path) -> AdaMPI:
    """The network of a .safetensors file, ready to look at pictures; without a note it is the small one.

    Raises: WeightsError for a file that is damaged or another's.
    """
    path = Path(path)
    tensors = read_tensors(path)
    network = AdaMPI(_noted(path))
    take_weights(network, tensors, (), (), str(path))
    return network.eval().requires_grad_(False)


def _noted(path: Path) -> AdaMPIConfig:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        text = (file.metadata() or {}).get(NOTE)
    if text is None:
        return CONFIGS["small"]
    try:
        told = json.loads(text)
        network, planes = CONFIGS[told.pop("network")], told.pop("planes")
    except (ValueError, KeyError, AttributeError, TypeError):
        raise WeightsError(f"{path}: its note {text!r:.80} tells no network; take another file") from None
    if type(planes) is not int or not 1 <= planes <= MOST_PLANES:
        raise WeightsError(f"{path}: planes is {planes!r:.50} in its note, not from 1 to {MOST_PLANES}")
    if not set(told) <= set(CHOICES) or not all(type(value) is bool for value in told.values()):
        raise WeightsError(f"{path}: its note {text!r:.80} has unknown choices; take another file")
    return replace(network, planes=planes, **told)
