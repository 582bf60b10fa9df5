"""The steps to the API: its release, and a prediction."""

from functools import partial
from typing import Any
from urllib.parse import quote

import httpx

from hostkit.doctor.connection import Target, connection_steps, server_error
from hostkit.doctor.steps import STEP_SECONDS, Fault, NothingToCheck, Step, Walk
from hostkit.servers import document


def walk(target: Target) -> Walk:
    """All steps to the API."""
    return Walk(
        target.link.name,
        target.description,
        (
            *connection_steps(target),
            Step("version", partial(_version, target)),
            Step("prediction", partial(_prediction, target), seconds=3 * STEP_SECONDS),
        ),
    )


def _version(target: Target) -> str:
    version = document(target.ask("GET", "/")).get("version")
    return f"Tripod {version}" if version else "its version is for operators"


def _prediction(target: Target) -> str:
    """Has each served model predict from the example that it was logged with."""
    response = target.ask("GET", "/v1/models")
    if response.status_code == httpx.codes.UNAUTHORIZED:
        raise NothingToCheck("callers need a key there, and the doctor has none")
    if not response.is_success:
        raise server_error(target.address, response)
    models: list[dict[str, Any]] = document(response)["models"]
    broken = [model for model in models if model["problem"]]
    if broken:
        raise Fault(
            "; ".join(f"{model['name']}: {model['problem']}" for model in broken),
            "The API does not serve what the registry calls its champion, but an older version or"
            " none.",
            "What it says is what to mend; 'journalctl -u api-host' on the server of the API has"
            " more.",
        )
    served = [model["name"] for model in models if model["ready"]]
    if not served:
        raise NothingToCheck("no model is served yet: POST /v1/trainings makes one")
    return "; ".join(_predicted(target, name) for name in served)


def _predicted(target: Target, name: str) -> str:
    path = f"/v1/models/{quote(name, safe='')}"
    example = document(target.ask("GET", path)).get("example") or []
    if not example:
        return f"{name} has no example to predict from"
    response = target.ask("POST", f"{path}/predict", json={"rows": example[:1]})
    if response.status_code == httpx.codes.OK:
        return f"{name} predicts {document(response)['predictions'][0]}"
    raise server_error(target.address, response)
