"""A run that is looked at while it is trained elsewhere."""

from types import SimpleNamespace

import pytest

from render import checkpoint, run
from render.checkpoint import CheckpointError
from tools.viewer import command
from tools.viewer.command import Viewing


def test_checkpoints_that_cannot_be_read_are_passed_over_and_each_is_looked_at_once(monkeypatch, tmp_path):
    seen = iter([10, 10, 20, 20, 30, 30, 5, 5])  # 20 is damaged; 5 is of a training that began anew
    asked, learnt = [], []

    def stored(folder):
        step = next(seen, None)
        if step is None:
            raise KeyboardInterrupt
        return [tmp_path / f"step-{step}"]

    def load_model(found, chosen, **named):
        asked.append(chosen.name)
        if chosen.name == "step-20":
            raise CheckpointError("cut")
        return chosen.name, 0

    monkeypatch.setattr(command, "POLL", 0.0)
    monkeypatch.setattr(checkpoint, "stored", stored)
    monkeypatch.setattr(run, "load_model", load_model)
    viewing = Viewing(SimpleNamespace(checkpoints=tmp_path), None, None, (), None, None, 15)
    monkeypatch.setattr(viewing, "learnt", learnt.append)
    with pytest.raises(KeyboardInterrupt):
        command.follow(viewing, 10, {})
    assert asked == ["step-20", "step-30", "step-5"] and learnt == ["step-30", "step-5"]
