"""The three hosts, for all tests of this folder."""

from dev_hosts.fixtures import airflow, api, hosts, mlflow, pexes, progress

__all__ = ["airflow", "api", "hosts", "mlflow", "pexes", "progress"]
