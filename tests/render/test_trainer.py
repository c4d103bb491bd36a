"""The training loop keeps its promises whatever the method is."""

import itertools
import json
import math
from dataclasses import replace

import pytest
import torch

import render
from render import checkpoint, run, trainer
from render.checkpoint import CheckpointError
from render.run import RunConfig
from render.trainer import Length, Training, TrainingError, plan
from scenes.pixels import PixelSource
from tests.render import mean_colour


@pytest.fixture
def start(toy_scene, mean_method, tmp_path):
    """A function that sets up a training of the toy scene."""
    pixels = PixelSource.from_scene(toy_scene)

    def make(length, home=False, overwrite=True, **options):
        settings = options.pop("settings", {})
        values, _, _ = plan(mean_method, settings, None, 1, None)
        config = RunConfig(mean_method, values, toy_scene.header(), source=None)
        folder = run.create(tmp_path / "run", config, overwrite=overwrite) if home else None
        return Training(config.build(), pixels, length, home=folder, **options)

    return make


class Clock:
    """Time that passes only where a step sleeps."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now

    def process_time(self) -> float:
        return self.now / 2

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(trainer, "time", clock)
    monkeypatch.setattr(mean_colour, "time", clock)
    return clock


def same(first, second) -> bool:
    ours, theirs = first.state(), second.state()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_same_seed_gives_the_same_bits(start):
    trainings = [start(Length(steps=20), seed=seed) for seed in (3, 3, 4)]
    for training in trainings:
        list(training)
    first, again, other = (training.model for training in trainings)
    assert same(first, again) and not same(first, other)


@pytest.mark.parametrize("cut", [1, 7, 19])
def test_a_resume_equals_the_uninterrupted_training_bit_for_bit(start, cut):
    whole = start(Length(steps=20), seed=3)
    list(whole)
    steps = itertools.count(1)
    part = start(Length(steps=20), home=True, seed=3, stop=lambda: next(steps) > cut)
    list(part)
    assert part.step == cut and not part.finished
    found = checkpoint.load_latest(part.home.checkpoints, pytest.fail)
    rest = start(Length(steps=20), seed=99, resume=found)
    list(rest)
    assert rest.finished and same(rest.model, whole.model)
    assert torch.equal(rest.generator.get_state(), whole.generator.get_state())


def test_checkpoints_are_written_every_so_many_steps(start):
    training = start(Length(steps=10), home=True, checkpoint_every=4)
    list(training)
    assert [path.name for path in checkpoint.stored(training.home.checkpoints)] == ["step-10", "step-8"]


def test_checkpoints_are_written_every_60_seconds(start, clock):
    training = start(Length(steps=5), home=True, settings={"seconds_per_step": 30.0})
    list(training)
    assert [path.name for path in checkpoint.stored(training.home.checkpoints)] == ["step-5", "step-4"]


def test_a_budget_ends_by_the_clock_and_the_schedule_follows_it(start, clock):
    training = start(Length(budget=8.0), settings={"seconds_per_step": 0.5})
    reports = list(training)
    assert training.step == 16 and training.elapsed == 8.0
    assert [report.schedule for report in reports] == [step / 16 for step in range(1, 17)]
    assert [report.remaining for report in reports] == [8.0 - step / 2 for step in range(1, 17)]


def test_what_happened_before_the_first_step_counts(start, clock):
    """The clock starts when the pictures are decoded: building the model is part of the budget."""
    began = clock.now - 3.0
    training = start(Length(budget=8.0), began=began, settings={"seconds_per_step": 0.5})
    list(training)
    assert training.step == 10 and training.elapsed == 8.0


def test_the_clock_stops_with_the_training(start, clock):
    """Ctrl-C short of the end of a budget is no finished training, however long one looks at it."""
    training = start(Length(budget=8.0), settings={"seconds_per_step": 0.5}, stop=lambda: clock.now >= 107.5)
    list(training)
    clock.sleep(100.0)
    assert training.elapsed == 7.5 and not training.finished


def test_time_between_reports_counts(start, clock):
    """Saves and whoever looks at the reports spend the same budget."""
    training = start(Length(budget=8.0), settings={"seconds_per_step": 0.5})
    for _ in training:
        clock.sleep(0.5)
    assert training.step == 8


def test_a_resumed_budget_is_not_spent_twice(start, clock):
    steps, settings = itertools.count(1), {"seconds_per_step": 0.5}
    part = start(Length(budget=8.0), home=True, settings=settings, stop=lambda: next(steps) > 10)
    list(part)
    found = checkpoint.load_latest(part.home.checkpoints, pytest.fail)
    assert found.elapsed == 5.0
    clock.sleep(1000.0)  # between the two
    rest = start(Length(budget=8.0), settings=settings, resume=found)
    assert rest.schedule == 5.0 / 8.0
    list(rest)
    assert rest.elapsed == 8.0 and rest.step == 16


def test_a_loss_that_is_not_finite_takes_the_training_back(start):
    """Back to the last checkpoint, with other random numbers, and on to the end."""
    settings = {"fails_at": 7, "fails_with_seed": 3}
    training = start(Length(steps=12), home=True, checkpoint_every=4, seed=3, settings=settings)
    notes = [report.note for report in training if report.note]
    assert notes == ["the loss of step 8 is nan; back at step 4 with other random numbers (1 of 3)"]
    assert training.step == 12 and training.rollbacks == 1
    assert all(bool(torch.isfinite(value).all()) for value in training.model.state().values())
    found = checkpoint.load_latest(training.home.checkpoints, pytest.fail)
    assert found.rollbacks == 1


def test_without_a_checkpoint_the_training_goes_back_to_its_start(start):
    training = start(Length(steps=12), seed=3, settings={"fails_at": 7, "fails_with_seed": 3})
    notes = [report.note for report in training if report.note]
    assert len(notes) == 1 and "back at step 0" in notes[0] and training.step == 12


def test_a_training_that_cannot_stay_finite_gives_up(start):
    training = start(Length(steps=12), settings={"fails_at": 7, "fails_always": True})
    with pytest.raises(TrainingError, match=r"step 8 is nan, after 3 rollbacks; .*learning rate"):
        list(training)


def test_parameters_that_are_not_finite_are_never_saved(start):
    """The loss of a step can be finite and its update not: the save notices, and goes back."""
    training = start(Length(steps=6), home=True, checkpoint_every=2)
    steps = iter(training)
    step = training.model.step

    def poisoned(*arguments):
        values = step(*arguments)
        if training.step == 3 and training.rollbacks == 0:
            training.model.colour = training.model.colour * math.nan
        return values

    training.model.step = poisoned
    notes = [report.note for report in steps if report.note]
    assert len(notes) == 1 and notes[0].startswith("colour holds values that are not finite")
    assert "back at step 2" in notes[0] and training.step == 6


def test_the_log_has_a_line_for_the_end_and_loses_what_a_resume_repeats(start):
    training = start(Length(steps=10), home=True)
    list(training)
    path = training.home.path / "metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines[-1]["step"] == 10 and {"loss", "psnr", "elapsed", "rays_per_second"} <= lines[-1].keys()
    with path.open("a") as file:
        file.write('{"step": 11}\n{"ste')
    training.home.cut_log(10)
    assert [json.loads(line) for line in path.read_text().splitlines()] == lines


def test_rates_count_what_the_steps_did(start, clock):
    training = start(Length(steps=9), settings={"rays": 50, "seconds_per_step": 0.125})
    reports = list(training)
    assert [report.step for report in reports] == [1, 3, 5, 7, 9]  # the first, then every quarter of a second
    assert all(report.rays_per_second == 50 / 0.125 for report in reports)
    assert reports[1].remaining == 6 * 0.125
    assert all(report.cpu_share == 0.5 / torch.get_num_threads() for report in reports)


def test_a_full_disk_ends_the_training_with_the_cause(start, monkeypatch):
    def full(path, content):
        raise OSError(28, "No space left on device")

    training = start(Length(steps=4), home=True)
    monkeypatch.setattr(checkpoint, "_write_synced", full)
    with pytest.raises(
        CheckpointError, match="No space left on device; no earlier checkpoint exists; make room"
    ):
        list(training)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "men"}, "method 'men' is unknown; known: .*did you mean mean"),
        ({"preset": "fst"}, r"preset 'fst' is unknown to mean; known: standard, fast; did you mean fast\?"),
        ({"settings": {"rayz": 3}}, r"'rayz' is unknown; .*did you mean rays\?"),
        ({"steps": 5, "budget": 3.0}, "keep one of them"),
        ({"steps": 0}, "above 0"),
        ({"budget": -1.0}, "above 0"),
        ({"name": "ngp", "budget": -1.0}, "above 0"),
    ],
)
def test_a_wrong_plan_is_refused(mean_method, arguments, message):
    given = {"name": mean_method, "settings": {}, "preset": None, "steps": None, "budget": None}
    with pytest.raises(ValueError, match=message):
        plan(**{**given, **arguments})


def test_a_preset_is_a_length_and_settings_that_can_be_overridden(mean_method):
    settings, preset, length = plan(mean_method, {"learning_rate": 0.5}, "fast", None, None)
    assert (settings["rays"], settings["learning_rate"], preset, length) == (
        16,
        0.5,
        "fast",
        Length(steps=10),
    )
    assert plan(mean_method, {"rays": 8}, "fast", 7, None)[2] == Length(steps=7)


@pytest.mark.parametrize(
    ("budget", "preset"),
    [(None, "standard"), (10.0, "fast"), (60.0, "fast"), (150, "standard"), (3600, "quality")],
)
def test_a_budget_picks_the_preset_made_for_about_as_long(monkeypatch, mean_method, budget, preset):
    settings = plan("mean", {}, None, None, None)[0]
    presets = {
        name: {"steps": 10, "seconds": seconds}
        for name, seconds in (("fast", 30), ("standard", 120), ("quality", 300))
    }
    monkeypatch.setattr(trainer.method_class("mean"), "PRESETS", presets)
    chosen = plan("mean", {}, None, None, budget)
    assert chosen[:2] == (settings, preset), "and the length of the preset is no setting"


def test_the_library_trains_in_silence_and_leaves_signals_alone(toy_folder, mean_method, tmp_path, capfd):
    import signal

    before = signal.getsignal(signal.SIGINT)
    reports: list[trainer.Report] = []
    model = render.train(
        toy_folder, mean_method, steps=12, rays=32, out=tmp_path / "run", report=reports.append
    )
    assert signal.getsignal(signal.SIGINT) is before
    assert capfd.readouterr() == ("", "")
    assert reports[-1].step == 12 and reports[-1].schedule == 1.0
    assert same(render.load(tmp_path / "run"), model)


def test_training_does_not_touch_the_global_random_numbers(toy_scene, mean_method):
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    first = render.train(toy_scene, mean_method, steps=2)
    assert torch.equal(torch.rand(3), expected)
    torch.manual_seed(2)
    assert same(render.train(toy_scene, mean_method, steps=2), first)


def test_a_training_in_memory_writes_nothing(toy_scene, mean_method, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    render.train(toy_scene, mean_method, steps=2)
    assert list(tmp_path.iterdir()) == []


def test_a_longer_training_goes_on_from_a_finished_one(start):
    short = start(Length(steps=5), home=True)
    list(short)
    found = checkpoint.load_latest(short.home.checkpoints, pytest.fail)
    rest = start(Length(steps=9), resume=replace(found))
    assert rest.schedule == 5 / 9
    list(rest)
    assert rest.step == 9
