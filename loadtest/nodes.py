"""Servers of one cluster, each a process with a port that it keeps over its lives."""

import signal

from processes import NoResult, ask, free_port, running, until

# Which tokens all of them take.
SECRET = "kP9vQ2xW7mZ4tL8sR3nB6yH1cJ5dF0gA-uEoIiKqXw2"

SETTINGS = {
    "auth.secret": SECRET,
    "http.metrics": "true",
    "limits.publish_per_s": 0,
    "limits.join_per_s": 0,
    "limits.rooms_per_s": 0,
    "limits.fanout_bytes_per_s": 0,
    # Who is sent away is so at once.
    "drain_s": 1,
}

# What a server may take to begin, and to end.
READY_WITHIN_S, ENDS_WITHIN_S = 30, 30


class Node:
    """A server at this engine; without one, if that is None, which keeps its rooms in memory."""

    def __init__(self, stack, log, binary, engine_url, settings=(), shards=2):
        self.stack, self.log, self.port = stack, log, free_port()
        where = {"engine.url": engine_url} if engine_url else {"store.path": ""}
        keys = {**SETTINGS, **where, **dict(settings)}
        sets = [word for key, value in keys.items() for word in ("--set", f"{key}={value}")]
        listen = ["--listen", f"127.0.0.1:{self.port}", "--shards", str(shards)]
        self.words = [str(binary), *listen, *sets]
        self.process = None
        self.start()

    @property
    def url(self):
        return f"ws://127.0.0.1:{self.port}/socket/websocket?vsn=2.0.0"

    def begin(self):
        self.process = self.stack.enter_context(running(self.words, self.log, stdout=self.log))

    def await_ready(self):
        def is_ready():
            if self.process.poll() is not None:
                raise NoResult(f"a server has ended with {self.process.poll()}")
            return ask(self.port, "/readyz") is not None

        until(is_ready, READY_WITHIN_S, 0.02)

    def start(self):
        self.begin()
        self.await_ready()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def terminate(self):
        """Asks it to end, and waits until it has, well."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(ENDS_WITHIN_S)
        if code != 0:
            raise NoResult(f"a server that was asked to end has ended with {code}")

    def metric(self, name):
        """A number on its page of metrics; none, if it does not answer."""
        lines = (ask(self.port, "/metrics") or "").splitlines()
        found = (line.split()[1] for line in lines if line.startswith(f"chinwag_{name} "))
        return next((float(value) for value in found), None)
