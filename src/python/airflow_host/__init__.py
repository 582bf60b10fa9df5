"""Server 2, orchestration: Airflow, its settings, secrets and user worked out from one env file."""
