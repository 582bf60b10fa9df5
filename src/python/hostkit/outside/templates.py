"""The files below deploy/ that become the configuration of another program."""

import importlib.resources
import re
from collections.abc import Mapping


def filled(folder: str, name: str, values: Mapping[str, str]) -> str:
    """A file below deploy/ with each `@NAME@` in it replaced; every value must be used."""
    text = (importlib.resources.files(f"deploy.{folder}") / name).read_text(encoding="utf-8")
    unused = values.keys() - set(re.findall(r"@([A-Z0-9_]+)@", text))
    if unused:
        raise LookupError(f"{name} has no place for {', '.join(sorted(unused))}")
    return re.sub(r"@([A-Z0-9_]+)@", lambda match: values[match[1]], text)
