"""The step `certificates`, with certificates that our own commands made."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar

import pytest

from hostkit.doctor import machine
from hostkit.doctor.machine import Machine
from hostkit.doctor.report import StepReport, Verdict
from hostkit.doctor.steps import Walk, examine
from hostkit.doctor.users import user_name
from hostkit.settings import Settings, load
from hostkit.tls import bundles
from hostkit.tls.authority import LIFE, Authority
from tests.lacks import program

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
NOBODY = 65534
RENEW = "Where the CA is: 'tls renew'; then copy the new file to where {}"


class KettleSettings(Settings):
    host_name: ClassVar[str] = "kettle-host"

    ssl_cert_file: Path | None = None
    tls_certificate_file: Path | None = None


@dataclass(frozen=True)
class Host:
    """A host with a CA; what it shows is in `shown`, what it believes in `trusted`."""

    folder: Path

    @property
    def ca(self) -> Path:
        return self.folder / "tripod-ca"

    @property
    def shown(self) -> Path:
        return self.folder / "tls.pem"

    @property
    def trusted(self) -> Path:
        return self.folder / "our-ca.pem"

    @property
    def place(self) -> str:
        return f"TLS_CERTIFICATE_FILE in {self.folder}/env line 2"

    @property
    def trust_place(self) -> str:
        return f"SSL_CERT_FILE in {self.folder}/env line 1"

    def issue(self, name: str = "kettle", *, made: datetime = NOW, days: int = 90) -> Path:
        bundle, _ = bundles.issue(self.ca, [name], days * DAY, made)
        return bundle.file

    def walk(self) -> Walk:
        env_file = self.folder / "env"
        env_file.write_text(f"SSL_CERT_FILE={self.trusted}\nTLS_CERTIFICATE_FILE={self.shown}\n")
        loaded = load(KettleSettings, env_file=env_file, environment={})
        return machine.walk(Machine(loaded, (), {}, "kettle-host.service"))

    def step(self, walk: Walk | None = None) -> StepReport:
        (report,) = examine([walk or self.walk()])
        return next(step for step in report.steps if step.name == "certificates")


@pytest.fixture
def host(tmp_path: Path) -> Host:
    made = Host(tmp_path)
    Authority.make(made.ca, (), NOW - 300 * DAY)
    shutil.copy(made.ca / "ca.pem", made.trusted)
    shutil.copy(made.issue(), made.shown)
    return made


def fault(host: Host, verdict: Verdict = Verdict.FAILED) -> tuple[str, str]:
    """What the step saw, and what it says is to do."""
    step = host.step()
    assert (step.verdict, bool(step.meaning)) == (verdict, True), step
    return step.seen, step.remedy or ""


def test_what_is_well_is_told_with_its_end(host: Host) -> None:
    step = host.step()
    assert step.verdict is Verdict.PASSED
    ca, own = NOW - 300 * DAY + LIFE, NOW + 90 * DAY
    assert step.seen == (
        f"SSL_CERT_FILE until {ca:%Y-%m-%d} (3351 days left),"
        f" TLS_CERTIFICATE_FILE until {own:%Y-%m-%d} (89 days left)"
    )


def test_one_that_ends_soon_is_a_warning(host: Host) -> None:
    shutil.copy(host.issue("soon", made=NOW - 70 * DAY), host.shown)
    seen, remedy = fault(host, Verdict.WARNED)
    end = NOW + 20 * DAY
    assert seen == (
        f"{host.shown} (TLS_CERTIFICATE_FILE) is valid until {end:%Y-%m-%d} (19 days left)"
    )
    assert remedy == f"{RENEW.format(host.place)} says."


def test_one_that_is_over(host: Host) -> None:
    shutil.copy(host.issue("over", made=NOW - 91 * DAY), host.shown)
    seen, remedy = fault(host)
    end = NOW - DAY
    assert seen == f"{host.shown} (TLS_CERTIFICATE_FILE) is valid until {end:%Y-%m-%d} (over)"
    assert RENEW.format(host.place) in remedy
    bundles.renew(host.ca, ["over"], NOW)
    shutil.copy(host.ca / "issued" / "over.pem", host.shown)
    assert host.step().verdict is Verdict.PASSED


def test_one_that_is_not_yet_valid(host: Host) -> None:
    start = NOW + 3 * DAY
    shutil.copy(host.issue("early", made=start), host.shown)
    seen, remedy = fault(host)
    assert seen == (
        f"{host.shown} is not valid before {start - timedelta(hours=1):%Y-%m-%d %H:%M} UTC"
    )
    assert "timedatectl" in remedy
    assert "'tls renew --now'" in remedy
    assert host.place in remedy


@pytest.mark.parametrize(("left", "verdict"), [(20, Verdict.WARNED), (-1, Verdict.FAILED)])
def test_a_ca_that_ends_is_not_renewed_but_followed_by_another(
    left: int, verdict: Verdict, host: Host
) -> None:
    ca = host.folder / "old-ca"
    Authority.make(ca, (), NOW - LIFE + left * DAY)
    shutil.copy(ca / "ca.pem", host.trusted)
    seen, remedy = fault(host, verdict)
    assert f"{host.trusted} (SSL_CERT_FILE) is valid until {NOW + left * DAY:%Y-%m-%d}" in seen
    assert "'tls renew'" not in remedy
    assert "'tls ca --folder NEW'" in remedy
    assert host.trust_place in remedy
    # While both are believed, all is well.
    host.trusted.write_bytes((ca / "ca.pem").read_bytes() + (host.ca / "ca.pem").read_bytes())
    assert host.step().verdict is Verdict.PASSED


def test_what_is_over_is_told_rather_than_what_ends_soon(host: Host) -> None:
    ca = host.folder / "old-ca"
    Authority.make(ca, (), NOW - LIFE + 20 * DAY)
    shutil.copy(ca / "ca.pem", host.trusted)
    shutil.copy(host.issue("over", made=NOW - 91 * DAY), host.shown)
    assert "TLS_CERTIFICATE_FILE" in fault(host)[0]


def test_a_file_that_is_not_there(host: Host) -> None:
    host.shown.unlink()
    seen, remedy = fault(host)
    assert seen == f"{host.shown} does not exist"
    assert f"'tls renew' made, where the CA is, to {host.shown}" in remedy
    assert host.place in remedy
    host.trusted.unlink()
    assert f"(ca.pem) to {host.trusted}, or correct {host.trust_place}" in fault(host)[1]


@contextmanager
def not_root() -> Iterator[None]:
    """Root may read everything; another user may not."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(before)


def test_a_file_that_this_user_may_not_read(host: Host) -> None:
    path = host.trusted
    path.chmod(0)
    walk = host.walk()
    with not_root():
        user = user_name(os.geteuid())
        step = host.step(walk)
    assert (step.verdict, step.seen) == (
        Verdict.FAILED,
        f"{path} cannot be read by {user} (Permission denied)",
    )
    remedy = (
        f"As root: 'chgrp {user} {path}' and 'chmod 640 {path}', or correct {host.trust_place}."
    )
    assert step.remedy == remedy


def test_a_folder_in_the_place_of_a_file(host: Host) -> None:
    host.shown.unlink()
    host.shown.mkdir()
    seen, remedy = fault(host)
    assert seen == f"{host.shown} cannot be read (Is a directory)"
    assert host.place in remedy


def test_a_file_that_is_no_certificate(host: Host) -> None:
    host.shown.write_text("Dear operator,\n")
    seen, remedy = fault(host)
    assert seen == f"{host.shown} holds no certificate (PEM)"
    assert f"to {host.shown}: it holds certificate and key" in remedy


def test_a_certificate_without_its_key(host: Host) -> None:
    _, begin, rest = host.shown.read_text().partition("-----BEGIN CERTIFICATE-----")
    host.shown.write_text(begin + rest)
    seen, remedy = fault(host)
    assert seen == f"{host.shown} holds no key"
    assert host.place in remedy


def test_a_key_of_another_certificate(host: Host) -> None:
    key, begin, _ = host.shown.read_text().partition("-----BEGIN CERTIFICATE-----")
    _, _, certificate = host.issue("other").read_text().partition(begin)
    host.shown.write_text(key + begin + certificate)
    seen, remedy = fault(host)
    assert seen == f"the key in {host.shown} is not that of the first certificate in it"
    assert (
        f"Copy the file that 'tls issue' or 'tls renew' made, where the CA is, to {host.shown}"
        in (remedy)
    )


def test_a_key_that_was_cut_off(host: Host) -> None:
    key, begin, rest = host.shown.read_text().partition("-----BEGIN CERTIFICATE-----")
    lines = key.splitlines(keepends=True)
    host.shown.write_text("".join([*lines[:1], *lines[2:], begin, rest]))
    seen, _ = fault(host)
    assert seen.startswith(f"{host.shown} cannot be used (")


def test_a_key_with_a_password(host: Host) -> None:
    _, begin, certificate = host.shown.read_text().partition("-----BEGIN CERTIFICATE-----")
    encrypt = ["pkey", "-in", str(host.shown), "-aes128", "-passout", "pass:secret"]
    key = subprocess.run([program("openssl", "openssl"), *encrypt], check=True, capture_output=True)
    host.shown.write_text(key.stdout.decode() + begin + certificate)
    seen, remedy = fault(host)
    assert seen == f"the key in {host.shown} has a password"
    assert f"'openssl pkey -in {host.shown}' takes it off" in remedy


def test_a_key_that_everybody_can_read(host: Host) -> None:
    host.shown.chmod(0o644)
    seen, remedy = fault(host)
    assert seen == f"everybody on this machine can read {host.shown}, which holds a key"
    assert f"'chmod o= {host.shown}'" in remedy
