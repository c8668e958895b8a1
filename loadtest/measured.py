"""What `figures` measures: each scenario, what loadtest is told, and what of its result is shown.

The order is that in which they are run: what matters most comes first. Durations are so short that
three rounds of all of them take less than an hour; medians make up for it.
"""

import sys
from dataclasses import dataclass, field
from typing import NamedTuple


class Figure(NamedTuple):
    """A row of a scenario's table. `key` is where it stands in a result, see `value_of` in
    `tables`. `unit` is "ns" or "bytes", which are scaled, or a word to stand behind the number."""

    title: str
    key: str
    unit: str = ""


@dataclass(frozen=True)
class Scenario:
    """Something that is measured."""

    name: str
    title: str
    # What loadtest is told, but for the server.
    load: str
    figures: list
    # What one run takes, about, with the start of its server.
    seconds: int
    # "load"; or one of those that are measured in a way of their own: see `runs` and `clusters`.
    kind: str = "load"
    shards: int = 1
    # Whether messages are kept on disk, and not in memory alone.
    is_stored: bool = False
    settings: dict = field(default_factory=dict)
    # A key that a Chinwag must know to take part.
    needs: str = ""
    # Whether other servers than Chinwag can take part.
    is_plain: bool = False
    # Rounds beside those of the command line.
    more_rounds: int = 0
    # A load before this one; and one that begins a second before it, and is there to its end.
    before: str = ""
    beside: str = ""
    # Files that the server has open.
    files: int = 0
    # What is run, for people, where it is not one server and `load`.
    shown: list = field(default_factory=list)

    @property
    def has_server(self):
        return self.kind not in ("disk", "floor")

    def keys(self):
        """The configuration of a Chinwag."""
        return self.settings if self.is_stored else {"store.path": "", **self.settings}

    def commands(self):
        """What is run, for people."""
        if self.shown:
            return self.shown
        settings = [f"--set {key}={value}" for key, value in self.keys().items()]
        server = " ".join(["chinwag", f"--shards {self.shards}", *settings])
        beside = f"{self.beside} &" if self.beside else ""
        loads = [load for load in (self.before, beside, self.load) if load]
        return [server] * self.has_server + [f"loadtest {load}" for load in loads]


CPU = Figure("server CPU per delivery", "cpu", "ns")
FLOOR = [Figure("× the floor", "floor"), Figure("the floor, per frame", "floor_ns", "ns")]
DELIVERY = [Figure(f"delivery, {p}", f"delivery.{p}", "ns") for p in ("p50", "p99")]
ANSWER = [Figure(f"`ok`, {p}", f"answer.{p}", "ns") for p in ("p50", "p99")]
ROUND_TRIP = [Figure(f"round trip, {p}", f"round_trip.{p}", "ns") for p in ("p50", "p99", "max")]

# Messages under way at a time, and messages that the bare disk writes at a time.
BATCHES = (1, 10, 100, 1000)
FRAMES_PER_CALL = (1, 4, 16, 64)

# For loads of few users, or in many rooms.
UNBOUNDED = {
    "limits.publish_per_s": 0,
    "limits.join_per_s": 0,
    "limits.rooms_per_s": 0,
    "limits.fanout_bytes_per_s": 0,
    "limits.rooms": 200_000,
}
STORED = {"shards": 2, "is_stored": True, "needs": "store.path"}
WINDOW = "--warmup 1s --duration 4s"


def sending():
    """Messages to all members of a room, with the floor in the same run."""
    fanout, rooms = f"fanout {WINDOW}", f"rooms {WINDOW}"
    large, small = "a room of 1,000, 20 messages/s", "50 rooms of 20, 1,000 messages/s"
    with_floor = {"figures": [CPU, *FLOOR, *DELIVERY, *ANSWER], "seconds": 24}
    first = {**with_floor, "is_plain": True, "more_rounds": 2}
    stored = {**STORED, "figures": [CPU, *DELIVERY, *ANSWER], "seconds": 8}
    for name, title, load in (("fanout", large, fanout), ("rooms", small, rooms)):
        yield Scenario(name, f"{title}; one shard", f"{load} --with-floor", **first)
    for name, title, load in (("fanout", large, fanout), ("rooms", small, rooms)):
        load = f"{load} --with-floor"
        yield Scenario(f"{name}-2", f"{title}; two shards", load, shards=2, **with_floor)
    for name, title, load in (("fanout", large, fanout), ("rooms", small, rooms)):
        yield Scenario(f"{name}-stored", f"{title}, on disk; two shards", load, **stored)


def keeping():
    """How many messages a second are kept, and how long it takes until they are."""
    answered = Figure("answered `ok`", "answered", "messages/s")
    per_message = Figure("server CPU per message", "server CPU per message", "ns")
    kept = {"figures": [answered, *ANSWER, *DELIVERY, per_message], "settings": UNBOUNDED, **STORED}
    for count in BATCHES:
        yield Scenario(
            f"keep-{count}",
            f"kept on disk: 100 rooms of 2, {count:,} under way",
            f"keep --in-flight {count} {WINDOW}",
            seconds=7,
            **kept,
        )
    yield Scenario(
        "disk",
        "a bare process that appends 300 bytes a message, and syncs them",
        "disk --bytes 300 --duration 2s",
        [
            figure
            for count in BATCHES
            for figure in (
                Figure(f"{count:,} at a time", f"{count} at a time", "messages/s"),
                Figure("each sync, p50", f"{count} at a time, p50", "ns"),
                Figure("each sync, p99", f"{count} at a time, p99", "ns"),
            )
        ],
        kind="disk",
        seconds=9,
    )
    for count in BATCHES:
        yield Scenario(
            f"accept-{count}",
            f"the store alone, while messages are said to 100 rooms of 1, {count:,} under way",
            f"keep --members 1 --in-flight {count} {WINDOW}",
            [
                Figure("kept in a second of its commits", "kept", "messages/s"),
                Figure("of what the bare disk does with as many at a time", "of the bare disk", "×"),
                Figure("messages a commit", "messages a commit"),
                Figure("the log is moved into the database, a second", "checkpoints"),
            ],
            kind="accept",
            settings=UNBOUNDED,
            seconds=9,
            **STORED,
        )
    for count in BATCHES:
        spread = "--rooms 100000 --members 1 --connections 1000"
        yield Scenario(
            f"keep-spread-{count}",
            f"kept on disk: 100,000 rooms of 1, {count:,} under way",
            f"keep {spread} --in-flight {count} {WINDOW}",
            seconds=11,
            **kept,
        )
    yield Scenario(
        "keep-20",
        "kept on disk: 100 rooms of 20, 100 under way",
        f"keep --members 20 --in-flight 100 {WINDOW}",
        seconds=10,
        **kept,
    )
    all_of_them = Figure("answered `ok`, of 200,000", "answered_all", "messages")
    yield Scenario(
        "keep-burst",
        "kept on disk: 100 rooms of 2, 20,000 messages/s for 10 s",
        "rooms --rooms 100 --members 2 --rate 20000 --publishers 2 --warmup 0s --duration 10s",
        seconds=14,
        **{**kept, "figures": [all_of_them, *ANSWER, *DELIVERY]},
    )


def capacity():
    """How much goes through one room."""
    plain = {"figures": [CPU, *DELIVERY, *ANSWER], "is_plain": True, "seconds": 8}
    yield Scenario(
        "capacity",
        "a room of 1,000, the rate raised until delivery is late or incomplete; one shard",
        "capacity --from 1000 --factor 2 --warmup 1s --duration 2s",
        [
            Figure("highest rate in full", "highest rate in full", "messages/s"),
            Figure("delivered", "per_second", "a second"),
        ],
        is_plain=True,
        seconds=40,
    )
    for rate in (400, 1000):
        title = f"a room of 1,000, {rate:,} messages/s; one shard"
        yield Scenario(f"fanout-{rate}", title, f"fanout --rate {rate} {WINDOW}", **plain)
    yield Scenario(
        "burst-64",
        "a room of 1,000, 64 messages at once each second; one shard",
        f"fanout --rate 64 --burst 64 {WINDOW}",
        **plain,
    )
    yield Scenario(
        "floor",
        "a bare process that sends frames of 346 bytes to 1,000 sockets",
        "floor --bytes 346 --runs 2 --duration 1s",
        [
            Figure(f"CPU per frame, {count} in a call", f"{count} in a call", "ns")
            for count in FRAMES_PER_CALL
        ],
        kind="floor",
        seconds=16,
    )


def idling():
    """What a connection takes that does nothing, and what its coming takes."""
    connect = [
        Figure("server CPU per connection", "connect_cpu", "ns"),
        Figure("connect, upgrade and join, p99", "ready.p99", "ns"),
    ]
    memory = Figure("bytes per connection", "bytes_per_conn", "bytes")
    # Nobody sends anything, and nobody is thrown out for that.
    quiet = {"settings": {"limits.idle_ms": 300_000}}
    idle = "idle --heartbeat 0s --warmup 0s --duration 3s"
    for name, shards, of in (("idle", 1, "one shard"), ("idle-2", 2, "two shards")):
        yield Scenario(
            name,
            f"19,000 connections in rooms of 100, 2,000 a second; {of}",
            f"{idle} --connections 19000 --per-source 9000 --ramp 2000 --settle 6s",
            [memory, *connect],
            shards=shards,
            files=19_100,
            seconds=41,
            **quiet,
        )
    for name, rooms, options in (
        ("connect", "rooms of 100", ""),
        ("connect-alone", "no room", " --per-room 0"),
    ):
        yield Scenario(
            name,
            f"8,000 connections come into {rooms}, 1,000 a second; one shard",
            f"{idle} --connections 8000 --settle 1s{options}",
            connect,
            seconds=17,
            **quiet,
        )
    yield Scenario(
        "wake-ups",
        "10,000 connections between heartbeats; two shards",
        "idle --connections 10000 --ramp 2000 --heartbeat 0s --settle 2s --duration 6s",
        [
            Figure("context switches", "server wake-ups per second", "a second"),
            Figure(
                "CPU per connection and second", "server CPU per idle connection and second", "ns"
            ),
        ],
        shards=2,
        seconds=24,
        **quiet,
    )


def starting():
    """What a store that is there already takes, on disk and at a start."""
    yield Scenario(
        "start",
        "a start with 1,000,000 messages of 200 bytes in 100,000 rooms; two shards",
        "",
        [
            Figure("until it serves", "until it serves", "ns"),
            Figure("until its list of rooms is whole", "until its list is whole", "ns"),
            Figure("memory of its own then", "memory then", "bytes"),
            Figure("`chat.db`, per message", "chat.db per message", "bytes"),
            Figure("`search.db`, per message", "search.db per message", "bytes"),
            Figure("imported", "imported", "messages/s"),
        ],
        kind="start",
        # Most of it in the first round, in which the store is made.
        seconds=45,
        **STORED,
    )


def people():
    """Rooms that fill and empty, and members that do not read."""
    for members in (1_000, 3_000, 10_000):
        yield Scenario(
            f"presence-{members}",
            f"{members:,} join one room within 5 s, and leave it; one shard",
            f"presence --members {members} --within 5s --duration 24s",
            [
                Figure("server CPU per member", "server CPU per member", "ns"),
                Figure("presence frames per member", "frames per member, filling"),
                Figure("whole room seen, at last", "seen.max", "ns"),
            ],
            seconds=27,
        )
    for name, shards, of in (("slow", 1, "one shard"), ("slow-2", 2, "two shards")):
        yield Scenario(
            name,
            f"100 of 1,000 stop reading while 6 MB are said; {of}",
            "slow --size 6000 --rate 50 --warmup 1s --duration 20s",
            [Figure("memory grown meanwhile", "memory grown by sleepers", "bytes"), *DELIVERY],
            shards=shards,
            seconds=28,
        )


def round_trips():
    """One question and its answer: alone, and while the server has more to do."""
    for name, push in (("ping", "heartbeat"), ("echo", "echo")):
        yield Scenario(
            name,
            f"one {push} in flight; one shard",
            f"ping --push {push} --warmup 1s --duration 3s",
            ROUND_TRIP,
            is_plain=True,
            seconds=7,
        )
    echo = f"ping --push echo --connections 10 --rate 200 {WINDOW}"
    for name, beside in (("nothing", ""), ("1,000 messages under way to the disk", "keep")):
        yield Scenario(
            "echo-beside-keep" if beside else "echo-alone",
            f"10 connections, 200 echoes a second, beside {name}",
            echo,
            ROUND_TRIP,
            beside=f"{beside} --in-flight 1000 --warmup 0s --duration 8s" if beside else "",
            settings=UNBOUNDED,
            seconds=12 if beside else 8,
            **STORED,
        )


def floods():
    """Heartbeats of ten connections while others send far too much."""
    # Rooms to look through, which most of these floods are about.
    rooms = {
        "before": "flood found --connections 4 --rate 25000 --duration 4s",
        "settings": UNBOUNDED,
        "needs": "chat.create_rooms",
        "seconds": 12,
    }
    brief = {"seconds": 8}
    founding = {**rooms, "before": "", **brief}
    requests = "flood requests --connections 8 --rate 200000"
    numbers = {"settings": {"http.metrics": "true"}, **brief}
    # Each token is made, and none is refused before that.
    sessions = "flood sessions --connections 8 --rate 25000"
    unlimited = {"settings": {"limits.tokens_per_s_per_ip": 0}, **brief}
    # A connection in so many rooms as one may be in at most, which breaks.
    leaves = "flood leaves --connections 1 --rate 20000 --channels 10000"
    crowded = {
        "settings": {
            "limits.channels_per_conn": 10_000,
            "limits.join_per_s": 0,
            "limits.rooms_per_s": 0,
            "limits.rooms_per_s_per_ip": 0,
        },
        **brief,
    }
    for name, what, flood, options in (
        ("none", "no flood, 100,000 rooms", "", rooms),
        ("requests", "requests for 1 room of 100,000", requests, rooms),
        ("lists", "requests for 100 rooms", f"{requests} --path /api/rooms?limit=100", rooms),
        ("lobby", "joins of the lobby", "flood lobby --connections 4 --rate 2000", rooms),
        ("found", "new rooms", "flood found --connections 4 --rate 25000", founding),
        ("metrics", "requests for its numbers", f"{requests} --path /metrics", numbers),
        ("assets", "requests for a file of its page", f"{requests} --path /main.js", brief),
        ("sessions", "tokens for guests", sessions, unlimited),
        ("publish", "messages over the limit", "flood publish --rate 5000", brief),
        ("join", "joins over the limit", "flood join --rate 2000", brief),
        ("leaves", "a connection in 10,000 rooms that breaks", leaves, crowded),
    ):
        yield Scenario(
            f"flood-{name}",
            f"10 connections, 200 heartbeats a second, beside {what}; two shards",
            f"ping --connections 10 --rate 200 {WINDOW}",
            ROUND_TRIP,
            beside=f"{flood} --duration 7s" if flood else "",
            shards=2,
            **options,
        )


def clusters():
    """Servers that keep their rooms in an engine."""
    with_engine = {"needs": "engine.url", "settings": {"limits.rooms": 200_000}}

    def shown(load, shards=1):
        return [
            "valkey-server --save ''",
            f"chinwag --shards {shards} --set engine.url=redis://127.0.0.1:6379",
            f"loadtest {load}",
        ]

    for count in (1, 64):
        load = f"keep --in-flight {count} {WINDOW}"
        sides = (("memory", "without an engine"), ("engine", "with one"))
        yield Scenario(
            f"engine-{count}",
            f"100 rooms of 2, {count} under way, without an engine and with one; one shard",
            load,
            [
                *(
                    Figure(f"{of}: {title}", f"{side} {key}", unit)
                    for side, of in sides
                    for title, key, unit in (
                        ("`ok`, p50", "p50", "ns"),
                        ("`ok`, p99", "p99", "ns"),
                        ("answered `ok`", "per second", "messages/s"),
                    )
                ),
                Figure("added by it, p50", "added p50", "ns"),
                Figure("added by it, p99", "added p99", "ns"),
                Figure("its round trip, p50", "round trip p50", "ns"),
                Figure("its round trip, p99", "round trip p99", "ns"),
                Figure("added at p50, less 1.3 round trips and 100 µs", "over the bound", "ns"),
                Figure("engine CPU per message", "engine CPU per message", "ns"),
            ],
            kind="beside_memory",
            seconds=16,
            shown=shown(load),
            **with_engine,
        )
    load = f"rooms {WINDOW}"
    yield Scenario(
        "rooms-nodes",
        "50 rooms of 20, 1,000 messages/s, at one server and over three; one shard each",
        load,
        [
            Figure(f"{of}: {title}", f"{count}: {key}", "ns")
            for count, of in ((1, "one"), (3, "three"))
            for title, key in (
                ("delivery, p50", "delivery p50"),
                ("delivery, p99", "delivery p99"),
                ("`ok`, p50", "answer p50"),
                ("`ok`, p99", "answer p99"),
                ("server CPU per delivery", "server CPU per delivery"),
                ("engine CPU per message", "engine CPU per message"),
            )
        ],
        kind="spread",
        seconds=16,
        shown=shown(load),
        **with_engine,
    )
    load = "keep --rooms 100000 --members 1 --connections 1000 --in-flight 1 --duration 120s"
    yield Scenario(
        "reopen",
        "a server with 100,000 open rooms loses its connection to the engine; two shards",
        load,
        [
            Figure("rooms", "rooms"),
            Figure("until all of them are followed again", "until all are followed", "ns"),
            Figure("engine CPU per room", "engine CPU per room", "ns"),
            Figure("server CPU per room", "server CPU per room", "ns"),
        ],
        kind="reopen",
        shards=2,
        seconds=30,
        shown=[*shown(load, 2), "redis-cli CLIENT KILL TYPE pubsub"],
        **with_engine,
    )
    yield Scenario(
        "sentinel",
        "three servers, two replicas, down-after 1500: the primary is killed",
        "sentinel",
        [
            Figure("until a write is answered `ok` again", "first", "ns"),
            Figure("until one of each publisher is", "all", "ns"),
        ],
        kind="failover",
        seconds=30,
        needs="engine.url",
        shown=["tests/long/cluster --only sentinel"],
    )


GROUPS = (sending, keeping, idling, capacity, starting, round_trips, people, floods, clusters)
SCENARIOS = {scenario.name: scenario for group in GROUPS for scenario in group()}


def names_of(text):
    """The scenarios of a list; all of them, if there is none."""
    names = text.split(",") if text else list(SCENARIOS)
    for name in names:
        if name not in SCENARIOS:
            sys.exit(f"figures: there is no {name}; there are {', '.join(SCENARIOS)}")
    return names
