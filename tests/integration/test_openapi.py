"""The running API does what its OpenAPI document says, whatever is sent to it."""

import re
import shlex
import subprocess
import sys
from html import unescape
from pathlib import Path

import httpx
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from dev_hosts.hosts import Hosts

pytestmark = pytest.mark.usefixtures("journey")

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "missing_required_header",
    "unsupported_method",
)
EXAMPLES = 10
"""For each operation and phase; what is at the edges of a schema is sent in any case."""

REFUSED_KEY = "x" * 256
"""An Idempotency-Key that is too long: no body, however right, starts a training."""


def test_the_document_is_openapi(api: httpx.Client) -> None:
    OpenAPIV31SpecValidator(api.get("/openapi.json").json()).validate()


def test_the_api_does_what_its_document_says(hosts: Hosts, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{hosts.urls['api']}/openapi.json"]
    command += ["--checks", ",".join(CHECKS), "--header", f"Idempotency-Key: {REFUSED_KEY}"]
    command += ["--phases", "examples,coverage,fuzzing", "--max-examples", str(EXAMPLES)]
    command += ["--generation-deterministic", "--continue-on-failure"]
    command += ["--no-color", "--warnings", "off"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    counts = re.search(r"Selected: (\d+)/(\d+)\n +Tested: (\d+)", run.stdout)
    assert counts is not None, run.stdout
    assert len(set(counts.groups())) == 1


def test_the_commands_of_the_page_work(api: httpx.Client, curl: str) -> None:
    page = api.get("/docs").text
    commands = [
        unescape(text) for text in re.findall("<pre><code>(.*?)</code></pre>", page, re.DOTALL)
    ]
    worked = 0
    for command in commands:
        if "/v1/trainings" in command:  # One is enough for all tests, and it was made.
            continue
        words = shlex.split(command.replace("\\\n", " "))
        assert words[0] == "curl"
        run = subprocess.run(
            [curl, "--silent", *words[1:]], capture_output=True, text=True, check=False
        )
        assert (run.returncode == 0) != ("/unload" in command), (command, run.stdout)
        worked += run.returncode == 0
    assert worked > len(api.get("/openapi.json").json()["paths"]) / 2
