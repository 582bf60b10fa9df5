"""The files below deploy/ that become the configuration of another program."""

import importlib.resources
import re
from collections.abc import Collection, Mapping

_SECTION = re.compile(
    r"^[ \t]*@BEGIN_(\w+)@\n (.*?) ^[ \t]*@END_\1@\n", re.DOTALL | re.MULTILINE | re.VERBOSE
)


def filled(
    folder: str, name: str, values: Mapping[str, str], *, without: Collection[str] = ()
) -> str:
    """A file below deploy/ with each `@NAME@` in it replaced; every value must be used.

    `without`: what is left out of it, each from the line `@BEGIN_NAME@` to `@END_NAME@`.
    """
    text = (importlib.resources.files(f"deploy.{folder}") / name).read_text(encoding="utf-8")
    text = _SECTION.sub(lambda section: "" if section[1] in without else section[2], text)
    unused = values.keys() - set(re.findall(r"@([A-Z0-9_]+)@", text))
    if unused:
        raise LookupError(f"{name} has no place for {', '.join(sorted(unused))}")
    return re.sub(r"@([A-Z0-9_]+)@", lambda match: values[match[1]], text)
