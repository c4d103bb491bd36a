"""Weights as others released them: their names, and the same in networks of ours.

A file's tensors are renamed one by one and must be those of the network, none missing and none left over but
those that the released program has and never uses.
"""

import re
from collections.abc import Callable, Iterable, Sequence

from torch import Tensor, nn

Rule = tuple[str, str | Callable[[re.Match], str]]


class WeightsError(ValueError):
    """A file whose tensors are not those of the network; the message says which and what to do."""


def _level(prefix: str) -> Callable[[re.Match], str]:
    """Levels are counted from 1 there, and from 0 here."""
    return lambda found: f"{prefix}.{int(found[1]) - 1}."


# In turn, on every name.
TRANSFORMER: Sequence[Rule] = (
    (r"^pretrained\.model\.", "transformer."),
    (r"\.cls_token$", ".class_token"),
    (r"\.pos_embed$", ".positions"),
    (r"\.patch_embed\.proj\.", ".stem.project."),
    (r"\.patch_embed\.backbone\.stem\.", ".stem."),
    (r"\.patch_embed\.backbone\.stages\.(\d+)\.blocks\.", r".stem.stages.\1."),
    (r"\.downsample\.conv\.", ".shortcut.0."),
    (r"\.downsample\.norm\.", ".shortcut.1."),
    (r"\.attn\.qkv\.", ".attention.query_key_value."),
    (r"\.attn\.proj\.", ".attention.project."),
    (r"\.mlp\.fc1\.", ".mlp.0."),
    (r"\.mlp\.fc2\.", ".mlp.2."),
    (r"^pretrained\.act_postprocess(\d)\.", _level("reassemble")),
    (r"^(reassemble\.\d)\.0\.project\.", r"\1.readout."),
    (r"^(reassemble\.\d)\.3\.", r"\1.project."),
    (r"^(reassemble\.\d)\.4\.", r"\1.resize."),
)
BEIT: Sequence[Rule] = (
    (r"\.attn\.q_bias$", ".attention.query_bias"),
    (r"\.attn\.v_bias$", ".attention.value_bias"),
    (r"\.attn\.relative_position_bias_table$", ".attention.table"),
    (r"\.gamma_(\d)$", r".scale\1"),
)
DECODER: Sequence[Rule] = (
    (r"^scratch\.layer(\d)_rn\.", _level("decoder.adapt")),
    (r"^scratch\.refinenet(\d)\.", _level("decoder.fuse")),
    (r"\.out_conv\.", ".project."),
    (r"\.resConfUnit1\.", ".skip."),
    (r"\.resConfUnit2\.", ".refine."),
)
DECODER_NORMS: Sequence[Rule] = ((r"^(decoder.*)\.bn(\d)\.", r"\1.norm\2."),)
DEPTH_HEAD: Sequence[Rule] = (
    (r"^scratch\.output_conv\.0\.", "head.conv1."),
    (r"^scratch\.output_conv\.2\.", "head.conv2."),
    (r"^scratch\.output_conv\.4\.", "head.conv3."),
)
SEGMENTATION_HEAD: Sequence[Rule] = (
    (r"^scratch\.output_conv\.0\.", "head.conv1."),
    (r"^scratch\.output_conv\.1\.", "head.norm."),
    (r"^scratch\.output_conv\.4\.", "head.conv2."),
)
RESNEXT: Sequence[Rule] = (
    (r"^pretrained\.layer1\.0\.", "encoder.conv."),
    (r"^pretrained\.layer1\.1\.", "encoder.norm."),
    (r"^pretrained\.layer1\.4\.", "encoder.stages.0."),
    (r"^pretrained\.layer(\d)\.", _level("encoder.stages")),
)


def _stage(found: re.Match) -> str:
    """Which of the seven stages: layer 1 has the stem and two, 2 has one, 3 and 4 have two each."""
    first = {"1": -3, "2": 2, "3": 3, "4": 5}[found[1]]
    return f"encoder.stages.{first + int(found[2])}."


EFFICIENTNET: Sequence[Rule] = (
    (r"^pretrained\.layer1\.([01])\.", r"encoder.stem.\1."),
    (r"^pretrained\.layer(\d)\.(\d)\.", _stage),
    # the first block has no convolution that widens
    (r"(stages\.0\.0)\.conv_dw\.", r"\1.spread.0."),
    (r"(stages\.0\.0)\.bn1\.", r"\1.spread.1."),
    (r"(stages\.0\.0)\.conv_pw\.", r"\1.narrow.0."),
    (r"(stages\.0\.0)\.bn2\.", r"\1.narrow.1."),
    (r"\.conv_pw\.", ".widen.0."),
    (r"^(encoder.*)\.bn1\.", r"\1.widen.1."),
    (r"\.conv_dw\.", ".spread.0."),
    (r"^(encoder.*)\.bn2\.", r"\1.spread.1."),
    (r"\.conv_pwl\.", ".narrow.0."),
    (r"^(encoder.*)\.bn3\.", r"\1.narrow.1."),
)
LEVIT: Sequence[Rule] = (
    (r"^pretrained\.model\.patch_embed\.", "encoder.stem."),
    (r"^pretrained\.model\.", "encoder."),
    (r"\.m\.", ".inner."),
    (r"\.attention_biases$", ".biases"),
    (r"\.qkv\.", ".query_key_value."),
    (r"\.kv\.", ".key_value."),
    (r"\.q\.1\.", ".query."),
    (r"\.proj\.1\.", ".project."),
    (r"^scratch\.stem_transpose\.", "finer."),
    (r"\.c\.", ".0."),
    (r"\.bn\.", ".1."),
)
NEXTVIT: Sequence[Rule] = (
    (r"^pretrained\.model\.stem\.(\d)\.conv\.", r"encoder.stem.\1.0."),
    (r"^pretrained\.model\.stem\.(\d)\.norm\.", r"encoder.stem.\1.1."),
    (r"^pretrained\.model\.features\.", "encoder.blocks."),
    (r"\.patch_embed\.", ".embed."),
    (r"\.mhca\.group_conv3x3\.", ".conv_attention.0."),
    (r"\.mhca\.norm\.", ".conv_attention.1."),
    (r"\.mhca\.projection\.", ".conv_attention.3."),
    (r"\.e_mhsa\.", ".attention."),
    (r"\.q\.", ".query."),
    (r"\.k\.", ".key."),
    (r"\.v\.", ".value."),
    (r"\.proj\.", ".project."),
    (r"\.projection\.", ".narrow."),
    (r"\.mlp\.conv1\.", ".mlp.0."),
    (r"\.mlp\.conv2\.", ".mlp.2."),
)
DINO: Sequence[Rule] = (
    (r"^pretrained\.", "transformer."),
    (r"^depth_head\.projects\.(\d)\.", r"reassemble.\1.project."),
    (r"^depth_head\.resize_layers\.(\d)\.", r"reassemble.\1.resize."),
    (r"^depth_head\.scratch\.output_conv1\.", "head.conv1."),
    (r"^depth_head\.scratch\.output_conv2\.0\.", "head.conv2."),
    (r"^depth_head\.scratch\.output_conv2\.2\.", "head.conv3."),
    (r"^depth_head\.", ""),
    (r"\.ls(\d)\.gamma$", r".scale\1"),
)
DEPTH_ANYTHING = (*DINO, *TRANSFORMER, *DECODER)
SWIN: Sequence[Rule] = (
    (r"^pretrained\.model\.patch_embed\.proj\.", "encoder.project."),
    (r"^pretrained\.model\.patch_embed\.norm\.", "encoder.norm."),
    (r"^pretrained\.model\.layers\.(\d)\.blocks\.", r"encoder.stages.\1."),
    (r"^pretrained\.model\.layers\.(\d)\.downsample\.", r"encoder.merges.\1."),
    (r"\.reduction\.", ".reduce."),
    (r"\.attn\.", ".attention."),
    (r"\.qkv\.", ".query_key_value."),
    (r"\.q_bias$", ".query_bias"),
    (r"\.v_bias$", ".value_bias"),
    (r"\.logit_scale$", ".log_scale"),
    (r"\.proj\.", ".project."),
    (r"\.relative_position_bias_table$", ".bias.table"),
    (r"\.cpb_mlp\.", ".bias.network."),
    (r"\.mlp\.fc1\.", ".mlp.0."),
    (r"\.mlp\.fc2\.", ".mlp.2."),
)
MIDAS_LARGE = (*RESNEXT, *DECODER, *DEPTH_HEAD)
MIDAS_SMALL = (*EFFICIENTNET, *DECODER, *DEPTH_HEAD)
MIDAS_LEVIT = (*LEVIT, *DECODER, *DEPTH_HEAD)
MIDAS_NEXTVIT = (*NEXTVIT, *DECODER, *DEPTH_HEAD)
MIDAS_SWIN = (*SWIN, *DECODER, *DEPTH_HEAD)
DPT_DEPTH = (*TRANSFORMER, *DECODER, *DEPTH_HEAD)
DPT_BEIT = (*TRANSFORMER, *BEIT, *DECODER, *DEPTH_HEAD)
DPT_SEGMENTATION = (*TRANSFORMER, *DECODER, *DECODER_NORMS, *SEGMENTATION_HEAD)
# In the files, and in no result: the transformer's own end, a unit without an input, a loss of the training.
DPT_UNUSED = (
    r"^pretrained\.model\.(norm|head)\.",
    r"^scratch\.refinenet4\.resConfUnit1\.",
    r"^auxlayer\.",
)
DEPTH_ANYTHING_UNUSED = (r"^pretrained\.mask_token$", r"\.refinenet4\.resConfUnit1\.")
# Ends, blocks after the last that is read off, tables that follow from sizes, a unit without an input.
LEVIT_UNUSED = (
    r"^pretrained\.model\.(head|head_dist)\.",
    r"^pretrained\.model\.blocks\.2[2-7]\.",
    r"\.attention_bias_idxs$",
    r"^scratch\.refinenet3\.resConfUnit1\.",
)
# Besides: the norm of BEiT's own end, and places in tables, which follow from the grid.
BEIT_UNUSED = (*DPT_UNUSED, r"^pretrained\.model\.fc_norm\.", r"\.attn\.relative_position_index$")
NEXTVIT_UNUSED = (
    r"^pretrained\.model\.(norm|proj_head)\.",
    r"^scratch\.refinenet4\.resConfUnit1\.",
)
SWIN_UNUSED = (
    r"^pretrained\.model\.(norm|head)\.",
    r"\.(attn_mask|relative_position_index)$",
    r"^scratch\.refinenet4\.resConfUnit1\.",
)


def renamed(name: str, rules: Iterable[Rule]) -> str:
    """A tensor's name in a network of ours."""
    for pattern, ours in rules:
        name = re.sub(pattern, ours, name)
    return name


def take_weights(
    network: nn.Module, tensors: dict[str, Tensor], rules: Sequence[Rule], unused: Sequence[str], where: str
) -> None:
    """Load a released file's tensors into a network; where: the file, for messages.

    Raises: WeightsError for a tensor that is missing, left over or of another shape.
    """
    used = {name: t for name, t in tensors.items() if not any(re.search(p, name) for p in unused)}
    found = {renamed(name, rules): tensor for name, tensor in used.items()}
    own = network.state_dict()
    counted = {name for name in own if name.endswith("num_batches_tracked")}  # not in older files
    missing = sorted(own.keys() - found.keys() - counted)
    surplus = sorted(name for name in used if renamed(name, rules) not in own)
    wrong = sorted(name for name in own.keys() & found.keys() if own[name].shape != found[name].shape)
    if missing or surplus or wrong:
        told = [
            f"{len(names)} {what} ({names[0]}{', ...' if len(names) > 1 else ''})"
            for what, names in (("missing", missing), ("unknown", surplus), ("of another shape", wrong))
            if names
        ]
        raise WeightsError(
            f"{where}: not weights of this model: {', '.join(told)}; give another --model or file"
        )
    network.load_state_dict({**{name: own[name] for name in counted}, **found})
