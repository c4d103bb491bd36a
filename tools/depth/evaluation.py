"""Predicted depth measured on a data set, beside what can be had without looking at a picture.

A predictor makes a `Guess` of what is `Seen`. Those of baselines look at no picture: a constant; the mean of
many maps; the plane that is nearest to the truth in inverse depth, which knows the truth and is hard to beat
on streets. All are brought to the truth in the same way and measured by the same rule.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Float64, UInt8
from torch import Tensor
from torch.nn.functional import interpolate

from render.run import usable_device
from scenes.depths import read_depth
from scenes.images import Progress, read_image
from tools.depth.losses import Kind
from tools.depth.metrics import PROTOCOLS, Alignment, Protocol, counted, evaluate, mean_of_images, whdr
from tools.depth.models import BUILT_IN, read_model, released
from tools.depth.ordinal import Question
from tools.depth.pairs import DepthSet, DepthSetError, Labelled
from tools.depth.predict import predicted, sized

# What networks answer (tools/depth/predict.py), as data sets call it.
KIND_OF: Mapping[str, Kind] = {"inverse_relative": "relative_inverse", "metric": "z_depth"}
MARGIN = 2.0  # without a protocol: how many times nearer and farther than all that is known a guess may be
LEAST = 1e-6  # share of the largest value that 0 is taken for where 1 over it is wanted


@dataclass(frozen=True, eq=False)
class Seen:
    """A picture that is to be guessed, and the truth.

    truth  z_depth, 0 where it is not known
    mask   what of it counts
    """

    name: str
    rgb: UInt8[Tensor, "h w c"]
    truth: Float64[Tensor, "h w"]
    mask: Bool[Tensor, "h w"]
    protocol: Protocol


@dataclass(frozen=True, eq=False)
class Guess:
    """values: of the size of the picture; kind: what they are."""

    values: Float[Tensor, "h w"]
    kind: Kind


@dataclass(frozen=True)
class Predictor:
    """What guesses. metric: whether it knows metres, as what is measured without alignment must."""

    name: str
    guess: Callable[[Seen], Guess]
    metric: bool = True


@dataclass(frozen=True)
class Result:
    """What was measured on a data set.

    pictures  how many counted; left_out: names of those in which no truth does
    rows      of each predictor the means over pictures of every measure, and "seconds" a picture
    """

    name: str
    layout: str
    protocol: str
    alignment: Alignment
    pictures: int
    left_out: tuple[str, ...]
    rows: dict[str, dict[str, float]]


def measure(
    found: DepthSet,
    predictors: Iterable[Predictor],
    *,
    protocol: str = "auto",
    alignment: Alignment = "inverse",
    progress: Progress = lambda done, total: None,
) -> Result:
    """Every predictor on every picture of a data set.

    protocol: of tools/depth/metrics.py; auto: the one that the set's published tables have; none, as auto
    where they have none: all that is known counts, up to the set's cap.
    Without alignment, what knows no metres (a constant) is told the truth's median.
    Raises: DepthSetError if the set's depth cannot be measured by, or no picture counts; as `DepthSet.read`.
    """
    rule = (found.protocol or "none") if protocol == "auto" else protocol
    predictors, left_out = list(predictors), []
    measured: dict[str, list[dict[str, float]]] = {predictor.name: [] for predictor in predictors}
    for index, pair in enumerate(found.pairs):
        seen = look(found, index, rule)
        if seen is None:
            left_out.append(pair.name)
        for predictor in predictors if seen else ():
            measured[predictor.name].append(_measured(predictor, seen, alignment))
        progress(index + 1, len(found))
    count = len(found) - len(left_out)
    if not count:
        raise DepthSetError(f"{found.name}: no picture has depth that counts by the protocol {rule}")
    rows = {name: mean_of_images(each) for name, each in measured.items()}
    return Result(found.name, found.layout, rule, alignment, count, tuple(left_out), rows)


def measure_order(
    name: str,
    questions: Sequence[Question],
    predictors: Iterable[Predictor],
    progress: Progress = lambda done, total: None,
) -> Result:
    """How often each predictor says otherwise than people which of two points is nearer (WHDR).

    Raises: ImageError for a picture that cannot be read; as a predictor.
    """
    predictors = list(predictors)
    measured: dict[str, list[dict[str, float]]] = {predictor.name: [] for predictor in predictors}
    for done, question in enumerate(questions, start=1):
        rgb = read_image(question.rgb)
        height, width = rgb.shape[:2]
        nothing = torch.zeros(height, width, dtype=torch.float64)
        seen = Seen(question.name, rgb, nothing, nothing > 0, Protocol(cap=1))
        first, second = (torch.tensor([point]) for point in question.points(width, height))
        nearer = torch.tensor([question.first_is_nearer])
        for predictor in predictors:
            began = time.perf_counter()
            guess = wanted(predictor.guess(seen), "inverse")
            seconds = time.perf_counter() - began
            error = whdr(guess, first, second, nearer)
            measured[predictor.name].append({"whdr": error, "seconds": seconds})
        progress(done, len(questions))
    rows = {name: mean_of_images(each) for name, each in measured.items()}
    return Result(name, "diw", "whdr", "none", len(questions), (), rows)


def look(found: DepthSet, index: int, rule: str) -> Seen | None:
    """A picture and its truth; None if nothing of that counts."""
    labelled = found.read(index)
    truth = z_depth_of(labelled, found)
    protocol = PROTOCOLS[rule] if rule != "none" else whole_range(truth, found.cap)
    if protocol is None:
        return None
    try:
        mask = counted(truth, protocol)
    except ValueError as error:
        raise DepthSetError(f"{found.pairs[index].depth}: {error}, or choose another protocol") from error
    return Seen(found.pairs[index].name, labelled.rgb, truth, mask, protocol) if mask.any() else None


def z_depth_of(labelled: Labelled, found: DepthSet) -> Float64[Tensor, "h w"]:
    """z_depth where it is known and finite, else 0. Raises: DepthSetError if the set does not tell it."""
    if found.kind == "relative_inverse":
        raise DepthSetError(
            f"{found.name}: its depth is known up to scale and shift of the inverse alone, by which nothing "
            "can be measured; it is for training"
        )
    values = labelled.values.double()
    z_depth = values if found.kind == "z_depth" else values.reciprocal()
    return torch.where(labelled.known & z_depth.isfinite(), z_depth, 0.0)


def whole_range(truth: Float64[Tensor, "h w"], cap: float | int | None) -> Protocol | None:
    """All that is known, up to `cap`; None if that is nothing."""
    known = truth[truth > 0]
    if not len(known):
        return None
    return Protocol(cap=cap or MARGIN * float(known.max()), nearest=float(known.min()) / MARGIN)


def _measured(predictor: Predictor, seen: Seen, alignment: Alignment) -> dict[str, float]:
    began = time.perf_counter()
    guess = predictor.guess(seen)
    seconds = time.perf_counter() - began
    brought = "median" if alignment == "none" and not predictor.metric else alignment
    try:
        check_known(guess, seen.mask)
        values = evaluate(wanted(guess, brought), seen.truth, seen.protocol, brought)
    except ValueError as error:
        raise DepthSetError(f"{seen.name}: {predictor.name}: {error}") from error
    return {**values, "seconds": seconds}


def check_known(guess: Guess, mask: Bool[Tensor, "h w"]) -> None:
    """Raises ValueError for z_depth of 0 or less, which says nothing, at pixels that count."""
    if guess.values.shape != mask.shape or guess.kind != "z_depth":
        return
    if count := int((guess.values[mask] <= 0).sum()):
        raise ValueError(
            f"its z_depth is 0 or less at {count} of {int(mask.sum())} pixels that count; fill them"
        )


def wanted(guess: Guess, alignment: Alignment) -> Float[Tensor, "h w"]:
    """A guess as the alignment takes it: inverse depth, or z_depth.

    Raises: ValueError if z_depth is asked of inverse depth whose shift nobody knows.
    """
    if (guess.kind != "z_depth") == (alignment == "inverse"):
        return guess.values
    if guess.kind == "relative_inverse":
        raise ValueError(
            "it is inverse depth up to scale and shift, which only --align inverse can bring near"
        )
    values = guess.values.double()
    return values.clamp(min=LEAST * float(values.max())).reciprocal()


def network(
    name: str = BUILT_IN, weights: Path | None = None, size: int | None = None, device: str = "cpu"
) -> Predictor:
    """A depth network by name, with the weights of a file; see `tools.depth.predict.depth_of`.

    Raises: as that does for a model.
    """
    model = sized(released(name), size)
    made = read_model(name, weights).to(usable_device(device))

    def guess(seen: Seen) -> Guess:
        found = predicted(made, model, seen.rgb)
        return Guess(found.values, KIND_OF[found.kind])

    return Predictor(name, guess)


def constant(seen: Seen) -> Guess:
    """One depth everywhere."""
    return Guess(torch.ones_like(seen.truth), "inverse_depth")


def plane(seen: Seen) -> Guess:
    """The plane in inverse depth that is nearest to the truth that counts, in least squares.

    Of what the plane of a floor or a wall is in a picture: inverse depth is linear in its pixels.
    """
    height, width = seen.truth.shape
    row, column = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    terms = torch.stack((torch.ones_like(seen.truth), row / height, column / width), dim=-1)
    fit = torch.linalg.lstsq(terms[seen.mask], seen.truth[seen.mask].reciprocal()[:, None], driver="gelsd")
    return Guess((terms @ fit.solution)[..., 0].clamp(min=1 / seen.protocol.cap), "inverse_depth")


def mean_map(file: Path) -> Predictor:
    """One map of inverse depth, up to scale and shift, for all pictures; brought to their sizes."""
    stored = read_depth(file)[None, None]

    def guess(seen: Seen) -> Guess:
        size = seen.truth.shape
        values = interpolate(stored, size=size, mode="bilinear", align_corners=False, antialias=True)
        return Guess(values[0, 0], "relative_inverse")

    return Predictor("mean map", guess)


def lower_is_nearer(seen: Seen) -> Guess:
    """Inverse depth that grows from the top to the bottom."""
    height, width = seen.truth.shape
    return Guess(torch.arange(1.0, height + 1)[:, None].expand(height, width), "relative_inverse")


BASELINES_OF_ORDER = (Predictor("lower is nearer", lower_is_nearer),)
BASELINES = (Predictor("constant depth", constant, metric=False), Predictor("plane of the truth", plane))
