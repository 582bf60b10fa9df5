"""One picture of what a model gets right and wrong: a confusion matrix, or residuals."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import confusion_matrix

from airflow_host.training.samples import Samples

MOST_NUMBERED_CLASSES = 20
MOST_CHARACTERS = 40
"""Of a class: a longer one leaves no room for the picture."""


def picture(held_out: Samples, predictions: np.ndarray, *, title: str) -> tuple[str, Figure]:
    """The name of the file, and what is to be seen in it."""
    # A figure of its own rather than pyplot: it draws without a screen and leaves nothing behind.
    figure = Figure(figsize=(7, 6), layout="constrained")
    if held_out.kind == "regression":
        _draw_residuals(figure, held_out, predictions, title)
        return "residuals.png", figure
    _draw_confusion(figure, held_out, predictions, title)
    return "confusion_matrix.png", figure


def _draw_confusion(figure: Figure, held_out: Samples, predictions: np.ndarray, title: str) -> None:
    classes = sorted(held_out.target.unique())
    counts = confusion_matrix(held_out.target, predictions, labels=classes)
    axes = figure.add_subplot()
    image = axes.imshow(counts, cmap="Blues", vmin=0)
    figure.colorbar(image, label="rows")
    _label(axes, title, "predicted", f"true {held_out.target.name}")
    if len(classes) > MOST_NUMBERED_CLASSES:
        return
    texts = [str(name)[:MOST_CHARACTERS] for name in classes]
    axes.set_xticks(range(len(classes)), labels=texts, rotation=45, ha="right", parse_math=False)
    axes.set_yticks(range(len(classes)), labels=texts, parse_math=False)
    for (row, column), count in np.ndenumerate(counts):
        colour = "white" if count > counts.max() / 2 else "black"
        axes.text(column, row, str(count), ha="center", va="center", color=colour)


def _draw_residuals(figure: Figure, held_out: Samples, predictions: np.ndarray, title: str) -> None:
    axes = figure.add_subplot()
    axes.scatter(predictions, held_out.target - predictions, s=12, alpha=0.6)
    axes.axhline(0, color="black", linewidth=1)
    _label(axes, title, f"predicted {held_out.target.name}", "true - predicted")


def _label(axes: Axes, title: str, below: str, beside: str) -> None:
    # What is between two dollars in a name is no formula.
    axes.set_title(title, parse_math=False)
    axes.set_xlabel(below, parse_math=False)
    axes.set_ylabel(beside, parse_math=False)
