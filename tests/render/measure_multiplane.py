"""How fast views of multiplane images are, and how far from AdaMPI's own: `measure_multiplane.py [ADAMPI]`.

Times the kernel and the reference in turns, on the same planes of noise. With ADAMPI, a folder that holds the
program's published code, prints the largest differences from its renderer instead.
"""

import sys
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor
from torch.nn.functional import interpolate, max_pool2d

from fields.kernels.library import isa
from render.multiplane import PUBLISHED, MultiplaneImage, blend_source, composite, render
from scenes.cameras import Cameras

PLANES, WIDTH, HEIGHT = 32, 384, 256
FOCAL = (0.58 * WIDTH, 0.58 * HEIGHT)  # AdaMPI's
ROUNDS = 7
PLACES = {  # of the target camera: metres, and angles
    "the source": ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0)),
    "the swing of its videos": ((0.14, 0.0, -0.1), (0.0, 0.0, 0.0)),
    "forward": ((-0.05, 0.03, 0.1), (0.0, 0.0, 0.0)),
    "turned": ((0.05, -0.04, 0.06), (0.03, -0.05, 0.04)),
}


def main(arguments: list[str]) -> int:
    if arguments:
        compare(arguments[0])
    else:
        measure()
    return 0


def camera_at(at: tuple, angles: tuple = (0.0, 0.0, 0.0), shift: float = 0.0) -> Cameras:
    """The principal point stands `shift` pixels beside the middle."""
    x, y, z = angles
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = torch.linalg.matrix_exp(pose.new_tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]]))
    pose[:3, 3] = pose.new_tensor(at)
    fx, fy, cx, cy = pose.new_tensor([*FOCAL, WIDTH / 2 + shift, HEIGHT / 2 + shift])
    return Cameras(pose, fx, fy, cx, cy, WIDTH, HEIGHT)


def make_image(dtype: torch.dtype, smooth: bool = False, shift: float = 0.0) -> MultiplaneImage:
    """Noise from pixel to pixel, or from one place 16 pixels away to the next; AdaMPI's fixed disparities."""
    generator = torch.Generator().manual_seed(0)
    side = (HEIGHT // 16, WIDTH // 16) if smooth else (HEIGHT, WIDTH)
    values = torch.rand(PLANES, 4, *side, generator=generator, dtype=dtype)
    if smooth:
        values = interpolate(values, (HEIGHT, WIDTH), mode="bicubic").clamp(0, 1)
    z_depth = 1 / torch.linspace(1, 0.001, PLANES + 2, dtype=dtype)[1:-1]
    return MultiplaneImage(values[:, :3], 30 * values[:, 3] ** 4, z_depth, camera_at((0, 0, 0), shift=shift))


def measure() -> None:
    """Medians over rounds in which each takes its turn."""
    image, there = make_image(torch.float32), camera_at(*PLACES["turned"])
    runs: dict[str, Callable[[], object]] = {
        "kernel": lambda: render(image, there, backend="kernels"),
        "kernel, to 1e-4": lambda: render(image, there, backend="kernels", lowest_transmittance=1e-4),
        "reference": lambda: render(image, there),
    }
    wall, work = ({name: [] for name in runs} for _ in range(2))
    for _ in range(ROUNDS + 1):
        for name, run in runs.items():
            start = time.perf_counter(), time.process_time()
            run()
            wall[name].append(time.perf_counter() - start[0])
            work[name].append(time.process_time() - start[1])
    print(f"{WIDTH} x {HEIGHT}, {PLANES} planes, {torch.get_num_threads()} threads, {isa()}")
    slow = median(wall["reference"][1:]), median(work["reference"][1:])
    for name in runs:
        took = median(wall[name][1:]), median(work[name][1:])
        print(
            f"{name:<16}{took[0]:8.3f} s a view ({slow[0] / took[0]:.1f} times as fast), "
            f"{took[1]:6.3f} s of a processor ({slow[1] / took[1]:4.1f})"
        )


def compare(folder: str) -> None:
    """Its pixels have their middles at whole numbers, ours at +0.5: our principal point moves along."""
    sys.path.insert(0, folder)
    torch.cuda.synchronize = lambda *_: None  # it asks for a GPU where it inverts matrices
    from utils.mpi import mpi_rendering as published
    from utils.mpi.homography_sampler import HomographySample

    for dtype, smooth in ((torch.float64, False), (torch.float32, True), (torch.float32, False)):
        image = make_image(dtype, smooth, shift=0.5)
        sampler = HomographySample(HEIGHT, WIDTH, "cpu")
        sampler.meshgrid, sampler.n = sampler.meshgrid.to(dtype), sampler.n.to(dtype)
        K = torch.tensor([[FOCAL[0], 0, WIDTH / 2], [0, FOCAL[1], HEIGHT / 2], [0, 0, 1]], dtype=dtype)[None]
        rgb, sigma, disparity = image.rgb[None], image.opacity[None, :, None], 1 / image.z_depth[None]
        xyz = published.get_src_xyz_from_plane_disparity(sampler.meshgrid, disparity, K.inverse())
        colour, depth, blend, weights = published.render(rgb, sigma, xyz)
        own = composite(image, PUBLISHED)
        print(f"{str(dtype)[6:]}, {'smooth' if smooth else 'white'} noise")
        print(f"  composited: rgb {apart(own.rgb, colour):.1e}, weights {apart(own.weights, weights):.1e}, "
              f"z_depth {apart(own.z_depth / depth, 1):.1e}; "
              f"rgb without its epsilons {apart(composite(image).rgb, colour):.1e}")  # fmt: skip
        picture = rgb[0, 0].flip(-1)
        blended = blend_source(image, picture, PUBLISHED).rgb
        print(f"  blended: {apart(blended, blend * picture + (1 - blend) * rgb):.1e}")
        for name, place in PLACES.items():
            there = camera_at(*place, shift=0.5)
            moved = there.camera_to_world.inverse().to(dtype)[None]
            xyz_there = published.get_tgt_xyz_from_plane_disparity(xyz, moved)
            colour, depth, _ = published.render_tgt_rgb_depth(
                sampler, rgb, sigma, disparity, xyz_there, moved, K.inverse(), K
            )
            for backend in ("reference", "kernels")[: 1 + (dtype == torch.float32)]:
                seen = render(
                    image, there, ("rgb", "z_depth", "samples"), epsilons=PUBLISHED, backend=backend
                )
                known = surely_inside(seen.samples)
                off = (seen.rgb - colour[0].permute(1, 2, 0)).abs().amax(-1)
                far = (seen.z_depth / depth[0, 0] - 1).abs()
                print(f"  {name}, {backend}: rgb {off[known].max():.1e} and z_depth {far[known].max():.1e} "
                      f"inside of every plane's picture ({known.double().mean():.0%}); rgb {off.max():.1e} "
                      "at most")  # fmt: skip


def surely_inside(samples: Tensor) -> Tensor:
    """Pixels that meet every plane inside of its picture, as do all pixels around them."""
    beside = (samples < PLANES).double()[None]
    beside[:, [0, -1]] = beside[:, :, [0, -1]] = 1
    return max_pool2d(beside, 3, 1, 1)[0] == 0


def apart(ours: Tensor, theirs: Tensor | float) -> float:
    """Largest difference; theirs may have axes of length one and channels first."""
    theirs = torch.as_tensor(theirs).squeeze()
    if ours.ndim == 3 and ours.shape[-1] == 3 and theirs.ndim == 3:
        theirs = theirs.permute(1, 2, 0)
    return float((ours - theirs).abs().max())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
