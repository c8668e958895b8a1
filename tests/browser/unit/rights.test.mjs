/** What one may do in a room: as data, and with the real protocol client, the test as server. */
import assert from "node:assert/strict";
import { beforeEach, mock, test } from "node:test";
import { createRoom, lastEditable, nameOf } from "../../../src/web/state/room.js";
import { rows } from "../../../src/web/state/rows.js";
import * as rights from "../../../src/web/state/rights.js";
import { actParts, rulingReason, silenceText, spanText, untilText } from "../../../src/web/view/words.js";
import { hrefOf, inviteIn, roomIn } from "../../../src/web/view/rooms.js";
import { settled } from "./fake.mjs";
import { admit, begin, live, message, opened, reconnects, wire } from "./page.mjs";

const MINUTE_MS = 60_000;
const isOwn = (user) => user === "me";

beforeEach(begin);

function roomOf(info, you, token) {
  const room = createRoom("tea");
  rights.described(room, { title: "Tea", ...info }, 0);
  rights.told(room, { speak: true, ...you }, token);
  return room;
}

/** Why one may not speak at a time: null if one may. */
function silence(room, now = 1) {
  rights.judge(room, now);
  return room.silence?.reason ?? null;
}

test("what one is told of oneself counts first, and the token where nothing is told", () => {
  const levels = [
    [{}, undefined, "speak"], [{ speak: false }, undefined, "join"], [{}, "moderate", "moderate"],
    [{}, "join", "speak"], [{ level: "own" }, "join", "own"], [{ level: "speak" }, "own", "speak"],
  ];
  for (const [you, token, level] of levels) {
    const room = roomOf({}, you, token);
    rights.judge(room, 1);
    assert.equal(room.you.level, level, JSON.stringify([you, token]));
  }
});

test("a mute hides what one is in the room, and gives it back when it is over", () => {
  const room = roomOf({}, { speak: false, role: "moderator", muted_until: 10 });
  assert.deepEqual([silence(room, 9), rights.moderates(room)], ["muted", false]);
  assert.deepEqual([silence(room, 10), rights.moderates(room)], [null, true]);
  const forEver = roomOf({}, { speak: false, muted_until: 0 });
  assert.equal(silence(forEver, Number.MAX_SAFE_INTEGER), "muted");
  assert.equal(rights.nextTurn(forEver, 1), null);
});

test("a room lets speak whom it says, and says so of itself", () => {
  for (const [speak, you, reason] of [
    ["all", {}, null], ["all", { speak: false }, "reads"],
    ["members", { speak: false }, "members"], ["members", { role: "member" }, null],
    ["moderators", { speak: false, role: "member" }, "moderators"],
    ["moderators", { level: "moderate" }, null],
  ]) assert.equal(silence(roomOf({ speak }, you)), reason, JSON.stringify([speak, you]));

  // The room changes, and nobody says anew what one is.
  const room = roomOf({}, {});
  rights.described(room, { title: "Tea", speak: "moderators" }, 0);
  assert.equal(silence(room), "moderators");
  rights.described(room, { title: "Tea" }, 0);
  assert.equal(silence(room), null);
  const reader = roomOf({}, { speak: false });
  rights.described(reader, { title: "Tea", speak: "moderators" }, 0);
  rights.described(reader, { title: "Tea" }, 0);
  assert.equal(silence(reader), "reads", "whose token lets it read alone is not let to speak");
});

test("one may do something only to those below, and nobody to oneself", () => {
  const powers = (level, user, role) => {
    const room = roomOf({}, { level });
    rights.judge(room, 1);
    if (role) room.roles.set(user, role);
    return rights.powersOver(room, user, isOwn).join(" ");
  };
  assert.equal(powers("speak", "bob"), "");
  assert.equal(powers("moderate", "bob", "member"), "mute kick ban");
  assert.equal(powers("moderate", "bob", "moderator"), "");
  assert.equal(powers("own", "bob"), "promote mute kick ban");
  assert.equal(powers("own", "bob", "moderator"), "demote mute kick ban");
  assert.equal(powers("own", "bob", "owner"), "");
  assert.equal(powers("own", "me"), "");
});

test("slow mode makes wait who does not look after the room, as long as it is slow", () => {
  const room = roomOf({ slow_s: 60 }, {});
  rights.spoke(room, 1_000);
  assert.equal(rights.nextTurn(room, 1_000), 61_000);
  rights.described(room, { title: "Tea", slow_s: 5 }, 2_000);
  assert.equal(room.slowUntil, 7_000);
  rights.judge(room, 7_000);
  assert.equal(room.slowUntil, null);
  const moderator = roomOf({ slow_s: 60 }, { level: "moderate" });
  rights.spoke(moderator, 1_000);
  assert.equal(moderator.slowUntil, null);
});

test("times are said as one would say them", () => {
  const now = new Date(2026, 10, 22, 10, 45).getTime();
  assert.deepEqual([untilText(undefined), untilText(0, now)], ["", " for ever"]);
  assert.match(untilText(now + MINUTE_MS, now), /^ until \S*10\S46/);
  const [inDays, inWeeks] = [2, 30].map((days) => now + days * 86_400_000);
  const part = (at, options) => new Intl.DateTimeFormat(undefined, options).format(at);
  assert.ok(untilText(inDays, now).includes(part(inDays, { weekday: "long" })));
  assert.ok(untilText(inWeeks, now).includes(part(inWeeks, { dateStyle: "long" })));
  const spans = [1, 12_000, 90_000, 91_000, 5_400_000, 5_401_000, 604_800_000];
  assert.deepEqual(spans.map(spanText), ["1 s", "12 s", "90 s", "2 min", "90 min", "2 h", "7 days"]);
  assert.equal(silenceText({ reason: "muted", until: 0 }), "You are muted in this room.");
  assert.match(rulingReason({ reason: "last_owner" }), /only owner/);
});

test("an address leads to a room, and may have an invite to it", () => {
  for (const [name, invite] of [["tea", null], ["a&b=c #ü", "inv_a-b.c_d.e"], ["x&invite=y", null]]) {
    const href = hrefOf(name, invite);
    assert.deepEqual([roomIn(href), inviteIn(href)], [name, invite]);
  }
  assert.deepEqual([roomIn("#room=a%"), inviteIn("#room=a&invite=no")], ["a%", null]);
});

test("a line of the audit trail is a sentence", () => {
  const said = (line) => actParts({ by: "ann", ...line })
    .map((part) => (part.user === undefined ? part : `<${part.user}>`)).join("");
  const member = (set) => said({ act: "room_member", user: "bob", set });
  for (const [line, expected] of [
    [{ act: "msg_report", user: "bob", offset: 3 }, "<ann> reported a message of <bob>"],
    [{ act: "msg_delete", user: "bob", offset: 3 }, "<ann> deleted a message of <bob>"],
    [{ act: "msg_pin", user: "bob", set: { on: false } }, "<ann> unpinned a message of <bob>"],
    [{ act: "room_set", set: { slow_s: 5 } }, "<ann> changed the room: slow mode"],
    [{ act: "room_set", set: { title: "T", links: true, new_one: 1 } },
      "<ann> changed the room: its title, links and new_one"],
    [{ act: "of_tomorrow" }, "<ann> of_tomorrow"],
  ]) assert.equal(said(line), expected);
  for (const [set, expected] of [
    [{ role: "owner" }, "made <bob> an owner"],
    [{ role: "moderator" }, "made <bob> a moderator"],
    [{ role: null }, "took <bob> out of the members"],
    [{ muted_s: 600 }, "muted <bob> for 10 min"],
    [{ muted_s: 0 }, "let <bob> speak again"],
    [{ banned_s: 0 }, "lifted the ban of <bob>"],
    [{ kick: true }, "removed <bob>"],
    [{ banned_s: -1, purge_s: 3600 }, "banned <bob> for ever and deleted what <bob> said of late"],
  ]) assert.equal(member(set), `<ann> ${expected}`);
});

test("the room is followed as it is changed, and so is what one is in it", async () => {
  const { room } = await opened();
  assert.deepEqual([room().info.topic, room().silence], [undefined, null]);
  live("room_changed", { room: "tea", title: "Green tea", topic: "Leaves", speak: "moderators" });
  assert.deepEqual([room().title, room().info.topic], ["Green tea", "Leaves"]);
  assert.equal(room().silence.reason, "moderators");
  live("room_you", { speak: true, level: "moderate", role: "moderator", by: "ann" });
  assert.deepEqual([room().silence, room().you.level], [null, "moderate"]);
  const { payload } = wire().sentLast("room_members");
  assert.deepEqual(payload, { limit: 100 }, "who looks after a room asks who else does");
  wire().answers("room_members", { members: [{ user: "ann", role: "owner" }], more: true });
  await settled();
  assert.deepEqual(wire().sentLast("room_members").payload, { limit: 100, after: "ann" });
  wire().answers("room_members", { members: [{ user: "bob", role: "member" }], more: false });
  await settled();
  assert.deepEqual([...room().roles], [["ann", "owner"], ["bob", "member"]]);
});

test("who is muted or banned is found behind any number of others", async () => {
  const { chat } = await opened();
  const listed = chat.listMembers("tea", "banned");
  wire().answers("room_members", { members: [], more: true, after: "m" });
  await settled();
  assert.deepEqual(wire().sentLast("room_members").payload, { limit: 100, state: "banned", after: "m" });
  wire().answers("room_members", { members: [{ user: "zoe", banned_until: 0 }], more: false });
  assert.deepEqual(await listed, [{ user: "zoe", banned_until: 0 }]);
});

test("an invite to a room that is open is brought at once, by whoever is no member or was put out", async () => {
  const { chat, room } = await opened();
  const brought = () => {
    mock.timers.tick(1_000); // a room is joined anew in a moment
    return wire().sent.filter(([, , topic, event]) => topic === "room:tea" && event === "phx_join")
      .map(([, , , , { invite = null }]) => invite);
  };
  chat.open("tea", "inv_1");
  assert.deepEqual(brought(), [null, "inv_1"]);
  admit([message(1)], { you: { user: "me", name: "Me", speak: true, role: "member" } });
  chat.open("tea", "inv_2");
  assert.deepEqual(brought(), [null, "inv_1"], "one is a member");
  live("room_removed", { reason: "members", by: "ann" });
  live("phx_close", {});
  chat.open("tea", "inv_3");
  assert.deepEqual(brought(), [null, "inv_1", "inv_3"]);
  assert.equal(room().refusal, null);
});

test("a mute is over when its time is, without a word of the server", async () => {
  const { room } = await opened();
  live("room_you", { speak: false, muted_until: Date.now() + MINUTE_MS, by: "ann" });
  assert.equal(room().silence.reason, "muted");
  mock.timers.tick(MINUTE_MS);
  assert.equal(room().silence, null);
  live("room_you", { speak: false, muted_until: 0, by: "ann" });
  mock.timers.tick(MINUTE_MS);
  assert.equal(room().silence.reason, "muted");
  live("room_you", { speak: true, by: "ann" });
  assert.equal(room().silence, null);
});

test("what a mute keeps from being said is still there to be written on", async () => {
  const { chat, room } = await opened();
  chat.answer("tea", 1);
  chat.send("tea", "one");
  chat.send("tea", "two");
  chat.typed("tea", "three");
  const until = Date.now() + MINUTE_MS;
  wire().answers("new_msg", { reason: "muted", until }, "error");
  await settled();
  assert.deepEqual(room().silence, { reason: "muted", until });
  assert.deepEqual([room().draft, room().writing.offset], ["three\none", 1]);
  wire().answers("new_msg", { reason: "muted", until }, "error");
  await settled();
  assert.deepEqual([room().outbox, room().draft], [[], "three\none\ntwo"]);
});

test("what slow mode does not take is sent when it does, or when slow mode ends", async () => {
  const { chat, room } = await opened();
  live("room_changed", { room: "tea", title: "Tea", slow_s: 30 });
  chat.send("tea", "early");
  const { payload } = wire().sentLast("new_msg");
  wire().answers("new_msg", { reason: "slow_mode", retry_ms: 20_000 }, "error");
  await settled();
  const sent = () => wire().sent.filter(([, , , event]) => event === "new_msg");
  const pending = () => rows(room(), isOwn, 0, "me").find(({ kind }) => kind === "pending");
  assert.deepEqual([room().outbox.length, room().slowUntil], [1, Date.now() + 20_000]);
  assert.equal(pending().isSlow, true);
  mock.timers.tick(19_999);
  await settled();
  assert.equal(sent().length, 1);
  mock.timers.tick(1);
  await settled();
  assert.deepEqual([sent().length, wire().sentLast("new_msg").payload], [2, payload]);
  wire().answers("new_msg", { offset: 2 });
  await settled();
  assert.equal(room().slowUntil, Date.now() + 30_000, "the next has to wait");

  chat.send("tea", "late");
  await settled();
  assert.equal(sent().length, 2);
  live("room_changed", { room: "tea", title: "Tea" });
  await settled();
  assert.equal(sent().length, 3);
});

test("who was put out of a room is told why, and comes back only when they ask to", async () => {
  const { chat, room, local } = await opened();
  live("presence_state", { ann: { metas: [{ phx_ref: "1", name: "Ann" }] } });
  live("room_removed", { reason: "kicked", by: "ann", text: "Enough." });
  wire().says(wire().sentLast("phx_join").joinRef, null, "room:tea", "phx_close", {});
  const { status, refusal, members } = room();
  assert.deepEqual([status, members], ["refused", []]);
  const { reason, text, by } = refusal;
  assert.deepEqual([reason, text, by], ["kicked", "Enough.", "Ann"]);
  assert.deepEqual(rows(room(), isOwn, 0, "me").at(-1).refusal, refusal);
  assert.deepEqual(JSON.parse(local.getItem("chinwag.rooms")), [], "a reload does not come back");

  const isJoin = ([, , topic, event]) => event === "phx_join" && topic === "room:tea";
  const joins = () => wire().sent.filter(isJoin);
  const before = joins().length;
  chat.open(null);
  chat.open("tea");
  assert.equal(joins().length, before);
  wire().breaks();
  await reconnects();
  assert.equal(joins().length, 0, "nor does a new connection");
  assert.equal(room().status, "refused");

  chat.comeBack("tea");
  assert.deepEqual(wire().sentLast("phx_join").payload, { since: { epoch: "e1", offset: 1 } });
  admit([message(2)], { recovered: true });
  assert.deepEqual([room().status, room().refusal], ["joined", null]);
  assert.equal(JSON.parse(local.getItem("chinwag.rooms"))[0][0], "tea");
});

test("who was put out of a room can do nothing to its messages", async () => {
  const { chat, room } = await opened();
  wire().breaks();
  await reconnects();
  admit([message(1), message(2, "me")], { change: 0 });
  const may = () => rows(room(), isOwn, 0, "me").flatMap((row) => (row.kind === "message" ? [[...row.may].join(" ")] : []));
  assert.deepEqual(may(), ["reply react report", "reply react edit delete"]);
  assert.equal(lastEditable(room(), "me").offset, 2);
  live("room_removed", { reason: "banned", until: 0, by: "ann" });
  wire().says(wire().sentLast("phx_join").joinRef, null, "room:tea", "phx_close", {});
  assert.deepEqual(may(), ["", ""]);
  assert.equal(lastEditable(room(), "me"), undefined);
  chat.comeBack("tea");
  admit([message(3)], { recovered: true, change: 0 });
  assert.deepEqual(may(), ["reply react report", "reply react edit delete", "reply react report"]);
});

test("who is banned is told until when each time they try to come in", async () => {
  const { chat, room } = await opened();
  live("room_removed", { reason: "banned", until: 0, by: "ann" });
  wire().says(wire().sentLast("phx_join").joinRef, null, "room:tea", "phx_close", {});
  chat.comeBack("tea");
  wire().answers("phx_join", { reason: "banned", until: 7 }, "error");
  assert.deepEqual(room().refusal, { reason: "banned", until: 7 });
  assert.equal(rows(room(), isOwn, 0, "me").at(-1).kind, "out");
});

test("what is asked of a room or of somebody is answered, refused, or not asked", async () => {
  const { chat, room } = await opened();
  live("room_you", { speak: true, level: "own", role: "owner", by: "me" });
  const set = chat.setRoom("tea", { topic: "Leaves" });
  assert.deepEqual(wire().sentLast("room_set").payload, { topic: "Leaves" });
  wire().answers("room_set", { room: "tea", title: "Tea", topic: "Leaves" });
  await set;
  assert.equal(room().info.topic, "Leaves");

  const made = chat.setMember("tea", "bob", { role: "moderator" });
  assert.deepEqual(wire().sentLast("room_member").payload, { user: "bob", role: "moderator" });
  wire().answers("room_member", { user: "bob", role: "moderator" });
  await made;
  assert.equal(room().roles.get("bob"), "moderator");

  const purged = chat.setMember("tea", "bob", { banned_s: -1, purge_s: 60 });
  for (const before of [900, 400, undefined]) {
    wire().answers("room_member", { user: "bob", purged: 9, ...(before && { more: true, before }) });
    await settled();
    const rest = { user: "bob", purge_s: 60, purge_before: before };
    if (before) assert.deepEqual(wire().sentLast("room_member").payload, rest, "it goes on there");
  }
  await purged;

  const banned = chat.setMember("tea", "bob", { banned_s: -1 });
  wire().answers("room_member", { reason: "unauthorized" }, "error");
  await assert.rejects(banned, { reason: "unauthorized" });
  wire().breaks();
  await assert.rejects(chat.setMember("tea", "bob", { kick: true }), { reason: "away" });
});

test("a name is known of who is there, and of who has said something", async () => {
  const { room } = await opened();
  live("presence_state", { bob: { metas: [{ phx_ref: "1", name: "Bob" }] } });
  live("new_msg", message(2, "cy", { name: "Cy" }));
  const names = ["bob", "cy", "dee"].map((user) => nameOf(room(), user));
  assert.deepEqual(names, ["Bob", "Cy", undefined]);
});
