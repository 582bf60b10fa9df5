"""The outermost layer of a call: its id, its log line, its metrics, a status for any error."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Never, TypeAlias

import grpc
import structlog
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from grpc.aio import ServicerContext
from structlog.contextvars import bound_contextvars

from api_host import metrics
from api_host.access import FORWARDED, MODEL, REQUEST_ID, good_id, model_header
from api_host.auth import credentials
from api_host.auth.caller import Caller
from api_host.auth.needs import Need, Open
from api_host.host import Host
from api_host.models.registry import ModelVersion
from api_host.problems import (
    FORBIDDEN,
    HEADERS_TOO_LARGE,
    INTERNAL,
    INVALID_BODY,
    OVERLOADED,
    SLOW_BODY,
    UNAUTHENTICATED,
    Problem,
)
from api_host.rates.limiter import Visit
from api_host.rpc import statuses
from api_host.rpc.door import address_of
from api_host.rpc.needs import change_of, need_of
from hostkit import audit

METHOD = "gRPC"
"""What stands in logs and metrics where HTTP has its method."""

_QUIET = frozenset({"Check", "ServerLive", "ServerReady"})
"""Asked every few seconds by machines: logged only when the level is DEBUG."""

_FORWARDED = FORWARDED.lower()

RETRY_SECONDS = 1

_log = structlog.get_logger("api_host.access")


@dataclass
class Call:
    """One call.

    `host`: which was called.
    `id`: the caller's name for it, or one of our own.
    `address`: from where it comes.
    `caller`: who asks.
    `seconds_left`: until its caller stops to wait; None if it waits for ever.
    `visit`: counts what the caller asks.
    `served`: the version that gives the answer, once it is known.
    `status`: how it ended; until then, as it ends if nobody waits for its end.
    """

    host: Host
    id: str
    address: str
    caller: Caller
    seconds_left: float | None
    visit: Visit
    served: ModelVersion | None = None
    status: grpc.StatusCode = grpc.StatusCode.CANCELLED

    def note_change(self, action: str, on: str, *, allowed: bool = True) -> None:
        """Writes an audit line for what this call changes."""
        audit.note(action, on, who=self.caller.name, address=self.address, allowed=allowed)

    def metadata(self) -> list[tuple[str, str]]:
        """What is sent behind every answer, as headers are over HTTP."""
        found = [(REQUEST_ID.lower(), self.id)]
        if self.served is not None:
            found.append((MODEL.lower(), model_header(self.served)))
        return found


Context: TypeAlias = ServicerContext[bytes, bytes]
Behaviour: TypeAlias = Callable[[Call, Any], Awaitable[Message]]
Handler: TypeAlias = "grpc.RpcMethodHandler[bytes, bytes]"


class Calls:
    """The calls of a server.

    `running`: those that have no answer yet.
    `parting`: set when there are to be no more.
    """

    def __init__(self, host: Host) -> None:
        self.running: set[asyncio.Task[None]] = set()
        self.parting = asyncio.Event()
        self._host = host

    def handler(self, method: MethodDescriptor, behaviour: Behaviour) -> Handler:
        """What gRPC is to do with calls of a method.

        `behaviour`: takes the message that the method takes; may raise `Problem`.
        """
        request = GetMessageClass(method.input_type)

        async def answer(messages: AsyncIterator[bytes], context: Context) -> bytes:
            call = _call(self._host, context)
            with bound_contextvars(request_id=call.id), self._noted(method, call):
                try:
                    self._check_room(method)
                    self._check_headers(context)
                    need = need_of(method)
                    call.caller = await find_caller(self._host, context, need)
                    if method.name not in _QUIET:
                        call.visit = self._host.limiter.visit(call.caller)
                        await call.visit.enter()
                    self._host.guard.allow(call.caller, need)
                    message = await behaviour(call, _read(request, await self._body(messages)))
                except Problem as problem:
                    _note_refusal(method, call, problem)
                    return await _refuse(context, call, problem)
                except Exception:  # noqa: BLE001 - the caller is told, whatever it is
                    _log.exception("request failed")
                    detail = f"the log of this host says more, under request_id {call.id}"
                    return await _refuse(context, call, Problem(INTERNAL, detail))
                finally:
                    call.visit.leave()
                context.set_trailing_metadata(call.metadata())
                call.status = grpc.StatusCode.OK
                return message.SerializeToString()

        # Bytes go in and out: what gRPC cannot read by itself, it calls an internal error.
        # As a stream of messages, although there is one: else it is waited for without a limit.
        return grpc.stream_unary_rpc_method_handler(answer)

    def _check_room(self, method: MethodDescriptor) -> None:
        running, most = len(self.running), self._host.settings.api_max_connections
        if running > most and method.name not in _QUIET:
            detail = (
                f"this host answers {most} calls at a time, and more may not be: ask again later"
            )
            raise Problem(OVERLOADED, detail, retry_after=RETRY_SECONDS)

    def _check_headers(self, context: Context) -> None:
        most = self._host.settings.api_max_headers
        if len(context.invocation_metadata() or ()) > most:
            raise Problem(HEADERS_TOO_LARGE, f"a call may have {most} metadata")

    async def _body(self, messages: AsyncIterator[bytes]) -> bytes:
        seconds = self._host.settings.api_read_timeout_seconds
        try:
            async with asyncio.timeout(seconds):
                return await anext(messages)
        except TimeoutError:
            raise Problem(SLOW_BODY, f"the message did not arrive within {seconds:g} s") from None
        except StopAsyncIteration:
            raise Problem(INVALID_BODY, "the call has no message") from None

    @contextmanager
    def _noted(self, method: MethodDescriptor, call: Call) -> Iterator[None]:
        start = time.perf_counter()
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in a task
        self.running.add(task)
        # Until its answer is sent, which is after this block.
        task.add_done_callback(self.running.discard)
        try:
            yield
        finally:
            _note(method, call, time.perf_counter() - start)


async def find_caller(host: Host, context: Context, need: Need) -> Caller:
    """Who calls, if that must be known. Raises `Problem`."""
    guard, address = host.guard, client_of(host, context)
    if not guard.is_on or need is Open.TO_ALL:
        return guard.stranger(address)
    shown = credentials.of_metadata(context.invocation_metadata() or ())
    if known := shown and guard.known(shown):
        return known
    async with host.limiter.refuse_guesses(address):
        return await guard.check(shown)


def client_of(host: Host, context: Context) -> str:
    """The address from where a call comes, behind the proxies."""
    metadata = context.invocation_metadata() or ()
    forwarded = [str(value) for key, value in metadata if key == _FORWARDED]
    return host.proxies.client(address_of(context.peer()), forwarded)


def _call(host: Host, context: Context) -> Call:
    given = dict(context.invocation_metadata() or ()).get(REQUEST_ID.lower(), "")
    address = client_of(host, context)
    stranger = host.guard.stranger(address)
    return Call(
        host,
        good_id(str(given)),
        address,
        stranger,
        context.time_remaining(),
        host.limiter.visit(stranger),
    )


def _read(request: type[Message], body: bytes) -> Message:
    try:
        return request.FromString(body)
    except DecodeError as error:
        detail = f"the message is no {request.DESCRIPTOR.full_name}: {error}"
        raise Problem(INVALID_BODY, detail) from None


def _note_refusal(method: MethodDescriptor, call: Call, problem: Problem) -> None:
    change = change_of(method)
    if change is not None and problem.kind in (UNAUTHENTICATED, FORBIDDEN):
        call.note_change(change, "model", allowed=False)


async def refuse(context: Context, problem: Problem) -> Never:
    """Ends a call that is not made by a `handler`, with what is said to its caller."""
    metadata = tuple(statuses.metadata(problem))
    await context.abort(statuses.code(problem.kind), statuses.detail(problem), metadata)


async def _refuse(context: Context, call: Call, problem: Problem) -> Never:
    call.status = statuses.code(problem.kind)
    metadata = (*call.metadata(), *statuses.metadata(problem))
    await context.abort(call.status, statuses.detail(problem), metadata)


def _note(method: MethodDescriptor, call: Call, seconds: float) -> None:
    metrics.note_request(method.name, METHOD, call.status.name, seconds)
    served = call.served
    log = _log.debug if method.name in _QUIET else _log.info
    log(
        "request",
        method=METHOD,
        path=f"/{method.containing_service.full_name}/{method.name}",
        status=call.status.name,
        ms=round(seconds * 1000, 2),
        client=call.address,
        model=served.name if served else None,
        version=served.version if served else None,
        caller=call.caller.name,
    )
