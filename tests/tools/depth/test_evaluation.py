"""What is measured of depth: the truth has no error, a tenth more has a tenth, and every rule is kept."""

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

from render.cli import main
from scenes.generate.collection import counts_of
from tests.tools.depth import official
from tests.tools.depth.test_dpt import filled
from tools.depth.datasets import DepthSetError, read_set
from tools.depth.evaluation import BASELINES, Guess, Predictor, look, measure, plane, z_depth_of
from tools.depth.ordinal import read_questions

WIDTH, HEIGHT = 64, 48
METRES = 1000  # counts


def put_set(folder, z_depths, kind="z_depth", **told):
    """A data set of our own layout, of pictures of noise. z_depth: metres, 0 where it is unknown."""
    for name in ("rgb", "depth"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number, z_depth in enumerate(z_depths):
        rgb = np.random.default_rng(number).integers(0, 255, (*z_depth.shape, 3), dtype=np.uint8)
        Image.fromarray(rgb).save(folder / "rgb" / f"{number}.png")
        counts = counts_of(z_depth) if kind == "inverse_depth" else (z_depth * METRES).round()
        Image.fromarray(counts.astype(np.uint16)).save(folder / "depth" / f"{number}.png")
    unit = 1 / 6500 if kind == "inverse_depth" else 1 / METRES
    known = {"format": "render-depth-set", "version": 1, "kind": kind, "unit": unit}
    (folder / "dataset.json").write_text(json.dumps({**known, **told}))
    return folder


def random_depth(seed=0, height=HEIGHT, width=WIDTH):
    """1 to 9 m with a fifth unknown."""
    rng = np.random.default_rng(seed)
    z_depth = rng.uniform(1, 9, (height, width))
    return np.where(rng.random(z_depth.shape) < 0.2, 0, z_depth)


def put_predictions(folder, found, change=lambda z_depth: z_depth):
    folder.mkdir()
    for index, pair in enumerate(found.pairs):
        truth = z_depth_of(found.read(index), found).numpy()
        filled_in = np.where(truth > 0, truth, 3.0)
        np.save(folder / f"{pair.rgb.stem}.npy", change(filled_in).astype(np.float32))
    return folder


def evaluated(capfd, *arguments):
    """The one result that `render depth-eval ... --json` prints; of baselines alone, unless told."""
    if not {"--model", "--predictions"} & set(arguments):
        arguments = (*arguments, "--model", "none")
    (result,) = evaluated_all(capfd, *arguments)
    return result


def evaluated_all(capfd, *arguments):
    assert main(["depth-eval", *map(str, arguments), "--json"]) == 0
    return json.loads(capfd.readouterr().out)["results"]


def row_of(result):
    (name,) = (name for name in result["rows"] if name.startswith("predictions"))
    return result["rows"][name]


@pytest.fixture
def rooms(tmp_path):
    return put_set(tmp_path / "rooms", [random_depth(0), random_depth(1)])


@pytest.mark.parametrize("align", ["none", "median", "inverse"])
@pytest.mark.parametrize("kind", ["z_depth", "inverse_depth"])
def test_the_truth_has_no_error_however_it_is_told(align, kind, tmp_path, capfd):
    found = put_set(tmp_path / "set", [random_depth(0), random_depth(1)], kind)
    told = {"z_depth": lambda z: z, "inverse_depth": lambda z: 1 / z}[kind]
    guesses = put_predictions(tmp_path / "guesses", read_set(found), told)
    row = row_of(
        evaluated(capfd, found, "--predictions", guesses, "--predicted-kind", kind, "--align", align)
    )
    assert row["abs_rel"] < 1e-6 and row["rmse"] < 1e-5 and row["delta1"] == 1


@pytest.mark.parametrize(("align", "error"), [("none", 0.1), ("median", 0.0), ("inverse", 0.0)])
def test_a_tenth_more_is_an_error_of_a_tenth_unless_aligned(align, error, rooms, tmp_path, capfd):
    guesses = put_predictions(tmp_path / "guesses", read_set(rooms), lambda z: 1.1 * z)
    arguments = ("--predictions", guesses, "--predicted-kind", "z_depth", "--align", align)
    row = row_of(evaluated(capfd, rooms, *arguments))
    assert row["abs_rel"] == pytest.approx(error, abs=1e-6) and row["delta1"] == 1


def test_inverse_depth_up_to_scale_and_shift_is_brought_to_the_truth(rooms, tmp_path, capfd):
    guesses = put_predictions(tmp_path / "guesses", read_set(rooms), lambda z: 40 / z + 7)
    assert row_of(evaluated(capfd, rooms, "--predictions", guesses))["abs_rel"] < 1e-5
    for number in range(2):  # as `render depth` names them
        (guesses / f"{number}.npy").rename(guesses / f"{number}-depth.npy")
    assert row_of(evaluated(capfd, rooms, "--predictions", guesses))["abs_rel"] < 1e-5


def test_pictures_as_predictions_count_in_the_unit_of_the_set(rooms, tmp_path, capfd):
    guesses, found = tmp_path / "guesses", read_set(rooms)
    guesses.mkdir()
    for index, pair in enumerate(found.pairs):
        truth = z_depth_of(found.read(index), found).numpy()
        counts = (np.where(truth > 0, truth, 3) * METRES).round().astype(np.uint16)
        Image.fromarray(counts).save(guesses / pair.depth.name)
    arguments = ("--predictions", guesses, "--align", "none")
    assert row_of(evaluated(capfd, rooms, *arguments))["abs_rel"] < 1e-6
    row = row_of(evaluated(capfd, rooms, *arguments, "--predicted-unit", 1.1 / METRES))
    assert row["abs_rel"] == pytest.approx(0.1, abs=1e-6)


def test_baselines_are_closed_forms(tmp_path):
    """A constant is the mean of 1 / z; a plane of inverse depth is its own plane."""
    row, column = np.mgrid[:HEIGHT, :WIDTH]
    sloped = 1 / (0.1 + 0.3 * row / HEIGHT + 0.2 * column / WIDTH)
    inverse = random_depth()
    np.save(tmp_path / "mean.npy", np.zeros((3, 4)))
    found = read_set(put_set(tmp_path / "set", [sloped, inverse]))
    rows = [measure(found.subset([index]), BASELINES).rows for index in range(2)]
    assert rows[0]["plane of the truth"]["abs_rel"] < 2e-4  # counts of millimetres
    known = np.round(inverse[inverse > 0], 3)
    constant = 1 / (1 / known).mean()
    expected = np.abs(constant - known) / known
    assert rows[1]["constant depth"]["abs_rel"] == pytest.approx(expected.mean(), rel=1e-5)
    assert rows[1]["plane of the truth"]["rmse"] <= rows[1]["constant depth"]["rmse"]


def test_without_alignment_a_constant_is_the_median_of_the_truth(tmp_path):
    truth = random_depth()
    found = read_set(put_set(tmp_path / "set", [truth]))
    known = np.round(truth[truth > 0], 3)
    for alignment in ("none", "median"):
        measured = measure(found, BASELINES, alignment=alignment).rows["constant depth"]["abs_rel"]
        assert measured == pytest.approx((np.abs(np.median(known) - known) / known).mean(), rel=1e-5)


def test_one_map_for_all_is_brought_to_the_size_of_a_picture(tmp_path, capfd):
    """A map of half the size, whose twice as large picture is the truth up to scale and shift."""
    row, column = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    inverse = 0.2 + 0.4 * row / HEIGHT + 0.1 * column / WIDTH
    found = put_set(tmp_path / "set", [1 / inverse])
    half = inverse.reshape(HEIGHT // 2, 2, WIDTH // 2, 2).mean(axis=(1, 3))
    np.save(tmp_path / "mean.npy", (5 * half - 1).astype(np.float32))
    rows = evaluated(capfd, found, "--mean-map", tmp_path / "mean.npy")["rows"]
    assert rows["mean map"]["abs_rel"] < 3e-3 < rows["constant depth"]["abs_rel"]


def test_what_lies_beyond_the_cap_or_is_sky_does_not_count(tmp_path, capfd):
    z_depth = np.full((HEIGHT, WIDTH), 5.0)
    z_depth[:10], z_depth[10:20] = 0, 80.0
    folder = put_set(tmp_path / "set", [z_depth, np.zeros_like(z_depth)], "inverse_depth", unknown=[], cap=50)
    result = evaluated(capfd, folder, "--align", "none")
    assert result["pictures"] == 1 and result["left_out"] == ["1"]
    seen = look(read_set(folder), 0, "none")
    assert seen.mask[20:].all() and not seen.mask[:20].any()


def test_a_protocol_is_that_of_the_set_unless_another_is_named(tmp_path, capfd):
    z_depth = random_depth(height=480, width=640)
    (tmp_path / "nyu").mkdir()
    Image.fromarray(np.zeros((480, 640, 3), np.uint8)).save(tmp_path / "nyu" / "rgb_00001.jpg")
    counts = (z_depth * METRES).astype(np.uint16)
    Image.fromarray(counts).save(tmp_path / "nyu" / "sync_depth_00001.png")
    assert evaluated(capfd, tmp_path / "nyu")["protocol"] == "nyu"
    assert evaluated(capfd, tmp_path / "nyu", "--protocol", "tum")["protocol"] == "tum"
    rooms = put_set(tmp_path / "rooms", [random_depth()])
    assert evaluated(capfd, rooms)["protocol"] == "none"
    assert main(["depth-eval", str(rooms), "--protocol", "nyu", "--model", "none"]) == 1
    assert "maps of 640 x 480, got 64 x 48" in capfd.readouterr().err


def test_a_network_is_measured_beside_the_baselines(rooms, tmp_path, capfd):
    weights = tmp_path / "midas_v21_small_256.pt"
    torch.save({name: tensor.float() for name, tensor in filled(official.midas_small()).items()}, weights)
    model = ("--model", "midas-small", "--weights", weights, "--limit", 1)
    (_, result) = evaluated_all(capfd, rooms, rooms, *model)
    rows = result["rows"]
    assert list(rows) == ["midas-small", "constant depth", "plane of the truth"]
    assert all(math.isfinite(value) for value in rows["midas-small"].values())
    assert main(["depth-eval", str(rooms), *map(str, model)]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[0].startswith("rooms (render): 1 picture, protocol none, aligned by scale and shift")
    assert [line.split()[0] for line in lines[2:]] == ["midas-small", "constant", "plane"]


def test_what_is_wrong_is_named(rooms, tmp_path, capfd):
    found = read_set(rooms)
    guesses = put_predictions(tmp_path / "guesses", found)
    np.save(guesses / "1.npy", np.ones((10, 20), np.float32))
    failures = {
        (rooms, "--predictions", guesses): "1.npy: it and its picture are 20 x 10 and 64 x 48; resize",
        (rooms, "--predictions", tmp_path): "holds no prediction 0.npy or .png (2 of 2 are missing)",
        (rooms, "--model", "small-midas", "--weights", "x"): "'small-midas' is unknown",
        (rooms, "--model", "midas-small"): "give the file with --weights",
        (tmp_path / "none",): "no such folder",
    }
    for arguments, message in failures.items():
        assert main(["depth-eval", *map(str, arguments)]) == 1
        assert message in capfd.readouterr().err
    np.save(guesses / "1.npy", np.full((HEIGHT, WIDTH), np.nan, np.float32))
    assert main(["depth-eval", str(rooms), "--predictions", str(guesses)]) == 1
    assert "1: predictions in" in (said := capfd.readouterr().err) and "not finite" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a", "--predictions", "b", "--weights", "c"], "in place of a model: leave --model, --weights"),
        (["a", "--model", "none", "--size", "320"], "are of a model, and there is none"),
        (["a", "b", "--predictions", "c"], "--predictions are of one data set, and there are 2"),
        (["a", "--predicted-unit", "2"], "are for --predictions"),
        (["a", "--mean-map", "m.npy", "--align", "none"], "give --align inverse"),
        (["a", "--protocol", "kiti"], "invalid choice: 'kiti'"),
    ],
)
def test_options_that_do_not_go_together_are_refused(arguments, message, capfd):
    assert main(["depth-eval", *arguments]) == 2
    assert message in capfd.readouterr().err


def test_depth_without_scale_and_shift_measures_nothing(tmp_path, capfd):
    folder = put_set(tmp_path / "set", [random_depth()], "relative_inverse")
    assert main(["depth-eval", str(folder), "--model", "none"]) == 1
    assert "by which nothing can be measured" in capfd.readouterr().err
    guess = Predictor("relative", lambda seen: Guess(seen.truth, "relative_inverse"))
    rooms = read_set(put_set(tmp_path / "rooms", [random_depth()]))
    with pytest.raises(DepthSetError, match="0: relative: it is inverse depth up to scale and shift"):
        measure(rooms, [guess], alignment="median")


def test_the_crop_of_kitti_is_kept(test_data, tmp_path, capfd):
    """What a prediction says above the crop, and where the LiDAR saw nothing, does not count."""
    folder = test_data / "depth" / "kitti"
    found = read_set(folder)
    for factor, align, error in ((1.0, "none", 0.0), (1.1, "none", 0.1), (1.1, "median", 0.0)):
        guesses = tmp_path / f"{factor}{align}"
        put_predictions(guesses, found, lambda z, factor=factor: wrong_above_the_crop(factor * z))
        arguments = ("--predictions", guesses, "--align", align, "--predicted-kind", "z_depth")
        result = evaluated(capfd, folder, *arguments)
        row = row_of(result)
        assert result["protocol"] == "kitti" and result["pictures"] == 3
        capped = row["abs_rel"] == pytest.approx(error, abs=1e-6 if factor == 1 else 2e-4)  # 80 m at most
        assert capped and row["delta1"] == 1


def wrong_above_the_crop(z_depth):
    changed = z_depth.copy()
    changed[: int(0.40810811 * len(z_depth))] = 1.0
    return changed


def test_planes_are_hard_to_beat_on_true_data(test_data):
    """Streets are planes more than rooms are; a constant is worse than either."""
    for name in ("kitti", "nyu"):
        rows = measure(read_set(test_data / "depth" / name), BASELINES).rows
        assert rows["plane of the truth"]["abs_rel"] < rows["constant depth"]["abs_rel"] < 0.5


def test_a_plane_knows_only_what_counts(tmp_path):
    z_depth = np.full((HEIGHT, WIDTH), 4.0)
    z_depth[:, :20] = 300.0
    found = read_set(put_set(tmp_path / "set", [z_depth / 10], cap=1.0))
    guess = plane(look(found, 0, "none"))
    assert guess.values.numpy() == pytest.approx(2.5, rel=1e-6)


def ask(folder, *questions, width=20, height=10):
    """A folder as DIW is published: (y_A, x_A, y_B, x_B, relation) of one picture each, from 1."""
    (folder / "DIW_test").mkdir(parents=True)
    lines = []
    for number, question in enumerate(questions):
        rgb = np.random.default_rng(number).integers(0, 255, (height, width, 3), dtype=np.uint8)
        Image.fromarray(rgb).save(folder / "DIW_test" / f"{number}.thumb", format="JPEG")
        told = ",".join(map(str, (*question, width, height)))
        lines += [f"./DIW_test/{number}.thumb", told]
    (folder / "DIW_test.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_order_is_measured_by_how_often_people_said_otherwise(tmp_path, capfd):
    """> says that the first point is farther. What is lower is nearer in three of the four."""
    asked = ((2, 3, 9, 4, ">"), (9, 3, 2, 3, "<"), (1, 1, 10, 20, ">"), (1, 5, 9, 5, "<"))
    folder = ask(tmp_path / "diw", *asked)
    rows = evaluated(capfd, folder)["rows"]
    assert rows["lower is nearer"]["whdr"] == 0.25
    (tmp_path / "guesses").mkdir()
    for number in range(4):
        nearer = np.arange(10.0)[:, None] * np.ones(20)
        np.save(tmp_path / "guesses" / f"{number}.npy", nearer if number % 2 else 1 / (1 + nearer))
    guesses = ("--predictions", tmp_path / "guesses")
    assert row_of(evaluated(capfd, folder, *guesses))["whdr"] == 0.75
    flipped = evaluated(capfd, folder, *guesses, "--predicted-kind", "z_depth")
    assert row_of(flipped)["whdr"] == 0.25
    assert main(["depth-eval", str(folder), "--model", "none"]) == 0
    assert capfd.readouterr().out.splitlines()[1:] == [" " * 15 + "     whdr", "lower is nearer   0.2500"]


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ((1, 1, 2, 2, "="), "line 2: '1,1,2,2,=,20,10' is not y,x,y,x,< or >"),
        ((1, 1, 2, "<"), "line 2: '1,1,2,<,20,10' is not y,x,y,x,< or >"),
    ],
)
def test_a_question_that_makes_no_sense_is_named(question, message, tmp_path, capfd):
    folder = ask(tmp_path / "diw", question)
    assert main(["depth-eval", str(folder), "--model", "none"]) == 1
    assert message in capfd.readouterr().err


def test_points_are_counted_from_1_and_brought_into_the_picture(tmp_path, capfd):
    folder = ask(tmp_path / "diw", (1, 1, 10, 20, "<"), (0, 0, 11, 21, "<"))
    exact, beyond = read_questions(folder)
    assert exact.points(20, 10) == beyond.points(20, 10) == ((0, 0), (9, 19))
    assert exact.points(40, 20) == ((0, 0), (18, 38))
    (folder / "DIW_test" / "0.thumb").unlink()
    assert main(["depth-eval", str(folder), "--model", "none"]) == 1
    assert "line 1: ./DIW_test/0.thumb is not there" in capfd.readouterr().err
