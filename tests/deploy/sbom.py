"""What docs/deploy/sbom prints is CycloneDX, always the same, and what Cargo.lock has: each library once, by its hash, and somebody uses it.

    sbom.py FOLDER      the folder is that of the repository
"""

import copy
import json
import os
import pathlib
import subprocess
import sys
import tomllib

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

ROOT = pathlib.Path(sys.argv[1])
# Off by default: the model checker's.
NOT_LINKED = {"loom"}


def printed(seed):
    """The bill, in a process in which sets have another order for each seed."""
    environment = os.environ | {"PYTHONHASHSEED": seed, "SOURCE_DATE_EPOCH": "0"}
    return subprocess.check_output(["docs/deploy/sbom"], cwd=ROOT, env=environment, text=True)


def read(name):
    return tomllib.loads((ROOT / name).read_text())


def locked():
    """The hash of each crate in Cargo.lock, and the crates that it may use."""
    packages = read("Cargo.lock")["package"]

    def key(entry):
        """A version stands there only where there are several."""
        name, *version = entry.split()
        return name, version[0] if version else next(p["version"] for p in packages if p["name"] == name)

    return {(p["name"], p["version"]): (p.get("checksum"), {key(entry) for entry in p.get("dependencies", [])}) for p in packages}


LOCKED = locked()
DIRECT = read("Cargo.toml")["dependencies"].keys() - NOT_LINKED


def faults(bill):
    """All that is wrong with a bill."""
    program, libraries = bill["metadata"]["component"], bill["components"]
    keys = {component["bom-ref"]: (component["name"], component["version"]) for component in [program, *libraries]}
    uses = {entry["ref"]: entry["dependsOn"] for entry in bill["dependencies"]}
    if len(keys) != 1 + len(libraries) or len(set(keys.values())) != len(keys):
        yield "a library is there twice"
    if keys.keys() != uses.keys() or len(uses) != len(bill["dependencies"]):
        yield "it does not say once of each what it uses"
    for library in libraries:
        checksum, _ = LOCKED.get(keys[library["bom-ref"]], (None, None))
        if library["hashes"] != [{"alg": "SHA-256", "content": checksum}]:
            yield f"{library['bom-ref']} is not what Cargo.lock has"
    for user, used in uses.items():
        _, may_use = LOCKED.get(keys.get(user), (None, set()))
        yield from (f"{user} does not use {one}" for one in used if keys.get(one) not in may_use)
    reached, ahead = set(), [program["bom-ref"]]
    while ahead:
        if (one := ahead.pop()) not in reached:
            reached.add(one)
            ahead += uses.get(one, [])
    yield from (f"nobody uses {one}" for one in keys.keys() - reached)
    direct = {keys[one][0] for one in uses.get(program["bom-ref"], []) if one in keys}
    yield from (f"{name} is missing" for name in DIRECT - direct)


def without_one(bill):
    """As if the first library that the program uses had never been heard of."""
    program = bill["metadata"]["component"]["bom-ref"]
    gone = next(entry["dependsOn"][0] for entry in bill["dependencies"] if entry["ref"] == program)
    bill["components"] = [component for component in bill["components"] if component["bom-ref"] != gone]
    bill["dependencies"] = [entry for entry in bill["dependencies"] if entry["ref"] != gone]
    for entry in bill["dependencies"]:
        entry["dependsOn"] = [one for one in entry["dependsOn"] if one != gone]


first, second = printed("1"), printed("2")
assert first == second, "it is not the same twice"
error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(first)
assert error is None, f"it is no CycloneDX: {error}"
bill = json.loads(first)
found = list(faults(bill))
assert not found, found

for what, damage in {
    "one that is there twice": lambda bill: bill["components"].append(bill["components"][0]),
    "another version": lambda bill: bill["components"][0].update(version="0.0.0"),
    "another hash": lambda bill: bill["components"][0]["hashes"][0].update(content="0" * 64),
    "a use that is none": lambda bill: bill["dependencies"][0]["dependsOn"].append(bill["metadata"]["component"]["bom-ref"]),
    "one that nobody uses": lambda bill: [entry["dependsOn"].clear() for entry in bill["dependencies"]],
    "one of which nothing is said": lambda bill: bill["dependencies"].pop(),
    "one that is missing": without_one,
}.items():
    damaged = copy.deepcopy(bill)
    damage(damaged)
    assert list(faults(damaged)), f"not seen: {what}"
