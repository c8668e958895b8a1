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

# Three machines: each file names the others as they are.
cluster = folder / "cluster"
config = (cluster / "chinwag.toml").read_text()
check("cluster/chinwag.toml", {}, config)
services = yaml.safe_load((cluster / "compose.yaml").read_text())["services"]
machines = [services[name] for name in ("one", "two", "three")]
addresses = [machine["networks"]["machines"]["ipv4_address"] for machine in machines]
for machine in machines:
    environment = {name: re.sub(r"\$\{\w+:\?[^}]*\}", "x" * 48, value) for name, value in machine["environment"].items()}
    check("cluster/compose.yaml", {name: value for name, value in environment.items() if name not in SECRET}, config)
    assert machine["read_only"] and machine["cap_drop"] == ["ALL"]
    assert (cluster / machine["build"]["context"] / machine["build"]["dockerfile"]).samefile(folder / "Dockerfile")
    for address in addresses:
        assert address in machine["environment"]["CHINWAG_ENGINE__URL"]
for address in addresses:
    assert f"{address}:26379" in config, f"chinwag.toml does not know the sentinel at {address}"
    assert (cluster / "haproxy.cfg").read_text().count(f"{address}:4000") == 2, f"haproxy.cfg leaves out {address}"
assert services["proxy"]["networks"]["machines"]["ipv4_address"] in config, "the proxy is trusted"
[name] = re.findall(r"^sentinel monitor (\w+) 10\.0\.0\.1 6379 2$", (cluster / "sentinel.conf").read_text(), re.M)
assert f"/{name}\"" in config, "the name of the engine"
for service in services.values():
    for volume in service.get("volumes", []):
        source = volume.split(":")[0]
        assert not source.startswith("./") or (cluster / source).is_file(), f"{volume} is not there"
