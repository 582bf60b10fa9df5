"""Server 3: predictions, from the models that MLflow's registry calls champions."""
