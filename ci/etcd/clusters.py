"""Clusters of three nodes on the loopback address, for what compares etcd with Cairn."""
import ctypes
import json
import os
import signal
import ssl
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request

NODES = (1, 2, 3)

# How a Cairn cluster may keep its log.
PROTOCOLS = ("raft", "paxos", "zab")

# Between a node's port for clients and that for the other nodes: what `cairn up` takes.
PEER_PORT_OFFSET = 1000


def fail(why):
    print(f"{os.path.basename(sys.argv[0])}: {why}", file=sys.stderr)
    sys.exit(2)


def default_cairn():
    here = os.path.dirname(os.path.abspath(__file__))
    target = os.environ.get("CARGO_TARGET_DIR", os.path.join(here, "../../target"))
    return os.path.join(target, "release/cairn")


def short_slice():
    """Has this process, and all that it starts, wait less for the processor on a shared machine.

    A thread that is woken while others compute on its core waits for the scheduler's next tick, up to
    4 ms, unless it has asked for a shorter slice (Linux 6.12). Its share of the processor stays the same.
    """
    number = {"x86_64": 314, "aarch64": 274}.get(os.uname().machine)
    # size, policy, flags, nice, priority, runtime in ns, deadline, period
    attributes = struct.pack("=IIQiIQQQ", 48, 0, 0, 0, 0, 100_000, 0, 0)
    return number is not None and ctypes.CDLL(None).syscall(number, 0, attributes, 0) == 0


class Cluster:
    """Three nodes; `start` on fresh data, `stop`, and `start` again on what there was."""

    def __init__(self, base_port, work, tls=None):
        """With `tls`, a directory of certificates, clients must show one."""
        self.base, self.work, self.processes, self.tls = base_port, work, [], tls
        os.makedirs(work)

    def client(self, node):
        return f"127.0.0.1:{self.base + node - 1}"

    def url(self, node):
        return f"{'https' if self.tls else 'http'}://{self.client(node)}"

    def trust(self):
        """What is trusted, and shown, when a node is asked."""
        if not self.tls:
            return None
        context = ssl.create_default_context(cafile=os.path.join(self.tls, "ca.crt"))
        context.load_cert_chain(os.path.join(self.tls, "client.crt"), os.path.join(self.tls, "client.key"))
        return context

    def peer(self, node):
        return f"http://127.0.0.1:{self.base + PEER_PORT_OFFSET + node - 1}"

    def endpoints(self, first=0):
        """All of them, beginning with one or another."""
        return ",".join(self.client(NODES[(first + place) % len(NODES)]) for place in range(len(NODES)))

    def spawn(self, name, command):
        log = open(os.path.join(self.work, f"{name}.log"), "ab")
        # A group of its own, so that a Ctrl-C meant for us reaches it through `stop` alone.
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                                   start_new_session=True)
        self.processes.append(process)
        return process

    def start(self):
        self.launch()
        self.wait()

    def wait(self):
        deadline = time.monotonic() + 120
        for node in NODES:
            while not self.healthy(node):
                if time.monotonic() > deadline or any(p.poll() is not None for p in self.processes):
                    fail(f"{type(self).__name__}: node {node} is not healthy; see {self.work}")
                time.sleep(0.01)

    def healthy(self, node):
        try:
            with urllib.request.urlopen(f"{self.url(node)}/health", timeout=2, context=self.trust()) as answer:
                return json.load(answer).get("health") == "true"
        except (OSError, ValueError):
            return False

    def ask(self, node, path, message):
        request = urllib.request.Request(f"{self.url(node)}{path}", json.dumps(message).encode(),
                                         {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=5, context=self.trust()) as answer:
            return json.load(answer)

    def leader(self):
        """The number of the node that leads."""
        for _ in range(200):
            for node in NODES:
                try:
                    status = self.ask(node, "/v3/maintenance/status", {})
                except (OSError, ValueError):
                    continue
                if status.get("leader") == status["header"]["member_id"]:
                    return node
            time.sleep(0.05)
        fail(f"{type(self).__name__}: nobody leads; see {self.work}")

    def term(self):
        """The newest term that a node knows."""
        terms = [0]
        for node in NODES:
            try:
                terms.append(int(self.ask(node, "/v3/maintenance/status", {}).get("raftTerm", 0)))
            except (OSError, ValueError):
                pass
        return max(terms)

    def abandon(self):
        """Stops it for ever: nobody wants its data any more."""
        self.stop()

    def stop(self):
        for process in self.processes:
            process.send_signal(signal.SIGINT)
        for process in self.processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes = []


class Etcd(Cluster):
    program = "etcd"

    def launch(self):
        for node in NODES:
            self.launch_node(node)

    def launch_node(self, node):
        everyone = ",".join(f"n{each}={self.peer(each)}" for each in NODES)
        client = self.url(node)
        secure = [] if not self.tls else [
            "--client-cert-auth", "--trusted-ca-file", os.path.join(self.tls, "ca.crt"),
            "--cert-file", os.path.join(self.tls, f"node-{node}.crt"),
            "--key-file", os.path.join(self.tls, f"node-{node}.key")]
        process = self.spawn(f"n{node}", [
            self.program, "--name", f"n{node}", "--data-dir", self.directory(node),
            "--listen-client-urls", client, "--advertise-client-urls", client,
            "--listen-peer-urls", self.peer(node), "--initial-advertise-peer-urls", self.peer(node),
            "--initial-cluster", everyone, "--initial-cluster-state", "new", *secure])
        self.nodes = {**getattr(self, "nodes", {}), node: process}

    def abandon(self):
        """At once: to part in peace takes three of them seven seconds."""
        for process in self.processes:
            process.kill()
        self.stop()

    def directory(self, node):
        return os.path.join(self.work, f"node-{node}")

    def pids(self):
        return [self.nodes[node].pid for node in NODES]

    def kill_node(self, node):
        process = self.nodes[node]
        process.kill()
        process.wait()
        self.processes.remove(process)

    def start_node(self, node):
        self.launch_node(node)
        self.wait()


class Cairn(Cluster):
    program = None

    def __init__(self, base_port, work, tls=None, protocol=PROTOCOLS[0]):
        super().__init__(base_port, work, tls)
        self.protocol = protocol

    def launch(self):
        """By `cairn up` the first time; later each node by itself, as etcd's."""
        configs = [self.config(node) for node in NODES]
        if all(map(os.path.exists, configs)):
            for node, config in zip(NODES, configs):
                self.spawn(f"n{node}", [self.program, "serve", "--config", config])
            return
        secure = ["--tls"] if self.tls else []
        self.spawn("up", [self.program, "up", "--restart", "--dir", os.path.join(self.work, "data"),
                          "--base-port", str(self.base), "--protocol", self.protocol, *secure])

    def printed(self, label):
        """The command that `cairn up` prints behind these words."""
        with open(os.path.join(self.work, "up.log"), encoding="utf-8") as log:
            for line in log:
                if line.startswith(label):
                    return line[len(label):].strip()
        return fail(f"`cairn up` prints no {label!r}")

    def directory(self, node):
        return os.path.join(self.work, "data", f"node-{node}")

    def config(self, node):
        return os.path.join(self.work, "data", f"node-{node}.toml")

    def pid(self, node):
        config = self.config(node)
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{name}/cmdline", "rb") as line:
                    words = line.read().decode(errors="replace").split("\0")
            except OSError:
                continue
            if words[1:2] == ["serve"] and config in words:
                return int(name)
        fail(f"Cairn: node {node} does not run; see {self.work}")

    def pids(self):
        return [self.pid(node) for node in NODES]

    def kill_node(self, node):
        """`up --restart` starts it again at once."""
        os.kill(self.pid(node), signal.SIGKILL)

    def start_node(self, _node):
        self.wait()
