"""One measurement: a server that runs is asked for a while, and what that took is read."""

import dataclasses
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil

from benchmarks.serving import client
from benchmarks.serving.models import Model
from benchmarks.serving.plan import Plan, Seen
from benchmarks.serving.spread import percentile

BUSY = 0.9
"""The share of a processor from which on the client, and not the server, sets the pace."""

MEGABYTE = 10**6
SECONDS_TO_MICROSECONDS = 1e6
SECONDS_TO_MILLISECONDS = 1e3
ALONE = Path("benchmarks/serving/alone.py")


@dataclass(frozen=True)
class Cores:
    """Which processors the servers run on, and which one the client.

    `shared`: whether there are so few that the client runs where a server does.
    """

    servers: frozenset[int]
    client: int
    shared: bool

    @classmethod
    def divided(cls, cores: Sequence[int], workers: int) -> Self:
        """One for each worker, and the last one for the client."""
        if len(cores) > workers:
            return cls(frozenset(cores[:workers]), cores[-1], shared=False)
        return cls(frozenset(cores), cores[-1], shared=True)


@dataclass(frozen=True)
class Usage:
    """What a server and its descendants have taken: seconds of processors, and memory in MB."""

    cpu: float
    memory: float

    @classmethod
    def read(cls, pid: int) -> Self:
        """Reads it now (proc_pid_stat(5), and the PSS of proc_pid_smaps(5))."""
        parent = psutil.Process(pid)
        cpu = memory = 0.0
        for member in (parent, *parent.children(recursive=True)):
            try:
                times, size = member.cpu_times(), member.memory_full_info().pss
            except psutil.NoSuchProcess:
                continue
            cpu += times.user + times.system
            memory += size / MEGABYTE
        return cls(cpu, memory)


@dataclass(frozen=True)
class Outcome:
    """What a server did in one round.

    `throughput`: right answers a second. `p50`, `p99`: milliseconds until a right answer.
    `cpu`: microseconds of processors for each answer. `memory`: MB, after the load.
    `wrong`, `failed`, `refused`, `given_up`, `fault`: see `plan.Seen`.
    `client`: the share of a processor that the client took.
    """

    throughput: float
    p50: float
    p99: float
    cpu: float
    memory: float
    wrong: int = 0
    failed: int = 0
    refused: int = 0
    given_up: int = 0
    client: float = 0.0
    fault: str = ""

    @classmethod
    def of(cls, seen: Seen, before: Usage, after: Usage) -> Self:
        """From what the client saw, and what the server took."""
        cpu = (after.cpu - before.cpu) * SECONDS_TO_MICROSECONDS
        return cls(
            throughput=len(seen.good) / seen.seconds,
            p50=percentile(seen.good, 0.5) * SECONDS_TO_MILLISECONDS,
            p99=percentile(seen.good, 0.99) * SECONDS_TO_MILLISECONDS,
            cpu=cpu / seen.answered if seen.answered else float("nan"),
            memory=after.memory,
            wrong=seen.wrong,
            failed=seen.failed,
            refused=len(seen.refused),
            given_up=seen.given_up,
            client=seen.busy,
            fault=seen.fault,
        )

    def __str__(self) -> str:
        bad = {"wrong": self.wrong, "failed": self.failed, "refused": self.refused}
        said = ", ".join(f"{count} {name}" for name, count in bad.items() if count)
        return (
            f"{self.throughput:,.0f}/s, p50 {self.p50:.2f} ms, p99 {self.p99:.2f} ms,"
            f" {self.cpu:,.0f} µs CPU, {self.memory:.0f} MB"
            + (f", {said}: {self.fault}" if said else "")
            + (" (the client was the bottleneck)" if self.client > BUSY else "")
        )


def ask(pid: int, plan: Plan, warm_up: float) -> Outcome:
    """Carries out a plan, after the same for `warm_up` seconds, on the server with this PID."""
    if warm_up:
        client.run(dataclasses.replace(plan, seconds=warm_up))
    before = Usage.read(pid)
    seen = client.run(plan)
    return Outcome.of(seen, before, Usage.read(pid))


class Alone:
    """The model in a loop of its own process, with no server."""

    def __init__(
        self, model: Model, python: Path, environment: Mapping[str, str], core: int
    ) -> None:
        self._process = subprocess.Popen(
            [python, ALONE, model.folder, f"{model.folder}.json"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        os.sched_setaffinity(self._process.pid, {core})
        self.ask(1, 0.0)

    def ask(self, rows: int, seconds: float) -> Outcome:
        """Predicts for some seconds."""
        assert self._process.stdin and self._process.stdout  # noqa: S101, PT018
        self._process.stdin.write(f"{rows} {seconds}\n")
        self._process.stdin.flush()
        found = json.loads(self._process.stdout.readline())
        calls = found["calls"]
        return Outcome(
            throughput=len(calls) / sum(calls) if calls else 0.0,
            p50=percentile(calls, 0.5) * SECONDS_TO_MILLISECONDS,
            p99=percentile(calls, 0.99) * SECONDS_TO_MILLISECONDS,
            cpu=found["cpu"] * SECONDS_TO_MICROSECONDS / max(len(calls), 1),
            memory=Usage.read(self._process.pid).memory,
        )

    def stop(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.wait()
