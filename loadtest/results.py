"""Results in a folder: `SCENARIO.SERVER.ROUND.json`, and beside each as `.run` what was run for it.

A result counts when its `.run` is there, which is written last. Results of another build stay in
the folder until their runs are made again, and stand in no table beside those of this one.
"""

import json

from measured import SCENARIOS


def file_of(out, scenario, server, round_):
    return out / f"{scenario.name}.{server.name}.{round_}.json"


def run_of(scenario, server_build, loadtest_build):
    """What is run: the builds of both sides, and the commands."""
    return "\n".join([server_build, loadtest_build, *scenario.commands()])


def is_there(file, run):
    """Whether there is a result of this run."""
    beside = file.with_suffix(".run")
    return file.exists() and beside.exists() and beside.read_text() == run


def problems(file):
    """What was wrong in a run: nothing, if it is complete and within its limits."""
    return json.loads(file.read_text())["problems"]


def keep(file, run):
    file.with_suffix(".run").write_text(run)


def forget(file):
    for ending in (".run", ".json"):
        file.with_suffix(ending).unlink(missing_ok=True)


def of_one_build(out, server_builds, loadtest_build):
    """The results that may stand beside each other, in the order in which they were made, and how
    many others there are.

    `server_builds` has the build of each server that is meant, by its name, and `loadtest_build` is
    that of the load generator. What is not given is that of the newest result.
    """
    files = sorted(out.glob("*.json"), key=lambda file: file.stat().st_mtime_ns)
    counting = [file for file in files if file.with_suffix(".run").exists()]
    results = [json.loads(file.read_text()) for file in counting]
    runs = [file.with_suffix(".run").read_text() for file in counting]
    builds = [run.split("\n")[:2] for run in runs]
    # The newest come last.
    newest = {result["label"]: build[0] for result, build in zip(results, builds)}
    meant = {**newest, **server_builds}
    loadtest_build = loadtest_build or (builds[-1][1] if builds else "")

    def is_meant(result, run):
        scenario = SCENARIOS.get(result["name"])
        return scenario and run == run_of(scenario, meant[result["label"]], loadtest_build)

    same = [result for result, run in zip(results, runs) if is_meant(result, run)]
    return same, len(files) - len(same)
