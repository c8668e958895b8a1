"""The libraries that are linked into the program, as cargo knows them. For the scripts beside it, which are run in the repository."""

import json
import subprocess


def cargo(*words):
    return subprocess.check_output(["cargo", *words], text=True)


def linked():
    """The program and the libraries that it is linked with, by name and version: no tools of the build, no libraries of tests.

    Each is what `cargo metadata` says of it, and in `uses` the keys of those that it uses itself. Which these are is for
    `cargo tree` to say: it knows the features of this one program, and `cargo metadata` those of all in the workspace together.
    """
    metadata = json.loads(cargo("metadata", "--format-version", "1", "--locked", "--filter-platform", "host-tuple"))
    about = {(package["name"], package["version"]): package for package in metadata["packages"]}
    found, path = {}, []
    for line in cargo("tree", "--locked", "--edges", "normal", "--prefix", "depth", "--format", " {p}").splitlines():
        depth, name, version = line.split()[:3]
        key = (name, version.removeprefix("v"))
        del path[int(depth) :]
        if path:
            found[path[-1]]["uses"].add(key)
        found.setdefault(key, {**about[key], "uses": set()})
        path.append(key)
    return found
