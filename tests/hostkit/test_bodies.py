"""Bodies that are too large are not read, whatever their clients say of them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from hostkit.bodies import Bodies, TooMuch

MOST = 1000
TOGETHER = 2500


class Reader:
    """An application that reads a body whole, as frameworks do, and takes an error for a 400."""

    def __init__(self) -> None:
        self.read = 0
        self.reading = asyncio.Event()
        self.may_end = asyncio.Event()
        self.may_end.set()

    async def __call__(self, _: Any, receive: Any, send: Any) -> None:
        status = 200
        try:
            more = True
            while more:
                message = await receive()
                self.read += len(message["body"])
                more = message["more_body"]
            self.reading.set()
            await self.may_end.wait()
        except TooMuch:
            status = 400
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b"read"})


async def in_pieces(size: int, piece: int = 100) -> AsyncIterator[bytes]:
    """A body whose length nobody says."""
    for _ in range(size // piece):
        yield bytes(piece)


def client(reader: Any, most: int | None = MOST) -> httpx.AsyncClient:
    limited = Bodies(reader, lambda _: most, TOGETHER, "MOST")
    return httpx.AsyncClient(transport=httpx.ASGITransport(limited), base_url="http://host")


def test_a_body_within_the_limit_is_read() -> None:
    async def run() -> None:
        reader = Reader()
        async with client(reader) as api:
            assert (await api.post("/", content=bytes(MOST))).text == "read"
            assert (await api.post("/", content=in_pieces(MOST))).text == "read"
        assert reader.read == 2 * MOST

    asyncio.run(run())


def test_a_body_that_says_that_it_is_too_large_is_not_begun() -> None:
    async def run() -> None:
        reader = Reader()
        async with client(reader) as api:
            answer = await api.post("/", content=bytes(MOST + 1))
        assert (answer.status_code, answer.headers["connection"]) == (413, "close")
        assert answer.json()["detail"] == "A body may have 1000 bytes here, by MOST of this server"
        assert reader.read == 0

    asyncio.run(run())


def test_a_body_without_end_is_refused_where_the_limit_is() -> None:
    async def run() -> None:
        reader = Reader()
        async with client(reader) as api:
            answer = await api.post("/", content=in_pieces(100 * MOST))
        assert answer.status_code == 413
        assert reader.read == MOST

    asyncio.run(run())


def test_where_there_is_no_limit_all_is_read() -> None:
    async def run() -> None:
        reader = Reader()
        async with client(reader, most=None) as api:
            assert (await api.post("/", content=in_pieces(100 * MOST))).text == "read"
        assert reader.read == 100 * MOST

    asyncio.run(run())


def test_many_bodies_at_a_time_are_refused_and_later_ones_are_not() -> None:
    async def run() -> None:
        reader = Reader()
        reader.may_end.clear()
        async with client(reader) as api:
            held = []
            for _ in range(2):
                reader.reading.clear()
                held.append(asyncio.create_task(api.post("/", content=bytes(MOST))))
                await reader.reading.wait()
            refused = await api.post("/", content=bytes(MOST))
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
            reader.may_end.set()
            assert [answer.text for answer in await asyncio.gather(*held)] == ["read", "read"]
            assert (await api.post("/", content=bytes(MOST))).text == "read"

    asyncio.run(run())


@pytest.mark.parametrize("most", [MOST, None])
def test_a_body_with_two_ends_is_refused(most: int | None) -> None:
    async def run() -> None:
        reader = Reader()
        headers = {"Content-Length": "2", "Transfer-Encoding": "chunked"}
        async with client(reader, most) as api:
            answer = await api.post("/", content=b"{}", headers=headers)
        assert (answer.status_code, answer.headers["connection"]) == (400, "close")
        assert reader.read == 0

    asyncio.run(run())


def test_what_goes_wrong_in_the_application_is_not_hidden() -> None:
    async def broken(*_: Any) -> None:
        raise KeyError("of its own")

    async def run() -> str:
        async with client(broken) as api:
            try:
                await api.post("/", content=b"{}")
            except KeyError as error:
                return str(error)
        return ""

    assert asyncio.run(run()) == "'of its own'"
