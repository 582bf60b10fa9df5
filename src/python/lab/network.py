"""The network of a lab: a bridge, a cable to each host, and what can go wrong with both."""

import ipaddress
import json
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from lab.errors import LabError

WORLD = "world"
"""The name of the lab's own end of the bridge: whoever is no host."""

WORLD_ADDRESS = "10.77.0.1"
PREFIX_LENGTH = 24

ADDRESSES = {"mlflow": "10.77.0.2", "airflow": "10.77.0.3", "api": "10.77.0.4"}
"""The three servers of Tripod."""

# There is no `tc netem` on every kernel, so loss is a rule that drops a share of the packets. What
# passes between hosts is forwarded; what comes from or goes to the world is input and output.
_RULES = """
table bridge lab {
  set cut { type ipv4_addr . ipv4_addr; }
  set blocked { type ipv4_addr . inet_service; }
  chain faults {
    ip saddr . ip daddr @cut drop
    arp saddr ip . arp daddr ip @cut drop
    ip daddr . tcp dport @blocked drop
    jump weather
  }
  chain weather { }
  chain forward { type filter hook forward priority 0; jump faults; }
  chain input { type filter hook input priority 0; jump faults; }
  chain output { type filter hook output priority 0; jump faults; }
}
"""


class Network:
    """Who reaches whom.

    `addresses`: the IP address of each host by its name.
    `run`: runs a program of the lab with a text on its standard input.
    """

    def __init__(
        self,
        addresses: Mapping[str, str],
        run: Callable[[str, str], subprocess.CompletedProcess[str]],
    ) -> None:
        self.addresses = {WORLD: WORLD_ADDRESS, **addresses}
        self._run = run

    def make(self) -> None:
        """Makes the bridge and a network namespace for each host, joined by a cable."""
        hosts = [name for name in self.addresses if name != WORLD]
        bridge = [
            "link set lo up",
            "link add br0 type bridge",
            f"addr add {WORLD_ADDRESS}/{PREFIX_LENGTH} dev br0",
            "link set br0 up",
        ]
        for name in hosts:
            bridge += [
                f"netns add {name}",
                f"link add {_cable(name)} type veth peer name host0 netns {name}",
                f"link set {_cable(name)} master br0 up",
            ]
        self._run("ip -batch -", "\n".join(bridge))
        for name in hosts:
            address = f"{self.addresses[name]}/{PREFIX_LENGTH}"
            lines = [f"addr add {address} dev host0", "link set lo up", "link set host0 up"]
            self._run(f"ip -n {name} -batch -", "\n".join(lines))
        self._nft(_RULES)

    def cut(self, source: str, destination: str, *, one_way: bool = False) -> None:
        """Lets nothing through between two hosts, or nothing from the first to the second."""
        self._nft(f"add element bridge lab cut {{ {self._pairs(source, destination, one_way)} }}")

    def heal(self) -> None:
        """Undoes every cut and every block."""
        self._nft("flush set bridge lab cut; flush set bridge lab blocked")

    def block(self, host: str, port: int) -> None:
        """Lets nothing through to a TCP port of a host, as a firewall does that drops."""
        self._nft(f"add element bridge lab blocked {{ {self.address(host)} . {port} }}")

    def lose(self, source: str, destination: str, percent: int, *, one_way: bool = False) -> None:
        """Drops a share of the packets between two hosts, or from the first to the second."""
        if not 0 < percent <= 100:  # noqa: PLR2004
            raise LabError(f"{percent} % of packets cannot be lost: it must be 1 to 100")
        pairs = self._pairs(source, destination, one_way)
        for pair in pairs.split(", "):
            ends = pair.replace(" . ", " ip daddr ")
            self._nft(
                f"add rule bridge lab weather ip saddr {ends}"
                f" numgen random mod 100 < {percent} drop"
            )

    def calm(self) -> None:
        """Undoes every loss."""
        self._nft("flush chain bridge lab weather")

    def unplug(self, host: str) -> None:
        """Pulls the cable out of a host."""
        self._set_cable(host, "down")

    def plug(self, host: str) -> None:
        """Puts the cable back."""
        self._set_cable(host, "up")

    def repair(self) -> None:
        """Undoes everything: cuts, blocks, losses and pulled cables."""
        self.heal()
        self.calm()
        for name in self.addresses:
            if name != WORLD:
                self.plug(name)

    def faults(self) -> list[str]:
        """What is broken now, a line each."""
        rules = self._run("nft --json list table bridge lab", "").stdout
        cables = self._run("ip --json link show type veth", "").stdout
        names = {address: name for name, address in self.addresses.items()}
        down = [
            f"{link['ifname'].removeprefix(_cable(''))} is unplugged"
            for link in json.loads(cables)
            if "UP" not in link["flags"]
        ]
        return [*read_faults(json.loads(rules), names), *down]

    def address(self, host: str) -> str:
        """The address of a host or of the world."""
        try:
            return self.addresses[host]
        except KeyError:
            raise LabError(
                f"no host is called {host!r}: there are {', '.join(self.addresses)}"
            ) from None

    def hosts_file(self) -> str:
        """The text of /etc/hosts, by which everybody knows everybody."""
        lines = [f"{address} {name}" for name, address in self.addresses.items()]
        return "\n".join(["127.0.0.1 localhost", "::1 localhost", *lines, ""])

    def _pairs(self, source: str, destination: str, one_way: bool) -> str:
        if source == destination:
            raise LabError(f"{source} has no link to itself: name two hosts")
        here, there = self.address(source), self.address(destination)
        ways = [f"{here} . {there}"] if one_way else [f"{here} . {there}", f"{there} . {here}"]
        return ", ".join(ways)

    def _set_cable(self, host: str, state: str) -> None:
        if host == WORLD:
            raise LabError("the world has no cable: name a host")
        self.address(host)
        self._run("ip -batch -", f"link set {_cable(host)} {state}")

    def _nft(self, text: str) -> None:
        self._run("nft -f -", text.replace("; flush", "\nflush"))


def read_faults(rules: dict[str, Any], names: Mapping[str, str]) -> Iterator[str]:
    """What nft's rules say, for a person.

    `rules`: what `nft --json list table` prints.
    `names`: the name of each host by its address.
    """
    for entry in rules["nftables"]:
        match entry:
            case {"set": {"name": "cut", "elem": pairs}}:
                for pair in pairs:
                    source, destination = pair["concat"]
                    yield f"nothing passes from {names[source]} to {names[destination]}"
            case {"set": {"name": "blocked", "elem": ports}}:
                for port in ports:
                    address, number = port["concat"]
                    yield f"nothing passes to port {number} of {names[address]}"
            case {"rule": {"chain": "weather", "expr": [source, destination, share, *_]}}:
                ends = [names[part["match"]["right"]] for part in (source, destination)]
                yield f"{share['match']['right']} % of packets from {' to '.join(ends)} are lost"


def check_addresses(addresses: Mapping[str, str]) -> None:
    """Raises `LabError` for names and addresses that cannot be hosts of a lab."""
    network = ipaddress.ip_network(f"{WORLD_ADDRESS}/{PREFIX_LENGTH}", strict=False)
    for name in addresses:
        # The name of a cable, "v-NAME", is at most 15 characters in the kernel.
        if not re.fullmatch("[a-z][a-z0-9-]{0,12}", name) or name == WORLD:
            raise LabError(
                f"a host cannot be called {name!r}: take up to 13 lower-case letters, digits and"
                f" hyphens, beginning with a letter, and not {WORLD!r}"
            )
    taken = [WORLD_ADDRESS]
    for name, address in addresses.items():
        if address in taken or address not in _usable(network):
            raise LabError(
                f"{name} cannot have the address {address}: take a free one in {network}"
            )
        taken.append(address)


def _usable(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> Iterator[str]:
    return (str(address) for address in network.hosts())


def _cable(host: str) -> str:
    return f"v-{host}"
