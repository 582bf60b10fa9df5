"""What a caller must be allowed for each method of gRPC."""

from collections.abc import Mapping

from google.protobuf.descriptor import MethodDescriptor

from api_host.auth.caller import Access
from api_host.auth.needs import NEED_OF_OTHERS, Need, Open

NEEDS: Mapping[str, Need] = {
    # As over HTTP, of which a stranger may probe /livez and /readyz.
    "grpc.health.v1.Health.Check": Open.TO_CALLERS,
    "grpc.health.v1.Health.Watch": Open.TO_CALLERS,
    "inference.GRPCInferenceService.ServerLive": Open.TO_CALLERS,
    "inference.GRPCInferenceService.ServerReady": Open.TO_CALLERS,
    "inference.GRPCInferenceService.ServerMetadata": Open.TO_CALLERS,
    "inference.GRPCInferenceService.ModelReady": Access.PREDICT,
    "inference.GRPCInferenceService.ModelMetadata": Access.PREDICT,
    "inference.GRPCInferenceService.ModelInfer": Access.PREDICT,
    "inference.GRPCInferenceService.RepositoryIndex": Access.PREDICT,
    "inference.GRPCInferenceService.RepositoryModelLoad": Access.OPERATE,
    "inference.GRPCInferenceService.RepositoryModelUnload": Access.OPERATE,
}
"""By the full name of a method. Reflection needs any caller."""

CHANGES: Mapping[str, str] = {
    "inference.GRPCInferenceService.RepositoryModelLoad": "model.load",
    "inference.GRPCInferenceService.RepositoryModelUnload": "model.unload",
}
"""What is audited, also where it is refused."""


def need_of(method: MethodDescriptor) -> Need:
    """What calls of a method need."""
    return NEEDS.get(method.full_name, NEED_OF_OTHERS)


def change_of(method: MethodDescriptor) -> str | None:
    """What calls of a method change, if it is audited."""
    return CHANGES.get(method.full_name)
