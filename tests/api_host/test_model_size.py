"""A model's files have a limit on this host's disk: all of one version together."""

from pathlib import Path

import httpx
import pytest
from structlog.testing import capture_logs

from api_host.models import room
from api_host.settings import ApiSettings
from tests.api_host.conftest import Start, until, until_served
from tests.api_host.registry_server import RegistryServer
from tests.api_host.test_follower import _copies as copies
from tests.api_host.test_follower import predict, problem_of

pytestmark = pytest.mark.anyio

MOST_SENT_BYTES = 100_000_000
"""Of files without an end: what fits into the buffers between is not read."""


@pytest.fixture
def tight(settings: ApiSettings, models: Path) -> ApiSettings:
    """Settings of a host on whose disk the model `linear` has room, but not much more."""
    linear = models / "linear"
    size = sum(path.stat().st_size for path in linear.rglob("*") if path.is_file())
    return settings.model_copy(update={"model_max_bytes": size})


async def assert_serves_the_first(api: httpx.AsyncClient, settings: ApiSettings) -> None:
    answer = (await predict(api)).json()
    assert (answer["model"]["version"], answer["predictions"]) == ("1", ["setosa"])
    assert copies(settings) == {"1-1"}


async def test_a_version_that_says_that_it_is_too_large_is_not_downloaded(
    registry: RegistryServer, tight: ApiSettings, start: Start, models: Path
) -> None:
    registry.promote("iris", models / "linear")
    async with start(tight) as api:
        await until_served(api, "1")
        with capture_logs() as lines:
            registry.promote("iris", models / "forest")
            problem = await until(lambda: problem_of(api))
        most = tight.model_max_bytes
        assert f"version 2 is not served: its files have more than {most} bytes" in problem
        assert "MODEL_MAX_BYTES" in problem
        assert problem in {line.get("detail") for line in lines}
        await assert_serves_the_first(api, tight)
        by_number = await api.post("/v1/models/iris/versions/2/predict", json={"rows": []})
        assert by_number.status_code == 422
        assert "MODEL_MAX_BYTES" in by_number.json()["detail"]
        registry.promote("iris", models / "linear")
        await until_served(api, "3")


async def test_files_without_an_end_are_cut_off_and_nothing_of_them_stays(
    registry: RegistryServer, tight: ApiSettings, start: Start, models: Path
) -> None:
    registry.promote("iris", models / "linear")
    async with start(tight) as api:
        await until_served(api, "1")
        registry.endless = True
        registry.promote("iris", models / "forest")
        assert "MODEL_MAX_BYTES" in await until(lambda: problem_of(api))
        assert 0 < registry.sent < MOST_SENT_BYTES
        await assert_serves_the_first(api, tight)


async def test_files_that_fit_alone_but_not_together_are_refused(
    registry: RegistryServer, settings: ApiSettings, start: Start, models: Path
) -> None:
    sizes = [(models / "linear" / name).stat().st_size for name in ("MLmodel", "model.skops")]
    few = settings.model_copy(update={"model_max_bytes": sum(sizes) - 1})
    registry.promote("iris", models / "linear")
    async with start(few) as api:
        assert "together" in await until(lambda: problem_of(api))
        assert copies(few) == set()


@pytest.mark.parametrize("most", [0, None])
async def test_without_a_limit_any_size_is_served(
    most: int | None, registry: RegistryServer, settings: ApiSettings, start: Start, models: Path
) -> None:
    registry.promote("iris", models / "forest")
    async with start(settings.model_copy(update={"model_max_bytes": most})) as api:
        await until_served(api, "1")


async def test_a_disk_without_room_is_told_before_it_is_full(
    registry: RegistryServer,
    settings: ApiSettings,
    start: Start,
    models: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    registry.promote("iris", models / "linear")
    async with start(settings) as api:
        await until_served(api, "1")
        with monkeypatch.context() as full:
            full.setattr(room, "STAYS_FREE_BYTES", 2**62)
            registry.promote("iris", models / "forest")
            problem = await until(lambda: problem_of(api))
            assert "version 2 is not here yet" in problem
            assert "must stay free: make room there" in problem
            await assert_serves_the_first(api, settings)
            by_number = await api.post("/v1/models/iris/versions/2/predict", json={"rows": []})
            assert by_number.status_code == 503
            assert "make room there" in by_number.json()["detail"]
        await until_served(api, "2")
