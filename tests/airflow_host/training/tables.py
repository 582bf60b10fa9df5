"""Tables to learn from, small enough to read."""

import pandas as pd

from airflow_host.training.samples import Samples, sample

PLACE = "/data/table.csv"


def weather(rows: int = 80, *, noise: int = 0) -> pd.DataFrame:
    """Dry where it is warmer than it is cloudy, but for every `noise`-th row."""
    numbers = pd.RangeIndex(rows).to_series()
    warmth, clouds = numbers * 7 % 31 + 0.5, numbers * 13 % 29 + 0.25
    dry = warmth > clouds
    if noise:
        dry ^= numbers % noise == 0
    return pd.DataFrame(
        {"warmth": warmth, "clouds": clouds, "weather": dry.map({True: "dry", False: "wet"})}
    )


def rent(rows: int = 80) -> pd.DataFrame:
    """A number that follows from the others."""
    size = pd.RangeIndex(rows).to_series() * 7 % 61 + 20.0
    floor = pd.RangeIndex(rows).to_series() % 5
    return pd.DataFrame({"size": size, "floor": floor, "rent": size * 11.3 + floor * 20.1})


def mixed(rows: int = 80) -> pd.DataFrame:
    """Numbers, text and flags, some of them missing."""
    frame = weather(rows)
    numbers = pd.RangeIndex(rows).to_series()
    frame["wind"] = (numbers % 7).where(numbers % 11 != 0).astype(float)
    frame["sky"] = numbers.mod(3).map({0: "blue", 1: "grey"}).astype(object)
    frame["weekend"] = numbers % 7 > 4
    return frame


def csv(frame: pd.DataFrame) -> bytes:
    """A table as it is sent."""
    return bytes(frame.to_csv(index=False).encode())


def samples(frame: pd.DataFrame, target: str = "weather") -> Samples:
    """What a table has to teach."""
    return sample(frame, target, place=PLACE)
