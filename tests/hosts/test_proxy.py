"""nginx and Caddy in front of the three hosts, and a firewall around them."""

import hashlib
import json
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from dev_hosts.journey import travel
from dev_hosts.pexes import Pexes
from dev_hosts.progress import Progress
from lab import base
from lab.client import connect, key_headers
from lab.deadline import wait_for
from lab.deployment import READY_SECONDS, SERVERS, Deployment, set_variables
from lab.lab import Lab
from lab.network import WORLD_ADDRESS
from tests.hosts.grpc_caller import calling

CA = "/etc/ssl/certs/our-ca.pem"
TRUST = {"SSL_CERT_FILE": CA, "REQUESTS_CA_BUNDLE": CA}
SETTINGS = {
    "mlflow": {"MLFLOW_HOST": "127.0.0.1", "MLFLOW_PUBLIC_URL": "https://mlflow"},
    "airflow": {
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW_PUBLIC_URL": "https://airflow",
        "MLFLOW_TRACKING_URI": "https://mlflow",
        "API_SERVER_URL": "https://api",
        **TRUST,
    },
    "api": {
        "API_HOST": "127.0.0.1",
        "API_PUBLIC_URL": "https://api",
        "API_GRPC_PORT": "8001",
        "MLFLOW_TRACKING_URI": "https://mlflow",
        "AIRFLOW_BASE_URL": "https://airflow",
        **TRUST,
    },
}
PACKAGES = {"nginx": "nginx-light", "caddy": "caddy"}
FILES = {"nginx": "/etc/nginx/conf.d/{}.conf", "caddy": "/etc/caddy/Caddyfile"}
KEYS = {"nginx": "/etc/ssl/private/{}.key", "caddy": "/etc/caddy/{}.key"}

GIBIBYTE = 1024**3
CHUNK = 4 * 1024**2
LOG_SECONDS = 10.0
ROWS = {
    "rows": [
        {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2},
    ]
}


@dataclass(frozen=True)
class Front:
    """The hosts behind a proxy.

    `proxy`: "nginx" or "caddy".
    `authority`: signs their certificates.
    `ca`: its own certificate, on this machine.
    """

    proxy: str
    deployment: Deployment
    authority: "Authority"
    ca: Path

    @property
    def lab(self) -> Lab:
        return self.deployment.lab

    @property
    def logs(self) -> str:
        return self.deployment.logs

    def check_running(self) -> None:
        self.deployment.check_running()

    def connect(self, name: str, *, timeout: float = 60.0) -> httpx.Client:
        """A client that knows the CA."""
        trust = ssl.create_default_context(cafile=str(self.ca))
        return connect(
            self.lab,
            f"https://{name}",
            auth=self.deployment.account(name),
            headers=key_headers(self.lab) if name == "api" else None,
            timeout=timeout,
            verify=trust,
        )

    def is_ready(self, name: str) -> bool:
        try:
            with self.connect(name, timeout=5) as client:
                return client.get(SERVERS[name].health).is_success
        except httpx.TransportError:
            return False


class Authority:
    """A private CA."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "our CA")])
        self.certificate = (
            self._begin(self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )

    def issue(self, name: str, until: timedelta = timedelta(days=1)) -> tuple[str, str]:
        """A certificate for a name that is valid for so long from now, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = (
            self._begin(subject, key.public_key(), until)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        secret = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return pem(certificate), secret.decode()

    def _begin(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePublicKey,
        until: timedelta = timedelta(days=1),
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + until)
        )


def pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


@pytest.fixture(scope="module", params=sorted(PACKAGES))
def front(
    request: pytest.FixtureRequest,
    fit_machine: None,
    tmp_path_factory: pytest.TempPathFactory,
    pexes: Pexes,
    progress: Progress,
) -> Iterator[Front]:
    """Three hosts behind a proxy, which then trained a model that is served."""
    proxy: str = request.param
    folder = tmp_path_factory.mktemp(proxy)
    # Each has hosts of its own: installed by Debian, both would take port 80 at boot.
    root = base.find_or_make([PACKAGES[proxy]])
    with Lab(folder / "hosts", root=root) as lab:
        deployment = Deployment(lab, pexes, progress)
        deployment.put_in_place()
        front = Front(proxy, deployment, Authority(), folder / "ca.pem")
        front.ca.write_text(pem(front.authority.certificate))
        for name in lab.hosts:
            certify(front, name)
        put_behind_the_proxy(front)
        for name in lab.hosts:
            wait_for(partial(front.is_ready, name), READY_SECONDS, f"{name} by {proxy}")
        travel(front, progress)
        yield front


def certify(front: Front, name: str, until: timedelta = timedelta(days=1)) -> None:
    """Gives a host a certificate that is valid for so long from now."""
    host, product = front.lab[name], SERVERS[name].product
    certificate, key = front.authority.issue(name, until)
    host.write(CA, front.ca.read_text())
    host.write(f"/etc/ssl/certs/{product}.pem", certificate)
    file = KEYS[front.proxy].format(product)
    host.write(file, key, mode="640")
    if front.proxy == "caddy":  # It is not root when it reads them.
        host.run("chgrp", "caddy", file)


def put_behind_the_proxy(front: Front) -> None:
    for name, host in front.lab.hosts.items():
        product = SERVERS[name].product
        set_variables(host, f"/etc/{product}/env", SETTINGS[name])
        key = KEYS[front.proxy].format(product)
        configuration = host.run(product, "config", "proxy", front.proxy, "--key", key).stdout
        host.write(FILES[front.proxy].format(product), configuration)
        host.run("rm", "--force", "/etc/nginx/sites-enabled/default")
        host.systemctl("restart", front.proxy)
        # The generator of api-host.socket reads the address.
        host.systemctl("daemon-reload")
        units = ["api-host.socket"] if name == "api" else []
        host.systemctl("restart", *units, SERVERS[name].unit)


def test_clients_must_know_the_ca(front: Front) -> None:
    for name in SERVERS:
        refused = pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED")
        with connect(front.lab, f"https://{name}") as client, refused:
            client.get("/")


def test_the_hosts_themselves_are_reached_by_nobody_else(front: Front) -> None:
    for name, server in SERVERS.items():
        refused = pytest.raises(httpx.ConnectError)
        with connect(front.lab, f"http://{name}:{server.port}") as client, refused:
            client.get("/")


def test_plain_http_leads_to_tls(front: Front) -> None:
    for name in SERVERS:
        with connect(front.lab, f"http://{name}") as client:
            answer = client.post("/some/path?query=1")
            assert answer.status_code == 308
            assert answer.headers["Location"] == f"https://{name}/some/path?query=1"
        with front.connect(name) as client:
            answer = client.get(SERVERS[name].health)
            assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"


def test_http_2_is_spoken(front: Front) -> None:
    command = ["curl", "--silent", "--cacert", str(front.ca), "--write-out", "%{http_version}"]
    asked = front.lab.run(*command, "--output", "/dev/null", "https://mlflow/health")
    assert asked.stdout == "2"


def test_nothing_is_served_by_another_name(front: Front) -> None:
    for name in SERVERS:
        with front.connect(name) as client:
            assert client.get("/", headers={"Host": "evil.example"}).status_code == 421
        with connect(front.lab, f"http://{name}") as client:
            assert client.get("/", headers={"Host": "evil.example"}).status_code == 421
        address = front.lab[name].address
        elsewhere = ["--resolve", f"evil.example:443:{address}", "https://evil.example/"]
        asked = front.lab.run("curl", "--silent", "--insecure", *elsewhere, check=False)
        assert asked.returncode == 35 or "421" in asked.stdout  # 35: no TLS by this name.


def test_mlflows_ui_loads(front: Front) -> None:
    with front.connect("mlflow") as client:
        page = client.get("/")
        assert "<title>MLflow</title>" in page.text
        origin = {"Origin": "https://mlflow"}
        found = client.post(
            "/ajax-api/2.0/mlflow/experiments/search", json={"max_results": 5}, headers=origin
        )
        assert found.is_success, found.text
        evil = client.post(
            "/ajax-api/2.0/mlflow/experiments/search",
            json={"max_results": 5},
            headers={"Origin": "https://evil.example"},
        )
        assert evil.status_code == 403


def test_an_artifact_of_a_gibibyte_goes_up_and_comes_down(front: Front) -> None:
    path = f"/api/2.0/mlflow-artifacts/artifacts/large/{front.proxy}"
    sent, received, size = hashlib.sha256(), hashlib.sha256(), 0

    def chunks() -> Iterator[bytes]:
        for number in range(GIBIBYTE // CHUNK):
            chunk = number.to_bytes(8, "little") * (CHUNK // 8)
            sent.update(chunk)
            yield chunk

    with front.connect("mlflow", timeout=600) as client:
        headers = {"Content-Length": str(GIBIBYTE)}
        assert client.put(path, content=chunks(), headers=headers).is_success
        with client.stream("GET", path) as answer:
            assert answer.is_success
            for chunk in answer.iter_raw():
                received.update(chunk)
                size += len(chunk)
    assert size == GIBIBYTE
    assert received.digest() == sent.digest()


def test_airflows_ui_and_the_log_of_a_task_come_through(front: Front) -> None:
    with front.connect("airflow") as client:
        page = client.get("/", follow_redirects=True)
        assert page.is_success
        assert "Airflow" in page.text
        assert page.url.scheme == "https"
        runs = client.get("/api/v2/dags/train_model/dagRuns", params={"order_by": "-start_date"})
        run = runs.json()["dag_runs"][0]["dag_run_id"]
        tasks = client.get(f"/api/v2/dags/train_model/dagRuns/{run}/taskInstances").json()
        task = next(task for task in tasks["task_instances"] if task["map_index"] == -1)
        path = f"/api/v2/dags/train_model/dagRuns/{run}/taskInstances/{task['task_id']}/logs/1"
        with client.stream("GET", path, headers={"Accept": "application/x-ndjson"}) as answer:
            assert answer.is_success
            assert answer.headers.get("Transfer-Encoding") == "chunked"
            lines = [json.loads(line) for line in answer.iter_lines() if line]
        assert any("event" in line for line in lines)


def test_predictions_come_through_and_bodies_have_a_limit(front: Front) -> None:
    with front.connect("api") as client:
        predicted = client.post("/v1/models/iris/predict", json=ROWS)
        assert predicted.is_success, predicted.text
        assert predicted.json()["predictions"] == ["setosa"]
        too_large = client.post("/v1/models/iris/predict", content=b" " * 17_000_000)
        assert too_large.status_code == 413


def test_grpc_comes_through(front: Front) -> None:
    with calling(front.lab, "api:443", front.ca) as answers:
        pass
    assert answers.keys() == {"OK"}


def test_a_stream_that_is_larger_than_any_body_comes_through(front: Front) -> None:
    rows = f"{json.dumps(ROWS['rows'][0])}\n".encode() * 1_000
    blocks = 20_000_000 // len(rows)
    # This client does not read while it sends; nor does nginx, which says so itself.
    headers = {"Content-Type": "application/x-ndjson", "Tripod-Duplex": "half"}
    with front.connect("api", timeout=600) as client:
        content = (rows for _ in range(blocks))
        answer = client.post("/v1/models/iris/predict", content=content, headers=headers)
    last = json.loads(answer.text.splitlines()[-1])
    assert last == {"row": blocks * 1_000 - 1, "prediction": "setosa"}


def test_the_log_knows_the_client_and_not_what_it_claims(front: Front) -> None:
    request_id = f"claim-{front.proxy}"
    claims = {"X-Forwarded-For": "192.0.2.1", "X-Request-ID": request_id}
    with front.connect("mlflow") as client:
        assert client.post(
            "/api/2.0/mlflow/experiments/search", json={"max_results": 1}, headers=claims
        ).is_success
    # Found by a field of the journal, which gets a request's line after the client got its answer.
    look = ("journalctl", "--output=json", "--unit=mlflow-host", f"REQUEST_ID={request_id}")
    found = wait_for(
        lambda: front.lab["mlflow"].run(*look).stdout, LOG_SECONDS, f"a line about {request_id}"
    )
    (entry,) = [json.loads(line) for line in found.splitlines()]
    assert entry["CLIENT"] == WORLD_ADDRESS
    assert json.loads(entry["MESSAGE"])["client"] == WORLD_ADDRESS


def test_a_certificate_that_has_expired_is_named_by_the_doctor(front: Front) -> None:
    look = ("api-host", "doctor", "--json", "--link", "mlflow")
    certify(front, "mlflow", until=-timedelta(hours=1))
    front.lab["mlflow"].systemctl("restart", front.proxy)
    try:
        report = json.loads(front.lab["api"].run(*look, check=False).stdout)
    finally:
        certify(front, "mlflow")
        front.lab["mlflow"].systemctl("restart", front.proxy)
    (failed,) = [step for step in report["links"][0]["steps"] if step["verdict"] == "failed"]
    assert failed["name"] == "tls"
    assert "has expired" in failed["seen"]
    assert "renew the certificate" in failed["remedy"]
    assert json.loads(front.lab["api"].run(*look).stdout)["well"]


def test_a_firewall_lets_in_the_peers_and_nobody_else(front: Front) -> None:
    host = front.lab["airflow"]
    rules = host.run("airflow-host", "config", "firewall").stdout
    assert f"# api is {front.lab['api'].address}/32 (API_SERVER_URL)" in rules
    host.write("/etc/nftables.d/airflow-host.nft", rules)
    command = [
        "curl",
        "--silent",
        "--max-time",
        "3",
        "--cacert",
        CA,
        "https://airflow/api/v1/health",
    ]
    try:
        for _ in range(2):
            host.run("nft", "--file", "/etc/nftables.d/airflow-host.nft")
        assert front.lab["api"].run(*command).returncode == 0
        assert front.lab["mlflow"].run(*command, check=False).returncode == 28  # Timed out.
        # What the host itself begins is answered.
        outgoing = [*command[:-1], "https://mlflow/health"]
        assert host.run(*outgoing).returncode == 0
    finally:
        host.run("nft", "delete", "table", "inet", "airflow_host")
