"""What a model takes and gives, in MLflow's terms."""

from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema

from airflow_host.training.samples import MOST_SHOWN, Samples

_TYPES = {"bool": "boolean", "float64": "double", "int64": "long", "object": "string"}


def signature(samples: Samples) -> ModelSignature:
    """The feature columns by name, all required, and the target by its own name."""
    features = samples.features
    return ModelSignature(
        inputs=Schema([ColSpec(_TYPES[str(features[name].dtype)], name=name) for name in features]),
        outputs=Schema([ColSpec(_TYPES[str(samples.target.dtype)], name=samples.target.name)]),
    )


def difference(champion: ModelSignature, challenger: ModelSignature) -> str | None:
    """How what the champion takes or gives differs from the challenger; None where it does not."""
    old, new = _columns(champion.outputs), _columns(challenger.outputs)
    if old != new:
        return f"it predicts {_listed(old)} rather than {_listed(new)}"
    old, new = _columns(champion.inputs), _columns(challenger.inputs)
    gone = {name: kind for name, kind in old.items() if new.get(name) != kind}
    added = {name: kind for name, kind in new.items() if old.get(name) != kind}
    if not gone and not added:
        return None
    parts = [f"it needs {_listed(gone)}"] if gone else []
    parts += [f"it does not know {_listed(added)}"] if added else []
    return " and ".join(parts)


def _columns(schema: Schema | None) -> dict[str, str]:
    if schema is None or not all(isinstance(spec, ColSpec) for spec in schema.inputs):
        return {}
    return {str(spec.get("name")): str(spec["type"]) for spec in schema.to_dict()}


def _listed(columns: dict[str, str]) -> str:
    shown = [f"{name!r} ({kind})" for name, kind in columns.items()]
    more = [f"and {len(shown) - MOST_SHOWN} more"] if len(shown) > MOST_SHOWN else []
    return ", ".join(shown[:MOST_SHOWN] + more) or "unnamed columns"
