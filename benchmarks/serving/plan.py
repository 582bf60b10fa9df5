"""What the client is to ask, and what it saw."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """What to ask, and how.

    `port`, `path`: whom, on the loopback address.
    `bodies`: what is sent, in turn; where it is empty, the path is asked with GET.
    `answers`: the right predictions of each body.
    `answers_in`: where an answer has them: "predictions", "outputs" (Open Inference Protocol),
        "list" (it is a list), or "" where any answer of 200 is right.
    `connections`: how many are kept open.
    `seconds`: for how long requests are started.
    `rate`: how many are started a second, whatever became of the others (open loop); None: each
        connection asks again as soon as it was answered (closed loop).
    `patience`: how many seconds a request waits for a free connection before it is given up.
    `core`: the processor that this client runs on.
    """

    port: int
    path: str
    bodies: tuple[str, ...]
    answers: tuple[tuple[str, ...], ...]
    answers_in: str
    connections: int
    seconds: float
    rate: float | None = None
    patience: float = float("inf")
    core: int | None = None


@dataclass(frozen=True)
class Seen:
    """What became of the requests. Latencies are seconds from the moment that was planned.

    `good`: latencies of the right answers.
    `due`: when each of those was to be asked, by `time.perf_counter`, which is one clock for all
        processes of a machine.
    `refused`: latencies of 429 and 503.
    `wrong`: how many answers of 200 held other predictions.
    `failed`: how many got another status, a broken connection or nothing at all.
    `given_up`: how many found no free connection in time and were not sent.
    `seconds`: from the beginning to the last answer, or for as long as requests were started.
    `busy`: the share of a processor that this client took.
    `fault`: the first thing that was wrong, for a person.
    """

    good: tuple[float, ...]
    due: tuple[float, ...]
    refused: tuple[float, ...]
    wrong: int
    failed: int
    given_up: int
    seconds: float
    busy: float
    fault: str = ""

    @property
    def answered(self) -> int:
        """How many were answered by the server at all."""
        return len(self.good) + len(self.refused) + self.wrong
