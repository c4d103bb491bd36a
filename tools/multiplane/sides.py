"""Pictures of any size, for networks that halve them some times.

The rule: the last row is repeated downwards and the last column to the right until both sides are multiples
of what the network wants; of what comes out, the same share is cut off again. Pictures whose sides are
multiples already go through untouched.
"""

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad


def rounded_up(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple


def grown(maps: Float[Tensor, "b c h w"], multiple: int) -> Float[Tensor, "b c _ _"]:
    """Sides that are multiples, the last row and column repeated."""
    height, width = maps.shape[2:]
    added = (0, rounded_up(width, multiple) - width, 0, rounded_up(height, multiple) - height)
    return pad(maps, added, mode="replicate") if any(added) else maps


def cut(maps: Float[Tensor, "*b _ _"], height: int, width: int) -> Float[Tensor, "*b h w"]:
    """The upper left corner."""
    return maps[..., :height, :width]
