"""Batches are drawn as defined: where from, how often, and with the right ray and colour."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from scenes.blocks import STRIP, foreground_blocks, visible_fields
from scenes.cameras import Cameras
from scenes.depths import DepthSequence, distances_along_rays
from scenes.generate.analytic import generate_spheres
from scenes.images import ImageError, ImageSequence
from scenes.pixels import PixelSource
from scenes.random import uniform
from scenes.scene import Bounds, Scene, SceneError

BOUNDS = Bounds((-1, -1, -1), (1, 1, 1), 1, 6)


def a_scene(pictures: list[Tensor], has_alpha: bool = True) -> Scene:
    height, width, n = *pictures[0].shape[:2], len(pictures)
    angle = torch.arange(n).float()
    eyes = 4 * torch.stack((angle.cos(), angle.sin(), torch.full((n,), 0.3)), dim=-1)
    cameras = Cameras.look_at(eyes, (0, 0, 0), (0, 0, 1), width, height, 40)
    return Scene("made", cameras, ImageSequence(tuple(pictures)), BOUNDS, has_alpha=has_alpha)


def one_spot(n: int = 3, height: int = 45, width: int = 70) -> Scene:
    """Pictures with one visible pixel each, sides that 8 does not divide."""
    pictures = []
    for i in range(n):
        picture = torch.full((height, width, 4), 200, dtype=torch.uint8)
        picture[..., 3] = 0
        picture[20, 30 + i, 3] = 9
        pictures.append(picture)
    return a_scene(pictures)


def blank(n: int, height: int, width: int) -> Scene:
    return a_scene([torch.zeros(height, width, 3, dtype=torch.uint8)] * n, has_alpha=False)


def test_a_draw_equals_the_slow_loop_of_its_definition(device):
    """Block, pixel, colour and ray of every draw, one by one in plain Python."""
    scene = one_spot()
    source = PixelSource.from_scene(scene, background_share=0.15).to(device)
    batch = source.draw(300, seed=11, step=5)
    n_background = len(source.blocks) - source.n_foreground
    share = source.n_foreground / (source.n_foreground + 0.15 * n_background)
    u = [uniform(11, 5, stream, torch.arange(300)).tolist() for stream in range(4)]
    for i in range(300):
        if u[0][i] < share:
            block = math.floor(u[1][i] * source.n_foreground)
        else:
            block = source.n_foreground + math.floor(u[1][i] * n_background)
        image, row, column = source.blocks[block].tolist()
        x = min(8 * column + math.floor(u[2][i] * 8), 69)
        y = min(8 * row + math.floor(u[3][i] * 8), 44)
        assert int(batch.image_index[i]) == image
        colour = scene.images[image][y, x].to(device).float() / 255
        assert torch.equal(batch.rgba[i], colour)
        ray = scene.cameras[image].rays(torch.tensor([x + 0.5, y + 0.5]))
        assert_close(batch.rays.directions[i].cpu(), ray.directions, atol=1e-6, rtol=0)
        assert torch.equal(batch.rays.origins[i].cpu(), ray.origins)


def test_foreground_is_drawn_at_the_stated_rate():
    """200 000 draws against the binomial: within 4 standard deviations."""
    source = PixelSource.from_scene(one_spot(), background_share=0.15)
    image, x, y = source.draw_pixels(200_000, seed=0, step=0)
    foreground = {tuple(block) for block in source.blocks[: source.n_foreground].tolist()}
    drawn = torch.stack((image, y // 8, x // 8), dim=-1).tolist()
    rate = sum(tuple(block) in foreground for block in drawn) / len(drawn)
    expected = source.foreground_rate()
    assert expected == pytest.approx(27 / (27 + 0.15 * (3 * 54 - 27)))
    assert abs(rate - expected) < 4 * math.sqrt(expected * (1 - expected) / 200_000)


def test_draws_are_uniform_over_blocks_and_within_a_block():
    """A chi-square of each, at share 1 where sides are multiples of 8."""
    scene = a_scene([torch.zeros(32, 48, 4, dtype=torch.uint8)] * 2)
    source = PixelSource.from_scene(scene)
    n = 300_000
    image, x, y = source.draw_pixels(n, seed=4, step=9)
    cells = {
        "pixels": torch.bincount(image * 32 * 48 + y * 48 + x, minlength=2 * 32 * 48),
        "within": torch.bincount((y % 8) * 8 + x % 8, minlength=64),
        "blocks": torch.bincount(image * 24 + (y // 8) * 6 + x // 8, minlength=48),
    }
    for name, counts in cells.items():
        expected = n / len(counts)
        chi_square = float(((counts - expected) ** 2 / expected).sum())
        freedom = len(counts) - 1
        assert abs(chi_square - freedom) < 4.5 * math.sqrt(2 * freedom), name


def test_a_share_of_zero_draws_no_background_and_one_is_uniform():
    source = PixelSource.from_scene(one_spot(), background_share=0.5)
    image, x, y = source.draw_pixels(5000, 0, 0, background_share=0)
    near = ((x // 8 - (30 + image) // 8).abs() <= 1) & ((y // 8 - 20 // 8).abs() <= 1)
    assert bool(near.all())
    assert source.foreground_rate(1) == pytest.approx(source.n_foreground / len(source.blocks))


def test_foreground_blocks_are_the_slow_dilation(generator):
    alpha = torch.zeros(45, 70, dtype=torch.uint8)
    spots = torch.randint(0, 45 * 70, (6,), generator=generator)
    alpha.view(-1)[spots] = 1
    found = foreground_blocks(alpha.numpy())
    for row in range(6):
        for column in range(9):
            top, left = max(0, 8 * (row - 1)), max(0, 8 * (column - 1))
            around = alpha[top : 8 * (row + 2), left : 8 * (column + 2)]
            assert found[row, column] == bool((around > 0).any())


def test_the_block_table_lists_each_block_once_foreground_first():
    source = PixelSource.from_scene(one_spot())
    assert len({tuple(block) for block in source.blocks.tolist()}) == len(source.blocks) == 3 * 6 * 9
    mask = np.stack([foreground_blocks(one_spot().images[i][..., 3].numpy()) for i in range(3)])
    flags = [bool(mask[tuple(block)]) for block in source.blocks.tolist()]
    assert flags == sorted(flags, reverse=True) and sum(flags) == source.n_foreground


def test_the_buffer_holds_the_pictures(generator):
    pictures = [torch.randint(0, 256, (5, 7, 4), generator=generator, dtype=torch.uint8) for _ in range(4)]
    source = PixelSource.from_scene(a_scene(pictures), workers=2)
    assert torch.equal(source.data, torch.stack(pictures).flatten())
    assert source.offset.tolist() == [0, 140, 280, 420]


def test_a_draw_is_a_function_of_seed_and_step():
    source = PixelSource.from_scene(one_spot(), background_share=0.3)
    first, same = source.draw(100, 1, 2), source.draw(100, 1, 2)
    assert torch.equal(first.rgba, same.rgba) and torch.equal(first.rays.directions, same.rays.directions)
    assert torch.equal(source.draw(40, 1, 2).image_index, first.image_index[:40])
    for other in (source.draw(100, 2, 2), source.draw(100, 1, 3)):
        assert not torch.equal(other.rays.directions, first.rays.directions)


def test_pictures_without_alpha_are_all_foreground_and_opaque(generator):
    picture = torch.randint(0, 256, (16, 16, 3), generator=generator, dtype=torch.uint8)
    source = PixelSource.from_scene(a_scene([picture], has_alpha=False), background_share=0.15)
    assert source.n_foreground == len(source.blocks) and source.foreground_rate() == 1
    batch = source.draw(64, 0, 0)
    assert torch.equal(batch.rgba[:, 3], torch.ones(64))


def test_a_picture_without_alpha_among_others_counts_as_opaque(generator):
    pictures = [torch.zeros(8, 8, 4, dtype=torch.uint8), torch.full((8, 8, 3), 7, dtype=torch.uint8)]
    source = PixelSource.from_scene(a_scene(pictures))
    assert source.data.view(2, 8, 8, 4)[1].unique(dim=0)[0].unique(dim=0).tolist() == [[7, 7, 7, 255]]
    assert source.blocks.tolist() == [[1, 0, 0], [0, 0, 0]]


def test_rays_of_a_drawn_batch_see_what_the_scene_shows():
    """End to end on a scene with exact geometry: opaque pixels look at the spheres, empty ones past them."""
    scene = generate_spheres(width=48, views={"train": 6})["train"]
    batch = PixelSource.from_scene(scene, background_share=0.2).draw(4000, 0, 0)
    spheres = torch.tensor([[0.0, 0.0, 0.1, 0.7], [0.85, 0.35, -0.3, 0.35], [-0.7, -0.6, -0.35, 0.3]])
    to_centre = spheres[:, :3] - batch.rays.origins[:, None]
    along = (to_centre * batch.rays.directions[:, None]).sum(-1)
    missed = (to_centre - along[..., None] * batch.rays.directions[:, None]).norm(dim=-1) - spheres[:, 3]
    nearest = missed.min(dim=-1).values
    pixel = 4.1 / float(scene.cameras.fx[0])  # a pixel's size at the spheres
    assert bool((nearest[batch.rgba[:, 3] == 1] < pixel).all())
    assert bool((nearest[batch.rgba[:, 3] == 0] > -pixel).all())


def test_what_cannot_be_trained_on_is_refused(tmp_path):
    scene = one_spot()
    with pytest.raises(SceneError, match="no pictures"):
        PixelSource.from_scene(replace(scene, images=ImageSequence(())))
    with pytest.raises(SceneError, match="70 x 45, its camera 7 x 4"):
        PixelSource.from_scene(replace(scene, cameras=scene.cameras.scaled(10)))
    with pytest.raises(SceneError, match="has alpha"):
        PixelSource.from_scene(replace(scene, has_alpha=False))
    with pytest.raises(ImageError, match=r"absent\.png"):
        PixelSource.from_scene(replace(scene, images=ImageSequence((tmp_path / "absent.png",) * 3)))
    source = PixelSource.from_scene(a_scene([torch.zeros(8, 8, 4, dtype=torch.uint8)]))
    with pytest.raises(ValueError, match="show nothing"):
        source.draw(4, 0, 0, background_share=0)
    with pytest.raises(ValueError, match=r"\[0, 1\], got 1.5"):
        source.draw(4, 0, 0, background_share=1.5)


def test_hidden_pixels_are_never_drawn_and_all_others_are(generator):
    """A mask of noise, of another size than its picture: drawn pixels are exactly those that it leaves."""
    scene = blank(2, 20, 27)
    masks = tuple(torch.rand(20, 27, generator=generator) > share for share in (0.2, 0.9))
    source = PixelSource.from_scene(replace(scene, masks=masks))
    image, x, y = source.draw_pixels(60_000, seed=1, step=2)
    assert all(bool(masks[i][r, c]) for i, r, c in zip(image, y, x, strict=True))
    drawn = {*zip(image.tolist(), y.tolist(), x.tolist(), strict=True)}
    assert len(drawn) == int(sum(mask.sum() for mask in masks))


def test_what_is_seen_of_a_block_is_drawn_evenly(generator):
    """Within a block every pixel that is seen comes as often: within 5 standard deviations."""
    scene = blank(1, 8, 8)
    mask = torch.rand(8, 8, generator=generator) > 0.5
    mask[7, 7] = True  # the sign bit of the 64
    source = PixelSource.from_scene(replace(scene, masks=(mask,)))
    _, x, y = source.draw_pixels(50_000, seed=3, step=0)
    counts = torch.zeros(8, 8).index_put((y, x), torch.ones(50_000), accumulate=True)
    expected = 50_000 / int(mask.sum())
    assert (counts[~mask] == 0).all()
    assert ((counts[mask] - expected).abs() < 5 * math.sqrt(expected)).all()


def test_a_mask_that_hides_nothing_draws_from_everything(generator):
    """And gives each pixel its place: the picture's own rows and columns, to the last ones."""
    scene = blank(1, 11, 13)
    source = PixelSource.from_scene(replace(scene, masks=(torch.ones(11, 13, dtype=torch.bool),)))
    _, x, y = source.draw_pixels(20_000, seed=0, step=0)
    assert len(set(zip(x.tolist(), y.tolist(), strict=True))) == 11 * 13


def test_pictures_of_several_sizes_lie_one_after_the_other(generator):
    sizes = [(9, 14), (20, 8), (9, 14)]
    pictures = [torch.randint(256, (h, w, 3), generator=generator, dtype=torch.uint8) for h, w in sizes]
    scene = a_scene(pictures[:1] * 3, has_alpha=False)
    sides = torch.tensor(sizes)
    cameras = replace(scene.cameras, width=sides[:, 1], height=sides[:, 0])
    scene = replace(scene, cameras=cameras, images=ImageSequence(tuple(pictures)))
    source = PixelSource.from_scene(scene)
    assert torch.equal(source.data, torch.cat([p.flatten() for p in pictures]))
    batch = source.draw(500, seed=4, step=4)
    image, x, y = source.draw_pixels(500, seed=4, step=4)
    for i in range(500):
        assert torch.equal(batch.rgba[i, :3], pictures[image[i]][y[i], x[i]].float() / 255)
    smaller = scene.downscaled(2)
    assert PixelSource.from_scene(smaller).width.tolist() == [7, 4, 7]
    assert [tuple(smaller.images[i].shape[:2]) for i in range(3)] == [(4, 7), (10, 4), (4, 7)]


def test_nothing_is_drawn_from_beyond_the_lens(generator):
    """A strong barrel whose field ends inside of the picture: every ray that is drawn has a direction."""
    scene = blank(1, 64, 64)
    k = torch.tensor([[-0.45, 0, 0, 0, 0, 0, 0, 0.0]])
    cameras = replace(scene.cameras, fx=torch.tensor([40.0]), fy=torch.tensor([40.0]), distortion=k)
    source = PixelSource.from_scene(replace(scene, cameras=cameras))
    rays = source.draw(20_000, seed=0, step=0).rays
    assert bool(rays.directions.isfinite().all())
    seen = cameras[0].rays().directions.isfinite().all(dim=-1)
    assert 0.3 < float(seen.float().mean()) < 0.95, "or the lens would prove nothing"


def test_a_field_is_the_same_looked_at_in_strips():
    """More rows than are looked at together, with a lens whose field ends inside of the picture."""
    k = torch.tensor([[-0.45, 0, 0, 0, 0, 0, 0, 0.0]])
    focal = torch.tensor([500.0])
    cameras = replace(blank(1, STRIP + 83, 50).cameras, fx=focal, fy=focal, distortion=k)
    (field,) = visible_fields(cameras)
    seen = cameras[0].rays().directions.isfinite().all(dim=-1)
    assert bool(seen[STRIP].any()) and not bool(seen[-1].any()), "or the second strip would prove nothing"
    for row, column in seen.nonzero()[::97].tolist() + (~seen).nonzero()[::7].tolist():
        bit = int(field[row // 8, column // 8]) >> (row % 8 * 8 + column % 8) & 1
        assert bit == seen[row, column]


@pytest.mark.parametrize("kind", ["plain", "alpha", "masked", "deep"])
def test_a_file_holds_what_memory_would(kind, generator, tmp_path):
    """Pixels, blocks, what is seen of them and how far it is, of pictures that differ in size."""
    sizes = torch.tensor([(41, 30), (20, 8), (41, 30), (9, 55)])  # height, width
    channels = 4 if kind == "alpha" else 3
    pictures = [
        torch.randint(256, (h, w, channels), generator=generator, dtype=torch.uint8) for h, w in sizes
    ]
    scene = a_scene(pictures[:1] * 4, has_alpha=kind == "alpha")
    cameras = replace(scene.cameras, width=sizes[:, 1], height=sizes[:, 0])
    scene = replace(scene, cameras=cameras, images=ImageSequence(tuple(pictures)))
    noise = [torch.rand(h, w, generator=generator) for h, w in sizes]
    if kind == "alpha":
        for picture, value in zip(pictures, noise, strict=True):
            picture[..., 3] = value > 0.99
    if kind == "masked":
        scene = replace(scene, masks=(noise[0] > 0.9, None, noise[2] > 2.0, noise[3] > 0.98))
    if kind == "deep":
        scene = replace(scene, depths=DepthSequence(tuple(noise), 1.0))
    kept, filed = (PixelSource.from_scene(scene, folder=folder, workers=3) for folder in (None, tmp_path))
    for name, value in vars(kept).items():
        other = getattr(filed, name)
        assert torch.equal(value, other) if isinstance(value, Tensor) else value == other, name
    assert (kept.seen is not None) == (kind == "masked") and (kept.distances is not None) == (kind == "deep")
    if kind == "deep":
        assert torch.equal(kept.distances, distances_along_rays(scene.depths, scene.cameras))
    drawn = [source.draw(200, seed=1, step=2) for source in (kept, filed)]
    assert torch.equal(drawn[0].rgba, drawn[1].rgba) and torch.equal(drawn[0].distance, drawn[1].distance)
    assert list(tmp_path.iterdir()) == []


def test_masks_that_leave_nothing_are_refused():
    scene = blank(1, 8, 8)
    with pytest.raises(SceneError, match="masks leave no pixel"):
        PixelSource.from_scene(replace(scene, masks=(torch.zeros(8, 8, dtype=torch.bool),)))
