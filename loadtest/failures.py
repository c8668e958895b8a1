"""What a cluster is put through: the rows of the table of `tests/long/cluster`.

A row sets three servers and their engine up, and has steps, each at its second under load.
`loadtest failover` judges what clients were told; a row says what else must have come of it.
"""

from dataclasses import dataclass, field

from engines import READY_WITHIN_S, Engine, watched
from link import TO_ENGINE, TO_SERVER, Link
from nodes import Node
from processes import NoResult, until

COUNT = 3

# What is acknowledged is on disk.
ON_DISK = ("--appendonly", "yes", "--appendfsync", "always")
# A primary that is alone takes nothing after a second.
NEEDS_REPLICA = ("--min-replicas-to-write", "1", "--min-replicas-max-lag", "1")


class Cluster:
    """Three servers, and the engine in which they keep their rooms."""

    def __init__(self, stack, log, binary):
        self.stack, self.log, self.binary = stack, log, binary
        self.nodes, self.links = [], []
        self.engine, self.replicas = None, []

    def engines(self, *settings, replicas=0):
        """A primary, and replicas that have all of it."""
        self.engine = Engine(self.stack, self.log, *settings)
        self.replicas = [Engine(self.stack, self.log, *settings) for _ in range(replicas)]
        for replica in self.replicas:
            replica.follow(self.engine)

    def servers(self, url, settings=()):
        """All at one address."""
        for _ in range(COUNT):
            self.nodes.append(Node(self.stack, self.log, self.binary, url, settings))

    def linked_servers(self, settings=()):
        """Each by a way of its own, which leads to the primary."""
        for _ in range(COUNT):
            link = Link(self.stack, self.engine.port)
            self.links.append(link)
            self.nodes.append(Node(self.stack, self.log, self.binary, link.url, settings))

    def fail_over(self, links):
        """The first replica becomes the primary, to which these ways lead."""
        first, *others = self.replicas
        first.lead()
        for other in others:
            other.follow(first)
        for link in links:
            link.lead(first.port)


@dataclass
class Row:
    """A fault, what it is done by, and what must have come of it."""

    name: str
    title: str
    # Sets the cluster up, and gives the steps: seconds, and what is done then.
    steps: object
    # Whether members are told that they may have missed something, and whether something that was
    # acknowledged is lost: yes, no, or None where both are right.
    told: bool | None = False
    lost: bool | None = False
    seconds: int = 10
    # What loadtest is told beside what it is for all rows.
    load: list = field(default_factory=list)
    # What else is looked at in the end, by the cluster and the report: a sentence if it is wrong.
    check: object = None
    # What must be found: something is done to the engine that no fault does.
    finds: str = ""


ROWS = {}


def row(name, title, **options):
    def add(steps):
        ROWS[name] = Row(name, title, steps, **options)
        return steps

    return add


def rejoined(_cluster, report):
    """Nobody had to come back."""
    times = report["counts"]["reconnected"]
    return f"{times} connections were made again" if times else None


def refused(reason):
    """That something was refused for this reason."""

    def check(_cluster, report):
        is_told = report["counts"]["retried"].get(reason)
        return None if is_told else f"nothing was refused as {reason}"

    return check


@row("quiet", "nothing", check=rejoined)
def quiet(cluster):
    cluster.engines()
    cluster.servers(cluster.engine.url)
    return []


@row("node-killed", "a server is killed", load=["--limit", "ghost.max=17s"])
def node_killed(cluster):
    cluster.engines()
    cluster.servers(cluster.engine.url)
    return [(3, cluster.nodes[1].kill)]


@row("rolling", "servers are restarted, one after the other", seconds=14)
def rolling(cluster):
    cluster.engines()
    cluster.servers(cluster.engine.url)

    def restart(node):
        node.terminate()
        node.start()

    def step(number, node):
        return 3 + 3 * number, lambda: restart(node)

    return [step(*numbered) for numbered in enumerate(cluster.nodes)]


@row(
    "all-at-once",
    "all servers are killed, and begin at once, with 200 rooms",
    load=["--rooms", "200", "--members", "3", "--publishers", "1", "--banned", "0"],
)
def all_at_once(cluster):
    cluster.engines()
    cluster.servers(cluster.engine.url)

    def restart():
        for node in cluster.nodes:
            node.kill()
        for node in cluster.nodes:
            node.begin()
        for node in cluster.nodes:
            node.await_ready()

    return [(3, restart)]


@row("engine-restarted", "the engine is killed, and begins with what it had", check=rejoined)
def engine_restarted(cluster):
    cluster.engines(*ON_DISK)
    cluster.servers(cluster.engine.url)
    return [(3, cluster.engine.kill), (4, cluster.engine.start)]


@row("engine-empty", "the engine is killed, and begins with nothing", told=True, lost=True)
def engine_empty(cluster):
    cluster.engines()
    cluster.servers(cluster.engine.url)

    def begin_anew():
        cluster.engine.forget()
        cluster.engine.start()

    return [(3, cluster.engine.kill), (4, begin_anew)]


def deaf_failover(cluster, ack):
    """Replicas hear nothing for a second, then the primary dies."""
    # The second one is the other's replica behind the failover.
    cluster.engines(replicas=2)
    cluster.linked_servers({"engine.ack": ack})

    def die():
        cluster.engine.kill()
        cluster.fail_over(cluster.links)

    return [(3, cluster.engine.deafen_replicas), (4, die)]


@row("lost-tail", "a failover to a replica that lags, ack=primary", told=True, lost=True)
def lost_tail(cluster):
    return deaf_failover(cluster, "primary")


@row("kept-tail", "the same, ack=replica", told=None)
def kept_tail(cluster):
    return deaf_failover(cluster, "replica")


@row("sentinel", "the primary is killed, and Sentinel fails over", told=None, seconds=15)
def sentinel(cluster):
    cluster.engine, cluster.replicas, _, url = watched(cluster.stack, cluster.log, 2, 1500)
    cluster.servers(url, {"engine.ack": "replica"})
    return [(3, cluster.engine.kill)]


@row(
    "sentinel-hangs",
    "the primary hangs for 10 s, and comes back behind a failover",
    told=None,
    seconds=18,
)
def sentinel_hangs(cluster):
    cluster.engine, cluster.replicas, _, url = watched(cluster.stack, cluster.log, 2, 1500)
    cluster.servers(url, {"engine.ack": "replica"})
    return [(3, cluster.engine.stop), (13, cluster.engine.go_on)]


@row(
    "split-brain",
    "one server stays with the old primary for 5 s",
    told=True,
    lost=True,
    seconds=14,
)
def split_brain(cluster):
    cluster.engines(*NEEDS_REPLICA)
    way = Link(cluster.stack, cluster.engine.port)
    cluster.replicas = [Engine(cluster.stack, cluster.log, *NEEDS_REPLICA) for _ in range(2)]
    for replica in cluster.replicas:
        replica.follow(way)
    cluster.linked_servers({"engine.ack": "primary"})
    mine, others = cluster.links[0], cluster.links[1:]

    def part():
        # The primary is not told, and takes what it is given for a second.
        way.fall_silent(TO_ENGINE, TO_SERVER)
        cluster.fail_over(others)

    def meet():
        first = cluster.replicas[0]
        cluster.engine.follow(first)
        mine.lead(first.port)

    return [(3, part), (8, meet)]


def silence(cluster, seconds, *directions):
    """One server's way to the engine passes nothing in these directions."""
    cluster.engines()
    cluster.linked_servers()
    link = cluster.links[1]
    return [(3, lambda: link.fall_silent(*directions)), (3 + seconds, link.heal)]


# Longer than the others wait before its members are gone.
CUT_OFF = {"seconds": 22, "check": refused("unavailable")}


@row("partition", "a server is cut off from the engine for 15 s", **CUT_OFF)
def partition(cluster):
    return silence(cluster, 15, TO_ENGINE, TO_SERVER)


@row("deaf-server", "a server hears nothing from the engine for 15 s", **CUT_OFF)
def deaf_server(cluster):
    return silence(cluster, 15, TO_SERVER)


@row("mute-server", "the engine hears nothing from a server for 15 s", **CUT_OFF)
def mute_server(cluster):
    return silence(cluster, 15, TO_ENGINE)


# Whoever moves there with a cursor that is ahead of what such a server knows is told.
@row("clogged", "a server's way to the engine takes 4 kB/s for 6 s", told=None, seconds=14)
def clogged(cluster):
    cluster.engines()
    cluster.linked_servers()
    link = cluster.links[1]
    return [(3, lambda: link.clog(4_000)), (9, link.heal)]


@row("engine-stands", "the engine stands still for 3 s", check=refused("unconfirmed"))
def engine_stands(cluster):
    cluster.engines()
    cluster.servers(cluster.engine.url)
    return [(3, cluster.engine.stop), (6, cluster.engine.go_on)]


@row("engine-full", "the engine's memory is full for 3 s", check=refused("busy"))
def engine_full(cluster):
    cluster.engines()
    cluster.servers(cluster.engine.url)

    def bound(size):
        return lambda: cluster.engine.ask("CONFIG", "SET", "maxmemory", size)

    return [(3, bound(1_000_000)), (6, bound(0))]


def was_cut(cluster, _report):
    """The server that did not read has made another connection."""
    lives = cluster.nodes[1].metric("engine_connection_lives_total")
    return None if lives > 1 else "the engine has cut nobody"


@row(
    "slow-reader",
    "a server does not read from the engine, which cuts it at 1 MB",
    check=was_cut,
    seconds=16,
    load=[
        *("--size", "8000", "--rate", "200", "--changes", "0.05"),
        *("--rooms", "150", "--members", "3", "--publishers", "1", "--banned", "0"),
    ],
)
def slow_reader(cluster):
    # What is read of four rooms at a time is less than that, see docs/cluster.md.
    cluster.engines("--client-output-buffer-limit", "pubsub 1mb 0 0")
    # Its pings are not answered either: it is not to go by itself.
    cluster.linked_servers({"engine.dead_ms": 60_000})
    link = cluster.links[1]

    def are_listening():
        return cluster.engine.ask("CLIENT", "LIST", "TYPE", "pubsub").count("id=")

    def wait():
        until(lambda: are_listening() < COUNT, READY_WITHIN_S, 0.05)
        link.heal()

    return [(3, lambda: link.fall_silent(TO_SERVER)), (4, wait)]


# Marks, messages and changes of all rooms as they are at one moment, and back to that.
SAVE = """for _, key in ipairs(redis.call("KEYS", "cw:*:[msx]:room:*")) do
    redis.call("COPY", key, "saved:" .. key)
end"""
GO_BACK = """local saved = redis.call("KEYS", "saved:*")
for _, key in ipairs(saved) do redis.call("COPY", key, key:sub(7), "REPLACE") end
return #saved"""


@row("planted-loss", "the engine goes back a second, and keeps its epoch", finds="lost")
def planted_loss(cluster):
    cluster.engines()
    cluster.servers(cluster.engine.url)

    def go_back():
        for node in cluster.nodes:
            node.kill()
        if not cluster.engine.ask("EVAL", GO_BACK, 0):
            raise NoResult("the engine has no rooms: the layout of its keys is another")
        for node in cluster.nodes:
            node.start()

    return [(3, lambda: cluster.engine.ask("EVAL", SAVE, 0)), (4, go_back)]
