"""How pictures show the colours of one scene: each with an exposure and a white balance of its own.

A picture shows gain * c + bias of the scene's colour c, channel by channel. Gains and biases are trained
along with the field, from what a step tells of its rays; over all pictures they are 1 and 0 in the mean, so
that the scene itself has the colours of a mean picture.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from fields.kernels.adam import sparse_adam
from fields.kernels.ngp import StepRays
from render.methods.base import check_state

LEAST_SPREAD = 1e-4  # of colours (variance): below it they do not tell a gain


class Appearance:
    """Gains and biases of n pictures, and their optimiser's state.

    value: (n, 6), the logarithm of a gain for each channel, and a bias for each.
    """

    def __init__(self, pictures: int) -> None:
        self.value = torch.zeros(pictures, 6)
        self.first_moment, self.second_moment = torch.zeros_like(self.value), torch.zeros_like(self.value)

    def transforms(self) -> Float[Tensor, "n 3 4"]:
        """A and b of each picture: A c + b is what it shows of a colour c."""
        return torch.cat((torch.diag_embed(self.value[:, :3].exp()), self.value[:, 3:, None]), dim=-1)

    def update(self, rays: StepRays, learning_rate: float, step: int) -> None:
        """One step of Adam on the pictures that the rays belong to; step: 1, 2, ..."""
        arrays = (self.value, self.first_moment, self.second_moment, self.gradient(rays))
        sparse_adam(*(a.view(-1) for a in arrays), 6, learning_rate=learning_rate, step=step)
        self.value -= self.value.mean(dim=0)

    def gradient(self, rays: StepRays) -> Float[Tensor, "n 6"]:
        """Of the loss, by `value`."""
        picture = rays.pixel[:, 0].long()
        gain = self.value[picture, :3].exp()
        each = torch.cat((rays.color_gradient * rays.color * gain, rays.color_gradient), dim=-1)
        return torch.zeros_like(self.value).index_add(0, picture, each)

    def state(self) -> dict[str, Tensor]:
        return {
            "appearance.value": self.value,
            "optimizer.appearance.first_moment": self.first_moment,
            "optimizer.appearance.second_moment": self.second_moment,
        }

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Raises ValueError if it is of another number of pictures."""
        check_state(self.state(), state)
        for name, value in self.state().items():
            value.copy_(state[name])


def fitted(
    shown: Float[Tensor, "*p 3"], scene: Float[Tensor, "*p 3"]
) -> tuple[Float[Tensor, "3"], Float[Tensor, "3"]]:
    """Gain and bias of each channel with which the scene's colours come nearest to those that are shown.

    Least squares; where the colours are all alike only the bias is fitted.
    """
    shown, scene = shown.reshape(-1, 3).double(), scene.reshape(-1, 3).double()
    variance = scene.var(dim=0, correction=0)
    covariance = ((shown - shown.mean(dim=0)) * (scene - scene.mean(dim=0))).mean(dim=0)
    gain = torch.where(variance > LEAST_SPREAD, covariance / variance, 1.0)
    return gain.float(), (shown.mean(dim=0) - gain * scene.mean(dim=0)).float()
