"""Debian 12 servers with a real systemd, a network and a disk each, on one machine."""
