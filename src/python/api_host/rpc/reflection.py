"""Keeps reflection, which is not ours, for callers whom this host knows."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias

import grpc
from grpc_reflection.v1alpha import reflection

from api_host.auth.needs import Open
from api_host.host import Host
from api_host.problems import Problem
from api_host.rpc.calls import Context, find_caller, refuse

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class Reflection(grpc.aio.ServerInterceptor):
    """Asks who calls before reflection answers; all other methods ask themselves."""

    def __init__(self, host: Host) -> None:
        self._host = host

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable["Handler | None"]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "Handler | None":
        """What gRPC is to do with a call."""
        handler = await continuation(handler_call_details)
        ours = not handler_call_details.method.startswith(f"/{reflection.SERVICE_NAME}/")
        if ours or handler is None or handler.stream_stream is None:
            return handler
        inner: Any = handler.stream_stream  # Of gRPC's other, synchronous interface, by its types.

        async def checked(messages: AsyncIterator[Any], context: Context) -> AsyncIterator[Any]:
            await find_caller(self._host, context, Open.TO_CALLERS)
            async for message in messages:
                # A key may be revoked while the stream goes on.
                await find_caller(self._host, context, Open.TO_CALLERS)
                yield message

        async def answer(messages: AsyncIterator[Any], context: Context) -> AsyncIterator[Any]:
            try:
                async for message in inner(checked(messages, context), context):
                    yield message
            except Problem as problem:
                await refuse(context, problem)

        return grpc.stream_stream_rpc_method_handler(
            answer, handler.request_deserializer, handler.response_serializer
        )
