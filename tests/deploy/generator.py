"""The generator of api-host, as a module."""

from collections.abc import Callable, Mapping
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

from tests.deploy.units import FOLDER

PATH = FOLDER / "api-host/generator"


def _load() -> ModuleType:
    spec = spec_from_loader("generator", SourceFileLoader("generator", str(PATH)))
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


module = _load()

main: Callable[[], None] = module.main
parse: Callable[[str], dict[str, str]] = module.parse
write_socket: Callable[[Path, Mapping[str, str]], None] = module.write_socket
