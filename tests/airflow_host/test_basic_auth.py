import base64

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from airflow_host.basic_auth import BasicAuth

pytestmark = pytest.mark.anyio

USERS = {"airflow": "airflow", "zoë": "päss:wörd"}


class Server:
    """As much of an api-server as a client that logs in can see."""

    def __init__(self) -> None:
        self.logins = 0
        self.status: int | None = None
        self.app = Starlette(
            routes=[
                Route("/auth/token", self.token, methods=["POST"]),
                Route("/{path:path}", self.echo),
            ],
            middleware=[Middleware(BasicAuth)],
        )

    async def token(self, request: Request) -> JSONResponse:
        self.logins += 1
        body = await request.json()
        if self.status is not None:
            return JSONResponse({}, self.status)
        if USERS.get(body["username"]) != body["password"]:
            return JSONResponse({"detail": "Invalid credentials"}, 401)
        return JSONResponse({"access_token": f"token-{self.logins}"}, 201)

    async def echo(self, request: Request) -> JSONResponse:
        return JSONResponse({"authorization": request.headers.get("authorization")})

    async def get(self, path: str, authorization: str | None = None) -> httpx.Response:
        headers = {} if authorization is None else {"Authorization": authorization}
        transport = httpx.ASGITransport(self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://airflow") as client:
            return await client.get(path, headers=headers)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def server() -> Server:
    return Server()


def basic(username: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


@pytest.mark.parametrize("username", USERS)
async def test_the_right_password_becomes_a_token(server: Server, username: str) -> None:
    response = await server.get("/api/v2/dags", basic(username, USERS[username]))
    assert response.json() == {"authorization": "Bearer token-1"}


async def test_the_token_is_remembered(server: Server) -> None:
    for _ in range(3):
        await server.get("/api/v2/dags", basic("airflow", "airflow"))
    assert server.logins == 1


async def test_a_token_is_remembered_for_its_own_password_only(server: Server) -> None:
    await server.get("/api/v2/dags", basic("airflow", "airflow"))
    response = await server.get("/api/v2/dags", basic("airflow", "wrong"))
    assert response.status_code == 401


@pytest.mark.parametrize(
    "authorization",
    [basic("airflow", "wrong"), basic("nobody", "airflow"), "Basic", "Basic !", "basic /w=="],
)
async def test_a_wrong_one_is_told_how_to_log_in(server: Server, authorization: str) -> None:
    response = await server.get("/api/v2/dags", authorization)
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Basic ")
    assert response.json() == {"detail": "Invalid credentials"}


@pytest.mark.parametrize("authorization", [None, "Bearer abc", "Digest abc"])
async def test_other_ways_to_log_in_are_left_alone(
    server: Server, authorization: str | None
) -> None:
    response = await server.get("/api/v2/dags", authorization)
    assert response.json() == {"authorization": authorization}


@pytest.mark.parametrize(
    "path", ["/api/v2/monitor/health", "/api/v2/version", "/api/v1/health", "/", "/execution/x"]
)
async def test_what_is_open_stays_open(server: Server, path: str) -> None:
    response = await server.get(path, basic("airflow", "wrong"))
    assert response.status_code == 200
    assert server.logins == 0


@pytest.mark.parametrize("status", [500, 503])
async def test_a_broken_log_in_is_not_the_clients_fault(server: Server, status: int) -> None:
    server.status = status
    response = await server.get("/api/v2/dags", basic("airflow", "airflow"))
    assert response.status_code == 503
    server.status = None
    assert (await server.get("/api/v2/dags", basic("airflow", "airflow"))).is_success


async def test_a_path_below_the_root_is_the_same(server: Server) -> None:
    transport = httpx.ASGITransport(server.app, root_path="/team")
    async with httpx.AsyncClient(transport=transport, base_url="http://airflow") as client:
        headers = {"Authorization": basic("airflow", "airflow")}
        response = await client.get("/team/api/v2/dags", headers=headers)
    assert response.json() == {"authorization": "Bearer token-1"}
