from pathlib import Path

from airflow_host.training import dataset, table
from tests.airflow_host.training import tables
from tests.airflow_host.training.limits import limits


def test_iris_is_a_table_like_any_other(tmp_path: Path) -> None:
    path = tmp_path / "new" / "iris.csv"

    dataset.export_iris(path)

    samples = tables.samples(
        table.parse(path.read_bytes(), limits(), place=str(path)), dataset.TARGET
    )
    assert samples.kind == "classification"
    assert list(samples.features) == list(dataset.COLUMNS)
    assert dict(samples.target.value_counts()) == dict.fromkeys(
        ("setosa", "versicolor", "virginica"), 50
    )


def test_a_file_that_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "iris.csv").write_text("mine")

    dataset.export_iris(tmp_path / "iris.csv")

    assert (tmp_path / "iris.csv").read_text() == "mine"
