"""What a model may be asked: what `MODEL_LIMITS` says of it, or else what holds for all."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from api_host.bounds import Bounds


class Limits(msgspec.Struct, frozen=True):
    """What one model may be asked.

    `waiting`: how many predictions of it may wait.
    `batch_rows`: how many rows of waiting requests it predicts at once.
    `max_rows`: how many rows a request may have.
    `timeout_seconds`: how long a prediction may take.
    """

    waiting: int
    batch_rows: int
    max_rows: int
    timeout_seconds: float


@dataclass(frozen=True)
class OwnLimits:
    """Those that a model has for itself, by their names.

    `name`: of the registered model.
    """

    name: str
    waiting: int | None = None
    batch_rows: int | None = None
    max_rows: int | None = None
    timeout_seconds: float | None = None


class ModelLimits:
    """The limits of each model.

    `bounds`: of bodies, where no model has limits of its own.
    `longest_seconds`: how long a prediction of any of them may take.
    """

    def __init__(self, of_all: Limits, own: tuple[OwnLimits, ...], bounds: Bounds) -> None:
        self.bounds: Final = bounds
        self._of_all = of_all
        self._bounds_of = {
            each.name: msgspec.structs.replace(bounds, rows=each.max_rows)
            for each in own
            if each.max_rows is not None
        }
        self._of = {each.name: _with(of_all, each) for each in own}
        every = (of_all, *self._of.values())
        self.longest_seconds: Final = max(each.timeout_seconds for each in every)

    def of(self, name: str) -> Limits:
        """Those that are in force for a model."""
        return self._of.get(name, self._of_all)

    def bounds_of(self, name: str) -> Bounds:
        """What a body for a model may have."""
        return self._bounds_of.get(name, self.bounds)


def _with(of_all: Limits, own: OwnLimits) -> Limits:
    given = {name: getattr(own, name) for name in of_all.__struct_fields__}
    known = {name: value for name, value in given.items() if value is not None}
    return msgspec.structs.replace(of_all, **known)


def read_limits(text: str) -> tuple[OwnLimits, ...]:
    """Reads `forest waiting=64 batch_rows=200, churn batch_rows=1`. Raises `ValueError`."""
    own: dict[str, OwnLimits] = {}
    for part in filter(None, map(str.strip, text.split(","))):
        limits = _read(part)
        if limits.name in own:
            raise ValueError(f"{limits.name!r} is there twice: write all its limits in one part")
        own[limits.name] = limits
    return tuple(own.values())


def _read(part: str) -> OwnLimits:
    words = part.split(" ")
    first = next((index for index, word in enumerate(words) if "=" in word), len(words))
    name = " ".join(words[:first]).strip()
    if not name:
        raise ValueError(f"{part!r} does not begin with the name of a model")
    try:
        given = dict(_pairs(words[first:]))
    except ValueError as error:
        raise ValueError(f"{part!r}: {error}") from None
    if not given:
        raise ValueError(f"{part!r} names no limit: it must have one or more of {_KNOWN}")
    return OwnLimits(name, **given)  # type: ignore[arg-type]


def _pairs(words: list[str]) -> Iterator[tuple[str, float]]:
    seen = set()
    for word in filter(None, words):
        key, equals, value = word.partition("=")
        if key not in _NUMBERS or not equals:
            raise ValueError(f"{word!r} is no limit: it must be one of {_KNOWN}")
        if key in seen:
            raise ValueError(f"{key} is there twice")
        seen.add(key)
        yield key, _NUMBERS[key](key, value)


def _count(key: str, text: str) -> int:
    # What int() takes beyond digits is more likely a slip.
    if not (text.isascii() and text.isdigit() and len(text) < len(str(2**53)) and int(text)):
        raise ValueError(f"{key} is {text!r}: it must be a whole number, 1 or more")
    return int(text)


def _seconds(key: str, text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise ValueError(f"{key} is {text!r}: it must be a number of seconds, more than 0")
    return seconds


_NUMBERS: Mapping[str, Callable[[str, str], float]] = {
    "waiting": _count,
    "batch_rows": _count,
    "max_rows": _count,
    "timeout_seconds": _seconds,
}
_KNOWN = ", ".join(f"{name}=N" for name in _NUMBERS)
