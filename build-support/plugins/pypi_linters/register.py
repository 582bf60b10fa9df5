"""The entry point of the plugin, which `pants.toml` names."""

from __future__ import annotations

from typing import Any

from pypi_linters import shell, workflows


def rules() -> list[Any]:
    """Every rule of the plugin."""
    return [*shell.rules(), *workflows.rules()]
