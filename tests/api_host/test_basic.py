"""A browser opens the pages of a host that asks for keys: by HTTP Basic, and to read only."""

import base64
import logging
import re
from collections.abc import AsyncIterator, Generator
from functools import partial
from hashlib import sha256
from pathlib import Path

import httpx
import pytest
import stamina
import structlog
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from api_host.app import ROUTES
from api_host.auth import credentials
from api_host.auth.caller import Access
from api_host.auth.needs import NEEDS, Open
from api_host.problems import Problem
from api_host.settings import ApiSettings
from tests.api_host.conftest import Start, until
from tests.api_host.registry_server import RegistryServer
from tests.api_host.test_auth import EVERYTHING, asked, bearer, make_key
from tests.api_host.test_serve import free_port, serving

pytestmark = pytest.mark.anyio

PAGE = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
PAGES = ("/docs", "/openapi.json", "/metrics", "/v1/models")


class Browser(httpx.Auth):
    """Asks its user for a password only where a challenge says that it may be HTTP Basic.

    `challenges`: what the answers asked for, field by field.
    """

    def __init__(self, password: str, user: str = "") -> None:
        self._basic = httpx.BasicAuth(user, password)
        self.challenges: list[str] = []

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Asks as nobody, and once more as somebody."""
        answer = yield request
        # Some browsers look at the first challenge of a field only.
        self.challenges = answer.headers.get_list("WWW-Authenticate")
        if any(challenge.startswith("Basic ") for challenge in self.challenges):
            yield from self._basic.auth_flow(request)


def basic(password: str, user: str = "") -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


@pytest.fixture
def boss(file: Path) -> str:
    return make_key(file, "boss", *EVERYTHING)


@pytest.fixture
def locked(settings: ApiSettings, file: Path) -> ApiSettings:
    return settings.model_copy(update={"api_auth": "yes", "api_keys_file": file})


@pytest.fixture
async def api(locked: ApiSettings, boss: str, start: Start) -> AsyncIterator[httpx.AsyncClient]:
    assert boss
    async with start(locked) as client:
        yield client


async def test_a_browser_asks_for_a_key_and_shows_the_page(
    api: httpx.AsyncClient, boss: str
) -> None:
    for path in PAGES:
        for user in ("", "anybody", "jürgen"):
            browser = Browser(boss, user)
            answer = await api.get(path, headers=PAGE, auth=browser)
            assert answer.is_success, answer.text
            assert browser.challenges == [
                'Bearer realm="api-host"',
                'Basic realm="api-host", charset="UTF-8"',
            ]
    assert (await api.head("/docs", headers=basic(boss))).is_success


async def test_the_page_of_the_host_leads_to_the_log_in_and_tells_an_operator_everything(
    api: httpx.AsyncClient, boss: str, file: Path
) -> None:
    stranger = await api.get("/", headers=PAGE)
    assert 'href="/docs"' in stranger.text
    assert "WWW-Authenticate" not in stranger.headers
    operator = await api.get("/", headers={**PAGE, **basic(boss)})
    assert "mlflow" in operator.text
    predictor = make_key(file, "predictor", Access.PREDICT)

    async def is_known() -> bool:
        return (await api.get("/docs", headers=basic(predictor))).is_success

    await until(is_known)
    assert (await api.get("/", headers={**PAGE, **basic(predictor)})).text == stranger.text
    refused = await api.get("/metrics", headers={**PAGE, **basic(predictor)})
    assert refused.status_code == 403
    assert len(refused.headers.get_list("WWW-Authenticate")) == 1


async def test_who_asks_for_no_page_is_offered_what_programs_are(api: httpx.AsyncClient) -> None:
    asks = (
        api.get("/docs"),
        api.get("/docs", headers={"Accept": "application/json"}),
        api.get("/docs", headers={"Accept": "*/*"}),
        api.post("/v1/models/iris/predict", headers=PAGE),
    )
    for asking in asks:
        answer = await asking
        assert answer.status_code == 401
        assert answer.headers.get_list("WWW-Authenticate") == ['Bearer realm="api-host"']


async def test_what_a_browser_sends_by_itself_changes_nothing(
    api: httpx.AsyncClient, boss: str
) -> None:
    for route in ROUTES:
        method, path = asked(route)
        for each in {"POST", "PUT", "DELETE", "OPTIONS", method} - {"GET", "HEAD"}:
            answer = await api.request(each, path, headers={**PAGE, **basic(boss)})
            if NEEDS[route.path] is Open.TO_ALL:
                assert answer.status_code == 405
                continue
            assert answer.status_code == 401
            document = answer.json()
            assert document["type"] == "urn:tripod:problem:unauthenticated"
            assert f"GET and HEAD, and not with {each}" in document["detail"]
            assert "Authorization: Bearer" in document["detail"]
            assert len(answer.headers.get_list("WWW-Authenticate")) == 1


async def test_with_a_key_in_another_header_it_is_for_a_proxy(
    api: httpx.AsyncClient, boss: str
) -> None:
    proxy = basic("of the proxy", "alice")
    for method, path in (("GET", "/v1/models"), ("POST", "/v2/repository/index")):
        shown = {**proxy, "X-API-Key": boss}
        assert (await api.request(method, path, headers=shown)).is_success
        pairs = [("Authorization", text) for text in (*proxy.values(), *bearer(boss).values())]
        assert (await api.request(method, path, headers=pairs)).is_success


async def test_wrong_passwords_are_guesses(locked: ApiSettings, boss: str, start: Start) -> None:
    few = locked.model_copy(update={"api_rate_guesses": 3})
    async with start(few) as api:
        for _ in range(3):
            answer = await api.get("/docs", headers={**PAGE, **basic("admin", "admin")})
            assert answer.status_code == 401
            assert "Basic" in answer.headers["WWW-Authenticate"]
        assert (await api.get("/docs", headers=basic("admin"))).status_code == 429
        # Who is known is not held up by what others guess at the same address.
        assert (await api.get("/docs", headers=basic(boss))).is_success


async def test_no_password_is_in_a_log_or_an_answer(api: httpx.AsyncClient, boss: str) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG))
    texts = [boss, base64.b64encode(f":{boss}".encode()).decode()]
    with capture_logs() as lines:
        answers = [
            await api.request(method, path, headers={**PAGE, **basic(boss)})
            for method in ("GET", "POST")
            for path in ("/docs", "/", "/no/such/path", "/v1/trainings")
        ]
    assert lines
    for text in texts:
        assert text not in str(lines)
        assert not any(text in answer.text + str(answer.headers) for answer in answers)
    assert "key:boss" in {line.get("caller") for line in lines}


@given(
    st.one_of(
        st.binary(max_size=200),
        st.binary(max_size=200).map(base64.b64encode),
        st.text(max_size=100).map(lambda text: base64.b64encode(text.encode())),
        st.sampled_from(
            [
                b"",
                b"=",
                base64.b64encode(b"no colon"),
                base64.b64encode(b":\xff\xfe"),
                base64.b64encode(b"\xed\xa0\x80:\xed\xa0\x80"),
                b"A" * 1_000_000,
                base64.b64encode(b":" + b"x" * 1_000_000),
            ]
        ),
    )
)
def test_whatever_is_sent_is_read_or_is_a_password_of_nobody(value: bytes) -> None:
    found = credentials.of_headers([(b"authorization", b"Basic " + value)], "GET")
    assert isinstance(found, str)
    with pytest.raises(Problem, match="GET and HEAD"):
        credentials.of_headers([(b"authorization", b"Basic " + value)], "POST")


@pytest.mark.parametrize(
    "value",
    [
        b"Basic",
        b"Basic ",
        b"Basic \xff\xfe",
        b"Basic ====",
        b"Basic " + base64.b64encode(b"no colon"),
        b"Basic " + base64.b64encode(b":\xff"),
        b"Basic " + base64.b64encode("user:key".encode("utf-16")),
        b"Basic " + base64.b64encode(b":" + b"x" * 1_000_000),
        b"Basic " + base64.b64encode(b":" + b"a.b.c" * 10_000),
    ],
)
async def test_what_is_no_password_is_refused(api: httpx.AsyncClient, value: bytes) -> None:
    answer = await api.get("/docs", headers=[(b"Authorization", value), (b"Accept", b"text/html")])
    assert answer.status_code == 401
    assert "Basic" in answer.headers["WWW-Authenticate"]


async def test_a_page_runs_and_takes_only_what_stands_in_it(
    api: httpx.AsyncClient, boss: str
) -> None:
    for path in ("/docs", "/"):
        answer = await api.get(path, headers={**PAGE, **basic(boss)})
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["Cache-Control"] == "no-store"
        for kind in ("style", "script"):
            for text in re.findall(f"<{kind}>(.*?)</{kind}>", answer.text, re.DOTALL):
                hashed = base64.b64encode(sha256(text.encode()).digest()).decode()
                assert f"{kind}-src 'sha256-{hashed}'" in policy
        assert not re.search(r" (style|on\w+)=", answer.text)


def test_the_real_server_lets_a_browser_in_over_either_http(
    registry: RegistryServer, tmp_path: Path, file: Path, boss: str
) -> None:
    port = free_port()
    with serving(registry, tmp_path, port, API_AUTH="yes", API_KEYS_FILE=str(file)):
        url = f"http://127.0.0.1:{port}"
        for attempt in stamina.retry_context(httpx.TransportError, timeout=60):
            with attempt:
                httpx.get(f"{url}/livez").raise_for_status()
        for is_new in (False, True):
            with httpx.Client(base_url=url, http1=not is_new, http2=is_new) as client:
                get = partial(client.get, headers=PAGE)
                browser = Browser(boss)
                assert "<h1>" in get("/docs", auth=browser).text
                assert len(browser.challenges) == 2
                assert "mlflow" in get("/", auth=httpx.BasicAuth("", boss)).text
                assert get("/docs", auth=Browser("wrong")).status_code == 401
                refused = client.post("/v1/trainings", auth=httpx.BasicAuth("", boss))
                assert refused.status_code == 401
                assert refused.json()["type"] == "urn:tripod:problem:unauthenticated"
