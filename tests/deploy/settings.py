"""What the files for containers configure is taken by the server, with a secret, and refused without one where others can reach it.

    settings.py BINARY FOLDER
"""

import pathlib
import re
import subprocess
import sys
import tempfile

import yaml

SECRET = {"CHINWAG_AUTH__SECRET": "aEQYTpD+4wEPCQEcH206uMvn2CwlK1Y9EWjSjA7hz6AdyfTIG1cl/SN1bYkQPh7L"}

binary, folder = sys.argv[1], pathlib.Path(sys.argv[2])


def check(what, environment, config=None):
    """The server takes this with a secret, and without one it says what is missing."""
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(config or "")
        file.flush()
        command = [binary, "check", file.name]
        taken = subprocess.run(command, env=environment | SECRET, capture_output=True, text=True)
        refused = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert taken.returncode == 0, f"{what}: {taken.stderr}"
    assert refused.returncode == 78 and "tokens need a key" in refused.stderr, f"{what}: {refused.stderr}"


def the_only(documents, kind):
    [document] = [document for document in documents if document["kind"] == kind]
    return document


image = (folder / "Dockerfile").read_text()
environment = dict(re.findall(r"(CHINWAG_\w+)=(\S+)", re.search(r"^ENV (.*)$", image, re.M)[1]))
assert len(environment) == 2, environment
check("Dockerfile", environment)
assert re.search(r"^USER 65532:65532$", image, re.M), "it runs as somebody without rights, known by number"

[service] = yaml.safe_load((folder / "compose.yaml").read_text())["services"].values()
assert set(service["environment"]) == set(SECRET), "what compose.yaml sets is the secret alone"
assert service["read_only"] and service["cap_drop"] == ["ALL"]
assert (folder / service["build"]["context"] / service["build"]["dockerfile"]).samefile(folder / "Dockerfile")

documents = [yaml.safe_load(path.read_text()) for path in sorted((folder / "kubernetes").glob("*.yaml"))]
pod = the_only(documents, "StatefulSet")["spec"]["template"]["spec"]
[container] = pod["containers"]
assert {variable["name"] for variable in container["env"]} == set(SECRET)
[config] = the_only(documents, "ConfigMap")["data"].values()
check("configmap.yaml", {}, config)
