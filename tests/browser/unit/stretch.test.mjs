import assert from "node:assert/strict";
import { test } from "node:test";
import * as roomOf from "../../../src/web/state/room.js";
import { rows } from "../../../src/web/state/rows.js";
import { boundsOf, downwards, fitted, SHOWN_MAX, upwards, WHOLE } from "../../../src/web/state/stretch.js";

const NOON = Date.UTC(2026, 10, 22, 12);
const isOwn = (user) => user === "me";
const signatures = (list) => list.map(({ key, signature }) => `${key}: ${signature}`);

/** A message each two hours, of one of two users. */
const range = (from, to, epoch = "e1") => Array.from({ length: to - from + 1 }, (_, i) => {
  const offset = from + i;
  const user = ["ann", "bob"][(offset >> 1) % 2];
  return { id: `${epoch}-${offset}`, offset, user, name: user, at: NOON + offset * 7_200_000, body: `m${offset}` };
});

const joined = (messages, epoch) => ({
  room: { room: "tea" }, you: { user: "me", name: "me", speak: true }, epoch, offset: messages.at(-1).offset, change: 0,
  recovered: false, more: messages[0].offset > 1, messages,
});

/** A room with messages of two lines, of which the first one does not begin at its beginning. */
function roomOf2Lines(above, below) {
  const room = roomOf.createRoom("tea");
  roomOf.joined(room, joined(range(101, 100 + above), "e1"), isOwn);
  roomOf.joined(room, joined(range(1, below, "e2"), "e2"), isOwn);
  room.outbox.push({ key: "k", body: "written", at: NOON, error: null });
  return room;
}

const places = (room) => room.segments.flatMap(({ line, from, messages }) => messages.map((_, i) => ({ line, offset: from + i })));

test("of a stretch there are the rows that there are of all, and they look the same", () => {
  const room = roomOf2Lines(20, 20);
  const all = signatures(rows(room, isOwn, NOON, "me"));
  const at = places(room);
  assert.equal(at.length, 40);
  for (let from = 0; from < at.length; from += 1) {
    for (let to = from; to < at.length; to += 1) {
      const stretch = { first: from > 0 ? at[from] : null, last: to < at.length - 1 ? at[to] : null };
      assert.deepEqual(boundsOf(room, stretch), { from, to: to + 1, count: 40 });
      const list = rows(room, isOwn, NOON, "me", stretch);
      const shown = list.filter(({ kind }) => kind === "message").map(({ key }) => key);
      assert.deepEqual(shown, at.slice(from, to + 1).map(({ line, offset }) => `${line}-${offset}`));
      const some = signatures(list);
      const begin = all.indexOf(some[0]);
      assert.deepEqual(some, all.slice(begin, begin + some.length));
      assert.equal(list.at(-1).kind === "pending", stretch.last === null, "what waits stands at the end");
    }
  }
});

test("a stretch is no longer than it may be, around what is read, and goes on to either end", () => {
  const room = roomOf2Lines(2_000, 3_000);
  const at = places(room);
  const index = (place) => at.findIndex(({ line, offset }) => line === place.line && offset === place.offset);
  let stretch = fitted(room, WHOLE, null);
  assert.equal(stretch.last, null, "at the end, if nothing is read");
  const length = () => {
    const { from, to } = boundsOf(room, stretch);
    return to - from;
  };
  // One reads at its beginning while it goes up, and at its end while it goes down.
  for (const [along, end, other] of [[upwards, "first", "last"], [downwards, "last", "first"]]) {
    let steps = 0;
    while (stretch[end] !== null) {
      const read = stretch[end];
      stretch = fitted(room, along(room, stretch), read);
      const { from, to } = boundsOf(room, stretch);
      assert.ok(length() <= SHOWN_MAX && from <= index(read) && index(read) < to, `${from} to ${to}`);
      assert.ok((steps += 1) < 100);
    }
    assert.notEqual(stretch[other], null);
  }
});

test("what comes and goes elsewhere leaves a stretch where it is, and one whose messages are gone has its end", () => {
  const room = roomOf.createRoom("tea");
  roomOf.joined(room, joined(range(301, 400), "e1"), isOwn);
  const stretch = { first: { line: room.line, offset: 320 }, last: { line: room.line, offset: 340 } };
  const shown = () => rows(room, isOwn, NOON, "me", stretch).filter(({ kind }) => kind === "message").map(({ message }) => message.offset);
  const before = shown();
  assert.deepEqual([before[0], before.at(-1)], [320, 340]);
  roomOf.older(room, room.segments[0], { messages: range(201, 300), more: true });
  roomOf.received(room, range(401, 401)[0], isOwn);
  assert.deepEqual(shown(), before);
  roomOf.trim(room, 75);
  assert.deepEqual([shown()[0], shown().at(-1)], [327, 340]);
  roomOf.trim(room, 50);
  assert.deepEqual([shown()[0], shown().at(-1)], [352, 401]);
});
