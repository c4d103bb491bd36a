import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from fields.kernels.march import clip_to_cube, march, march_op
from fields.kernels.occupancy import pack_bits, unpack_bits
from tests.fields.kernels.equality import TOLERANCES, assert_identical

STEP = math.sqrt(3) / 128
GRAZING = 1e-5  # within this of the face of a cell, or of the end of the ray, a sample may be kept or not


def random_bits(resolution, generator, share=0.3):
    return pack_bits(torch.rand(*[resolution] * 3, generator=generator) < share)


def random_rays(count, generator):
    """Rays from around and inside the cube, most of them towards it, with their jitter."""
    origins = 0.5 + 1.5 * torch.randn(count, 3, generator=generator)
    targets = 1.4 * torch.rand(count, 3, generator=generator) - 0.2
    jitter = torch.rand(count, generator=generator)
    return origins, F.normalize(targets - origins, dim=-1), jitter


def one_ray_loop(origin, direction, jitter, occupied, step):
    """Distances of one ray, sample by sample in float32; occupied[z, y, x]."""
    f = np.float32
    with np.errstate(divide="ignore", invalid="ignore"):
        at = np.stack([(f(0) - origin) / direction, (f(1) - origin) / direction])
    near, far = max(f(0), at.min(0).max()), at.max(0).min()
    resolution = len(occupied)
    distances, i = [], 0
    while near < far:
        t = (f(i) + jitter) * f(step) + near
        if not t < far:
            break
        x, y, z = np.clip(np.floor((origin + t * direction) * f(resolution)), 0, resolution - 1).astype(int)
        if occupied[z, y, x]:
            distances.append(t)
        i += 1
    return distances


# The reference


def test_it_matches_a_loop_over_single_samples(generator):
    """Sample sets and distances, to the bit, ray by ray."""
    origins, directions, jitter = random_rays(60, generator)
    bits = random_bits(16, generator)
    out = march(origins, directions, jitter, bits, STEP)
    occupied = unpack_bits(bits).numpy()
    for ray in range(60):
        first, last = out.ray_start[ray : ray + 2].tolist()
        expected = one_ray_loop(
            origins[ray].numpy(), directions[ray].numpy(), jitter[ray].numpy(), occupied, STEP
        )
        assert out.distances[first:last].tolist() == [float(t) for t in expected]
    assert int(out.ray_start[-1]) > 200


def test_a_full_cube_keeps_every_sample_between_entry_and_exit(device):
    """Along an axis: samples a step apart from the face on, shifted by the jitter."""
    bits = torch.full((2, 2, 2), -1, dtype=torch.int64, device=device)
    origins = torch.tensor([[-1.0, 0.4, 0.6], [0.25, 0.4, 0.6]], device=device)
    directions = torch.tensor([[1.0, 0.0, 0.0]] * 2, device=device)
    out = march(origins, directions, torch.tensor([0.5, 0.0], device=device), bits, 0.125)
    assert out.ray_start.tolist() == [0, 8, 14]
    expected = [1 + (i + 0.5) / 8 for i in range(8)] + [i / 8 for i in range(6)]
    assert out.distances.tolist() == expected  # exact: all are multiples of 1/16


def test_an_empty_cube_and_a_ray_beside_it_have_no_samples(device, generator):
    origins, directions, jitter = (x.to(device) for x in random_rays(50, generator))
    nothing = march(origins, directions, jitter, random_bits(8, generator, share=0).to(device), STEP)
    assert nothing.ray_start.tolist() == [0] * 51
    full = torch.full((1, 1, 1), -1, dtype=torch.int64, device=device)
    beside = torch.tensor([[2.0, 2.0, 2.0], [0.5, 1.5, 0.5], [0.5, 0.5, 2.0]], device=device)
    away = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], device=device)
    assert march(beside, away, torch.zeros(3, device=device), full, STEP).ray_start.tolist() == [0] * 4


def test_every_sample_stands_in_an_occupied_cell_and_rises_along_its_ray(generator):
    origins, directions, jitter = random_rays(200, generator)
    bits = random_bits(32, generator)
    out = march(origins, directions, jitter, bits, STEP)
    ray = torch.arange(200).repeat_interleave(out.ray_start.diff())
    points = origins[ray] + out.distances[:, None] * directions[ray]
    x, y, z = (points * 32).floor().clamp(0, 31).long().unbind(-1)
    assert unpack_bits(bits)[z, y, x].all()
    same_ray = ray[1:] == ray[:-1]
    assert (out.distances.diff()[same_ray] > 0.9 * STEP).all()


# The kernels against it


def candidate_index(rays, marched, step):
    """Which sample of its ray each is: (ray, i), from its distance, in double precision."""
    origins, directions, jitter = (x.double() for x in rays)
    ray = torch.arange(len(origins)).repeat_interleave(marched.ray_start.diff())
    near, _ = clip_to_cube(origins, directions)
    index = ((marched.distances.double() - near[ray]) / step - jitter[ray]).round().long()
    return ray * 2**32 + index


def grazes(rays, keys, resolution, step):
    """Whether samples are so close to a cell's face or an end of their ray that rounding decides."""
    origins, directions, jitter = (x.double() for x in rays)
    near, far = clip_to_cube(origins, directions)
    ray, index = keys // 2**32, keys % 2**32
    distances = near[ray] + (index + jitter[ray]) * step
    cells = (origins[ray] + distances[:, None] * directions[ray]) * resolution
    at_face = ((cells - cells.round()).abs() < GRAZING * resolution).any(-1)
    return at_face | ((distances - far[ray]).abs() < GRAZING) | ((far - near)[ray].abs() < GRAZING)


def compare(rays, bits, step, expected=None):
    """Same samples at the same distances, but for those that graze. Returns how many are kept."""
    actual = march(*rays, bits, step, "kernels")
    expected = expected or march(*rays, bits, step)
    assert actual.ray_start[0] == 0 and (actual.ray_start.diff() >= 0).all()
    assert actual.ray_start[-1] == len(actual.distances)
    keys, expected_keys = (candidate_index(rays, m, step) for m in (actual, expected))
    assert (keys.diff() > 0).all()  # rising, none twice
    here, there = torch.isin(keys, expected_keys), torch.isin(expected_keys, keys)
    odd = torch.cat([keys[~here], expected_keys[~there]])
    assert grazes(rays, odd, 4 * len(bits), step).all()
    assert len(odd) <= 0.01 * len(keys) + 20
    relative, absolute, _ = TOLERANCES["march", "float32"]
    assert_close(actual.distances[here], expected.distances[there], rtol=relative, atol=absolute)
    return len(keys)


@pytest.mark.parametrize("resolution", [4, 8, 20, 64, 128, 256])
@pytest.mark.parametrize("share", [0.02, 0.5, 1.0])
def test_kernels_keep_the_same_samples(instruction_set, resolution, share, generator):
    assert compare(random_rays(150, generator), random_bits(resolution, generator, share), STEP) > 0


@pytest.mark.parametrize("step", [2e-4, 0.013, 0.7, 5.0])
def test_kernels_take_short_and_long_steps(instruction_set, step, generator):
    compare(random_rays(40, generator), random_bits(32, generator), step)


def test_kernels_skip_empty_blocks_without_losing_a_cell(instruction_set, generator):
    """Single occupied cells in a large empty grid, which the kernels cross in leaps."""
    occupied = torch.zeros(128, 128, 128, dtype=torch.bool)
    cells = torch.randint(0, 128, (60, 3), generator=generator)
    occupied[cells[:, 2], cells[:, 1], cells[:, 0]] = True
    targets = ((cells + 0.5) / 128).repeat(20, 1)
    origins = 0.5 + F.normalize(torch.randn(1200, 3, generator=generator), dim=-1) * 2
    rays = origins, F.normalize(targets - origins, dim=-1), torch.rand(1200, generator=generator)
    assert compare(rays, pack_bits(occupied), 1e-3) > 1200 * 3


@pytest.mark.parametrize("rays", [0, 1, 255, 256, 257])
def test_kernels_take_any_number_of_rays(instruction_set, rays, generator):
    compare(random_rays(rays, generator), random_bits(16, generator), STEP)


def test_kernels_take_rays_along_axes_faces_edges_and_diagonals(instruction_set, generator):
    """Zero components of the direction, of both signs, from outside, inside and on the border."""
    directions = torch.cartesian_prod(*[torch.tensor([-1.0, -0.0, 0.0, 1.0])] * 3)
    directions = F.normalize(directions[directions.abs().sum(-1) > 0], dim=-1)
    places = torch.cartesian_prod(*[torch.tensor([-0.5, 0.0, 0.3, 0.5, 1.0, 1.5])] * 3)
    origins = places.repeat_interleave(len(directions), 0)
    rays = origins, directions.repeat(len(places), 1), torch.rand(len(origins), generator=generator)
    compare_grazing(rays, random_bits(8, generator, 0.5), 0.03)


def compare_grazing(rays, bits, step):
    """As `compare`, for rays of which a large part runs in faces: those only have to stay in bounds."""
    actual, expected = march(*rays, bits, step, "kernels"), march(*rays, bits, step)
    keys, expected_keys = (candidate_index(rays, m, step) for m in (actual, expected))
    odd = torch.cat([keys[~torch.isin(keys, expected_keys)], expected_keys[~torch.isin(expected_keys, keys)]])
    assert grazes(rays, odd, 4 * len(bits), step).all()
    assert torch.isin(keys, expected_keys).float().mean() > 0.5


def test_kernels_take_rays_that_barely_touch_the_cube(instruction_set, generator):
    """Through corners and along edges, a hair inside and a hair outside."""
    corner = torch.randint(0, 2, (400, 3), generator=generator).float()
    hair = torch.randn(400, 3, generator=generator) * 10.0 ** -torch.randint(
        2, 8, (400, 1), generator=generator
    )
    directions = F.normalize(torch.randn(400, 3, generator=generator), dim=-1)
    rays = corner + hair - 1.5 * directions, directions, torch.rand(400, generator=generator)
    compare_grazing(rays, torch.full((4, 4, 4), -1), 0.002)


def test_kernels_take_rays_from_far_away(instruction_set, generator):
    """Positions lose digits with distance, samples do not leave the cube."""
    directions = F.normalize(torch.randn(100, 3, generator=generator), dim=-1)
    origins = 0.5 + 0.3 * torch.rand(100, 3, generator=generator) - 1e4 * directions
    out = march(
        origins, directions, torch.rand(100, generator=generator), torch.full((4, 4, 4), -1), STEP, "kernels"
    )
    assert (out.distances - 1e4).abs().max() < 2
    assert out.ray_start[-1] > 0


@pytest.fixture(scope="module")
def million():
    """Rays with a million samples, and what the reference makes of them."""
    generator = torch.Generator().manual_seed(8)
    rays = random_rays(25_000, generator)
    bits = random_bits(128, generator, 0.5)
    expected = march(*rays, bits, STEP / 2)
    assert len(expected.distances) > 1_000_000
    return rays, bits, expected


def test_kernels_keep_the_same_million_samples(instruction_set, million):
    rays, bits, expected = million
    compare(rays, bits, STEP / 2, expected)


def test_kernels_read_arrays_that_are_not_contiguous(instruction_set, generator):
    origins, directions, jitter = random_rays(100, generator)
    bits = random_bits(16, generator)
    spread = (
        origins.T.contiguous().T,
        directions.repeat_interleave(2, 0)[::2],
        jitter.repeat_interleave(2)[::2],
    )
    transposed = bits.permute(2, 1, 0).contiguous().permute(2, 1, 0)
    actual = march(*spread, transposed, STEP, "kernels")
    assert_identical(list(actual), list(march(origins, directions, jitter, bits, STEP, "kernels")))


def test_kernels_give_the_same_bits_on_any_number_of_threads(instruction_set, with_threads, generator):
    rays, bits = random_rays(3000, generator), random_bits(32, generator)
    first = list(march(*rays, bits, STEP, "kernels"))
    for threads in (1, 2, 3, 7):
        again = with_threads(threads, lambda: list(march(*rays, bits, STEP, "kernels")))
        assert_identical(again, first)


def test_torch_accepts_the_operator(generator):
    torch.library.opcheck(march_op, (*random_rays(5, generator), random_bits(8, generator), STEP, 0.0, 0.0))


@pytest.mark.parametrize("backend", ["reference", "kernels"])
def test_wrong_rays_are_named(backend, generator):
    origins, directions, jitter = random_rays(5, generator)
    bits = random_bits(8, generator)
    with pytest.raises(ValueError, match=r"step is 0\.0; it must be a length"):
        march(origins, directions, jitter, bits, 0.0, backend)
    with pytest.raises(ValueError, match=r"bits is torch\.int32"):
        march(origins, directions, jitter, bits.int(), STEP, backend)
    long = directions.clone()
    long[3] *= 2
    with pytest.raises(ValueError, match=r"directions\[3\] is .* it must be of unit length"):
        march(origins, long, jitter, bits, STEP, backend)
    lost = origins.clone()
    lost[2, 1] = torch.nan
    with pytest.raises(ValueError, match=r"origins\[2\] is .* it must be finite"):
        march(lost, directions, jitter, bits, STEP, backend)
    if backend == "kernels":
        with pytest.raises(ValueError, match=r"origins is torch\.float64"):
            march(origins.double(), directions.double(), jitter.double(), bits, STEP, backend)
        with pytest.raises(ValueError, match=r"bits is torch\.int64 \(2, 2, 1\)"):
            march_op(origins, directions, jitter, bits[..., :1].contiguous(), STEP, 0.0, 0.0)
