"""The tensors of dpt_next_vit_large_384.pt, by name: as the program that wrote them calls them."""

from tests.tools.depth.official import Shapes, affine, conv_norm, counted, decoder, depth_head

MODEL = "pretrained.model"
# Channels of each block; those that are 4/3 as wide as what came before them attend.
WIDTHS = (*(96,) * 3, *(192,) * 3, 256, *((384,) * 4 + (512,)) * 6, *(768,) * 2, 1024)


def embedding(name: str, outgoing: int, incoming: int) -> Shapes:
    yield from conv_norm(f"{name}.conv", f"{name}.norm", outgoing, incoming, 1, 1)


def mixed(block: str, width: int, wider: int, norm: str) -> Shapes:
    yield from counted(f"{block}.{norm}", width)
    yield from affine(f"{block}.mlp.conv1", wider * width, width, 1, 1)
    yield from affine(f"{block}.mlp.conv2", width, wider * width, 1, 1)


def convolved(block: str, width: int) -> Shapes:
    yield from conv_norm(f"{block}.mhca.group_conv3x3", f"{block}.mhca.norm", width, 32, 3, 3)
    yield f"{block}.mhca.projection.weight", (width, width, 1, 1)


def attended(block: str, width: int) -> Shapes:
    yield from counted(f"{block}.norm1", width)
    for layer in ("q", "k", "v", "proj"):
        yield from affine(f"{block}.e_mhsa.{layer}", width, width)
    if width < 768:  # where keys are means
        yield from counted(f"{block}.e_mhsa.norm", width)


def nextvit() -> Shapes:
    """Next-ViT-L with its end."""
    channels = (3, 64, 32, 64, 64)
    for layer in range(4):
        name = f"{MODEL}.stem.{layer}"
        yield from conv_norm(f"{name}.conv", f"{name}.norm", channels[layer + 1], channels[layer], 3, 3)
    incoming = channels[-1]
    for index, width in enumerate(WIDTHS):
        block = f"{MODEL}.features.{index}"
        if 3 * width == 4 * incoming:
            yield from attended(block, incoming)
            yield from embedding(f"{block}.projection", width - incoming, incoming)
            yield from convolved(block, width - incoming)
            yield from mixed(block, width, 2, "norm2")
        else:
            if width != incoming:
                yield from embedding(f"{block}.patch_embed", width, incoming)
            yield from convolved(block, width)
            yield from mixed(block, width, 3, "norm")
        incoming = width
    yield from counted(f"{MODEL}.norm", incoming)
    yield from affine(f"{MODEL}.proj_head.0", 1000, incoming)


def dpt_nextvit() -> dict[str, tuple[int, ...]]:
    return dict([*nextvit(), *decoder((96, 256, 512, 1024)), *depth_head()])
