"""Tables of results, in Markdown: medians, with the least and the most in brackets."""

import statistics
import time

from measured import SCENARIOS
from results import of_one_build


def value_of(result, key):
    """A figure of a result, if it has it: of the server, of what was counted or timed, or one that
    only this scenario has."""
    server, counts = result.get("server") or {}, result.get("counts") or {}
    floor = result.get("floor") or {}
    per_s = counts.get("delivered_window", 0) * 1e9 / max(result.get("window_ns", 0), 1)
    named = {
        "cpu": server.get("cpu_per_delivery_ns"),
        "connect_cpu": server.get("cpu_per_connection_ns"),
        "bytes_per_conn": server.get("bytes_per_conn"),
        "floor": floor.get("ratio"),
        "floor_ns": floor.get("ns_per_frame"),
        "answered_all": counts.get("answered"),
        "per_second": per_s,
    }
    if key in named:
        return named[key]
    own = {figure["name"]: figure["value"] for figure in result["figures"]}
    if key in own:
        return own[key]
    metric, _, percentile = key.rpartition(".")
    return result.get("times", {}).get(metric, {}).get(f"{percentile}_ns")


def shown(values, unit):
    """A median, with the least and the most in brackets."""
    if not values:
        return "–"
    middle = statistics.median(values)
    steps = {
        "ns": ((1e9, " s"), (1e6, " ms"), (1e3, " µs"), (1, " ns")),
        "bytes": ((1e6, " MB"), (1e4, " kB"), (1, " B")),
    }.get(unit, ((1, f" {unit}".rstrip()),))
    scale, suffix = next((step for step in steps if abs(middle) >= step[0]), steps[-1])
    if suffix == " kB":
        scale = 1e3

    def digits(value):
        value /= scale
        places = 0 if abs(value) >= 100 or unit == "messages" else 1 if abs(value) >= 10 else 2
        return f"{value:,.{places}f}"

    spread = f" ({digits(min(values))}–{digits(max(values))})" if len(values) > 1 else ""
    return f"{digits(middle)}{suffix}{spread}"


def report(out, server_builds, loadtest_build):
    """The tables of the results that are there, of these builds: see `of_one_build`."""
    every, others = of_one_build(out, server_builds, loadtest_build)
    results = {}
    # In the order in which the servers were named.
    for result in every:
        results.setdefault(result["name"], {}).setdefault(result["label"], []).append(result)
    machines = sorted({one["machine"] for one in every if "machine" in one})
    when = [time.gmtime(one["started_at"]) for one in every if "started_at" in one]
    span = [time.strftime("%Y-%m-%d %H:%M", moment) for moment in sorted(when)]
    between = f", {span[0]} to {span[-1]} UTC" if span else ""
    print(f"\n{len(every)} runs: {'; '.join(machines)}{between}")
    if others:
        print(f"In no table: {others} of other builds or commands, or cut off")
    for scenario in SCENARIOS.values():
        servers = results.get(scenario.name)
        if not servers:
            continue
        print(f"\n### {scenario.name}: {scenario.title}\n")
        print("\n".join(["```sh", *scenario.commands(), "```\n"]))
        print(f"| | {' | '.join(servers)} |\n|---{'|---' * len(servers)}|")
        for figure in scenario.figures:
            cells = []
            for runs in servers.values():
                values = [value_of(one, figure.key) for one in runs]
                cells.append(shown([value for value in values if value is not None], figure.unit))
            print(f"| {figure.title} | {' | '.join(cells)} |")
        print(f"| runs | {' | '.join(verdict(runs) for runs in servers.values())} |")
        problems = [
            f"{name}: {problem}"
            for name, runs in servers.items()
            for one in runs
            for problem in one["problems"]
        ]
        if problems:
            print("\nFailed:\n\n" + "\n".join(f"- {problem}" for problem in problems))


def verdict(runs):
    """How many runs there were, and how many of them are to be looked at."""
    failed = sum(bool(one["problems"]) for one in runs)
    warned = sum(bool(one.get("warnings")) for one in runs)
    said = [f"{failed} failed"] * bool(failed) + [f"{warned} with warnings"] * bool(warned)
    return f"{len(runs)}, of which {', '.join(said)}" if said else f"{len(runs)}"
