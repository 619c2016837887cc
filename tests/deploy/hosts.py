"""Where the members of a deployment run: all on this machine's loopback, or each in a network namespace of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import uuid
from dataclasses import dataclass


@dataclass(frozen=True)
class Host:
    """An IP address, and the network namespace that has it; None: this process's own.

    Attributes:
        port: of the bridge that it hangs on: the bridge's namespace and the port's name.
    """

    address: str
    namespace: str | None = None
    port: tuple[str, str] | None = None

    def command(self, *command):
        return command if self.namespace is None else ("ip", "netns", "exec", self.namespace, *command)

    def set_link(self, state):
        """Pull the host's cable (`down`: what it and others send is lost unseen), or put it back (`up`)."""
        switch, port = self.port
        ip("-n", switch, "link", "set", port, state)


@dataclass(frozen=True)
class Hosts:
    """Who runs where.

    Attributes:
        leader: SuperLink, ServerApp, the parties' coordinator and the `flwr` command.
        parties: by rank; each with its aggregator's SuperNode.
        clients: by number.
    """

    leader: Host
    parties: tuple[Host, ...]
    clients: tuple[Host, ...]


def one_machine(clients, parties=3):
    here = Host("127.0.0.1")
    return Hosts(here, (here,) * parties, (here,) * clients)


def refuses_namespaces():
    """Why this process can make no network namespaces; None: it can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "network namespaces need iproute2's `ip`"
    name = _name()
    try:
        ip("netns", "add", name)
        ip("-n", name, "link", "add", "bridge", "type", "bridge")
    except subprocess.CalledProcessError as error:
        return f"network namespaces or bridges cannot be made here: {error.stderr.strip()}"
    finally:
        subprocess.run(["ip", "netns", "delete", name], capture_output=True)
    return None


@contextlib.contextmanager
def namespaces(clients, parties=3, clients_together=2):
    """A namespace each for the leader, every party and every `clients_together` clients, with one subnet.

    Their bridge has a namespace of its own, so nothing of this machine's own network changes.
    """
    switch, made = _name(), []

    def host(number):
        port = f"port{number}"
        found = Host(f"10.77.0.{number}", f"{switch}-{number}", (switch, port))
        add(found.namespace)
        ip("link", "add", "eth0", "netns", found.namespace, "type", "veth", "peer", "name", port, "netns", switch)
        ip("-n", switch, "link", "set", port, "master", "bridge", "up")
        ip("-n", found.namespace, "address", "add", f"{found.address}/24", "dev", "eth0")
        ip("-n", found.namespace, "link", "set", "eth0", "up")
        return found

    def add(name):
        ip("netns", "add", name)
        made.append(name)
        # Flower's processes of one host talk over its loopback interface.
        ip("-n", name, "link", "set", "lo", "up")

    try:
        add(switch)
        ip("-n", switch, "link", "add", "bridge", "type", "bridge")
        ip("-n", switch, "link", "set", "bridge", "up")
        leader, *rest = (host(1 + number) for number in range(1 + parties + -(-clients // clients_together)))
        homes = rest[parties:]
        yield Hosts(
            leader, tuple(rest[:parties]), tuple(homes[client // clients_together] for client in range(clients))
        )
    finally:
        for name in made:
            subprocess.run(["ip", "netns", "delete", name], check=False)


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


def _name():
    return f"sotto-{uuid.uuid4().hex[:6]}"
