"""One run of a scenario: each kind in its own way."""

import contextlib
import json
import re
import shlex
import shutil
import subprocess
import tempfile
import time
import traceback
from pathlib import Path

from clusters import Clusters
from processes import NoResult, ask, finish, free_port, running, serving, until
from stored import MESSAGES_EACH, ROOMS, exported

# How much longer than planned a run may take.
PATIENCE_S = 120


class Bench(Clusters):
    """Where runs are made."""

    def __init__(self, out, loadtest):
        self.loadtest = str(loadtest)
        self.workspace = Path(tempfile.mkdtemp(prefix="running-", dir=out))

    def measure(self, scenario, server, file):
        """One run, whose result is then in the file.

        # Raises
        NoResult, or what else went wrong: the log beside the file says where.
        """
        folder = Path(tempfile.mkdtemp(dir=self.workspace))
        try:
            with open(file.with_suffix(".log"), "w", encoding="utf-8") as log:
                try:
                    figures = getattr(self, scenario.kind)(scenario, server, file, folder, log)
                    # The load generator writes its own.
                    if scenario.kind != "load":
                        write_own(scenario, server, file, figures)
                except Exception:
                    traceback.print_exc(file=log)
                    raise
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def load(self, scenario, server, file, folder, log):
        port = free_port()
        target = ["--url", f"ws://127.0.0.1:{port}{server.path}", *server.extra]

        def client(load, *more):
            words = [self.loadtest, *shlex.split(load), *target, *more, "--quiet"]
            # Who floods has no claim to the cores that the others need.
            nice = ["nice", "-n", "10"] if load.startswith("flood") else []
            return running([*nice, *words], log, stdout=subprocess.DEVNULL)

        patience_s = scenario.seconds + PATIENCE_S
        with serving(server.words(scenario, port, folder), port, log) as process:
            time.sleep(0.5)
            if scenario.before:
                with client(scenario.before) as before:
                    finish(before, patience_s)
            with contextlib.ExitStack() as stack:
                if scenario.beside:
                    beside = stack.enter_context(client(scenario.beside))
                    time.sleep(1)
                named = ["--name", scenario.name, "--label", server.name]
                pid = ["--server-pid", str(process.pid), "--json", str(file)]
                with client(scenario.load, *named, *pid) as run:
                    # 1 is a run that failed, which is a result too.
                    finish(run, patience_s, well=(0, 1))
                if scenario.beside and beside.poll() is not None:
                    raise NoResult(f"what was beside it had ended, with {beside.poll()}")

    def floor(self, scenario, _server, _file, folder, log):
        told = folder / "floor.json"
        words = [self.loadtest, *shlex.split(scenario.load), "--json", str(told)]
        with running(words, log, stdout=subprocess.DEVNULL) as run:
            finish(run, scenario.seconds + PATIENCE_S)
        batches = json.loads(told.read_text())["batches"]
        figures = {
            f"{batch['frames_per_call']} in a call": batch["ns_per_frame"] for batch in batches
        }
        return figures

    def disk(self, scenario, _server, _file, folder, log):
        return self.appended(scenario.load, scenario.seconds, folder, log)

    def appended(self, load, seconds, folder, log):
        """What the bare disk does."""
        words = [self.loadtest, *shlex.split(load), "--folder", str(folder)]
        told = folder / "table"
        with open(told, "w", encoding="utf-8") as table:
            with running(words, log, stdout=table) as run:
                finish(run, seconds + PATIENCE_S)
        table = told.read_text(encoding="utf-8")
        log.write(table)
        scales = {"ns": 1, "µs": 1e3, "ms": 1e6, "s": 1e9}
        figures = {}
        for row in re.findall(r"^ *(\d+) +(\d+) +([\d.]+) (\S+) +([\d.]+) (\S+)$", table, re.M):
            batch, per_s, p50, p50_unit, p99, p99_unit = row
            figures[f"{batch} at a time"] = float(per_s)
            figures[f"{batch} at a time, p50"] = float(p50) * scales[p50_unit]
            figures[f"{batch} at a time, p99"] = float(p99) * scales[p99_unit]
        return figures

    def accept(self, scenario, server, _file, folder, log):
        """What the store alone takes of a load, by its own counts; and then what the bare disk does
        with as many messages at a time as were under way."""
        port = free_port()
        store = folder / "store"
        words = server.words(scenario, port, store, {"http.metrics": "true"})
        load = [self.loadtest, *shlex.split(scenario.load), "--quiet"]
        load += ["--url", f"ws://127.0.0.1:{port}{server.path}"]
        with serving(words, port, log):
            began = time.monotonic()
            with running(load, log, stdout=subprocess.DEVNULL) as run:
                finish(run, scenario.seconds + PATIENCE_S, well=(0, 1))
            took_s = time.monotonic() - began
            metrics = ask(port, "/metrics") or ""

        def count(name):
            found = re.search(rf"^chinwag_store_{name} (\d+)$", metrics, re.M)
            if not found:
                raise NoResult(f"the server does not count {name}")
            return int(found[1])

        messages, commits = count("batch_messages_sum"), count("commit_us_count")
        kept = messages * 1e6 / count("commit_us_sum")
        under_way = re.search(r"--in-flight (\d+)", scenario.load)[1]
        bare = f"disk --bytes 300 --batch {under_way} --duration 2s"
        bare = self.appended(bare, 2, folder, log)[f"{under_way} at a time"]
        return {
            "kept": kept,
            "of the bare disk": kept / bare,
            "messages a commit": messages / commits,
            "checkpoints": count("checkpoint_us_count") / took_s,
        }

    def start(self, scenario, server, _file, _folder, log):
        folder, filled = self.filled(scenario, server, log)
        port = free_port()
        words = server.words(scenario, port, folder, {"http.metrics": "true"})
        began = time.monotonic()
        with running(words, log, stdout=log) as process:
            until(lambda: ask(port, "/readyz") is not None, 60, 0.001)
            serves_s = time.monotonic() - began
            whole = f'"total":{ROOMS}'
            until(lambda: whole in (ask(port, "/api/rooms?limit=1") or ""), 60, 0.005)
            listed_s = time.monotonic() - began
            status = Path(f"/proc/{process.pid}/status").read_text()
        own_kb = int(re.search(r"^RssAnon:\s+(\d+) kB", status, re.M)[1])
        figures = {"until it serves": serves_s * 1e9, "until its list is whole": listed_s * 1e9}
        return {**figures, "memory then": own_kb * 1024, **filled}

    def filled(self, scenario, server, log):
        """A store with all that `start` wants, made once for each server: its folder, and what its
        making has shown."""
        made = self.workspace / f"start-{server.name}"
        folder, noted, export = made / "store", made / "figures.json", made / "export"
        if noted.exists():
            return folder, json.loads(noted.read_text())
        # What a round has left behind that failed: an import wants an empty store.
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir()
        messages = ROOMS * MESSAGES_EACH
        words = [str(server.binary), "import", "--set", f"store.path={folder}"]
        with open(export, "w+", encoding="utf-8") as lines:
            lines.writelines(line + "\n" for line in exported())
            lines.seek(0)
            began = time.monotonic()
            subprocess.run(words, stdin=lines, stdout=log, stderr=log, check=True, timeout=600)
            took_s = time.monotonic() - began
        export.unlink()
        figures = {"imported": messages / took_s}
        # The index of what is searched follows behind a server that runs.
        port = free_port()
        words = server.words(scenario, port, folder, {"http.metrics": "true"})
        index = folder / "search.db"
        with serving(words, port, log):
            sizes = [-1]

            def is_whole():
                sizes.append(index.stat().st_size if index.exists() else 0)
                behind = "chinwag_store_search_lag_rooms 0" in (ask(port, "/metrics") or "")
                return behind and 0 < sizes[-1] == sizes[-2]

            until(is_whole, 600, 2)
        for name in ("chat.db", "search.db"):
            figures[f"{name} per message"] = (folder / name).stat().st_size / messages
        noted.write_text(json.dumps(figures))
        return folder, figures


def write_own(scenario, server, file, figures):
    """A result in the form that loadtest's have, as far as tables read it.

    # Raises
    NoResult: there are no figures.
    """
    if not figures:
        raise NoResult("it told no figures")
    told = [{"name": name, "value": value} for name, value in figures.items()]
    result = {"name": scenario.name, "label": server.name, "figures": told, "problems": []}
    file.write_text(json.dumps(result, indent=1))
