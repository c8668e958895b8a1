/** The controller with the real protocol client, against a server played by the test. */
import assert from "node:assert/strict";
import { beforeEach, mock, test } from "node:test";
import { moderates } from "../../../src/web/state/rights.js";
import { headCount } from "../../../src/web/state/room.js";
import { FakeSharedStorage, FakeStorage, settled } from "./fake.mjs";
import { admit, begin, live, message, opened, page, reconnects, wire } from "./page.mjs";

beforeEach(begin);

const offsets = (room) => room.segments.flatMap(({ messages }) => messages.map(({ offset }) => offset));

test("a message is pending until it comes back, and then there once", async () => {
  const { chat, room } = await opened();
  chat.send("tea", "hello");
  const { payload } = wire().sentLast("new_msg");
  assert.equal(room().outbox.length, 1);
  live("new_msg", message(2, "me", { key: payload.key }));
  wire().answers("new_msg", { offset: 2 });
  await settled();
  assert.deepEqual([room().outbox.length, offsets(room())], [0, [1, 2]]);
});

test("what could not be seen is not said", async () => {
  const { chat, room } = await opened();
  for (const body of [
    "", " \n\t ", "\u00a0\u3000", "\u200b", "\u2060\ufeff", "\u00ad", "\u2800 \u2800", "\u3164", "\ufe0f", "\u{e0041}", "\u202e",
  ]) {
    assert.equal(chat.send("tea", body), false, JSON.stringify(body));
  }
  assert.equal(room().outbox.length, 0);
  for (const body of ["\u200ba", "\ufffd", "🎉", "نامه‌ها"]) {
    assert.equal(chat.send("tea", body), true);
    assert.equal(room().outbox.at(-1).body, body);
  }
});

test("half a surrogate pair is shown as it is sent", async () => {
  const { chat, room } = await opened();
  chat.send("tea", "cut \ud83d");
  assert.equal(room().outbox[0].body, "cut \ufffd");
  assert.equal(wire().sentLast("new_msg").payload.body, "cut \ufffd");
});

test("a rejoin sends the cursor, and what is recovered counts as heard", async () => {
  const { room, heard } = await opened();
  live("new_msg", message(2));
  wire().breaks();
  assert.equal(room().status, "away");
  await reconnects();
  assert.deepEqual(wire().sentLast("phx_join").payload, { since: { epoch: "e1", offset: 2 } });
  admit([message(3), message(4)], { recovered: true });
  assert.deepEqual(offsets(room()), [1, 2, 3, 4]);
  assert.deepEqual(heard, ["m2", "m3", "m4"]);
});

test("what is written while away is sent at the rejoin with its key", async () => {
  const { chat, room } = await opened();
  wire().breaks();
  chat.send("tea", "from the tunnel");
  const [{ key }] = room().outbox;
  await reconnects();
  admit([], { recovered: true, offset: 1 });
  assert.deepEqual(wire().sentLast("new_msg").payload, { body: "from the tunnel", key });
});

test("a message whose answer was lost but which came back is not sent to a server that began anew", async () => {
  const { chat, room } = await opened();
  chat.send("tea", "hello");
  const { payload } = wire().sentLast("new_msg");
  live("new_msg", message(2, "me", { key: payload.key }));
  wire().breaks();
  await reconnects();
  admit([], { epoch: "e2", offset: 0 });
  assert.equal(wire().sentLast("new_msg"), undefined);
  assert.equal(room().outbox.length, 0);
});

test("an error stays at the message; trying again uses the same key, discarding removes it", async () => {
  const { chat, room } = await opened();
  chat.send("tea", "too much");
  const { key } = wire().sentLast("new_msg").payload;
  wire().answers("new_msg", { reason: "unauthorized" }, "error");
  await settled();
  assert.equal(room().outbox[0].error.reason, "unauthorized");
  chat.retry("tea", key);
  assert.equal(room().outbox[0].error, null);
  assert.equal(wire().sentLast("new_msg").payload.key, key);
  wire().answers("new_msg", { reason: "too_large", max_bytes: 9 }, "error");
  await settled();
  assert.equal(room().outbox[0].error.max_bytes, 9);
  chat.discard("tea", key);
  assert.equal(room().outbox.length, 0);
});

test("what was not acknowledged survives a reload, and is sent with the same key", async () => {
  const { chat, local, tab } = await opened();
  chat.send("tea", "hello");
  const { key } = wire().sentLast("new_msg").payload;
  chat.remember();

  page({ local, tab }).chat.start();
  await settled();
  wire().opens();
  admit([message(1)], { topic: "room:tea" });
  assert.deepEqual(wire().sentLast("new_msg").payload, { body: "hello", key });
});

test("joined rooms survive a reload, with what was unread in them", async () => {
  const { chat, local, tab } = await opened();
  chat.watch(false);
  chat.remember();
  const again = page({ local, tab });
  again.chat.start();
  await settled();
  wire().opens();
  admit([message(1), message(2), message(3)], { topic: "room:tea" });
  assert.equal(again.room().unread, 2);
});

test("messages are unread unless their room is watched", async () => {
  const { chat, room } = await opened();
  live("new_msg", message(2));
  assert.equal(room().unread, 0);
  chat.watch(false);
  live("new_msg", message(3));
  assert.equal(room().unread, 1);
  chat.watch(true);
  assert.equal(room().unread, 0);
  chat.open("coffee");
  live("new_msg", message(4));
  assert.equal(room().unread, 1);
  chat.open("tea");
  chat.watch(true);
  assert.equal(room().unread, 0);
});

test("telling again that one is watching changes nothing, or the views would never rest", async () => {
  const { chat, renders } = await opened();
  const before = renders();
  chat.watch(true);
  assert.equal(renders(), before);
});

test("typing is told at most every three seconds, and forgotten when it stops or a message comes", async () => {
  const { chat, room } = await opened();
  const casts = () => wire().sent.filter(([, , , event]) => event === "typing").length;
  chat.typed("tea", "h");
  chat.typed("tea", "he");
  assert.equal(casts(), 1);
  mock.timers.tick(3_000);
  chat.typed("tea", "hel");
  assert.equal(casts(), 2);
  chat.typed("tea", "");
  assert.equal(casts(), 2);

  live("typing", { user: "me", name: "Me" });
  assert.equal(room().typing.size, 0, "one's own other window");
  live("typing", { user: "ann", name: "Ann" });
  live("typing", { user: "bob", name: "Bob" });
  live("new_msg", message(2, "ann"));
  assert.deepEqual([...room().typing.keys()], ["bob"]);
  for (let i = 0; i < 7; i += 1) mock.timers.tick(1_000);
  assert.equal(room().typing.size, 0);
});

test("older history is asked for once at a time, before what is there", async () => {
  const { chat, room } = await opened();
  const { joinRef } = wire().sentLast("new_msg") ?? {};
  assert.equal(joinRef, undefined);
  room().segments[0].from = 51;
  room().segments[0].messages = [message(51)];
  const [segment] = room().segments;
  chat.older("tea", segment);
  chat.older("tea", segment);
  assert.equal(wire().sent.filter(([, , , event]) => event === "history").length, 1);
  assert.deepEqual(wire().sentLast("history").payload, { before: 51, limit: 100 });
  wire().answers("history", { messages: [message(50)], more: true });
  await settled();
  assert.deepEqual(offsets(room()), [50, 51]);
});

test("a page that the server cannot give for now is asked for again when it said", async () => {
  const { chat, room } = await opened();
  room().segments[0].from = 51;
  room().segments[0].messages = [message(51)];
  const [segment] = room().segments;
  chat.older("tea", segment);
  wire().answers("history", { reason: "busy", retry_ms: 250 }, "error");
  await settled();
  const asked = () => wire().sent.filter(([, , , event]) => event === "history").length;
  assert.equal(asked(), 1);
  mock.timers.tick(250);
  await settled();
  assert.equal(asked(), 2);
  wire().answers("history", { messages: [message(50)], more: true });
  await settled();
  assert.deepEqual(offsets(room()), [50, 51]);
});

test("what one has scrolled back to stays while others speak, until one is at the end again", async () => {
  const { chat, room } = await opened();
  const [segment] = room().segments;
  segment.from = 2_001;
  segment.messages = Array.from({ length: 100 }, (_, i) => message(2_001 + i));
  segment.more = true;
  room().offset = 2_100;
  for (let first = 1_901; first > 0; first -= 100) {
    chat.older("tea", segment);
    const messages = Array.from({ length: 100 }, (_, i) => message(first + i));
    wire().answers("history", { messages, more: first > 1 });
    await settled();
  }
  chat.watch(false);
  live("new_msg", message(2_101));
  await settled();
  assert.deepEqual([offsets(room())[0], offsets(room()).length], [1, 2_101]);
  chat.watch(true);
  live("new_msg", message(2_102));
  await settled();
  assert.deepEqual([offsets(room())[0], offsets(room()).length], [1_103, 1_000]);
});

test("a break while history is loading lets it be asked for again", async () => {
  const { chat, room } = await opened();
  const [segment] = room().segments;
  chat.older("tea", segment);
  wire().breaks();
  await settled();
  assert.equal(segment.fetching, "failed");
  await reconnects();
  admit([], { recovered: true, offset: 1 });
  assert.equal(segment.fetching, null);
});

test("a refused room says why and takes no messages", async () => {
  const { chat, room } = await opened();
  chat.open("secret");
  wire().answers("phx_join", { reason: "unauthorized" }, "error");
  assert.deepEqual([room("secret").status, room("secret").refusal.reason], ["refused", "unauthorized"]);
  chat.send("secret", "psst");
  await settled();
  assert.ok(room("secret").outbox[0].error);
});

test("a room that looks the same is the same: new names are in NFC, and what is there is entered", async () => {
  const [composed, decomposed] = ["caf\u00e9", "cafe\u0301"];
  const { chat, state, session } = await opened();
  chat.open(decomposed);
  assert.equal(wire().sentLast("phx_join").topic, `room:${composed}`);
  assert.equal(state.active, composed);
  chat.open(composed);
  assert.deepEqual([...state.rooms.keys()], ["tea", composed]);

  const made = [];
  session.createRoom = async (name) => { made.push(name); };
  await chat.create("the\u0301", "The\u0301");
  assert.deepEqual([made, state.active], [["th\u00e9"], "th\u00e9"]);

  // Another program made it: the page goes to that one, and makes no second.
  state.lobby.rooms.set("nai\u0308ve", { room: "nai\u0308ve", title: "", members: 1 });
  for (const name of ["nai\u0308ve", "na\u00efve"]) {
    chat.open(null);
    chat.open(name);
    assert.equal(state.active, "nai\u0308ve");
  }
  state.lobby.rooms.set("na\u00efve", { room: "na\u00efve", title: "", members: 1 });
  for (const name of ["na\u00efve", "nai\u0308ve"]) {
    chat.open(name);
    assert.equal(state.active, name, "both are there");
  }
});

test("leaving a room forgets it here and on the server", async () => {
  const { chat, state } = await opened();
  chat.leave("tea");
  assert.equal(wire().sentLast("phx_leave").topic, "room:tea");
  assert.deepEqual([state.rooms.size, state.active], [0, null]);
  live("new_msg", message(2));
});

test("the true number of a big room is shown as long as the list is only a choice", async () => {
  const { room } = await opened();
  const { joinRef } = wire().sentLast("phx_join");
  wire().says(joinRef, null, "room:tea", "presence_state", { a: { metas: [{ phx_ref: "1", name: "A" }] }, b: { metas: [{ phx_ref: "2", name: "B" }] } });
  live("presence_count", { count: 5000, listed: 2 });
  assert.deepEqual([headCount(room()), room().members.length], [5000, 2]);
  live("presence_count", { count: 2, listed: 2 });
  assert.equal(headCount(room()), 2);
});

test("of many rooms the first is joined first, and the list of rooms before the last has taken its place", async () => {
  const local = new FakeStorage();
  local.setItem("chinwag.rooms", JSON.stringify([["one", null], ["two", null], ["three", null]]));
  const { chat } = page({ local });
  chat.start();
  await settled();
  wire().opens();
  const joins = wire().sent.filter((sent) => sent[3] === "phx_join").map((sent) => sent[2]);
  assert.deepEqual(joins, ["room:one", "lobby", "room:two", "room:three"]);
});

test("a room that was refused is asked for again when it is opened again", async () => {
  const { chat, room } = await opened();
  chat.open("full");
  wire().answers("phx_join", { reason: "too many channels joined" }, "error");
  assert.deepEqual([room("full").status, room("full").refusal.reason], ["refused", "too many channels joined"]);
  chat.open("full");
  assert.deepEqual([room("full").status, room("full").refusal], ["joining", null]);
  admit([], { topic: "room:full" });
  assert.equal(room("full").status, "joined");
});

test("a message for which the server closes is marked as not sent, also after a reload, and the others go on", async () => {
  const { chat, room, local, tab } = await opened();
  chat.send("tea", "poison");
  for (let closes = 1; closes <= 3; closes += 1) {
    wire().breaks(1011);
    await reconnects();
    admit([], { recovered: true, offset: 1, topic: "room:tea" });
  }
  await settled();
  assert.equal(room().outbox[0].error.reason, "fatal");
  chat.send("tea", "ordinary");
  assert.equal(wire().sentLast("new_msg").payload.body, "ordinary");
  wire().answers("new_msg", { offset: 2 });
  await settled();
  assert.deepEqual(room().outbox.map(({ body }) => body), ["poison"]);

  chat.remember();
  const again = page({ local, tab });
  again.chat.start();
  await settled();
  wire().opens();
  admit([message(1)], { topic: "room:tea" });
  assert.equal(wire().sentLast("new_msg"), undefined);
  assert.equal(again.room().outbox[0].error.reason, "fatal");
});

/** The bodies of the messages that the present connection has carried. */
const bodiesSent = () => wire().sent.filter(([, , , event]) => event === "new_msg")
  .map((message) => message[4].body);

/**
 * Plays a server with a bucket of `burst` messages that takes one more in `everyMs`. `answer()` is
 * true if there was something to answer.
 */
function server({ burst, everyMs, reason = "rate_limited", topic = "room:tea" }) {
  const taken = [];
  const answered = new Set();
  let left = burst;
  let since = Date.now();
  return { taken, async answer() {
    left = Math.min(burst, left + Math.floor((Date.now() - since) / everyMs));
    since += Math.floor((Date.now() - since) / everyMs) * everyMs;
    const [joinRef, ref, , , payload] = wire().sent.find((sent) => sent[3] === "new_msg" && !answered.has(sent[1])) ?? [];
    if (!ref) return false;
    answered.add(ref);
    const accepts = left > 0;
    if (accepts) {
      left -= 1;
      taken.push(payload.body);
    }
    const response = accepts ? { offset: taken.length } : { reason, retry_ms: since + everyMs - Date.now() };
    wire().says(joinRef, ref, topic, "phx_reply", { status: accepts ? "ok" : "error", response });
    await settled();
    return true;
  } };
}

test("what was written while away goes out at the server's pace, in order, and nothing is given up", async () => {
  for (const reason of ["rate_limited", "busy"]) {
    const { chat, room } = await opened();
    wire().breaks();
    const written = Array.from({ length: 90 }, (_, i) => `queued ${i}`);
    for (const body of written) chat.send("tea", body);
    await reconnects();
    admit([], { recovered: true, offset: 1, topic: "room:tea" });
    const host = server({ burst: 60, everyMs: 50, reason });
    for (let turns = 0; turns < 2_000 && room().outbox.length; turns += 1) {
      if (await host.answer()) {
        assert.deepEqual(room().outbox.filter(({ error }) => error), []);
      } else {
        mock.timers.tick(5);
        await settled();
      }
    }
    assert.deepEqual(host.taken, written, reason);
    assert.equal(room().outbox.length, 0);
    chat.leave("tea");
  }
});

test("a message that the server cannot take for now is sent again when it said, and not before", async () => {
  const { chat, room } = await opened();
  chat.send("tea", "first");
  chat.send("tea", "second");
  const { key } = wire().sentLast("new_msg").payload;
  wire().answers("new_msg", { reason: "busy", retry_ms: 250 }, "error");
  await settled();
  mock.timers.tick(249);
  await settled();
  assert.deepEqual(bodiesSent(), ["first"]);
  mock.timers.tick(1);
  await settled();
  assert.deepEqual(bodiesSent(), ["first", "first"]);
  assert.equal(wire().sentLast("new_msg").payload.key, key);
  wire().answers("new_msg", { offset: 2 });
  await settled();
  assert.deepEqual(bodiesSent(), ["first", "first", "second"]);
  assert.deepEqual(room().outbox.map(({ body, error }) => [body, error]), [["second", null]]);
});

test("a message that is refused for good lets those behind it go, and goes first when it is tried again", async () => {
  const { chat, room } = await opened();
  for (const body of ["one", "two", "three"]) chat.send("tea", body);
  const { key } = wire().sentLast("new_msg").payload;
  wire().answers("new_msg", { reason: "too_large" }, "error");
  await settled();
  assert.deepEqual(bodiesSent(), ["one", "two"]);
  chat.retry("tea", key);
  wire().answers("new_msg", { offset: 2 });
  await settled();
  assert.deepEqual(bodiesSent(), ["one", "two", "one"]);
  assert.deepEqual(room().outbox.map(({ body }) => body), ["one", "three"]);
});

test("the pace of one room does not hold up another, and a room that was left sends nothing more", async () => {
  const { chat } = await opened();
  chat.open("coffee");
  admit([], { topic: "room:coffee" });
  chat.send("tea", "to tea");
  wire().answers("new_msg", { reason: "busy", retry_ms: 1_000 }, "error");
  await settled();
  chat.send("coffee", "to coffee");
  assert.deepEqual(bodiesSent(), ["to tea", "to coffee"]);
  chat.leave("tea");
  chat.open("tea");
  admit([message(1)], { topic: "room:tea" });
  mock.timers.tick(1_000);
  await settled();
  assert.deepEqual(bodiesSent(), ["to tea", "to coffee"]);
});

/** A tab that shares `storage` with others, with a wire of its own. */
async function tabOn(storage) {
  let tab;
  const local = storage.view((event) => tab.chat.storageChanged(event));
  tab = page({ local });
  tab.chat.start();
  await settled();
  tab.wire = wire();
  tab.wire.opens();
  tab.names = () => [...tab.state.rooms.keys()];
  tab.joins = () => tab.wire.sent.filter((sent) => sent[3] === "phx_join").map((sent) => sent[2]);
  tab.enters = (name, messages) => {
    tab.chat.open(name);
    tab.admits(name, messages);
  };
  tab.admits = (name, messages) => {
    const join = tab.wire.sent.findLast((sent) => sent[3] === "phx_join" && sent[2] === `room:${name}`);
    tab.wire.says(join[0], join[1], join[2], "phx_reply", { status: "ok", response: {
      room: { room: name, title: name, members: 1 }, you: { user: "me", name: "Me", speak: true },
      epoch: "e1", offset: messages.at(-1)?.offset ?? 0, recovered: false, more: false, messages,
    } });
  };
  return tab;
}
const storedNames = (storage) => JSON.parse(storage.view().getItem("chinwag.rooms")).map(([name]) => name);

test("what one tab joins or leaves no other tab takes back, and all follow", async () => {
  const storage = new FakeSharedStorage();
  const one = await tabOn(storage);
  one.enters("aaa", []);
  const two = await tabOn(storage);
  two.enters("bbb", []);
  assert.deepEqual(one.names(), ["aaa", "bbb"]);
  one.chat.remember();
  assert.deepEqual(storedNames(storage), ["aaa", "bbb"]);
  two.chat.remember();
  one.enters("ccc", []);
  two.chat.remember();
  assert.deepEqual(storedNames(storage), ["aaa", "bbb", "ccc"]);
  assert.deepEqual(two.names(), ["aaa", "bbb", "ccc"]);

  two.chat.leave("aaa");
  one.chat.remember();
  assert.deepEqual(storedNames(storage), ["bbb", "ccc"]);
  assert.deepEqual(one.names(), ["bbb", "ccc"]);
  assert.ok(one.wire.sent.some((sent) => sent[2] === "room:aaa" && sent[3] === "phx_leave"));
  assert.deepEqual((await tabOn(storage)).names(), ["bbb", "ccc"]);
});

test("a tab that does not hear of the others yet overwrites nothing of theirs", async () => {
  const storage = new FakeSharedStorage();
  const one = await tabOn(storage);
  one.chat.storageChanged = () => {};
  one.enters("aaa", []);
  const two = await tabOn(storage);
  two.enters("bbb", [message(1)]);
  two.chat.remember();
  one.enters("ccc", []);
  one.chat.remember();
  assert.deepEqual(storedNames(storage), ["aaa", "bbb", "ccc"]);
  two.chat.leave("aaa");
  one.enters("ccc", [message(1)]);
  one.chat.remember();
  assert.deepEqual(storedNames(storage), ["bbb", "ccc"]);
});

test("a room that was left in another tab is kept where one looks at it, or has written something", async () => {
  const storage = new FakeSharedStorage();
  const one = await tabOn(storage);
  for (const name of ["draft", "outbox", "idle", "shown"]) one.enters(name, []);
  one.chat.typed("draft", "half a sen");
  one.wire.breaks();
  one.chat.send("outbox", "not there yet");
  const two = await tabOn(storage);
  for (const name of ["draft", "outbox", "idle", "shown"]) two.chat.leave(name);
  assert.deepEqual(one.names(), ["draft", "outbox", "shown"]);
  one.chat.remember();
  assert.deepEqual(storedNames(storage), []);
  assert.equal(one.state.active, "shown");

  // After a reload the message is still there to be sent.
  const again = page({ local: storage.view(), tab: one.tab });
  again.chat.start();
  assert.equal(again.room("outbox").outbox.length, 1);
});

test("what was read in one tab is read in all, and is never stored as unread again", async () => {
  const storage = new FakeSharedStorage();
  const one = await tabOn(storage);
  one.enters("tea", [message(1)]);
  const two = await tabOn(storage);
  two.admits("tea", [message(1)]);
  two.chat.watch(true);
  two.chat.open("tea");
  for (const tab of [one, two]) tab.wire.says(null, null, "room:tea", "new_msg", message(2));
  assert.deepEqual([one.room().unread, two.room().unread], [1, 0]);
  two.chat.remember();
  assert.equal(one.room().unread, 0);

  for (const tab of [one, two]) tab.wire.says(null, null, "room:tea", "new_msg", message(3));
  one.chat.remember();
  two.chat.remember();
  one.chat.remember();
  const [[, read]] = JSON.parse(storage.view().getItem("chinwag.rooms"));
  assert.deepEqual(read, { epoch: "e1", offset: 3 });
  assert.equal(one.room().unread, 0);
  one.wire.says(null, null, "room:tea", "new_msg", message(4));
  assert.equal(one.room().unread, 1);
});

test("of two tabs that have read a room to different points the further one is stored", async () => {
  const storage = new FakeSharedStorage();
  const one = await tabOn(storage);
  const two = await tabOn(storage);
  for (const tab of [one, two]) tab.chat.storageChanged = () => {};
  one.enters("tea", [message(1)]);
  two.enters("tea", [message(1), message(2), message(3)]);
  two.chat.remember();
  one.chat.remember();
  const [[, read]] = JSON.parse(storage.view().getItem("chinwag.rooms"));
  assert.deepEqual(read, { epoch: "e1", offset: 3 });
});

test("a store that was emptied, or holds something else, takes nobody out of a room", async () => {
  const { chat, state } = await opened();
  const key = "chinwag.rooms";
  for (const newValue of [null, "", "{", "7", "null", "[7, null]"]) {
    chat.storageChanged({ key, oldValue: "[]", newValue });
    chat.storageChanged({ key: null, oldValue: null, newValue });
    chat.storageChanged({ key: "else", oldValue: JSON.stringify([["tea", null]]), newValue: "[]" });
  }
  chat.open("coffee");
  chat.storageChanged({ key, oldValue: JSON.stringify([["tea", null]]), newValue: null });
  assert.deepEqual([...state.rooms.keys()], ["tea", "coffee"]);
  const local = new FakeStorage();
  local.setItem(key, "[7, null, [3], [\"tea\", null]]");
  const other = page({ local });
  other.chat.start();
  assert.deepEqual([...other.state.rooms.keys()], ["tea"]);
});

/** A room with two messages of ours, of a server that changes messages. */
async function changeable(options) {
  const all = await opened(options);
  wire().breaks();
  await reconnects();
  admit([message(2, "me"), message(3, "me")], { recovered: true, change: 0, more: true });
  return all;
}
const bodyOf = (room, offset) => room.segments[0].messages.find((message) => message.offset === offset).body;

test("a change that was missed is asked for by a rejoin with the cursor", async () => {
  const { room } = await changeable();
  live("msg_changed", { change: 1, offset: 2, body: "a" });
  assert.equal(bodyOf(room(), 2), "a");
  live("msg_changed", { change: 3, offset: 2, body: "b" });
  assert.equal(bodyOf(room(), 2), "a");
  mock.timers.tick(1_000);
  assert.deepEqual(wire().sentLast("phx_join").payload, { since: { epoch: "e1", offset: 3, change: 1 } });
  live("msg_changed", { change: 4, offset: 2, body: "c" });
  admit([], { recovered: true, offset: 3, change: 4, changed: [message(2, "me", { change: 4, body: "d" })] });
  assert.deepEqual([bodyOf(room(), 2), room().change], ["d", 4]);
});

test("an edit is sent with what is different, and shown until the server has told it", async () => {
  const { chat, room } = await changeable();
  chat.rewrite("tea", 2);
  assert.equal(room().writing.text, "m2");
  assert.equal(chat.edit("tea", "  "), false);
  assert.equal(chat.edit("tea", "m2"), true);
  assert.equal(wire().sentLast("msg_edit"), undefined, "nothing is different");
  chat.rewrite("tea", 2);
  chat.edit("tea", "two", ["bob"]);
  assert.deepEqual(wire().sentLast("msg_edit").payload, { offset: 2, body: "two", mentions: ["bob"] });
  assert.equal(room().writing, null);
  wire().answers("msg_edit", { change: 1 });
  await settled();
  assert.equal(room().acts.length, 1);
  live("msg_changed", { change: 1, offset: 2, body: "two", mentions: ["bob"], edited: { at: 1 } });
  assert.equal(room().acts.length, 0);
  chat.rewrite("tea", 2);
  chat.edit("tea", "two");
  assert.deepEqual(wire().sentLast("msg_edit").payload, { offset: 2, mentions: null });
});

test("a change that the server cannot make now is asked for again, one that it will not is told", async () => {
  const { chat, room } = await changeable();
  for (const reason of ["rate_limited", "busy", "storage"]) {
    chat.remove("tea", 2);
    wire().answers("msg_delete", { reason, retry_ms: 400 }, "error");
    await settled();
    assert.deepEqual(room().acts.map(({ error }) => error), [null], reason);
    wire().sent = wire().sent.filter(([, , , event]) => event !== "msg_delete");
    mock.timers.tick(400);
    await settled();
    assert.deepEqual(wire().sentLast("msg_delete").payload, { offset: 2 }, reason);
    wire().answers("msg_delete", { reason: "not_yours" }, "error");
    await settled();
    assert.equal(room().acts[0].error.reason, "not_yours");
    assert.equal(bodyOf(room(), 2), "m2");
    chat.dismiss("tea", room().acts[0].id);
    assert.deepEqual(room().acts, []);
  }
});

test("what was written for an edit that was refused for good is written on as a new message", async () => {
  const { chat, room } = await changeable();
  chat.typed("tea", "a draft");
  chat.rewrite("tea", 2);
  chat.edit("tea", "two");
  wire().answers("msg_edit", { reason: "gone" }, "error");
  await settled();
  chat.writeAnew("tea", room().acts[0]);
  assert.deepEqual([room().acts, room().writing, room().draft], [[], null, "a draft\ntwo"]);
});

test("what is pinned and is not here is asked for, and no failure", async () => {
  const { chat, room } = await changeable();
  room().pins.add(9);
  const asked = chat.findPins("tea");
  assert.deepEqual(wire().sentLast("history").payload, { pinned: true, limit: 100 });
  wire().answers("history", { reason: "busy", retry_ms: 250 }, "error");
  await asked;
  assert.equal(room().aside.size, 0);
  wire().sent = wire().sent.filter(([, , , event]) => event !== "history");
  const again = chat.findPins("tea");
  wire().answers("history", { messages: [message(9, "ann", { pinned: { at: 1, by: "ann" }, change: 1 })], more: false });
  await again;
  assert.deepEqual([...room().aside.keys()], [9]);
});

test("changes are asked for one after the other, and again after a break, until they are answered", async () => {
  const { chat, room } = await changeable();
  chat.pin("tea", 2, true);
  chat.remove("tea", 3);
  assert.deepEqual(wire().sentLast("msg_pin").payload, { offset: 2, on: true });
  assert.equal(wire().sentLast("msg_delete"), undefined);
  wire().breaks();
  await reconnects();
  admit([], { recovered: true, offset: 3, change: 0 });
  assert.deepEqual(wire().sentLast("msg_pin").payload, { offset: 2, on: true });
  wire().answers("msg_pin", { change: 1 });
  await settled();
  assert.deepEqual(wire().sentLast("msg_delete").payload, { offset: 3 });
  wire().breaks();
  await reconnects();
  admit([], { epoch: "e2", offset: 0, change: 0 });
  await settled();
  assert.equal(wire().sentLast("msg_delete"), undefined, "the room was begun anew");
  assert.deepEqual(room().acts, []);
});

test("an answer says what it answers, also after a reload, unless that is not there any more", async () => {
  const { chat, room, local, tab } = await changeable();
  chat.answer("tea", 2);
  chat.send("tea", "yes", ["bob"]);
  assert.equal(room().writing, null);
  const { payload } = wire().sentLast("new_msg");
  assert.deepEqual(payload, { body: "yes", key: payload.key, reply_to: 2, mentions: ["bob"] });

  const again = page({ local, tab });
  again.chat.start();
  await settled();
  wire().opens();
  admit([message(1)], { topic: "room:tea", change: 0 });
  assert.deepEqual(wire().sentLast("new_msg").payload, payload);
  wire().answers("new_msg", { reason: "invalid", field: "reply_to" }, "error");
  await settled();
  assert.deepEqual(wire().sentLast("new_msg").payload, { body: "yes", key: payload.key, mentions: ["bob"] });
});

test("who looks after a room is said by the server, or else by the token", async () => {
  const { session, room } = await changeable();
  assert.equal(moderates(room()), false);
  const rejoin = async (you) => {
    wire().breaks();
    await reconnects();
    admit([], { recovered: true, offset: 3, change: 0, you: { user: "me", name: "Me", speak: true, ...you } });
    return moderates(room());
  };
  session.levelIn = () => "moderate";
  assert.equal(await rejoin({}), true);
  assert.equal(await rejoin({ level: "speak" }), false);
  session.levelIn = () => null;
  assert.equal(await rejoin({ level: "own" }), true);
});
