"""Puts a cluster through a row of `failures`, under `loadtest failover`, which judges."""

import contextlib
import json
import socketserver
import threading
import traceback

from failures import Cluster
from nodes import SECRET
from processes import finish, running

# What a run may take beside its load and until all is at rest.
PATIENCE_S = 60
# Until all is at rest: longer than a server that is gone is thought to be there.
DRAIN_S = 40

LOAD = [
    *("--rooms", "10", "--members", "9", "--publishers", "3", "--banned", "1"),
    *("--rate", "150", "--changes", "0.3", "--timeout", "4s", "--warmup", "0s"),
]


class Steps:
    """Does what it is asked by number, and says when that is done."""

    def __init__(self, stack, steps, log):
        self.failed = []

        class Handler(socketserver.StreamRequestHandler):
            def handle(handler):
                number = int(handler.rfile.readline())
                try:
                    steps[number][1]()
                except Exception as why:
                    traceback.print_exc(file=log)
                    self.failed.append(f"step {number + 1}: {why!r}")
                    return
                handler.wfile.write(b"done\n")

        server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        self.port = server.server_address[1]
        stack.callback(server.shutdown)
        threading.Thread(target=server.serve_forever, daemon=True).start()

    def command(self, number):
        """What a shell runs to have a step done."""
        ask = f"exec 3<>/dev/tcp/127.0.0.1/{self.port}; echo {number} >&3; read -r said <&3"
        return f"bash -c '{ask}; [ \"$said\" = \"done\" ]'"


def put_through(row, server, loadtest, folder):
    """Puts a cluster through a row: the report, and what is wrong."""
    file = folder / "report.json"
    with open(folder / "log", "w", encoding="utf-8") as log, contextlib.ExitStack() as stack:
        cluster = Cluster(stack, log, server)
        steps = row.steps(cluster)
        control = Steps(stack, steps, log)
        faults = [
            word
            for number, (second, _) in enumerate(steps)
            for word in ("--fault", f"{second * 1000}: {control.command(number)}")
        ]
        urls = [word for node in cluster.nodes for word in ("--url", node.url)]
        words = [loadtest, "failover", "--quiet", "--json", file, "--secret", SECRET]
        times = ["--duration", f"{row.seconds}s", "--drain", f"{DRAIN_S}s"]
        words += [*LOAD, *times, *row.load, *urls, *faults]
        with running([str(word) for word in words], log, stdout=log) as load:
            finish(load, row.seconds + DRAIN_S + PATIENCE_S, well=(0, 1))
        report = json.loads(file.read_text())
        return report, control.failed + wrong(row, cluster, report)


def wrong(row, cluster, report):
    """What is not as the row says."""
    problems, counts = report["problems"], report["counts"]
    if row.finds:
        return [] if counts[row.finds] else [f"{row.finds} was planted, and is not found"]
    found = list(problems)
    for name, must, of in (
        ("told", row.told, "members were told that something may be lost"),
        ("told_lost", row.lost, "acknowledged things are lost"),
    ):
        if must is not None and must != bool(counts[name]):
            found.append(f"{counts[name]} {of}")
    if not counts["answered"] or not counts["changed"]:
        found.append("nothing was acknowledged")
    why = row.check and row.check(cluster, report)
    return found + [why] * bool(why)
