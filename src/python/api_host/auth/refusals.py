"""The answers to those who are not known, and to those who may not do what they ask for."""

from enum import StrEnum

from api_host import metrics
from api_host.auth.caller import Access
from api_host.problems import FORBIDDEN, UNAUTHENTICATED, Problem

REALM = "api-host"
CHALLENGE = "WWW-Authenticate"
BASIC_CHALLENGE = f'Basic realm="{REALM}", charset="UTF-8"'
"""Makes a browser ask its user: the password is a key or a token."""

HOW = "send a key or a token as 'Authorization: Bearer ...', or a key as 'X-API-Key: ...'"


class Reason(StrEnum):
    """Why somebody is refused, as the metric counts it."""

    NOTHING_SHOWN = "nothing-shown"
    SEVERAL = "several-shown"
    BASIC = "basic"
    UNKNOWN_KEY = "unknown-key"
    EXPIRED = "expired"
    BAD_TOKEN = "bad-token"  # noqa: S105
    NO_ACCESS = "no-access"
    NO_MODEL = "no-model"


def refused(reason: Reason, detail: str) -> Problem:
    """What is said to somebody who is not known. What they have shown is not in there."""
    metrics.REFUSED_CALLERS.labels(reason).inc()
    challenge = f'Bearer realm="{REALM}"'
    if reason is not Reason.NOTHING_SHOWN:
        challenge += f', error="invalid_token", error_description="{detail}"'
    return Problem(UNAUTHENTICATED, f"{detail}: {HOW}", headers={CHALLENGE: challenge})


def no_access(access: Access) -> Problem:
    """What is said to a caller who lacks an access."""
    metrics.REFUSED_CALLERS.labels(Reason.NO_ACCESS).inc()
    return _forbidden(f"this needs the access {access}, which this caller does not have", access)


def no_model(model: str, access: Access = Access.PREDICT) -> Problem:
    """What is said to a caller who may not ask a model, whether or not it exists."""
    metrics.REFUSED_CALLERS.labels(Reason.NO_MODEL).inc()
    verb = "train" if access is Access.TRAIN else "ask"
    return _forbidden(f"this caller may not {verb} the model {model}", access)


def _forbidden(detail: str, access: Access) -> Problem:
    challenge = f'Bearer realm="{REALM}", error="insufficient_scope", scope="{access}"'
    return Problem(FORBIDDEN, detail, headers={CHALLENGE: challenge})
