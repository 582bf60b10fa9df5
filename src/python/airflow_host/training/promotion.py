"""Which candidate is the best, and whether it takes the champion's place. Nothing but the rule."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from airflow_host.training.plan import CANDIDATES, Trained


@dataclass(frozen=True)
class Criterion:
    """By what models are compared.

    `metric`: the name of the metric, and whether more of it is better.
    `tie`: decides between candidates that are equal in `metric`; less of it is better.
    """

    metric: str
    more_is_better: bool
    tie: str

    def gain(self, challenger: float, champion: float) -> float:
        """By how much the challenger is better; negative where it is worse."""
        if math.isclose(challenger, champion):
            return 0.0  # Sums in another order differ in the last digit: that is not better.
        return challenger - champion if self.more_is_better else champion - challenger


CRITERIA = {
    "classification": Criterion("accuracy", more_is_better=True, tie="log_loss"),
    "regression": Criterion("rmse", more_is_better=False, tie="mae"),
}


@dataclass(frozen=True)
class Decision:
    """Whether the challenger becomes the champion, and why or why not."""

    promoted: bool
    reason: str


def best(candidates: Iterable[Trained], criterion: Criterion) -> Trained:
    """The candidate to register, whatever order they come in."""

    def badness(trained: Trained) -> tuple[float, float, int]:
        value = trained.metrics[criterion.metric]
        return (
            -value if criterion.more_is_better else value,
            trained.metrics[criterion.tie],
            CANDIDATES.index(trained.candidate),
        )

    return min(candidates, key=badness)


def decide(challenger: float, champion: float, *, criterion: Criterion, margin: float) -> Decision:
    """Promotes the challenger if it is better than the champion by more than the margin."""
    gain = criterion.gain(challenger, champion)
    promoted = gain > margin and not math.isclose(gain, margin)
    verb = "beats" if promoted else "does not beat"
    return Decision(
        promoted,
        f"{criterion.metric} {challenger:.6g} {verb} the champion's {champion:.6g}"
        f" by more than {margin:g}",
    )
