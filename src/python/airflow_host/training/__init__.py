"""What the DAG `train_model` does, without Airflow: each step can be called by hand."""
