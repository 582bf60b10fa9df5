"""Any order of promotions, failures and crashes: a model that was wanted serves."""

import asyncio
import logging
import shutil
import sys
import tempfile
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

import httpx
import pytest
import structlog
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from sklearn.dummy import DummyClassifier

from api_host.app import create_app
from api_host.models import follower
from api_host.models.store import UNFINISHED
from api_host.settings import ApiSettings
from tests.api_host.conftest import iris, save
from tests.api_host.registry_server import Registered, RegistryServer

ROW = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}
NAMES = ("iris", "rose")
LABELS = tuple(f"label-{number}" for number in range(5))
GARBAGE, RUNS_CODE = "garbage", "runs code"
EXTRA_VERSIONS = 2
CHAMPION = "champion"
MOST_OPERATIONS = 25
"""Of files, as long as a version is downloaded and remembered; about."""


T = TypeVar("T")

names = st.sampled_from(NAMES)


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folders of models that say nothing but their label, and of two that cannot be served."""
    folder = tmp_path_factory.mktemp("versions")
    x, y = iris()
    found = {}
    for label in LABELS:
        constant = DummyClassifier(strategy="constant", constant=label)
        found[label] = save(constant.fit(x, [label, *y[1:]]), folder / label, x)
    found[GARBAGE] = folder / GARBAGE
    shutil.copytree(found[LABELS[0]], found[GARBAGE])
    (found[GARBAGE] / "model.skops").write_bytes(b"PK no model")
    found[RUNS_CODE] = folder / "code"
    shutil.copytree(found[LABELS[0]], found[RUNS_CODE])
    description = found[RUNS_CODE] / "MLmodel"
    description.write_text(description.read_text().replace("skops\n", "cloudpickle\n"))
    return found


@dataclass(frozen=True)
class Version:
    """A registered version: of the name as it was `created`, and what it says."""

    created: int
    number: str
    label: str


@dataclass
class Known:
    """What is known of a name.

    `versions`: all that were ever registered. `served`: the one that answered last.
    `wanted`: those that were wanted since then.
    """

    versions: list[Version] = field(default_factory=list)
    served: Version | None = None
    wanted: list[Version] = field(default_factory=list)


class Crashes:
    """Takes the state folder as it is before one of the next file operations: as a kill leaves it.

    An audit hook cannot be taken back, so that there is one of them for all tests.
    """

    EVENTS = frozenset(
        {"open", "os.mkdir", "os.rename", "os.symlink", "os.chmod", "os.remove", "os.rmdir"}
    )

    def __init__(self) -> None:
        self._lock = Lock()
        self._folder: Path | None = None
        self._picture: Path | None = None
        self._left = 0
        sys.addaudithook(self._note)

    @contextmanager
    def before(self, operation: int, folder: Path, picture: Path) -> Iterator[None]:
        """At the end of the block `picture` is what `folder` was before that operation on it."""
        with self._lock:
            self._folder, self._picture, self._left = folder, picture, operation
        try:
            yield
        finally:
            with self._lock:
                self._folder = None
            if not picture.exists():  # There were fewer operations.
                shutil.copytree(folder, picture, symlinks=True)

    def _note(self, event: str, arguments: tuple[object, ...]) -> None:
        if self._folder is None or event not in self.EVENTS:
            return
        if not str(arguments[0]).startswith(str(self._folder)):
            return
        with self._lock:
            folder, picture = self._folder, self._picture
            self._left -= 1
            if folder is None or picture is None or self._left > 0:
                return
            self._folder = None
        shutil.copytree(folder, picture, symlinks=True)


class Swaps(RuleBasedStateMachine):
    """An API over a registry, both real, and somebody who does as they please with the two."""

    versions: dict[str, Path]
    crashes: Crashes

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.runner = asyncio.Runner()
        self.registry = RegistryServer()
        self.registry.start()
        self.away = False
        self.created = 1
        self.number = count(1)
        self.known = {name: Known() for name in NAMES}
        self.state = self.folder / "state-0"
        self.run(self.start_api())

    def teardown(self) -> None:
        self.run(self.stack.aclose())
        self.runner.close()
        self.registry.stop()
        shutil.rmtree(self.folder)

    def run(self, what: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(what)

    async def start_api(self) -> None:
        app = create_app(
            ApiSettings(
                mlflow_tracking_uri=self.registry.url,
                airflow_base_url="http://127.0.0.1:9",
                state_directory=self.state,
                model_extra_versions=EXTRA_VERSIONS,
                api_rate_requests=100_000,  # All clients of a test are one caller.
            )
        )
        self.stack = AsyncExitStack()
        await self.stack.enter_async_context(app.router.lifespan_context(app))
        self.api = await self.stack.enter_async_context(
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api")
        )

    @rule(name=names, label=st.sampled_from((*LABELS, GARBAGE, RUNS_CODE)))
    def register_and_promote(self, name: str, label: str) -> None:
        self.promote(name, label)

    @rule(name=names)
    def promote_several_that_cannot_be_served(self, name: str) -> None:
        for _ in range(EXTRA_VERSIONS + 1):
            self.promote(name, GARBAGE)
            self.load(name)

    @rule(name=names, data=st.data())
    def roll_back(self, name: str, data: st.DataObject) -> None:
        if current := self.current(name):
            version = data.draw(st.sampled_from(current))
            self.registry.models[name].aliases[CHAMPION] = version.number
            self.known[name].wanted.append(version)

    @rule(name=names, label=st.sampled_from(LABELS))
    def delete_and_use_the_name_again(self, name: str, label: str) -> None:
        self.created += 1
        self.registry.models[name] = Registered(created=self.created)
        self.promote(name, label)

    @rule(name=names)
    def take_the_alias_away(self, name: str) -> None:
        if name in self.registry.models:
            self.registry.models[name].aliases.clear()

    @rule()
    def registry_goes_or_comes_back(self) -> None:
        self.away = not self.away
        if self.away:
            self.registry.stop()
        else:
            self.registry.start()

    @rule(status=st.sampled_from([None, 500, 403]))
    def registry_answers_errors(self, status: int | None) -> None:
        self.registry.status = status

    @rule(cut=st.booleans())
    def downloads_break_off(self, cut: bool) -> None:
        self.registry.cut = cut

    @rule(name=names, data=st.data())
    def ask_for_a_version_by_its_number(self, name: str, data: st.DataObject) -> None:
        current = self.current(name)
        if not current:
            return
        version = data.draw(st.sampled_from(current))
        answer = self.run(self.predict(name, f"/versions/{version.number}"))
        if answer.status_code == 200:
            said = answer.json()
            assert said["model"] == {"name": name, "version": version.number}
            # Until the registry is asked again, it may be of the name as it was before.
            same = {v.label for v in self.known[name].versions if v.number == version.number}
            assert said["predictions"][0] in same
        else:
            assert answer.status_code in (422, 503), answer.text
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert self.fails or version.label in (GARBAGE, RUNS_CODE), answer.text

    @rule(name=names)
    def calm(self, name: str) -> None:
        """Whatever was wrong with the registry is over, and what it wants is served."""
        self.mend()
        loading = self.load(name)
        wanted = self.wanted(name)
        if wanted is None:
            assert loading.status_code == 404
        elif wanted.label in (GARBAGE, RUNS_CODE):
            assert loading.status_code in (422, 503)
            assert f"version {wanted.number} " in (self.problem(name) or "")
        else:
            assert loading.status_code == 200, loading.text
            assert self.look(name) == wanted
            assert self.problem(name) is None

    @rule(name=names)
    def hurry(self, name: str) -> None:
        """The registry is asked, and what it wants of the other names is on its way."""
        assert self.load(name).status_code in (200, 404, 422, 503)

    @rule(name=names, label=st.sampled_from(LABELS), operation=st.integers(1, MOST_OPERATIONS))
    def crash_while_a_version_is_loaded(self, name: str, label: str, operation: int) -> None:
        """What is on disk at that moment is all that the next start has."""
        self.mend()
        for each in NAMES:
            self.load(each)
        self.look_at_all()
        before = self.known[name].served
        version = self.promote(name, label)
        picture = self.folder / f"state-{next(self.number)}"
        with self.crashes.before(operation, self.state, picture):
            loading = self.load(name)
            assert loading.status_code == 200, loading.text
        left = [each.name for each in (self.state / "models" / name).iterdir()]
        assert not [each for each in left if each.startswith(UNFINISHED)]
        # The newest, the one that served when that came, and spare ones; "@" is a link.
        assert len([each for each in left if each[0] != "@"]) <= EXTRA_VERSIONS + 2, left
        self.restart(picture)
        served = self.look(name)
        assert served in ((before, version) if before else (None, version))

    @rule()
    def restart_without_the_registry(self) -> None:
        self.mend()
        for each in NAMES:
            self.load(each)
        self.look_at_all()
        self.restart(self.state)

    @rule(name=names, label=st.sampled_from(LABELS))
    def promote_what_is_there_by_half(self, name: str, label: str) -> None:
        """Half a download that nobody makes any more, and half of a copy."""
        model = self.registry.models.get(name, Registered())
        content = (self.versions[LABELS[0]] / "model.skops").read_bytes()
        for half in (f"{UNFINISHED}half", f"{len(model.versions) + 1}-{model.created}"):
            folder = self.state / "models" / name / half
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "model.skops").write_bytes(content[: len(content) // 2])
        self.promote(name, label)

    @invariant()
    def what_was_served_is_served(self) -> None:
        self.look_at_all()

    @property
    def fails(self) -> bool:
        return self.away or self.registry.status is not None or self.registry.cut

    def mend(self) -> None:
        if self.away:
            self.registry.start()
        self.away, self.registry.status, self.registry.cut = False, None, False

    def promote(self, name: str, label: str) -> Version:
        number = self.registry.promote(name, self.versions[label])
        version = Version(self.registry.models[name].created, number, label)
        self.known[name].versions.append(version)
        self.known[name].wanted.append(version)
        return version

    def restart(self, state: Path) -> None:
        """Starts anew from a folder, while the registry is away; then that is back."""
        self.run(self.stack.aclose())
        self.registry.stop()
        self.state = state
        self.run(self.start_api())
        self.look_at_all()
        self.registry.start()

    def current(self, name: str) -> list[Version]:
        """The versions that the registry has of a name."""
        model = self.registry.models.get(name)
        return [v for v in self.known[name].versions if model and v.created == model.created]

    def wanted(self, name: str) -> Version | None:
        """The version that the registry wants served."""
        numbers = {v.number: v for v in self.current(name)}
        return numbers[self.registry.models[name].aliases[CHAMPION]] if self.alias(name) else None

    def alias(self, name: str) -> str | None:
        model = self.registry.models.get(name)
        return model.aliases.get(CHAMPION) if model else None

    def look_at_all(self) -> None:
        for name in NAMES:
            self.look(name)

    def look(self, name: str) -> Version | None:
        """Which version answers, which must be one that was wanted since the last swap."""
        known = self.known[name]
        answer = self.run(self.predict(name))
        if answer.status_code != 200:
            assert answer.status_code in (404, 503)
            assert known.served is None, f"{known.served} is gone: {answer.text}"
            return None
        said = answer.json()
        number, labels = said["model"]["version"], said["predictions"]
        assert answer.headers["Tripod-Model"] == f"{name}/{number}"
        for index, version in reversed([*enumerate(known.wanted)]):
            if [version.number, [version.label] * 2] == [number, labels]:
                known.served, known.wanted = version, known.wanted[index:]
                return version
        assert known.served is not None
        assert [known.served.number, [known.served.label] * 2] == [number, labels]
        return known.served

    def load(self, name: str) -> httpx.Response:
        return self.run(self.api_post(f"/v2/repository/models/{name}/load", {}))

    def problem(self, name: str) -> str | None:
        models = self.run(self.api_get("/v1/models"))["models"]
        found: str | None = {each["name"]: each for each in models}[name]["problem"]
        return found

    async def predict(self, name: str, version: str = "") -> httpx.Response:
        return await self.api_post(f"/v1/models/{name}{version}/predict", {"rows": [ROW] * 2})

    async def api_post(self, path: str, body: Any) -> httpx.Response:
        return await self.api.post(path, json=body)

    async def api_get(self, path: str) -> Any:
        return (await self.api.get(path)).json()


# Who is cancelled just as a connection comes about leaves it to the garbage collector: an API that
# crashes does so here, in httpx's library of sockets.
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_in_any_order_of_events_a_wanted_model_is_served(
    versions: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower, "POLL_SECONDS", 0.05)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))

    class Machine(Swaps):
        pass

    Machine.versions, Machine.crashes = versions, Crashes()
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=16,
            stateful_step_count=20,
            deadline=None,
            phases=[Phase.reuse, Phase.generate],  # To make a failure shorter takes minutes.
            suppress_health_check=list(HealthCheck),
        ),
    )
