"""Redis or Valkey as an engine: servers on ports of their own, replicas, and sentinels.

A server keeps its folder and its port over its lives. All that were started end with the stack that
they were given.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

from processes import NoResult, free_port, running, until

# What a server is started by: the one that the tests have, or the installed one.
PROGRAM = os.environ.get("CHINWAG_VALKEY") or os.environ.get("CHINWAG_REDIS") or "redis-server"

# What a server may take to begin, or to follow another.
READY_WITHIN_S = 20

# Sentinels ask for replicas every 10 s, and tell each other of themselves every 2 s: these sooner.
HURRY = ("SENTINEL", "DEBUG", "INFO-PERIOD", "500", "PUBLISH-PERIOD", "500")


def ask(port, *words, timeout_s=5):
    """What a server answers: text, a number, or a list of these.

    # Raises
    OSError: it cannot be asked. NoResult: it refuses.
    """
    with socket.create_connection(("127.0.0.1", port), timeout_s) as connection:
        told = [str(word).encode() for word in words]
        command = b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in told)
        connection.sendall(b"*%d\r\n%s" % (len(told), command))
        with connection.makefile("rb") as answer:
            return read(answer)


def read(answer):
    """One value (RESP 2)."""
    line = answer.readline()
    if not line.endswith(b"\r\n"):
        raise ConnectionError("it ended within its answer")
    kind, rest = line[:1], line[1:-2].decode()
    if kind == b"-":
        raise NoResult(f"an engine says: {rest}")
    if kind == b":":
        return int(rest)
    if kind == b"$":
        size = int(rest)
        return None if size < 0 else answer.read(size + 2)[:-2].decode(errors="replace")
    if kind == b"*":
        return [read(answer) for _ in range(int(rest))]
    return rest


class Server:
    """A process that speaks the protocol."""

    def __init__(self, stack, log):
        self.stack, self.log, self.port = stack, log, free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="chinwag-engine-"))
        stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self.process = None

    def run(self, *words):
        """Starts it, and waits until it answers."""
        words = [PROGRAM, *words, "--port", self.port, "--bind", "127.0.0.1", "--dir", self.folder]
        process = running([str(word) for word in words], self.log, stdout=self.log)
        self.process = self.stack.enter_context(process)
        until(lambda: self.says("PING") == "PONG", READY_WITHIN_S, 0.01)

    def ask(self, *words):
        return ask(self.port, *words)

    def says(self, *words):
        """What it answers; nothing, if it does not."""
        with contextlib.suppress(OSError, NoResult):
            return self.ask(*words)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)


class Engine(Server):
    """A primary or a replica, which is asked for what `settings` say."""

    def __init__(self, stack, log, *settings):
        super().__init__(stack, log)
        self.settings = settings
        self.start()

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}"

    def start(self):
        self.run("--save", "", "--repl-diskless-sync-delay", "0", *self.settings)

    def forget(self):
        """Nothing is left in its folder."""
        shutil.rmtree(self.folder)
        self.folder.mkdir()

    def told(self, section, name):
        """A line of what it says of itself; nothing, if it does not."""
        lines = (self.says("INFO", section) or "").splitlines()
        return next((line.partition(":")[2] for line in lines if line.startswith(name + ":")), None)

    def follow(self, other):
        """Becomes the replica of another, or of where a way leads, and waits until it has all."""
        self.ask("REPLICAOF", "127.0.0.1", other.port)
        until(lambda: self.told("replication", "master_link_status") == "up", READY_WITHIN_S, 0.02)

    def lead(self):
        """Becomes a primary."""
        self.ask("REPLICAOF", "NO", "ONE")

    def deafen_replicas(self):
        """Its replicas hear nothing from now on, though they go on to ask."""
        self.ask("ACL", "SETUSER", "default", "-psync", "-sync")
        self.ask("CLIENT", "KILL", "TYPE", "replica")


class Sentinel(Server):
    """Watches a primary by the name of `chat`."""

    def __init__(self, stack, log, primary, down_after_ms):
        super().__init__(stack, log)
        file = self.folder / "sentinel.conf"
        file.write_text(
            f"sentinel monitor chat 127.0.0.1 {primary.port} 2\n"
            f"sentinel down-after-milliseconds chat {down_after_ms}\n"
            "sentinel failover-timeout chat 6000\n"
        )
        self.run(file, "--sentinel")
        self.ask(*HURRY)

    def knows(self, replicas, others):
        said = self.says("INFO", "sentinel") or ""
        return f"slaves={replicas},sentinels={others}" in said


def watched(stack, log, replicas, down_after_ms, *settings):
    """A primary, its replicas, three sentinels, and the address that names these."""
    primary = Engine(stack, log, *settings)
    followers = [Engine(stack, log, *settings) for _ in range(replicas)]
    for follower in followers:
        follower.follow(primary)
    sentinels = [Sentinel(stack, log, primary, down_after_ms) for _ in range(3)]
    until(lambda: all(it.knows(replicas, 3) for it in sentinels), 60, 0.1)
    places = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in sentinels)
    return primary, followers, sentinels, f"redis+sentinel://{places}/chat"


def version():
    """What the engine is, for people."""
    said = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True, check=True).stdout
    return " ".join(said.split()[:3])
