"""Following the registry, with a registry that fails in every way that one can."""

import asyncio
import shutil
from pathlib import Path

import httpx
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from api_host.settings import ApiSettings
from tests.api_host.conftest import Start, iris, save, until, until_served
from tests.api_host.registry_server import RegistryServer

pytestmark = pytest.mark.anyio

ROW = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}
PREDICT = "/v1/models/iris/predict"


async def predict(api: httpx.AsyncClient) -> httpx.Response:
    await asyncio.sleep(0)  # As on a network, where nothing is answered at once.
    return await api.post(PREDICT, json={"rows": [ROW]})


async def problem_of(api: httpx.AsyncClient, name: str = "iris") -> str | None:
    models = {model["name"]: model for model in (await api.get("/v1/models")).json()["models"]}
    problem: str | None = models.get(name, {}).get("problem")
    return problem


async def test_a_promotion_is_served_without_a_failed_or_mixed_answer(
    registry: RegistryServer, settings: ApiSettings, start: Start, models: Path
) -> None:
    registry.promote("iris", models / "linear")
    async with start(settings) as api:
        await until_served(api, "1")
        seen: list[str] = []
        promoting = asyncio.Event()

        async def ask() -> None:
            while not promoting.is_set() or seen[-1] != "2":
                answer = await predict(api)
                assert answer.status_code == 200
                version = answer.json()["model"]["version"]
                assert answer.headers["Tripod-Model"] == f"iris/{version}"
                assert answer.json()["predictions"] == ["setosa"]
                seen.append(version)

        asking = [asyncio.create_task(ask()) for _ in range(4)]
        registry.promote("iris", models / "forest")
        await until_served(api, "2")
        promoting.set()
        await asyncio.gather(*asking)
    assert set(seen) == {"1", "2"}


async def test_before_the_first_model(
    registry: RegistryServer, settings: ApiSettings, start: Start, models: Path
) -> None:
    async with start(settings) as api:
        early = await predict(api)
        assert early.status_code == 503
        assert early.headers["Retry-After"]
        ready = await api.get("/readyz")
        assert ready.status_code == 503
        assert ready.headers["Content-Type"] == "application/problem+json"
        assert (await api.get("/livez")).status_code == 200
        registry.promote("iris", models / "linear")
        await until_served(api, "1")
        assert (await api.get("/readyz")).json()["models"] == {"iris": "1"}


async def test_starts_from_the_last_good_copy_while_mlflow_is_away(
    registry: RegistryServer, settings: ApiSettings, start: Start, models: Path
) -> None:
    registry.promote("iris", models / "linear")
    async with start(settings) as api:
        await until_served(api, "1")
    registry.stop()
    async with start(settings) as api:
        await until_served(api, "1")
        assert (await predict(api)).json()["predictions"] == ["setosa"]

        async def says_so() -> bool:
            known = (await api.get("/v1/models")).json()["registry"]
            link = (await api.get("/")).json()["links"]["mlflow"]
            return not known["answers"] and "refuses connections" in link["detail"]

        await until(says_so)
        registry.start()
        registry.promote("iris", models / "forest")
        await until_served(api, "2")


async def test_a_download_that_breaks_off_is_never_served(
    registry: RegistryServer, settings: ApiSettings, start: Start, models: Path
) -> None:
    registry.promote("iris", models / "linear")
    async with start(settings) as api:
        await until_served(api, "1")
        registry.cut = True
        registry.promote("iris", models / "forest")
        assert "version 2 is not here yet" in await until(lambda: problem_of(api))
        assert (await predict(api)).json()["model"]["version"] == "1"
        assert _copies(settings) == {"1-1"}
        registry.cut = False
        await until_served(api, "2")
        assert await problem_of(api) is None
        assert (await predict(api)).json()["model"]["version"] == "2"


async def test_mlflow_stops_in_the_middle_of_a_download(
    registry: RegistryServer, settings: ApiSettings, start: Start, models: Path
) -> None:
    registry.promote("iris", models / "linear")
    async with start(settings) as api:
        await until_served(api, "1")
        registry.pause = registry.cut = True
        registry.promote("iris", models / "forest")
        await asyncio.to_thread(registry.half_sent.wait, 30)
        await asyncio.to_thread(registry.stop)
        await until(lambda: problem_of(api))
        assert (await predict(api)).json()["model"]["version"] == "1"
    async with start(settings) as api:  # And the next start finds no half of it either.
        await until_served(api, "1")
        registry.pause = registry.cut = False
        registry.start()
        await until_served(api, "2")


async def test_a_broken_copy_is_thrown_away_and_downloaded_again(
    registry: RegistryServer, settings: ApiSettings, start: Start, models: Path
) -> None:
    registry.promote("iris", models / "linear")
    async with start(settings) as api:
        await until_served(api, "1")
    file = settings.state_directory / "models/iris/1-1/model.skops"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    registry.status = 500
    async with start(settings) as api:

        async def registry_fails() -> bool:
            return "500" in ((await api.get("/v1/models")).json()["registry"]["detail"] or "")

        await until(registry_fails)
        assert (await predict(api)).status_code == 503
        registry.status = None
        await until_served(api, "1")
    assert file.read_bytes() == (models / "linear/model.skops").read_bytes()


@pytest.mark.parametrize("status", [403, 429, 500, 503])
async def test_a_registry_that_answers_errors_does_not_stop_predictions(
    status: int, registry: RegistryServer, settings: ApiSettings, start: Start, models: Path
) -> None:
    registry.promote("iris", models / "linear")
    async with start(settings) as api:
        await until_served(api, "1")
        registry.status = status

        async def noticed() -> bool:
            return not (await api.get("/v1/models")).json()["registry"]["answers"]

        await until(noticed)
        assert (await predict(api)).status_code == 200
        registry.promote("iris", models / "forest")
        registry.status = None
        await until_served(api, "2")


async def test_models_that_run_code_are_refused(
    registry: RegistryServer, settings: ApiSettings, start: Start, models: Path, tmp_path: Path
) -> None:
    x, y = iris()
    model = LogisticRegression(max_iter=1000).fit(x, y)
    registry.promote("iris", models / "linear")
    async with start(settings) as api:
        await until_served(api, "1")
        pickled = save(model, tmp_path / "pickle", x, serialization_format="cloudpickle")
        registry.promote("iris", pickled)
        assert "runs code" in await until(lambda: problem_of(api))
        assert (await predict(api)).json()["model"]["version"] == "1"


async def test_types_that_nobody_trusts_are_refused_until_the_operator_trusts_them(
    registry: RegistryServer, settings: ApiSettings, start: Start, tmp_path: Path
) -> None:
    x, y = iris()
    ball = "sklearn.neighbors._ball_tree.BallTree"
    types = [ball, "sklearn.metrics._dist_metrics.EuclideanDistance64"]
    model = KNeighborsClassifier(algorithm="ball_tree").fit(x, y)
    registry.promote("iris", save(model, tmp_path / "ball", x, skops_trusted_types=types))
    async with start(settings) as api:
        problem = await until(lambda: problem_of(api))
        assert ball in problem
        assert "MODEL_TRUSTED_TYPES" in problem
        assert (await predict(api)).status_code == 503
    async with start(settings.model_copy(update={"model_trusted_types": (ball,)})) as api:
        await until_served(api, "1")


async def test_a_model_that_fails_on_its_own_example_is_refused(
    registry: RegistryServer, settings: ApiSettings, start: Start, models: Path, tmp_path: Path
) -> None:
    x, y = iris()
    wrong = x.rename(columns={"petal_width": "width_of_petal"})
    model = LogisticRegression(max_iter=1000).fit(wrong, y)
    registry.promote("iris", models / "linear")
    async with start(settings) as api:
        await until_served(api, "1")
        folder = save(model, tmp_path / "wrong", wrong)
        mlmodel = folder / "MLmodel"
        mlmodel.write_text(mlmodel.read_text().replace("width_of_petal", "petal_width"))
        example = folder / "input_example.json"
        example.write_text(example.read_text().replace("width_of_petal", "petal_width"))
        registry.promote("iris", folder)
        assert "own input example" in await until(lambda: problem_of(api))
        assert (await predict(api)).json()["model"]["version"] == "1"


async def test_a_registry_that_forgets_does_not_stop_predictions(
    registry: RegistryServer, settings: ApiSettings, start: Start, models: Path
) -> None:
    registry.promote("iris", models / "linear")
    async with start(settings) as api:
        await until_served(api, "1")
        registry.models["iris"].aliases.clear()
        assert "no version is champion" in await until(lambda: problem_of(api))
        del registry.models["iris"]

        async def noticed() -> bool:
            return "no such model" in (await problem_of(api) or "")

        await until(noticed)
        assert (await predict(api)).status_code == 200


async def test_a_name_that_is_used_again_is_another_model(
    registry: RegistryServer, settings: ApiSettings, start: Start, models: Path
) -> None:
    registry.promote("iris", models / "linear")
    async with start(settings) as api:
        await until_served(api, "1")
        since = (await api.get("/v1/models/iris")).json()["since"]
        del registry.models["iris"]
        registry.promote("iris", models / "forest")
        registry.models["iris"].created = 2

        async def replaced() -> bool:
            return bool((await api.get("/v1/models/iris")).json()["since"] != since)

        await until(replaced)
        assert "2" in {copy.split("-")[1] for copy in _copies(settings)}


async def test_a_version_asked_for_by_number_is_of_the_model_that_has_the_name_now(
    registry: RegistryServer, settings: ApiSettings, start: Start, models: Path
) -> None:
    registry.promote("iris", models / "linear")
    registry.promote("iris", models / "linear")
    async with start(settings) as api:
        await until_served(api, "2")

        async def signature_of_the_first() -> str:
            answer = await api.post("/v1/models/iris/versions/1/predict", json={"rows": [ROW]})
            return "numbers" if answer.status_code == 422 else "names"

        assert await signature_of_the_first() == "names"
        since = (await api.get("/v1/models/iris")).json()["since"]
        del registry.models["iris"]
        registry.promote("iris", models / "array")
        registry.promote("iris", models / "linear")
        registry.models["iris"].created = 2

        async def replaced() -> bool:
            return bool((await api.get("/v1/models/iris")).json()["since"] != since)

        await until(replaced)
        assert await signature_of_the_first() == "numbers"


async def test_a_version_whose_file_is_no_model_is_refused(
    registry: RegistryServer, settings: ApiSettings, start: Start, models: Path, tmp_path: Path
) -> None:
    broken = shutil.copytree(models / "linear", tmp_path / "broken")
    (broken / "model.skops").write_bytes(b"no model")
    registry.promote("iris", broken)
    registry.promote("iris", models / "linear")
    async with start(settings) as api:
        await until_served(api, "2")
        answer = await api.post("/v1/models/iris/versions/1/predict", json={"rows": [ROW]})
        assert answer.status_code == 422
        assert "model.skops cannot be read" in answer.json()["detail"]


async def test_only_the_models_that_are_named_are_served(
    registry: RegistryServer, settings: ApiSettings, start: Start, models: Path
) -> None:
    registry.promote("iris", models / "linear")
    registry.promote("other", models / "linear")
    async with start(settings.model_copy(update={"model_names": ("iris", "none")})) as api:
        await until_served(api, "1")
        names = [model["name"] for model in (await api.get("/v1/models")).json()["models"]]
        assert names == ["iris", "none"]
        assert "no such model" in (await problem_of(api, "none") or "")
        assert (await api.post("/v1/models/other/predict")).status_code == 404


async def test_models_of_every_kind_of_signature(
    registry: RegistryServer, settings: ApiSettings, start: Start, models: Path
) -> None:
    for name in ("array", "mixed"):
        registry.promote(name, models / name)
    async with start(settings) as api:
        await until_served(api, "1", "array")
        await until_served(api, "1", "mixed")
        answer = await api.post("/v1/models/array/predict", json={"rows": [list(ROW.values())]})
        assert answer.json()["predictions"] == ["setosa"]
        flat = {"city": "Bern", "rooms": 3, "floor": 1, "new": True, "area": 50.5}
        answers = [
            (await api.post("/v1/models/mixed/predict", json={"rows": [{**flat, **tax}]})).json()
            for tax in ({"tax": None}, {})
        ]
        assert answers[0] == answers[1]
        assert np.isfinite(answers[0]["predictions"]).all()


def _copies(settings: ApiSettings) -> set[str]:
    folder = settings.state_directory / "models/iris"
    return {path.name for path in folder.iterdir() if not path.name.startswith("@")}
