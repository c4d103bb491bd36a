"""A multiplane image of a picture and its disparity, without any network: the classical way.

Planes stand at even or fitted disparities, and each pixel is shared between the two that it lies between;
what is beyond the first or the last is on that. What is hidden behind something near is made up of what is
seen beside it: each plane goes on there, as far as a camera that stands `reach` aside would see of it, in
colours that flow in from its own pixels. The last plane goes on everywhere, so that there is never nothing.

Notation: disparity = 1 / z_depth, 1 / unit; planes run from near to far, the first axis.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from render.multiplane import MultiplaneImage
from scenes.cameras import Cameras
from tools.multiplane.planes import fitted_planes

Spacing = Literal["even", "fitted"]
LEAST_DISPARITY = 1e-3  # what is farther away stands at 1000
REACH = 0.2  # of a camera that moves aside, units: the paper's path goes 0.14
STEP = 0.04  # of disparity within a few pixels, from which on it is an edge and not a slope
BLUR = 3  # pixels to each side of an edge that a network blurs
GOES_ON = 1.5  # of a slope's rise within twice as many; a step's is 1, a slope's is 2
BETWEEN = 0.1  # of the rise: what lies nearer to one side of an edge is on that side
UNLIKE = 2.0  # see `outlined`
MIXED = 2  # pixels beside an edge whose colours are of both sides
MIXED_WEIGHT = 1e-3  # of these: they are used where a plane has no others
CLOSE = 2  # pixels as far as which each plane goes on, so that surfaces aslant have no cracks
LIKELIER, LIKELY = 1.5, 0.1  # see `goes_on`


def layered(
    image: Float[Tensor, "h w 3"],
    disparity: Float[Tensor, "rows columns"],
    camera: Cameras,
    planes: int = 32,
    *,
    spacing: Spacing = "even",
    reach: float | int = REACH,
) -> MultiplaneImage:
    """Planes of alpha that show the picture itself to its own camera.

    image: sRGB in [0, 1]. disparity: of it, 1 / unit, below LEAST_DISPARITY taken as that. camera: the one
    that took it. spacing: of planes: at even disparities from the farthest to the nearest, or fitted to the
    picture (tools/multiplane/planes.py), which is better where they are few. reach: how far aside a camera
    may stand before it sees behind things what was not made up plane by plane, units.
    Raises: ValueError for disparity that is not finite or of another size, or fewer than two planes.
    """
    if image.shape[:2] != disparity.shape:
        raise ValueError(
            f"disparity is {tuple(disparity.shape)}, the picture {tuple(image.shape[:2])}; resize one of them"
        )
    if not bool(disparity.isfinite().all()):
        raise ValueError("disparity is not finite everywhere; put 0 where nothing is known")
    crisp = outlined(sharpened(disparity.clamp(min=LEAST_DISPARITY)), image)
    stops = plane_disparities(crisp, image, planes, spacing)
    shares = plane_shares(crisp, stops)
    before = torch.cat((torch.zeros_like(shares[:1]), shares.cumsum(dim=0)[:-1]))
    alpha = torch.where(before < 1, shares / (1 - before).clamp(min=1e-6), 0.0).clamp(max=1.0)
    hidden = before > 1 - 1e-6
    pixels = reach * float(camera.fx) * (crisp - stops[:, None, None])
    alpha = torch.where(goes_on((shares > 0) & ~stray(crisp), hidden, pixels), 1.0, alpha)
    alpha[-1] = 1
    colours = image.permute(2, 0, 1)
    weights = shares * torch.where(beside_nearer(crisp, stops), MIXED_WEIGHT, 1.0)
    fill = flowed_in(colours[None].expand(planes, -1, -1, -1), weights[:, None])
    return MultiplaneImage(torch.where(shares[:, None] > 0, colours, fill), alpha, 1 / stops, camera, "alpha")


def goes_on(
    seeds: Bool[Tensor, "n h w"], hidden: Bool[Tensor, "n h w"], reach: Float[Tensor, "n h w"]
) -> Bool[Tensor, "n h w"]:
    """Where each plane is carried on under what hides it.

    At most as far as a moved camera sees of it, reach, in pixels: that is how far what hides it moves against
    it. Of several planes those whose seen pixels, the seeds, are nearest, measured by their reach: LIKELIER
    times as far as the nearest of them, and LIKELY of the reach.
    """
    distances = [distance_to(one, int(far.max()) + 1) for one, far in zip(seeds, reach, strict=True)]
    distance = torch.stack(distances)
    share = torch.where(hidden & (reach > 0), distance / reach.clamp(min=1e-6), torch.inf)
    likely = share <= LIKELIER * share.amin(dim=0) + LIKELY
    return (share <= 1) & (likely | (distance <= CLOSE))


def sharpened(disparity: Float[Tensor, "h w"]) -> Float[Tensor, "h w"]:
    """Slopes at the edges of things become steps.

    Each pixel takes the nearer of its surroundings' extremes, of BLUR pixels to each side (toggle mapping,
    Kramer and Bruckner 1975), where these differ by more than STEP, it is on neither side yet, and those of
    twice as wide surroundings hardly differ more: a slope would go on there, and stays. A network's slope
    from one thing to another would hang in the air as a sheet between the two.
    """
    found = disparity[None, None]
    highest, lowest = _largest(found, BLUR), -_largest(-found, BLUR)
    between = torch.minimum(highest - found, found - lowest) > BETWEEN * (highest - lowest)
    extreme = torch.where(highest - found < found - lowest, highest, lowest)
    return torch.where(between & _is_edge(disparity), extreme, found)[0, 0]


def _is_edge(disparity: Float[Tensor, "h w"]) -> Bool[Tensor, "h w"]:
    found, margins = _continued(disparity, 2 * BLUR)
    found = found[None, None]
    rise, wider = (_largest(found, reach) + _largest(-found, reach) for reach in (BLUR, 2 * BLUR))
    return ((rise > STEP) & (wider < GOES_ON * rise))[0, 0][margins]


def _continued(
    disparity: Float[Tensor, "h w"], pixels: int
) -> tuple[Float[Tensor, "rows columns"], tuple[slice, slice]]:
    """The picture with margins into which its slopes go on, and where in that it lies."""
    found, inner = disparity, []
    for axis in range(2):
        length = disparity.shape[axis]
        margin = min(pixels, length - 1)
        first, last = found.narrow(axis, 0, 1), found.narrow(axis, length - 1, 1)
        before = 2 * first - found.narrow(axis, 1, margin).flip(axis)
        after = 2 * last - found.narrow(axis, length - 1 - margin, margin).flip(axis)
        found = torch.cat((before, found, after), dim=axis)
        inner.append(slice(margin, margin + length))
    return found, (inner[0], inner[1])


def outlined(disparity: Float[Tensor, "h w"], image: Float[Tensor, "h w 3"]) -> Float[Tensor, "h w"]:
    """Pixels beside a step go with the nearer thing, of whose colour there is some in most of them.

    Not where their colour is UNLIKE times as far from the mean of what is near within BLUR pixels as from the
    mean of what is far there. Left behind, an outline of each thing would stand where it was.
    """
    beside = _largest(disparity[None, None], 1)[0, 0]
    y, x = (beside - disparity > STEP).nonzero().unbind(-1)
    middle = (beside + disparity)[y, x] / 2
    seen = torch.cat((disparity[None], torch.ones_like(disparity)[None], image.permute(2, 0, 1)))
    around = F.pad(seen[None], (BLUR,) * 4, mode="replicate")[0]
    near, far = seen.new_zeros(4, len(y)), seen.new_zeros(4, len(y))
    for down in range(2 * BLUR + 1):
        for right in range(2 * BLUR + 1):
            one = around[:, y + down, x + right]
            near += one[1:] * (one[0] > middle)
            far += one[1:] * (one[0] <= middle)
    own = image[y, x].T
    from_near, from_far = ((own - side[1:] / side[0]).norm(dim=0) for side in (near, far))
    found = disparity.clone()
    found[y, x] = torch.where(from_near < UNLIKE * from_far, beside[y, x], disparity[y, x])
    return found


def plane_disparities(
    disparity: Float[Tensor, "h w"], image: Float[Tensor, "h w 3"], planes: int, spacing: Spacing
) -> Float[Tensor, " n"]:
    """Falling disparities of planes between the picture's largest and its smallest."""
    if planes < 2:
        raise ValueError(f"planes must be at least 2, got {planes}")
    if spacing not in ("even", "fitted"):
        raise ValueError(f"spacing is even or fitted, got {spacing!r}")
    nearest, farthest = disparity.max(), disparity.min()
    if float(nearest - farthest) < LEAST_DISPARITY:  # a wall: the planes stand close before it
        nearest = farthest + LEAST_DISPARITY
    if spacing == "even":
        return torch.lerp(nearest, farthest, torch.linspace(0, 1, planes, dtype=disparity.dtype))
    share = (disparity - farthest) / (nearest - farthest)
    fitted = fitted_planes(image.permute(2, 0, 1)[None], share[None, None], planes)[0]
    return torch.lerp(farthest, nearest, fitted)


def plane_shares(disparity: Float[Tensor, "h w"], stops: Float[Tensor, " n"]) -> Float[Tensor, "n h w"]:
    """How much of each pixel is on each plane: linear between the two next to it, adding up to 1."""
    inside = disparity.clamp(min=float(stops[-1]), max=float(stops[0]))
    behind = torch.searchsorted(-stops, -inside).clamp(1, len(stops) - 1)
    front = behind - 1
    share = (inside - stops[behind]) / (stops[front] - stops[behind])
    shares = inside.new_zeros(len(stops), *inside.shape)
    shares.scatter_(0, front[None], share[None])
    return shares.scatter_(0, behind[None], 1 - share[None])


def distance_to(seeds: Bool[Tensor, "h w"], most: int) -> Float[Tensor, "h w"]:
    """Pixels from each pixel to the nearest seed, of those that are at most `most` rows off.

    First along rows, then over them (Felzenszwalb and Huttenlocher 2012 do the same without a limit).
    """
    height, width = seeds.shape
    column = torch.arange(width, dtype=torch.float32, device=seeds.device)
    left = torch.where(seeds, column, -torch.inf).cummax(dim=-1).values
    right = -torch.where(seeds, -column, -torch.inf).flip(-1).cummax(dim=-1).values.flip(-1)
    along = torch.minimum(column - left, right - column).square()
    found = along.clone()
    for rows in range(1, min(most, height - 1) + 1):
        found[rows:] = torch.minimum(found[rows:], along[:-rows] + rows**2)
        found[:-rows] = torch.minimum(found[:-rows], along[rows:] + rows**2)
    return found.sqrt()


def stray(disparity: Float[Tensor, "h w"]) -> Bool[Tensor, "h w"]:
    """What is left of a blurred edge: within MIXED pixels something nearer, and something farther, too."""
    found = disparity[None, None]
    return ((_largest(found, MIXED) - found > STEP) & (found + _largest(-found, MIXED) > STEP))[0, 0]


def beside_nearer(disparity: Float[Tensor, "h w"], stops: Float[Tensor, " n"]) -> Bool[Tensor, "n h w"]:
    """Where, within MIXED pixels, something is nearer than a plane by a STEP: colours are mixed there."""
    nearest = _largest(disparity[None, None], MIXED)[0, 0]
    return nearest > stops[:, None, None] + STEP


def flowed_in(
    colours: Float[Tensor, "n c h w"], weights: Float[Tensor, "n 1 h w"]
) -> Float[Tensor, "n c h w"]:
    """Colours everywhere, from those with weights in [0, 1]; grey where there are none of these at all.

    Averages of ever wider surroundings (pull) are used as far as narrower ones know less (push): Gortler et
    al., The Lumigraph, 1996.
    """
    height, width = colours.shape[2:]
    if height == 1 and width == 1:
        return torch.where(weights > 0, colours, 0.5)
    odd = (0, width % 2, 0, height % 2)
    total = 4 * F.avg_pool2d(F.pad(weights, odd), 2)
    wider = 4 * F.avg_pool2d(F.pad(colours * weights, odd), 2) / total.clamp(min=1e-9)
    wider = flowed_in(wider, total.clamp(max=1))
    around = F.interpolate(wider, scale_factor=2, mode="bilinear", align_corners=False)[..., :height, :width]
    return torch.lerp(around, colours, weights)


def _largest(maps: Float[Tensor, "n c h w"], reach: int) -> Float[Tensor, "n c h w"]:
    """Of all pixels up to `reach` away, in rows and columns."""
    return F.max_pool2d(maps, 2 * reach + 1, 1, reach)
