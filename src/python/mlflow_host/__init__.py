"""MLflow: the tracking server and the model registry."""
