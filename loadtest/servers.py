"""The servers that take part, by how they are named on the command line."""

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

from measured import names_of

PEERS_FOLDER = Path(__file__).resolve().parent / "peers"
PHOENIX = "/socket/websocket?vsn=2.0.0"

# Other servers: what `peers/run` is told but for the port, how the client reaches them, and what
# else it is told.
PEERS = {
    "naive": (["naive"], PHOENIX, []),
    "uwebsockets": (["uwebsockets"], PHOENIX, []),
    "uwebsockets-tuned": (["uwebsockets", "tuned"], PHOENIX, []),
    "axum": (["axum", "1"], PHOENIX, []),
    "axum-2": (["axum", "2"], PHOENIX, []),
    "sockudo-ws": (["sockudo-ws", "1"], PHOENIX, []),
    "ws": (["ws"], PHOENIX, []),
    "socketio": (["socketio"], "/socket.io/?EIO=4&transport=websocket", ["--dialect", "socketio"]),
    "websockets": (["websockets"], PHOENIX, []),
}


def build_of(program):
    """What tells a build of a program from others."""
    if not os.access(program, os.X_OK):
        sys.exit(f"figures: {program}: no program")
    return f"{program} {program.stat().st_mtime_ns}"


def sources_of(peer):
    """The same of a peer, which is built where it is started: a digest of its sources."""
    # Git keeps nothing of what building makes.
    made = {line.rstrip("/") for line in (PEERS_FOLDER / ".gitignore").read_text().split()}
    digest = hashlib.sha256((PEERS_FOLDER / "run").read_bytes())
    for folder, folders, files in os.walk(PEERS_FOLDER / peer):
        folders[:] = sorted(set(folders) - made)
        for file in sorted(files):
            digest.update(Path(folder, file).read_bytes())
    return digest.hexdigest()


class Chinwag:
    """A binary, of this version or an older one."""

    extra = []
    path = PHOENIX

    def __init__(self, name, binary):
        self.name, self.binary = name, Path(binary).resolve()
        self.build = build_of(self.binary)
        help_text = subprocess.run([self.binary, "--help"], capture_output=True, text=True).stdout
        self.known = set(re.findall(r"^  ([a-z_]+\.[a-z_]+) \[default", help_text, re.MULTILINE))

    def can(self, scenario):
        return scenario.has_server and (not scenario.needs or scenario.needs in self.known)

    def words(self, scenario, port, folder, settings=()):
        keys = {"store.path": folder, **scenario.keys(), **dict(settings)}
        known = [(key, value) for key, value in keys.items() if key in self.known]
        sets = [word for key, value in known for word in ("--set", f"{key}={value}")]
        listen = ["--listen", f"127.0.0.1:{port}", "--shards", str(scenario.shards)]
        return [str(self.binary), *listen, *sets]


class Peer:
    """A server of `peers/`."""

    def __init__(self, name):
        if name not in PEERS:
            sys.exit(f"figures: {name}: neither NAME=PATH nor one of {', '.join(PEERS)}")
        self.name = name
        self.start, self.path, self.extra = PEERS[name]
        self.build = f"{' '.join(self.start)} {sources_of(self.start[0])}"

    def can(self, scenario):
        return scenario.is_plain

    def words(self, _scenario, port, _folder):
        return [str(PEERS_FOLDER / "run"), self.start[0], str(port), *self.start[1:]]


class NoServer:
    """Where there is nothing but the kernel or the disk."""

    name, build = "bare", ""

    def can(self, scenario):
        return not scenario.has_server


def server_of(text):
    """A server from the command line, and the scenarios that it takes part in."""
    text, _, only = text.partition("@")
    name, is_binary, path = text.partition("=")
    return (Chinwag(name, path) if is_binary else Peer(name)), names_of(only)
