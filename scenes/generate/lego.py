"""The demo scene: a crawler crane with a dozer blade on a stand, built of bricks, of our own design.

The machine is a list of placed parts in stud pitches (x forward, y left, z up, the stand's underside
at z = 0); `surfaces` scales it to the scene, `generate` renders it on the cameras of NeRF-synthetic.
"""

import math
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from scenes.cameras import Cameras
from scenes.formats.nerf_synthetic import BOUNDS, SPLITS, WHITE, Geometry, write, write_geometry
from scenes.generate import bricks as b
from scenes.generate.crane import upper_works
from scenes.generate.crawler import blade, chassis, track
from scenes.generate.pathtrace import (
    SAMPLES,
    Surface,
    build_scene,
    choose_variant,
    geometry,
    load_mitsuba,
    picture,
)
from scenes.generate.placing import COLOURS, Array, Parts, Placed, free, moved, put
from scenes.generate.solids import Number, Solid, box, join, rotation, translation, tube
from scenes.images import ImageSequence
from scenes.scene import Scene, SceneError
from scenes.transforms import opengl_to_opencv

RADIUS, FIELD_OF_VIEW = math.hypot(4.0, 0.5), 0.6911112070083618  # scene units, radians (horizontal)
SCALE = 0.069  # scene units per stud pitch
CENTRE = (0.0, 0.0, 9.5)  # stud pitches: what the cameras look at, the scene's origin
SLEW = 24.0  # degrees that the upper works are turned to the left
GROUND = 2  # plates: where things stand on the stand


def stand() -> Parts:
    """30 x 18 studs: a frame of hazard tiles round a field of plates in earth colours."""
    parts = [put(b.tile(10, 6), "graphite", x, y, 0) for x in (-15, -5, 5) for y in (-9, -3, 3)]
    stripe = ("yellow", "graphite")
    for k in range(15):
        parts += [put(b.tile(2, 1), stripe[k % 2], 2 * k - 15, y, 1) for y in (-9, 8)]
    for k in range(8):
        parts += [put(b.tile(1, 2), stripe[(k + 1) % 2], x, 2 * k - 8, 1) for x in (-15, 14)]
    field = ("sand", "sand", "earth", "sand", "moss", "sand", "grey", "sand", "earth", "moss", "sand")
    for i in range(7):
        for j in range(8):
            colour = field[(3 * i + 5 * j + i * j) % len(field)]
            if (i + j) % 3 == 0:
                parts += [
                    put(b.plate(2, 2), colour, 4 * i - 14, 2 * j - 8, 1),
                    put(b.plate(2, 2), field[(i + 2 * j) % len(field)], 4 * i - 12, 2 * j - 8, 1),
                ]
            else:
                parts.append(put(b.plate(4, 2), colour, 4 * i - 14, 2 * j - 8, 1))
    return parts


def rubble() -> Parts:
    """Stones before the blade, and four traffic cones."""
    stones = [
        ("earth", 12, -5, 1),
        ("grey", 13, -3, 0),
        ("earth", 12, -2, 2),
        ("sand", 13, 0, 3),
        ("earth", 12, 1, 0),
        ("grey", 12, 3, 2),
        ("earth", 13, 4, 1),
        ("earth", 12, 6, 3),
        ("grey", 13, -6, 2),
        ("sand", 13, 6, 1),
    ]
    parts = [put(b.slope(1, 1, 2), colour, x, y, GROUND, turn=turn) for colour, x, y, turn in stones]
    parts += [
        put(b.round_brick(1), colour, x, y, GROUND)
        for colour, x, y in (
            ("earth", 13, -1),
            ("grey", 12, 0),
            ("earth", 13, 2),
            ("moss", 13, 5),
            ("lime", -14, 5),
            ("lime", -13, 7),
        )
    ]
    for x, y in ((12.5, -7.5), (13.5, 7.5), (-13.5, -7.5), (-2.5, 8.2)):
        parts += [
            free(box((0.9, 0.9, 0.12), (x - 0.45, y - 0.45, 1.0)), "orange"),
            free(b.cone(0.36, 0.12, 1.2), "orange", translation(x, y, 1.1)),
            free(b.ring(0.29, 0.14, 0.24, 0.02), "white", translation(x, y, 1.6)),
        ]
    return parts


def stores() -> Parts:
    """Behind the machine: barrels, girders, crates, a gear, a spare wheel and a street lamp."""
    parts = []
    for x, y, colour in ((-13, -5, "blue"), (-12, -6, "red"), (-13, -4, "teal")):
        parts += [
            put(b.round_brick(3, studded=False), colour, x, y, GROUND),
            put(b.round_brick(1), "grey", x, y, GROUND + 3),
        ]
    for k in range(3):
        parts.append(
            free(
                b.beam(5),
                ("steel", "yellow", "grey")[k],
                translation(-13.3 + 0.95 * k, 3.0, 1.5),
                rotation("z", 90),
                rotation("x", 90),
            )
        )
    parts += [free(b.beam(5), "red", translation(-12.6, 3.0, 2.4), rotation("z", 84), rotation("x", 90))]
    parts += [
        put(b.brick(2, 2, 2), "earth", -14, -2, GROUND),
        put(b.tile(2, 2), "sand", -14, -2, GROUND + 2),
        put(b.brick(1, 1, 2), "earth", -12, -2, GROUND),
    ]
    parts += [
        free(b.gear(16, 1.0, 0.4), "grey", translation(-12.9, 0.6, 1.9), rotation("y", 75)),
        free(b.tyre(1.05, 0.9, 14), "rubber", translation(-13.2, 7.0, 1.5)),
        free(b.wheel(0.62, 0.7, 5), "yellow", translation(-13.2, 7.0, 1.5)),
    ]
    post = (-13.5, 2.0)
    parts += [
        free(b.disc(0.45, 0.3), "slate", translation(*post, 1.0)),
        free(
            tube(
                [(*post, 1.2), (*post, 8.2), (post[0] + 0.4, post[1], 8.8), (post[0] + 1.4, post[1], 8.8)],
                0.11,
            ),
            "grey",
        ),
        free(b.dish(0.6), "slate", translation(post[0] + 1.5, post[1], 8.9), rotation("x", 180)),
        free(b.disc(0.25, 0.2), "yellow", translation(post[0] + 1.5, post[1], 8.5)),
    ]
    return parts


def machine() -> Parts:
    """Every part of the scene, in stud pitches."""
    return [
        *stand(),
        *track(1),
        *track(-1),
        *chassis(),
        *blade(),
        *moved(upper_works(), rotation("z", SLEW)),
        *rubble(),
        *stores(),
    ]


def surfaces(parts: Iterable[Placed]) -> list[Surface]:
    """The parts in scene units about CENTRE, one surface a finish."""
    to_scene = np.diag([SCALE, SCALE, SCALE, 1.0]) @ translation(*np.negative(CENTRE))
    solids: dict[str, list[Solid]] = {}
    colours: dict[str, list[Array]] = {}
    for part in parts:
        colour, finish = COLOURS[part.colour]
        solids.setdefault(finish, []).append(part.solid.moved(to_scene @ part.pose))
        colours.setdefault(finish, []).append(np.tile(colour, (len(part.solid.vertices), 1)))
    whole = {finish: join(*those) for finish, those in solids.items()}
    return [Surface(f, s.vertices, s.faces, np.concatenate(colours[f])) for f, s in whole.items()]


def look_at_origin(azimuth: Number, elevation: Number) -> Float[Array, "4 4"]:
    """OpenGL camera_to_world on the sphere of RADIUS, angles in radians, level and facing the origin."""
    (ca, sa), (ce, se) = ((np.cos(a), np.sin(a)) for a in (azimuth, elevation))
    pose = np.eye(4)
    pose[:3, :3] = np.array([(-sa, ca, 0.0), (-se * ca, -se * sa, ce), (ce * ca, ce * sa, se)]).T
    pose[:3, 3] = RADIUS * pose[:3, 2]
    return pose


def rig(split: str, count: int, seed: int) -> Float[Array, "n 4 4"]:
    """Cameras as in NeRF-synthetic: test on two turns of a rising and falling orbit (elevation 7 to 47
    degrees), the others at random on the upper hemisphere."""
    if split == "test":
        turn = np.arange(count) / max(count, 1)
        azimuth = np.pi / 2 + 4 * np.pi * turn
        elevation = np.arctan2(0.5, 4.0) + 0.7 * (np.cos(2 * np.pi * turn) + 1) / 2
    else:
        draws = np.random.default_rng([seed, SPLITS.index(split)]).random((count, 2))
        azimuth, elevation = 2 * np.pi * draws[:, 0], np.arcsin(draws[:, 1])
    return np.stack([look_at_origin(a, e) for a, e in zip(azimuth, elevation, strict=True)])


def generate(
    out: str | Path,
    *,
    width: int = 400,
    train: int = 100,
    val: int = 10,
    test: int = 25,
    spp: int | None = None,
    seed: int = 0,
    variant: str = "auto",
    progress: Callable[[str], None] | None = None,
) -> dict[str, Scene]:
    """Path-trace the scene into a NeRF-synthetic folder; test views get r_N.npz beside the picture.

    Same seed and variant: the same pictures but for the last bit. Without a known LLVM library the
    scalar variant renders them: the same but for noise, and several times slower.
    spp: samples a pixel, a square; None: what the variant needs (`pathtrace.SAMPLES`).
    progress: told of the variant and of each view. z_depth is 0 where nothing is seen.

    Raises: SceneError if `out` holds one of the splits; see `pathtrace.load_mitsuba` for the rest.
    """
    counts = {"train": train, "val": val, "test": test}
    for split in SPLITS:
        if (Path(out) / f"transforms_{split}.json").exists():
            raise SceneError(f"{Path(out) / f'transforms_{split}.json'}: exists; choose another folder")
    variant = choose_variant() if variant == "auto" else variant
    tell = progress or (lambda message: None)
    mi = load_mitsuba(variant)
    spp = spp or SAMPLES[variant]
    traced = build_scene(mi, surfaces(machine()))
    tell(f"mitsuba {mi.__version__} {variant}, {spp} samples a pixel")
    made, done = {}, 0
    for number, split in enumerate(SPLITS):
        pictures = []
        poses = rig(split, counts[split], seed)
        for index, pose in enumerate(poses):
            view_seed = (seed * len(SPLITS) + number) * 100_003 + index
            pictures.append(torch.from_numpy(picture(mi, traced, pose, width, FIELD_OF_VIEW, spp, view_seed)))
            done += 1
            tell(f"{split} {index + 1}/{counts[split]} ({done}/{sum(counts.values())})")
        made[split] = _scene(split, poses, pictures, Path(out))
        write(made[split], out, split)
    for index, pose in enumerate(rig("test", test, seed)):
        z_depth, normal = geometry(mi, traced, pose, width, FIELD_OF_VIEW)
        file = Path(out) / "test" / f"r_{index}.npz"
        write_geometry(file, Geometry(torch.from_numpy(z_depth), torch.from_numpy(normal)))
    return made


def _scene(split: str, poses: Float[Array, "n 4 4"], pictures: list[torch.Tensor], out: Path) -> Scene:
    count, width = len(poses), pictures[0].shape[1]
    focal = torch.full((count,), 0.5 * width / math.tan(FIELD_OF_VIEW / 2))
    middle = torch.full((count,), width / 2)
    to_opencv = opengl_to_opencv(torch.from_numpy(poses)).float()
    return Scene(
        name="lego",
        cameras=Cameras(to_opencv, focal, focal, middle, middle, width, width),
        images=ImageSequence(tuple(pictures)),
        bounds=BOUNDS,
        background=WHITE,
        has_alpha=True,
        source=out,
        frame_names=tuple(f"{split}/r_{i}" for i in range(count)),
    )
