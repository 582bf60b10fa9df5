"""The four processes that Airflow is made of."""

from enum import StrEnum
from typing import Self


class Component(StrEnum):
    """A process of Airflow, by the name of Airflow's own command."""

    purpose: str
    """What it does, for `--help`."""

    arguments: tuple[str, ...]
    """What Airflow's command is given besides the environment."""

    def __new__(cls, name: str, purpose: str, *arguments: str) -> Self:
        """Takes the three apart, so that a member is still equal to its name."""
        member = str.__new__(cls, name)
        member._value_ = name
        member.purpose = purpose
        member.arguments = arguments
        return member

    API_SERVER = (
        "api-server",
        "Web pages and REST API; makes the database and the user if there are none.",
        "--proxy-headers",
    )
    # All four run on one machine, where the api-server reads the logs of tasks from the disk.
    SCHEDULER = "scheduler", "Starts the tasks of DAG runs, and runs them.", "--skip-serve-logs"
    DAG_PROCESSOR = "dag-processor", "Reads the DAG files."
    TRIGGERER = (
        "triggerer",
        "Waits, on behalf of tasks, for what happens outside.",
        "--skip-serve-logs",
    )
