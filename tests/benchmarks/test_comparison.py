"""What is compared, in which order, and what is made of it."""

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from benchmarks.serving import plot, protocols, report
from benchmarks.serving.comparison import Case, Result, rotated
from benchmarks.serving.measure import Cores, Outcome
from benchmarks.serving.models import Model
from benchmarks.serving.spread import Spread
from hypothesis import given
from hypothesis import strategies as st

CASE = Case("forest-4", workers=1, rows=1, connections=8)
MODEL = Model("forest-4", Path(), ("x", "y"), ((1.0, 2.0), (3.0, 4.0), (5.0, 6.0)), ("a", "b", "c"))


def result(server: str, *throughputs: float, rate: float | None = None) -> Result:
    outcomes = [Outcome(each, p50=1.0, p99=2.0, cpu=3.0, memory=4.0) for each in throughputs]
    return Result(server, CASE, outcomes, rate)


RESULTS = [
    result("tripod", 100.0, 90.0),
    result("mlflow", 10.0, 10.0),
    result("tripod", 95.0, rate=95.0),
    result("mlflow", 9.0, rate=20.0),
]


def test_every_server_is_first_in_some_round() -> None:
    orders = [rotated(["a", "b", "c"], turn) for turn in range(3)]
    assert {order[0] for order in orders} == {"a", "b", "c"}
    assert all(sorted(order) == ["a", "b", "c"] for order in orders)


@given(st.integers(1, 16), st.integers(1, 8))
def test_the_client_shares_a_processor_only_if_it_must(count: int, workers: int) -> None:
    cores = Cores.divided(range(count), workers)
    assert cores.shared == (cores.client in cores.servers) == (count <= workers)
    assert len(cores.servers) == min(count, workers)


def test_ours_is_compared_with_each_other_server_and_sweeps_are_kept_apart() -> None:
    (beside,) = report.by_case(RESULTS).values()
    assert report.against(beside) == {("tripod", "mlflow"): Spread(9.5, 9.0, 10.0)}
    assert list(report.sweeps(RESULTS)) == [str(CASE)]


def test_the_document_holds_every_round_and_every_ratio() -> None:
    document = report.document(RESULTS)
    results, found = document["results"], document["ratios"]
    assert isinstance(results, list)
    assert isinstance(found, list)
    assert [len(each["outcomes"]) for each in results] == [2, 2, 1, 1]
    assert {each["figure"] for each in found} == set(report.FIGURES)


@pytest.mark.parametrize("results", [[], RESULTS, RESULTS[:1], RESULTS[2:]])
def test_the_picture_is_well_formed(results: list[Result]) -> None:
    root = ET.fromstring(plot.draw(results))
    texts = [element.text for element in root.iter() if element.tag.endswith("text")]
    assert {each.server for each in results} <= set(texts)


def test_all_protocols_ask_for_the_same_rows_and_expect_the_same() -> None:
    for protocol in (protocols.MLFLOW, protocols.OPEN_INFERENCE, protocols.OURS, protocols.BENTOML):
        bodies, answers = protocol.bodies(MODEL, 1)
        assert answers == (("a",), ("b",), ("c",))
        for body, row in zip(bodies, MODEL.rows, strict=True):
            assert all(str(value) in body for value in row)
        bodies, answers = protocol.bodies(MODEL, 2)
        assert answers == (("a", "b"),)
        assert len(bodies) == 1
