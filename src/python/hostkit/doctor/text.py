"""A report as a person reads it: a line a step, then a paragraph for each failure or warning."""

import shutil
import textwrap
from collections.abc import Iterator
from datetime import datetime

import click

from hostkit.doctor.report import Report, StepReport, Verdict, WalkReport

_MARKS = {
    Verdict.PASSED: ("✓", "green"),
    Verdict.FAILED: ("✗", "red"),
    Verdict.WARNED: ("!", "yellow"),
    Verdict.SKIPPED: ("–", None),  # noqa: RUF001
}

_NAME_WIDTH = 12
_WIDEST = 120


def render(report: Report) -> str:
    """The whole report, with colours that `click.echo` takes out again where they are no use."""
    width = min(shutil.get_terminal_size().columns, _WIDEST)
    parts = ["\n".join(_link(link, width)) for link in report.links]
    parts += [text for link in report.links for text in _paragraphs(link, width)]
    return "\n\n".join([*parts, _summary(report)])


def changes(before: Report, now: Report) -> list[str]:
    """A line for each step that ended otherwise than in the report before."""
    old = {(link.name, step.name): step.verdict for link in before.links for step in link.steps}
    return [
        f"{_time(now.at)} {link.name:{_NAME_WIDTH}} {_line(step, _WIDEST)}"
        for link in now.links
        for step in link.steps
        if old.get((link.name, step.name)) is not step.verdict
    ]


def _link(link: WalkReport, width: int) -> Iterator[str]:
    yield f"{click.style(link.name, bold=True)}  {_clean(link.target)}"
    for step in link.steps:
        yield f"  {_line(step, width - 2)}"


def _line(step: StepReport, width: int) -> str:
    mark, colour = _MARKS[step.verdict]
    duration = f"{step.milliseconds:.0f} ms"
    room = max(20, width - _NAME_WIDTH - len(duration) - 6)
    seen = _clean(step.seen)
    if len(seen) > room:
        seen = f"{seen[: room - 1]}…"
    return f"{click.style(mark, fg=colour)} {step.name:{_NAME_WIDTH}}  {seen:{room}}  {duration}"


def _paragraphs(link: WalkReport, width: int) -> Iterator[str]:
    for step in link.steps:
        if step.verdict in (Verdict.FAILED, Verdict.WARNED):
            _, colour = _MARKS[step.verdict]
            title = click.style(f"{link.name}: {step.name}", fg=colour, bold=True)
            parts = (("seen", step.seen), ("means", step.meaning), ("do", step.remedy))
            yield "\n".join([title, *(_wrapped(label, text, width) for label, text in parts)])


def _wrapped(label: str, text: str | None, width: int) -> str:
    return textwrap.fill(
        _clean(text or ""),
        width,
        initial_indent=f"  {label:6} ",
        subsequent_indent=" " * 9,
        # A path, a URL or a command is copied from here: it must stay whole.
        break_long_words=False,
        break_on_hyphens=False,
    )


def _clean(text: str) -> str:
    """One line without what steers a terminal: some of it was said by who knows whom."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _summary(report: Report) -> str:
    ill = [link.name for link in report.links if not link.well]
    if not ill:
        return f"{report.host} is well."
    return f"{report.host} is not well: {', '.join(ill)}."


def _time(moment: datetime) -> str:
    return f"{moment.astimezone():%H:%M:%S}"
