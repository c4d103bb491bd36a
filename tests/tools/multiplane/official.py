"""The tensors of adampi_32p.pth and adampi_64p.pth, by name: as the program that wrote them calls them."""

from tests.tools.depth.official import Shapes, affine, conv_norm, counted

ENCODER = (64, 64, 128, 256, 512)
DECODER = (12, 24, 48, 96, 192)


def adjustment() -> Shapes:
    incoming = 5
    for index, width in enumerate((8, 16, 32, 64, 128)):
        block = f"dpn.context_encoder.res_blocks.{index}"
        yield from affine(f"{block}.conv1", width, incoming, 3, 3)
        yield from affine(f"{block}.conv2", width, width, 3, 3)
        yield from affine(f"{block}.conv3", width, incoming, 1, 1)
        yield from counted(f"{block}.bn", width)
        incoming = width
    for head in range(4):
        for kind in "QKV":
            yield from affine(f"dpn.self_attention.w{kind}s.{head}", 32, 128)
    yield from affine("dpn.self_attention.fusion", 128, 128)
    yield from affine("dpn.embed.0", 32, 128)
    yield from affine("dpn.to_disp.linear", 1, 32)


def masks() -> Shapes:
    convs = ((16, 5), (32, 16), (64, 32), (128, 64), (128, 128), (64, 192), (32, 96), (16, 48), (1, 16))
    for number, (outgoing, incoming) in enumerate(convs, start=1):
        yield from affine(f"fmn.conv{number}.layer.0", outgoing, incoming, 3, 3)
        yield from counted(f"fmn.conv{number}.layer.1", outgoing)


def encoder() -> Shapes:
    resnet = "encoder.encoder"
    yield from conv_norm(f"{resnet}.conv1", f"{resnet}.bn1", 64, 4, 7, 7)
    for layer in range(1, 5):
        incoming, width = ENCODER[layer - 1], ENCODER[layer]
        for index in range(2):
            block = f"{resnet}.layer{layer}.{index}"
            yield from conv_norm(f"{block}.conv1", f"{block}.bn1", width, incoming, 3, 3)
            yield from conv_norm(f"{block}.conv2", f"{block}.bn2", width, width, 3, 3)
            if incoming != width:
                yield from conv_norm(f"{block}.downsample.0", f"{block}.downsample.1", width, incoming, 1, 1)
            incoming = width
    yield from affine(f"{resnet}.fc", 1000, 512)


def key(*parts: str | int) -> str:
    return "decoder.convs." + "-".join(str(parts))


def gated(name: str, outgoing: int, incoming: int) -> Shapes:
    for conv in ("conv2d", "mask_conv2d"):
        yield from affine(f"{name}.{conv}", outgoing, incoming, 3, 3)


def decoder() -> Shapes:
    reach = (("down1", 512, 512, 1), ("down2", 256, 512, 3), ("up1", 256, 256, 3), ("up2", 512, 256, 1))
    for name, outgoing, incoming, side in reach:
        conv = f"decoder.conv_{name}"
        yield from conv_norm(f"{conv}.0", f"{conv}.1", outgoing, incoming, side, side)
    for level in (4, 3, 2, 1, 0):
        width = DECODER[level]
        before = 514 if level == 4 else DECODER[level + 1]
        after = width if level == 0 else width + ENCODER[level - 1] + 2
        for place, incoming in ((0, before), (1, after)):
            name = key("upconv", level, place)
            yield from gated(f"{name}.gated_conv", width, incoming)
            yield from counted(f"{name}.bn", width)
    for scale in range(4):
        yield from gated(key("dispconv", scale), 4, DECODER[scale])


def adampi() -> dict[str, tuple[int, ...]]:
    return dict([*encoder(), *masks(), *adjustment(), *decoder()])
