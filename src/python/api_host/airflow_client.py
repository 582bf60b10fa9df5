"""Airflow's REST API: a client that logs in, stays logged in, and tries again what is safe."""

import asyncio
import base64
import binascii
import time
from typing import Any

import httpx
import msgspec
import stamina

from api_host import peers
from api_host.errors import AirflowAwayError

EARLY_SECONDS = 60.0
"""How long before its end a token is renewed."""

UNKNOWN_LIFE_SECONDS = 600.0
DOUBT_SECONDS = 30.0
"""For how long a refusal that a new token did not change is taken for what it says.

Airflow answers 403 to a token that was signed with a former secret, as to what a user may not do.
"""

ATTEMPTS = 3
RETRY_SECONDS = 5.0


class AirflowClient:
    """One user of one Airflow.

    `client`: whose base URL is Airflow's.
    """

    def __init__(self, client: httpx.AsyncClient, *, username: str, password: str) -> None:
        self._client = client
        self._username = username
        self._password = password
        self._token = ""
        self._renew_at = 0.0
        self._believed_until = 0.0
        self._logging_in = asyncio.Lock()

    async def request(
        self, method: str, path: str, *, json: object = None, safe: bool = True
    ) -> httpx.Response:
        """Airflow's answer below /api/v2, which may well be a 4xx.

        `safe`: whether it does no harm if Airflow gets the request twice.
        Raises `AirflowAwayError`.
        """
        try:
            async for attempt in stamina.retry_context(
                on=_may_try_again if safe else _never_arrived,
                attempts=ATTEMPTS,
                timeout=RETRY_SECONDS,
                wait_initial=0.1,
                wait_max=1.0,
            ):
                with attempt:
                    return await self._once(method, path, json)
        except httpx.HTTPStatusError as error:
            raise AirflowAwayError(
                f"{error.request.url} answered {error.response.status_code}"
            ) from None
        except httpx.HTTPError as error:
            reason = str(error) or type(error).__name__
            raise AirflowAwayError(f"{self._client.base_url} cannot be reached: {reason}") from None
        raise AssertionError("a retry ends with an answer or an error")

    async def _once(self, method: str, path: str, json: object) -> httpx.Response:
        response = await self._send(method, path, json)
        if self._may_be_the_token(response):
            self._renew_at = 0.0  # Airflow has new secrets, or its clock is not ours.
            response = await self._send(method, path, json)
            if response.status_code == httpx.codes.FORBIDDEN:
                self._believed_until = time.monotonic() + DOUBT_SECONDS
        if response.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            raise AirflowAwayError(
                f"Airflow lets {self._username} not do {method} {path}: check"
                " AIRFLOW_USERNAME, AIRFLOW_PASSWORD and the roles of that user"
            )
        if response.is_server_error:
            response.raise_for_status()
        return response

    def _may_be_the_token(self, response: httpx.Response) -> bool:
        if response.status_code == httpx.codes.FORBIDDEN:
            return time.monotonic() > self._believed_until
        return response.status_code == httpx.codes.UNAUTHORIZED

    async def _send(self, method: str, path: str, json: object) -> httpx.Response:
        token = await self._valid_token()
        headers = {"Authorization": f"Bearer {token}"}
        request = self._client.build_request(method, f"/api/v2/{path}", json=json, headers=headers)
        return await peers.ask(self._client, request)

    async def _valid_token(self) -> str:
        async with self._logging_in:
            if time.time() >= self._renew_at:
                account = {"username": self._username, "password": self._password}
                request = self._client.build_request("POST", "/auth/token", json=account)
                response = await peers.ask(self._client, request)
                if response.is_client_error:
                    raise AirflowAwayError(
                        f"Airflow does not let {self._username} log in ({response.status_code}):"
                        " check AIRFLOW_USERNAME and AIRFLOW_PASSWORD"
                    )
                if not response.is_success:
                    response.raise_for_status()
                self._token = _access_token(response)
                self._renew_at = _end(self._token) - EARLY_SECONDS
            return self._token


def _access_token(response: httpx.Response) -> str:
    try:
        return str(response.json()["access_token"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise AirflowAwayError(f"{response.url} does not answer as Airflow") from None


def _end(token: str) -> float:
    # Read, not verified: it is Airflow who must trust it.
    try:
        payload = token.split(".")[1]
        claims: Any = msgspec.json.decode(base64.urlsafe_b64decode(payload + "=="))
        return float(claims["exp"])
    except (IndexError, KeyError, TypeError, ValueError, binascii.Error, msgspec.MsgspecError):
        return time.time() + UNKNOWN_LIFE_SECONDS


def _may_try_again(error: Exception) -> bool:
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code in (502, 503, 504)
    return isinstance(error, httpx.TransportError)


def _never_arrived(error: Exception) -> bool:
    return isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
