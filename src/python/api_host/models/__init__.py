"""The way of a model from MLflow's registry to what serves it."""
