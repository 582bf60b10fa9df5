"""Makes PEX files of the kettle: real ones, from that of a real host, with other code in them."""

import hashlib
import json
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

SOURCE = Path(__file__).parent / "kettle_host"
NEEDED = {
    "annotated_types",
    "anyio",
    "certifi",
    "click",
    "h11",
    "httpcore",
    "httpx",
    "idna",
    "packaging",
    "pydantic",
    "pydantic_core",
    "python_dotenv",
    "stamina",
    "structlog",
    "tenacity",
    "typing_extensions",
    "typing_inspection",
}
"""What hostkit imports, and what that needs."""


def host_pex(name: str = "api_host.pex") -> Path:
    """The PEX file of a real host: where Pants puts it for a test, or where it was packaged."""
    places = [folder / name for folder in (Path(), Path("dist"))]
    return next(place for place in places if place.exists())


def build(target: Path, host_pex: Path, **variant: str | int) -> Path:
    """A release of the kettle. `variant`: what is different from `variant.py`, by name."""
    changes = {f"kettle_host/{path.name}": path.read_bytes() for path in SOURCE.glob("*.py")}
    changes |= {
        f"deploy/systemd/kettle-host/{path.name}": path.read_bytes()
        for path in (SOURCE / "units").iterdir()
    }
    text = "".join(f"{name} = {value!r}\n" for name, value in variant.items())
    changes["kettle_host/variant.py"] += text.encode()
    with zipfile.ZipFile(host_pex) as source:
        _write(target, source, changes)
    return target


def _write(target: Path, source: zipfile.ZipFile, changes: Mapping[str, bytes]) -> None:
    info = json.loads(source.read("PEX-INFO"))
    old = info["pex_hash"]
    code = "".join(f"{name}{hashlib.sha256(data).hexdigest()}" for name, data in changes.items())
    new = hashlib.sha1(f"{old}{code}".encode(), usedforsecurity=False).hexdigest()
    info |= {
        "code_hash": new,
        "distributions": {k: v for k, v in info["distributions"].items() if _is_needed(k)},
        "entry_point": "kettle_host.cli:main",
        "pex_hash": new,
        "requirements": [item for item in info["requirements"] if _is_needed(item)],
    }
    files = {
        entry.filename: source.read(entry)
        for entry in source.infolist()
        if _is_kept(entry.filename)
    }
    files["__main__.py"] = files["__main__.py"].replace(old.encode(), new.encode())
    files["PEX-INFO"] = json.dumps(info).encode()
    with target.open("wb") as file:
        file.write(b"#!/usr/bin/env python3.11\n")
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as made:
            for name, data in {**files, **changes}.items():
                entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
                entry.external_attr = (0o755 if name.endswith("/") else 0o644) << 16
                made.writestr(entry, data)
    target.chmod(0o755)


def _is_kept(name: str) -> bool:
    first, _, rest = name.partition("/")
    if first == ".deps":
        return _is_needed(rest)
    if first == "deploy":
        return name.endswith((".conf", "/")) and "-host" not in name
    return first in {".bootstrap", "__pex__", "hostkit", "PEX-INFO", "__main__.py"}


def _is_needed(distribution: str) -> bool:
    name = re.split(r"[-=<>!\[]", distribution.replace("python-dotenv", "python_dotenv"))[0]
    return distribution.replace("-", "_").startswith("pydantic_core") or name.lower() in NEEDED
