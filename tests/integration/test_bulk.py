"""Streams of rows to the running API: curl's NDJSON, and Arrow's own library."""

import io
import json
import subprocess
from pathlib import Path

import httpx
import pyarrow as pa
import pytest

from dev_hosts.hosts import Hosts

pytestmark = pytest.mark.usefixtures("journey")

PREDICT = "/v1/models/iris/predict"
ROWS = [
    {
        "sepal_length": 5.0 + step % 3,
        "sepal_width": 3.5,
        "petal_length": 1.4 + step % 5,
        "petal_width": 0.2,
    }
    for step in range(15)
]
TIMES = 3_334


@pytest.fixture
def labels(hosts: Hosts) -> list[str]:
    """What the API says of `ROWS` in one plain request."""
    answer = httpx.post(f"{hosts.urls['api']}{PREDICT}", json={"rows": ROWS}, trust_env=False)
    predictions: list[str] = answer.json()["predictions"]
    assert len(set(predictions)) > 1
    return predictions


def test_curl_sends_50_000_rows_and_reads_while_it_sends(
    hosts: Hosts, labels: list[str], curl: str, tmp_path: Path
) -> None:
    rows = tmp_path / "rows.ndjson"
    rows.write_text("".join(f"{json.dumps(row)}\n" for row in ROWS) * TIMES)
    command = [curl, "--silent", "--show-error", "--fail", "--noproxy", "*", "--request", "POST"]
    command += ["--upload-file", str(rows), "--header", "Content-Type: application/x-ndjson"]
    for protocol in ("--http1.1", "--http2-prior-knowledge"):
        url = f"{hosts.urls['api']}{PREDICT}?from_row=7"
        done = subprocess.run([*command, protocol, url], check=True, capture_output=True, text=True)
        records = [json.loads(line) for line in done.stdout.splitlines()]
        assert records == [
            {"row": row, "prediction": label} for row, label in enumerate(labels * TIMES, 7)
        ]


def test_arrows_own_library_is_understood_and_understands(hosts: Hosts, labels: list[str]) -> None:
    table = pa.table({name: [row[name] for row in ROWS] for name in reversed(ROWS[0])})
    for name, values in {
        "sepal_length": table["sepal_length"].cast(pa.float32()),
        "sepal_width": table["sepal_width"].dictionary_encode(),
    }.items():
        table = table.set_column(table.column_names.index(name), name, values)
    stream = io.BytesIO()
    with pa.ipc.new_stream(stream, table.schema) as writer:
        for _ in range(100):
            writer.write_table(table)
    answer = httpx.post(
        f"{hosts.urls['api']}{PREDICT}",
        content=stream.getvalue(),
        headers={"Content-Type": "application/vnd.apache.arrow.stream", "Tripod-Duplex": "half"},
        trust_env=False,
    )
    found = pa.ipc.open_stream(answer.content).read_all()
    found.validate(full=True)
    assert found["row"].to_pylist() == list(range(1_500))
    assert found["prediction"].to_pylist() == labels * 100
    assert found["problem"].null_count == 1_500
