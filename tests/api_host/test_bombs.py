"""Bodies that are small, or look it, and would be large: honest clients are served meanwhile."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.api_host.test_connections import MEBIBYTES, Server, attacked, errors
from tests.api_host.test_hostile_bodies import BOMBS, CODECS, REFUSED
from tests.api_host.test_serve import until_well
from tests.attacks.honest import Honest
from tests.attacks.table import Row, printed

TREES = "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"
FORMS = {name: codec for name, codec in CODECS.items() if codec.path != "/v1/trainings"}
AT_ONCE = 8


@pytest.fixture(scope="module")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    variables = {"MODEL_NAME": "home", "MODEL_TRUSTED_TYPES": TREES}
    folder = tmp_path_factory.mktemp("bombed")
    with attacked(models, folder, more={"home": "mixed"}, **variables) as server:
        with httpx.Client(base_url=f"http://127.0.0.1:{server.port}") as api:
            until_well(api, server.process, "/v2/models/home/ready")
        yield server


@pytest.fixture(scope="module")
def honest(server: Server) -> Iterator[Honest]:
    with server.honest() as honest:
        yield honest


@pytest.fixture(scope="module")
def table(pytestconfig: pytest.Config) -> Iterator[list[Row]]:
    with printed("In a body", BOMBS, pytestconfig) as rows:
        yield rows


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_in_every_form_and_others_are_served(
    server: Server, honest: Honest, table: list[Row], name: str
) -> None:
    start, memory, body = time.monotonic(), server.memory(), BOMBS[name]
    zipped = {"Content-Encoding": "gzip"} if body.startswith(b"\x1f\x8b") else {}
    with (
        httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=60) as attacker,
        ThreadPoolExecutor(AT_ONCE) as threads,
    ):
        attacks = [
            threads.submit(
                attacker.post,
                codec.path,
                content=body,
                headers={"Content-Type": codec.content_type, **codec.headers, **zipped},
            )
            for codec in FORMS.values()
        ]
        answers = [attack.result() for attack in attacks]
    # A stream is answered line by line: what is wrong with a line is in the answer.
    assert all(a.status_code in REFUSED or "problem" in a.text or not body.strip() for a in answers)
    assert server.memory() < memory + 256 * MEBIBYTES
    assert errors(server) == []
    statuses = ", ".join(map(str, sorted({answer.status_code for answer in answers})))
    table.append(Row(name, f"refused: {statuses}", honest.saw(start)))
