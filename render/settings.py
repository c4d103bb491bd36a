"""Hyper-parameters from text: `--set levels=16`, typed by the dataclass that owns them."""

import dataclasses
import difflib
import re
import types
import typing
from collections.abc import Iterable
from typing import Any

TRAINER_SETTINGS = {"checkpoint_every": int}


def typed_settings(kind: type, settings: dict[str, Any]) -> dict[str, Any]:
    """`settings` with every value as the field of the dataclass `kind` wants it.

    Raises: ValueError for a name that `kind` does not have (with the nearest) or a value that does not fit.
    """
    hints = {field.name: hint for field, hint in _fields(kind)}
    return {name: convert(name, value, _known(name, hints)) for name, value in settings.items()}


def parse_pairs(pairs: Iterable[str], kind: type) -> tuple[dict[str, Any], dict[str, Any]]:
    """`["levels=16", "checkpoint_every=500"]` -> settings of the method `kind`, settings of the trainer."""
    hints = {field.name: hint for field, hint in _fields(kind)} | TRAINER_SETTINGS
    method_settings, trainer_settings = {}, {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise ValueError(f"--set {pair}: write --set name=value")
        value = convert(name, text, _known(name, hints))
        (trainer_settings if name in TRAINER_SETTINGS else method_settings)[name] = value
    return method_settings, trainer_settings


def parse_seconds(text: str) -> float:
    """`90`, `60s`, `5m`, `1h`, `1h30m` -> seconds. Raises ValueError."""
    parts = re.fullmatch(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?", text.strip())
    amounts = parts.groups() if parts else (0, 0, 0)
    seconds = sum(float(amount or 0) * unit for amount, unit in zip(amounts, (3600, 60, 1), strict=True))
    if seconds <= 0:
        raise ValueError(f"{text!r} is not a length of time; write 60s, 5m or 1h")
    return seconds


def nearest(word: str, known: Iterable[str]) -> str:
    """'; did you mean X?' for a mistyped word, empty where nothing is near."""
    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {matches[0]}?" if matches else ""


def convert(name: str, value: Any, hint: Any) -> Any:
    """`value` (text from the command line, or JSON) as the type `hint`. Raises ValueError naming `name`."""
    try:
        return _convert(value, hint)
    except (ValueError, TypeError, KeyError):
        raise ValueError(f"{name}={value!r}: expected {_spelled(hint)}") from None


def _convert(value: Any, hint: Any) -> Any:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None or (value == "none" and type(None) in inner):
            return None
        return _convert(value, next(option for option in inner if option is not type(None)))
    if origin is typing.Literal:
        if value not in inner:
            raise ValueError
        return value
    if origin is tuple:
        items = value.split(",") if isinstance(value, str) else list(value)
        hints = [inner[0]] * len(items) if inner[-1] is Ellipsis else inner
        return tuple(_convert(item, each) for item, each in zip(items, hints, strict=True))
    if hint is bool:
        return {"true": True, "false": False, "1": True, "0": False}[str(value).lower()]
    if hint is int:
        return _integer(value)
    if hint in (float, str):
        return hint(value)
    return value


def _integer(value: Any) -> int:
    """Also `1e5` and `2**19`-sized floats, as long as they are whole."""
    number = float(value)
    if number != int(number):
        raise ValueError
    return int(value) if not isinstance(value, str) or value.lstrip("+-").isdigit() else int(number)


def _fields(kind: type) -> list[tuple[dataclasses.Field, Any]]:
    hints = typing.get_type_hints(kind)
    return [(field, hints[field.name]) for field in dataclasses.fields(kind) if field.init]


def _known(name: str, hints: dict[str, Any]) -> Any:
    if name not in hints:
        raise ValueError(
            f"setting {name!r} is unknown; known: {', '.join(sorted(hints))}{nearest(name, hints)}"
        )
    return hints[name]


def _spelled(hint: Any) -> str:
    if typing.get_origin(hint) is typing.Literal:
        return " or ".join(map(str, typing.get_args(hint)))
    return {int: "a whole number", float: "a number", bool: "true or false"}.get(hint, str(hint))
