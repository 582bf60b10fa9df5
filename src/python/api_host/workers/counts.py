"""What prometheus_client's counters and histograms count with."""

from collections.abc import Mapping, Sequence
from typing import Any

from prometheus_client.values import MutexValue

from api_host.workers.tally import Name, Tally


class Counts:
    """All numbers of this process: its own, until they become those of a tally.

    `elsewhere`: what other workers have counted; it is shown as if it were counted here.
    """

    def __init__(self) -> None:
        self.elsewhere: Mapping[Name, float] = {}
        self._counts: list[Count] = []
        self._tally: Tally | None = None

    def value(
        self,
        kind: str,
        metric: str,
        sample: str,
        label_names: Sequence[str],
        labels: Sequence[str],
        *args: Any,
        **options: Any,
    ) -> MutexValue:
        """A new number of a metric, as prometheus_client asks for it.

        A gauge's is no count: each worker has its own.
        """
        if kind == "gauge":
            return MutexValue(  # type: ignore[no-untyped-call]
                kind, metric, sample, label_names, labels, *args, **options
            )
        # A bucket has one label more, its bound.
        own = len(label_names) - ("le" in label_names)
        count = Count(self, Name(metric, tuple(labels[:own]), (sample, *labels[own:])))
        self._counts.append(count)
        if self._tally:
            count.move(self._tally)
        return count

    def move(self, tally: Tally) -> None:
        """Counts there from now on, also what was counted before."""
        self._tally = tally
        for count in self._counts:
            count.move(tally)


class Count(MutexValue):
    """One number."""

    def __init__(self, counts: Counts, name: Name) -> None:
        super().__init__(None, None, None, None, None, None)  # type: ignore[no-untyped-call]
        self._counts = counts
        self._name = name
        self._cells: list[float] | memoryview[float] = [0.0]
        self._place = 0

    def inc(self, amount: float) -> None:
        """Counts."""
        with self._lock:
            self._cells[self._place] += amount

    def set(self, value: float, timestamp: float | None = None) -> None:  # noqa: ARG002
        """Begins anew from a number."""
        with self._lock:
            self._cells[self._place] = value

    def get(self) -> float:
        """What all workers have counted."""
        with self._lock:
            return self._cells[self._place] + self._counts.elsewhere.get(self._name, 0.0)

    def move(self, tally: Tally) -> None:
        """Counts in a tally, if there is room."""
        place = tally.place(self._name)
        if place is None:
            return
        with self._lock:
            tally.cells[place] += self._cells[self._place]
            self._cells, self._place = tally.cells, place
