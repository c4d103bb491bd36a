"""What a lens does: between the direction of a ray and where it meets the picture plane at focal length 1.

Directions are in camera axes (x right, y down, z forward), of any length; plane coordinates times focal
length plus principal point are pixels. Three projections, of COEFFICIENTS numbers each (absent ones are 0):

    perspective      x/z, y/z, then radial and tangential distortion: k1 k2 p1 p2 k3 k4 k5 k6
    fisheye          the angle t from the axis, as t (1 + k1 t^2 + k2 t^4 + k3 t^6 + k4 t^8): k1 k2 k3 k4
    equirectangular  longitude and latitude, radians

Source: OpenCV's calib3d and fisheye models, which COLMAP's are made of.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

PROJECTIONS = ("perspective", "fisheye", "equirectangular")
COEFFICIENTS = 8
NEWTON_STEPS = 100  # most; a real lens takes five
CONVERGED = 1e-13


def distort(
    projection: str, directions: Float[Tensor, "*#n 3"], coefficients: Float[Tensor, "*#n 8"]
) -> Float[Tensor, "*n 2"]:
    """Where rays along `directions` meet the picture plane.

    A perspective lens sees nothing behind it: where z <= 0, what it returns means nothing.
    Raises: ValueError for an unknown projection.
    """
    x, y, z = directions.unbind(-1)
    if projection == "perspective":
        return torch.stack(_perspective(x / z, y / z, coefficients), dim=-1)
    radius = (x**2 + y**2).clamp(min=torch.finfo(x.dtype).tiny).sqrt()
    if projection == "fisheye":
        bent = _fisheye(torch.atan2(radius, z), coefficients)
        return torch.stack((x / radius * bent, y / radius * bent), dim=-1)
    if projection == "equirectangular":
        longitude, latitude = torch.atan2(x, z), torch.atan2(y, (x**2 + z**2).sqrt())
        return torch.stack((longitude, latitude), dim=-1)
    raise ValueError(f"projection {projection!r} is unknown; it must be one of {', '.join(PROJECTIONS)}")


def undistort(
    projection: str, plane: Float[Tensor, "*#n 2"], coefficients: Float[Tensor, "*#n 8"]
) -> Float[Tensor, "*n 3"]:
    """Unit directions that `distort` sends to these points; NaN where no direction of the valid field does.

    The valid field is where the picture does not fold back: the determinant of the distortion's derivative is
    positive. Solved in float64; differentiable in both arguments.
    Raises: ValueError for an unknown projection.
    """
    dtype = torch.promote_types(plane.dtype, coefficients.dtype)
    u, v = plane.double().unbind(-1)
    k = coefficients.double()
    if projection == "perspective":
        x, y = _solve_perspective(u, v, k)
        direction = torch.stack((x, y, torch.ones_like(x)), dim=-1)
        return torch.nn.functional.normalize(direction, dim=-1).to(dtype)
    if projection == "fisheye":
        radius = (u**2 + v**2).clamp(min=1e-60).sqrt()
        angle = _solve_fisheye(radius, k)
        across = torch.sin(angle) / radius
        return torch.stack((u * across, v * across, torch.cos(angle)), dim=-1).to(dtype)
    if projection == "equirectangular":
        inside = (u.abs() <= torch.pi) & (v.abs() <= torch.pi / 2)
        u, v = torch.where(inside, u, torch.nan), torch.where(inside, v, torch.nan)
        across = torch.cos(v)
        return torch.stack((across * torch.sin(u), torch.sin(v), across * torch.cos(u)), dim=-1).to(dtype)
    raise ValueError(f"projection {projection!r} is unknown; it must be one of {', '.join(PROJECTIONS)}")


def _perspective(x: Tensor, y: Tensor, coefficients: Tensor) -> tuple[Tensor, Tensor]:
    k1, k2, p1, p2, k3, k4, k5, k6 = coefficients.unbind(-1)
    r2 = x**2 + y**2
    radial = (1 + r2 * (k1 + r2 * (k2 + r2 * k3))) / (1 + r2 * (k4 + r2 * (k5 + r2 * k6)))
    return (
        x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x**2),
        y * radial + 2 * p2 * x * y + p1 * (r2 + 2 * y**2),
    )


def _perspective_derivative(x: Tensor, y: Tensor, coefficients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """du/dx, du/dy = dv/dx, dv/dy."""
    k1, k2, p1, p2, k3, k4, k5, k6 = coefficients.unbind(-1)
    r2 = x**2 + y**2
    above, below = 1 + r2 * (k1 + r2 * (k2 + r2 * k3)), 1 + r2 * (k4 + r2 * (k5 + r2 * k6))
    d_above, d_below = k1 + r2 * (2 * k2 + r2 * 3 * k3), k4 + r2 * (2 * k5 + r2 * 3 * k6)
    radial, d_radial = above / below, 2 * (d_above * below - above * d_below) / below**2
    return (
        radial + x**2 * d_radial + 2 * p1 * y + 6 * p2 * x,
        x * y * d_radial + 2 * p1 * x + 2 * p2 * y,
        radial + y**2 * d_radial + 2 * p2 * x + 6 * p1 * y,
    )


def _solve_perspective(u: Tensor, v: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    def step(x: Tensor, y: Tensor, derivative: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        (a, b, c), (seen_u, seen_v) = derivative, _perspective(x, y, k)
        determinant = a * c - b * b
        error_u, error_v = seen_u - u, seen_v - v
        return x - (c * error_u - b * error_v) / determinant, y - (a * error_v - b * error_u) / determinant

    with torch.no_grad():
        start = torch.broadcast_tensors(u, v, k[..., 0])[:2]
        x, y = _newton(lambda x, y: step(x, y, _perspective_derivative(x, y, k)), *start)
        a, b, c = _perspective_derivative(x, y, k)
        seen_u, seen_v = _perspective(x, y, k)
        right = ((seen_u - u).abs() + (seen_v - v).abs() < 1e-9) & (a * c - b * b > 0) & (a + c > 0)
        x, y = torch.where(right, x, torch.nan), torch.where(right, y, torch.nan)
    # One more step that autograd sees: with the derivative held fixed it is the implicit function's.
    return step(x, y, (a, b, c))


def _fisheye(angle: Tensor, coefficients: Tensor) -> Tensor:
    k1, k2, k3, k4 = coefficients[..., :4].unbind(-1)
    square = angle**2
    return angle * (1 + square * (k1 + square * (k2 + square * (k3 + square * k4))))


def _fisheye_derivative(angle: Tensor, coefficients: Tensor) -> Tensor:
    k1, k2, k3, k4 = coefficients[..., :4].unbind(-1)
    square = angle**2
    return 1 + square * (3 * k1 + square * (5 * k2 + square * (7 * k3 + square * 9 * k4)))


def _solve_fisheye(bent: Tensor, k: Tensor) -> Tensor:
    with torch.no_grad():
        (start,) = torch.broadcast_tensors(bent, k[..., 0])[:1]
        (angle,) = _newton(
            lambda angle: (angle - (_fisheye(angle, k) - bent) / _fisheye_derivative(angle, k),),
            start.clamp(max=torch.pi),
        )
        slope = _fisheye_derivative(angle, k)
        right = ((_fisheye(angle, k) - bent).abs() < 1e-9) & (slope > 0) & (angle >= 0) & (angle <= torch.pi)
        angle = torch.where(right, angle, torch.nan)
    return angle - (_fisheye(angle, k) - bent) / slope


def _newton(step: Callable[..., tuple[Tensor, ...]], *start: Tensor) -> tuple[Tensor, ...]:
    """Repeat `step` until nothing moves; what runs away is left where it is, and refused by the caller."""
    values = start
    for _ in range(NEWTON_STEPS):
        moved = step(*values)
        largest = max(
            float((m - v).abs().nan_to_num(0).max()) if v.numel() else 0.0
            for m, v in zip(moved, values, strict=True)
        )
        values = moved
        if largest < CONVERGED:
            break
    return values
