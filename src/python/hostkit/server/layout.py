"""Where the files of a host are on a server."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Layout:
    """The paths of a host.

    `host`: its name, for instance `api-host`.
    `root`: the root of the file system: `/`, or the folder of an image that is being prepared.
    """

    host: str
    root: Path = Path("/")

    @property
    def product(self) -> Path:
        """Everything that came with releases."""
        return self.root / "opt" / self.host

    @property
    def releases(self) -> Path:
        """One folder a release, named by the first 12 digits of the SHA-256 of its PEX."""
        return self.product / "releases"

    @property
    def current(self) -> Path:
        """The symlink to the release that runs."""
        return self.product / "current"

    @property
    def configuration(self) -> Path:
        """What the operator edits."""
        return self.root / "etc" / self.host

    @property
    def env_file(self) -> Path:
        """The settings."""
        return self.configuration / "env"

    @property
    def credentials(self) -> Path:
        """One file a secret, for root only."""
        return self.configuration / "credentials"

    @property
    def state(self) -> Path:
        """What must survive: systemd's StateDirectory."""
        return self.root / "var/lib" / self.host

    @property
    def backups(self) -> Path:
        """One folder a backup."""
        return self.root / "var/backups" / self.host

    @property
    def units(self) -> Path:
        """Where units go that neither the distribution nor the operator wrote (systemd.unit(5))."""
        return self.root / "usr/local/lib/systemd/system"

    @property
    def sysusers(self) -> Path:
        """The user, as systemd-sysusers(8) reads it."""
        return self.root / "usr/local/lib/sysusers.d" / f"{self.host}.conf"

    @property
    def tmpfiles(self) -> Path:
        """The folders, as systemd-tmpfiles(8) reads them."""
        return self.root / "usr/local/lib/tmpfiles.d" / f"{self.host}.conf"

    @property
    def generator(self) -> Path:
        """What makes units from the settings, as systemd.generator(7) says."""
        generators = self.root / "usr/local/lib/systemd/system-generators"
        return generators / f"{self.host}-generator"

    @property
    def unfinished(self) -> Path:
        """What an upgrade notes for whoever must go back; there only while one is under way."""
        return self.product / "upgrade.json"

    @property
    def command(self) -> Path:
        """The command of the release that runs, on everybody's PATH."""
        return self.root / "usr/local/bin" / self.host
