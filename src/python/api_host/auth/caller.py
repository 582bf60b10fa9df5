"""Who asks, and what they may do."""

from dataclasses import dataclass, field
from enum import StrEnum

from starlette.requests import Request


class Access(StrEnum):
    """What a caller may do: ask models, start trainings, or look after the host."""

    PREDICT = "predict"
    TRAIN = "train"
    OPERATE = "operate"


@dataclass(frozen=True)
class Rates:
    """How much one caller may ask; None: as much as the settings say for all.

    `requests`, `rows`: a second.
    `concurrent`: requests at once.
    `trainings`: an hour.
    """

    requests: int | None = None
    rows: int | None = None
    concurrent: int | None = None
    trainings: int | None = None


@dataclass(frozen=True)
class Caller:
    """Somebody who asks.

    `name`: in logs and limits: `key:shop`, `token:alice`, or `address:10.0.0.7` of those who show
    neither.
    `access`: what they may do.
    `models`: the models that they may ask; None: all.
    """

    name: str
    access: frozenset[Access]
    models: frozenset[str] | None = None
    rates: Rates = field(default_factory=Rates)

    def may_ask(self, model: str) -> bool:
        """Whether they may ask that model, which need not exist."""
        return self.models is None or model in self.models


def caller_of(request: Request) -> Caller:
    """Who asked this, as the outer layers of the application found it out."""
    caller: Caller = request.scope["state"]["caller"]
    return caller
