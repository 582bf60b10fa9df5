import dataclasses
import json
import re
from datetime import UTC

import click
from hypothesis import given
from hypothesis import strategies as st

from hostkit.doctor import text
from hostkit.doctor.report import Report, StepReport, Verdict, WalkReport

NAMES = st.from_regex("[a-z]{2,10}", fullmatch=True)
# Whatever a server says may be in it.
WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=300)
SENTENCES = WORDS.map(lambda text: f"It is so: {text}")


@st.composite
def step_reports(draw: st.DrawFn) -> StepReport:
    verdict = draw(st.sampled_from(Verdict))
    failed = verdict is Verdict.FAILED
    return StepReport(
        draw(NAMES),
        verdict,
        draw(WORDS),
        draw(st.floats(0, 1e6)),
        draw(SENTENCES) if failed else None,
        draw(SENTENCES) if failed else None,
    )


WALKS = st.builds(WalkReport, NAMES, WORDS, st.lists(step_reports(), max_size=8).map(tuple))
REPORTS = st.builds(
    Report.of,
    st.sampled_from(["mlflow-host", "airflow-host", "api-host"]),
    st.datetimes(timezones=st.just(UTC)),
    st.lists(WALKS, max_size=5).map(tuple),
)


@given(REPORTS)
def test_json_loses_nothing(report: Report) -> None:
    assert Report.from_json(report.to_json()) == report
    assert Report.from_json(report.to_json(indent=2)) == report


@given(REPORTS)
def test_json_has_the_shape_that_is_documented(report: Report) -> None:
    document = json.loads(report.to_json())
    assert document.keys() == {"host", "at", "well", "links"}
    for link in document["links"]:
        assert link.keys() == {"name", "target", "steps"}
        for step in link["steps"]:
            assert (
                step.keys()
                == {field.name for field in dataclasses.fields(StepReport)}
                == {"name", "verdict", "seen", "milliseconds", "meaning", "remedy"}
            )


@given(REPORTS)
def test_every_step_has_its_line_and_every_failure_its_paragraph(report: Report) -> None:
    shown = click.unstyle(text.render(report))
    for mark, verdict in (("✓", Verdict.PASSED), ("✗", Verdict.FAILED)):
        steps = [s for link in report.links for s in link.steps if s.verdict is verdict]
        lines = re.findall(rf"^  {mark} [a-z]+ .* \d+ ms$", shown, re.MULTILINE)
        assert len(lines) == len(steps)
    failed = sum(s.verdict is Verdict.FAILED for link in report.links for s in link.steps)
    assert len(re.findall(r"^  do  ", shown, re.MULTILINE)) == failed
    assert "\x1b" not in shown
    assert shown.endswith("is well." if report.well else ".")


WELL = StepReport("tcp", Verdict.PASSED, "connected to 10.0.0.5 port 5000", 0.4)
ILL = StepReport(
    "http",
    Verdict.FAILED,
    "http://mlflow:5000 did not answer in time",
    5000.2,
    "MLflow hangs.",
    "On the server of MLflow: 'systemctl status mlflow-host.service'.",
)


def report(*steps: StepReport) -> Report:
    link = WalkReport("mlflow", "http://mlflow:5000 (MLFLOW_TRACKING_URI in env line 2)", steps)
    return Report.from_json(Report.of("api-host", AT, (link,)).to_json())


AT = Report.from_json('{"host":"a","at":"2026-11-25T12:00:00Z","well":true,"links":[]}').at


def test_a_report_for_a_person() -> None:
    assert click.unstyle(text.render(report(WELL, ILL))) == """\
mlflow  http://mlflow:5000 (MLFLOW_TRACKING_URI in env line 2)
  ✓ tcp           connected to 10.0.0.5 port 5000                           0 ms
  ✗ http          http://mlflow:5000 did not answer in time              5000 ms

mlflow: http
  seen   http://mlflow:5000 did not answer in time
  means  MLflow hangs.
  do     On the server of MLflow: 'systemctl status mlflow-host.service'.

api-host is not well: mlflow."""


def test_all_is_well() -> None:
    assert text.render(report(WELL)).endswith("\n\napi-host is well.")


def test_only_changes_are_told_while_watching() -> None:
    assert text.changes(report(WELL, ILL), report(WELL, ILL)) == []
    (line,) = text.changes(report(WELL), report(WELL, ILL))
    assert "✗ http" in click.unstyle(line)
    (line,) = text.changes(
        report(WELL, ILL), report(WELL, dataclasses.replace(ILL, verdict=Verdict.PASSED))
    )
    assert "✓ http" in click.unstyle(line)
