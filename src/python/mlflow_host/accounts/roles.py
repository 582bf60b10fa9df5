"""The roles of accounts: what each may do with MLflow's objects, and which requests it may send.

A grant on a whole kind of object holds for those that come later too. MLflow has no grant for
making an object: there every account may. So a role also says which requests may be sent at all.
"""

import re
from dataclasses import dataclass

WORKSPACE = "default"
"""Where MLflow keeps roles as long as its workspaces are off."""

ADMIN = "admin"
"""No role of MLflow's, but a mark of the account: it may do everything."""

_API = r"/(?:ajax-)?api/\d\.\d/mlflow/"
_ARTIFACTS = r"/(?:ajax-)?api/2\.0/mlflow-artifacts/artifacts"

_READS = re.compile(
    rf"""
      (?:GET|HEAD)\ /.*
    | POST\ /graphql
    | POST\ {_API}(?:experiments|runs|logged-models|traces|datasets|issues)/search
    | POST\ {_API}experiments/search-datasets
    | POST\ {_API}registered-models/get-latest-versions
    | POST\ {_API}prompt-optimization/jobs/search
    | POST\ {_API}traces/(?:metrics|calculate-filter-correlation)
    | POST\ {_API}ui-telemetry
    | PATCH\ {_API}users/update-password
    """,
    re.VERBOSE,
)
"""What changes nothing but one's own password."""

_MODELS = re.compile(
    rf"""
      GET\ {_API}registered-models/(?:get|search|alias)
    | GET\ {_API}model-versions/(?:get|search|get-download-uri)
    | GET\ {_API}runs/get
    | GET\ {_ARTIFACTS}(?:/.+)?
    | GET\ /version
    """,
    re.VERBOSE,
)
"""How a server finds and fetches registered models."""

_TRAINS = re.compile(
    rf"""
      \w+\ {_API}(?!users|roles|webhooks|workspaces|gateway|scorer|jobs|demo).*
    | \w+\ /(?:ajax-)?api/2\.0/mlflow-artifacts/.*
    | GET\ /version
    """,
    re.VERBOSE,
)
"""All that MLflow's client asks for: no accounts, no permissions, nothing that calls others."""

_METRICS = re.compile(r"(?:GET|HEAD) /metrics")


@dataclass(frozen=True)
class Role:
    """What accounts may do.

    `name`: MLflow's name for it, and ours.
    `description`: the same for a person.
    `grants`: the permission on all objects of a kind, by kind, in MLflow's words.
    `requests`: "METHOD /path" of what may be sent; None: anything.
    `registered_only`: whether artifacts and runs may be read only where a registered model has
    them.
    `service`: whether it is for a program, of which one account has the role's name.
    """

    name: str
    description: str
    grants: tuple[tuple[str, str], ...] = ()
    requests: re.Pattern[str] | None = None
    registered_only: bool = False
    service: bool = False

    def lets(self, method: str, path: str) -> bool:
        """Whether a request may be sent. MLflow then looks at the objects that it is about."""
        return self.requests is None or bool(self.requests.fullmatch(f"{method} {path}"))


_OF_PEOPLE = ("experiment", "registered_model", "prompt", "scorer")

ROLES = {
    role.name: role
    for role in (
        Role(
            "reader",
            "sees everything, changes nothing",
            tuple((kind, "READ") for kind in _OF_PEOPLE),
            _READS,
        ),
        Role(
            "writer",
            "makes and changes everything; deletes only what is its own",
            tuple((kind, "EDIT") for kind in _OF_PEOPLE),
        ),
        Role(
            "api",
            "the API host: reads registered models, and nothing else",
            # MLflow asks for the experiment of an artifact; `registered_only` narrows it.
            (("experiment", "READ"), ("registered_model", "READ")),
            _MODELS,
            registered_only=True,
            service=True,
        ),
        Role(
            "airflow",
            "the Airflow host: makes experiments, runs and models, and changes those",
            requests=_TRAINS,
            service=True,
        ),
        Role("metrics", "Prometheus: reads /metrics", requests=_METRICS, service=True),
    )
}
"""By name. The name of an account does not matter: only its role does."""


def lets(roles: frozenset[str], method: str, path: str) -> bool:
    """Whether an account of these roles may send a request. Roles of others limit nothing."""
    known = [ROLES[name] for name in roles if name in ROLES]
    return not known or any(role.lets(method, path) for role in known)


def is_registered_only(roles: frozenset[str]) -> bool:
    """Whether such an account may read artifacts and runs only of registered models."""
    known = [ROLES[name] for name in roles if name in ROLES]
    return bool(known) and all(role.registered_only for role in known)
