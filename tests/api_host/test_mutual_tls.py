"""The API calls a registry that lets in only clients with a certificate: nginx in front of it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from api_host.settings import ApiSettings
from hostkit.outside.proxy import Proxy
from hostkit.tls import bundles
from hostkit.tls.authority import Authority
from tests.api_host.conftest import Start, until_served
from tests.api_host.registry_server import RegistryServer
from tests.hostkit.outside.servers import fronting

NOW = datetime.now(UTC)
DAYS = timedelta(days=90)

pytestmark = pytest.mark.anyio


async def test_models_come_from_a_registry_that_wants_a_certificate(
    registry: RegistryServer, settings: ApiSettings, models: Path, tmp_path: Path, start: Start
) -> None:
    ca = tmp_path / "ca"
    Authority.make(ca, (), NOW)
    server, _ = bundles.issue(ca, ["localhost"], DAYS, NOW)
    own, _ = bundles.issue(ca, ["api"], DAYS, NOW)
    registry.promote("iris", models / "linear")
    with fronting(Proxy.NGINX, tmp_path, registry.port, server.file, ca / "ca.pem") as front:
        changed = {
            "mlflow_tracking_uri": front.url,
            "ssl_cert_file": ca / "ca.pem",
            "tls_certificate_file": own.file,
        }
        async with start(settings.model_copy(update=changed)) as api:
            await until_served(api, "1")
            page = (await api.get("/metrics")).text
    assert 'expiry_timestamp_seconds{setting="TLS_CERTIFICATE_FILE"}' in page
