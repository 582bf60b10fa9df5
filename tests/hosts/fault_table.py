"""The table of faults: what clients saw of each, how long it took to recover, what was lost."""

from dataclasses import dataclass

from lab.load import Load

HEADINGS = ("fault", "requests", "failed", "longest wait", "recovered after", "lost")


@dataclass(frozen=True)
class Row:
    """One fault.

    `load`: what clients that predicted meanwhile saw.
    `seconds`: from the fault's end, or from the fault where nobody ended it, until all was well.
    `lost`: in words.
    """

    fault: str
    load: Load
    seconds: float
    lost: str

    def cells(self) -> tuple[str, ...]:
        """The row as text."""
        return (
            self.fault,
            str(self.load.requests),
            str(len(self.load.failures)),
            f"{self.load.longest_gap:.1f} s",
            f"{self.seconds:.1f} s",
            self.lost,
        )


def render(rows: list[Row]) -> str:
    """The table in Markdown."""
    lines = [HEADINGS, tuple("---" for _ in HEADINGS), *(row.cells() for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
