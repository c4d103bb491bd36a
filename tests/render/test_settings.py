"""Settings from text."""

from dataclasses import dataclass
from typing import Literal

import pytest

from render.settings import nearest, parse_pairs, parse_seconds, typed_settings


@dataclass(frozen=True)
class Example:
    levels: int = 8
    rate: float = 1e-2
    lazy: bool = True
    precision: Literal["float32", "bfloat16"] = "float32"
    colour: tuple[float, float, float] = (1.0, 1.0, 1.0)
    limit: int | None = None


@pytest.mark.parametrize(
    ("pair", "value"),
    [
        ("levels=16", 16),
        ("levels=1e5", 100000),
        ("levels=-3", -3),
        ("rate=2e-2", 0.02),
        ("rate=1", 1.0),
        ("lazy=false", False),
        ("precision=bfloat16", "bfloat16"),
        ("colour=0,0.5,1", (0.0, 0.5, 1.0)),
        ("limit=none", None),
        ("limit=7", 7),
    ],
)
def test_text_becomes_the_type_of_its_field(pair, value):
    settings, trainer = parse_pairs([pair], Example)
    assert settings == {pair.partition("=")[0]: value} and trainer == {}
    assert type(next(iter(settings.values()))) is type(value)


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("lvels=16", r"'lvels' is unknown; known: checkpoint_every, colour, .*did you mean levels\?"),
        ("levels", "write --set name=value"),
        ("levels=1.5", "levels='1.5': expected a whole number"),
        ("levels=many", "expected a whole number"),
        ("rate=fast", "expected a number"),
        ("lazy=perhaps", "expected true or false"),
        ("precision=fp8", "expected float32 or bfloat16"),
        ("colour=1,2", "colour"),
    ],
)
def test_what_does_not_fit_is_named(pair, message):
    with pytest.raises(ValueError, match=message):
        parse_pairs([pair], Example)


def test_the_trainer_has_settings_of_its_own():
    assert parse_pairs(["checkpoint_every=500", "levels=2"], Example) == (
        {"levels": 2},
        {"checkpoint_every": 500},
    )


def test_settings_survive_json():
    """A tuple comes back from a file as a list, and None as null."""
    assert typed_settings(Example, {"colour": [0, 0, 1], "limit": None}) == {
        "colour": (0.0, 0.0, 1.0),
        "limit": None,
    }


@pytest.mark.parametrize(
    ("text", "seconds"), [("60s", 60), ("90", 90), ("5m", 300), ("1h", 3600), ("1h30m", 5400), ("0.5m", 30)]
)
def test_lengths_of_time(text, seconds):
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "5 minutes", "-3s", "m", "1d", "nan", "inf"])
def test_what_is_no_length_of_time(text):
    with pytest.raises(ValueError, match="60s, 5m or 1h"):
        parse_seconds(text)


def test_the_nearest_word_is_offered_only_if_it_is_near():
    assert nearest("trian", ["train", "eval"]) == "; did you mean train?"
    assert nearest("xyzzy", ["train", "eval"]) == ""
