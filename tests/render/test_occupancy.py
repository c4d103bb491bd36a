import pytest
import torch
from torch.testing import assert_close

from fields.kernels.occupancy import pack_bits, unpack_bits
from render.samplers.occupancy import OccupancyGrid

STEP = 3**0.5 / 512


def ball(points):
    """Density 200 in a ball of radius 0.25 around the middle of the cube."""
    return 200.0 * ((points - 0.5).norm(dim=-1) < 0.25)


def cell_centres(resolution):
    axis = (torch.arange(resolution) + 0.5) / resolution
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    return torch.stack((x, y, z), dim=-1)


def test_nothing_is_ruled_out_before_the_first_update():
    assert OccupancyGrid(16).occupied().all()


def test_bits_stand_where_the_layout_says(device):
    for x, y, z in [(0, 0, 0), (7, 0, 0), (0, 5, 0), (0, 0, 6), (3, 3, 3), (15, 14, 13)]:
        occupied = torch.zeros(16, 16, 16, dtype=torch.bool, device=device)
        occupied[z, y, x] = True
        bits = pack_bits(occupied)
        word = int(bits[z // 4, y // 4, x // 4]) % 2**64
        assert word == 1 << (x % 4 + 4 * (y % 4) + 16 * (z % 4))
        assert int((bits != 0).sum()) == 1


def test_unpacking_undoes_packing(generator):
    occupied = torch.rand(24, 24, 24, generator=generator) < 0.5
    assert torch.equal(unpack_bits(pack_bits(occupied)), occupied)


def test_first_update_finds_a_ball_and_leaves_the_rest_empty():
    grid = OccupancyGrid(32)
    grid.update(ball, STEP, seed=0, step=0)
    distance = (cell_centres(32) - 0.5).norm(dim=-1)
    half_diagonal = 3**0.5 / 64
    assert grid.occupied()[distance < 0.25 - half_diagonal].all()
    assert not grid.occupied()[distance > 0.25 + half_diagonal].any()


def test_every_point_lies_in_the_cell_it_was_drawn_for():
    grid = OccupancyGrid(8)
    cells = grid.cells_to_visit(3, 0)
    place = (grid.points_in(cells, 3, 0) * 8).long()
    assert torch.equal((place[:, 2] * 8 + place[:, 1]) * 8 + place[:, 0], cells)


def test_density_is_read_as_z_y_x():
    grid = OccupancyGrid(8)
    grid.update(lambda p: (p * 8).floor() @ torch.tensor([1.0, 10.0, 100.0]), STEP, seed=0, step=0)
    assert grid.density[2, 3, 4] == 234


@pytest.mark.parametrize(("step", "stride"), [(16, 8), (255, 8), (256, 32), (5000, 32)])
def test_all_cells_have_their_turn_in_one_stride_of_updates(step, stride):
    grid = OccupancyGrid(16)
    visited = torch.zeros(16**3, dtype=torch.int64)
    for update in range(1, stride + 1):
        grid.updates.fill_(update)
        in_turn = grid.cells_to_visit(0, step)[: 16**3 // stride]
        visited += in_turn.bincount(minlength=16**3)
    assert (visited == 1).all()


def test_half_of_the_visits_go_to_occupied_cells():
    grid = OccupancyGrid(16)
    grid.update(ball, STEP, seed=0, step=0)
    cells = grid.cells_to_visit(0, 16)
    drawn = cells[16**3 // 8 :]
    assert len(drawn) == 16**3 // 8
    assert grid.occupied().flatten()[drawn].all()
    share = drawn.unique().numel() / int(grid.occupied().sum())
    assert share > 0.5  # 512 draws from about 300 cells reach most of them


def test_empty_grid_visits_cells_in_turn_only():
    grid = OccupancyGrid(8)
    grid.update(lambda p: torch.zeros(len(p)), STEP, seed=0, step=0)
    assert not grid.occupied().any()
    assert len(grid.cells_to_visit(0, 16)) == 8**3 // 8


def test_matter_that_went_away_decays_at_each_visit_and_unvisited_cells_stay():
    grid = OccupancyGrid(8)
    grid.update(lambda p: torch.full((len(p),), 80.0), STEP, seed=0, step=0)
    grid.bits.fill_(0)  # no draws: only cells in turn are visited
    grid.update(lambda p: torch.zeros(len(p)), STEP, seed=0, step=16)
    expected = torch.full((8**3,), 80.0)
    expected[1::8] *= 0.95
    assert_close(grid.density.flatten(), expected)


def test_a_cell_visited_often_decays_once_and_keeps_its_largest_find():
    grid = OccupancyGrid(4)
    grid.update(lambda p: torch.full((len(p),), 100.0), STEP, seed=0, step=0)
    grid.bits.fill_(1)  # cell 0 alone is drawn, 8 times
    finds = torch.arange(8 + 8, dtype=torch.float32)
    grid.update(lambda p: finds, STEP, seed=0, step=16)
    assert grid.density[0, 0, 0] == 95.0
    grid.updates.fill_(1)
    grid.bits.fill_(1)
    grid.update(lambda p: 100 * finds, STEP, seed=0, step=32)
    assert grid.density[0, 0, 0] == 1500.0


def test_a_step_of_matter_is_occupied_from_one_percent_of_optical_thickness():
    grid = OccupancyGrid(8)
    dense = torch.full((8, 8, 8), 1000.0)
    dense[0, 0, 0], dense[0, 0, 1] = 0.0101 / STEP, 0.0099 / STEP
    grid.update(lambda p: dense.flatten(), STEP, seed=0, step=0)
    assert grid.occupied()[0, 0, :3].tolist() == [True, False, True]


def test_while_all_is_thin_the_mean_decides():
    grid = OccupancyGrid(8)
    thin = torch.arange(8**3, dtype=torch.float32) * 1e-6
    grid.update(lambda p: thin, STEP, seed=0, step=0)
    assert torch.equal(grid.occupied().flatten(), thin > thin.mean())


def test_same_seed_and_step_same_bits_other_seed_other_points():
    grids = [OccupancyGrid(16) for _ in range(3)]
    for grid, seed in zip(grids, (5, 5, 6), strict=True):
        for step in (0, 16, 32):
            grid.update(lambda p: p.sum(-1) * 10, STEP, seed=seed, step=step)
    assert torch.equal(grids[0].density, grids[1].density)
    assert not torch.equal(grids[0].density, grids[2].density)


def test_state_carries_the_schedule():
    grid, again = OccupancyGrid(16), OccupancyGrid(16)
    for step in (0, 16):
        grid.update(ball, STEP, seed=1, step=step)
    again.load_state_dict(grid.state_dict())
    for each in (grid, again):
        each.update(ball, STEP, seed=1, step=32)
    assert torch.equal(grid.density, again.density) and torch.equal(grid.bits, again.bits)


def test_resolution_must_fill_whole_words():
    with pytest.raises(ValueError, match="multiple of 4, got 30"):
        OccupancyGrid(30)
