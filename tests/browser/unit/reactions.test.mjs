/** Reactions: which are one's own, what is shown before the server has said so, and who may. */
import assert from "node:assert/strict";
import { beforeEach, mock, test } from "node:test";
import { patched, possible, replaced } from "../../../src/web/state/changes.js";
import { reacted, reactionsOf } from "../../../src/web/state/reactions.js";
import { mayReact } from "../../../src/web/state/rights.js";
import * as roomOf from "../../../src/web/state/room.js";
import { rows } from "../../../src/web/state/rows.js";
import { emojiText } from "../../../src/web/view/text.js";
import { changeReason, silenceText, whoText } from "../../../src/web/view/words.js";
import { settled } from "./fake.mjs";
import { admit, begin, live, message, opened, reconnects, wire } from "./page.mjs";

beforeEach(begin);

const isOwn = (user) => user === "me";

/** The server's telling: `{"👍": ["ann", "bob"]}` is whoever has reacted with what. */
const told = (all) => Object.fromEntries(Object.entries(all).map(([emoji, users]) =>
  [emoji, { count: users.length, users: users.slice(0, 10) }]));
/** A message with these reactions. */
const having = (all, mine, more = {}) => ({
  ...message(1), ...(all && { reactions: told(all) }), ...(mine && { mine }), ...more,
});

/** A message in short: "👍2* 🎉1", with a star at what is one's own. */
const short = (message) => reactionsOf(message)
  .map(({ emoji, count, isMine }) => `${emoji}${count}${isMine ? "*" : ""}`).join(" ");

const rowsOf = (room) => rows(room, isOwn, 0, "me").filter(({ kind }) => kind === "message");
const shown = (room, offset = 1) =>
  short(rowsOf(room).find(({ message }) => message.offset === offset).message);

function roomWith(messages, more = {}) {
  const room = roomOf.createRoom("tea");
  rejoined(room, messages, more);
  return room;
}

function rejoined(room, messages, { user = "me", offset = room.offset, ...more } = {}) {
  roomOf.joined(room, {
    room: { room: "tea", title: "Tea" }, you: { user, name: user, speak: true }, epoch: "e1",
    recovered: false, more: false, change: 0, messages, offset: messages.at(-1)?.offset ?? offset,
    ...more,
  }, isOwn);
}

const change = (room, number, all, by, more = {}) => roomOf.changed(room, {
  change: number, offset: 1, reactions: all && told(all), ...(by && { by }), ...more,
}, isOwn);

/** The room of an open page, and what its one message shows. */
async function page() {
  const all = await opened();
  wire().breaks();
  await reconnects();
  admit([message(1)], { change: 0 });
  const react = (emoji, on = true) => all.chat.react("tea", 1, emoji, on);
  const tells = (number, all, by, more = {}) => {
    const reactions = all && told(all);
    live("msg_changed", { change: number, offset: 1, reactions, by, ...more });
  };
  const answers = async (response, status) => {
    wire().answers("msg_react", response, status);
    await settled();
  };
  const sent = () =>
    wire().sent.filter(([, , , event]) => event === "msg_react").map((push) => push[4]);
  const looks = () => shown(all.room());
  return { ...all, react, tells, answers, sent, looks };
}

test("reactions stand in the order in which they came, whatever text an emoji is", () => {
  const reactions = JSON.parse('{"🎉":{"count":12,"users":["ann"]},'
    + '"__proto__":{"count":1,"users":["bob"]},"toString":{"count":2}}');
  const all = { ...message(1), reactions, mine: ["__proto__"] };
  assert.equal(short(all), "🎉12 __proto__1* toString2");
  assert.equal(short(reacted(all, { emoji: "constructor", on: true }, "me")),
    "🎉12 __proto__1* toString2 constructor1*");
  assert.equal(short(reacted(all, { emoji: "__proto__", on: false }, "me")), "🎉12 toString2");
  assert.deepEqual(reactionsOf(message(1)), []);
  assert.deepEqual(reactionsOf({ ...all, body: "", deleted: {} }), []);
});

test("a reaction of one's own counts once: one more, or as many as the server says", () => {
  const one = having({ "👍": ["ann"], "🎉": ["bob"] });
  const two = reacted(one, { emoji: "👍", on: true }, "me");
  assert.deepEqual(two.reactions["👍"], { count: 2, users: ["ann", "me"] });
  assert.equal(short(two), "👍2* 🎉1");
  assert.equal(reacted(two, { emoji: "👍", on: true }, "me"), two);
  assert.equal(reacted(one, { emoji: "👍", on: false }, "me"), one);
  assert.equal(short(reacted(one, { emoji: "👍", on: true }, "me", 7)), "👍7* 🎉1");
  assert.deepEqual(reacted(two, { emoji: "👍", on: false }, "me").reactions, one.reactions);
  const none = reacted(having({ "👍": ["me"] }, ["👍"]), { emoji: "👍", on: false }, "me");
  assert.deepEqual(none, message(1));
  const crowd = having({ "👍": Array.from({ length: 12 }, (_, index) => `u${index}`) });
  const more = reacted(crowd, { emoji: "👍", on: true }, "me");
  assert.deepEqual([more.reactions["👍"].users.length, short(more)], [10, "👍13*"]);
  const gone = { ...message(1), body: "", deleted: {} };
  assert.equal(reacted(gone, { emoji: "👍", on: true }, "me"), gone);
});

test("a patch tells how many there are, and of oneself only what names oneself", () => {
  const before = having({ "👍": ["ann"] }, undefined, { change: 1 });
  const fold = (message, number, all, by) => patched(message, {
    change: number, offset: 1, reactions: told(all), ...(by && { by }),
  }, "me");
  const both = { "👍": ["ann", "me"], "🎉": ["bob"] };
  const mine = fold(before, 2, both, [["me", "👍", true], ["bob", "🎉", true]]);
  assert.equal(short(mine), "👍2* 🎉1");
  assert.equal("by" in mine, false, "what happened is no part of the message");
  const without = { "👍": ["me"], "🎉": ["bob"] };
  assert.equal(short(fold(mine, 3, without, [["ann", "👍", false]])), "👍1* 🎉1");
  assert.equal(short(fold(mine, 3, { "👍": ["ann"] }, [["me", "👍", false]])), "👍1");
  assert.equal(short(fold(mine, 3, { "👍": ["me", "x"] })), "👍2*", "without `by` they stay");
  const others = fold(mine, 3, { "🎉": ["bob"] });
  assert.deepEqual([short(others), "mine" in others], ["🎉1", false], "but for what nobody has");
  assert.deepEqual(patched(mine, { change: 3, offset: 1, reactions: null }, "me"),
    { ...message(1), change: 3, textChange: 1 });
  assert.equal(fold(mine, 2, { "🎉": ["bob"] }, [["me", "👍", false]]), mine, "it is known");
  const edited = patched(mine, { change: 3, offset: 1, body: "new" }, "me");
  assert.deepEqual([short(edited), edited.body], ["👍2* 🎉1", "new"]);
  const removal = { change: 3, offset: 1, body: "", deleted: { at: 1 }, reactions: null };
  const deleted = patched(mine, removal, "me");
  assert.deepEqual([deleted.reactions, deleted.mine], [undefined, undefined]);
});

test("a whole message tells what is one's own if it is as new as the one that is here", () => {
  const mine = having({ "👍": ["ann", "me"] }, ["👍"], { change: 4 });
  const same = having({ "👍": ["ann", "me"] }, ["👍"], { change: 4, body: "not looked at" });
  assert.equal(replaced(mine, same), mine);
  const another = having({ "👍": ["ann", "me"] }, undefined, { change: 4 });
  assert.equal(short(replaced(mine, another)), "👍2");
  assert.equal(short(replaced(another, same)), "👍2*");
  assert.equal(replaced(mine, having({ "👍": ["ann"] }, undefined, { change: 3 })), mine);
  assert.equal(short(replaced(mine, having({ "🎉": ["me"] }, ["🎉"], { change: 5 }))), "🎉1*");
});

test("joins, recoveries and pages tell what is one's own in the messages that they list", () => {
  const reactions = told({ "👍": ["ann", "me"] });
  const room = roomWith([3, 4].map((offset) => ({ ...message(offset), reactions })), {
    change: 2, mine: { 3: ["👍"] }, more: true,
  });
  assert.deepEqual([3, 4].map((offset) => shown(room, offset)), ["👍2*", "👍2"]);

  const before = [1, 2].map((offset) => ({ ...message(offset), reactions }));
  roomOf.older(room, room.segments[0], { messages: before, more: false, mine: { 2: ["👍"] } });
  assert.deepEqual([1, 2].map((offset) => shown(room, offset)), ["👍2", "👍2*"]);

  // Taken back on another device, reacted to there, and listed for another reason.
  const changed = [
    { ...message(2), change: 3, reactions: told({ "👍": ["ann"] }) },
    { ...message(1), change: 4, reactions: told({ "👍": ["ann", "me"], "🎉": ["me"] }) },
  ];
  rejoined(room, [{ ...message(5), reactions }], {
    change: 4, recovered: true, changed, mine: { 1: ["👍", "🎉"], 5: ["👍"] },
  });
  assert.deepEqual([1, 2, 3, 4, 5].map((offset) => shown(room, offset)),
    ["👍2* 🎉1*", "👍1", "👍2*", "👍2", "👍2*"]);
  rejoined(room, [], { change: 4, recovered: true });
  assert.equal(shown(room, 5), "👍2*", "what is not listed is as it was");
});

test("where nothing can be recovered only the answer tells what is one's own", () => {
  const reactions = told({ "👍": ["me"] });
  const one = { ...message(1), reactions, change: 1 };
  const room = roomWith([one], { change: 1, mine: { 1: ["👍"] } });
  rejoined(room, [one], { change: 9 });
  assert.equal(shown(room), "👍1");
  rejoined(room, [one], { change: 12, mine: { 1: ["👍"] } });
  assert.equal(shown(room), "👍1*");
});

test("who comes back as somebody else has reacted to nothing yet", () => {
  const room = roomWith([having({ "👍": ["me"] })], { mine: { 1: ["👍"] } });
  assert.equal(shown(room), "👍1*");
  rejoined(room, [], { recovered: true, user: "me again" });
  assert.equal(shown(room), "👍1");
  change(room, 1, { "👍": ["me", "me again"] }, [["me again", "👍", true]]);
  assert.equal(shown(room), "👍2*");
});

test("reactions make no row anew, however many there are; everything else does", () => {
  const room = roomWith([message(1), message(2, "bob", { reply_to: 1 })]);
  const signatures = () => rowsOf(room).map(({ signature }) => signature).join("\n");
  const first = signatures();
  change(room, 1, { "👍": ["ann"] }, [["ann", "👍", true]]);
  change(room, 2, { "👍": ["ann", "me"] }, [["me", "👍", true]]);
  const payload = { emoji: "🎉", on: true };
  room.acts = [
    { id: "a", event: "msg_react", offset: 1, payload, by: "me", change: null, error: null },
  ];
  assert.deepEqual([shown(room), rowsOf(room)[0].waits], ["👍2* 🎉1*", false]);
  assert.equal(signatures(), first);
  room.acts[0].error = { reason: "gone" };
  assert.notEqual(signatures(), first, "it says why not");
  room.acts = [];
  change(room, 3, undefined, undefined, { body: "new" });
  assert.notEqual(signatures(), first);
  const second = signatures();
  change(room, 4, { "👍": ["me"] }, [["ann", "👍", false]]);
  assert.equal(signatures(), second);
});

test("a reaction shows at once, and the answer may come before it is told to all", async () => {
  const { react, tells, answers, sent, looks, room } = await page();
  react("👍");
  assert.deepEqual(sent(), [{ offset: 1, emoji: "👍", on: true }]);
  assert.equal(looks(), "👍1*");
  await answers({ count: 3 });
  assert.deepEqual([looks(), room().acts], ["👍3*", []]);
  tells(1, { "👍": ["x", "y", "me"], "🎉": ["x"] }, [["me", "👍", true], ["x", "🎉", true]]);
  assert.equal(looks(), "👍3* 🎉1");
});

test("or after it, also where others were told of meanwhile", async () => {
  const { react, tells, answers, looks, room } = await page();
  react("👍");
  tells(1, { "👍": ["x"] }, [["x", "👍", true]]);
  assert.equal(looks(), "👍2*", "theirs, and one's own that is not told");
  tells(2, { "👍": ["x", "me"] }, [["me", "👍", true]]);
  assert.deepEqual([looks(), room().acts], ["👍2*", []]);
  tells(3, { "👍": ["x", "me", "y"] }, [["y", "👍", true]]);
  await answers({ count: 2 });
  assert.equal(looks(), "👍3*", "an answer is older than what was told before it");
});

test("a patch that names nobody tells the number, and the answer what is own", async () => {
  const { react, tells, answers, looks } = await page();
  react("👍");
  tells(1, { "👍": ["x", "me"] });
  await answers({ count: 2 });
  assert.equal(looks(), "👍2*");
  react("👍", false);
  assert.equal(looks(), "👍1");
  await answers({ count: 1 });
  tells(2, { "👍": ["x"] });
  assert.equal(looks(), "👍1");
});

test("what another device takes back after it was told is not one's own any more", async () => {
  const { react, tells, answers, looks } = await page();
  react("👍");
  tells(1, { "👍": ["me", "x"] }, [["me", "👍", true]]);
  tells(2, { "👍": ["x"] }, [["me", "👍", false]]);
  await answers({ count: 2 });
  assert.equal(looks(), "👍1");
});

test("a refusal takes it back and says why, until one has read that or reacts anew", async () => {
  const { react, answers, looks, room, chat } = await page();
  react("👍");
  await answers({ count: 1 });
  react("🎉");
  await answers({ reason: "too_many", limit: "limits.reactions_per_user", max: 1 }, "error");
  const refused = () => rowsOf(room())[0].refused
    .map(({ error, payload }) => [payload.emoji, error.reason]);
  assert.deepEqual([looks(), refused()], ["👍1*", [["🎉", "too_many"]]]);
  chat.dismiss("tea", rowsOf(room())[0].refused[0].id);
  assert.deepEqual(refused(), []);
  react("👍", false);
  assert.equal(looks(), "");
  await answers({ reason: "unauthorized" }, "error");
  assert.deepEqual([looks(), refused()], ["👍1*", [["👍", "unauthorized"]]]);
  react("👀");
  assert.deepEqual([looks(), refused()], ["👍1* 👀1*", []]);
});

test("of a hand that cannot decide only what was under way and the last word are sent", async () => {
  const { react, tells, answers, sent, looks } = await page();
  for (const on of [true, false, true, false]) react("👍", on);
  react("🎉");
  assert.deepEqual([looks(), sent().length], ["🎉1*", 1]);
  tells(1, { "👍": ["me"] }, [["me", "👍", true]]);
  assert.equal(looks(), "🎉1*", "the last word is still to come");
  await answers({ count: 1 });
  await answers({ count: 0 });
  const all = sent().map(({ emoji, on }) => [emoji, on]);
  assert.deepEqual(all, [["👍", true], ["👍", false], ["🎉", true]]);
  tells(2, null, [["me", "👍", false]]);
  assert.equal(looks(), "🎉1*");
  await answers({ count: 1 });
  assert.equal(looks(), "🎉1*");
});

test("what one has changed one's mind about is no refusal, and undoes nothing", async () => {
  const { react, tells, answers, sent, looks, room } = await page();
  react("👍");
  react("👍", false);
  await answers({ reason: "too_many", limit: "limits.emoji_per_message", max: 20 }, "error");
  assert.deepEqual([looks(), rowsOf(room())[0].refused], ["", []]);
  await answers({ count: 0 });
  react("👍");
  react("👍", false);
  react("👍");
  await answers({ count: 1 });
  assert.deepEqual([looks(), sent().at(-1).on, sent().length], ["👍1*", true, 4]);
  tells(1, { "👍": ["me"] }, [["me", "👍", true]]);
  await answers({ count: 1 });
  assert.deepEqual([looks(), room().acts], ["👍1*", []]);
});

test("a server that has no time now is asked again, and so is one that was lost", async () => {
  const { react, answers, sent, looks } = await page();
  react("👍");
  await answers({ reason: "rate_limited", retry_ms: 500 }, "error");
  assert.equal(looks(), "👍1*");
  mock.timers.tick(500);
  await settled();
  assert.equal(sent().length, 2);
  wire().breaks();
  react("🎉");
  assert.equal(looks(), "👍1* 🎉1*");
  await reconnects();
  // The first was taken after all.
  const answer = { ...message(1), change: 1, reactions: told({ "👍": ["x", "me"] }) };
  admit([], { recovered: true, offset: 1, change: 1, changed: [answer], mine: { 1: ["👍"] } });
  assert.equal(looks(), "👍2* 🎉1*");
  await answers({ count: 2 });
  assert.equal(looks(), "👍2* 🎉1*");
  await answers({ count: 1 });
  assert.deepEqual([looks(), sent().length], ["👍2* 🎉1*", 2]);
});

test("a message that is deleted has none left, and takes none", async () => {
  const { react, tells, answers, looks, room } = await page();
  react("👍");
  await answers({ count: 1 });
  react("🎉");
  tells(1, null, undefined, { body: "", deleted: { at: 1, by: "ann" } });
  assert.equal(looks(), "");
  await answers({ reason: "gone" }, "error");
  assert.equal(looks(), "");
  const [{ may, refused, message: { deleted } }] = rowsOf(room());
  const why = changeReason(refused[0].error, { deleted });
  assert.deepEqual([may.size, why], [0, "this message was deleted."]);
});

test("those react who may speak, or read where the room says so, and nobody who is muted", () => {
  const silent = (reason) => (reason ? { reason, until: null } : null);
  for (const [react, reason, may] of [
    [undefined, null, true], [undefined, "moderators", false], [undefined, "reads", false],
    ["all", null, true], ["all", "moderators", true], ["all", "members", true],
    ["all", "reads", true], ["all", "muted", false],
  ]) {
    const room = { info: { react }, silence: silent(reason) };
    assert.equal(mayReact(room), may, `${react} ${reason}`);
  }
  const reader = possible(message(1), { changes: true, speak: false, react: true, moderates: false }, "me");
  assert.deepEqual([...reader], ["react"]);
  assert.equal(possible({ ...message(1), deleted: {} }, { changes: true, react: true }, "me").size, 0);
});

test("the room is followed as it lets readers react or does not", async () => {
  const { room } = await page();
  const may = () => rowsOf(room())[0].may.has("react");
  assert.equal(may(), true);
  live("room_changed", { room: "tea", title: "Tea", speak: "moderators" });
  assert.equal(may(), false);
  live("room_changed", { room: "tea", title: "Tea", speak: "moderators", react: "all" });
  assert.equal(may(), true);
  live("room_you", { speak: false, muted_until: 0 });
  assert.equal(may(), false);
});

test("a server that changes no messages has no reactions, and none are offered", () => {
  const room = roomWith([{ ...message(1), id: "e1-1" }], { change: undefined });
  assert.equal(room.change, null);
  assert.equal(rowsOf(room)[0].may.has("react"), false);
  rejoined(room, [having({ "👍": ["ann"] }, undefined, { id: "e2-1" })], { epoch: "e2" });
  const [above, below] = rowsOf(room);
  const may = [above, below].map(({ may }) => may.has("react"));
  assert.deepEqual(may, [false, true], "of a line that is over");
});

test("who has reacted is said in one line, and why one may not in one sentence", () => {
  assert.equal(whoText(["Ann"], 1), "Ann");
  assert.equal(whoText(["Ann", "bob"], 2), "Ann and bob");
  assert.equal(whoText(["Ann", "bob", "Cy"], 3), "Ann, bob and Cy");
  assert.equal(whoText(["Ann", "bob"], 12), "Ann, bob and 10 more");
  assert.equal(whoText([], 2), "2 people");
  const tooMany = (limit, max) =>
    changeReason({ reason: "too_many", limit: `limits.${limit}`, max });
  assert.equal(tooMany("emoji_per_message", 20), "there can be 20 different emoji at most.");
  assert.match(tooMany("reactions_per_message", 10_000), /as many reactions as/);
  assert.equal(tooMany("reactions_per_user", 5), "each can react with 5 emoji at most.");
  assert.equal(tooMany("pins", 50), "there can be 50 at most (limits.pins).");
  const moderators = { reason: "moderators", until: null };
  assert.deepEqual([silenceText(moderators), silenceText(moderators, true)], [
    "Only moderators speak here. You can read.",
    "Only moderators speak here. You can read and react.",
  ]);
});

test("an emoji is shown whole, and what is longer than any in part", () => {
  for (const emoji of ["👍", "❤️", "👨🏽‍👩🏽‍👧🏽‍👦🏽", "🏴󠁧󠁢󠁳󠁣󠁴󠁿", ":party:", "1"]) {
    assert.equal(emojiText(emoji), emoji);
  }
  assert.equal(emojiText("x".repeat(64)), `${"x".repeat(16)}…`);
  assert.equal(emojiText("\u202eabc"), "abc");
  assert.equal(emojiText("\u200b"), "(blank)");
  assert.equal(emojiText(" a\u2003 b"), " a b");
});
