"""What answers for the probabilities of the models that have them, beside their predictions."""

import asyncio
from dataclasses import replace
from typing import Final
from weakref import WeakKeyDictionary

import structlog

from api_host.models import memory
from api_host.models.catalog import Served
from api_host.problems import NO_PROBABILITIES, Problem

PREDICT: Final = "predict"
PREDICT_PROBA: Final = "predict_proba"

_log = structlog.get_logger("api_host.probabilities")


class Probabilities:
    """What answers for the probabilities of the models that were asked for theirs.

    A faster equivalent is looked for when they are asked for first, and not when the model is
    loaded: most never are, and a load takes no longer for them. Nobody waits for it; the model
    itself answers until then.
    """

    def __init__(self) -> None:
        self._of: WeakKeyDictionary[Served, Served] = WeakKeyDictionary()
        self._compiling: set[asyncio.Task[None]] = set()
        self._one = asyncio.Lock()  # Never more than one core is taken from predictions.

    def known(self, served: Served) -> Served | None:
        """What answers for a model that was asked before, or needs no other; else None."""
        return served if served.model.function == PREDICT_PROBA else self._of.get(served)

    def of(self, served: Served) -> Served:
        """The same version, whose predictions are probabilities. Raises `Problem`."""
        found = self.known(served)
        if found is not None:
            return found
        make = served.model.probabilities
        if make is None:
            raise Problem(
                NO_PROBABILITIES,
                f"{served.version.name} version {served.version.version} has no predict_proba:"
                " ask it for predictions",
            )
        found = self._of[served] = replace(served, model=make.as_it_is())
        task = asyncio.create_task(self._compile(served))
        self._compiling.add(task)
        task.add_done_callback(self._compiling.discard)
        return found

    async def stop(self) -> None:
        """Looks for no more equivalents."""
        for task in self._compiling:
            task.cancel()
        if self._compiling:
            await asyncio.wait(self._compiling)

    async def _compile(self, served: Served) -> None:
        make = served.model.probabilities
        assert make is not None  # noqa: S101 - `of` has seen it
        try:
            async with self._one:
                model = await asyncio.to_thread(make.compiled)
                await asyncio.to_thread(memory.give_back)
        except Exception:  # noqa: BLE001 - whatever it is, the model itself can still answer
            _log.exception("probabilities not compiled", model=served.version.name)
        else:
            # What waits in the lane that was there until now is answered by that.
            self._of[served] = replace(served, model=model)
