"""Reads the YAML of an MLmodel file, which anybody may have written: bounded in time and memory."""

from collections.abc import Hashable
from typing import Any

import yaml  # type: ignore[import-untyped]

from api_host.errors import ModelRefusedError
from api_host.models.loader import MOST_BYTES_OF_MLMODEL


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Without merge keys, by which a few lines become gigabytes; MLflow writes none."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(None, None, "it has a merge key")


def parse(text: bytes) -> dict[Hashable, Any]:
    """What the file says. Raises `ModelRefusedError`."""
    if len(text) > MOST_BYTES_OF_MLMODEL:
        raise ModelRefusedError(f"its MLmodel file has more than {MOST_BYTES_OF_MLMODEL} bytes")
    try:
        document = yaml.load(text, _Loader)  # noqa: S506 - it is a safe one
    except Exception as error:  # noqa: BLE001 - PyYAML lets out what int() and the like raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ModelRefusedError(f"its MLmodel file cannot be understood: {reason}") from None
    if not isinstance(document, dict):
        raise ModelRefusedError("its MLmodel file cannot be understood: it is no mapping")
    return document
