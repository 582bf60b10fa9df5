"""Makes the Python of the gRPC protocol from its .proto file: `./pants protocol`."""

import argparse
import importlib.resources
import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

ROOT = Path("src/python")
PROTO = ROOT / "api_host" / "rpc" / "open_inference.proto"


def compiled(root: Path, proto: Path) -> dict[Path, str]:
    """The files that come of `proto`, which is imported from below `root`, with their content."""
    includes = importlib.resources.files("grpc_tools") / "_proto"
    with tempfile.TemporaryDirectory() as folder:
        words = ["protoc", f"-I{root}", f"-I{includes}", f"--python_out={folder}"]
        words += [f"--pyi_out={folder}", str(proto)]
        if protoc.main(words):
            raise SystemExit(f"{proto} is not right; see above")
        return {
            root / path.relative_to(folder): path.read_text()
            for path in sorted(Path(folder).rglob("*.py*"))
        }


def main() -> None:
    """Writes the files, or only compares them."""
    parser = argparse.ArgumentParser(prog="./pants protocol", description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare only; fail if one is stale")
    arguments = parser.parse_args()
    for path, content in compiled(ROOT, PROTO).items():
        if path.exists() and path.read_text() == content:
            print(f"{path}: up to date")
        elif arguments.check:
            sys.exit(f"{path} does not answer {PROTO}; run ./pants protocol")
        else:
            path.write_text(content)
            print(f"{path}: written")


if __name__ == "__main__":
    main()
