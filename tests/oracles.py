"""Slow, obvious versions of what the engine computes fast: plain Python loops, one number at a time."""

import math

import torch
from torch import Tensor


def weights_loop(density: list[float], delta: list[float]) -> list[float]:
    """NeRF Eq. 3 for one ray, its double sum taken literally."""
    weights = []
    for i in range(len(density)):
        before = sum(density[j] * delta[j] for j in range(i))
        weights.append(math.exp(-before) * (1 - math.exp(-density[i] * delta[i])))
    return weights


def published_nerf_weights(raw: Tensor, z: Tensor, direction_lengths: Tensor) -> Tensor:
    """The quadrature of NeRF's published code, alpha by alpha, in the z of its unnormalised rays.

    raw, z: (rays, samples); direction_lengths: (rays,).
    """
    gaps = torch.cat((z[:, 1:] - z[:, :-1], torch.full_like(z[:, :1], 1e10)), dim=-1)
    alpha = 1 - torch.exp(-raw.clamp(min=0) * gaps * direction_lengths[:, None])
    weights = torch.empty_like(alpha)
    for ray in range(len(z)):
        transmittance = 1.0
        for i in range(z.shape[1]):
            weights[ray, i] = transmittance * alpha[ray, i]
            transmittance = transmittance * (1 - alpha[ray, i] + 1e-10)
    return weights


def published_nerf_picture(
    coarse, fine, origins: Tensor, directions: Tensor, near: float, far: float, counts: tuple[int, int]
) -> Tensor:
    """What NeRF's published code shows without jitter, on white, along its unnormalised rays.

    coarse, fine: (points, unit directions) -> (raw density, colour). origins, directions: (rays, 3).
    """
    lengths = directions.norm(dim=-1)
    z = near + (far - near) * torch.linspace(0, 1, counts[0], dtype=origins.dtype).expand(len(origins), -1)
    for field in (coarse, fine):
        points = origins[:, None] + z[..., None] * directions[:, None]
        raw, rgb = field(points, (directions / lengths[:, None])[:, None].expand_as(points))
        weights = published_nerf_weights(raw, z, lengths)
        if field is coarse:
            middle = (z[:, 1:] + z[:, :-1]) / 2
            shares = torch.linspace(0, 1, counts[1], dtype=z.dtype).tolist()
            drawn = [
                [invert_cdf_loop(m.tolist(), w.tolist(), share) for share in shares]
                for m, w in zip(middle, weights[:, 1:-1], strict=True)
            ]
            z = torch.cat((z, torch.tensor(drawn, dtype=z.dtype)), dim=-1).sort(dim=-1).values
    return (weights[..., None] * rgb).sum(dim=1) + 1 - weights.sum(dim=-1, keepdim=True)


def invert_cdf_loop(edges: list[float], weights: list[float], share: float) -> float:
    """NeRF section 5.2 for one share: walk the intervals of (weights + 1e-5) until it is spent."""
    weights = [w + 1e-5 for w in weights]
    total = sum(weights)
    before = 0.0
    for i, weight in enumerate(weights):
        mass = weight / total
        if share < before + mass:
            inside = (share - before) / (mass if mass >= 1e-5 else 1.0)
            return edges[i] + inside * (edges[i + 1] - edges[i])
        before += mass
    return edges[-1]


def frequency_loop(x: list[float], frequencies: int) -> list[float]:
    """NeRF Eq. 4 in the order of the published code: x, sin(x), cos(x), sin(2x), cos(2x), ... (no pi)."""
    encoded = list(x)
    for k in range(frequencies):
        encoded += [math.sin(2**k * value) for value in x]
        encoded += [math.cos(2**k * value) for value in x]
    return encoded


def ssim_loop(a: Tensor, b: Tensor) -> float:
    """SSIM of two (height, width) pictures in [0, 1]: every 11x11 window on its own, two-pass moments."""
    offset = torch.arange(11, dtype=torch.float64) - 5
    window = torch.exp(-(offset[:, None] ** 2 + offset[None, :] ** 2) / (2 * 1.5**2))
    window = window / window.sum()
    values = []
    for y in range(a.shape[0] - 10):
        for x in range(a.shape[1] - 10):
            p, q = a[y : y + 11, x : x + 11], b[y : y + 11, x : x + 11]
            mean_p, mean_q = (window * p).sum(), (window * q).sum()
            variance_p = (window * (p - mean_p) ** 2).sum()
            variance_q = (window * (q - mean_q) ** 2).sum()
            covariance = (window * (p - mean_p) * (q - mean_q)).sum()
            numerator = (2 * mean_p * mean_q + 1e-4) * (2 * covariance + 9e-4)
            denominator = (mean_p**2 + mean_q**2 + 1e-4) * (variance_p + variance_q + 9e-4)
            values.append(float(numerator / denominator))
    return sum(values) / len(values)
