import assert from "node:assert/strict";
import { test } from "node:test";
import * as roomOf from "../../../src/web/state/room.js";
import { rows } from "../../../src/web/state/rows.js";

const isOwn = (user) => user === "me";
const NOON = Date.UTC(2026, 10, 22, 12);

function message(offset, { user = "ann", at = NOON + offset * 1000, key, body = `m${offset}`, epoch = "e1" } = {}) {
  return { id: `${epoch}-${offset}`, offset, user, name: user, at, body, ...(key && { key }) };
}
const range = (from, to, options) => Array.from({ length: to - from + 1 }, (_, i) => message(from + i, options));

function answer(messages, { epoch = "e1", offset = messages.at(-1)?.offset ?? 0, recovered = false, more = (messages[0]?.offset ?? 1) > 1 } = {}) {
  return { room: { room: "tea", title: "Tea", members: 1 }, you: { user: "me", name: "me", speak: true }, epoch, offset, recovered, more, messages };
}

function roomWith(messages, options) {
  const room = roomOf.createRoom("tea");
  roomOf.joined(room, answer(messages, options), isOwn);
  return room;
}

/** The conversation in short: offsets of messages, names of all other rows. */
const seen = (room, hidden = ["day", "new"]) => rows(room, isOwn).filter(({ kind }) => !hidden.includes(kind))
  .map((row) => (row.kind === "message" ? row.message.offset : row.kind === "pending" ? row.item.key : row.kind));

test("what is written keeps the indentation of its first line, and loses blank lines around it", () => {
  for (const [written, body] of [
    ["  if a:\n    b", "  if a:\n    b"], ["\tx", "\tx"], ["\n \n\t\n  a\n\n b \n \n", "  a\n\n b"], ["a  ", "a"],
    ["a", "a"], [" \n ", ""], ["\n", ""], ["\r\n  a", "  a"],
  ]) assert.equal(roomOf.bodyOf(written), body, JSON.stringify(written));
  const long = " ".repeat(1_000_000);
  assert.equal(roomOf.bodyOf(`${long}a`).length, long.length + 1);
  assert.equal(roomOf.bodyOf(`${long}\n`.repeat(2) + "a"), "a");
});

test("a join shows the latest page, and whether older messages can be had", () => {
  assert.deepEqual(seen(roomWith(range(3, 5))), ["more", 3, 4, 5]);
  assert.deepEqual(seen(roomWith(range(1, 2))), ["start", 1, 2]);
  assert.deepEqual(seen(roomWith([])), []);
});

test("live messages are appended, and one that comes twice is shown once", () => {
  const room = roomWith(range(1, 2));
  assert.equal(roomOf.received(room, message(3), isOwn), true);
  assert.equal(roomOf.received(room, message(3), isOwn), false);
  assert.equal(roomOf.received(room, message(1), isOwn), false);
  assert.deepEqual(seen(room), ["start", 1, 2, 3]);
  assert.equal(room.offset, 3);
});

test("a recovery continues where we were, whatever part of it was known", () => {
  const room = roomWith(range(1, 3));
  roomOf.joined(room, answer(range(3, 6), { recovered: true }), isOwn);
  assert.deepEqual(seen(room), ["start", 1, 2, 3, 4, 5, 6]);
});

test("a recovery of nothing changes nothing", () => {
  const room = roomWith(range(1, 3));
  roomOf.joined(room, answer([], { recovered: true, offset: 3 }), isOwn);
  assert.deepEqual(seen(room), ["start", 1, 2, 3]);
});

test("a page that overlaps with what is known closes up without a break", () => {
  const room = roomWith(range(1, 3));
  roomOf.joined(room, answer(range(2, 6)), isOwn);
  assert.deepEqual(seen(room), ["start", 1, 2, 3, 4, 5, 6]);
});

test("a page that begins later leaves a gap that can be filled, and filling it joins the two ends", () => {
  const room = roomWith(range(1, 3));
  roomOf.joined(room, answer(range(8, 9)), isOwn);
  assert.deepEqual(seen(room), ["start", 1, 2, 3, "more", 8, 9]);
  roomOf.older(room, room.segments[1], { messages: range(6, 7), more: true });
  assert.deepEqual(seen(room), ["start", 1, 2, 3, "more", 6, 7, 8, 9]);
  roomOf.older(room, room.segments[1], { messages: range(2, 5), more: true });
  assert.deepEqual(seen(room), ["start", 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  assert.equal(room.segments.length, 1);
});

test("what the server no longer keeps is counted", () => {
  const room = roomWith(range(1, 3));
  roomOf.joined(room, answer(range(8, 9), { more: true }), isOwn);
  roomOf.older(room, room.segments[1], { messages: range(6, 7), more: false });
  assert.deepEqual(seen(room), ["start", 1, 2, 3, "gap", 6, 7, 8, 9]);
  assert.equal(rows(room, isOwn).find(({ kind }) => kind === "gap").missing, 2);
});

test("a new epoch is a line in the conversation, and what was said before stays above it", () => {
  const room = roomWith(range(4, 6));
  roomOf.joined(room, answer(range(1, 2, { epoch: "e2" }), { epoch: "e2" }), isOwn);
  assert.deepEqual(seen(room), [4, 5, 6, "reset", 1, 2]);
  roomOf.received(room, message(3), isOwn);
  assert.deepEqual(seen(room).at(-1), 3);
});

test("a new epoch in which nothing was said yet is a line as well", () => {
  const room = roomWith(range(1, 2));
  roomOf.joined(room, answer([], { epoch: "e2", offset: 0 }), isOwn);
  assert.deepEqual(seen(room), ["start", 1, 2, "reset"]);
  roomOf.received(room, message(1, { user: "me" }), isOwn);
  assert.deepEqual(seen(room), ["start", 1, 2, "reset", 1]);
});

test("the older messages of a new epoch come in below its line", () => {
  const room = roomWith(range(1, 2));
  roomOf.joined(room, answer(range(60, 61, { user: "me", epoch: "e2" }), { epoch: "e2" }), isOwn);
  roomOf.older(room, room.segments[1], { messages: range(58, 59, { user: "me" }), more: true });
  assert.deepEqual(seen(room), ["start", 1, 2, "reset", "more", 58, 59, 60, 61]);
});

test("a room that goes on in another epoch goes on where we were", () => {
  const room = roomWith(range(4, 6));
  roomOf.markRead(room);
  const keys = () => rows(room, isOwn).map(({ key }) => key);
  const before = keys();
  roomOf.joined(room, answer(range(7, 8), { epoch: "e2", recovered: true }), isOwn);
  assert.deepEqual(seen(room), ["more", 4, 5, 6, 7, 8]);
  assert.deepEqual([room.epoch, room.unread, room.newFrom], ["e2", 2, 7]);
  assert.ok(before.every((key) => keys().includes(key)), "rows keep their keys");
  roomOf.older(room, room.segments[0], { messages: range(1, 3), more: false });
  assert.deepEqual(seen(room), ["start", 1, 2, 3, 4, 5, 6, 7, 8]);
  roomOf.turned(room, { epoch: "e3" });
  assert.deepEqual([room.epoch, room.read], ["e3", { epoch: "e3", offset: 6 }]);
});

test("what was shown and not kept is taken back, and what others had said of it is counted", () => {
  const room = roomWith([...range(4, 6), ...range(7, 8, { user: "bob" }), ...range(9, 9, { user: "me" })]);
  roomOf.joined(room, answer(range(3, 6), { epoch: "e2" }), isOwn);
  assert.deepEqual(seen(room), ["more", 4, 5, 6, "lost"]);
  assert.equal(rows(room, isOwn).find(({ kind }) => kind === "lost").lost, 2);
  roomOf.received(room, message(7), isOwn);
  assert.deepEqual(seen(room), ["more", 4, 5, 6, "lost", 7]);

  const own = roomWith([...range(1, 2), ...range(3, 3, { user: "me" })]);
  roomOf.joined(own, answer([...range(1, 2), message(3, { epoch: "e2" })], { epoch: "e2" }), isOwn);
  assert.deepEqual(seen(own), ["start", 1, 2, 3]);
});

test("what we said, and heard, and got no answer to is sent again where the server has lost it", () => {
  const say = (room, key) => room.outbox.push({ key, body: "x", at: NOON, error: null });
  const heard = (room, offset, key) => roomOf.received(room, message(offset, { user: "me", key }), isOwn);
  const outbox = (room) => room.outbox.map(({ key }) => key);
  const before = () => {
    const room = roomWith(range(1, 2));
    for (const key of ["k1", "k2", "k3"]) say(room, key);
    heard(room, 3, "k1");
    heard(room, 4, "k2");
    roomOf.confirmed(room, "k1");
    return room;
  };
  const lost = before();
  roomOf.joined(lost, answer(range(1, 2).concat(message(3, { user: "me", key: "k1" })), { epoch: "e2" }), isOwn);
  assert.deepEqual(outbox(lost), ["k2", "k3"]);
  assert.deepEqual(seen(lost), ["start", 1, 2, 3, "k2", "k3"]);

  const kept = before();
  roomOf.joined(kept, answer([], { epoch: "e2", offset: 4, recovered: true }), isOwn);
  assert.deepEqual(outbox(kept), ["k3"]);
  roomOf.joined(kept, answer([], { epoch: "e3" }), isOwn);
  assert.deepEqual(outbox(kept), ["k3"], "it was there when we came back");
});

test("a hole in the live messages is shown and can be filled", () => {
  const room = roomWith(range(1, 2));
  roomOf.received(room, message(5), isOwn);
  assert.deepEqual(seen(room), ["start", 1, 2, "more", 5]);
  roomOf.older(room, room.segments[1], { messages: range(1, 4), more: false });
  assert.deepEqual(seen(room), ["start", 1, 2, 3, 4, 5]);
});

test("older history goes to the front, and an answer that leads nowhere is not asked for again", () => {
  const room = roomWith(range(5, 6));
  roomOf.older(room, room.segments[0], { messages: range(3, 4), more: true });
  assert.deepEqual(seen(room), ["more", 3, 4, 5, 6]);
  roomOf.older(room, room.segments[0], { messages: [], more: true });
  assert.deepEqual(seen(room), [3, 4, 5, 6]);
});

test("an answer for a segment that is gone by then is ignored", () => {
  const room = roomWith(range(1, 3));
  roomOf.joined(room, answer(range(8, 9)), isOwn);
  const gone = room.segments[1];
  roomOf.older(room, gone, { messages: range(4, 7), more: false });
  roomOf.older(room, gone, { messages: range(4, 7), more: false });
  assert.deepEqual(seen(room), ["start", 1, 2, 3, 4, 5, 6, 7, 8, 9]);
});

test("a message of ours leaves the outbox when it comes back, live or recovered", () => {
  const room = roomWith(range(1, 1));
  room.outbox = ["k1", "k2"].map((key) => ({ key, body: key, at: NOON, error: null }));
  assert.deepEqual(seen(room), ["start", 1, "k1", "k2"]);
  roomOf.received(room, message(2, { user: "me", key: "k1" }), isOwn);
  assert.deepEqual(seen(room), ["start", 1, 2, "k2"]);
  roomOf.joined(room, answer([message(3, { user: "me", key: "k2" })], { recovered: true }), isOwn);
  assert.deepEqual(seen(room), ["start", 1, 2, 3]);
});

test("somebody else's key does not take our message for delivered", () => {
  const room = roomWith(range(1, 1));
  room.outbox = [{ key: "k1", body: "", at: NOON, error: null }];
  roomOf.received(room, message(2, { user: "ann", key: "k1" }), isOwn);
  assert.deepEqual(seen(room).at(-1), "k1");
});

test("messages of others are unread until they are marked, one's own never are", () => {
  const room = roomWith(range(1, 3));
  assert.equal(room.unread, 0, "a room that is new to us begins read");
  roomOf.received(room, message(4), isOwn);
  roomOf.received(room, message(5, { user: "me" }), isOwn);
  roomOf.received(room, message(6), isOwn);
  assert.equal(room.unread, 2);
  assert.deepEqual(seen(room, ["day"]), ["start", 1, 2, 3, "new", 4, 5, 6]);
  roomOf.markRead(room);
  assert.equal(room.unread, 0);
  roomOf.received(room, message(7), isOwn);
  assert.equal(room.unread, 1);
});

test("what the user watched arrive is read, and no line is drawn above it", () => {
  const room = roomWith(range(1, 3));
  roomOf.received(room, message(4), isOwn, true);
  assert.deepEqual([room.unread, room.read.offset], [0, 4]);
  roomOf.joined(room, answer(range(5, 6), { recovered: true }), isOwn, true);
  assert.deepEqual(seen(room, ["day"]), ["start", 1, 2, 3, 4, 5, 6]);
  roomOf.received(room, message(7), isOwn, false);
  assert.deepEqual(seen(room, ["day"]).at(-2), "new");
});

test("the line moves to what is new since one looked last, and does not outlive an epoch", () => {
  const room = roomWith(range(1, 1));
  roomOf.received(room, message(2), isOwn);
  roomOf.markRead(room);
  roomOf.received(room, message(3), isOwn, true);
  roomOf.received(room, message(4), isOwn);
  assert.deepEqual(seen(room, ["day"]), ["start", 1, 2, 3, "new", 4]);
  roomOf.joined(room, answer(range(1, 5, { user: "me", epoch: "e2" }), { epoch: "e2" }), isOwn);
  assert.deepEqual(seen(room, ["day"]), ["start", 1, 2, 3, 4, "reset", 1, 2, 3, 4, 5]);
});

test("what was read in an earlier visit counts, also for messages that are not loaded", () => {
  const room = roomOf.createRoom("tea");
  room.read = { epoch: "e1", offset: 10 };
  roomOf.joined(room, answer(range(14, 16)), isOwn);
  assert.equal(room.unread, 6);
});

test("what was read in an epoch that is gone says nothing about a first join", () => {
  const room = roomOf.createRoom("tea");
  room.read = { epoch: "e0", offset: 10 };
  roomOf.joined(room, answer(range(1, 3)), isOwn);
  assert.equal(room.unread, 0);
});

test("what was read in an epoch that the room has come from counts", () => {
  const room = roomOf.createRoom("tea");
  room.read = { epoch: "e0", offset: 2 };
  roomOf.joined(room, answer([...range(1, 2, { epoch: "e0" }), message(3, { epoch: "e1" })]), isOwn);
  assert.deepEqual([room.unread, room.read], [1, { epoch: "e1", offset: 2 }]);
});

test("messages stand under one name unless time, day or another sender comes between", () => {
  const room = roomWith([
    message(1), message(2), message(3, { user: "bob" }), message(4), message(5, { at: NOON + 3_600_000 }),
    message(6, { at: NOON + 86_400_000 * 2 }),
  ]);
  const list = rows(room, isOwn);
  assert.deepEqual(list.filter(({ kind }) => kind === "message").map(({ lead }) => lead), [true, false, true, true, true, true]);
  assert.equal(list.filter(({ kind }) => kind === "day").length, 2);
});

test("rows keep their keys when history is loaded above them", () => {
  const room = roomWith(range(50, 99));
  const before = rows(room, isOwn).filter(({ kind }) => kind === "message").map(({ key }) => key);
  roomOf.older(room, room.segments[0], { messages: range(1, 49), more: false });
  const after = rows(room, isOwn).map(({ key }) => key);
  assert.ok(before.every((key) => after.includes(key)));
  assert.equal(new Set(after).size, after.length, "no key twice");
});

test("a room that grows for days lets go of its oldest messages, which can be had again", () => {
  const room = roomWith(range(1, 130));
  roomOf.trim(room, 100);
  assert.deepEqual(seen(room).slice(0, 2), ["more", 31]);
  roomOf.older(room, room.segments[0], { messages: range(21, 30), more: true });
  assert.deepEqual(seen(room).slice(0, 2), ["more", 21]);
});

test("trimming past an epoch's end forgets its line too", () => {
  const room = roomWith(range(1, 50));
  roomOf.joined(room, answer(range(1, 100, { user: "me", epoch: "e2" }), { epoch: "e2" }), isOwn);
  roomOf.trim(room, 80);
  assert.deepEqual(seen(room).slice(0, 2), ["more", 21]);
});

test("members are listed once each, oneself first, then by name", () => {
  const presence = new Map([
    ["z", [{ name: "Zoe" }]], ["a10", [{ name: "Ann 10" }]], ["a9", [{ name: "Ann 9" }, { name: "Ann 9" }]], ["me", [{ name: "Mo" }]],
  ]);
  const list = roomOf.membersOf(presence, isOwn);
  assert.deepEqual(list.map(({ name }) => name), ["Mo", "Ann 9", "Ann 10", "Zoe"]);
  assert.equal(list[1].connections, 2);
});

test("what was said today was said yesterday once it is past midnight", () => {
  const room = roomWith(range(1, 2));
  const day = (now) => rows(room, isOwn, now).find(({ kind }) => kind === "day");
  assert.equal(day(NOON).signature, day(NOON + 1_000).signature);
  assert.notEqual(day(NOON).signature, day(NOON + 86_400_000).signature);
  assert.equal(day(NOON).key, day(NOON + 86_400_000).key);
});
