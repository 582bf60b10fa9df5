"""Settings of a training for tests: what is not given has its default."""

from airflow_host.training.settings import TrainingSettings


def limits(**given: str) -> TrainingSettings:
    """The settings that an env file with these lines would make."""
    needed = {
        "AIRFLOW_HOME": "/nowhere",
        "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",
        "MODEL_SIGNING_KEY_FILE": "/nowhere/key",
    }
    return TrainingSettings.model_validate(needed | given)
