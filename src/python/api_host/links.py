"""The other servers that this host calls, how they are, and how a doctor examines them."""

import asyncio
from datetime import UTC, datetime
from functools import partial

import httpx
import structlog

from api_host import metrics
from api_host.auth import key_file
from api_host.errors import ModelNotTrustedError
from api_host.models.store import BrokenCopyError, Copy, Store
from api_host.models.trust import THE_ONE_STEP, Trust
from api_host.settings import ApiSettings
from hostkit.doctor import airflow, api, machine, mlflow
from hostkit.doctor.connection import Target
from hostkit.doctor.steps import Fault, NothingToCheck, Step, Walk
from hostkit.errors import HostError
from hostkit.link import Link, LinkState, check
from hostkit.network import local_url
from hostkit.servers import AIRFLOW, API, MLFLOW
from hostkit.settings import Loaded

CHECK_SECONDS = 5.0

_log = structlog.get_logger("api_host.links")


def links_of(settings: ApiSettings) -> tuple[Link, Link]:
    """MLflow and Airflow, as the settings name them."""
    return (
        Link(MLFLOW, settings.mlflow_tracking_uri, "MLFLOW_TRACKING_URI"),
        Link(AIRFLOW, settings.airflow_base_url, "AIRFLOW_BASE_URL"),
    )


def walks(loaded: Loaded[ApiSettings]) -> tuple[Walk, ...]:
    """What a doctor examines: this machine, the links, the models, the API itself."""
    settings = loaded.settings
    to_mlflow, to_airflow = (Target(link, loaded) for link in links_of(settings))
    itself = Link(API, local_url(settings.api_host, settings.api_port), "API_PORT")
    return (
        machine.walk(
            machine.Machine(
                loaded,
                ("API_PORT", "API_GRPC_PORT"),
                {"STATE_DIRECTORY": settings.state_directory},
                unit="api-host.service",
            )
        ),
        mlflow.walk(to_mlflow, _mlflow_account(loaded)),
        airflow.walk(to_airflow, _account(loaded)),
        Walk(
            "models",
            f"copies in {settings.state_directory} ({loaded.place('STATE_DIRECTORY')})",
            (
                Step("copies", partial(_copies, settings)),
                Step("wanted", partial(_wanted, settings)),
                Step("signatures", partial(_signatures, loaded)),
                Step("limits", partial(_limits, loaded)),
            ),
            independent=True,
        ),
        Walk(
            "callers",
            f"who may ask ({loaded.place('API_AUTH')})",
            (Step("keys", partial(key_file.check, loaded)),),
            independent=True,
        ),
        api.walk(Target(itself, loaded)),
    )


def _mlflow_account(loaded: Loaded[ApiSettings]) -> mlflow.Account:
    return mlflow.Account(
        loaded.settings.mlflow_tracking_username,
        loaded.settings.mlflow_tracking_password,
        loaded.place("MLFLOW_TRACKING_PASSWORD"),
        "mlflow-host users add-service api",
    )


def _account(loaded: Loaded[ApiSettings]) -> airflow.Account:
    return airflow.Account(
        loaded.settings.airflow_username,
        loaded.settings.airflow_password.get_secret_value(),
        loaded.place("AIRFLOW_USERNAME"),
        loaded.place("AIRFLOW_PASSWORD"),
    )


def _copies(settings: ApiSettings) -> str:
    """Whether the API could start from its own disk if MLflow were away."""
    found = list(Store.of(settings).check(settings.model_alias))
    broken = [copy for copy in found if isinstance(copy, BrokenCopyError)]
    if broken:
        raise Fault(
            "; ".join(str(copy) for copy in broken),
            "The disk lost or changed something, or somebody else did.",
            "'systemctl restart api-host' with MLflow up: it throws the broken copy away and"
            " downloads it again.",
        )
    if not found:
        raise NothingToCheck("none yet: they are downloaded from MLflow")
    whole = [copy for copy in found if not isinstance(copy, BrokenCopyError)]
    return ", ".join(f"{copy.version.name} version {copy.version.version}" for copy in whole)


def _wanted(settings: ApiSettings) -> str:
    """Whether the API serves what the registry wants, as it said last."""
    problems = Store.of(settings).problems()
    if problems is None:
        raise NothingToCheck("the API has not asked the registry yet")
    if problems:
        raise Fault(
            "; ".join(f"{name}: {why}" for name, why in sorted(problems.items())),
            "The version is not what was signed, is of a kind that this host does not load, or is"
            " gone. The last good one serves on, if there was one.",
            f"Restore its files on the MLflow server, train again, or give the alias"
            f" {settings.model_alias} to another version. A mended one is looked at within 5"
            " minutes, or at once after 'systemctl reload api-host'.",
        )
    return "served as the registry wants"


def _signatures(loaded: Loaded[ApiSettings]) -> str:
    """Whether models are checked before they are opened, and those on its own disk are right."""
    settings = loaded.settings
    place = loaded.place("MODEL_PUBLIC_KEYS")
    trust = _trust(settings, place)
    if not trust.is_wanted and settings.is_reachable:
        raise Fault(
            f"models are served without a signature ({place})",
            "Whoever can write MLflow's artifacts can change what this host predicts.",
            f"{THE_ONE_STEP[0].upper()}{THE_ONE_STEP[1:]}. Then 'systemctl reload api-host'.",
        )
    if not trust.is_wanted:
        raise NothingToCheck("MODEL_PUBLIC_KEYS names no key")
    found = Store.of(settings).check(settings.model_alias)
    for copy in found:
        if isinstance(copy, Copy):
            _check_signature(trust, copy)
    keys = ", ".join(fingerprint[:12] for fingerprint in trust.fingerprints)
    return f"only models signed with {keys} are served"


def _trust(settings: ApiSettings, place: str) -> Trust:
    try:
        return Trust.of(settings)
    except HostError as error:
        raise Fault(str(error), "The API does not start with it.", f"Correct {place}.") from None


def _check_signature(trust: Trust, copy: Copy) -> None:
    version = copy.version
    try:
        trust.check(version, copy.folder, copy.files)
    except ModelNotTrustedError as error:
        raise Fault(
            f"{version.name} version {version.version} in {copy.folder}: {error}",
            "It is older than the key, or it was changed, here or in MLflow.",
            f"Train again; or, if you are sure of it, 'airflow-host sign-model {version.name}"
            f" {version.version}' on the Airflow server.",
        ) from None


def _limits(loaded: Loaded[ApiSettings]) -> str:
    """Whether limits are given to models that are here."""
    settings = loaded.settings
    limited = [own.name for own in settings.model_limits]
    if not limited:
        raise NothingToCheck("no model has limits of its own")
    others = [name for name in limited if name not in settings.model_names]
    if settings.model_names and others:
        raise Fault(
            f"{', '.join(others)}: has limits, and is not in MODEL_NAMES",
            "The name is misspelt, or the model is no longer served.",
            f"Correct {loaded.place('MODEL_LIMITS')}, or {loaded.place('MODEL_NAMES')}.",
        )
    found = Store.of(settings).check(settings.model_alias)
    here = {copy.version.name for copy in found if isinstance(copy, Copy)}
    return ", ".join(name if name in here else f"{name} (no such model yet)" for name in limited)


class Links:
    """Checks the links again and again.

    `states`: what the last check of each saw, and when; empty before the first.
    """

    def __init__(self, links: tuple[Link, ...], client: httpx.AsyncClient) -> None:
        self.links = links
        self.states: dict[str, tuple[LinkState, datetime]] = {}
        self._client = client

    async def run(self) -> None:
        """Checks for ever."""
        while True:
            await asyncio.gather(*(self._check(link) for link in self.links))
            await asyncio.sleep(CHECK_SECONDS)

    async def _check(self, link: Link) -> None:
        before = self.states.get(link.name)
        state = await check(link, self._client)
        self.states[link.name] = state, datetime.now(UTC)
        metrics.LINKS.labels(link.name).set(state.healthy)
        if before is None or before[0].healthy != state.healthy:
            log = _log.info if state.healthy else _log.warning
            log("link", link=link.name, healthy=state.healthy, detail=state.detail)
