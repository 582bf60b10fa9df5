"""A stream ends when its caller is no longer known, and says from which row to go on."""

import http.client
import json
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from api_host.auth import keys
from api_host.auth.caller import Access
from api_host.auth.keys import Keyring
from api_host.auth.tokens import LEEWAY_SECONDS
from tests.api_host.arrow_streams import ARROW, column, read, written
from tests.api_host.registry_server import running
from tests.api_host.test_auth import bearer, make_key
from tests.api_host.test_bulk_clients import END, LINE, PREDICT, send
from tests.api_host.test_serve import ROW, free_port, serving, until_well
from tests.api_host.test_tokens import AUDIENCE, ISSUER, SECRET, claims

NDJSON = "application/x-ndjson"
SECONDS_UNTIL_KNOWN = 2.0


@dataclass(frozen=True)
class Locked:
    """An API that asks for keys, and serves iris."""

    port: int
    keys: Path

    @contextmanager
    def stream(self, shown: str, form: str = NDJSON) -> Iterator[http.client.HTTPConnection]:
        """A connection on which the head of a stream has been sent."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        with closing(connection):
            connection.putrequest("POST", PREDICT)
            connection.putheader("Authorization", f"Bearer {shown}")
            connection.putheader("Content-Type", form)
            connection.putheader("Transfer-Encoding", "chunked")
            connection.endheaders()
            yield connection

    def knows(self, shown: str) -> bool:
        """Whether that key or token is accepted."""
        url = f"http://127.0.0.1:{self.port}/version"
        return httpx.get(url, headers=bearer(shown), timeout=60).is_success

    def until_known(self, shown: str, *, known: bool = True, seconds: float = 120) -> bool:
        """Waits until that key or token is accepted, or no more; whether it came to that."""
        deadline = time.monotonic() + seconds
        while self.knows(shown) != known:
            if time.monotonic() > deadline:
                return False
        return True

    def new_key(self, name: str) -> str:
        """A key that is accepted already."""
        shown = make_key(self.keys, name, Access.PREDICT)
        assert self.until_known(shown)
        return shown


@pytest.fixture(scope="module")
def api(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Locked]:
    folder = tmp_path_factory.mktemp("api")
    file, port = folder / "keys.json", free_port()
    boss = make_key(file, "boss", *Access)
    secrets = folder / "credentials"
    secrets.mkdir()
    (secrets / "API_JWT_SECRET").write_text(SECRET)
    with (
        running() as registry,
        serving(
            registry,
            folder,
            port,
            API_AUTH="yes",
            API_KEYS_FILE=str(file),
            API_JWT_ISSUER=ISSUER,
            API_JWT_AUDIENCE=AUDIENCE,
            API_RATE_GUESSES="0",  # Whether a key is known yet is asked often.
            API_READ_TIMEOUT_SECONDS="120",
            CREDENTIALS_DIRECTORY=str(secrets),
        ) as process,
        httpx.Client(
            base_url=f"http://127.0.0.1:{port}", headers=bearer(boss), timeout=60
        ) as client,
    ):
        registry.promote("iris", models / "linear")
        until_well(client, process, "/readyz")
        yield Locked(port, file)


def assert_ends(record: dict[str, Any], next_row: int, detail: str) -> None:
    assert record.keys() == {"problem"}
    problem = record["problem"]
    assert problem["type"] == "urn:tripod:problem:unauthenticated"
    assert detail in problem["detail"]
    assert problem["next_row"] == next_row


def test_a_stream_of_a_revoked_key_ends_within_two_seconds(api: Locked) -> None:
    shop = api.new_key("shop")
    with api.stream(shop) as connection:
        send(connection, LINE)
        with connection.getresponse() as answer:
            assert json.loads(answer.readline()) == {"row": 0, "prediction": "setosa"}
            Keyring(api.keys).revoke("shop")
            revoked, row = time.monotonic(), 1
            while True:
                sent = time.monotonic()
                send(connection, LINE)
                record = json.loads(answer.readline())
                if "problem" in record:
                    break
                assert record == {"row": row, "prediction": "setosa"}
                assert sent < revoked + SECONDS_UNTIL_KNOWN
                row += 1
            assert_ends(record, row, "was revoked")
            # Whoever reads the end of the answer may stop to send.
            connection.send(END)
            assert answer.read() == b""
    again = api.new_key("shop-again")
    url = f"http://127.0.0.1:{api.port}{PREDICT}?from_row={row}"
    rest = httpx.post(url, content=LINE, headers={**bearer(again), "Content-Type": NDJSON})
    assert rest.json() == {"row": row, "prediction": "setosa"}


def test_a_stream_of_arrow_ends_in_its_own_form(api: Locked) -> None:
    shop = api.new_key("arrows")
    batch = {name: column([value]) for name, value in ROW.items()}
    whole, end_bytes = written(batch, batch), 8
    begin = len(written(batch)) - end_bytes
    with api.stream(shop, ARROW) as connection:
        send(connection, whole[:begin])
        with connection.getresponse() as answer:
            found = answer.read1()
            assert found
            Keyring(api.keys).revoke("arrows")
            assert api.until_known(shop, known=False)
            send(connection, whole[begin:])
            connection.send(END)
            found += answer.read()
    first, last = read(found)
    assert (first["row"], first["prediction"]) == (0, "setosa")
    assert last["row"] is None
    assert_ends({"problem": json.loads(last["problem"])}, 1, "was revoked")


@pytest.mark.parametrize("kind", ["key", "token"])
def test_a_stream_ends_when_the_key_or_token_does(api: Locked, kind: str) -> None:
    for seconds in (3, 12, 48):  # A machine that is slow may need it for longer to begin.
        shown = _ending(api, kind, seconds)
        if not api.until_known(shown, seconds=seconds):
            continue
        with api.stream(shown) as connection:
            send(connection, LINE)
            with connection.getresponse() as answer:
                if answer.status == 401:
                    continue
                record = json.loads(answer.readline())
                if "problem" in record:
                    continue
                assert record == {"row": 0, "prediction": "setosa"}
                assert api.until_known(shown, known=False)
                send(connection, LINE)
                assert_ends(json.loads(answer.readline()), 1, "has expired")
                connection.send(END)
                return
    pytest.fail("no stream began in time")


def _ending(api: Locked, kind: str, seconds: int) -> str:
    if kind == "token":
        end = int(time.time() + seconds - LEEWAY_SECONDS)
        return jwt.encode(claims(exp=end), SECRET, "HS256")
    expires = keys.now() + timedelta(seconds=seconds)
    return make_key(api.keys, f"short-{seconds}", Access.PREDICT, expires=expires)
