"""The formats that models are served in, each as MLflow writes it."""
