"""How much clients of the api-server may send: Airflow reads a body before it asks who sends it."""

import os
from typing import Any

from airflow.plugins_manager import AirflowPlugin

from airflow_host.environment import MAX_BODY_BYTES
from hostkit.bodies import Bodies
from hostkit.network import is_loopback

MOST = int(os.environ[MAX_BODY_BYTES])

AT_ONCE = 32
"""How many of the largest size may come in at a time: what JSON says takes twenty times as much."""


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
            "kwargs": {"most": most, "together": AT_ONCE * MOST, "setting": MAX_BODY_BYTES},
        }
    ]
