import re

import pytest

from airflow_host.training.signature import difference, signature
from tests.airflow_host.training.tables import mixed, rent, samples, weather


def test_columns_are_named_and_typed() -> None:
    found = signature(samples(mixed()))

    assert {spec["name"]: spec["type"] for spec in found.inputs.to_dict()} == {
        "warmth": "double",
        "clouds": "double",
        "wind": "double",
        "sky": "string",
        "weekend": "boolean",
    }
    assert all(spec["required"] for spec in found.inputs.to_dict())
    assert found.outputs.to_dict() == [{"type": "string", "name": "weather", "required": True}]


def test_the_order_of_columns_makes_no_difference() -> None:
    frame = weather()

    assert difference(signature(samples(frame)), signature(samples(frame.iloc[:, ::-1]))) is None


@pytest.mark.parametrize(
    ("champion", "challenger", "reason"),
    [
        (
            samples(rent(), "rent"),
            samples(weather()),
            r"it predicts 'rent' \(double\) rather than 'weather' \(string\)",
        ),
        (
            samples(mixed()),
            samples(weather()),
            r"it needs 'wind' \(double\), 'sky' \(string\), 'weekend' \(boolean\)$",
        ),
        (samples(weather()), samples(mixed()), r"it does not know 'wind' \(double\), "),
        (
            samples(weather().astype({"clouds": str}).assign(clouds=["a", "b"] * 40)),
            samples(weather()),
            r"it needs 'clouds' \(string\) and it does not know 'clouds' \(double\)",
        ),
    ],
)
def test_a_difference_is_told(champion: object, challenger: object, reason: str) -> None:
    found = difference(signature(champion), signature(challenger))  # type: ignore[arg-type]

    assert found is not None
    assert re.search(reason, found)
