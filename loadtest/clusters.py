"""What is measured of servers that keep their rooms in an engine: each kind in its own way.

An engine is one of `engines`, with nothing on disk, on the same machine as servers and clients.
"""

import contextlib
import json
import shlex
import socket
import subprocess
import time
from pathlib import Path

import engines
from failing import put_through
from failures import ROWS
from nodes import SECRET, Node
from processes import NoResult, finish, running, until

# How often an engine is asked for a round trip.
ROUND_TRIPS = 3_000

# How much longer than planned a run may take.
PATIENCE_S = 120

# So many rooms are open when a server loses its engine.
OPEN_ROOMS = 100_000


def round_trips(engine):
    """What an engine takes to answer a PING, one after the other: nanoseconds, in order."""
    took = []
    with socket.create_connection(("127.0.0.1", engine.port), 5) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(ROUND_TRIPS):
            began = time.perf_counter_ns()
            connection.sendall(b"PING\r\n")
            connection.recv(64)
            took.append(time.perf_counter_ns() - began)
    return sorted(took)


def at(times, share):
    """A percentile of times in order."""
    return times[min(int(len(times) * share), len(times) - 1)]


def cpu_ns(server):
    """What a process has used so far."""
    threads = Path(f"/proc/{server.process.pid}/task").glob("*/schedstat")
    return sum(int(file.read_text().split()[0]) for file in threads)


def cpu_of(report):
    """What a message has cost its engine, which was named last, and what a delivery the servers."""
    used = [one["used"]["user_ns"] + one["used"]["system_ns"] for one in report["servers"]]
    counts = report["counts"]
    return {
        "engine CPU per message": used[-1] / counts["answered_window"],
        "server CPU per delivery": sum(used[:-1]) / counts["delivered_window"],
    }


class Clusters:
    """Kinds of runs, each of which gives its figures. `loadtest` is the load generator."""

    def client(self, load, urls, processes, file, log):
        """A run of the load generator at these servers: its report."""
        words = [self.loadtest, *shlex.split(load), "--quiet", "--json", str(file)]
        words += ["--secret", SECRET]
        words += [word for url in urls for word in ("--url", url)]
        words += [word for process in processes for word in ("--server-pid", str(process.pid))]
        with running(words, log, stdout=subprocess.DEVNULL) as run:
            finish(run, PATIENCE_S, well=(0, 1))
        report = json.loads(file.read_text())
        if report["problems"]:
            raise NoResult("; ".join(report["problems"]))
        return report

    def beside_memory(self, scenario, server, _file, folder, log):
        """One server without an engine, then one with, under the same load."""
        reports, times = {}, []
        for name in ("memory", "engine"):
            with contextlib.ExitStack() as stack:
                engine = engines.Engine(stack, log)
                url = engine.url if name == "engine" else None
                node = Node(stack, log, server.binary, url, scenario.settings, scenario.shards)
                processes = [node.process, engine.process]
                before = round_trips(engine)
                file = folder / f"{name}.json"
                reports[name] = self.client(scenario.load, [node.url], processes, file, log)
                times += before + round_trips(engine)
        times.sort()
        figures = {}
        for name, report in reports.items():
            answer = report["times"]["answer"]
            figures[f"{name} p50"], figures[f"{name} p99"] = answer["p50_ns"], answer["p99_ns"]
            window_s = report["window_ns"] / 1e9
            figures[f"{name} per second"] = report["counts"]["answered_window"] / window_s
        for share, of in ((0.5, "p50"), (0.99, "p99")):
            figures[f"round trip {of}"] = at(times, share)
            figures[f"added {of}"] = figures[f"engine {of}"] - figures[f"memory {of}"]
        figures["over the bound"] = figures["added p50"] - 1.3 * figures["round trip p50"] - 100e3
        return figures | cpu_of(reports["engine"])

    def spread(self, scenario, server, _file, folder, log):
        """Rooms whose members are all at one server, then at three."""
        figures = {}
        for count in (1, 3):
            with contextlib.ExitStack() as stack:
                engine = engines.Engine(stack, log)
                nodes = [
                    Node(stack, log, server.binary, engine.url, scenario.settings, scenario.shards)
                    for _ in range(count)
                ]
                processes = [node.process for node in nodes] + [engine.process]
                urls = [node.url for node in nodes]
                file = folder / f"{count}.json"
                report = self.client(scenario.load, urls, processes, file, log)
            for metric in ("delivery", "answer"):
                for of in ("p50", "p99"):
                    figures[f"{count}: {metric} {of}"] = report["times"][metric][f"{of}_ns"]
            own = cpu_of(report)
            figures |= {f"{count}: {name}": value for name, value in own.items()}
        return figures

    def reopen(self, scenario, server, _file, _folder, log):
        """A server with many open rooms loses its connection, and makes another."""
        with contextlib.ExitStack() as stack:
            engine = engines.Engine(stack, log)
            node = Node(
                stack, log, server.binary, engine.url, scenario.settings, scenario.shards
            )

            def channels():
                return int(engine.told("stats", "pubsubshard_channels") or 0)

            before = channels()
            words = [self.loadtest, *shlex.split(scenario.load), "--quiet", "--url", node.url]
            words += ["--secret", SECRET]
            stack.enter_context(running(words, log, stdout=subprocess.DEVNULL))
            # Beside those of rooms a server follows the list of them.
            until(lambda: channels() >= before + OPEN_ROOMS, PATIENCE_S, 0.2)
            lives = node.metric("engine_connection_lives_total")
            used = cpu_ns(engine), cpu_ns(node)
            began = time.monotonic_ns()
            engine.ask("CLIENT", "KILL", "TYPE", "pubsub")
            # Nothing is followed any more by then.
            until(lambda: node.metric("engine_connection_lives_total") != lives, 60, 0.005)
            # But for those that were just about to be opened.
            rooms = node.metric("engine_rooms")
            until(lambda: channels() >= before + rooms, PATIENCE_S, 0.02)
            return {
                "rooms": rooms,
                "until all are followed": time.monotonic_ns() - began,
                "engine CPU per room": (cpu_ns(engine) - used[0]) / rooms,
                "server CPU per room": (cpu_ns(node) - used[1]) / rooms,
            }

    def failover(self, scenario, server, _file, folder, _log):
        """A row of `failures`: when writes go on."""
        report, problems = put_through(ROWS[scenario.load], server.binary, self.loadtest, folder)
        if problems:
            raise NoResult("; ".join(problems))
        fault = report["faults"][0]
        return {"first": fault["first_acked_ns"], "all": fault["all_acked_ns"]}
