"""Checkpoints survive what happens to files: damage, full disks, a process that is killed."""

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch

from render import checkpoint
from render.checkpoint import Checkpoint, CheckpointError, NotFiniteError


def example(step: int, seed: int = 0) -> Checkpoint:
    generator = torch.Generator().manual_seed(seed + step)
    tensors = {
        "table": torch.randn(40, 4, generator=generator),
        "bits": torch.randint(0, 2**62, (7,), generator=generator),
        "optimizer.moment": torch.randn(40, 4, generator=generator),
        "optimizer.count": torch.tensor(step),
    }
    return Checkpoint(step, 1.5 * step, tensors, generator.get_state(), rollbacks=1)


def fail(message: str) -> None:
    raise AssertionError(message)


def test_what_was_saved_comes_back_bit_for_bit(tmp_path):
    saved = example(3)
    found = checkpoint.load(checkpoint.save(tmp_path, saved))
    assert (found.step, found.elapsed, found.rollbacks) == (3, 4.5, 1)
    assert found.tensors.keys() == saved.tensors.keys()
    for name, value in saved.tensors.items():
        assert torch.equal(found.tensors[name], value) and found.tensors[name].dtype == value.dtype
    assert torch.equal(found.generator, saved.generator)


def test_random_numbers_go_on_where_they_stopped(tmp_path):
    generator = torch.Generator().manual_seed(5)
    torch.rand(3, generator=generator)
    checkpoint.save(tmp_path, Checkpoint(1, 0.0, {}, generator.get_state()))
    restored = torch.Generator()
    restored.set_state(checkpoint.load_latest(tmp_path, fail).generator)
    assert restored.initial_seed() == 5
    assert torch.equal(torch.rand(9, generator=restored), torch.rand(9, generator=generator))


def test_rendering_needs_no_file_of_the_optimiser(tmp_path):
    path = checkpoint.save(tmp_path, example(1))
    tensors = checkpoint.tensors_from_bytes((path / checkpoint.MODEL).read_bytes())
    assert set(tensors) == {"table", "bits"}


def test_the_last_two_are_kept(tmp_path):
    for step in (9, 10, 11, 100):
        checkpoint.save(tmp_path, example(step))
    assert [path.name for path in checkpoint.stored(tmp_path)] == ["step-100", "step-11"]


def test_nothing_that_is_not_finite_is_saved(tmp_path):
    bad = example(2)
    bad.tensors["table"][3, 1] = float("nan")
    with pytest.raises(NotFiniteError, match="table"):
        checkpoint.save(tmp_path, bad)
    assert checkpoint.stored(tmp_path) == []


def damage(path, kind: str, randomness: random.Random) -> None:
    """Cut, alter or remove one of a checkpoint's files, or make state.json of another version."""
    file = path / randomness.choice(["model.safetensors", "trainer.safetensors", "state.json"])
    content = bytearray(file.read_bytes())
    if kind == "missing":
        file.unlink()
        return
    if kind == "truncated":
        content = content[: randomness.randrange(len(content))]
    elif kind == "flipped":
        for _ in range(randomness.randrange(1, 4)):
            content[randomness.randrange(len(content))] ^= 1 << randomness.randrange(8)
    else:
        file = path / "state.json"
        content = file.read_bytes().replace(b'"version": 1', b'"version": %d' % randomness.randrange(2, 99))
    if bytes(content) == file.read_bytes():  # flips that undid each other
        content[0] ^= 1
    file.write_bytes(bytes(content))


@pytest.mark.parametrize("number", range(100))
def test_every_damage_is_detected_and_the_one_before_loads(tmp_path, number, seed):
    randomness = random.Random(seed * 1000 + number)
    kind = ("truncated", "flipped", "missing", "version")[number % 4]
    checkpoint.save(tmp_path, example(1))
    path = checkpoint.save(tmp_path, example(2))
    damage(path, kind, randomness)
    with pytest.raises(CheckpointError, match=r"step-2/") as caught:
        checkpoint.load(path)
    assert "\n" not in str(caught.value)
    warnings: list[str] = []
    assert checkpoint.load_latest(tmp_path, warnings.append).step == 1
    assert len(warnings) == 1 and "going on from step 1" in warnings[0]


def test_no_sound_checkpoint_says_what_to_do(tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint yet"):
        checkpoint.load_latest(tmp_path, fail)
    path = checkpoint.save(tmp_path, example(1))
    (path / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model\.safetensors.*--overwrite"):
        checkpoint.load_latest(tmp_path, fail)


def test_a_file_with_the_right_hash_and_wrong_content_is_no_crash(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "save_file", lambda tensors, path: path.write_bytes(b"no safetensors"))
    path = checkpoint.save(tmp_path, example(1))
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        checkpoint.load(path)


def test_a_disk_that_fills_keeps_the_old_one(tmp_path):
    """The limit on file sizes stands in for a full disk: writing fails midway, as it would there."""
    checkpoint.save(tmp_path, example(1))
    large = Checkpoint(2, 0.0, {"table": torch.zeros(10**5)}, torch.Generator().get_state())
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10**5, before[1]))
    try:
        with pytest.raises(CheckpointError, match=r"step-2: not written.*step 1 is untouched.*--resume"):
            checkpoint.save(tmp_path, large)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert [path.name for path in tmp_path.iterdir()] == ["step-1"]
    assert checkpoint.load_latest(tmp_path, fail).step == 1


SAVE_FOR_EVER = """
import sys, itertools, torch
from pathlib import Path
from render import checkpoint
for step in itertools.count(1):
    tensors = {name: torch.full((300_000,), float(step)) for name in ("table", "optimizer.moment")}
    state = checkpoint.Checkpoint(step, 0.0, tensors, torch.Generator().get_state())
    checkpoint.save(Path(sys.argv[1]), state)
    print(step, flush=True)
"""


def test_a_kill_in_the_middle_loses_at_most_the_last_one(tmp_path, seed):
    randomness = random.Random(seed)
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", SAVE_FOR_EVER, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(randomness.uniform(0.0, 0.2))
        process.kill()
        announced = [int(line) for line in process.stdout.read().split()] or [1]
        process.stdout.close()
        process.wait()
        found = checkpoint.load_latest(tmp_path, fail)
        assert found.step >= announced[-1]
        assert bool((found.tensors["table"] == found.step).all())
        checkpoint.save(tmp_path, example(found.step + 1))
        assert len(list(tmp_path.iterdir())) == 2  # what the dead process left is gone
        shutil.rmtree(tmp_path)
        os.mkdir(tmp_path)
