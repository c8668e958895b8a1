#!/usr/bin/env python3
"""Judges whether each room is a list to which acked messages were appended, once and in order.

    judge.py JOURNAL [--store CHAT.DB]

JOURNAL is what `loadtest --journal FILE` has written: JSON lines of the texts that connections sent
and heard. CHAT.DB is the server's database after the run. Shares no code with the server or with
the load generator, and knows the protocol only from `docs/protocol.md`. Ends with 1 if there is an
objection, and names each.

What it holds against a journal:

 1. an id (epoch and offset) has one message, whoever tells of it and however often;
 2. a body has one place, and an offset was acked once (each body is said once);
 3. a message that was sent after another was acked stands behind it;
 4. after a join members see every offset, in order, until they leave or the socket ends; a cursor
    that is "recovered" is continued without a gap;
and against a store:

 5. its offsets are 1, 2, 3, ... in each room, each body once, and each was sent by somebody;
 6. what was acked stands where it was acked, and in no epoch that has come to an end before it;
 7. what was seen in the epoch that is still going on is there, if the server has ended in order:
    one that is killed lets members see what it has not kept yet.
"""
import json
import sqlite3
import sys
from collections import defaultdict


class Judge:
    def __init__(self):
        self.objections = []
        self.bodies = {}  # (topic, epoch, offset): body, as anybody has told it
        self.places = {}  # (topic, body): offset, as it was acked
        self.acked = defaultdict(dict)  # topic: {offset: (epoch, body)}
        self.sent = set()  # (topic, body)
        self.pushes = {}  # (conn, life, ref): (topic, event, payload, greatest offset acked by then)
        self.top = defaultdict(int)  # topic: the greatest offset that has been acked
        self.cursors = {}  # (conn, life, topic): (join ref, offset)
        self.counts = defaultdict(int)

    def object(self, line, why):
        self.objections.append(f"line {line}: {why}")

    def tell(self, line, topic, message):
        """Somebody says what stands at an id."""
        epoch, _, offset = message["id"].rpartition("-")
        key, body = (topic, epoch, int(offset)), message["body"]
        before = self.bodies.setdefault(key, body)
        if before != body:
            self.object(line, f"{topic} {message['id']} is {body!r}, and was {before!r}")
        if int(offset) != message["offset"]:
            self.object(line, f"{topic} {message['id']} has offset {message['offset']}")
        return int(offset)

    def send(self, line, conn, life, frame):
        _, ref, topic, event, payload = frame
        if event == "new_msg":
            self.sent.add((topic, payload["body"]))
        if event == "phx_leave":
            self.cursors.pop((conn, life, topic), None)
        self.pushes[conn, life, ref] = topic, event, payload, self.top[topic]

    def hear(self, line, conn, life, frame):
        join_ref, ref, topic, event, payload = frame
        if event == "phx_reply":
            self.answer(line, conn, life, ref, payload)
        elif event in ("phx_error", "phx_close"):
            self.cursors.pop((conn, life, topic), None)
        elif event == "new_msg":
            self.counts["seen"] += 1
            offset = self.tell(line, topic, payload)
            at = self.cursors.get((conn, life, topic))
            if at is not None and offset != at + 1:
                self.object(line, f"{topic}: {offset} comes behind {at}")
            if at is not None:
                self.cursors[conn, life, topic] = offset

    def answer(self, line, conn, life, ref, payload):
        asked = self.pushes.pop((conn, life, ref), None)
        if asked is None:
            return self.object(line, f"an answer to nothing that was asked: {ref}")
        topic, event, push, top = asked
        response = payload["response"]
        if payload["status"] != "ok":
            self.counts["refused"] += 1
        elif event == "phx_join":
            self.join(line, conn, life, topic, push, response)
        elif event == "history":
            for message in response["messages"]:
                self.tell(line, topic, message)
        elif event == "new_msg":
            self.counts["acked"] += 1
            body = push["body"]
            offset = self.tell(line, topic, {**response, "body": body})
            epoch = response["id"].rpartition("-")[0]
            if offset <= top:
                self.object(line, f"{topic}: {offset} was sent after {top} was acked")
            if self.places.setdefault((topic, body), offset) != offset:
                self.object(line, f"{topic}: {body!r} is acked at two places")
            if self.acked[topic].setdefault(offset, (epoch, body)) != (epoch, body):
                self.object(line, f"{topic}: {offset} is acked twice")
            self.top[topic] = max(self.top[topic], offset)

    def join(self, line, conn, life, topic, push, response):
        offsets = [self.tell(line, topic, message) for message in response.get("messages", [])]
        if offsets and offsets != list(range(offsets[0], response["offset"] + 1)):
            self.object(line, f"{topic}: a join's messages are {offsets} up to {response['offset']}")
        if response.get("recovered"):
            self.counts["recovered"] += 1
            since = push["since"]["offset"]
            if (offsets[0] - 1 if offsets else response["offset"]) != since:
                self.object(line, f"{topic}: recovered since {since} with {offsets}")
        self.cursors[conn, life, topic] = response["offset"]

    def store(self, path):
        """Holds a store against what was told."""
        db = sqlite3.connect(path)
        rooms = dict(db.execute("SELECT name, id FROM room"))
        for topic in sorted({topic for topic, _ in self.sent} | set(self.acked)):
            room = rooms.get(topic, 0)
            rows = db.execute(
                "SELECT id & ((1 << 39) - 1), body FROM message WHERE id >> 39 = ? ORDER BY id", [room]
            )
            there = {offset: json.loads(body) for offset, body in rows}
            self.counts["kept"] += len(there)
            if list(there) != list(range(1, len(there) + 1)):
                self.object("store", f"{topic}: its offsets have gaps: {list(there)[:20]}")
            if len(set(there.values())) != len(there):
                self.object("store", f"{topic}: a body is there twice")
            for offset, body in there.items():
                if (topic, body) not in self.sent:
                    self.object("store", f"{topic} {offset}: nobody said {body!r}")
            eras = db.execute(
                "SELECT first, epoch FROM era WHERE room = ? ORDER BY first, life", [room]
            ).fetchall()
            ends = [first for first, _ in eras[1:]] + [len(there) + 1]
            kept = {f"{epoch % (1 << 64):016x}": end for (_, epoch), end in zip(eras, ends)}
            for offset, (epoch, body) in self.acked[topic].items():
                if there.get(offset) != body:
                    self.object("store", f"{topic} {offset}: {body!r} was acked, {there.get(offset)!r} is there")
                if offset >= kept.get(epoch, 0):
                    self.object("store", f"{topic}: {epoch}-{offset} was acked, and its epoch ended before")
            for (of, epoch, offset), body in self.bodies.items():
                if of != topic:
                    continue
                is_last = bool(eras) and epoch == f"{eras[-1][1] % (1 << 64):016x}"
                if (is_last or offset < kept.get(epoch, 0)) and there.get(offset) != body:
                    self.object("store", f"{topic}: {epoch}-{offset} was seen, and is not there")


def main(arguments):
    judge = Judge()
    with open(arguments[0], encoding="utf-8") as journal:
        for number, text in enumerate(journal, 1):
            try:
                line = json.loads(text)
                deed = judge.send if "sent" in line else judge.hear
                deed(number, line["conn"], line["life"], line.get("sent") or line["heard"])
            except (KeyError, TypeError, ValueError) as error:
                judge.object(number, f"it cannot be read: {error!r}: {text[:200]}")
    if "--store" in arguments:
        judge.store(arguments[arguments.index("--store") + 1])
    for objection in judge.objections:
        print(objection)
    print(json.dumps({**judge.counts, "objections": len(judge.objections)}))
    return 1 if judge.objections else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
