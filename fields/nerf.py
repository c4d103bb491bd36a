"""The field of NeRF (arXiv:2003.08934, Fig. 7), in the published code's layout.

Layers carry the names of github.com/yenchenlin/nerf-pytorch, so that state dicts pass both ways
without renaming:
    pts_linears.0 .. depth-1   the trunk; the encoded point enters again after layer `skip`
    alpha_linear               density, before its activation
    feature_linear             into the colour branch, without activation
    views_linears.0            features and encoded direction, half as wide
    rgb_linear                 colour, before the sigmoid
    output_linear              instead of the last four where colour does not depend on direction
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from fields.base import FieldOutput
from fields.encodings.frequency import FrequencyEncoding

Activation = Literal["relu", "softplus"]


class NeRFField(nn.Module):
    """Density and colour from one network; the defaults are the paper's, 595,844 parameters.

    density_activation: "relu" as published, or "softplus" of 10 raw - 1. The gradient of the latter
        never vanishes, so that no initial value leaves the whole volume empty for good, as happens
        to narrow networks with the former (softplus as in mip-NeRF, arXiv:2103.13415, section 3.1;
        the factor is ours: surfaces are tens per scene unit dense, and raw values begin near 0).
    """

    def __init__(
        self,
        width: int = 256,
        depth: int = 8,
        position_frequencies: int = 10,
        direction_frequencies: int = 4,
        skip: int = 4,
        view_dependent: bool = True,
        density_activation: Activation = "relu",
    ) -> None:
        super().__init__()
        if depth < 1 or width < 2:
            raise ValueError(f"depth must be at least 1 and width at least 2, got {depth} and {width}")
        self.skip, self.view_dependent, self.density_activation = skip, view_dependent, density_activation
        self.encode_point = FrequencyEncoding(position_frequencies)
        self.encode_direction = FrequencyEncoding(direction_frequencies)
        points, directions = self.encode_point.width, self.encode_direction.width
        inputs = [points] + [width + points * (layer == skip) for layer in range(depth - 1)]
        self.pts_linears = nn.ModuleList(nn.Linear(size, width) for size in inputs)
        if view_dependent:
            self.alpha_linear = nn.Linear(width, 1)
            self.feature_linear = nn.Linear(width, width)
            self.views_linears = nn.ModuleList([nn.Linear(width + directions, width // 2)])
            self.rgb_linear = nn.Linear(width // 2, 3)
        else:
            self.views_linears = nn.ModuleList([nn.Linear(width, width // 2)])  # unused, as published
            self.output_linear = nn.Linear(width, 4)

    def forward(self, points: Float[Tensor, "*n 3"], directions: Float[Tensor, "*#n 3"]) -> FieldOutput:
        """Density (1 / scene unit) and colour at points seen along unit directions."""
        trunk = self.trunk(points)
        if not self.view_dependent:
            raw = self.output_linear(trunk)
            return FieldOutput(self.activate(raw[..., 3]), raw[..., :3].sigmoid())
        density = self.activate(self.alpha_linear(trunk)[..., 0])
        feature, direction = self.feature_linear(trunk), self.encode_direction(directions)
        branch = linear_of_both(self.views_linears[0], feature, direction).relu()
        return FieldOutput(density, self.rgb_linear(branch).sigmoid())

    def density(self, points: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n"]:
        """Density alone; the colour branch is not run."""
        trunk = self.trunk(points)
        raw = self.alpha_linear(trunk)[..., 0] if self.view_dependent else self.output_linear(trunk)[..., 3]
        return self.activate(raw)

    def trunk(self, points: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n width"]:
        """What the network knows of a point, whatever the direction."""
        encoded = self.encode_point(points)
        x = self.pts_linears[0](encoded).relu()
        for layer, linear in enumerate(self.pts_linears[1:]):
            x = (linear_of_both(linear, encoded, x) if layer == self.skip else linear(x)).relu()
        return x

    def activate(self, raw: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """Density from the network's raw value."""
        return raw.relu() if self.density_activation == "relu" else F.softplus(10 * raw - 1)


def linear_of_both(
    linear: nn.Linear, first: Float[Tensor, "*n a"], second: Float[Tensor, "*#n b"]
) -> Float[Tensor, "*n c"]:
    """`linear` of (first, second) side by side, without copying them there.

    The second may be one per ray where the first is one per sample; it is then multiplied once a ray.
    """
    split = first.shape[-1]
    return F.linear(first, linear.weight[:, :split], linear.bias) + F.linear(second, linear.weight[:, split:])


class PublishedNeRF(NamedTuple):
    """The two networks of a published checkpoint and the training step that they are from."""

    coarse: NeRFField
    fine: NeRFField | None
    step: int


def load_published(path: str | Path) -> PublishedNeRF:
    """Read a `.tar` checkpoint of nerf-pytorch. Width, depth and frequencies follow from its shapes.

    The authors' rays go through whole pixel numbers and are not normalised: directions are
    ((i - W/2) / f, (j - H/2) / f, 1). Our pixel centres (+0.5) meet them with cx = W/2 + 0.5 and
    cy = H/2 + 0.5, and their z is our distance divided by the length of that direction; the rest
    of their rule is `render.samplers.hierarchical`'s "published".

    Raises: OSError if there is no such file, ValueError if it is no such checkpoint. Never unpickles
    anything but tensors and plain data.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        states = [content["network_fn_state_dict"], content.get("network_fine_state_dict")]
        coarse, fine = (None if state is None else _field_of(state) for state in states)
        return PublishedNeRF(coarse, fine, int(content.get("global_step", 0)))
    except OSError:
        raise
    except Exception as error:  # whatever a foreign file makes torch.load or the shapes run into
        raise ValueError(f"{path}: not a checkpoint of nerf-pytorch; give a .tar that it wrote") from error


def save_published(path: str | Path, published: PublishedNeRF) -> None:
    """Write networks as nerf-pytorch's render scripts read them (without an optimiser's state)."""
    content = {"global_step": published.step, "network_fn_state_dict": published.coarse.state_dict()}
    if published.fine is not None:
        content["network_fine_state_dict"] = published.fine.state_dict()
    torch.save(content, path)


def load_keras_weights(field: NeRFField, arrays: Sequence[np.ndarray]) -> None:
    """Load the list of arrays that bmild/nerf saves: kernel and bias by turns, kernels (in, out).

    Layers come in the order trunk, feature, views, rgb, alpha.
    Raises: ValueError if their number or a shape does not fit the field.
    """
    layers = [*field.pts_linears, field.feature_linear, *field.views_linears, field.rgb_linear]
    parameters = [p for layer in (*layers, field.alpha_linear) for p in (layer.weight, layer.bias)]
    if len(arrays) != len(parameters):
        raise ValueError(f"expected {len(parameters)} arrays for this field, got {len(arrays)}")
    for number, (parameter, array) in enumerate(zip(parameters, arrays, strict=True)):
        value = torch.from_numpy(np.ascontiguousarray(array.T))
        if value.shape != parameter.shape:
            raise ValueError(f"array {number} is {array.shape}, the field wants {tuple(parameter.T.shape)}")
        parameter.data.copy_(value)


def _field_of(state: dict[str, Tensor]) -> NeRFField:
    """The field that a state dict fits."""
    width, points = state["pts_linears.0.weight"].shape
    depth = sum(name.startswith("pts_linears.") and name.endswith(".weight") for name in state)
    widened = [i for i in range(1, depth) if state[f"pts_linears.{i}.weight"].shape[1] > width]
    view_dependent = "rgb_linear.weight" in state
    directions = state["views_linears.0.weight"].shape[1] - width if view_dependent else 27
    field = NeRFField(
        width=width,
        depth=depth,
        position_frequencies=(points // 3 - 1) // 2,
        direction_frequencies=(directions // 3 - 1) // 2,
        skip=widened[0] - 1 if widened else depth,
        view_dependent=view_dependent,
    )
    if not view_dependent:  # published with a fifth output that nothing reads, where there is a fine network
        field.output_linear = nn.Linear(width, len(state["output_linear.weight"]))
    field.load_state_dict(state)
    return field
