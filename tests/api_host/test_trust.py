"""Models are served as they were signed, or not at all."""

import shutil
from collections.abc import Callable
from pathlib import Path

import httpx
import msgspec
import pytest
import structlog.testing
from prometheus_client.parser import text_string_to_metric_families

from api_host.app import create_app
from api_host.links import walks
from api_host.models import follower
from api_host.settings import ApiSettings
from hostkit.doctor.steps import Fault, NothingToCheck
from hostkit.errors import HostError
from hostkit.settings import Loaded
from hostkit.signing.statement import SIGNATURE_FILE, digest
from tests.api_host.conftest import Start, until, until_served
from tests.api_host.registry_server import RegistryServer
from tests.api_host.signed_models import Signer, identity_of

pytestmark = pytest.mark.anyio

Prepare = Callable[[str], Path]
ROW = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    return Signer(tmp_path)


@pytest.fixture
def settings(settings: ApiSettings, signer: Signer) -> ApiSettings:
    """Settings of an API that serves what `signer` has signed."""
    return settings.model_copy(update={"model_public_keys": (signer.public,)})


@pytest.fixture
def prepare(registry: RegistryServer, models: Path, signer: Signer, tmp_path: Path) -> Prepare:
    """Signs the model of this name for iris's next version. Where its files are."""
    return lambda name: signer.prepare(registry, models / name, tmp_path)


async def problem_of(api: httpx.AsyncClient) -> str | None:
    [model] = (await api.get("/")).json()["models"] or [{"problem": None}]
    problem: str | None = model["problem"]
    return problem


async def served(api: httpx.AsyncClient) -> str:
    answer = await api.post("/v1/models/iris/predict", json={"rows": [ROW]})
    assert answer.status_code == 200
    version: str = answer.json()["model"]["version"]
    return version


async def metric(api: httpx.AsyncClient, name: str) -> float:
    families = text_string_to_metric_families((await api.get("/metrics")).text)
    samples = (sample for family in families for sample in family.samples)
    return next((sample.value for sample in samples if sample.name == name), 0)


async def test_what_is_signed_is_served_now_and_after_a_restart_without_mlflow(
    registry: RegistryServer,
    settings: ApiSettings,
    start: Start,
    prepare: Prepare,
) -> None:
    registry.promote("iris", prepare("linear"))
    async with start(settings) as api:
        await until_served(api, "1")
        assert await metric(api, "tripod_api_model_not_trusted") == 0
    registry.stop()
    async with start(settings) as api:
        assert await served(api) == "1"


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def add(folder: Path, name: str) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("print('hello')")


def sign_for_another(folder: Path) -> None:
    shutil.copy(folder.parent / "1" / SIGNATURE_FILE, folder)


def swap_all(folder: Path) -> None:
    shutil.rmtree(folder)
    shutil.copytree(folder.parent / "1", folder)


def sign_by_another(folder: Path) -> None:
    Signer(folder.parent, "other").sign(folder, identity_of(2))


ATTACKS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a changed model": (
        lambda folder: flip(folder / "model.skops"),
        "its file model.skops is not the one that was signed",
    ),
    "a changed MLmodel": (
        lambda folder: (folder / "MLmodel").write_bytes((folder / "MLmodel").read_bytes() + b"#"),
        "its file MLmodel is not the one that was signed",
    ),
    "a changed file that is not needed": (
        lambda folder: (folder / "conda.yaml").write_text("name: other"),
        "its file conda.yaml is not the one that was signed",
    ),
    "a file more": (lambda folder: add(folder, "evil.py"), "'evil.py' was not there"),
    "a file more below": (lambda folder: add(folder, "code/evil.py"), "'code/evil.py' was not"),
    "a file less": (
        lambda folder: (folder / "conda.yaml").unlink(),
        "its file conda.yaml was signed and is gone",
    ),
    "no signature": (lambda folder: (folder / SIGNATURE_FILE).unlink(), "it has no signature"),
    "a spoiled signature": (
        lambda folder: (folder / SIGNATURE_FILE).write_bytes(b"{}"),
        "its signature cannot be read",
    ),
    "a huge signature": (
        lambda folder: (folder / SIGNATURE_FILE).write_bytes(bytes(9 * 1024 * 1024)),
        "model.sig has more than",
    ),
    "another key": (sign_by_another, "which is not trusted"),
    "the signature of another version": (sign_for_another, "its signature is of another model"),
    "all of another version": (swap_all, "its signature is of another model"),
}


@pytest.mark.parametrize(("attack", "reason"), ATTACKS.values(), ids=ATTACKS)
async def test_what_is_not_as_it_was_signed_is_refused_and_the_last_good_version_serves_on(
    registry: RegistryServer,
    settings: ApiSettings,
    start: Start,
    prepare: Prepare,
    attack: Callable[[Path], object],
    reason: str,
) -> None:
    registry.promote("iris", prepare("linear"))
    async with start(settings) as api:
        await until_served(api, "1")
        folder = prepare("forest")
        attack(folder)
        refused = await metric(api, "tripod_api_model_refusals_total")
        registry.promote("iris", folder)

        said = await until(lambda: problem_of(api))
        assert said.startswith("version 2 is not served: ")
        assert reason in said
        assert await served(api) == "1"
        described = (await api.get("/v1/models/iris")).json()
        assert (described["version"], described["problem"]) == ("1", said)
        assert await metric(api, "tripod_api_model_refusals_total") == refused + 1
        assert await metric(api, "tripod_api_model_not_trusted") == 1
        assert not list(settings.state_directory.glob("models/iris/2-*"))
    registry.stop()
    async with start(settings) as api:
        assert await served(api) == "1"


async def test_it_is_not_asked_for_again_until_the_registry_changes(
    registry: RegistryServer,
    settings: ApiSettings,
    start: Start,
    prepare: Prepare,
    signer: Signer,
) -> None:
    folder = prepare("linear")
    (folder / SIGNATURE_FILE).unlink()
    registry.promote("iris", folder)
    async with start(settings) as api:
        assert "it has no signature" in await until(lambda: problem_of(api))
        refused = await metric(api, "tripod_api_model_refusals_total")
        seen = (await api.get("/v1/models")).json()["registry"]["seen"]

        async def is_polled() -> bool:
            return bool((await api.get("/v1/models")).json()["registry"]["seen"] > seen)

        await until(is_polled)
        assert await metric(api, "tripod_api_model_refusals_total") == refused
        signer.sign(folder, identity_of(1))
        registry.models["iris"].updated += 1
        await until_served(api, "1")
        assert await problem_of(api) is None
        assert await metric(api, "tripod_api_model_not_trusted") == 0


async def test_files_that_were_mended_are_served_when_it_is_asked_for(
    registry: RegistryServer, settings: ApiSettings, start: Start, prepare: Prepare
) -> None:
    folder = prepare("linear")
    flip(folder / "model.skops")
    registry.promote("iris", folder)
    async with start(settings) as api:
        await until(lambda: problem_of(api))
        assert (await api.post("/v2/repository/models/iris/load")).status_code == 422
        flip(folder / "model.skops")
        assert (await api.post("/v2/repository/models/iris/load")).status_code == 200
        assert await served(api) == "1"


async def test_files_that_were_mended_are_served_after_a_while(
    registry: RegistryServer,
    settings: ApiSettings,
    start: Start,
    prepare: Prepare,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(follower, "REFUSED_SECONDS", 0.1)
    folder = prepare("linear")
    flip(folder / "model.skops")
    registry.promote("iris", folder)
    async with start(settings) as api:
        await until(lambda: problem_of(api))
        flip(folder / "model.skops")
        await until_served(api, "1")


async def test_the_doctor_says_what_is_refused_until_it_is_mended(
    registry: RegistryServer, settings: ApiSettings, start: Start, prepare: Prepare
) -> None:
    assert fault_of(settings, "wanted") is None
    folder = prepare("linear")
    flip(folder / "model.skops")
    registry.promote("iris", folder)

    async def fault() -> str | None:
        return fault_of(settings, "wanted")

    async def is_well() -> bool:
        return fault_of(settings, "wanted") is None

    async with start(settings) as api:
        assert "iris: version 1 is not served: its file model.skops" in await until(fault)
        flip(folder / "model.skops")
        await api.post("/v2/repository/models/iris/load")
        await until(is_well)


async def test_a_copy_from_before_the_key_is_fetched_again_once_it_is_signed(
    registry: RegistryServer,
    settings: ApiSettings,
    start: Start,
    prepare: Prepare,
) -> None:
    folder = prepare("linear")
    registry.promote("iris", folder)
    async with start(settings.model_copy(update={"model_public_keys": ()})) as api:
        await until_served(api, "1")
    async with start(settings) as api:
        await until_served(api, "1")
    [copy] = settings.state_directory.glob("models/iris/1-*")
    assert (copy / SIGNATURE_FILE).exists()


async def test_a_copy_on_this_disk_that_is_not_what_was_signed_is_not_loaded(
    registry: RegistryServer,
    settings: ApiSettings,
    start: Start,
    prepare: Prepare,
) -> None:
    registry.promote("iris", prepare("linear"))
    async with start(settings) as api:
        await until_served(api, "1")
    registry.stop()
    [copy] = settings.state_directory.glob("models/iris/1-*")
    # Who can write there can make the checksums right, but no signature.
    flip(copy / "MLmodel")
    manifest = copy / "copy.json"
    known = msgspec.json.decode(manifest.read_bytes())
    known["files"]["MLmodel"] = digest(copy / "MLmodel")
    manifest.write_bytes(msgspec.json.encode(known))
    async with start(settings) as api:
        said = await until(lambda: problem_of(api))
        assert "its file MLmodel is not the one that was signed" in said
        assert (await api.get("/readyz")).status_code == 503
    assert "its file MLmodel is not the one" in (fault_of(settings) or "")


async def test_with_two_keys_both_count(
    registry: RegistryServer,
    settings: ApiSettings,
    start: Start,
    prepare: Prepare,
    models: Path,
    signer: Signer,
    tmp_path: Path,
) -> None:
    newer = Signer(tmp_path, "newer")
    both = settings.model_copy(update={"model_public_keys": (signer.public, newer.public)})
    registry.promote("iris", prepare("linear"))
    async with start(both) as api:
        await until_served(api, "1")
        registry.promote("iris", newer.prepare(registry, models / "forest", tmp_path))
        await until_served(api, "2")


async def test_a_refusal_is_in_the_audit(
    registry: RegistryServer, settings: ApiSettings, start: Start, models: Path
) -> None:
    structlog.reset_defaults()
    registry.promote("iris", models / "linear")
    with structlog.testing.capture_logs() as lines:
        async with start(settings) as api:
            await until(lambda: problem_of(api))
    [line, *_] = [line for line in lines if line["event"] == "audit"]
    assert line["action"] == "model.refuse"
    assert line["on"] == "model:iris/1"
    assert not line["allowed"]


def fault_of(settings: ApiSettings, name: str = "signatures") -> str | None:
    """What a step of the doctor's finds wrong."""
    loaded = Loaded(settings, {}, Path("/etc/api-host/env"))
    [check] = [s.check for walk in walks(loaded) for s in walk.steps if s.name == name]
    try:
        check()
    except NothingToCheck:
        return None
    except Fault as fault:
        return str(fault)
    return None


@pytest.mark.parametrize(
    "reachable",
    [{"api_host": "0.0.0.0"}, {"api_public_url": "https://api.example.com"}],
)
async def test_without_a_key_whom_others_reach_is_told_the_one_step(
    settings: ApiSettings, reachable: dict[str, str]
) -> None:
    without = settings.model_copy(update={"model_public_keys": (), **reachable})
    with structlog.testing.capture_logs() as lines:
        create_app(without)
    assert "airflow-host signing-key" in lines[0]["detail"]
    assert "models are served without a signature" in (fault_of(without) or "")


async def test_without_a_key_nobody_is_told_on_a_machine_that_is_its_own(
    settings: ApiSettings,
) -> None:
    without = settings.model_copy(update={"model_public_keys": ()})
    with structlog.testing.capture_logs() as lines:
        create_app(without)
    assert not lines
    assert fault_of(without) is None


async def test_a_key_that_is_none_is_named(settings: ApiSettings, tmp_path: Path) -> None:
    (tmp_path / "broken.pub").write_text("no key")
    for name in ("broken.pub", "missing.pub"):
        wrong = settings.model_copy(update={"model_public_keys": (tmp_path / name,)})
        with pytest.raises(HostError, match=f"MODEL_PUBLIC_KEYS names .*{name}"):
            create_app(wrong)
        assert name in (fault_of(wrong) or "")
