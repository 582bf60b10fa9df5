"""gRPC's own health protocol: whether predictions can be made, asked once or watched."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import grpc
from grpc_health.v1.health_pb2 import DESCRIPTOR, HealthCheckRequest, HealthCheckResponse

from api_host.host import Host
from api_host.problems import NOT_FOUND, Problem
from api_host.rpc.calls import Call, Calls, Context, Handler, find_caller, refuse
from api_host.rpc.needs import need_of
from api_host.rpc.service import SERVICE as INFERENCE

SERVICE = DESCRIPTOR.services_by_name["Health"]
SERVICES = ("", INFERENCE.full_name)
"""What can be asked for; no name stands for the whole host."""

SECONDS_BETWEEN_LOOKS = 1.0


def handlers(host: Host, calls: Calls) -> dict[str, Handler]:
    """What gRPC is to do with calls of each method."""
    need = need_of(SERVICE.methods_by_name["Watch"])

    async def watch(
        request: HealthCheckRequest, context: Context
    ) -> AsyncIterator[HealthCheckResponse]:
        said = None
        while not calls.parting.is_set():
            # At each look: a key may be revoked while the stream goes on.
            try:
                await find_caller(host, context, need)
            except Problem as problem:
                await refuse(context, problem)
            status = _status(host, request.service)
            if status != said:
                yield HealthCheckResponse(status=status)
                said = status
            with suppress(TimeoutError):
                await asyncio.wait_for(calls.parting.wait(), SECONDS_BETWEEN_LOOKS)
        await context.abort(grpc.StatusCode.UNAVAILABLE, "this process ends: ask the next one")

    return {
        "Check": calls.handler(SERVICE.methods_by_name["Check"], check),
        "Watch": grpc.unary_stream_rpc_method_handler(
            watch, HealthCheckRequest.FromString, HealthCheckResponse.SerializeToString
        ),
    }


async def check(call: Call, request: HealthCheckRequest) -> HealthCheckResponse:
    """How this host is now."""
    if request.service not in SERVICES:
        raise Problem(
            NOT_FOUND, "there is no such service; ask for none, or for one that reflection names"
        )
    return HealthCheckResponse(status=_status(call.host, request.service))


def _status(host: Host, service: str) -> HealthCheckResponse.ServingStatus:
    if service not in SERVICES:
        return HealthCheckResponse.SERVICE_UNKNOWN
    return HealthCheckResponse.SERVING if host.catalog.ready else HealthCheckResponse.NOT_SERVING
