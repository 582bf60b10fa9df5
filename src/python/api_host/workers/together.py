"""The metrics of all workers, whichever of them is asked.

What is counted is added up, also of workers that have ended. Other metrics are as each worker tells
them every few seconds in its page, a file in Prometheus's own format: of ours one for all, those of
processes with the label `worker`.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import structlog
from prometheus_client import REGISTRY, Counter, Histogram, generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from api_host.workers.counts import Counts
from api_host.workers.places import Places, PlacesError
from api_host.workers.tally import Name, Tally, read

SECONDS_BETWEEN_PAGES = 5.0

OURS = "tripod_"

_log = structlog.get_logger("api_host.metrics")


class Workers(Collector):
    """All workers of this host, of which this process becomes one. Raises `PlacesError`.

    `folder`: what they share.
    `edition`: of what the metrics mean; what was counted in another one is left out.
    `counts`: where this process counts for `metrics`.
    `lowest`: gauges of which the lowest of all workers' is the host's. Of the others of ours it is
    the highest.
    """

    def __init__(
        self,
        folder: Path,
        edition: str,
        counts: Counts,
        metrics: Iterable[Counter | Histogram],
        lowest: frozenset[str],
    ) -> None:
        self._places = Places(folder)
        self._place = self._places.take()
        self._edition = edition
        self._counts = counts
        self._metrics = {family.name: each for each in metrics for family in each.describe()}
        self._known = set[tuple[str, tuple[str, ...]]]()
        self._lowest = lowest
        self._page(self._place.number).unlink(missing_ok=True)
        try:
            counts.move(Tally(self._place.file, edition))
        except OSError as error:
            raise PlacesError(
                f"{folder}, where the workers count together, cannot be used ({error.strerror}):"
                " see that 1 MiB is free for each"
            ) from None

    def collect(self) -> Iterator[Metric]:
        """The metrics of the host."""
        others = [number for number in self._places.numbers() if number != self._place.number]
        self._count_with(others)
        yield from (family for family in REGISTRY.collect() if self._is_counted(family))
        pages = {number: self._read_page(number) for number in others}
        yield from self._merged({self._place.number: self._uncounted(), **pages})

    async def keep_publishing(self) -> None:
        """Tells the other workers for ever what is not counted."""
        path = self._page(self._place.number)
        new = path.with_suffix(".new")
        while True:
            try:
                new.write_bytes(generate_latest(_Families(self._uncounted())))
                new.replace(path)
            except OSError as error:
                _log.warning("metrics are not told to other workers", detail=str(error))
            await asyncio.sleep(SECONDS_BETWEEN_PAGES)

    def _count_with(self, others: Iterable[int]) -> None:
        total: dict[Name, float] = {}
        for number in others:
            for name, value in read(self._places.path(number), self._edition).items():
                total[name] = total.get(name, 0.0) + value
        for name in total:
            if (child := (name.metric, name.labels)) not in self._known:
                self._known.add(child)
                if name.labels:
                    self._metrics[name.metric].labels(*name.labels)  # Which makes it be shown.
        self._counts.elsewhere = total

    def _is_counted(self, family: Metric) -> bool:
        return family.name in self._metrics

    def _uncounted(self) -> list[Metric]:
        return [family for family in REGISTRY.collect() if not self._is_counted(family)]

    def _page(self, number: int) -> Path:
        return self._places.path(number).with_suffix(".page")

    def _read_page(self, number: int) -> list[Metric]:
        """Nothing of a worker that has ended, or has only just begun."""
        if not self._places.is_held(number):
            return []
        try:
            return list(text_string_to_metric_families(self._page(number).read_text("utf-8")))
        except FileNotFoundError:
            return []

    def _merged(self, pages: Mapping[int, Iterable[Metric]]) -> Iterator[Metric]:
        merged: dict[str, Metric] = {}
        for number, families in pages.items():
            for family in families:
                whole = merged.setdefault(
                    family.name, Metric(family.name, family.documentation, family.type)
                )
                worker = {} if family.name.startswith(OURS) else {"worker": str(number + 1)}
                for sample in family.samples:
                    whole.add_sample(sample.name, {**sample.labels, **worker}, sample.value)
        for family in merged.values():
            yield self._one_for_all(family) if family.name.startswith(OURS) else family

    def _one_for_all(self, family: Metric) -> Metric:
        choose = min if family.name in self._lowest else max
        values: dict[tuple[tuple[str, str], ...], list[float]] = {}
        for sample in family.samples:
            values.setdefault(tuple(sorted(sample.labels.items())), []).append(sample.value)
        whole = Metric(family.name, family.documentation, family.type)
        for labels, told in values.items():
            whole.add_sample(family.name, dict(labels), choose(told))
        return whole


class _Families(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families
