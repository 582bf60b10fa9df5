"""How much clients of the api-server may send: Airflow reads a body before it asks who sends it."""

from typing import Any

from airflow.plugins_manager import AirflowPlugin

from hostkit.bodies import Bodies
from hostkit.network import is_loopback

MEBIBYTES = 1024 * 1024

MOST = 1 * MEBIBYTES
MOST_TOGETHER = 32 * MEBIBYTES
"""What JSON says takes twenty times as much memory."""


def most(scope: Any) -> int | None:
    """Tasks, which run on this machine, hand over whatever other tasks are to have."""
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    client = scope.get("client")
    is_task = path.startswith("/execution/") and client is not None and is_loopback(client[0])
    return None if is_task else MOST


class BodySizesPlugin(AirflowPlugin):
    """Found by Airflow, which looks into its plugins folder."""

    name = "tripod_body_sizes"
    # Airflow declares it on the instance and reads it from the class.
    fastapi_root_middlewares = [  # noqa: RUF012
        {
            "name": "body sizes",
            "middleware": Bodies,
            "kwargs": {"most": most, "together": MOST_TOGETHER},
        }
    ]
