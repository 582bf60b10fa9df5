"""Tables to train on: one whose target follows from its columns, one whose target does not."""

import csv
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

ROWS = 200
EXAMPLE = {"warmth": 25.0, "clouds": 10.0}
"""A row whose right answer is "dry"."""


NAMES = ("warmth", "clouds", "weather")
CLASSES = {"dry": "dry", "wet": "wet"}


def write_learnable(
    path: Path, *, names: Sequence[str] = NAMES, classes: Mapping[str, str] = CLASSES
) -> str:
    """Writes a table with a rule that any model finds; returns its path.

    `names`: what its columns are called instead.
    `classes`: what "dry" and "wet" are called instead.
    """

    def weather(_chance: random.Random, warmth: float, clouds: float) -> str:
        return classes["dry" if warmth > clouds else "wet"]

    return _write(path, names, weather)


def write_random(path: Path) -> str:
    """Writes a table whose target is chance; returns its path."""
    return _write(path, NAMES, lambda chance, _warmth, _clouds: chance.choice(["dry", "wet"]))


def _write(
    path: Path, names: Sequence[str], weather: Callable[[random.Random, float, float], str]
) -> str:
    chance = random.Random(7)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        for _ in range(ROWS):
            warmth, clouds = chance.uniform(0, 30), chance.uniform(0, 30)
            writer.writerow([warmth, clouds, weather(chance, warmth, clouds)])
    return str(path)
