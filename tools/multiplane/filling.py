"""What a moved camera uncovers, filled in without a network: with what lies behind, not with what is before.

`fill` lets colours and disparity flow into the masked pixels as heat would (Laplace's equation), through
the rim of what lies behind alone. `nearest_fill` is the baseline that others are compared with.
"""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

BEHIND = 0.05  # of the range of disparity: what is nearer than what lies behind by more than this is before
RESIDUAL = 1e-4  # of the range of a colour or of disparity, root mean square, at which `fill` is done
MOST_STEPS = 1000


def nearest_fill(values: Float[Tensor, "h w c"], mask: Bool[Tensor, "h w"]) -> Float[Tensor, "h w c"]:
    """Masked pixels take the values of the nearest pixel that is not; of several as near, of any one.

    Raises: ValueError if every pixel is masked.
    """
    _check_mask(mask)
    return values.flatten(0, 1)[nearest_known(mask)]


def fill(
    rgb: Float[Tensor, "h w 3"], disparity: Float[Tensor, "h w"], mask: Bool[Tensor, "h w"]
) -> tuple[Float[Tensor, "h w 3"], Float[Tensor, "h w"]]:
    """Colours and disparity with the masked pixels filled in from the farther side of what encloses them.

    What is nearer than `behind` says lends them nothing. Pixels that are not masked stay as they are, and
    what stands in masked ones plays no part.
    Raises: ValueError if every pixel is masked, or disparity of one that is not is infinite or no number.
    """
    _check_mask(mask)
    if not bool(disparity[~mask].isfinite().all()):
        raise ValueError("disparity is not finite outside of the mask; mask what is unknown as well")
    if not bool(mask.any()):
        return rgb.clone(), disparity.clone()
    data = torch.cat((rgb, disparity[..., None]), dim=-1).double()
    known = data[~mask]
    least, most = known.aminmax(dim=0)
    farthest = behind(data[..., 3], mask) + BEHIND * (most - least)[3]
    data = _flow_in(nearest_fill(data, mask), farthest, mask, RESIDUAL * (most - least))
    found = data.clamp(least, most).to(rgb.dtype)
    return (
        torch.where(mask[..., None], found[..., :3], rgb),
        torch.where(mask, found[..., 3].to(disparity.dtype), disparity),
    )


def _check_mask(mask: Bool[Tensor, "h w"]) -> None:
    if bool(mask.all()):
        height, width = mask.shape
        raise ValueError(f"mask holds all {width} x {height} pixels; none is left to fill them from")


def _ends(mask: Bool[Tensor, "h w"], dim: int) -> tuple[Int64[Tensor, "h w"], Int64[Tensor, "h w"]]:
    """Row (dim 0) or column (dim 1) of the last pixel not masked up to each one, and of the first from it on;
    -1 and the length of that side where there is none."""
    length = mask.shape[dim]
    place = torch.arange(length, device=mask.device).view((-1, 1) if dim == 0 else (1, -1)).expand_as(mask)
    before = torch.where(mask, -1, place).cummax(dim).values
    after = torch.where(mask, length, place).flip(dim).cummin(dim).values.flip(dim)
    return before, after


def nearest_known(mask: Bool[Tensor, "h w"]) -> Int64[Tensor, "h w"]:
    """Number of the nearest pixel that is not masked: the nearest of each column, and of these the nearest
    (Saito and Toriwaki, Pattern Recognition 1994). Some pixel must be."""
    height, width = mask.shape
    row = torch.arange(height, device=mask.device)[:, None]
    above, below = _ends(mask, 0)
    far = height + width
    up, down = (torch.where(above >= 0, row - above, far), torch.where(below < height, below - row, far))
    along = torch.minimum(up, down).square()
    number = torch.where(up <= down, above, below) * width + torch.arange(width, device=mask.device)
    least, nearest = along.clone(), number.clone()
    for step in range(1, width):
        if step**2 >= int(least.max()):
            break
        left, right = slice(None, -step), slice(step, None)
        for here, there in ((left, right), (right, left)):
            closer = along[:, there] + step**2 < least[:, here]
            least[:, here] = torch.where(closer, along[:, there] + step**2, least[:, here])
            nearest[:, here] = torch.where(closer, number[:, there], nearest[:, here])
    return nearest


def behind(disparity: Float[Tensor, "h w"], mask: Bool[Tensor, "h w"]) -> Float[Tensor, "h w"]:
    """What lies behind masked pixels: the least of the disparities that their rows and columns end in.

    Where the shorter of the two runs of masked pixels, that in the row and that in the column, ends at a side
    of the picture, nothing encloses the pixel: infinite, everything counts as behind it.
    """
    least, lengths, enclosed = [], [], []
    for dim in (0, 1):
        before, after = _ends(mask, dim)
        last = mask.shape[dim] - 1
        ends = [disparity.gather(dim, end.clamp(0, last)) for end in (before, after)]
        enclosed.append((before >= 0) & (after <= last))
        least.append(torch.where(enclosed[-1], torch.minimum(*ends), torch.inf))
        lengths.append(after - before)
    shorter = torch.where(lengths[0] <= lengths[1], *enclosed)
    return torch.where(shorter, torch.minimum(*least), torch.inf)


def _flow_in(
    data: Float[Tensor, "h w c"],
    farthest: Float[Tensor, "h w"],
    mask: Bool[Tensor, "h w"],
    residual: Float[Tensor, " c"],
) -> Float[Tensor, "h w c"]:
    """Masked pixels become the mean of their neighbours, by conjugate gradients from what they hold.

    A neighbour that is not masked counts where its disparity, the last of data, is no more than `farthest`
    of the pixel. Pixels that none counts for, not even through others, keep their mean.
    """
    height, width, channels = data.shape
    hole = mask.flatten().nonzero()[:, 0]
    number = torch.full((height * width,), len(hole), device=mask.device)
    number[hole] = torch.arange(len(hole), device=mask.device)
    row, column, values = hole // width, hole % width, data.flatten(0, 1)
    inner, lent = [], values.new_zeros(len(hole), channels)
    degree = values.new_zeros(len(hole), 1)
    for down, right in ((0, -1), (0, 1), (-1, 0), (1, 0)):
        y, x = row + down, column + right
        inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        there = y.clamp(0, height - 1) * width + x.clamp(0, width - 1)
        beside = torch.where(inside, number[there], len(hole))
        rim = inside & ~mask.flatten()[there] & (values[there, -1] <= farthest.flatten()[hole])
        inner.append(beside)
        lent += values[there] * rim[:, None]
        degree += ((beside < len(hole)) | rim)[:, None]
    neighbours = torch.stack(inner)
    nothing = values.new_zeros(1, channels)

    def laplacian(v: Tensor) -> Tensor:
        return degree * v - torch.cat((v, nothing))[neighbours].sum(dim=0)

    found = values[hole]
    left = lent - laplacian(found)
    way, length = left, left.square().sum(dim=0)
    for _ in range(MOST_STEPS):
        if bool((length <= len(hole) * residual**2).all()):
            break
        bent = laplacian(way)
        stride = length / (way * bent).sum(dim=0).clamp(min=torch.finfo(way.dtype).tiny)
        found, left = found + stride * way, left - stride * bent
        before, length = length, left.square().sum(dim=0)
        way = left + length / before.clamp(min=torch.finfo(way.dtype).tiny) * way
    values = values.clone()
    values[hole] = found
    return values.view(height, width, channels)
