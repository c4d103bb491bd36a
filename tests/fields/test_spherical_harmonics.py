import torch
from torch.nn import functional as F
from torch.testing import assert_close

from fields.encodings.spherical_harmonics import SphericalHarmonics


def test_harmonics_are_orthonormal_over_the_sphere():
    """Their products integrate to the identity: any wrong constant, sign pair or order of bands shows."""
    nodes, weights = (torch.tensor(v) for v in gauss_legendre(8))
    angle = torch.arange(16, dtype=torch.float64) * 2 * torch.pi / 16
    z, phi = torch.meshgrid(nodes, angle, indexing="ij")
    across = (1 - z**2).sqrt()
    values = SphericalHarmonics()(torch.stack((across * phi.cos(), across * phi.sin(), z), dim=-1))
    weighted = values * (weights * 2 * torch.pi / 16)[:, None, None]
    assert_close(torch.einsum("zpi,zpj->ij", values, weighted), torch.eye(16, dtype=torch.float64))


def gauss_legendre(count):
    import numpy as np

    return np.polynomial.legendre.leggauss(count)


def test_power_of_each_band_does_not_change_under_rotation(generator):
    directions = F.normalize(torch.randn(100, 3, generator=generator, dtype=torch.float64), dim=-1)
    values = SphericalHarmonics()(directions)
    for degree, band in enumerate(values.split([1, 3, 5, 7], dim=-1)):
        expected = torch.full((100,), (2 * degree + 1) / (4 * torch.pi), dtype=torch.float64)
        assert_close(band.square().sum(-1), expected)
