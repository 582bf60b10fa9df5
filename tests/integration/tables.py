"""Tables to train on: one whose target follows from its columns, one whose target does not."""

import csv
import random
from collections.abc import Callable
from pathlib import Path

ROWS = 200
EXAMPLE = {"warmth": 25.0, "clouds": 10.0}
"""A row whose right answer is "dry"."""


def write_learnable(path: Path) -> str:
    """Writes a table with a rule that any model finds; returns its path."""
    return _write(path, lambda _random, warmth, clouds: "dry" if warmth > clouds else "wet")


def write_random(path: Path) -> str:
    """Writes a table whose target is chance; returns its path."""
    return _write(path, lambda random, _warmth, _clouds: random.choice(["dry", "wet"]))


def _write(path: Path, weather: Callable[[random.Random, float, float], str]) -> str:
    chance = random.Random(7)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["warmth", "clouds", "weather"])
        for _ in range(ROWS):
            warmth, clouds = chance.uniform(0, 30), chance.uniform(0, 30)
            writer.writerow([warmth, clouds, weather(chance, warmth, clouds)])
    return str(path)
