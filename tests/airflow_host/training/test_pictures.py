import io

import pandas as pd
import pytest

from airflow_host.training.pictures import picture
from tests.airflow_host.training.tables import rent, samples, weather

PNG = b"\x89PNG"


@pytest.mark.parametrize(
    ("table", "name"),
    [
        (samples(weather()), "confusion_matrix.png"),
        (samples(rent(), "rent"), "residuals.png"),
        (
            samples(
                pd.DataFrame({"x": range(80), "$\\weather$": ["$\\dry$", "$x^", "wet", "$$"] * 20}),
                "$\\weather$",
            ),
            "confusion_matrix.png",
        ),
        (
            samples(pd.DataFrame({"x": range(200), "weather": [f"c{n % 50}" for n in range(200)]})),
            "confusion_matrix.png",
        ),
    ],
)
def test_a_picture_is_drawn_without_a_screen(table: object, name: str) -> None:
    drawn, figure = picture(table, table.target.to_numpy(), title="a title")  # type: ignore[attr-defined,arg-type]

    file = io.BytesIO()
    figure.savefig(file, format="png")
    assert drawn == name
    assert file.getvalue().startswith(PNG)
    assert figure.axes[0].get_title() == "a title"
