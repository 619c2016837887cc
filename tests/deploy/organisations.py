"""Organisations on one machine, each started as `deploy/README.md` says: parties, SuperLink, SuperNodes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from secagg.deployment.new_deployment import create_deployment
from secagg.deployment.new_keys import new_keys
from secagg.deployment.terms import Policy
from tests.deploy.certificates import write_tls

ROOT = Path(__file__).resolve().parents[2]
SOTTO = [sys.executable, "-P", "-c", "from experiments.cli import main; main()"]
CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 1)"


def free_ports(count):
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


def tool(name):
    return str(Path(sys.executable).parent / name)


class Organisations:
    """Everything of one deployment, on its `hosts`: clients' SuperNodes, one beside each party, SuperLink, daemons.

    Without clients' hosts the SuperLink simulates all SuperNodes, and the clients share a cohort's key.
    """

    def __init__(self, folder, config, n_min, hosts):
        self.folder, self.hosts = folder, hosts
        self.clients, self.parties = clients, parties = len(hosts.clients), len(hosts.parties)
        self.processes = {}
        ports = free_ports(parties + 1 + clients + parties)
        self.link, self.party_ports, self.node_ports = ports[0], ports[1 : 1 + parties], ports[1 + parties :]
        roster = {}
        for client in range(clients):
            made = new_keys(f"client-{client}")
            made.write(folder / f"org-{client}" / f"client-{client}")
            roster[client] = made.public
        addresses = [(host.address, port) for host, port in zip(hosts.parties, self.party_ports, strict=True)]
        create_deployment(folder / "deployment", addresses, Policy(n_min=n_min, timeout_s=60.0), roster or None)
        write_tls(folder, hosts.leader.address)
        self.link_address = f"{hosts.leader.address}:{self.link}"
        self.home = folder / "flwr"
        self.home.mkdir()
        (self.home / "config.toml").write_text(
            f'[superlink]\ndefault = "loop"\n\n[superlink.loop]\naddress = "{self.link_address}"\n'
            f'root-certificates = "{folder / "ca.crt"}"\n'
        )
        self.config = folder / "run.yaml"
        self.config.write_text(config.format(deployment=folder / "deployment"))
        inherited = os.environ.get("PYTHONPATH")
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT) + (os.pathsep + inherited if inherited else ""),
            "PATH": str(Path(sys.executable).parent) + os.pathsep + os.environ["PATH"],
            "FLWR_HOME": str(self.home),
            "FLWR_TELEMETRY_ENABLED": "0",
            "OMP_NUM_THREADS": "1",
        }

    def spawn(self, name, host, *command):
        with (self.folder / f"{name}.log").open("ab") as log:
            # A group of its own: a SuperNode's or SuperLink's helpers end with it.
            self.processes[name] = subprocess.Popen(
                host.command(*command),
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=self.folder,
            )

    def log(self, name):
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def start_party(self, rank):
        spool = self.folder / f"spool-{rank}"
        spool.mkdir(exist_ok=True)
        self.spawn(
            f"party-{rank}",
            self.hosts.parties[rank],
            *SOTTO,
            "party",
            "--rank",
            str(rank),
            "--config",
            str(self.folder / "deployment" / "parties.yaml"),
            "--spool",
            str(spool),
        )

    def start_link(self):
        tls = [
            f"--ssl-{flag}={self.folder / name}"
            for flag, name in (("ca-certfile", "ca.crt"), ("certfile", "server.pem"), ("keyfile", "server.key"))
        ]
        self.spawn(
            "superlink",
            self.hosts.leader,
            tool("flower-superlink"),
            *tls,
            "--enable-supernode-auth" if self.clients else "--simulation",
            "--disable-runtime-dependency-installation",
            "--host",
            "0.0.0.0",
            "--port",
            str(self.link),
        )
        connect = self.hosts.parties[0].command(
            sys.executable, "-c", CONNECT, self.hosts.leader.address, str(self.link)
        )
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            assert self.processes["superlink"].poll() is None, self.log("superlink")
            if subprocess.run(connect, capture_output=True).returncode == 0:
                return
            time.sleep(0.3)
        raise AssertionError("the SuperLink does not listen: " + self.log("superlink"))

    def flwr(self, *arguments, check=True):
        done = subprocess.run(
            self.hosts.leader.command(tool("flwr"), *arguments),
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=180,
            stdin=subprocess.DEVNULL,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def register(self, name):
        key = ec.generate_private_key(ec.SECP384R1())
        private = self.folder / f"{name}.key"
        private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
        private.chmod(0o600)
        public = private.with_suffix(".pub")
        public.write_bytes(key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH))
        self.flwr("supernode", "register", str(public), "loop")

    def start_node(self, name):
        role, _, number = name.partition("-")
        index = int(number) + (self.clients if role == "aggregator" else 0)
        parties = f'parties="{self.folder / "deployment" / "parties.yaml"}"'
        own = (
            f'role="client" client={number} config="{self.config}" keys="{self.folder / f"org-{number}"}" {parties}'
            if role == "client"
            else f'role="aggregator" rank={number} spool="{self.folder / f"spool-{number}"}" {parties}'
        )
        self.spawn(
            name,
            (self.hosts.clients if role == "client" else self.hosts.parties)[int(number)],
            tool("flower-supernode"),
            "--root-certificates",
            str(self.folder / "ca.crt"),
            "--superlink",
            self.link_address,
            "--port",
            str(self.node_ports[index]),
            "--auth-supernode-private-key",
            str(self.folder / f"{name}.key"),
            "--node-config",
            own,
        )

    def asked(self, name, kind):
        """How many of ServerApp's questions of one kind a node has received."""
        return self.log(name).count(f"Receiving: {kind}")

    def supervise(self, name, seconds):
        """Start a killed node again until the SuperLink takes it, as a supervisor would.

        The SuperLink refuses a key whose last session it still believes to be alive (about a minute).
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            before = self.log(name).count("SuperNode ID")
            self.start_node(name)
            while self.processes[name].poll() is None and time.monotonic() < deadline:
                time.sleep(0.5)
                if self.log(name).count("SuperNode ID") > before:
                    return
            self.signal(name, signal.SIGKILL)  # its helpers
            time.sleep(5)
        raise AssertionError(f"{name} does not come back: {self.log(name)[-2000:]}")

    def node_names(self):
        if not self.clients:
            return []
        return [*(f"client-{n}" for n in range(self.clients)), *(f"aggregator-{n}" for n in range(self.parties))]

    def run(self, out, *options):
        text = f"config={json.dumps(str(self.config))} out={json.dumps(str(out))}"
        return self.flwr("run", str(ROOT / "deploy"), "loop", "--run-config", text, *options)

    def signal(self, name, number):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.processes[name].pid, number)
        if number == signal.SIGKILL:
            self.processes.pop(name).wait()

    def start(self):
        """Everything, in the README's order."""
        for rank in range(self.parties):
            self.start_party(rank)
        self.start_link()
        for name in self.node_names():
            self.register(name)
        for name in self.node_names():
            self.start_node(name)

    def wait(self, condition, seconds):
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.log("superlink")
            time.sleep(0.2)

    def close(self):
        for process in self.processes.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
