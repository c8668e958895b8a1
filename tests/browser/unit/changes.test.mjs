/** What becomes of messages that are there: how it is merged, asked for and taken back. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { asked, fits, isFor, patched, possible, replaced } from "../../../src/web/state/changes.js";
import * as roomOf from "../../../src/web/state/room.js";
import { rows } from "../../../src/web/state/rows.js";

const isOwn = (user) => user === "me";

function message(offset, { user = "ann", epoch = "e1", ...more } = {}) {
  return { id: `${epoch}-${offset}`, offset, user, name: user, at: offset * 1000, body: `m${offset}`, ...more };
}
const range = (from, to, options) => Array.from({ length: to - from + 1 }, (_, i) => message(from + i, options));

function answer(messages, { change = 0, epoch = "e1", offset = messages.at(-1)?.offset ?? 0, ...more } = {}) {
  return {
    room: { room: "tea", title: "Tea" }, you: { user: "me", name: "me", speak: true }, recovered: false,
    more: (messages[0]?.offset ?? 1) > 1, ...(change !== null && { change }), epoch, offset, messages, ...more,
  };
}

function roomWith(messages, options) {
  const room = roomOf.createRoom("tea");
  roomOf.joined(room, answer(messages, options), isOwn);
  return room;
}
const rejoined = (room, messages, options) => roomOf.joined(room, answer(messages, options), isOwn);
const change = (room, patch) => roomOf.changed(room, patch, isOwn);
const bodies = (room) => shown(room).map(({ body }) => body);
const shown = (room) => rows(room, isOwn, 0, "me").filter(({ kind }) => kind === "message").map(({ message }) => message);
const kinds = (room) => rows(room, isOwn, 0, "me").map(({ kind }) => kind).filter((kind) => !["message", "day", "new"].includes(kind));
const act = (room, event, offset, payload = {}) => {
  const one = { id: `a${room.acts.length}`, event, offset, payload, at: 9, by: "me", change: null, error: null };
  room.acts = [...room.acts, one];
  return one;
};

test("of two states of a message the one with the larger change stays, whatever comes first", () => {
  const edited = { ...message(1), body: "new", change: 4 };
  for (const older of [{ offset: 1, change: 3, body: "old" }, { offset: 1, change: 4, body: "same" }]) {
    assert.equal(patched(edited, older), edited);
    assert.equal(replaced(edited, { ...message(1), ...older }), edited);
  }
  assert.equal(replaced(edited, message(1)), edited, "one that was never changed");
  assert.equal(patched(edited, { offset: 1, change: 5, body: "newer" }).body, "newer");
  assert.equal(replaced(edited, message(1, { change: 5 })).body, "m1");
});

test("a patch replaces the fields that it has, and null takes a field away", () => {
  const before = message(1, { data: { a: 1 }, mentions: ["bob"], change: 1 });
  const after = patched(before, { change: 2, offset: 1, body: "x", data: null, edited: { at: 5 } });
  assert.deepEqual(after, { ...message(1), mentions: ["bob"], body: "x", change: 2, edited: { at: 5 } });
  assert.deepEqual(before.data, { a: 1 }, "who has the one before keeps it");
});

test("what is appended is added to the text, behind what was there before it", () => {
  const grows = message(1, { body: "a", stream: true, change: 3 });
  const piece = { change: 5, offset: 1, prev: 3, append: "b\n" };
  assert.ok(fits(grows, piece) && fits(message(1, { change: 5 }), piece), "or it is there already");
  assert.ok(!fits(message(1, { change: 2 }), piece) && !fits(message(1), piece));
  assert.deepEqual(patched(grows, piece), { ...grows, body: "ab\n", change: 5 });
  const last = patched(grows, { ...piece, stream: null });
  assert.deepEqual([last.body, last.stream, last.prev, last.append], ["ab\n", undefined, undefined, undefined]);
});

test("a whole message replaces all, but for the author of one that is no longer kept", () => {
  const mine = message(1, { pinned: { at: 1, by: "x" }, change: 1, reply_to: 7, thread: 3, key: "k" });
  assert.deepEqual(replaced(mine, message(1, { change: 2 })), message(1, { change: 2 }));
  assert.deepEqual(replaced(mine, { offset: 1, change: 2, body: "", deleted: {} }),
    { at: 1000, id: "e1-1", name: "ann", user: "ann", offset: 1, reply_to: 7, thread: 3, change: 2, body: "", deleted: {} });
});

test("changes are folded in their order, and one that is missing is noticed", () => {
  const room = roomWith(range(1, 3));
  assert.equal(change(room, { change: 1, offset: 2, body: "two" }), true);
  assert.equal(change(room, { change: 1, offset: 2, body: "again" }), true);
  assert.equal(change(room, { change: 3, offset: 1, body: "lost" }), false);
  assert.deepEqual([bodies(room), room.change], [["m1", "two", "m3"], 1]);
  assert.equal(change(room, { change: 2, offset: 99, body: "of one that is not here" }), true);
  assert.deepEqual(roomOf.joinParams(room), { since: { epoch: "e1", offset: 3, change: 2 } });
});

test("what has changed while one was away comes with the rejoin", () => {
  const room = roomWith(range(1, 3));
  const changed = [message(1, { body: "one", change: 1 }), { offset: 2, change: 2, body: "", deleted: {} }, message(7, { change: 3 })];
  rejoined(room, range(4, 4), { change: 3, recovered: true, changed });
  assert.deepEqual(bodies(room), ["one", "", "m3", "m4"]);
  assert.equal(shown(room)[1].name, "ann");
  assert.deepEqual(kinds(room), ["start"]);
});

test("what a page brings of messages that are here replaces them if it is newer", () => {
  const room = roomWith(range(1, 2));
  rejoined(room, range(8, 9), { offset: 9 });
  assert.deepEqual(kinds(room), ["start", "more"], "nothing has changed: what was here stays");
  change(room, { change: 1, offset: 2, body: "two" });
  roomOf.older(room, room.segments[1], { messages: [message(1, { body: "one", change: 2 }), ...range(2, 7)], more: false });
  assert.deepEqual(bodies(room).slice(0, 3), ["one", "two", "m3"]);
});

test("where nobody can tell what became of what is shown only the answer is", () => {
  const room = roomWith(range(1, 5));
  rejoined(room, range(4, 6), { change: 7, more: true });
  assert.deepEqual([bodies(room), kinds(room)], [["m4", "m5", "m6"], ["more"]]);
  rejoined(room, range(9, 9), { change: 8, more: true });
  assert.deepEqual([bodies(room), kinds(room)], [["m9"], ["more"]], "a gap");
  rejoined(room, range(10, 10), { change: 8, more: true });
  assert.deepEqual(bodies(room), ["m9", "m10"], "no change was missed");
});

test("numbers of changes that were lost with an epoch are given again", () => {
  const room = roomWith([...range(1, 3), message(4, { user: "bob" })]);
  change(room, { change: 1, offset: 2, body: "lost" });
  const looks = () => rows(room, isOwn, 0, "me").find(({ key }) => key === "0-2").signature;
  const before = looks();
  rejoined(room, [message(1), message(2, { body: "kept", change: 1 }), message(3)], { epoch: "e2", change: 1 });
  assert.deepEqual([bodies(room), kinds(room)], [["m1", "kept", "m3"], ["start", "lost"]]);
  assert.notEqual(looks(), before);
  change(room, { change: 2, offset: 3, body: "three" });
  assert.deepEqual(bodies(room), ["m1", "kept", "three"]);
});

test("what became of messages of an earlier line says nothing of those of this one", () => {
  const room = roomWith(range(1, 2));
  rejoined(room, [message(1, { epoch: "e2", user: "bob", body: "n1", change: 5 })], { epoch: "e2", change: 5 });
  assert.deepEqual(bodies(room), ["m1", "m2", "n1"]);
  change(room, { change: 6, offset: 1, body: "new" });
  change(room, { change: 7, offset: 2, body: "new" });
  assert.deepEqual(bodies(room), ["m1", "m2", "new"]);
});

test("a server that changes nothing is sent no change, and no change is offered", () => {
  const room = roomWith([message(1), message(2, { user: "me" })], { change: null });
  room.you.level = "moderate";
  assert.equal(change(room, { change: 1, offset: 1, body: "x" }), true);
  assert.deepEqual([bodies(room), roomOf.joinParams(room)], [["m1", "m2"], { since: { epoch: "e1", offset: 2 } }]);
  const may = rows(room, isOwn, 0, "me").filter(({ kind }) => kind === "message").map(({ may }) => [...may].join(" "));
  assert.deepEqual(may, ["reply mute kick ban", "reply"]);
  assert.equal(roomOf.lastEditable(room, "me"), undefined);
  rejoined(room, range(3, 3), { recovered: true, change: 3 });
  assert.deepEqual([bodies(room), kinds(room)], [["m3"], ["more"]], "it does by now: nobody knows what");
});

test("what is asked for is shown at once, until it is told or refused", () => {
  const room = roomWith([message(1, { user: "me" }), message(2)]);
  const edit = act(room, "msg_edit", 1, { body: "new", mentions: ["bob"] });
  const looks = () => rows(room, isOwn, 0, "me").find(({ kind }) => kind === "message").signature;
  const first = looks();
  assert.deepEqual([shown(room)[0].body, shown(room)[0].edited], ["new", { at: 9 }]);
  roomOf.done(room, edit, { change: 1 });
  assert.deepEqual(bodies(room), ["new", "m2"], "answered and not told yet");
  assert.notEqual(looks(), first);
  change(room, { change: 1, offset: 1, body: "new", edited: { at: 8 } });
  assert.deepEqual([bodies(room), room.acts], [["new", "m2"], []]);

  const removal = act(room, "msg_delete", 1);
  assert.deepEqual([bodies(room), shown(room)[0].deleted.by], [["", "m2"], "me"]);
  removal.error = { reason: "not_yours" };
  assert.deepEqual(bodies(room), ["new", "m2"], "it is taken back");
  assert.deepEqual(rows(room, isOwn, 0, "me").find(({ message }) => message?.offset === 1).refused, [removal]);

  const pin = act(room, "msg_pin", 2, { on: true });
  assert.deepEqual(roomOf.pinned(room).here.map(({ offset }) => offset), [2]);
  roomOf.done(room, pin, { change: 1 });
  assert.deepEqual(roomOf.pinned(room).here, [], "it was told before the answer");
});

test("where the room lets nobody edit, that is not offered", () => {
  const room = roomWith([message(1, { user: "me" })]);
  const may = () => [...rows(room, isOwn, 0, "me").at(-1).may].join(" ");
  const all = "reply react edit delete";
  for (const [editS, offered] of [[undefined, all], [60, all], [0, "reply react delete"]]) {
    room.info = { edit_s: editS };
    assert.equal(may(), offered, `${editS}`);
  }
  assert.equal(roomOf.lastEditable(room, "me"), undefined);
});

test("what is pinned and is not here is known by its number, and kept aside where it was fetched", () => {
  const pinned = (offset, at, more) => message(offset, { change: 1, pinned: { at, by: "mo" }, ...more });
  const pins = (...of) => ({ room: { room: "tea", title: "Tea", pins: of } });
  const room = roomWith([message(8), pinned(9, 5)], { change: 4, ...pins(2, 3, 4, 9) });
  const listed = () => {
    const { here, aside, others } = roomOf.pinned(room);
    return [...[here, aside].map((of) => of.map(({ offset }) => offset)), others];
  };
  assert.deepEqual(listed(), [[9], [], 3]);
  const found = () => roomOf.pinsFound(room, { messages: [pinned(2, 1), pinned(3, 2), pinned(9, 5)], more: false });
  found();
  assert.deepEqual(listed(), [[9], [3, 2], 1]);
  change(room, { change: 5, offset: 3, body: "other" });
  assert.equal(roomOf.pinned(room).aside[0].body, "other", "it goes on as others do");
  found();
  assert.equal(roomOf.pinned(room).aside[0].body, "other", "and nothing older takes its place");
  change(room, { change: 6, offset: 3, body: "", deleted: { at: 9, by: "mo" }, pinned: null });
  change(room, { change: 7, offset: 4, pinned: null });
  change(room, { change: 8, offset: 5, pinned: { at: 9, by: "mo" } });
  assert.deepEqual(listed(), [[9], [2], 1]);
  assert.equal(room.aside.has(3), false, "nothing of it is left");
  roomOf.older(room, room.segments[0], { messages: range(1, 7).map((m) => (m.offset === 2 ? pinned(2, 1) : m)), more: false });
  assert.deepEqual(listed(), [[9, 2], [], 0], "of what is here the messages tell");
  rejoined(room, [pinned(2, 1, { epoch: "e2" })], { epoch: "e2", change: 1, ...pins(2) });
  assert.deepEqual(listed(), [[2], [], 0]);
});

test("what was written for an edit that cannot be made any more is a draft", () => {
  const editing = (text, draft = "") => {
    const room = roomWith([message(1, { user: "me" })]);
    Object.assign(room, { draft, writing: { kind: "edit", offset: 1, text } });
    return room;
  };
  const deleted = { change: 1, offset: 1, body: "", deleted: { at: 1, by: "mo" } };
  for (const [text, draft, left] of [["new", "", "new"], ["new", "old", "old\nnew"], ["m1", "", ""], ["", "", ""]]) {
    const room = editing(text, draft);
    change(room, deleted);
    assert.deepEqual([room.writing, room.draft], [null, left], JSON.stringify([text, draft]));
  }
  const away = editing("new");
  rejoined(away, [], { recovered: true, offset: 1, change: 1, changed: [message(1, { user: "me", ...deleted })] });
  assert.deepEqual([away.writing, away.draft], [null, "new"]);
  const lost = editing("new");
  act(lost, "msg_edit", 1, { body: "newer" });
  rejoined(lost, [], { epoch: "e2", offset: 0 });
  assert.deepEqual([lost.writing, lost.draft, lost.acts], [null, "newer\nnew", []], "the room was begun anew");
});

test("what was asked of messages that are gone with their line is asked no more", () => {
  const room = roomWith(range(1, 2));
  act(room, "msg_delete", 2);
  room.writing = { kind: "edit", offset: 2, text: "" };
  room.outbox = [{ key: "k", body: "x", at: 0, reply_to: 2, error: null }];
  rejoined(room, [], { recovered: true, offset: 2 });
  assert.deepEqual([room.acts.length, room.writing.offset, room.outbox[0].reply_to], [1, 2, 2]);
  rejoined(room, [], { epoch: "e2", offset: 0 });
  assert.deepEqual([room.acts, room.writing, room.outbox[0].reply_to], [[], null, undefined]);
});

test("a deleted message is not unread, is in no quote, and ends the edit of it", () => {
  const room = roomWith([message(1), message(2, { user: "me" })]);
  roomOf.received(room, message(3), isOwn);
  roomOf.received(room, message(4, { reply_to: 3 }), isOwn);
  room.writing = { kind: "edit", offset: 2, text: "" };
  const quote = () => rows(room, isOwn, 0, "me").at(-1).quote;
  assert.deepEqual([room.unread, quote().body], [2, "m3"]);
  change(room, { change: 1, offset: 3, body: "", deleted: { at: 1, by: "ann" } });
  assert.deepEqual([room.unread, quote().body], [1, ""]);
  change(room, { change: 2, offset: 2, body: "", deleted: { at: 1, by: "bob" } });
  assert.equal(room.writing, null);
});

test("what may be done to a message depends on whose it is, and on what one is here", () => {
  const usual = { changes: true, edits: true, speak: true, moderates: false };
  const rights = (message, of = {}) => [...possible(message, { ...usual, ...of }, "me")].join(" ");
  assert.equal(rights(message(1)), "reply");
  assert.equal(rights(message(1, { user: "me" })), "reply edit delete");
  assert.equal(rights(message(1), { moderates: true }), "reply pin delete");
  assert.equal(rights(message(1, { user: "me" }), { speak: false }), "delete");
  assert.equal(rights(message(1, { user: "me", deleted: {} }), { moderates: true }), "");
  assert.equal(rights(message(1), { speak: false, report: true }), "report");
  assert.equal(rights(message(1, { user: "me" }), { report: true }), "reply edit delete");
  assert.equal(rights(message(1, { user: "me" }), { edits: false }), "reply delete");
  const none = { changes: false, react: true };
  assert.equal(rights(message(1), { ...none, moderates: true }), "reply");
  assert.equal(rights(message(1), { ...none, report: true }), "reply report");
  assert.equal(rights(message(1, { user: "me" }), none), "reply");
});

test("a message is for those whom it mentions, and for all who are there, but not for its author", () => {
  for (const [of, isForMe] of [
    [{}, false], [{ mentions: ["bob"] }, false], [{ mentions: ["bob", "me"] }, true], [{ mentions: ["@room"] }, true],
    [{ mentions: ["me"], user: "me" }, false],
  ]) assert.equal(isFor(message(1, of), isOwn), isForMe, JSON.stringify(of));
});

test("nothing is asked of a message that is deleted", () => {
  const gone = message(1, { body: "", deleted: { at: 1, by: "ann" } });
  assert.equal(asked(gone, [{ event: "msg_edit", payload: { body: "x" } }]), gone);
});
