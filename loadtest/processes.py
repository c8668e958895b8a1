"""Servers and clients as processes: how they begin, are waited for, asked, and end."""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import time

# How long a server may take to listen: the first start of a peer builds it.
LISTENS_WITHIN_S = 900


class NoResult(Exception):
    """Why a run has none."""


@contextlib.contextmanager
def running(words, log, **more):
    """A process that has ended when the block has, with all its children."""
    process = subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stderr=log, start_new_session=True, **more
    )
    try:
        yield process
    finally:
        end_group(process, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        # It, if it has not ended, and what it has left behind.
        end_group(process, signal.SIGKILL)
        process.wait()


def end_group(process, number):
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


@contextlib.contextmanager
def serving(words, port, log):
    """A server that listens."""
    with running(words, log, stdout=log) as server:
        until(lambda: answers(port) or server.poll() is not None, LISTENS_WITHIN_S, 0.02)
        if server.poll() is not None:
            raise NoResult("the server did not start")
        yield server


def finish(process, seconds, well=(0,)):
    """Waits for a process to end by itself."""
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        raise NoResult(f"it took more than {seconds} s") from None
    if code not in well:
        raise NoResult(f"loadtest ended with {code}")


def until(condition, seconds, pause_s):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise NoResult(f"waited for {seconds} s in vain")
        time.sleep(pause_s)


def answers(port):
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ask(port, path):
    """What a server answers to a request, if that is 200; none too, if it ends meanwhile."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.read().decode() if answer.status == 200 else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
